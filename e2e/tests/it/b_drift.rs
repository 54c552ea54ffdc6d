//! Drift is repaired, and nothing is written when nothing drifted.

use std::time::{Duration, Instant};

use anyhow::ensure;
use ironsail_e2e::{audit, kubectl, mesh, wait};
use serde_json::Value;

/// How fast an edit or a deletion is undone.
const REPAIR: Duration = Duration::from_secs(5);

#[test]
fn an_edit_is_undone() -> anyhow::Result<()> {
    mesh::installed();
    let patch = r#"{"spec":{"ports":[{"name":"https-webhook","port":443,"targetPort":9}]}}"#;
    kubectl::run(&[
        "-n",
        mesh::SYSTEM,
        "patch",
        "service",
        "istiod",
        "-p",
        patch,
    ])?;
    let start = Instant::now();
    wait::until("the port is as before", REPAIR, || {
        let service = kubectl::get(mesh::SYSTEM, &["service", "istiod"])?;
        let drifted = service["spec"]["ports"]
            .as_array()
            .is_some_and(|ports| ports.iter().any(|port| port["targetPort"] == 9));
        ensure!(!drifted, "{}", service["spec"]["ports"]);
        Ok(())
    })?;
    println!("edit undone after {:?}", start.elapsed());
    Ok(())
}

#[test]
fn a_deletion_is_undone() -> anyhow::Result<()> {
    mesh::installed();
    let objects = [
        (mesh::SYSTEM, "configmap", "istio"),
        (mesh::SYSTEM, "service", "istio-egressgateway"),
        ("", "clusterrole", "istiod-clusterrole-istio-system"),
    ];
    for (namespace, kind, name) in objects {
        let namespace = if namespace.is_empty() {
            "default"
        } else {
            namespace
        };
        kubectl::run(&["-n", namespace, "delete", kind, name])?;
        let start = Instant::now();
        wait::until("the object is back", REPAIR, || {
            ensure!(
                kubectl::exists(namespace, kind, name)?,
                "{kind}/{name} is absent"
            );
            Ok(())
        })?;
        println!("{kind}/{name} back after {:?}", start.elapsed());
    }
    mesh::healthy("demo", Duration::from_secs(60))
}

/// The parts of webhooks that istiod writes.
#[test]
fn trust_and_failure_policy_of_webhooks_are_left_to_the_control_plane() -> anyhow::Result<()> {
    mesh::installed();
    let name = "istio-validator-istio-system";
    let webhook = || kubectl::get("default", &["validatingwebhookconfiguration", name]);
    let served = |object: &Value| {
        let webhook = &object["webhooks"][0];
        let bundle = webhook["clientConfig"]["caBundle"].as_str();
        ensure!(
            bundle.is_some_and(|bundle| !bundle.is_empty()) && webhook["failurePolicy"] == "Fail",
            "{webhook:#}"
        );
        Ok(())
    };
    wait::until("istiod has written them", REPAIR, || served(&webhook()?))?;
    kubectl::run(&["delete", "validatingwebhookconfiguration", name])?;
    wait::until("both are back", REPAIR * 2, || served(&webhook()?))?;
    let object = kubectl::run(&[
        "get",
        "validatingwebhookconfiguration",
        name,
        "--show-managed-fields",
        "-o",
        "json",
    ])?;
    let object: Value = serde_json::from_str(&object)?;
    let managers = object["metadata"]["managedFields"].as_array();
    let of_operator: Vec<&Value> = managers
        .into_iter()
        .flatten()
        .filter(|entry| entry["manager"] == "istio-operator")
        .collect();
    ensure!(!of_operator.is_empty(), "{object:#}");
    for entry in of_operator {
        let fields = entry["fieldsV1"].to_string();
        assert!(
            !fields.contains("f:caBundle") && !fields.contains("f:failurePolicy"),
            "{fields}"
        );
    }
    Ok(())
}

#[test]
fn an_idle_minute_writes_nothing() -> anyhow::Result<()> {
    mesh::installed();
    mesh::healthy("demo", Duration::from_secs(60))?;
    // What the tests before caused may still be settling.
    std::thread::sleep(Duration::from_secs(10));
    let writes = audit::operator_writes_within(Duration::from_secs(60))?;
    assert!(writes.is_empty(), "{writes:#?}");
    Ok(())
}

#[test]
fn the_operators_manifest_applies_twice() -> anyhow::Result<()> {
    mesh::installed();
    let manifest = mesh::manifest("deploy/operator.yaml")?;
    kubectl::run_with_input(&["apply", "-f", "-"], &manifest)?;
    let second = kubectl::run_with_input(&["apply", "-f", "-"], &manifest)?;
    let changed: Vec<&str> = second
        .lines()
        .filter(|line| !line.ends_with(" unchanged"))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    Ok(())
}
