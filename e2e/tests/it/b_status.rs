//! Status tells the truth, to people and to GitOps tools.

use std::time::Duration;

use anyhow::{Context, ensure};
use ironsail_e2e::health::{argo, kstatus};
use ironsail_e2e::resource::{Resource, gateway, gateway_values};
use ironsail_e2e::{kubectl, mesh, operator, wait};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

#[track_caller]
fn check(what: &str, object: &Value, expected: (&str, &str)) {
    assert_eq!(
        (argo(object), kstatus(object)),
        expected,
        "{what}: {:#}",
        object["status"]
    );
    println!("{what}: Argo CD {}, kstatus {}", expected.0, expected.1);
}

#[test]
fn gitops_tools_read_every_state_right() -> anyhow::Result<()> {
    mesh::installed();
    let away = operator::Away::begin()?;
    let resource = Resource::apply("states", &gateway("states", &json!({})))?;
    check(
        "new, nobody looked at it",
        &resource.get()?,
        ("Progressing", "InProgress"),
    );
    let invalid = Resource::apply(
        "states-invalid",
        &json!({"profile": "empty", "components": {"pilots": {}}}),
    )?;
    drop(away);

    let mut installing = false;
    wait::until("HEALTHY", Duration::from_secs(90), || {
        let object = resource.get()?;
        if object["status"]["status"] == "RECONCILING" {
            installing = true;
            assert_eq!(
                (argo(&object), kstatus(&object)),
                ("Progressing", "InProgress")
            );
        }
        ensure!(
            object["status"]["status"] == "HEALTHY",
            "{:#}",
            object["status"]
        );
        Ok(())
    })?;
    ensure!(installing, "RECONCILING was never seen");
    check("installed", &resource.get()?, ("Healthy", "Current"));
    let object = invalid.wait("ERROR", SOON)?;
    check("invalid", &object, ("Degraded", "Failed"));
    drop(invalid);

    resource.change(&gateway("states", &json!({"tag": "not-there"})))?;
    let object = resource.wait("UPDATING", SOON)?;
    check(
        "changing, and a pod can't start",
        &object,
        ("Progressing", "InProgress"),
    );
    resource.change(&gateway("states", &json!({})))?;
    resource.healthy()?;

    resource.annotate("operator.ironsail.dev/apply=Manual")?;
    resource.change(&gateway(
        "states",
        &json!({"k8s": {"podAnnotations": {"a": "b"}}}),
    ))?;
    let object = resource.wait("ACTION_REQUIRED", SOON)?;
    check("waiting for approval", &object, ("Progressing", "Failed"));
    let hash = object["status"]["plan"]["hash"]
        .as_str()
        .context("no plan")?;
    resource.annotate(&format!("operator.ironsail.dev/approve={hash}"))?;
    check("approved", &resource.healthy()?, ("Healthy", "Current"));

    let hold = |list: &str| {
        let patch = format!(r#"{{"metadata":{{"finalizers":{list}}}}}"#);
        let patched = [
            "patch",
            "istiooperator",
            "states",
            "--type=merge",
            "-p",
            &patch,
        ];
        kubectl::run(&[&["-n", mesh::SYSTEM][..], &patched].concat())
    };
    hold(r#"["istio-finalizer.install.istio.io","e2e.example.com/hold"]"#)?;
    kubectl::run(&[
        "-n",
        mesh::SYSTEM,
        "delete",
        "istiooperator",
        "states",
        "--wait=false",
    ])?;
    check(
        "being deleted",
        &resource.get()?,
        ("Progressing", "Terminating"),
    );
    wait::until("the operator is done", SOON, || {
        let finalizers = resource.get()?["metadata"]["finalizers"].clone();
        ensure!(
            finalizers == json!(["e2e.example.com/hold"]),
            "{finalizers}"
        );
        Ok(())
    })?;
    hold("null")?;
    Ok(())
}

#[test]
fn the_reason_of_a_pod_that_cannot_start_is_quoted() -> anyhow::Result<()> {
    mesh::installed();
    let resource = Resource::apply(
        "unstartable",
        &gateway("unstartable", &json!({"tag": "not-there"})),
    )?;
    wait::until("the reason", Duration::from_secs(60), || {
        let object = resource.get()?;
        let component = &object["status"]["componentStatus"]["IngressGateways"];
        let text = component["error"].as_str().unwrap_or_default();
        ensure!(component["status"] != "HEALTHY", "{component:#}");
        ensure!(
            text.contains("proxyv2:not-there") && text.contains("Pull"),
            "{:#}",
            object["status"]
        );
        Ok(())
    })?;
    resource.change(&gateway("unstartable", &json!({})))?;
    resource.healthy()?;
    // A pause is no trouble, but it is said.
    resource.annotate("install.istio.io/ignoreReconcile=true")?;
    resource.condition("Paused", "True", SOON)?;
    resource.annotate("install.istio.io/ignoreReconcile-")?;
    resource.healthy().map(drop)
}

/// No node takes pods while this lives.
struct Cordoned(Vec<String>);

impl Cordoned {
    fn begin() -> anyhow::Result<Self> {
        let nodes = kubectl::run(&["get", "nodes", "-o", "name"])?;
        let cordoned = Self(nodes.lines().map(str::to_owned).collect());
        for node in &cordoned.0 {
            kubectl::run(&["cordon", node])?;
        }
        Ok(cordoned)
    }
}

impl Drop for Cordoned {
    fn drop(&mut self) {
        for node in &self.0 {
            if let Err(error) = kubectl::run(&["uncordon", node]) {
                eprintln!("{node} takes no pods: {error:#}");
            }
        }
    }
}

#[test]
fn what_breaks_after_the_installation_is_said_too() -> anyhow::Result<()> {
    mesh::installed();
    let resource = Resource::apply("breaking", &gateway("breaking", &json!({})))?;
    resource.healthy()?;
    let cordoned = Cordoned::begin()?;
    let pods = ["delete", "pod", "-l", "app=breaking", "--wait=false"];
    kubectl::run(&[&["-n", mesh::SYSTEM][..], &pods].concat())?;
    let said = wait::until("the reason", SOON, || {
        let object = resource.get()?;
        let text = object["status"]["componentStatus"]["IngressGateways"]["error"].to_string();
        ensure!(
            object["status"]["status"] != "HEALTHY" && text.contains("unschedulable"),
            "{:#}",
            object["status"]
        );
        Ok(text)
    })?;
    println!("{said}");
    drop(cordoned);
    resource.healthy().map(drop)
}

#[test]
fn a_missing_right_is_named_and_the_rest_is_applied() -> anyhow::Result<()> {
    mesh::installed();
    let role = kubectl::get("default", &["clusterrole", "istio-operator"])?;
    let rules = role["rules"].as_array().context("no rules")?;
    let rest: Vec<&Value> = rules
        .iter()
        .filter(|rule| {
            !rule["resources"]
                .to_string()
                .contains("horizontalpodautoscalers")
        })
        .collect();
    ensure!(rest.len() < rules.len(), "{rules:#?}");
    let patch = json!({"rules": rest}).to_string();
    kubectl::run(&[
        "patch",
        "clusterrole",
        "istio-operator",
        "--type=merge",
        "-p",
        &patch,
    ])?;
    let mut spec = gateway("rightless", &json!({}));
    gateway_values(&mut spec)["autoscaleEnabled"] = json!(true);
    let resource = Resource::apply("rightless", &spec)?;
    let said = wait::until("the right is named", SOON, || {
        let object = resource.get()?;
        let text = object["status"]["componentStatus"]["IngressGateways"].to_string();
        ensure!(
            object["status"]["status"] == "ERROR"
                && text.contains("cannot")
                && text.contains("horizontalpodautoscalers"),
            "{:#}",
            object["status"]
        );
        ensure!(
            kubectl::exists(mesh::SYSTEM, "deployment", "rightless")?,
            "the Deployment is not there"
        );
        Ok(text)
    });
    mesh::apply_operator()?;
    println!("{}", said?);
    resource.healthy().map(drop)
}
