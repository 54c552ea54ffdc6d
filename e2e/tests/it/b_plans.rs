//! What is lost or made anew happens only to those who were shown it and agreed.

use std::time::Duration;

use anyhow::{Context, ensure};
use ironsail_e2e::resource::{Resource, entry, gateway, gateways};
use ironsail_e2e::{kubectl, mesh, wait};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

const APPLY: &str = "operator.ironsail.dev/apply";
const APPROVE: &str = "operator.ironsail.dev/approve";
const IGNORE: &str = "install.istio.io/ignoreReconcile";
const RECREATE: &str = "operator.ironsail.dev/recreate";

fn of_gateways(names: &[&str]) -> Value {
    let entries = names.iter().map(|name| entry(name, &json!({})));
    gateways(&entries.collect::<Vec<_>>())
}

#[test]
fn an_approval_is_void_once_more_would_be_lost() -> anyhow::Result<()> {
    mesh::installed();
    let both = Resource::apply("approved", &of_gateways(&["approved-a", "approved-b"]))?;
    both.healthy()?;
    // As long as this one is there, it would get the second gateway.
    let heir = Resource::apply("approved-heir", &of_gateways(&["approved-b"]))?;
    heir.healthy()?;
    both.annotate(&format!("{APPLY}=Manual"))?;
    both.change(&of_gateways(&["approved-a"]))?;
    let shown = both.wait("ACTION_REQUIRED", SOON)?["status"]["plan"].clone();
    ensure!(!shown.to_string().contains("approved-b"), "{shown:#}");
    // Until it is approved nothing else is shown.
    both.annotate(&format!("{IGNORE}=true"))?;
    both.condition("Paused", "True", SOON)?;
    drop(heir);

    let hash = shown["hash"].as_str().context("no plan")?;
    both.annotate_all(&[&format!("{APPROVE}={hash}"), &format!("{IGNORE}-")])?;
    let said = wait::until("the approval is void", SOON, || {
        let status = both.get()?["status"].clone();
        let lost = status["plan"]["destructive"].to_string();
        ensure!(
            status["plan"]["void"] == true
                && status["plan"]["hash"] == hash
                && lost.contains("deletes Deployment istio-system/approved-b"),
            "{status:#}"
        );
        Ok(status["message"].clone())
    })?;
    println!("{said}");
    assert!(kubectl::exists(mesh::SYSTEM, "deployment", "approved-b")?);

    // Whoever has looked again agrees again.
    both.annotate(&format!("{APPROVE}-"))?;
    wait::until("it waits for an approval", SOON, || {
        let status = both.get()?["status"].clone();
        ensure!(status["plan"]["void"].is_null(), "{status:#}");
        Ok(())
    })?;
    both.annotate(&format!("{APPROVE}={hash}"))?;
    both.healthy()?;
    assert!(!kubectl::exists(mesh::SYSTEM, "deployment", "approved-b")?);
    Ok(())
}

#[test]
fn a_selector_that_cannot_change_does_so_with_consent() -> anyhow::Result<()> {
    mesh::installed();
    let name = "reselected";
    let labelled = |app: &str| gateway(name, &json!({"label": {"app": app, "istio": name}}));
    let uid = || -> anyhow::Result<Value> {
        let deployment = kubectl::get(mesh::SYSTEM, &["deployment", name])?;
        Ok(deployment["metadata"]["uid"].clone())
    };
    let resource = Resource::apply(name, &labelled("before"))?;
    resource.healthy()?;
    let before = uid()?;
    resource.change(&labelled("after"))?;
    let said = wait::until("the selector is named", SOON, || {
        let component = resource.get()?["status"]["componentStatus"]["IngressGateways"].clone();
        let text = component["error"].as_str().unwrap_or_default();
        ensure!(
            text.contains(&format!("{RECREATE}=Deployment/{name}")),
            "{component:#}"
        );
        Ok(text.to_owned())
    })?;
    println!("{said}");
    assert_eq!(before, uid()?);
    resource.annotate(&format!("{RECREATE}=Deployment/{name}"))?;
    resource.healthy()?;
    let after = kubectl::get(mesh::SYSTEM, &["deployment", name])?;
    assert_ne!(before, after["metadata"]["uid"]);
    assert_eq!(after["spec"]["selector"]["matchLabels"]["app"], "after");
    Ok(())
}
