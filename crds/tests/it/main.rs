//! Tests over the public API: the committed definitions, and one table per validated kind.

mod authorization_policy;
mod definitions;
mod destination_rule;
mod envoy_filter;
mod extensions;
mod gateway;
mod mutation;
mod operator;
mod peer_authentication;
mod proxy_config;
mod request_authentication;
mod round_trip;
mod samples;
mod service_entry;
mod sidecar;
mod telemetry;
mod versions;
mod virtual_service;
mod workload;

use std::env;
use std::path::PathBuf;

use ironsail_crds::Kind;
use serde_json::{Value, json};

/// An object of a kind with a spec in YAML.
fn object(kind: &Kind, spec: &str) -> Value {
    let spec: Value = serde_yaml_ng::from_str(spec).expect("the test's YAML is valid");
    json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "metadata": { "name": "test", "namespace": "shop" },
        "spec": spec,
    })
}

/// Compares the findings about a spec, as `severity path: message`, with the expected ones.
#[track_caller]
fn check(kind: &Kind, spec: &str, expected: &[&str]) {
    let found: Vec<String> = kind
        .validate(&object(kind, spec))
        .iter()
        .map(|diagnostic| format!("{} {diagnostic}", diagnostic.severity))
        .collect();
    assert_eq!(found, expected, "{spec}");
}

/// The same with expected paths that begin at `path`.
#[track_caller]
fn check_below(kind: &Kind, spec: &str, path: &str, expected: &[&str]) {
    let whole = |line: &&str| match line.split_once(' ') {
        Some((severity, rest)) if rest.starts_with(':') => format!("{severity} {path}{rest}"),
        Some((severity, rest)) => format!("{severity} {path}.{rest}"),
        None => (*line).to_owned(),
    };
    let expected: Vec<String> = expected.iter().map(whole).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(kind, spec, &expected);
}

fn workspace() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate")).join("..")
}

/// Captured files of the peer: `$IRONSAIL_REFERENCE`, or a folder beside the workspace. Tests that
/// compare with them are skipped where they are absent.
fn reference(part: &str) -> Option<PathBuf> {
    let path = env::var_os("IRONSAIL_REFERENCE")
        .map_or_else(|| workspace().join("../shared/reference"), PathBuf::from)
        .join(part);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} of the peer is absent", path.display());
    None
}
