//! Rewrites generated schemas into structural ones.

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::{INT_OR_STRING, PRESERVE, generate};

/// Marks a field that repeats a described type: its own description is enough, and with all of
/// them the definition would outgrow [`super::definition::MAX_BYTES`].
const BRIEF: &str = "x-brief";

/// The structural schema of a type; keys are sorted.
pub(super) fn of<T: JsonSchema>() -> Value {
    let mut schema = generate::<T>();
    rewrite(&mut schema);
    schema
}

/// Lets unknown fields and `null` pass everywhere.
pub(super) fn open(schema: &mut Value) {
    if let Value::Object(map) = schema
        && map.get("type").is_some_and(|t| t == "object")
        && !map.contains_key("additionalProperties")
    {
        map.insert(PRESERVE.to_owned(), true.into());
    }
    for child in children(schema) {
        open(child);
        if let Value::Object(child) = child {
            child.insert("nullable".to_owned(), true.into());
        }
    }
}

/// The schemas directly below.
pub(super) fn children(schema: &mut Value) -> Vec<&mut Value> {
    let mut found = Vec::new();
    let Value::Object(map) = schema else {
        return found;
    };
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                found.extend(properties.iter_mut().map(|(_, child)| child));
            }
            ("items" | "additionalProperties", value @ Value::Object(_)) => {
                found.push(value);
            }
            _ => {}
        }
    }
    found
}

fn rewrite(schema: &mut Value) {
    if let Value::Bool(true) = schema {
        *schema = json!({ PRESERVE: true });
        return;
    }
    let Value::Object(map) = schema else { return };
    drop_null(map);
    for key in [
        "$schema",
        "title",
        "default",
        "definitions",
        "readOnly",
        "writeOnly",
    ] {
        map.remove(key);
    }
    if map.get("additionalProperties") == Some(&Value::Bool(true)) {
        map.remove("additionalProperties");
        map.insert(PRESERVE.to_owned(), true.into());
    }
    // Only these two may stand in place of a type.
    if !["type", PRESERVE, INT_OR_STRING]
        .iter()
        .any(|key| map.contains_key(*key))
    {
        map.insert(PRESERVE.to_owned(), true.into());
    }
    integers(map);
    if let Some(Value::String(text)) = map.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    for child in children(schema) {
        rewrite(child);
    }
    if let Value::Object(map) = schema {
        let brief = map.remove(BRIEF).is_some();
        sort(map);
        if brief {
            drop_descriptions(schema);
        }
    }
}

fn drop_descriptions(schema: &mut Value) {
    for child in children(schema) {
        if let Value::Object(map) = child {
            map.remove("description");
        }
        drop_descriptions(child);
    }
}

/// An absent field is no `null`: optional types are their own type.
fn drop_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|v| !v.is_null());
    }
    if map.contains_key(INT_OR_STRING) {
        return;
    }
    let Some(Value::Array(alternatives)) = map.get_mut("anyOf") else {
        return;
    };
    alternatives.retain(|a| a.get("type").is_none_or(|t| t != "null"));
    if let [Value::Object(only)] = alternatives.as_slice() {
        let only = only.clone();
        map.remove("anyOf");
        for (key, value) in only {
            map.entry(key).or_insert(value);
        }
    }
}

/// API servers know only int32 and int64; unsigned integers become ranges.
fn integers(map: &mut Map<String, Value>) {
    match map.get("format").and_then(Value::as_str) {
        Some("uint32") => {
            map.entry("maximum").or_insert(u32::MAX.into());
        }
        Some("uint64") => {}
        _ => return,
    }
    map.remove("format");
    map.entry("minimum").or_insert(0.into());
}

/// Keys in one order, whatever map type is behind them.
fn sort(map: &mut Map<String, Value>) {
    let mut entries: Vec<(String, Value)> = std::mem::take(map).into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    map.extend(entries.into_iter().map(|(key, mut value)| {
        if let Value::Object(inner) = &mut value {
            sort(inner);
        }
        (key, value)
    }));
}
