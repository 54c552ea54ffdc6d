//! Rules of IstioOperator: strict, because what the operator doesn't know has no effect.

mod mesh_config;
mod values;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::kind;
use crate::operator::legacy::{self, Removed};

use super::field::{Findings, child, item};
use super::shape::{self, Unknown};
use super::{k8s, shared};

const MAX_GATEWAY_NAME: usize = 254;
const FIRST_UNPRIVILEGED: u64 = 1024;
const VALUES: &str = "spec.values";
/// Components with one block of settings.
const SINGLE: [&str; 5] = ["base", "pilot", "cni", "ztunnel", "istiodRemote"];
/// Lists of gateways and the values that all entries share.
const GATEWAYS: [(&str, &str); 2] = [
    ("ingressGateways", "istio-ingressgateway"),
    ("egressGateways", "istio-egressgateway"),
];

/// Everything that is wrong with an IstioOperator. What older versions had is a warning, what
/// never existed is an error; `spec.unvalidatedValues` is not looked at, and of
/// `spec.meshConfig` only the types of known fields.
#[must_use]
pub fn validate(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    let Some(top) = super::top(object, kind::ISTIO_OPERATOR.kind, &mut out) else {
        return out.into_vec();
    };
    let schema = kind::ISTIO_OPERATOR.openapi().pointer("/properties/spec");
    if let (Some(spec), Some(schema)) = (top.get("spec"), schema) {
        shape::check(spec, schema, "spec", &mut out, &mut unknown);
        removed_fields(object, &mut out);
        images(spec, "spec", &mut out);
        revision(spec, &mut out);
        components(spec, &mut out);
        values::check(spec, &mut out);
        mesh_config::check(spec, &mut out);
    }
    out.into_vec()
}

/// What a field means that the schema doesn't have.
fn unknown(unknown: Unknown<'_>) -> Option<Diagnostic> {
    let path = unknown.path;
    if let Some(keys) = path
        .strip_prefix(VALUES)
        .and_then(|rest| rest.strip_prefix('.'))
    {
        let keys: Vec<&str> = keys.split('.').collect();
        return Some(match legacy::removed_value(&keys) {
            Some(removed) => no_effect(path, removed),
            None => Diagnostic::error(
                path,
                format!(
                    "unknown value{}; what is not checked belongs into spec.unvalidatedValues",
                    unknown.suggestion()
                ),
            ),
        });
    }
    // Directives of strategic merge patches, such as $patch.
    let directive = unknown.name.starts_with('$') && path.contains(".k8s.");
    // Fields outside of the values are reported from the table.
    if directive || legacy::FIELDS.iter().any(|removed| removed.path == path) {
        return None;
    }
    let message = format!("unknown field{}", unknown.suggestion());
    Some(Diagnostic::error(path, message))
}

fn no_effect(path: &str, removed: &Removed) -> Diagnostic {
    Diagnostic::warning(path, format!("{}{}", legacy::NO_EFFECT, removed.instead))
}

fn removed_fields(object: &Value, out: &mut Findings) {
    for removed in legacy::FIELDS {
        let pointer = format!("/{}", removed.path.replace('.', "/"));
        if object
            .pointer(&pointer)
            .is_some_and(|value| !value.is_null())
        {
            out.push(no_effect(removed.path, removed));
        }
    }
    let addons = object
        .pointer("/spec/addonComponents")
        .and_then(Value::as_object);
    for (name, addon) in addons.into_iter().flatten() {
        if addon.get("enabled") == Some(&Value::Bool(true)) {
            out.error(
                format!("{}.enabled", child("spec.addonComponents", name)),
                "addons can't be installed by the operator since 1.8",
            );
        }
    }
}

fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// Hub and tag of a block.
fn images(block: &Value, path: &str, out: &mut Findings) {
    if let Some(hub) = text(block, "hub") {
        out.check(child(path, "hub"), self::hub(hub));
    }
    match block.get("tag") {
        Some(Value::String(tag)) if !tag.is_empty() => {
            out.check(child(path, "tag"), self::tag(tag));
        }
        Some(Value::Number(number)) => {
            let message = format!("is the number {number}: put it in quotes, numbers lose digits");
            out.warn(child(path, "tag"), message);
        }
        None | Some(Value::String(_) | Value::Null) => {}
        Some(other) => out.error(child(path, "tag"), must_be_text(other)),
    }
}

fn must_be_text(value: &Value) -> String {
    format!("must be text, is {}", crate::diagnostic::json_type(value))
}

/// `registry[:port]/path`, as image references have it.
fn hub(text: &str) -> Result<(), String> {
    let pattern = r"^[a-zA-Z0-9]+(?:[.-][a-zA-Z0-9]+)*(?::[0-9]+)?(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*/?$";
    matches(pattern, text)
        .then_some(())
        .ok_or_else(|| format!("{text:?} is no image repository such as registry.example.com/mesh"))
}

fn tag(text: &str) -> Result<(), String> {
    matches(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", text)
        .then_some(())
        .ok_or_else(|| format!("{text:?} is no image tag"))
}

fn matches(pattern: &str, text: &str) -> bool {
    Regex::new(pattern)
        .expect("patterns are constants and tested")
        .is_match(text)
}

fn revision(spec: &Value, out: &mut Findings) {
    for name in ["revision", "compatibilityVersion"] {
        match spec.get(name) {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => {
                let message = format!("{}; put it in quotes", must_be_text(other));
                out.error(child("spec", name), message);
            }
        }
    }
    if let Some(revision) = text(spec, "revision") {
        out.check("spec.revision", shared::dns_label(revision));
    }
    let by_value = spec
        .get("values")
        .and_then(|values| text(values, "revision"));
    if let Some(by_value) = by_value {
        out.check("spec.values.revision", shared::dns_label(by_value));
        if text(spec, "revision").is_some_and(|revision| revision != by_value) {
            out.warn(
                "spec.revision",
                format!("spec.values.revision {by_value:?} wins over it"),
            );
        }
    }
}

fn components(spec: &Value, out: &mut Findings) {
    let Some(components) = spec.get("components") else {
        return;
    };
    for name in SINGLE {
        if let Some(component) = components.get(name) {
            let path = child("spec.components", name);
            component_block(component, &path, out);
        }
    }
    base_settings(components, out);
    for (name, values) in GATEWAYS {
        gateways(spec, components, name, values, out);
    }
}

/// What every component has.
fn component_block(component: &Value, path: &str, out: &mut Findings) {
    images(component, path, out);
    if let Some(namespace) = text(component, "namespace") {
        out.check(child(path, "namespace"), shared::dns_label(namespace));
    }
    let Some(settings) = component.get("k8s") else {
        return;
    };
    let path = child(path, "k8s");
    k8s::check(settings, &path, out);
    overlays(settings, &path, out);
    let autoscaled = settings.pointer("/hpaSpec/minReplicas").is_some();
    if autoscaled && settings.get("replicaCount").is_some_and(|n| !n.is_null()) {
        out.warn(child(&path, "replicaCount"), "an autoscaler overrides it");
    }
}

fn overlays(settings: &Value, path: &str, out: &mut Findings) {
    let list = settings.get("overlays").and_then(Value::as_array);
    for (index, overlay) in list.into_iter().flatten().enumerate() {
        let path = item(&child(path, "overlays"), index);
        for name in ["kind", "name"] {
            if overlay.is_object() && text(overlay, name).is_none() {
                out.error(child(&path, name), "is required");
            }
        }
        let patches = overlay.get("patches").and_then(Value::as_array);
        for (index, patch) in patches.into_iter().flatten().enumerate() {
            if patch.is_object() && text(patch, "path").is_none() {
                out.error(
                    child(&item(&child(&path, "patches"), index), "path"),
                    "is required",
                );
            }
        }
    }
}

/// The base component has no workload that settings could be for.
fn base_settings(components: &Value, out: &mut Findings) {
    let settings = components.pointer("/base/k8s").and_then(Value::as_object);
    for name in settings.into_iter().flat_map(|settings| settings.keys()) {
        if name != "overlays" {
            let path = child("spec.components.base.k8s", name);
            out.warn(path, "has no effect: only overlays have one here");
        }
    }
}

fn gateways(spec: &Value, components: &Value, list: &str, values: &str, out: &mut Findings) {
    let path = child("spec.components", list);
    let as_root = spec
        .pointer(&format!("/values/gateways/{values}/runAsRoot"))
        .is_some_and(|value| *value == Value::Bool(true));
    let entries = components.get(list).and_then(Value::as_array);
    let mut names: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for (index, entry) in entries.into_iter().flatten().enumerate() {
        if !entry.is_object() {
            continue;
        }
        let path = item(&path, index);
        component_block(entry, &path, out);
        match text(entry, "name") {
            None => out.error(child(&path, "name"), "is required"),
            Some(name) => {
                out.check(child(&path, "name"), gateway_name(name));
                let key = (text(entry, "namespace").unwrap_or_default(), name);
                if let Some(first) = names.insert(key, path.clone()) {
                    out.error(
                        child(&path, "name"),
                        format!("{name:?} is already at {first}"),
                    );
                }
            }
        }
        if !as_root {
            ports(entry, &path, values, out);
        }
    }
}

fn gateway_name(name: &str) -> Result<(), String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    if name.len() <= MAX_GATEWAY_NAME && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "{name:?} must be at most {MAX_GATEWAY_NAME} of a-z, 0-9, . and -"
    ))
}

/// Gateways don't run as root, so they can't open low ports.
fn ports(gateway: &Value, path: &str, values: &str, out: &mut Findings) {
    let list = gateway
        .pointer("/k8s/service/ports")
        .and_then(Value::as_array);
    for (index, port) in list.into_iter().flatten().enumerate() {
        let path = item(&format!("{path}.k8s.service.ports"), index);
        let (name, number) = match port.get("targetPort") {
            // A named port is the container's business.
            Some(Value::String(_)) => continue,
            Some(target) if target.as_u64() != Some(0) => ("targetPort", target.as_u64()),
            _ => ("port", port.get("port").and_then(Value::as_u64)),
        };
        if number.is_some_and(|number| number < FIRST_UNPRIVILEGED) {
            out.error(
                child(&path, name),
                format!(
                    "the gateway can't listen below {FIRST_UNPRIVILEGED}: set targetPort, or \
                     spec.values.gateways.{values}.runAsRoot"
                ),
            );
        }
    }
}
