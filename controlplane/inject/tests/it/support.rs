//! Pods, configuration and comparison by meaning.

use std::collections::BTreeMap;

use ironsail_inject::{InjectError, Injection, InjectorConfig, Outcome, Params, inject};
use ironsail_mesh::mesh_config::MeshConfig;
use ironsail_mesh::revision::Revision;
use serde_json::{Value, json};

/// Values of a default installation.
pub fn config() -> InjectorConfig {
    let values = json!({"global": {
        "hub": "registry.istio.io/testing",
        "tag": "latest",
        "proxy": {"resources": {
            "limits": {"cpu": "2000m", "memory": "1024Mi"},
            "requests": {"cpu": "100m", "memory": "128Mi"},
        }},
    }});
    InjectorConfig::parse(None, Some(&values.to_string())).expect("valid values")
}

pub fn try_inject(
    pod: &Value,
    config: &InjectorConfig,
    native_sidecars: bool,
) -> Result<Outcome, InjectError> {
    inject(&Params {
        pod,
        namespace: pod["metadata"]["namespace"].as_str().unwrap_or("default"),
        config,
        mesh: &MeshConfig::default(),
        revision: &Revision::default(),
        native_sidecars,
        owner: None,
        env: &BTreeMap::new(),
    })
}

#[track_caller]
pub fn injected(pod: &Value, config: &InjectorConfig, native_sidecars: bool) -> Injection {
    match try_inject(pod, config, native_sidecars) {
        Ok(Outcome::Injected(injection)) => injection,
        other => panic!("not injected: {other:?}"),
    }
}

/// A form in which pods of equal meaning are equal: no nulls, defaults and empty resources, quantities in base
/// units, documents in texts parsed, lists with keys as maps.
pub fn by_meaning(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(key, value)| {
                    !(value.is_null() || *key == "resources" && **value == json!({}))
                })
                .map(|(key, value)| (key.clone(), field_by_meaning(key, value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(by_meaning).collect()),
        other => other.clone(),
    }
}

fn field_by_meaning(key: &str, value: &Value) -> Value {
    match (key, value) {
        ("env", Value::Array(items)) => keyed(items, "name"),
        ("volumeMounts", Value::Array(items)) => keyed(items, "mountPath"),
        ("volumes", Value::Array(items)) => {
            let mut volumes = items.clone();
            for volume in &mut volumes {
                if let Some(fields) = volume.as_object_mut()
                    && (fields.len() == 1 || fields.get("emptyDir").is_some_and(Value::is_null))
                {
                    fields.insert("emptyDir".to_owned(), json!({}));
                }
            }
            keyed(&volumes, "name")
        }
        ("cpu" | "memory", Value::String(text)) => json!(quantity(text)),
        (_, Value::String(text)) => document(text),
        (_, other) => by_meaning(other),
    }
}

/// A JSON document in a text, or the text.
fn document(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(parsed @ (Value::Object(_) | Value::Array(_))) => by_meaning(&parsed),
        _ => json!(text),
    }
}

fn keyed(items: &[Value], key: &str) -> Value {
    items
        .iter()
        .map(|item| {
            (
                item[key].as_str().unwrap_or_default().to_owned(),
                by_meaning(item),
            )
        })
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Thousandths of the base unit.
fn quantity(text: &str) -> u64 {
    let (number, factor) = [("m", 1), ("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)]
        .into_iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)))
        .unwrap_or((text, 1));
    let scale = if text.ends_with('m') { 1 } else { 1000 };
    number.parse::<u64>().expect("a whole quantity") * factor * scale
}
