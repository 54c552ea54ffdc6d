//! Objects that several IstioOperators want.
//!
//! One of them holds the object: the one that the owner labels name, and nobody else applies it.
//! The others are recorded in an annotation, so that the object is handed over instead of deleted
//! when its holder no longer wants it.

use std::collections::{BTreeMap, BTreeSet};

use ironsail_mesh::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::conflict;
use crate::events::operator_resource;
use crate::object::Manifest;
use crate::observe::owner_of;
use crate::plan::{Owner, store};
use crate::revision::claim::CLAIM;

/// Who else wants the object, as `namespace/name` separated by commas.
pub const SHARED_WITH: &str = "operator.ironsail.dev/shared-with";
/// Field manager of [`SHARED_WITH`], apart from that of the objects, whose applying would drop it.
pub const MANAGER: &str = "istio-operator-sharing";
/// Labels that name the holder and what it is made with; owners differ in them and in nothing else.
const OF_HOLDER: [&str; 6] = [
    label::REVISION,
    label::OPERATOR_VERSION,
    label::OWNING_RESOURCE,
    label::OWNING_RESOURCE_NAMESPACE,
    label::APP_KUBERNETES_VERSION,
    "helm.sh/chart",
];

/// Who else wants an object.
pub fn sharers(metadata: &ObjectMeta) -> BTreeSet<Owner> {
    let annotations = metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(SHARED_WITH));
    owners(text.map(String::as_str).unwrap_or_default())
}

/// Reads owners from `namespace/name`, separated by commas.
pub fn owners(text: &str) -> BTreeSet<Owner> {
    text.split(',')
        .filter_map(|name| name.split_once('/'))
        .map(|(namespace, name)| Owner {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
        .collect()
}

/// The owner that an object is rendered for.
pub fn rendered_for(desired: &Manifest) -> Option<Owner> {
    Some(Owner {
        namespace: desired.label(label::OWNING_RESOURCE_NAMESPACE)?,
        name: desired.label(label::OWNING_RESOURCE)?,
    })
}

/// Whether an IstioOperator is there to stay, or an installation of the command line.
///
/// # Errors
/// The API server doesn't answer.
pub async fn is_alive(client: &Client, owner: &Owner) -> Result<bool, kube::Error> {
    Ok(is_reconciled(client, owner).await? || store::is_installed(client, owner).await?)
}

/// Whether an IstioOperator is there to stay.
///
/// # Errors
/// The API server doesn't answer.
pub async fn is_reconciled(client: &Client, owner: &Owner) -> Result<bool, kube::Error> {
    let resource = operator_resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &owner.namespace, &resource);
    match api.get_metadata_opt(&owner.name).await {
        Ok(found) => Ok(found.is_some_and(|o| o.metadata.deletion_timestamp.is_none())),
        // The definition is gone, and all objects with it.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// The other owner that holds an object, if it is there to stay. An IstioOperator takes over what
/// the command line has installed; one installation leaves another one's alone.
///
/// # Errors
/// The API server doesn't answer.
pub async fn other_holder(
    client: &Client,
    owner: &Owner,
    live: &ObjectMeta,
) -> Result<Option<Owner>, kube::Error> {
    let Some(holder) = owner_of(live).filter(|holder| holder != owner) else {
        return Ok(None);
    };
    let installed = async |owner: &Owner| store::is_installed(client, owner).await;
    let stays = is_reconciled(client, &holder).await?
        || (installed(owner).await? && installed(&holder).await?);
    Ok(stays.then_some(holder))
}

/// A body that names no owner.
pub fn anonymous(mut body: Value) -> Value {
    let labels = body.pointer_mut("/metadata/labels");
    if let Some(labels) = labels.and_then(Value::as_object_mut) {
        labels.retain(|key, _| !OF_HOLDER.contains(&key.as_str()));
    }
    body
}

/// An object as all of its owners see it.
pub fn without_holder(mut metadata: ObjectMeta) -> ObjectMeta {
    if let Some(labels) = &mut metadata.labels {
        labels.retain(|key, _| !OF_HOLDER.contains(&key.as_str()));
    }
    metadata
}

/// Records that an owner wants an object that another one holds.
///
/// # Errors
/// The API server refuses it; a conflict means that the object changed since it was read.
pub async fn join(
    api: &Api<DynamicObject>,
    live: &ObjectMeta,
    owner: &Owner,
) -> Result<ObjectMeta, kube::Error> {
    amend(api, live, |sharers| sharers.insert(owner.clone())).await
}

/// Records that an owner takes an object over from another one, which still wants it.
///
/// # Errors
/// The API server refuses it; a conflict means that the object changed since it was read.
pub async fn replace(
    api: &Api<DynamicObject>,
    live: &ObjectMeta,
    owner: &Owner,
    from: &Owner,
) -> Result<(), kube::Error> {
    let exchange = |sharers: &mut BTreeSet<Owner>| {
        let was_named = sharers.remove(owner);
        sharers.insert(from.clone()) || was_named
    };
    amend(api, live, exchange).await.map(drop)
}

/// Records that an owner no longer wants an object that another one holds, however often it
/// changes meanwhile.
///
/// # Errors
/// The API server refuses it.
pub async fn withdraw(
    api: &Api<DynamicObject>,
    live: &ObjectMeta,
    owner: &Owner,
) -> Result<(), kube::Error> {
    let name = live.name.as_deref().unwrap_or_default();
    let mut read = Some(live.clone());
    conflict::retry(async || {
        let live = match read.take() {
            Some(live) => live,
            None => api.get_metadata(name).await?.metadata,
        };
        amend(api, &live, |sharers| sharers.remove(owner)).await
    })
    .await
    .map(drop)
}

/// Changes who else wants an object; `change` says whether it did.
async fn amend(
    api: &Api<DynamicObject>,
    live: &ObjectMeta,
    change: impl FnOnce(&mut BTreeSet<Owner>) -> bool,
) -> Result<ObjectMeta, kube::Error> {
    let mut all = sharers(live);
    match change(&mut all) {
        true => write(api, live, &all, None).await,
        false => Ok(live.clone()),
    }
}

/// Gives an object to the first of the others that want it and are there to stay. `None` if there
/// is none.
///
/// # Errors
/// The API server refuses it.
pub async fn hand_over(
    client: &Client,
    api: &Api<DynamicObject>,
    live: &ObjectMeta,
) -> Result<Option<Owner>, kube::Error> {
    let mut all = sharers(live);
    for heir in all.clone() {
        all.remove(&heir);
        if is_alive(client, &heir).await? {
            write(api, live, &all, Some(&heir)).await?;
            return Ok(Some(heir));
        }
    }
    Ok(None)
}

/// Writes who else wants an object and, if given, who holds it from now on; only if nobody changed
/// it meanwhile.
async fn write(
    api: &Api<DynamicObject>,
    live: &ObjectMeta,
    sharers: &BTreeSet<Owner>,
    holder: Option<&Owner>,
) -> Result<ObjectMeta, kube::Error> {
    let names: Vec<String> = sharers.iter().map(Owner::to_string).collect();
    let text = (!names.is_empty()).then(|| names.join(","));
    let labels: BTreeMap<&str, &str> = holder
        .iter()
        .flat_map(|holder| {
            [
                (label::OWNING_RESOURCE, holder.name.as_str()),
                (label::OWNING_RESOURCE_NAMESPACE, holder.namespace.as_str()),
            ]
        })
        .collect();
    let mut annotations = BTreeMap::from([(SHARED_WITH, text)]);
    let is_claimed = || {
        live.annotations
            .as_ref()
            .is_some_and(|all| all.contains_key(CLAIM))
    };
    if holder.is_some() && is_claimed() {
        annotations.insert(CLAIM, Some(String::new()));
    }
    let body = json!({"metadata": {
        "annotations": annotations,
        "labels": labels,
        "resourceVersion": live.resource_version,
    }});
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let name = live.name.as_deref().unwrap_or_default();
    let written = api
        .patch_metadata(name, &params, &Patch::Merge(&body))
        .await;
    written.map(|object| object.metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharers_are_named_by_an_annotation() {
        let metadata = |text: &str| ObjectMeta {
            annotations: Some([(SHARED_WITH.to_owned(), text.to_owned())].into()),
            ..ObjectMeta::default()
        };
        let names = |text: &str| -> Vec<String> {
            sharers(&metadata(text))
                .iter()
                .map(Owner::to_string)
                .collect()
        };
        assert_eq!(names("b/y,a/x"), ["a/x", "b/y"]);
        assert_eq!(names(""), Vec::<String>::new());
        assert_eq!(sharers(&ObjectMeta::default()), BTreeSet::new());
    }
}
