//! What of the cluster the operator sees: metadata of everything it owns, and its workloads.

pub mod look;

use std::collections::{BTreeMap, BTreeSet};

use ironsail_mesh::label;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::apply::fingerprint::Fingerprint;
use crate::namespace::State;
use crate::object::{Kind, ObjectKey};
use crate::plan::{MANAGED, Owner};
use crate::share;

/// An object with owner labels.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenObject {
    pub kind: &'static Kind,
    pub fingerprint: Fingerprint,
    pub owner: Option<Owner>,
    pub uid: String,
    pub deleting: bool,
    /// Who else wants it.
    pub shared_with: BTreeSet<Owner>,
}

/// Everything with owner labels, at one time.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub objects: BTreeMap<ObjectKey, SeenObject>,
    pub deployments: BTreeMap<ObjectKey, Deployment>,
    pub daemon_sets: BTreeMap<ObjectKey, DaemonSet>,
    /// All namespaces, by name.
    pub namespaces: BTreeMap<String, State>,
}

/// Selects what carries the labels of [`owner_of`].
pub fn selector() -> String {
    format!("{}={MANAGED},{}", label::MANAGED, label::OWNING_RESOURCE)
}

/// Selects what one owner holds.
pub fn selector_of(owner: &Owner) -> String {
    format!(
        "{}={MANAGED},{}={},{}={}",
        label::MANAGED,
        label::OWNING_RESOURCE,
        owner.name,
        label::OWNING_RESOURCE_NAMESPACE,
        owner.namespace
    )
}

/// A label of an object.
pub fn label_of<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    Some(metadata.labels.as_ref()?.get(key)?)
}

/// An annotation of an object.
pub fn annotation_of<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    Some(metadata.annotations.as_ref()?.get(key)?)
}

/// Whether a controller of the cluster made the object, with copied labels, and collects it.
pub fn is_controlled(metadata: &ObjectMeta) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true))
}

/// The owner that an object's labels name. What a controller of the cluster made has copied its
/// labels, as EndpointSlices have those of their Service, and belongs to that controller.
pub fn owner_of(metadata: &ObjectMeta) -> Option<Owner> {
    if is_controlled(metadata) {
        return None;
    }
    if label_of(metadata, label::MANAGED) != Some(MANAGED) {
        return None;
    }
    Some(Owner {
        namespace: label_of(metadata, label::OWNING_RESOURCE_NAMESPACE)?.to_owned(),
        name: label_of(metadata, label::OWNING_RESOURCE)?.to_owned(),
    })
}

/// Names the object of some metadata.
pub fn key(kind: &Kind, metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey {
        group: kind.group.to_owned(),
        kind: kind.kind.to_owned(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

impl Seen {
    /// State of a namespace.
    pub fn namespace(&self, name: &str) -> State {
        self.namespaces.get(name).cloned().unwrap_or(State::Absent)
    }

    /// Adds an object by its metadata.
    pub fn add(&mut self, kind: &'static Kind, metadata: &ObjectMeta, fingerprint: Fingerprint) {
        let object = SeenObject {
            kind,
            fingerprint,
            owner: owner_of(metadata),
            uid: metadata.uid.clone().unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            shared_with: share::sharers(metadata),
        };
        self.objects.insert(key(kind, metadata), object);
    }

    /// Objects of an owner that may be deleted when they are not wanted.
    pub fn owned<'a>(
        &'a self,
        owner: &'a Owner,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a SeenObject)> {
        let owned = self
            .objects
            .iter()
            .filter(|(_, object)| object.owner.as_ref() == Some(owner));
        owned.filter(|(_, object)| object.kind.prune)
    }

    /// How an object looks, if it is there.
    pub fn fingerprint(&self, key: &ObjectKey) -> Option<&Fingerprint> {
        self.objects.get(key).map(|object| &object.fingerprint)
    }

    /// The selector of a workload, as it stands in its object.
    pub fn selector(&self, key: &ObjectKey) -> Option<Value> {
        let deployments = self.deployments.get(key).and_then(|d| d.spec.as_ref());
        let daemon_sets = self.daemon_sets.get(key).and_then(|d| d.spec.as_ref());
        let selector = deployments
            .map(|spec| &spec.selector)
            .or(daemon_sets.map(|spec| &spec.selector));
        selector.map(|selector| json!({"spec": {"selector": selector}}))
    }

    /// Objects that others hold and an owner wants too.
    pub fn shared<'a>(
        &'a self,
        owner: &'a Owner,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a SeenObject)> {
        let all = self.objects.iter();
        all.filter(|(_, object)| object.shared_with.contains(owner))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    #[test]
    fn owners_are_named_by_labels() {
        let metadata = |labels: &[(&str, &str)]| ObjectMeta {
            labels: Some(
                labels
                    .iter()
                    .map(|(k, v)| ((*k).into(), (*v).into()))
                    .collect(),
            ),
            ..ObjectMeta::default()
        };
        let owner = [
            (label::OWNING_RESOURCE, "mesh"),
            (label::OWNING_RESOURCE_NAMESPACE, "istio-system"),
        ];
        let managed = [&owner[..], &[(label::MANAGED, MANAGED)]].concat();
        assert_eq!(owner_of(&metadata(&owner)), None);
        let controlled = ObjectMeta {
            owner_references: Some(vec![OwnerReference {
                controller: Some(true),
                ..OwnerReference::default()
            }]),
            ..metadata(&managed)
        };
        assert_eq!(owner_of(&controlled), None);
        let found = owner_of(&metadata(&managed)).expect("managed");
        assert_eq!(
            (found.namespace.as_str(), found.name.as_str()),
            ("istio-system", "mesh")
        );
    }
}
