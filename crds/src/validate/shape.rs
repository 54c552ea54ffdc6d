//! Compares a document with a structural schema.

use regex::Regex;
use serde_json::{Map, Value};

use crate::diagnostic::{Diagnostic, json_type};
use crate::schema::{INT_OR_STRING, PRESERVE};

use super::field::{Findings, child, item};

/// A field that the schema doesn't have.
pub(super) struct Unknown<'a> {
    /// Its path.
    pub path: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The object that it stands in.
    pub object: &'a Map<String, Value>,
    /// The schema of that object's fields.
    pub known: &'a Map<String, Value>,
}

/// Says what an unknown field means; `None` passes it over.
pub(super) type OnUnknown<'a> = dyn FnMut(Unknown<'_>) -> Option<Diagnostic> + 'a;

/// Names that differ by more are other words.
const MAX_DISTANCE: usize = 2;
const MAX_SUGGESTIONS: usize = 3;

/// Checks types, required fields, enums, ranges and choices. `null` counts as absent.
pub(super) fn check(
    value: &Value,
    schema: &Value,
    path: &str,
    out: &mut Findings,
    unknown: &mut OnUnknown<'_>,
) {
    if value.is_null() {
        return;
    }
    if schema.get(INT_OR_STRING).is_some() {
        if !value.is_string() && !value.is_i64() && !value.is_u64() {
            out.error(path, wrong_type("an integer or text", value));
        }
        return;
    }
    match (schema.get("type").and_then(Value::as_str), value) {
        (Some("object"), Value::Object(object)) => {
            check_object(object, schema, path, out, unknown);
        }
        (Some("array"), Value::Array(list)) => check_list(list, schema, path, out, unknown),
        (Some("string"), Value::String(text)) => check_text(text, schema, path, out),
        (Some("boolean"), Value::Bool(_)) | (None, _) => {}
        (Some("integer"), Value::Number(number)) if is_integer(number) => {
            check_range(number, schema, path, out);
        }
        (Some("number"), Value::Number(number)) => check_range(number, schema, path, out),
        (Some(expected), _) => out.error(path, wrong_type(type_name(expected), value)),
    }
}

fn wrong_type(expected: &str, value: &Value) -> String {
    let hint = match (expected, value) {
        ("text", Value::Number(_) | Value::Bool(_)) => "; put it in quotes".to_owned(),
        ("a boolean", Value::String(text)) => match old_boolean(text) {
            Some(meant) => format!("; write {meant}: {text:?} is a boolean in YAML 1.1 only"),
            None => "; write true or false without quotes".to_owned(),
        },
        _ => String::new(),
    };
    format!("must be {expected}, is {}{hint}", json_type(value))
}

/// What version 1.1 of YAML takes a bare word for, which is text in version 1.2.
fn old_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "on" => Some(true),
        "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn type_name(schema_type: &str) -> &'static str {
    match schema_type {
        "object" => "an object",
        "array" => "a list",
        "string" => "text",
        "boolean" => "a boolean",
        "integer" => "an integer",
        _ => "a number",
    }
}

fn is_integer(number: &serde_json::Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
}

fn check_object(
    object: &Map<String, Value>,
    schema: &Value,
    path: &str,
    out: &mut Findings,
    unknown: &mut OnUnknown<'_>,
) {
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    let known = properties.unwrap_or(&empty);
    let values = schema.get("additionalProperties");
    let open = properties.is_none() && values.is_none();
    for (name, value) in object {
        let path = child(path, name);
        if let Some(schema) = known.get(name).or(values) {
            check(value, schema, &path, out, unknown);
        } else if !open {
            let unknown = unknown(Unknown {
                path: &path,
                name,
                object,
                known,
            });
            if let Some(diagnostic) = unknown {
                out.push(diagnostic);
            }
        }
    }
    for name in texts(schema.get("required")) {
        if object.get(name).is_none_or(Value::is_null) {
            out.error(child(path, name), "is required");
        }
    }
    check_count(object.len(), "Properties", "entries", schema, path, out);
    check_choice(object, schema, path, out);
    for part in schema
        .get("allOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        check_choice(object, part, path, out);
    }
}

fn check_list(
    list: &[Value],
    schema: &Value,
    path: &str,
    out: &mut Findings,
    unknown: &mut OnUnknown<'_>,
) {
    check_count(list.len(), "Items", "items", schema, path, out);
    check_keys(list, schema, path, out);
    let Some(schema) = schema.get("items") else {
        return;
    };
    for (index, value) in list.iter().enumerate() {
        let path = item(path, index);
        if value.is_null() && schema.get(PRESERVE).is_none() {
            out.error(path, "must not be null");
        } else {
            check(value, schema, &path, out, unknown);
        }
    }
}

fn check_text(text: &str, schema: &Value, path: &str, out: &mut Findings) {
    if let Some(allowed) = schema.get("enum")
        && !texts(Some(allowed)).any(|t| t == text)
    {
        let list: Vec<&str> = texts(Some(allowed)).collect();
        let near = nearest(text, list.iter().copied());
        let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
        out.error(
            path,
            format!("{text:?} must be one of {}{hint}", list.join(", ")),
        );
    }
    match text.chars().next() {
        None if length("minLength", schema).is_some_and(|min| min > 0) => {
            out.error(path, "must not be empty");
        }
        _ => check_pattern(text, schema, path, out),
    }
    if let Some(max) = length("maxLength", schema)
        && text.chars().count() > max
    {
        out.error(path, format!("must have at most {max} characters"));
    }
}

fn length(key: &str, schema: &Value) -> Option<usize> {
    usize::try_from(schema.get(key)?.as_u64()?).ok()
}

fn check_pattern(text: &str, schema: &Value, path: &str, out: &mut Findings) {
    let Some(pattern) = schema.get("pattern").and_then(Value::as_str) else {
        return;
    };
    if Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text)) {
        out.error(path, format!("{text:?} does not match {pattern}"));
    }
}

/// Items of a list that is a map: no two have the same keys.
fn check_keys(list: &[Value], schema: &Value, path: &str, out: &mut Findings) {
    let keys: Vec<&str> = texts(schema.get("x-kubernetes-list-map-keys")).collect();
    if keys.is_empty() {
        return;
    }
    let of = |item: &Value| -> Vec<Option<Value>> {
        keys.iter().map(|key| item.get(*key).cloned()).collect()
    };
    for (index, entry) in list.iter().enumerate() {
        let own = of(entry);
        let twin = list.iter().take(index).position(|other| of(other) == own);
        if let Some(twin) = twin.filter(|_| own.iter().all(Option::is_some)) {
            let (keys, first) = (keys.join(", "), item(path, twin));
            out.error(item(path, index), format!("has the same {keys} as {first}"));
        }
    }
}

fn check_range(number: &serde_json::Number, schema: &Value, path: &str, out: &mut Findings) {
    let Some(n) = number.as_f64() else { return };
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let (mut min, mut max) = (bound("minimum"), bound("maximum"));
    if schema.get("format").is_some_and(|format| format == "int32") {
        min = min.or(Some(f64::from(i32::MIN)));
        max = max.or(Some(f64::from(i32::MAX)));
    }
    match (min, max) {
        (Some(min), _) if n < min => out.error(path, format!("{n} is less than {min}")),
        (_, Some(max)) if n > max => out.error(path, format!("{n} is more than {max}")),
        _ => {}
    }
}

fn check_count(
    count: usize,
    suffix: &str,
    what: &str,
    schema: &Value,
    path: &str,
    out: &mut Findings,
) {
    let bound = |prefix: &str| {
        let bound = schema.get(format!("{prefix}{suffix}"))?.as_u64()?;
        usize::try_from(bound).ok()
    };
    if let Some(min) = bound("min").filter(|min| count < *min) {
        out.error(path, format!("must have at least {min} {what}"));
    }
    if let Some(max) = bound("max").filter(|max| count > *max) {
        out.error(path, format!("must have at most {max} {what}"));
    }
}

/// At most one of the fields of a choice.
fn check_choice(object: &Map<String, Value>, schema: &Value, path: &str, out: &mut Findings) {
    let Some(alternatives) = schema.get("oneOf").and_then(Value::as_array) else {
        return;
    };
    let fields: Vec<&str> = alternatives
        .iter()
        .flat_map(|alternative| texts(alternative.get("required")))
        .collect();
    let given: Vec<&str> = fields
        .iter()
        .copied()
        .filter(|field| object.get(*field).is_some_and(|value| !value.is_null()))
        .collect();
    if given.len() > 1 {
        out.error(path, format!("only one of {} can be set", given.join(", ")));
    }
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

impl Unknown<'_> {
    /// `; did you mean …?`, or nothing: a similar name here, else the same name one level below.
    pub(super) fn suggestion(&self) -> String {
        let candidates = match nearest(self.name, self.known.keys().map(String::as_str)) {
            Some(near) => vec![near.to_owned()],
            None => self.below(),
        };
        match candidates.split_last() {
            None => String::new(),
            Some((only, [])) => format!("; did you mean {only}?"),
            Some((last, rest)) => format!("; did you mean {} or {last}?", rest.join(", ")),
        }
    }

    /// Where a field of this name would belong; what the user wrote already comes first.
    fn below(&self) -> Vec<String> {
        let found: Vec<(&str, String)> = self
            .known
            .iter()
            .filter_map(|(name, schema)| {
                let (inner, suffix) = match schema.get("items") {
                    Some(items) => (items, "[]"),
                    None => (schema, ""),
                };
                inner.get("properties")?.get(self.name)?;
                Some((name.as_str(), format!("{name}{suffix}.{}", self.name)))
            })
            .collect();
        let written = found
            .iter()
            .filter(|(name, _)| self.object.contains_key(*name));
        let written: Vec<String> = written.map(|(_, path)| path.clone()).collect();
        let mut chosen = match written.is_empty() {
            true => found.into_iter().map(|(_, path)| path).collect(),
            false => written,
        };
        chosen.truncate(MAX_SUGGESTIONS);
        chosen
    }
}

/// The known name that was probably meant.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_ascii_lowercase();
    let distance =
        |candidate: &str| strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase());
    // Short names are all close to each other.
    let limit = MAX_DISTANCE.min(name.chars().count() / 3);
    known
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
