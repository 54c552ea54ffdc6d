//! Validation of objects: pure functions from a document to every finding.
//!
//! First the shape (types, required fields, enums, ranges; from the CRD's own schema), then what
//! a schema can't say. Warnings never refuse an object.

pub mod authorization_policy;
mod cel;
pub mod destination_rule;
pub mod envoy_filter;
pub mod extension;
mod field;
pub mod gateway;
mod http_route;
mod jwks;
mod k8s;
pub mod operator;
pub mod peer_authentication;
pub mod proxy_config;
pub mod request_authentication;
pub mod service_entry;
mod shape;
mod shared;
pub mod sidecar;
pub mod strict;
mod target;
pub mod telemetry;
mod traffic_policy;
mod unreachable;
pub mod virtual_service;
pub mod workload;

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::kind::AUTHORIZATION_POLICY;
use crate::object::{self, Spec};
use field::{Findings, child};
use shape::Unknown;

/// What an object may have at its top.
const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// Annotation of policies that only report what they would do.
const DRY_RUN: &str = "istio.io/dry-run";

/// Checks the shape of an object of a mesh kind and decodes its spec, if that is possible.
fn decode<S: Spec>(object: &Value, out: &mut Findings) -> Option<S> {
    let top = top(object, S::KIND.kind, out)?;
    if S::KIND.kind != AUTHORIZATION_POLICY.kind && annotation(object, DRY_RUN).is_some() {
        out.error(
            child("metadata.annotations", DRY_RUN),
            "is supported by AuthorizationPolicy only",
        );
    }
    let required = S::KIND.openapi().get("required");
    if required.is_some() && top.get("spec").is_none_or(Value::is_null) {
        out.error("spec", "is required");
        return None;
    }
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

/// An annotation of an object.
fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}
