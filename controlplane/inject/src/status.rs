//! Annotation `sidecar.istio.io/status`: what was added.

use serde::{Deserialize, Serialize};

/// Names of what was added; an absent list is `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    pub init_containers: Option<Vec<String>>,
    pub containers: Option<Vec<String>>,
    pub volumes: Option<Vec<String>>,
    pub image_pull_secrets: Option<Vec<String>>,
    pub revision: String,
}

/// An empty list is written as `null`.
pub(crate) fn names(names: Vec<String>) -> Option<Vec<String>> {
    (!names.is_empty()).then_some(names)
}
