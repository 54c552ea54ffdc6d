//! Strict reading of documents: wrong types and unknown fields, with their paths.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::field::{child, item};
use crate::diagnostic::Diagnostic;

/// Reads a document whose type has a default for every field; the error is (path, message), the
/// path like `a.b[0].c`, or empty.
///
/// # Errors
/// A value has the wrong type.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, (String, String)> {
    T::deserialize(value).map_err(|error| {
        let mut path = String::new();
        locate::<T>(value, &|part| part, &mut path);
        (path, error.to_string())
    })
}

/// Finds the value that can't be read: the smallest part of the document that fails alone.
///
/// Readers that tell the path themselves exist, but each type that is read with them brings
/// another copy of all its code.
fn locate<T: DeserializeOwned>(value: &Value, wrap: &dyn Fn(Value) -> Value, path: &mut String) {
    let parts: Vec<(String, Value, bool)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, part)| (key.clone(), part.clone(), true))
            .collect(),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(index, part)| (index.to_string(), part.clone(), false))
                .collect()
        }
        _ => return,
    };
    for (name, part, is_field) in parts {
        let outer = |part: Value| {
            wrap(match is_field {
                true => Value::Object(Map::from_iter([(name.clone(), part)])),
                false => Value::Array(vec![part]),
            })
        };
        if T::deserialize(outer(part.clone())).is_ok() {
            continue;
        }
        *path = match is_field {
            true => child(path, &name),
            false => format!("{path}[{name}]"),
        };
        return locate::<T>(&part, &outer, path);
    }
}

/// Message about a field that the type doesn't have.
pub(super) const UNKNOWN: &str = "unknown field";

/// What keeps a document from being a Kubernetes type `T`; `null` and merge directives (`$patch`) are allowed.
///
/// Generated Kubernetes types skip unknown fields silently, so the document is read, written again
/// and compared: what got lost was unknown.
#[must_use]
pub fn check<T: DeserializeOwned + Serialize>(value: &Value, path: &str) -> Vec<Diagnostic> {
    let value = plain(value);
    let typed: T = match read(&value) {
        Ok(typed) => typed,
        Err((below, message)) => {
            return vec![Diagnostic::error(join(path, &below), message)];
        }
    };
    let again = serde_json::to_value(typed).expect("Kubernetes types become JSON");
    let mut findings = Vec::new();
    lost(&value, &again, path, &mut findings);
    findings
}

/// A path below another; lists start with a bracket.
fn join(path: &str, below: &str) -> String {
    match below {
        "" => path.to_owned(),
        below if below.starts_with('[') => format!("{path}{below}"),
        below => format!("{path}.{below}"),
    }
}

/// The document without `null` and merge directives.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, value)| !value.is_null() && !key.starts_with('$'))
            .map(|(key, value)| (key.clone(), plain(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

fn lost(before: &Value, after: &Value, path: &str, findings: &mut Vec<Diagnostic>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = child(path, key);
                match after.get(key) {
                    Some(after) => lost(value, after, &path, findings),
                    None => findings.push(Diagnostic::error(path, UNKNOWN)),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                lost(before, after, &item(path, index), findings);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Affinity, EnvVar, Toleration};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn finding<T: DeserializeOwned + Serialize>(value: Value) -> String {
        let findings = check::<T>(&value, "spec.x");
        let findings: Vec<String> = findings.iter().map(Diagnostic::to_string).collect();
        findings.join("; ")
    }

    #[test]
    fn names_unknown_fields_and_wrong_types() {
        assert_eq!(
            finding::<Toleration>(json!({"key": "a", "$patch": "replace"})),
            ""
        );
        assert_eq!(
            finding::<Toleration>(json!({"keys": "a"})),
            "spec.x.keys: unknown field"
        );
        assert_eq!(
            finding::<Vec<Toleration>>(json!([{"key": "a"}, {"operator": "Exists", "key": 1}])),
            "spec.x[1].key: invalid type: integer `1`, expected a string"
        );
        assert_eq!(
            finding::<Vec<EnvVar>>(
                json!([{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": []}}}])
            ),
            "spec.x[0].valueFrom.fieldRef.fieldPath: invalid type: sequence, expected a string"
        );
        assert_eq!(
            finding::<Affinity>(json!([])),
            "spec.x: invalid type: sequence, expected Affinity"
        );
        let affinity = json!({"nodeAffinity": {"required": []}, "podAffinity": null});
        assert_eq!(
            finding::<Affinity>(affinity),
            "spec.x.nodeAffinity.required: unknown field"
        );
    }
}
