//! ConfigMap `istio-sidecar-injector` of control planes that execute templates. What the templates make of pods is
//! tested by the Go module in `e2e/template`.

use serde_json::{Value, json};

use super::table::values;
use super::*;

/// Templates that are shipped, in their order.
const SHIPPED: [&str; 8] = [
    "sidecar",
    "gateway",
    "grpc-simple",
    "grpc-agent",
    "waypoint",
    "kube-gateway",
    "agentgateway",
    "agentgateway-waypoint",
];

fn config(spec: Value) -> Value {
    let map = object(&rendered(spec), "ConfigMap istio-sidecar-injector");
    let text = map["data"]["config"].as_str().expect("a text").to_owned();
    serde_yaml_ng::from_str(&text).expect("YAML")
}

fn names(config: &Value, pointer: &str) -> Vec<String> {
    let fields = config.pointer(pointer).and_then(Value::as_object);
    fields.expect("an object").keys().cloned().collect()
}

#[test]
fn keys_and_templates_have_the_peers_order() {
    let config = config(stock(json!({})));
    assert_eq!(
        names(&config, ""),
        [
            "defaultTemplates",
            "policy",
            "alwaysInjectSelector",
            "neverInjectSelector",
            "injectedAnnotations",
            "template",
            "templates"
        ]
    );
    assert_eq!(config["defaultTemplates"], json!(["sidecar"]));
    assert_eq!(names(&config, "/templates"), SHIPPED);
}

#[test]
fn templates_of_the_user_replace_and_follow() {
    let own = json!({"sidecarInjectorWebhook": {"templates": {"mine": "a", "gateway": "b"}}});
    let config = config(stock(values(own)));
    let mut expected: Vec<&str> = SHIPPED.into_iter().filter(|n| *n != "gateway").collect();
    expected.extend(["gateway", "mine"]);
    assert_eq!(names(&config, "/templates"), expected);
    assert_eq!(config["templates"]["gateway"], "b");
}

/// Ironsail's control plane reads none: it gets the user's alone, whatever runs beside it.
#[test]
fn own_control_planes_get_none() {
    for spec in [
        json!({}),
        json!({"components": {"cni": {"hub": "docker.io/istio", "tag": "1.32.0"}}}),
        json!({"hub": "docker.io/istio", "tag": "1.32.0-ironsail.1"}),
    ] {
        let config = config(spec.clone());
        assert_eq!(config["template"], Value::Null, "{spec}");
        assert_eq!(config["templates"], json!({}), "{spec}");
    }
    let theirs = json!({"components": {"pilot": {"hub": "docker.io/istio", "tag": "1.32.0"}}});
    assert_eq!(names(&config(theirs), "/templates"), SHIPPED);
}

/// Templates use what istiod has since 1.25.
#[test]
fn old_control_planes_are_warned_of() {
    for (tag, warned) in [
        ("1.24.6", true),
        ("1.9-distroless", true),
        ("1.25.0", false),
        ("1.32-alpha.abc", false),
        ("latest", false),
        ("2.0.0", false),
    ] {
        let found = warnings(json!({"hub": "docker.io/istio", "tag": tag}));
        assert_eq!(found.contains("1.25 or newer"), warned, "{tag}: {found}");
    }
    assert_eq!(warnings(json!({"tag": "1.24.6"})), "");
}
