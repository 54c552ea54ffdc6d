//! Documents of files, before a cluster has seen them.

use ironsail_crds::kind::KINDS;
use ironsail_crds::{Diagnostic, Kind};
use serde_json::Value;

use crate::{admit_kind, kubernetes};

/// Groups of the peer that went away, and what took their place.
const REMOVED: [(&str, &str); 3] = [
    (
        "authentication.istio.io",
        "PeerAuthentication and RequestAuthentication",
    ),
    ("config.istio.io", "Telemetry and AuthorizationPolicy"),
    ("rbac.istio.io", "AuthorizationPolicy"),
];

/// The objects of a document: itself, or what is in it if it is a list.
#[must_use]
pub fn objects(document: &Value) -> Vec<&Value> {
    let items = document.get("items").and_then(Value::as_array);
    match (text(document, "kind"), items) {
        (Some(kind), Some(items)) if kind.ends_with("List") => {
            items.iter().flat_map(objects).collect()
        }
        _ => vec![document],
    }
}

/// Everything that is wrong with an object, and what its author should know.
///
/// Kinds that the mesh does not depend on pass. `control_plane` is the namespace whose Services
/// and Deployments are not looked at: they are the mesh's own.
#[must_use]
pub fn check(object: &Value, control_plane: &str) -> Vec<Diagnostic> {
    let (Some(api_version), Some(kind)) = (text(object, "apiVersion"), text(object, "kind")) else {
        let missing = ["apiVersion", "kind"];
        return missing
            .iter()
            .filter(|name| text(object, name).is_none())
            .map(|name| Diagnostic::error(*name, "is required"))
            .collect();
    };
    let (group, version) = match api_version.split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", api_version),
    };
    let namespace = object.pointer("/metadata/namespace");
    let own = namespace.and_then(Value::as_str) == Some(control_plane);
    match (group, kind) {
        ("", "Service") if !own => kubernetes::service(object),
        ("apps", "Deployment") if !own => kubernetes::deployment(object),
        _ => match Kind::find(group, kind) {
            Some(known) => with_version(known, version, object),
            None => unknown(group, kind),
        },
    }
}

fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

fn with_version(kind: &Kind, version: &str, object: &Value) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if !kind.versions.contains(&version) {
        let message = format!(
            "{version} of {} is not served, only {}",
            kind.kind,
            kind.versions.join(", ")
        );
        found.push(Diagnostic::error("apiVersion", message));
    }
    found.extend(admit_kind(kind, object));
    found
}

fn unknown(group: &str, kind: &str) -> Vec<Diagnostic> {
    if let Some((_, instead)) = REMOVED.iter().find(|(removed, _)| *removed == group) {
        let message = format!("{group} is no longer served, use {instead}");
        return vec![Diagnostic::error("apiVersion", message)];
    }
    match KINDS.iter().any(|known| known.group == group) {
        true => vec![Diagnostic::error(
            "",
            format!("unrecognized type {group}/{kind}"),
        )],
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn expect(object: Value, expected: &[&str]) {
        let findings = check(&object, "istio-system");
        let lines: Vec<String> = findings
            .iter()
            .map(|d| format!("{} {d}", d.severity))
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn kinds_and_versions() {
        expect(
            json!({}),
            &["error apiVersion: is required", "error kind: is required"],
        );
        expect(
            json!([]),
            &["error apiVersion: is required", "error kind: is required"],
        );
        expect(json!({ "apiVersion": "v1", "kind": "ConfigMap" }), &[]);
        expect(
            json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway" }),
            &[],
        );
        expect(
            json!({ "apiVersion": "networking.istio.io/v1", "kind": "Sidekick" }),
            &["error unrecognized type networking.istio.io/Sidekick"],
        );
        expect(
            json!({ "apiVersion": "rbac.istio.io/v1alpha1", "kind": "ServiceRole" }),
            &["error apiVersion: rbac.istio.io is no longer served, use AuthorizationPolicy"],
        );
        expect(
            json!({ "apiVersion": "networking.istio.io/v1", "kind": "EnvoyFilter", "spec": {} }),
            &[
                "error apiVersion: v1 of EnvoyFilter is not served, only v1alpha3",
                "warning EnvoyFilter is not supported by this version and has no effect",
            ],
        );
        expect(
            json!({ "apiVersion": "security.istio.io/v1beta1", "kind": "PeerAuthentication", "spec": { "mtls": { "mode": "ON" } } }),
            &["error spec.mtls.mode: \"ON\" must be one of UNSET, DISABLE, PERMISSIVE, STRICT"],
        );
    }

    #[test]
    fn services_of_the_mesh_itself_pass() {
        let service = |namespace: &str| {
            json!({ "apiVersion": "v1", "kind": "Service",
                "metadata": { "namespace": namespace }, "spec": { "ports": [{ "port": 80 }] } })
        };
        expect(service("istio-system"), &[]);
        expect(
            service("shop"),
            &[
                "error spec.ports[0]: has neither name nor appProtocol: its protocol is not declared",
            ],
        );
    }

    #[test]
    fn lists_are_their_items() {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "kind": "A" }, { "kind": "BList", "items": [{ "kind": "C" }] },
        ] });
        let kinds: Vec<&Value> = objects(&list)
            .iter()
            .map(|object| &object["kind"])
            .collect();
        assert_eq!(kinds, ["A", "C"]);
        assert_eq!(objects(&json!({ "kind": "A", "items": [] })).len(), 1);
    }
}
