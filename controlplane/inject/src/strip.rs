//! Takes an earlier injection out of a pod, so that injecting again gives the same pod.

use serde_json::{Map, Value};

use crate::merge::list_mut;
use crate::metadata::{containers, name, spec_mut, texts, texts_mut};
use crate::overrides::{AUTO_IMAGE, Overrides};
use crate::probe::{self, Probers};
use crate::prometheus::{self, Scrape};
use crate::status::Status;
use crate::{InjectError, PROXY_CONTAINER, annotation};

/// The pod as it was before its status annotation was written; a pod without one stays as it is.
pub(crate) fn strip(pod: &Value, status_port: u16) -> Result<Value, InjectError> {
    let annotations = texts(pod, "annotations");
    let Some(status) = annotations.get(annotation::STATUS) else {
        return Ok(pod.clone());
    };
    let status: Status = serde_json::from_str(status)
        .map_err(|error| InjectError::annotation(annotation::STATUS, error))?;
    let proxy_env = |variable: &str| -> Option<String> {
        ["containers", "initContainers"]
            .into_iter()
            .flat_map(|field| containers(pod, field))
            .find(|container| name(container) == PROXY_CONTAINER)?["env"]
            .as_array()?
            .iter()
            .find(|entry| name(entry) == variable)?["value"]
            .as_str()
            .map(str::to_owned)
    };
    let mut stripped = pod.clone();
    remove_added(spec_mut(&mut stripped)?, &status);
    let probers: Probers = proxy_env(probe::VARIABLE)
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    probe::restore(spec_mut(&mut stripped)?, &probers);
    restore_overrides(&mut stripped, annotations.get(annotation::OVERRIDES))?;
    let found = Scrape::of(&annotations);
    let original: Option<Scrape> =
        proxy_env(prometheus::VARIABLE).and_then(|text| serde_json::from_str(&text).ok());
    let map = texts_mut(&mut stripped, "annotations")?;
    map.shift_remove(annotation::STATUS);
    map.shift_remove(annotation::OVERRIDES);
    if found.is_merged(status_port) {
        original.unwrap_or_default().write(map);
    }
    Ok(stripped)
}

fn remove_added(spec: &mut Map<String, Value>, status: &Status) {
    for (field, added) in [
        ("initContainers", &status.init_containers),
        ("containers", &status.containers),
        ("volumes", &status.volumes),
        ("imagePullSecrets", &status.image_pull_secrets),
    ] {
        let Some(added) = added else {
            continue;
        };
        if let Some(list) = spec.get_mut(field).and_then(Value::as_array_mut) {
            list.retain(|entry| !added.iter().any(|n| n == name(entry)));
        }
    }
}

fn restore_overrides(pod: &mut Value, text: Option<&String>) -> Result<(), InjectError> {
    let Some(text) = text else {
        return Ok(());
    };
    let overrides: Overrides = serde_json::from_str(text)
        .map_err(|error| InjectError::annotation(annotation::OVERRIDES, error))?;
    let spec = spec_mut(pod)?;
    for (field, containers) in [
        ("containers", overrides.containers),
        ("initContainers", overrides.init_containers),
    ] {
        for mut container in containers {
            if let Some(fields) = container.as_object_mut() {
                fields
                    .entry("image")
                    .or_insert_with(|| Value::String(AUTO_IMAGE.to_owned()));
            }
            list_mut(spec, field).push(container);
        }
    }
    Ok(())
}
