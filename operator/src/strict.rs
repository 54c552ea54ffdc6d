//! Strict reading of Kubernetes types: wrong types and unknown fields, with their paths.

use ironsail_crds::Diagnostic;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What keeps a document from being a `T`; `null` and merge directives (`$patch`) are allowed.
///
/// Generated Kubernetes types skip unknown fields silently, so the document is read, written again
/// and compared: what got lost was unknown.
pub fn check<T: DeserializeOwned + Serialize>(value: &Value, path: &str) -> Vec<Diagnostic> {
    let value = plain(value);
    let typed: T = match serde_path_to_error::deserialize(&value) {
        Ok(typed) => typed,
        Err(error) => {
            let path = join(path, &error.path().to_string());
            return vec![Diagnostic::error(path, error.into_inner().to_string())];
        }
    };
    let again = serde_json::to_value(typed).expect("Kubernetes types become JSON");
    let mut findings = Vec::new();
    lost(&value, &again, path, &mut findings);
    findings
}

/// A path below another; serde's path of the root is a dot, and lists start with a bracket.
fn join(path: &str, below: &str) -> String {
    match below {
        "." => path.to_owned(),
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
                let path = format!("{path}.{key}");
                match after.get(key) {
                    Some(after) => lost(value, after, &path, findings),
                    None => findings.push(Diagnostic::error(path, "unknown field")),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                lost(before, after, &format!("{path}[{index}]"), findings);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Affinity, Toleration};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn finding<T: DeserializeOwned + Serialize>(value: Value) -> String {
        let findings = check::<T>(&value, "spec.x");
        findings
            .iter()
            .map(Diagnostic::to_string)
            .collect::<Vec<_>>()
            .join("; ")
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
            finding::<Vec<Toleration>>(json!([{"key": 1}])),
            "spec.x[0].key: invalid type: integer `1`, expected a string"
        );
        let affinity = json!({"nodeAffinity": {"required": []}, "podAffinity": null});
        assert_eq!(
            finding::<Affinity>(affinity),
            "spec.x.nodeAffinity.required: unknown field"
        );
    }
}
