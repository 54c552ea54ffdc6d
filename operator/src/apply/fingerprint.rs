//! How an object looks from its metadata alone.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::ParseIntError;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

use crate::revision::claim::CLAIM;
use crate::share::SHARED_WITH;

/// Changes whenever somebody writes an object, but not when its status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    pub fn of(metadata: &ObjectMeta) -> Self {
        let mut hasher = DefaultHasher::new();
        metadata.uid.hash(&mut hasher);
        metadata.generation.hash(&mut hasher);
        // Two owners may apply within one second, which is the grain of the times below.
        metadata.labels.hash(&mut hasher);
        let annotations = metadata.annotations.as_ref();
        let ours = annotations.map(|all| (all.get(SHARED_WITH), all.get(CLAIM)));
        ours.hash(&mut hasher);
        metadata.deletion_timestamp.is_some().hash(&mut hasher);
        for entry in writers(metadata) {
            entry.manager.hash(&mut hasher);
            entry.operation.hash(&mut hasher);
            entry.subresource.hash(&mut hasher);
            entry
                .time
                .as_ref()
                .map(|time| time.0.as_nanosecond())
                .hash(&mut hasher);
            let fields = entry.fields_v1.as_ref().map(|fields| fields.0.to_string());
            fields.hash(&mut hasher);
        }
        Self(hasher.finish())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Fingerprint {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// Managers of everything but the status.
fn writers(metadata: &ObjectMeta) -> impl Iterator<Item = &ManagedFieldsEntry> {
    let entries = metadata.managed_fields.iter().flatten();
    entries.filter(|entry| entry.subresource.as_deref() != Some("status"))
}

/// Whether a manager applied the object itself, not a subresource.
pub fn is_applied_by(metadata: &ObjectMeta, manager: &str) -> bool {
    writers(metadata).any(|entry| is_own(entry, manager))
}

fn is_own(entry: &ManagedFieldsEntry, manager: &str) -> bool {
    entry.manager.as_deref() == Some(manager)
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.is_none()
}

/// Who else wrote the object last, if that was after `manager` applied it.
pub fn changed_by(metadata: &ObjectMeta, manager: &str) -> Vec<String> {
    let own = writers(metadata).find(|entry| is_own(entry, manager));
    let since = own.and_then(|entry| entry.time.as_ref());
    let others = || {
        let others = writers(metadata).filter(|entry| !is_own(entry, manager));
        others.filter(|entry| entry.time.as_ref() >= since)
    };
    let last = others().map(|entry| entry.time.as_ref()).max();
    let mut names: Vec<String> = others()
        .filter(|entry| Some(entry.time.as_ref()) == last)
        .filter_map(|entry| entry.manager.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn metadata(entries: Value) -> ObjectMeta {
        serde_json::from_value(json!({"uid": "u", "generation": 1, "managedFields": entries}))
            .expect("metadata")
    }

    fn own() -> Value {
        json!({"manager": "istio-operator", "operation": "Apply", "time": "2026-01-01T00:00:10Z",
            "fieldsV1": {"f:spec": {}}})
    }

    #[test]
    fn status_writes_leave_no_trace() {
        let plain = metadata(json!([own()]));
        let status = json!({"manager": "kcm", "operation": "Update", "subresource": "status",
            "time": "2026-01-01T00:00:20Z"});
        let with_status = metadata(json!([own(), status]));
        assert_eq!(Fingerprint::of(&plain), Fingerprint::of(&with_status));
        let edit = json!({"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-01T00:00:20Z"});
        let edited = metadata(json!([own(), edit]));
        assert_ne!(Fingerprint::of(&plain), Fingerprint::of(&edited));
        assert_eq!(changed_by(&edited, "istio-operator"), ["kubectl-edit"]);
        assert_eq!(
            changed_by(&with_status, "istio-operator"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn only_an_apply_of_the_object_counts_as_ours() {
        assert!(is_applied_by(&metadata(json!([own()])), "istio-operator"));
        let update = json!([{"manager": "istio-operator", "operation": "Update"}]);
        assert!(!is_applied_by(&metadata(update), "istio-operator"));
    }
}
