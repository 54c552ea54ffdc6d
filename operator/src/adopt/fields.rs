//! Sets of fields as `metadata.managedFields` keeps them: a tree whose keys are `f:<field>`,
//! `k:<keys of a list item>`, `v:<value of a set>`, and `.` for the node itself.
//!
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>

use serde_json::{Map, Value};

/// The node itself.
const SELF: &str = ".";

fn children(fields: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let children = fields.as_object().into_iter().flatten();
    children.filter(|(key, _)| *key != SELF)
}

/// Whether a node stands for everything below it.
fn is_whole(fields: &Value) -> bool {
    fields.as_object().is_none_or(Map::is_empty)
}

/// The part of a document that fields name, in the order of the document.
pub fn project(value: &Value, fields: &Value) -> Value {
    if is_whole(fields) {
        return value.clone();
    }
    match value {
        Value::Object(map) => {
            let own = map.iter().filter_map(|(name, value)| {
                let fields = fields.get(format!("f:{name}"))?;
                Some((name.clone(), project(value, fields)))
            });
            own.collect::<Map<_, _>>().into()
        }
        Value::Array(items) => {
            let own = items.iter().filter_map(|item| project_item(item, fields));
            own.collect()
        }
        other => other.clone(),
    }
}

/// An item of a list, as far as one of the keys names it.
fn project_item(item: &Value, fields: &Value) -> Option<Value> {
    children(fields).find_map(|(key, fields)| {
        if let Some(value) = key.strip_prefix("v:") {
            let value: Value = serde_json::from_str(value).ok()?;
            return (value == *item).then_some(value);
        }
        let keys: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
        let keys = keys.as_object()?;
        if keys
            .iter()
            .any(|(name, value)| item.get(name) != Some(value))
        {
            return None;
        }
        let mut own = project(item, fields);
        if let Some(own) = own.as_object_mut() {
            // Without its keys nobody could tell which item it is.
            for (name, value) in keys {
                own.entry(name).or_insert_with(|| value.clone());
            }
        }
        Some(own)
    })
}

/// Everything that one or the other names.
pub fn union(one: &Value, other: &Value) -> Value {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else {
        return Value::Object(Map::new());
    };
    if one.is_empty() || other.is_empty() {
        return Value::Object(Map::new());
    }
    let mut both = one.clone();
    for (key, fields) in other {
        let merged = match both.get(key) {
            Some(own) => union(own, fields),
            None => fields.clone(),
        };
        both.insert(key.clone(), merged);
    }
    both.into()
}

/// What is left of a set without another one; `None` if that is nothing.
pub fn subtract(fields: &Value, other: &Value) -> Option<Value> {
    if is_whole(fields) || is_whole(other) {
        return None;
    }
    let left: Map<String, Value> = children(fields)
        .filter_map(|(key, fields)| {
            let left = match other.get(key) {
                Some(other) => subtract(fields, other)?,
                None => fields.clone(),
            };
            Some((key.clone(), left))
        })
        .collect();
    (!left.is_empty()).then(|| left.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_part_is_what_the_fields_name() {
        let live = json!({
            "replicas": 3,
            "selector": {"app": "x"},
            "containers": [
                {"name": "a", "image": "i", "env": [{"name": "E", "value": "1"}], "tty": false},
                {"name": "injected", "image": "j"},
            ],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}],
            "finalizers": ["mine", "theirs"],
            "emptyDir": {},
        });
        let fields = json!({
            "f:selector": {},
            "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:env": {
                ".": {}, "k:{\"name\":\"E\"}": {".": {}, "f:name": {}, "f:value": {}}}}},
            "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}}},
            "f:finalizers": {"v:\"mine\"": {}},
            "f:emptyDir": {},
            "f:gone": {},
        });
        assert_eq!(
            project(&live, &fields),
            json!({
                "selector": {"app": "x"},
                "containers": [{"image": "i", "env": [{"name": "E", "value": "1"}], "name": "a"}],
                "ports": [{"port": 80, "protocol": "TCP"}],
                "finalizers": ["mine"],
                "emptyDir": {},
            })
        );
    }

    #[test]
    fn unions_keep_the_wider_one() {
        let one = json!({"f:a": {"f:b": {}}, "f:c": {}});
        let other = json!({"f:a": {"f:d": {}}, "f:c": {"f:e": {}}});
        assert_eq!(
            union(&one, &other),
            json!({"f:a": {"f:b": {}, "f:d": {}}, "f:c": {}})
        );
    }

    #[test]
    fn what_is_taken_is_no_longer_theirs() {
        let theirs = json!({"f:spec": {"f:replicas": {}, "f:template": {".": {}, "f:x": {}}}});
        let ours = json!({"f:spec": {"f:template": {"f:x": {}, "f:y": {}}}});
        assert_eq!(
            subtract(&theirs, &ours),
            Some(json!({"f:spec": {"f:replicas": {}}}))
        );
        let all = json!({"f:spec": {"f:replicas": {}, "f:template": {}}});
        assert_eq!(subtract(&theirs, &all), None);
        assert_eq!(
            subtract(&theirs, &json!({"f:data": {}})),
            Some(json!({
                "f:spec": {"f:replicas": {}, "f:template": {".": {}, "f:x": {}}}
            }))
        );
    }
}
