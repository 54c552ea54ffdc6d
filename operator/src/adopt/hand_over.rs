//! The last step of an adoption: former owners lose their fields, and what they find objects by.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::fields::{subtract, union};
use super::live::{self, Release};
use super::take::{OWNER_LABELS, RELEASE_NAME, RELEASE_NAMESPACE, is_tracking};
use super::writer::{ADOPTION_MANAGER, Writer, entries};
use crate::apply::{ApplyError, api};
use crate::object::Manifest;
use crate::observe::{annotation_of, owner_of};

/// Annotation that keeps, for the way back, which Helm release an object was of.
pub const FORMER_RELEASE: &str = "operator.ironsail.dev/helm-release";

/// Parameters of a patch of metadata that is part of an adoption.
pub fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(ADOPTION_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Hands one object over that the plan was applied to. Says whether something was written.
///
/// # Errors
/// The API server refuses it; a conflict means that somebody wrote the object meanwhile.
pub async fn object(client: &Client, desired: &Manifest) -> Result<bool, ApplyError> {
    let fail = |source| ApplyError::new(desired.key(), source);
    let api = api(client, desired.kind(), desired.namespace());
    let Some(live) = api.get_opt(desired.name()).await.map_err(fail)? else {
        return Ok(false);
    };
    let Some(patch) = patch(&live) else {
        return Ok(false);
    };
    let (params, patch) = (params(), Patch::Merge(&patch));
    let patched = api.patch_metadata(desired.name(), &params, &patch).await;
    patched.map(|_| true).map_err(fail)
}

/// Labels an object with its owner before it is applied. One of the default revision that nobody
/// owns counts as made by the user, and would be left.
///
/// # Errors
/// The API server refuses it.
pub async fn claim(client: &Client, desired: &Manifest) -> Result<(), ApplyError> {
    let fail = |source| ApplyError::new(desired.key(), source);
    let api = api(client, desired.kind(), desired.namespace());
    let live = api.get_metadata_opt(desired.name()).await.map_err(fail)?;
    if live.is_none_or(|live| owner_of(&live.metadata).is_some()) {
        return Ok(());
    }
    let labels = OWNER_LABELS
        .into_iter()
        .map(|label| (label.to_owned(), json!(desired.label(label))));
    let labels: Map<String, Value> = labels.collect();
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    let labelled = api.patch_metadata(desired.name(), &params(), &patch).await;
    labelled.map(drop).map_err(fail)
}

/// What hands an object over; `None` if it is not ours, or nobody else has anything of it.
pub fn patch(live: &DynamicObject) -> Option<Value> {
    let metadata = &live.metadata;
    owner_of(metadata)?;
    let mut labels = dropped(live, metadata.labels.as_ref());
    let mut annotations = dropped(live, metadata.annotations.as_ref());
    let managers = managers(metadata);
    if labels.is_empty() && annotations.is_empty() && managers.is_none() {
        return None;
    }
    let mut own = json!({"resourceVersion": metadata.resource_version});
    if let Some(release) = live::release(metadata) {
        annotations.insert(FORMER_RELEASE.to_owned(), json!(release.to_string()));
    }
    for (field, map) in [("labels", &mut labels), ("annotations", &mut annotations)] {
        if !map.is_empty() {
            own[field] = Value::Object(std::mem::take(map));
        }
    }
    if let Some(managers) = managers {
        own["managedFields"] = json!(managers);
    }
    Some(json!({"metadata": own}))
}

fn dropped(
    live: &DynamicObject,
    map: Option<&std::collections::BTreeMap<String, String>>,
) -> Map<String, Value> {
    let keys = map.into_iter().flat_map(|map| map.keys());
    keys.filter(|key| is_tracking(live, key))
        .map(|key| (key.clone(), Value::Null))
        .collect()
}

/// The managers of an object without former installers, and with what is left to those who
/// edited it; `None` if that is no change.
fn managers(metadata: &ObjectMeta) -> Option<Vec<ManagedFieldsEntry>> {
    let all = entries(metadata);
    let ours = all
        .iter()
        .filter(|(_, writer, _)| *writer == Writer::Operator);
    // Without an entry of our own there is nothing to hand over to.
    let ours = ours
        .map(|(_, _, fields)| (*fields).clone())
        .reduce(|one, other| union(&one, &other))?;
    let mut changed = false;
    let mut kept = Vec::new();
    for (entry, writer, fields) in all {
        match writer {
            Writer::Operator | Writer::Controller => kept.push(entry.clone()),
            Writer::Installer => changed = true,
            Writer::Editor => match subtract(fields, &ours) {
                Some(left) if left == *fields => kept.push(entry.clone()),
                Some(left) => {
                    changed = true;
                    kept.push(with_fields(entry, left));
                }
                None => changed = true,
            },
        }
    }
    changed.then_some(kept)
}

fn with_fields(entry: &ManagedFieldsEntry, fields: Value) -> ManagedFieldsEntry {
    let mut entry = entry.clone();
    if let Some(own) = &mut entry.fields_v1 {
        own.0 = fields;
    }
    entry
}

/// The Helm release that an object was of.
pub fn former_release(metadata: &ObjectMeta) -> Option<Release> {
    Release::parse(annotation_of(metadata, FORMER_RELEASE)?)
}

/// What gives an object back to Helm, as it was before [`patch`]; nothing if it was not Helm's.
pub fn give_back(metadata: &ObjectMeta) -> Map<String, Value> {
    let Some(release) = former_release(metadata) else {
        return Map::new();
    };
    [
        (RELEASE_NAMESPACE, json!(release.namespace)),
        (RELEASE_NAME, json!(release.name)),
        (FORMER_RELEASE, Value::Null),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use ironsail_mesh::label;

    use super::*;

    fn live(mut labels: Value, annotations: Value, managers: Value) -> DynamicObject {
        labels[label::MANAGED] = json!("Reconcile");
        labels[label::OWNING_RESOURCE] = json!("mesh");
        labels[label::OWNING_RESOURCE_NAMESPACE] = json!("istio-system");
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Service", "metadata": {
            "name": "x", "resourceVersion": "7", "labels": labels, "annotations": annotations,
            "managedFields": managers}}))
        .expect("an object")
    }

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn helm_and_flux_lose_an_object() {
        let ours = entry("istio-operator", "Apply", json!({"f:spec": {"f:type": {}}}));
        let scaler = entry(
            "kube-controller-manager",
            "Update",
            json!({"f:spec": {"f:x": {}}}),
        );
        let object = live(
            json!({"app": "x", "helm.toolkit.fluxcd.io/name": "mesh"}),
            json!({RELEASE_NAME: "gw", RELEASE_NAMESPACE: "ns", "mine": "y"}),
            json!([
                entry(
                    "helm-controller",
                    "Update",
                    json!({"f:spec": {"f:type": {}, "f:replicas": {}}})
                ),
                ours,
                scaler,
                entry(
                    "kubectl-edit",
                    "Update",
                    json!({"f:spec": {"f:type": {}, "f:other": {}}})
                ),
            ]),
        );
        let expected = json!({"metadata": {
            "resourceVersion": "7",
            "labels": {"helm.toolkit.fluxcd.io/name": null},
            "annotations": {RELEASE_NAME: null, RELEASE_NAMESPACE: null, FORMER_RELEASE: "ns/gw"},
            "managedFields": [
                ours, scaler,
                entry("kubectl-edit", "Update", json!({"f:spec": {"f:other": {}}})),
            ],
        }});
        assert_eq!(patch(&object), Some(expected));
    }

    #[test]
    fn what_is_ours_alone_is_left() {
        let ours = json!([entry("istio-operator", "Apply", json!({"f:spec": {}}))]);
        assert_eq!(patch(&live(json!({}), json!({}), ours)), None);
    }

    #[test]
    fn nothing_is_taken_before_it_is_ours() {
        let theirs = json!([entry("helm", "Update", json!({"f:spec": {}}))]);
        assert_eq!(patch(&live(json!({}), json!({}), theirs)), None);
        let mut stranger = live(json!({}), json!({RELEASE_NAME: "x"}), json!([]));
        stranger.metadata.labels = None;
        assert_eq!(patch(&stranger), None);
    }

    #[test]
    fn helm_gets_it_back() {
        let object = live(json!({}), json!({FORMER_RELEASE: "ns/gw"}), json!([]));
        let back = give_back(&object.metadata);
        assert_eq!(
            Value::Object(back),
            json!({
            RELEASE_NAME: "gw", RELEASE_NAMESPACE: "ns", FORMER_RELEASE: null})
        );
        assert!(give_back(&live(json!({}), json!({}), json!([])).metadata).is_empty());
    }
}
