//! Resources as protobuf JSON with sorted keys, which can be printed and compared.

use std::collections::BTreeSet;

use ironsail_xds::json::{message_to_json, pool};
use prost::Name;
use serde_json::{Map, Value};

/// The JSON form of an encoded message, nested `Any`s opened.
pub fn decode<M: Name>(bytes: &[u8]) -> Value {
    let descriptor = pool()
        .get_message_by_name(&M::full_name())
        .expect("a known message");
    let mut value = message_to_json(&descriptor, bytes).expect("a message of this type");
    tidy(&mut value);
    value
}

/// Sorts keys and shortens the types of opened `Any`s.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(fields) => {
            let mut entries: Vec<_> = std::mem::take(fields).into_iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            for (_, value) in &mut entries {
                tidy(value);
            }
            *fields = entries.into_iter().collect::<Map<_, _>>();
        }
        Value::String(text) => {
            if let Some(name) = text.strip_prefix("type.googleapis.com/") {
                *text = name.to_owned();
            }
        }
        _ => {}
    }
}

/// The value as YAML.
pub fn yaml(value: &Value) -> String {
    serde_yaml_ng::to_string(value).expect("JSON is YAML")
}

/// Where two values differ, each with its path.
pub fn diff(ours: &Value, theirs: &Value, path: &str, differences: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
            for key in keys {
                let path = format!("{path}.{key}");
                match (ours.get(key), theirs.get(key)) {
                    (Some(a), Some(b)) => diff(a, b, &path, differences),
                    (Some(a), None) => differences.push(format!("{path}: only ours: {a}")),
                    (None, Some(b)) => differences.push(format!("{path}: only theirs: {b}")),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (position, (a, b)) in ours.iter().zip(theirs).enumerate() {
                diff(a, b, &format!("{path}[{position}]"), differences);
            }
        }
        (a, b) if a == b => {}
        (a, b) => differences.push(format!("{path}: {a} != {b}")),
    }
}
