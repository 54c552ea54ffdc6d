//! Revisions beside each other: who is the default, who is collected, who is held.

use std::time::Duration;

use anyhow::ensure;
use ironsail_e2e::namespace::Namespace;
use ironsail_e2e::resource::{Resource, control_plane};
use ironsail_e2e::{kubectl, mesh, wait};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

/// Usage is asked at most once a minute.
const ASKED_AGAIN: Duration = Duration::from_secs(100);

const FORCE: &str = "operator.ironsail.dev/force-removal=true";

/// Where the default webhook sends pods.
fn default_leads_to() -> anyhow::Result<String> {
    let name = "istio-revision-tag-default";
    let webhook = kubectl::get("default", &["mutatingwebhookconfiguration", name])?;
    let service = &webhook["webhooks"][0]["clientConfig"]["service"]["name"];
    Ok(service.as_str().unwrap_or_default().to_owned())
}

/// A pod of a revision whose program ends at once.
fn finished_pod(revision: &str) -> String {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "finished", "labels": {"istio.io/rev": revision}},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "app", "image": mesh::image("apps"), "args": ["--help"]}],
        },
    });
    pod.to_string()
}

fn default_becomes(service: &str) -> anyhow::Result<()> {
    wait::until(service, SOON, || {
        let found = default_leads_to()?;
        ensure!(found == service, "the default leads to {found}");
        Ok(())
    })
}

#[test]
fn two_that_ask_for_the_default_dispute_and_the_first_one_keeps_it() -> anyhow::Result<()> {
    mesh::installed();
    assert_eq!(default_leads_to()?, "istiod");
    let first = Resource::apply("first", &control_plane("first", &["default"]))?;
    first.healthy()?;
    default_becomes("istiod-first")?;
    let second = Resource::apply("second", &control_plane("second", &["default"]))?;
    let said = second.condition("Conflict", "True", SOON)?;
    println!("{said}");
    assert!(
        said.contains("istio-revision-tag-default") && said.contains("first"),
        "{said}"
    );
    assert_eq!(default_leads_to()?, "istiod-first");
    mesh::healthy("demo", SOON)?;

    // It moves on when it is let go, and to the revision without a name at last.
    first.change(&control_plane("first", &[]))?;
    default_becomes("istiod-second")?;
    second.condition("Conflict", "False", SOON)?;
    second.change(&control_plane("second", &[]))?;
    default_becomes("istiod")?;
    for resource in [&first, &second] {
        resource.annotate(FORCE)?;
    }
    drop((first, second));
    mesh::healthy("demo", SOON)
}

#[test]
fn an_unused_revision_is_collected_and_one_that_cannot_be_asked_is_held() -> anyhow::Result<()> {
    mesh::installed();
    let unused = Resource::apply("unused", &control_plane("unused", &[]))?;
    // Its connections can't be read where the operator looks for them.
    let mut spec = control_plane("mute", &[]);
    spec["components"]["pilot"]["k8s"]["overlays"] = json!([{
        "kind": "Deployment",
        "name": "istiod-mute",
        "patches": [{
            "path": "spec.template.spec.containers.[name:discovery].args.[--monitoringAddr=:15014]",
            "value": "--monitoringAddr=:25014",
        }],
    }]);
    let mute = Resource::apply("mute", &spec)?;
    mute.healthy()?;
    // A pod that is over uses nothing.
    let namespace = Namespace::plain("e2e-finished")?;
    unused.healthy()?;
    namespace.apply(&finished_pod("unused"))?;
    wait::until("the pod is over", SOON, || {
        let pod = namespace.get(&["pod", "finished"])?;
        let revision = &pod["metadata"]["annotations"]["istio.io/rev"];
        ensure!(
            revision == "unused" && pod["status"]["phase"] == "Succeeded",
            "{revision}: {}",
            pod["status"]
        );
        Ok(())
    })?;
    for resource in [&unused, &mute] {
        resource.annotate("operator.ironsail.dev/collect-when-unused=1s")?;
    }
    println!("{}", mute.condition("InUse", "Unknown", ASKED_AGAIN)?);
    wait::until("the unused revision is gone", ASKED_AGAIN, || {
        for (kind, name) in [("istiooperator", "unused"), ("deployment", "istiod-unused")] {
            ensure!(!kubectl::exists(mesh::SYSTEM, kind, name)?, "{kind} {name}");
        }
        Ok(())
    })?;
    let delete = ["delete", "istiooperator", "mute", "--wait=false"];
    kubectl::run(&[&["-n", mesh::SYSTEM][..], &delete].concat())?;
    let held = wait::until("it is said that it may be in use", SOON, || {
        let status = mute.get()?["status"].clone();
        let text = status["message"].as_str().unwrap_or_default().to_owned();
        ensure!(
            status["status"] == "ACTION_REQUIRED" && text.contains("may be in use"),
            "{status:#}"
        );
        Ok(text)
    })?;
    println!("{held}");
    assert!(kubectl::exists(mesh::SYSTEM, "deployment", "istiod-mute")?);
    mute.annotate(FORCE)
}
