//! Small operations on JSON documents: merging, sorting, reading by path.

use std::collections::BTreeMap;
use std::str::FromStr;

use ironsail_crds::wire::Text;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Lays `over` onto `base`: objects merge key by key, everything else is replaced, lists too.
///
/// `null` in `over` replaces what was there; readers treat it as absent.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(key) {
                    Some(old) => merge(old, value),
                    None => {
                        base.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// The value at a path of keys; `null` counts as absent.
pub fn get<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter()
        .try_fold(value, |value, key| value.get(key))
        .filter(|value| !value.is_null())
}

/// Text at a path; empty text counts as absent.
pub fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    get(value, path)?.as_str().filter(|text| !text.is_empty())
}

/// Whether `true` stands at a path.
pub fn is_true(value: &Value, path: &[&str]) -> bool {
    get(value, path) == Some(&Value::Bool(true))
}

/// Writes a value at a path of keys; what stands in the way of an object is replaced by one.
pub fn set(value: &mut Value, path: &[&str], new: Value) {
    let mut at = value;
    for key in path {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(map) = at else { return };
        at = map.entry(*key).or_insert(Value::Null);
    }
    *at = new;
}

/// Takes away what stands at a path of keys, if something does.
pub fn remove(value: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let parent = parents.iter().try_fold(value, |at, key| at.get_mut(key));
    if let Some(parent) = parent.and_then(Value::as_object_mut) {
        parent.shift_remove(*last);
    }
}

/// The same document with the keys of all objects in order.
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            entries
                .into_iter()
                .map(|(key, value)| (key.clone(), sorted(value)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The same document without keys whose value is `null`.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// Whether a value is `null`, an empty object or an empty list.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// The same document without `null`, empty objects and empty lists: two objects with equal results
/// mean the same to an API server.
pub fn meaning(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), meaning(value)))
            .filter(|(_, value)| !is_empty(value))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(meaning).collect(),
        other => other.clone(),
    }
}

/// Reads a number that may be written as text, as the peer's reader of values takes it.
///
/// # Errors
/// It is no number of the type.
pub fn number<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + FromStr,
{
    let value = Value::deserialize(deserializer)?;
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    match parsed {
        Some(number) => Ok(number),
        None => T::deserialize(value).map_err(D::Error::custom),
    }
}

/// As [`number`], for numbers that may be absent.
///
/// # Errors
/// It is no number of the type.
pub fn optional_number<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + FromStr,
{
    number(deserializer).map(Some)
}

/// Reads texts by key; charts write numbers and booleans as the texts that Kubernetes wants there.
///
/// # Errors
/// A value is an object or a list.
pub fn texts<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let texts = BTreeMap::<String, Text>::deserialize(deserializer)?;
    Ok(texts.into_iter().map(|(key, text)| (key, text.0)).collect())
}

/// A scalar as text, the way YAML users see it.
pub fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn merged(base: Value, over: &Value) -> Value {
        let mut base = base;
        merge(&mut base, over);
        base
    }

    #[test]
    fn lists_are_replaced_and_null_wins() {
        let base = json!({"a": {"x": 1, "l": [1, 2]}, "b": 1});
        assert_eq!(
            merged(base, &json!({"a": {"l": [3]}, "b": null})),
            json!({"a": {"x": 1, "l": [3]}, "b": null})
        );
    }

    #[test]
    fn set_makes_the_way() {
        let mut value = json!({"a": 1});
        set(&mut value, &["a", "b"], json!(2));
        assert_eq!(value, json!({"a": {"b": 2}}));
    }

    #[test]
    fn meaning_drops_what_says_nothing() {
        let value = json!({"a": null, "b": {"c": {}}, "d": [{"e": []}], "f": ""});
        assert_eq!(meaning(&value), json!({"d": [{}], "f": ""}));
    }

    /// Documents of a few levels.
    pub(crate) fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i16>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn merging_an_empty_object_changes_no_object(base in document()) {
            prop_assume!(base.is_object());
            prop_assert_eq!(merged(base.clone(), &json!({})), base);
        }

        #[test]
        fn merging_twice_is_merging_once(base in document(), over in document()) {
            let once = merged(base, &over);
            prop_assert_eq!(merged(once.clone(), &over), once);
        }

        #[test]
        fn the_last_scalar_wins(base in document(), over in any::<i16>()) {
            prop_assert_eq!(merged(base, &json!(over)), json!(over));
        }
    }
}
