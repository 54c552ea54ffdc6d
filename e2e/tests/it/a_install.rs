//! What a first look at a fresh install shows.

use anyhow::Context;
use ironsail_e2e::{kubectl, mesh};

#[test]
fn every_field_is_explained() -> anyhow::Result<()> {
    mesh::installed();
    for (path, least) in [("iop.spec", 800), ("iop.spec.values", 400)] {
        let text = kubectl::run(&["explain", path, "--recursive"])?;
        let lines = text.lines().count();
        println!("{path}: {lines} lines");
        assert!(lines > least, "{path} has {lines} lines");
    }
    let definition = kubectl::get("default", &["crd", "istiooperators.install.istio.io"])?;
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut silent = Vec::new();
    for part in ["spec", "status"] {
        undescribed(&schema["properties"][part], part, &mut silent);
    }
    assert!(silent.is_empty(), "{silent:?}");
    Ok(())
}

/// Collects the paths of fields without a description.
fn undescribed(schema: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    if schema["description"].as_str().is_none_or(str::is_empty) {
        found.push(path.to_owned());
    }
    for fields in [&schema["properties"], &schema["items"]["properties"]] {
        for (name, field) in fields.as_object().into_iter().flatten() {
            undescribed(field, &format!("{path}.{name}"), found);
        }
    }
}

#[test]
fn one_program_serves_all_ports_of_the_control_plane() -> anyhow::Result<()> {
    mesh::installed();
    let list = kubectl::get(mesh::SYSTEM, &["deployments"])?;
    let mut names: Vec<&str> = Vec::new();
    for deployment in list["items"].as_array().context("a list")? {
        names.extend(deployment["metadata"]["name"].as_str());
    }
    assert_eq!(
        names,
        ["istio-egressgateway", "istio-ingressgateway", "istiod"]
    );
    let service = kubectl::get(mesh::SYSTEM, &["service", "istiod"])?;
    let ports = service["spec"]["ports"].as_array().context("ports")?;
    let ports: Vec<_> = ports
        .iter()
        .map(|port| (&port["port"], &port["targetPort"]))
        .map(|(port, target)| (port.as_u64(), target.as_u64()))
        .collect();
    let expected = [(15010, 15010), (15012, 15012), (443, 15017), (15014, 15014)];
    assert_eq!(
        ports,
        expected.map(|(port, target)| (Some(port), Some(target)))
    );
    let path = format!(
        "/api/v1/namespaces/{}/services/istiod:15014/proxy/version",
        mesh::SYSTEM
    );
    let version = kubectl::run(&["get", "--raw", &path])?;
    println!("{version}");
    assert!(version.contains("1.32.0"), "{version}");
    Ok(())
}
