//! Writing a value at a path of a document.

use regex::Regex;
use serde_json::{Map, Value};

use super::path::{Path, Segment};
use crate::yaml;

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    #[error("{0} matches no item")]
    NoItem(String),
    #[error("{0} is used on what is no list")]
    NoList(String),
    #[error("{0} is used on what is no object")]
    NoObject(String),
    #[error("{0} is not there")]
    Absent(String),
}

/// Writes a value at a path; `null` deletes. A map on the way that is missing is made.
///
/// # Errors
/// The path leads nowhere; the document may then be changed in part.
pub fn apply(document: &mut Value, path: &Path, value: &Value) -> Result<(), PatchError> {
    let Some((last, way)) = path.0.split_last() else {
        return Ok(());
    };
    let mut at = document;
    for (index, segment) in way.iter().enumerate() {
        let next_is_list = !matches!(path.0.get(index + 1), Some(Segment::Key(_)));
        at = step(at, segment, next_is_list, value.is_null())?;
    }
    match value {
        Value::Null => delete(at, last),
        value => write(at, last, expand(value)),
    }
}

/// Goes one step down, making what is missing unless something is to be deleted.
fn step<'a>(
    at: &'a mut Value,
    segment: &Segment,
    next_is_list: bool,
    deleting: bool,
) -> Result<&'a mut Value, PatchError> {
    let made = || match next_is_list {
        true => Value::Array(Vec::new()),
        false => Value::Object(Map::new()),
    };
    match segment {
        Segment::Key(key) => {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            let map = at
                .as_object_mut()
                .ok_or_else(|| PatchError::NoObject(segment.to_string()))?;
            if deleting && !map.contains_key(key) {
                return Err(PatchError::Absent(key.clone()));
            }
            let child = map.entry(key.clone()).or_insert_with(made);
            if child.is_null() {
                *child = made();
            }
            Ok(child)
        }
        segment => {
            let list = list(at, segment)?;
            match position(list, segment)? {
                Some(index) => Ok(list.get_mut(index).expect("the position is in the list")),
                None if deleting => Err(PatchError::NoItem(segment.to_string())),
                None => {
                    list.push(made());
                    Ok(list.last_mut().expect("an item was pushed"))
                }
            }
        }
    }
}

fn list<'a>(at: &'a mut Value, segment: &Segment) -> Result<&'a mut Vec<Value>, PatchError> {
    at.as_array_mut()
        .ok_or_else(|| PatchError::NoList(segment.to_string()))
}

/// Index of the selected item; `None` means behind the last one.
fn position(list: &[Value], segment: &Segment) -> Result<Option<usize>, PatchError> {
    let found = match segment {
        Segment::Index(index) => {
            let index = usize::try_from(*index).ok();
            return Ok(index.filter(|index| *index < list.len()));
        }
        Segment::Item { key, value } => {
            let whole = Regex::new(&format!("{key}:{value}")).ok();
            list.iter().position(|item| match item {
                Value::Object(fields) => fields.get(key).is_some_and(|own| text(own) == *value),
                leaf => finds(whole.as_ref(), leaf),
            })
        }
        Segment::Matches(pattern) => {
            let regex = Regex::new(pattern).ok();
            list.iter().position(|item| finds(regex.as_ref(), item))
        }
        Segment::Key(key) => return Err(PatchError::NoObject(key.clone())),
    };
    found
        .map(Some)
        .ok_or_else(|| PatchError::NoItem(segment.to_string()))
}

/// Whether an expression finds something in a leaf of the document.
fn finds(regex: Option<&Regex>, leaf: &Value) -> bool {
    !leaf.is_object() && !leaf.is_array() && regex.is_some_and(|regex| regex.is_match(&text(leaf)))
}

/// A value as it is compared with selectors.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn write(at: &mut Value, last: &Segment, value: Value) -> Result<(), PatchError> {
    match last {
        Segment::Key(key) => {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            let map = at
                .as_object_mut()
                .ok_or_else(|| PatchError::NoObject(last.to_string()))?;
            map.insert(key.clone(), value);
        }
        segment => {
            let list = list(at, segment)?;
            match position(list, segment)? {
                Some(index) => *list.get_mut(index).expect("the position is in the list") = value,
                None => list.push(value),
            }
        }
    }
    Ok(())
}

fn delete(at: &mut Value, last: &Segment) -> Result<(), PatchError> {
    match last {
        Segment::Key(key) => {
            let map = at
                .as_object_mut()
                .ok_or_else(|| PatchError::NoObject(last.to_string()))?;
            map.shift_remove(key)
                .map(drop)
                .ok_or_else(|| PatchError::Absent(key.clone()))
        }
        segment => {
            let list = list(at, segment)?;
            let index =
                position(list, segment)?.ok_or_else(|| PatchError::NoItem(segment.to_string()))?;
            list.remove(index);
            Ok(())
        }
    }
}

/// Text that looks like a YAML mapping is read as one; JSON stays text.
fn expand(value: &Value) -> Value {
    let Value::String(text) = value else {
        return value.clone();
    };
    let mapping = text.contains(": ") || (text.contains('\n') && text.contains(':'));
    if !mapping || serde_json::from_str::<Value>(text).is_ok() {
        return value.clone();
    }
    match yaml::document(text) {
        Ok(parsed @ Value::Object(_)) => parsed,
        _ => value.clone(),
    }
}
