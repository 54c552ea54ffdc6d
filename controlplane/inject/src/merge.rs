//! Strategic merge of containers, as `kubectl patch` does it, on JSON.

use serde_json::{Map, Value};

/// Lists of a container that merge by key; every other list is replaced.
const CONTAINER_LISTS: [(&str, &str); 4] = [
    ("env", "name"),
    ("ports", "containerPort"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
];

/// A probe or lifecycle hook has exactly one of these.
const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// Lays the fields of the container `over` onto `base`; `null` removes.
pub(crate) fn container(base: &mut Value, over: &Value) {
    object(base, over, &CONTAINER_LISTS);
}

fn object(base: &mut Value, over: &Value, lists: &[(&str, &str)]) {
    let (Value::Object(base), Value::Object(over)) = (base, over) else {
        return;
    };
    if HANDLERS.iter().any(|handler| over.contains_key(*handler)) {
        for handler in HANDLERS {
            base.shift_remove(handler);
        }
    }
    for (key, value) in over {
        let list_key = lists.iter().find(|(list, _)| list == key).map(|(_, k)| *k);
        match (value, base.get_mut(key), list_key) {
            (Value::Null, _, _) => {
                base.shift_remove(key);
            }
            (Value::Object(_), Some(existing @ Value::Object(_)), _) => {
                object(existing, value, &[])
            }
            (Value::Array(over), Some(Value::Array(existing)), Some(list_key)) => {
                list(existing, over, list_key);
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Entries of `over` replace those with the same key, in place; new ones follow.
fn list(base: &mut Vec<Value>, over: &[Value], key: &str) {
    for entry in over {
        match base.iter_mut().find(|existing| existing[key] == entry[key]) {
            Some(existing) => *existing = entry.clone(),
            None => base.push(entry.clone()),
        }
    }
}

/// Appends the entries of `added` whose `key` no entry of `base` has; returns those appended.
pub(crate) fn append_missing<'a>(
    base: &mut Vec<Value>,
    added: &'a [Value],
    key: &str,
) -> Vec<&'a Value> {
    let mut appended = Vec::new();
    for entry in added {
        if !base.iter().any(|existing| existing[key] == entry[key]) {
            base.push(entry.clone());
            appended.push(entry);
        }
    }
    appended
}

/// The list under `key`, made when absent or `null`.
pub(crate) fn list_mut<'a>(object: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let slot = object.entry(key.to_owned()).or_insert(Value::Null);
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    slot.as_array_mut().expect("made an array above")
}

/// The object under `key`, made when absent or `null`.
pub(crate) fn object_mut<'a>(
    object: &'a mut Map<String, Value>,
    key: &str,
) -> &'a mut Map<String, Value> {
    let slot = object.entry(key.to_owned()).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("made an object above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_merge_by_their_keys() {
        let mut base = json!({"name": "p", "args": ["a"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]});
        container(
            &mut base,
            &json!({"args": ["x"], "env": [{"name": "B", "valueFrom": {"f": 1}}, {"name": "C"}], "image": null}),
        );
        assert_eq!(
            base,
            json!({"name": "p", "args": ["x"], "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"f": 1}}, {"name": "C"}]})
        );
    }

    #[test]
    fn a_new_handler_replaces_the_old_one() {
        let mut base = json!({"readinessProbe": {"httpGet": {"port": 1}, "periodSeconds": 2}});
        container(
            &mut base,
            &json!({"readinessProbe": {"exec": {"command": ["true"]}}}),
        );
        assert_eq!(
            base,
            json!({"readinessProbe": {"periodSeconds": 2, "exec": {"command": ["true"]}}})
        );
    }
}
