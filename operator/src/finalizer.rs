//! Finalizers of any object: added and removed only if nobody changed the object meanwhile.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::json;

use crate::conflict;

/// Whether an object has a finalizer.
pub fn holds(metadata: &ObjectMeta, finalizer: &str) -> bool {
    let mut finalizers = metadata.finalizers.iter().flatten();
    finalizers.any(|own| own == finalizer)
}

/// Adds a finalizer to an object as it was read.
///
/// # Errors
/// The API server refuses it; a conflict means that the object changed since.
pub async fn add(
    api: &Api<DynamicObject>,
    metadata: &ObjectMeta,
    finalizer: &str,
) -> Result<(), kube::Error> {
    if holds(metadata, finalizer) {
        return Ok(());
    }
    let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
    finalizers.push(finalizer.to_owned());
    write(api, metadata, &finalizers).await
}

/// Removes a finalizer. The object is read anew, so that a change meanwhile does no harm.
///
/// # Errors
/// The API server refuses it.
pub async fn remove(
    api: &Api<DynamicObject>,
    name: &str,
    finalizer: &str,
) -> Result<(), kube::Error> {
    conflict::retry(async || remove_once(api, name, finalizer).await).await
}

async fn remove_once(
    api: &Api<DynamicObject>,
    name: &str,
    finalizer: &str,
) -> Result<(), kube::Error> {
    let Some(found) = api.get_metadata_opt(name).await? else {
        return Ok(());
    };
    if !holds(&found.metadata, finalizer) {
        return Ok(());
    }
    let mut finalizers = found.metadata.finalizers.clone().unwrap_or_default();
    finalizers.retain(|own| own != finalizer);
    write(api, &found.metadata, &finalizers).await
}

async fn write(
    api: &Api<DynamicObject>,
    metadata: &ObjectMeta,
    finalizers: &[String],
) -> Result<(), kube::Error> {
    let name = metadata.name.as_deref().unwrap_or_default();
    let body = json!({"metadata": {
        "finalizers": finalizers,
        "resourceVersion": metadata.resource_version,
    }});
    let params = PatchParams {
        field_manager: Some(crate::apply::MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api
        .patch_metadata(name, &params, &Patch::Merge(&body))
        .await
    {
        Ok(_) => Ok(()),
        // It is gone, and the finalizer with it.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}
