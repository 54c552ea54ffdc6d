//! Labels, annotations and containers of a pod in JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::InjectError;
use crate::merge::object_mut;

/// A map of texts under `metadata`; entries that are no texts are left out.
pub(crate) fn texts(pod: &Value, field: &str) -> BTreeMap<String, String> {
    pod["metadata"][field]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// `metadata.<field>` of a pod for writing.
pub(crate) fn texts_mut<'a>(
    pod: &'a mut Value,
    field: &str,
) -> Result<&'a mut Map<String, Value>, InjectError> {
    let pod = pod
        .as_object_mut()
        .ok_or_else(|| InjectError::pod("pod", "not an object"))?;
    Ok(object_mut(object_mut(pod, "metadata"), field))
}

/// `spec` of a pod for writing.
pub(crate) fn spec_mut(pod: &mut Value) -> Result<&mut Map<String, Value>, InjectError> {
    pod.get_mut("spec")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| InjectError::pod("spec", "not an object"))
}

/// Containers under `spec.<field>`.
pub(crate) fn containers<'a>(pod: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    pod["spec"][field].as_array().into_iter().flatten()
}

/// Name of a container.
pub(crate) fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

/// An init container that keeps running beside the others.
pub(crate) fn is_native_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}
