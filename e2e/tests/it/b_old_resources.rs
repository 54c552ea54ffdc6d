//! Resources written for older operators.

use std::time::Duration;

use ironsail_e2e::mesh;
use ironsail_e2e::resource::Resource;
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_resource_of_1_16_is_kept_as_it_is_and_its_old_settings_are_named() -> anyhow::Result<()> {
    mesh::installed();
    let spec = json!({
        "profile": "empty",
        "resourceSuffix": "x",
        "addonComponents": {
            "prometheus": {"enabled": false, "k8s": {"replicaCount": 1}},
            "grafana": {"enabled": false},
        },
        "components": {
            "telemetry": {"enabled": false},
            "policy": {"enabled": false},
            "ingressGateways": [{"name": "from-1-16", "enabled": true, "label": {"app": "from-1-16", "istio": "from-1-16"}}],
        },
        "values": {
            "mixer": {"policy": {"enabled": false}},
            "gateways": {"istio-ingressgateway": {"autoscaleEnabled": false, "type": "ClusterIP", "zvpn": {"enabled": false}}},
        },
    });
    let resource = Resource::apply("from-1-16", &spec)?;
    let object = resource.healthy()?;
    assert_eq!(object["spec"], spec);
    let said = resource.condition("Valid", "True", SOON)?;
    for path in [
        "spec.addonComponents",
        "spec.resourceSuffix",
        "spec.components.telemetry",
        "spec.values.mixer",
    ] {
        assert!(said.contains(path), "{path} is not in: {said}");
    }
    // Still changeable.
    let mut other = spec;
    other["values"]["gateways"]["istio-ingressgateway"]["podAnnotations"] = json!({"a": "b"});
    resource.change(&other)?;
    assert_eq!(resource.healthy()?["spec"], other);
    Ok(())
}
