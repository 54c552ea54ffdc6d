//! Strategic merge: how Kubernetes lays a partial object over a whole one.
//!
//! Objects merge key by key, `null` deletes, lists of the table below merge by a key of their
//! items, all others are replaced. `$patch: replace`, `$patch: delete` and `$retainKeys` work.
//! <https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/>

use serde_json::{Map, Value};

/// Lists that merge: name of the field, key of its items.
const MERGE_KEYS: &[(&str, &str)] = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
    ("resourceClaims", "name"),
    ("webhooks", "name"),
    ("secrets", "name"),
];

/// Lays `patch` over `base`.
pub fn strategic_merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => merge_objects(base, patch),
        (base, patch) => *base = without_directives(patch),
    }
}

fn merge_objects(base: &mut Map<String, Value>, patch: &Map<String, Value>) {
    if directive(patch) == Some("replace") {
        base.clear();
    }
    if let Some(retained) = patch.get("$retainKeys").and_then(Value::as_array) {
        base.retain(|key, _| retained.iter().any(|retained| retained == key));
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        if value.is_null() || value.as_object().and_then(directive) == Some("delete") {
            base.shift_remove(key);
            continue;
        }
        match (base.get_mut(key), merge_key(key, value), value) {
            (Some(Value::Array(old)), Some(merge_key), Value::Array(new)) => {
                *old = merge_lists(std::mem::take(old), new, merge_key);
            }
            (Some(old @ Value::Object(_)), _, Value::Object(_)) => strategic_merge(old, value),
            _ => {
                base.insert(key.clone(), without_directives(value));
            }
        }
    }
}

/// How items of a list are told apart; `None` replaces the list.
fn merge_key(field: &str, value: &Value) -> Option<&'static str> {
    let has = |key: &str| {
        value
            .as_array()
            .is_some_and(|items| items.iter().any(|i| i.get(key).is_some()))
    };
    match field {
        "ports" if has("containerPort") => Some("containerPort"),
        "ports" if has("port") => Some("port"),
        field => MERGE_KEYS
            .iter()
            .find(|(name, _)| *name == field)
            .map(|(_, key)| *key),
    }
}

fn directive(map: &Map<String, Value>) -> Option<&str> {
    map.get("$patch").and_then(Value::as_str)
}

/// Items of the patch replace or join those of the base.
fn merge_lists(base: Vec<Value>, patch: &[Value], key: &str) -> Vec<Value> {
    if patch.iter().any(|item| is_directed(item, "replace")) {
        let items = patch.iter().map(without_directives);
        return items
            .filter(|item| item.as_object().is_none_or(|map| !map.is_empty()))
            .collect();
    }
    let same = |a: &Value, b: &Value| a.get(key).is_some() && a.get(key) == b.get(key);
    let position = |item: &Value| base.iter().position(|other| same(other, item));
    let kept = patch.iter().filter(|item| !is_directed(item, "delete"));
    let patched = kept.map(|item| {
        let at = position(item);
        let mut own = at.and_then(|at| base.get(at)).cloned().unwrap_or_default();
        strategic_merge(&mut own, item);
        (at, own)
    });
    let rest = base
        .iter()
        .enumerate()
        .filter(|(_, old)| !patch.iter().any(|item| same(item, old)));
    interleave(rest, patched.collect())
}

fn is_directed(item: &Value, wanted: &str) -> bool {
    item.as_object().and_then(directive) == Some(wanted)
}

/// Both lists in one; each keeps its order. An item that only the base has stands before a patched one if it did so in
/// the base; a new item waits for nothing. This is how kubectl and the API server do it.
fn interleave<'a>(
    rest: impl Iterator<Item = (usize, &'a Value)>,
    patched: Vec<(Option<usize>, Value)>,
) -> Vec<Value> {
    let mut rest = rest.peekable();
    let mut merged = Vec::new();
    for (own, item) in patched {
        while let Some((_, old)) = rest.next_if(|(at, _)| own.is_some_and(|own| *at < own)) {
            merged.push(old.clone());
        }
        merged.push(item);
    }
    merged.extend(rest.map(|(_, old)| old.clone()));
    merged
}

fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
            .map(|(key, value)| (key.clone(), without_directives(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(without_directives).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(name: &str, base: Value, patch: Value, expected: Value) {
        let mut merged = base;
        strategic_merge(&mut merged, &patch);
        assert_eq!(merged, expected, "{name}");
    }

    #[test]
    fn cases() {
        check(
            "scalars and null",
            json!({"a": 1, "b": 2}),
            json!({"a": 3, "b": null}),
            json!({"a": 3}),
        );
        check(
            "named items merge, a new one follows the one before it",
            json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}),
            json!({"env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]}),
            json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C", "value": "4"}]}),
        );
        check(
            "a new item at the beginning comes first",
            json!({"env": [{"name": "A"}, {"name": "B"}]}),
            json!({"env": [{"name": "C"}, {"name": "B"}]}),
            json!({"env": [{"name": "C"}, {"name": "A"}, {"name": "B"}]}),
        );
        check(
            "the order of the patch wins",
            json!({"env": [{"name": "A"}, {"name": "B"}, {"name": "D"}]}),
            json!({"env": [{"name": "B"}, {"name": "A"}]}),
            json!({"env": [{"name": "B"}, {"name": "A"}, {"name": "D"}]}),
        );
        check(
            "items are deleted",
            json!({"env": [{"name": "A"}, {"name": "B"}]}),
            json!({"env": [{"name": "A", "$patch": "delete"}]}),
            json!({"env": [{"name": "B"}]}),
        );
        check(
            "a list is replaced on request",
            json!({"volumes": [{"name": "A"}]}),
            json!({"volumes": [{"$patch": "replace"}, {"name": "B"}]}),
            json!({"volumes": [{"name": "B"}]}),
        );
        check(
            "tolerations are one value",
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "b"}]}),
        );
        check(
            "ports by number",
            json!({"ports": [{"port": 80, "name": "a"}, {"port": 443}]}),
            json!({"ports": [{"port": 80, "nodePort": 30080}]}),
            json!({"ports": [{"port": 80, "name": "a", "nodePort": 30080}, {"port": 443}]}),
        );
        check(
            "objects are replaced on request",
            json!({"strategy": {"rollingUpdate": {"maxSurge": 1}}}),
            json!({"strategy": {"$patch": "replace", "type": "Recreate"}}),
            json!({"strategy": {"type": "Recreate"}}),
        );
        check(
            "keys are retained on request",
            json!({"strategy": {"rollingUpdate": {"maxSurge": 1}}}),
            json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
            json!({"strategy": {"type": "Recreate"}}),
        );
    }
}
