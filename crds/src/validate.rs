//! Validation of objects: pure functions from a document to every finding.
//!
//! First the shape (types, required fields, enums, ranges; from the CRD's own schema), then what
//! a schema can't say. Warnings never refuse an object.

pub mod destination_rule;
mod field;
pub mod gateway;
mod http_route;
mod k8s;
pub mod operator;
pub mod peer_authentication;
mod shape;
mod shared;
pub mod strict;
mod traffic_policy;
mod unreachable;
pub mod virtual_service;

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::object::{self, Spec};
use field::{Findings, child};
use shape::Unknown;

/// What an object may have at its top.
const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// Checks the shape of an object of a mesh kind and decodes its spec, if that is possible.
fn decode<S: Spec>(object: &Value, out: &mut Findings) -> Option<S> {
    let top = top(object, S::KIND.kind, out)?;
    let before = out.errors();
    if let (Some(spec), Some(schema)) = (top.get("spec"), spec_schema::<S>()) {
        shape::check(spec, schema, "spec", out, &mut |unknown: Unknown<'_>| {
            Some(Diagnostic::warning(
                unknown.path,
                format!("unknown field has no effect{}", unknown.suggestion()),
            ))
        });
    }
    match object::decode::<S>(object) {
        Ok(object) => Some(object.spec),
        Err(diagnostic) => {
            if out.errors() == before {
                out.push(diagnostic);
            }
            None
        }
    }
}

/// The top level of an object: an object of the kind, without unknown fields.
fn top<'a>(
    object: &'a Value,
    kind: &str,
    out: &mut Findings,
) -> Option<&'a serde_json::Map<String, Value>> {
    let Value::Object(top) = object else {
        out.error("", format!("must be an object of kind {kind}"));
        return None;
    };
    for key in top.keys().filter(|key| !TOP.contains(&key.as_str())) {
        out.error(child("", key), "unknown field");
    }
    match top.get("kind").and_then(Value::as_str) {
        None => {}
        Some(found) if found == kind => {}
        Some(found) => out.error("kind", format!("is {found}, must be {kind}")),
    }
    Some(top)
}

fn spec_schema<S: Spec>() -> Option<&'static Value> {
    S::KIND.openapi().get("properties")?.get("spec")
}

/// Namespace of an object, empty where it has none yet.
fn namespace(object: &Value) -> &str {
    object
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default()
}
