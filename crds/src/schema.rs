//! From types to the OpenAPI schemas of CRDs.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// At most one of some fields.
pub(crate) fn one_of(fields: &[&str]) -> Value {
    let required: Vec<Value> = fields.iter().map(|f| json!({ "required": [f] })).collect();
    let mut alternatives = vec![json!({ "not": { "anyOf": required.clone() } })];
    alternatives.extend(required);
    Value::Array(alternatives)
}

/// A number or a text.
pub(crate) fn int_or_string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [{ "type": "integer" }, { "type": "string" }],
        "x-kubernetes-int-or-string": true,
    })
}

/// Labels that a pod must have.
pub(crate) fn match_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 4096,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "x-kubernetes-validations": [{
                "rule": "!self.contains(\"*\")",
                "message": "wildcard not allowed in label value match",
            }],
        },
        "x-kubernetes-validations": [
            {
                "rule": "self.all(key, !key.contains(\"*\"))",
                "message": "wildcard not allowed in label key match",
            },
            {
                "rule": "self.all(key, key.size() != 0)",
                "message": "key must not be empty",
            },
        ],
    })
}

/// Conditions in the form of `metav1.Condition`.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": { "type": "string", "description": "Name of the aspect." },
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "description": "Whether it holds.",
                },
                "reason": { "type": "string", "description": "Cause in one CamelCase word." },
                "message": { "type": "string", "description": "Cause for people." },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the status last changed.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "description": "Generation of the spec that this is about.",
                },
            },
        },
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

/// An open object with descriptions for some of its fields.
pub(crate) fn described(fields: &[(&str, &str)]) -> Schema {
    let properties: serde_json::Map<String, Value> = fields
        .iter()
        .map(|(name, text)| {
            let field =
                json!({ "description": text, "x-kubernetes-preserve-unknown-fields": true });
            ((*name).to_owned(), field)
        })
        .collect();
    json_schema!({ "type": "object", "properties": properties })
}

/// Values of the charts.
pub(crate) fn values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}
