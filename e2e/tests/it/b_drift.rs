//! Drift is repaired, and nothing is written when nothing drifted.

use std::time::{Duration, Instant};

use anyhow::ensure;
use ironsail_e2e::{audit, kubectl, mesh, wait};

/// How fast an edit or a deletion is undone.
const REPAIR: Duration = Duration::from_secs(5);

/// User of the operator's pods.
const OPERATOR_USER: &str = "system:serviceaccount:istio-operator:";

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

#[test]
fn an_idle_minute_writes_nothing() -> anyhow::Result<()> {
    mesh::installed();
    let Some(log) = audit::path() else {
        println!("skipped: IRONSAIL_AUDIT_LOG is not set, this cluster's audit log cannot be read");
        return Ok(());
    };
    mesh::healthy("demo", Duration::from_secs(60))?;
    // What the tests before caused may still be settling.
    std::thread::sleep(Duration::from_secs(10));
    let mark = audit::mark(&log)?;
    std::thread::sleep(Duration::from_secs(60));
    let writes = audit::writes_since(&log, mark, OPERATOR_USER)?;
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
