//! Objects as users of the peer wrote them, in every version that it serves: valid, kept as they
//! are by the API server, and read and written without loss.

use std::collections::BTreeSet;

use ironsail_crds::kind::KINDS;
use ironsail_crds::object::{Spec, decode};
use ironsail_crds::{
    AuthorizationPolicySpec, DestinationRuleSpec, EnvoyFilterSpec, GatewaySpec, Kind,
    PeerAuthenticationSpec, ProxyConfigSpec, RequestAuthenticationSpec, ServiceEntrySpec,
    SidecarSpec, TelemetrySpec, TrafficExtensionSpec, VirtualServiceSpec, WasmPluginSpec,
    WorkloadEntrySpec, WorkloadGroupSpec,
};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::round_trip::meaning;

/// One document per kind and habit; the version is each that is served.
const SAMPLES: &str = include_str!("versions.yaml");

/// Every sample in every served version of its kind.
pub fn samples() -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(SAMPLES);
    let mut found = Vec::new();
    for document in documents {
        let sample = Value::deserialize(document).expect("the samples are YAML");
        let name = sample["kind"].as_str().expect("a kind");
        let kind = KINDS.iter().find(|kind| kind.kind == name).expect(name);
        for version in kind.versions {
            let mut sample = sample.clone();
            sample["apiVersion"] = json!(format!("{}/{version}", kind.group));
            sample["metadata"] = json!({"name": "sample", "namespace": "shop"});
            found.push(sample);
        }
    }
    found
}

fn kind_of(sample: &Value) -> &'static Kind {
    let name = sample["kind"].as_str().expect("a kind");
    KINDS.iter().find(|kind| kind.kind == name).expect(name)
}

#[test]
fn every_mesh_kind_has_a_sample() {
    let seen: BTreeSet<&str> = samples()
        .iter()
        .map(|sample| kind_of(sample).kind)
        .collect();
    let mesh = KINDS.iter().filter(|kind| kind.group != "install.istio.io");
    assert_eq!(seen, mesh.map(|kind| kind.kind).collect());
}

#[test]
fn samples_are_valid() {
    for sample in samples() {
        let findings = kind_of(&sample).validate(&sample);
        assert_eq!(findings, [], "{sample}");
    }
}

/// What an API server keeps of an object: fields of the schema.
fn pruned(value: &Value, schema: &Value) -> Value {
    let open = schema.get("x-kubernetes-preserve-unknown-fields").is_some();
    match value {
        Value::Object(map) => map
            .iter()
            .filter_map(|(key, value)| {
                let field = schema
                    .pointer("/properties")
                    .and_then(|fields| fields.get(key))
                    .or(schema.get("additionalProperties"));
                match field {
                    Some(field) => Some((key.clone(), pruned(value, field))),
                    None => open.then(|| (key.clone(), value.clone())),
                }
            })
            .collect(),
        Value::Array(list) => match schema.get("items") {
            Some(items) => list.iter().map(|value| pruned(value, items)).collect(),
            None => value.clone(),
        },
        scalar => scalar.clone(),
    }
}

#[test]
fn samples_are_stored_as_they_are() {
    for sample in samples() {
        let schema = &kind_of(&sample).openapi()["properties"]["spec"];
        assert_eq!(pruned(&sample["spec"], schema), sample["spec"]);
    }
}

/// Decodes a sample as its type and writes it again.
fn again(sample: &Value) -> Value {
    fn of<S: Spec>(sample: &Value) -> Value {
        let object = decode::<S>(sample).expect("decodes");
        serde_json::to_value(object.spec).expect("serializes")
    }
    match kind_of(sample).kind {
        "Gateway" => of::<GatewaySpec>(sample),
        "VirtualService" => of::<VirtualServiceSpec>(sample),
        "DestinationRule" => of::<DestinationRuleSpec>(sample),
        "ServiceEntry" => of::<ServiceEntrySpec>(sample),
        "WorkloadEntry" => of::<WorkloadEntrySpec>(sample),
        "WorkloadGroup" => of::<WorkloadGroupSpec>(sample),
        "Sidecar" => of::<SidecarSpec>(sample),
        "EnvoyFilter" => of::<EnvoyFilterSpec>(sample),
        "ProxyConfig" => of::<ProxyConfigSpec>(sample),
        "PeerAuthentication" => of::<PeerAuthenticationSpec>(sample),
        "AuthorizationPolicy" => of::<AuthorizationPolicySpec>(sample),
        "RequestAuthentication" => of::<RequestAuthenticationSpec>(sample),
        "Telemetry" => of::<TelemetrySpec>(sample),
        "WasmPlugin" => of::<WasmPluginSpec>(sample),
        "TrafficExtension" => of::<TrafficExtensionSpec>(sample),
        other => panic!("{other} has no row"),
    }
}

/// The samples write no defaults, so nothing at all may change.
#[test]
fn samples_are_read_and_written_unchanged() {
    for sample in samples() {
        assert_eq!(again(&sample), sample["spec"], "{}", sample["kind"]);
    }
}

/// Fields without a value mean what absent fields mean, and objects without fields stay: a rule
/// that matches everything is no rule that is not there.
#[test]
fn emptiness_has_a_meaning() {
    let spec = |rules: Value| {
        let sample = json!({"kind": "AuthorizationPolicy", "spec": {"rules": rules}});
        decode::<AuthorizationPolicySpec>(&sample)
            .expect("decodes")
            .spec
    };
    assert!(spec(json!(null)).rules.is_empty());
    assert!(spec(json!([])).rules.is_empty());
    let all = spec(json!([{}]));
    assert_eq!(all.rules.len(), 1);
    assert!(all.rules[0].from.is_empty());
    let from = spec(json!([{"from": [{}]}]));
    assert_eq!(from.rules[0].from.len(), 1);
    assert_eq!(from.rules[0].from[0].source, None);
    let written = serde_json::to_value(&from).expect("serializes");
    assert_eq!(written, json!({"rules": [{"from": [{}]}]}));

    let sample = json!({"kind": "Sidecar", "spec": {
        "outboundTrafficPolicy": {}, "ingress": null, "egress": [{"hosts": ["./*"], "port": null}],
    }});
    let sidecar = decode::<SidecarSpec>(&sample).expect("decodes").spec;
    assert!(sidecar.outbound_traffic_policy.is_some());
    assert_eq!(sidecar.egress[0].port, None);
}

/// The older spelling of a field that the definition has too.
#[test]
fn both_spellings_are_read() {
    for name in ["jwksUri", "jwks_uri"] {
        let sample = json!({"kind": "RequestAuthentication", "spec": {
            "jwtRules": [{"issuer": "a", name: "https://a/keys"}],
        }});
        let spec = decode::<RequestAuthenticationSpec>(&sample)
            .expect("decodes")
            .spec;
        assert_eq!(spec.jwt_rules[0].key_location(), Some("https://a/keys"));
    }
}

/// A status keeps the addresses that the definition's schema does not list.
#[test]
fn addresses_of_services_are_status() {
    let sample = json!({"kind": "ServiceEntry", "spec": {"hosts": ["a.example.com"]},
        "status": {"addresses": [{"value": "240.240.0.1", "host": "a.example.com"}]}});
    let status = decode::<ServiceEntrySpec>(&sample).expect("decodes").status;
    let addresses = status.expect("has a status").addresses;
    assert_eq!(addresses[0].value, "240.240.0.1");
    assert_eq!(meaning(&sample["status"]), sample["status"]);
}
