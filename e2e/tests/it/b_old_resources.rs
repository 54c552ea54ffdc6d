//! Resources written for older operators.

use std::time::Duration;

use anyhow::Context;
use ironsail_e2e::resource::{Resource, gateway, gateway_values, manifest};
use ironsail_e2e::{kubectl, mesh, operator};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_resource_of_1_16_is_kept_as_it_is_and_its_old_settings_are_named() -> anyhow::Result<()> {
    mesh::installed();
    let mut spec = gateway("from-1-16", &json!({}));
    spec["resourceSuffix"] = json!("x");
    spec["addonComponents"] = json!({
        "prometheus": {"enabled": false, "k8s": {"replicaCount": 1}},
        "grafana": {"enabled": false},
    });
    spec["components"]["telemetry"] = json!({"enabled": false});
    spec["components"]["policy"] = json!({"enabled": false});
    spec["values"]["mixer"] = json!({"policy": {"enabled": false}});
    gateway_values(&mut spec)["zvpn"] = json!({"enabled": false});
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
    gateway_values(&mut other)["podAnnotations"] = json!({"a": "b"});
    resource.change(&other)?;
    assert_eq!(resource.healthy()?["spec"], other);
    Ok(())
}

#[test]
fn a_mistake_that_is_stored_can_stay_while_something_else_is_changed() -> anyhow::Result<()> {
    mesh::installed();
    // Nobody refuses it while the operator is away.
    let away = operator::Away::begin()?;
    let mut spec = gateway("ratcheted", &json!({}));
    spec["components"]["pilots"] = json!({});
    let resource = Resource::apply("ratcheted", &spec)?;
    drop(away);
    resource.wait("ERROR", SOON)?;
    resource.annotate("example.com/team=edge")?;
    gateway_values(&mut spec)["podAnnotations"] = json!({"a": "b"});
    resource.change(&spec)?;
    assert_eq!(resource.wait("ERROR", SOON)?["spec"], spec);
    let mut worse = spec.clone();
    worse["components"]["pilotes"] = json!({});
    let apply = |spec: &Value| {
        let text = manifest("ratcheted", spec);
        kubectl::expect_failure(&["apply", "-f", "-"], &text)
    };
    let refused = apply(&worse)?;
    // What is stored is only warned about.
    assert!(
        refused.contains("is invalid: spec.components.pilotes: unknown field")
            && refused.contains("Warning: spec.components.pilots: unknown field"),
        "{refused}"
    );
    // Once it is mended it can't come back.
    let mut mended = spec.clone();
    let components = mended["components"].as_object_mut();
    components.context("components")?.remove("pilots");
    resource.change(&mended)?;
    resource.healthy()?;
    let refused = apply(&spec)?;
    assert!(refused.contains("spec.components.pilots"), "{refused}");
    Ok(())
}
