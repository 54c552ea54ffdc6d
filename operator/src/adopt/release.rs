//! The way back: an IstioOperator goes, and what it installed stays for another installer.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, Patch};
use serde_json::{Map, Value, json};

use super::hand_over::{former_release, give_back, params};
use super::helm::{self, Finder};
use super::live::Release;
use super::take::OWNER_LABELS;
use crate::apply::{ApplyError, api};
use crate::delete::{self, Remaining};
use crate::events::operator_resource;
use crate::plan::Owner;

/// `Orphan`: deleting the IstioOperator leaves everything that it installed.
pub const ON_DELETE: &str = "operator.ironsail.dev/on-delete";

/// Whether deleting an object with these annotations leaves what it installed.
pub fn orphans(annotations: &BTreeMap<String, String>) -> bool {
    annotations
        .get(ON_DELETE)
        .is_some_and(|text| text == "Orphan")
}

/// What makes an object nobody's, or Helm's if it was.
fn patch(metadata: &ObjectMeta) -> Value {
    let labels = OWNER_LABELS.map(|label| (label.to_owned(), Value::Null));
    let mut own = json!({"labels": labels.into_iter().collect::<Map<_, _>>()});
    let annotations = give_back(metadata);
    if !annotations.is_empty() {
        own["annotations"] = annotations.into();
    }
    json!({"metadata": own})
}

/// Lets one object go; one that is gone is fine.
///
/// # Errors
/// The API server refuses it.
pub async fn object(client: &Client, object: &Remaining) -> Result<(), ApplyError> {
    let patch = patch(&object.metadata);
    let api = api(client, object.kind, &object.key.namespace);
    let (params, patch) = (params(), Patch::Merge(&patch));
    match api.patch_metadata(&object.key.name, &params, &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        Err(error) => Err(ApplyError::new(&object.key, error)),
    }
}

/// Hides the records of all adopted Helm releases, with the rights of whoever calls it. Returns
/// the releases whose records Helm found until then.
///
/// # Errors
/// The API server refuses it.
pub async fn finish(client: &Client) -> Result<Vec<Release>, kube::Error> {
    let operators: Api<DynamicObject> = Api::all_with(client.clone(), &operator_resource());
    let mut hidden = Vec::new();
    for operator in operators.list(&ListParams::default()).await?.items {
        let owned = delete::remains(client, &Owner::of(&operator)).await?;
        for release in former_releases(&owned.held) {
            if helm::set_finder(client, &release, Finder::Nobody).await? > 0 {
                hidden.push(release);
            }
        }
    }
    Ok(hidden)
}

/// Helm releases that objects were of before they were adopted.
pub fn former_releases<'a>(objects: impl IntoIterator<Item = &'a Remaining>) -> BTreeSet<Release> {
    let objects = objects.into_iter();
    objects
        .filter_map(|object| former_release(&object.metadata))
        .collect()
}
