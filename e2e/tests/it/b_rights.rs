//! Who may not install a mesh can't do it through a resource, and a resource can't get more than the operator has.

use std::time::Duration;

use anyhow::ensure;
use ironsail_e2e::resource::{Resource, gateway, manifest};
use ironsail_e2e::{kubectl, mesh, wait};
use serde_json::json;

const DEVELOPER: &str = "--as=e2e-developer";

/// A user with the role `edit` in the mesh's namespace, while this lives.
struct Developer;

impl Developer {
    fn begin() -> anyhow::Result<Self> {
        let bind = [
            "create",
            "rolebinding",
            "e2e-developer",
            "--clusterrole=edit",
            "--user=e2e-developer",
        ];
        kubectl::run(&[&["-n", mesh::SYSTEM][..], &bind].concat())?;
        Ok(Self)
    }
}

impl Drop for Developer {
    fn drop(&mut self) {
        let delete = [
            "delete",
            "rolebinding",
            "e2e-developer",
            "--ignore-not-found",
        ];
        if let Err(error) = kubectl::run(&[&["-n", mesh::SYSTEM][..], &delete].concat()) {
            eprintln!("the binding stays: {error:#}");
        }
    }
}

#[test]
fn the_role_edit_does_not_reach_meshes() -> anyhow::Result<()> {
    mesh::installed();
    let _developer = Developer::begin()?;
    let may = [
        "-n",
        mesh::SYSTEM,
        "auth",
        "can-i",
        "create",
        "configmaps",
        DEVELOPER,
    ];
    wait::until("the role is in force", Duration::from_secs(10), || {
        kubectl::run(&may).map(drop)
    })?;
    let resource = manifest("e2e-escalation", &json!({"profile": "empty"}));
    let refused = kubectl::expect_failure(&["create", "-f", "-", DEVELOPER], &resource)?;
    assert!(refused.contains("forbidden"), "{refused}");
    let patch = r#"{"spec":{"profile":"empty"}}"#;
    let change = [
        "-n",
        mesh::SYSTEM,
        "patch",
        "istiooperator",
        "demo",
        "--type=merge",
        "-p",
        patch,
        DEVELOPER,
    ];
    let refused = kubectl::expect_failure(&change, "")?;
    assert!(refused.contains("forbidden"), "{refused}");
    Ok(())
}

#[test]
fn an_overlay_grants_nothing_that_the_operator_does_not_have() -> anyhow::Result<()> {
    mesh::installed();
    let name = "greedy";
    let overlays = json!([
        {"kind": "Role", "name": "greedy-sds", "patches": [{"path": "rules.[0].resources", "value": ["*"]}]},
        {"kind": "ClusterRoleBinding", "name": "cluster-admin", "patches": [{"path": "subjects", "value": []}]},
    ]);
    let spec = gateway(name, &json!({"k8s": {"overlays": overlays}}));
    let resource = Resource::apply(name, &spec)?;
    let said = wait::until("the refusal is named", Duration::from_secs(30), || {
        let object = resource.get()?;
        let text = object["status"]["componentStatus"]["IngressGateways"].to_string();
        ensure!(
            object["status"]["status"] == "ERROR"
                && text.contains("greedy-sds")
                && text.contains("attempting to grant"),
            "{:#}",
            object["status"]
        );
        Ok(text)
    })?;
    println!("{said}");
    let role = kubectl::run(&[
        "-n",
        mesh::SYSTEM,
        "get",
        "role",
        "greedy-sds",
        "--ignore-not-found",
        "-o",
        "name",
    ])?;
    assert_eq!(role, "");
    let warnings = resource.condition("Valid", "True", Duration::from_secs(5))?;
    assert!(warnings.contains("cluster-admin"), "{warnings}");
    Ok(())
}
