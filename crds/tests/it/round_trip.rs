//! Whatever the schema allows survives reading and writing.

use ironsail_crds::{
    AuthorizationPolicySpec, DestinationRuleSpec, EnvoyFilterSpec, GatewaySpec, IstioOperatorSpec,
    Kind, PeerAuthenticationSpec, ProxyConfigSpec, RequestAuthenticationSpec, ServiceEntrySpec,
    SidecarSpec, Spec, TelemetrySpec, TrafficExtensionSpec, VirtualServiceSpec, WasmPluginSpec,
    WorkloadEntrySpec, WorkloadGroupSpec,
};
use proptest::prelude::{Just, Strategy, any, prop};
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

/// Documents that fit a schema; every field may be absent.
fn documents(schema: &Value) -> BoxedStrategy<Value> {
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return any::<u32>().prop_map(Value::from).boxed();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => objects(schema),
        Some("array") => {
            let items = documents(schema.get("items").unwrap_or(&Value::Null));
            prop::collection::vec(items, 0..3)
                .prop_map(Value::Array)
                .boxed()
        }
        Some("string") => match schema.get("enum").and_then(Value::as_array) {
            Some(values) => prop::sample::select(values.clone()).boxed(),
            None => "[a-z0-9./*-]{0,8}".prop_map(Value::String).boxed(),
        },
        Some("boolean") => any::<bool>().prop_map(Value::Bool).boxed(),
        Some("integer") if schema.get("format").is_some() => {
            any::<i32>().prop_map(Value::from).boxed()
        }
        Some("integer") => any::<u32>().prop_map(Value::from).boxed(),
        Some("number") => any::<i16>().prop_map(|n| json!(f64::from(n) / 8.0)).boxed(),
        // Open places: text is read unchanged by every type that stands there.
        _ => "[a-z]{0,8}".prop_map(Value::String).boxed(),
    }
}

fn objects(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(values) = schema.get("additionalProperties") {
        let entries = prop::collection::btree_map("[a-z]{1,4}", documents(values), 0..3);
        return entries
            .prop_map(|entries| entries.into_iter().collect())
            .boxed();
    }
    let empty = Map::new();
    let fields = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let mut object = Just(Map::new()).boxed();
    for (name, field) in fields {
        let name = name.clone();
        let field = prop::option::weighted(0.3, documents(field));
        object = (object, field)
            .prop_map(move |(mut object, field)| {
                if let Some(field) = field {
                    object.insert(name.clone(), field);
                }
                object
            })
            .boxed();
    }
    object.prop_map(Value::Object).boxed()
}

/// Reading, writing and reading again gives the same spec, and nothing that was given is lost but
/// what equals its default.
fn check<S: Spec>(kind: &Kind) {
    let schema = kind
        .openapi()
        .pointer("/properties/spec")
        .expect("has a spec");
    let mut runner = TestRunner::new(Config::with_cases(64));
    let result = runner.run(&documents(schema), |document| {
        let spec: S = serde_json::from_value(document.clone()).expect("fits the schema");
        let written = serde_json::to_value(&spec).expect("serializes");
        let again: S = serde_json::from_value(written.clone()).expect("reads what it wrote");
        assert_eq!(spec, again);
        assert_eq!(meaning(&document), meaning(&written));
        // Validation answers whatever it is given.
        let _ = kind.validate(&json!({ "kind": kind.kind, "spec": document }));
        Ok(())
    });
    result.expect("round trip");
}

/// A document without what equals absence.
pub fn meaning(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), meaning(value)))
            .filter(|(_, value)| !is_default(value))
            .collect(),
        Value::Array(list) => list.iter().map(meaning).collect(),
        Value::Number(number) => json!(number.as_f64()),
        other => other.clone(),
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        // The first value of an enum is its default.
        Value::String(text) => {
            const FIRST: [&str; 23] = [
                "PASSTHROUGH",
                "TLS_AUTO",
                "UNSPECIFIED",
                "DEFAULT",
                "DISABLE",
                "V1",
                "UNSET",
                "MESH_EXTERNAL",
                "NONE",
                "REGISTRY_ONLY",
                "INVALID",
                "ANY",
                "ALLOW",
                "OPTIONAL",
                "CLIENT_AND_SERVER",
                "UPSERT",
                "UNSPECIFIED_PHASE",
                "UNSPECIFIED_POLICY",
                "UNSPECIFIED_PLUGIN_TYPE",
                "FAIL_CLOSE",
                "INLINE",
                "UNDEFINED",
                "",
            ];
            FIRST.contains(&text.as_str())
        }
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[test]
fn gateway() {
    check::<GatewaySpec>(GatewaySpec::KIND);
}

#[test]
fn virtual_service() {
    check::<VirtualServiceSpec>(VirtualServiceSpec::KIND);
}

#[test]
fn destination_rule() {
    check::<DestinationRuleSpec>(DestinationRuleSpec::KIND);
}

#[test]
fn peer_authentication() {
    check::<PeerAuthenticationSpec>(PeerAuthenticationSpec::KIND);
}

#[test]
fn service_entry() {
    check::<ServiceEntrySpec>(ServiceEntrySpec::KIND);
}

#[test]
fn workload_entry() {
    check::<WorkloadEntrySpec>(WorkloadEntrySpec::KIND);
}

#[test]
fn workload_group() {
    check::<WorkloadGroupSpec>(WorkloadGroupSpec::KIND);
}

#[test]
fn sidecar() {
    check::<SidecarSpec>(SidecarSpec::KIND);
}

#[test]
fn envoy_filter() {
    check::<EnvoyFilterSpec>(EnvoyFilterSpec::KIND);
}

#[test]
fn proxy_config() {
    check::<ProxyConfigSpec>(ProxyConfigSpec::KIND);
}

#[test]
fn authorization_policy() {
    check::<AuthorizationPolicySpec>(AuthorizationPolicySpec::KIND);
}

#[test]
fn request_authentication() {
    check::<RequestAuthenticationSpec>(RequestAuthenticationSpec::KIND);
}

#[test]
fn telemetry() {
    check::<TelemetrySpec>(TelemetrySpec::KIND);
}

#[test]
fn wasm_plugin() {
    check::<WasmPluginSpec>(WasmPluginSpec::KIND);
}

#[test]
fn traffic_extension() {
    check::<TrafficExtensionSpec>(TrafficExtensionSpec::KIND);
}

#[test]
fn istio_operator() {
    check::<IstioOperatorSpec>(IstioOperatorSpec::KIND);
}
