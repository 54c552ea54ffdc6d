//! Revisions side by side: which one is the default, and who uses which.

pub mod claim;
pub mod in_use;
pub mod proxies;

use ironsail_mesh::{label, revision};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::observe::label_of;

/// The revision or tag that injects the pods of a namespace, as its labels say it. The old label
/// wins over a revision's.
pub fn named_by(namespace: &ObjectMeta) -> Option<&str> {
    match label_of(namespace, label::INJECTION) {
        Some("enabled") => Some(revision::DEFAULT),
        Some(_) => None,
        None => label_of(namespace, label::REVISION),
    }
}
