//! From types to the OpenAPI schemas of CRDs.
//!
//! The types carry names, descriptions and constraints; this module makes the result structural,
//! as API servers ask for, and puts the definition around it.
//! [Structural schemas](https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema).

pub mod definition;
pub(crate) mod part;
mod structural;

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::object::Spec;
use crate::operator::mesh_config::MESH_CONFIG;
use crate::operator::values::{Known, Shape, VALUES};

pub(crate) const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
pub(crate) const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// The schema of a mesh kind: unknown fields are pruned, `null` only where the peer allows it.
pub(crate) fn mesh<S: Spec>() -> Value {
    let mut status = structural::of::<S::Status>();
    set(&mut status, PRESERVE, true.into());
    root(structural::of::<S>(), status)
}

/// The schema of a mesh kind whose objects are nothing without a spec.
pub(crate) fn mesh_with_spec<S: Spec>() -> Value {
    let mut root = mesh::<S>();
    set(&mut root, "required", json!(["spec"]));
    root
}

/// The schema of a kind whose stored objects may be older than any schema: unknown fields are
/// kept at every level of the spec and `null` is allowed everywhere in it. Until there is a status
/// no generation counts as observed, so that tools which know kstatus don't take a new object for
/// a finished one.
pub(crate) fn open<S: Spec>() -> Value {
    let mut spec = structural::of::<S>();
    structural::open(&mut spec);
    let mut status = structural::of::<S::Status>();
    set(&mut status, PRESERVE, true.into());
    set(&mut status, "default", json!({ "observedGeneration": -1 }));
    let mut root = root(spec, status);
    set(&mut root, PRESERVE, true.into());
    root
}

fn root(spec: Value, status: Value) -> Value {
    json!({ "type": "object", "properties": { "spec": spec, "status": status } })
}

fn set(schema: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = schema {
        map.insert(key.to_owned(), value);
    }
}

/// A generator that writes every type in place: structural schemas know no references.
fn generate<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft07();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

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
        INT_OR_STRING: true,
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
            "required": ["type", "status"],
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
    let properties: Map<String, Value> = fields
        .iter()
        .map(|(name, text)| {
            (
                (*name).to_owned(),
                json!({ "description": text, PRESERVE: true }),
            )
        })
        .collect();
    json_schema!({ "type": "object", "properties": properties, PRESERVE: true })
}

/// Values of the charts.
pub(crate) fn values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "properties": group(VALUES) })
}

/// The schema of the mesh configuration, which is no part of a definition.
pub(crate) fn mesh_config() -> &'static Value {
    static SCHEMA: LazyLock<Value> =
        LazyLock::new(|| json!({ "type": "object", "properties": group(MESH_CONFIG) }));
    &SCHEMA
}

fn group(values: &[Known]) -> Map<String, Value> {
    let entry = |value: &Known| {
        let mut schema = shape(&value.shape);
        set(&mut schema, "description", value.text.into());
        (value.name.to_owned(), schema)
    };
    values.iter().map(entry).collect()
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Flag => json!({ "type": "boolean" }),
        // A number such as 0.5 or 1.10 has no structural type beside text.
        Shape::Scalar | Shape::Number => json!({ PRESERVE: true }),
        Shape::List => json!({ "type": "array", "items": { PRESERVE: true } }),
        Shape::Open => json!({ "type": "object", PRESERVE: true }),
        Shape::Group(values) => json!({ "type": "object", "properties": group(values) }),
    }
}
