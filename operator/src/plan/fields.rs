//! How one document differs from another, field by field: pure.

use serde::Serialize;
use serde_json::Value;

/// What tells items of a list apart, where they have it.
const NAMES: [&str; 3] = ["name", "mountPath", "port"];

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldChange {
    /// Such as `spec.template.spec.containers[name=discovery].image`.
    pub path: String,
    /// Absent if the field is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Absent if the field goes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Every field that differs, in the order of the documents. A list whose items have names is
/// compared item by item, any other is one value.
pub fn differences(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare("", Some(before), Some(after), &mut found);
    found
}

fn compare(
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<FieldChange>,
) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let gone = old.keys().filter(|key| !new.contains_key(*key));
            for key in new.keys().chain(gone) {
                compare(&child(path, key), old.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => match key_of(old, new) {
            Some(key) => compare_items(path, key, old, new, found),
            None => found.push(change(path, before, after)),
        },
        (before, after) => found.push(change(path, before, after)),
    }
}

fn change(path: &str, before: Option<&Value>, after: Option<&Value>) -> FieldChange {
    FieldChange {
        path: path.to_owned(),
        before: before.cloned(),
        after: after.cloned(),
    }
}

fn compare_items(
    path: &str,
    key: &str,
    old: &[Value],
    new: &[Value],
    found: &mut Vec<FieldChange>,
) {
    let find = |items: &[Value], name: &Value| {
        items
            .iter()
            .find(|item| item.get(key) == Some(name))
            .cloned()
    };
    let gone = old
        .iter()
        .filter(|item| !new.iter().any(|other| other.get(key) == item.get(key)));
    let before = found.len();
    for name in new.iter().chain(gone).filter_map(|item| item.get(key)) {
        let text = crate::value::scalar_text(name).unwrap_or_default();
        let (old, new) = (find(old, name), find(new, name));
        compare(
            &format!("{path}[{key}={text}]"),
            old.as_ref(),
            new.as_ref(),
            found,
        );
    }
    if found.len() == before {
        // The same items in another order.
        let list = |items: &[Value]| Some(Value::Array(items.to_vec()));
        found.push(change(path, list(old).as_ref(), list(new).as_ref()));
    }
}

/// The key that names all items of both lists, each once.
fn key_of(old: &[Value], new: &[Value]) -> Option<&'static str> {
    let names = |items: &[Value], key: &str| -> bool {
        let mut seen = Vec::new();
        items.iter().all(|item| match item.get(key) {
            Some(name) if !seen.contains(&name) => {
                seen.push(name);
                true
            }
            _ => false,
        })
    };
    NAMES
        .into_iter()
        .find(|key| names(old, key) && names(new, key))
}

/// A key with dots or brackets stands in brackets.
fn child(path: &str, key: &str) -> String {
    match (path.is_empty(), key.contains(['.', '[', '/'])) {
        (_, true) => format!("{path}[{key}]"),
        (true, false) => key.to_owned(),
        (false, false) => format!("{path}.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(before: Value, after: Value, expected: &[(&str, Option<Value>, Option<Value>)]) {
        let found = differences(&before, &after);
        let found: Vec<_> = found
            .iter()
            .map(|c| (c.path.as_str(), c.before.clone(), c.after.clone()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn cases() {
        check(
            json!({"a": {"b": 1}, "c": 2}),
            json!({"a": {"b": 3}}),
            &[
                ("a.b", Some(json!(1)), Some(json!(3))),
                ("c", Some(json!(2)), None),
            ],
        );
        check(
            json!({"labels": {"istio.io/rev": "a"}}),
            json!({"labels": {"istio.io/rev": "b"}}),
            &[("labels[istio.io/rev]", Some(json!("a")), Some(json!("b")))],
        );
        check(
            json!({"containers": [{"name": "x", "image": "1"}, {"name": "y"}]}),
            json!({"containers": [{"name": "y"}, {"name": "x", "image": "2"}]}),
            &[(
                "containers[name=x].image",
                Some(json!("1")),
                Some(json!("2")),
            )],
        );
        check(
            json!({"env": [{"name": "A"}, {"name": "B"}]}),
            json!({"env": [{"name": "B"}, {"name": "A"}]}),
            &[(
                "env",
                Some(json!([{"name": "A"}, {"name": "B"}])),
                Some(json!([{"name": "B"}, {"name": "A"}])),
            )],
        );
        check(
            json!({"args": ["a"]}),
            json!({"args": ["a", "b"]}),
            &[("args", Some(json!(["a"])), Some(json!(["a", "b"])))],
        );
    }

    proptest! {
        #[test]
        fn only_equal_documents_have_no_differences(a in crate::value::tests::document(), b in crate::value::tests::document()) {
            prop_assert_eq!(differences(&a, &b).is_empty(), a == b);
        }
    }
}
