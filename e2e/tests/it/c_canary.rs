//! Another revision beside the one that serves, and everything moved to it under load.

use std::time::Duration;

use anyhow::{Context, ensure};
use ironsail_e2e::namespace::{App, Namespace};
use ironsail_e2e::resource::{Resource, control_plane, gateway};
use ironsail_e2e::{kubectl, mesh, traffic, wait};
use serde_json::{Value, json};

const GATEWAY: &str = "canary-gateway";
const TAG: &str = "prod";

/// Seconds of load and of the long streams; `IRONSAIL_CANARY_SECONDS` makes it longer.
const SECONDS: u64 = 120;

fn seconds() -> u64 {
    let given = std::env::var("IRONSAIL_CANARY_SECONDS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(SECONDS)
}

fn edge_gateway(revision: &str) -> Value {
    let k8s = json!({"resources": {"requests": {"cpu": "20m", "memory": "40Mi"}}});
    let mut spec = gateway(GATEWAY, &json!({"k8s": k8s}));
    spec["revision"] = json!(revision);
    spec
}

/// Where the webhook of the tag sends pods.
fn tagged() -> anyhow::Result<String> {
    let name = format!("istio-revision-tag-{TAG}");
    let webhook = kubectl::get("default", &["mutatingwebhookconfiguration", &name])?;
    let service = &webhook["webhooks"][0]["clientConfig"]["service"]["name"];
    Ok(service.as_str().unwrap_or_default().to_owned())
}

fn revisions_of_pods(namespace: &Namespace) -> anyhow::Result<Vec<Value>> {
    let pods = namespace.get(&["pods", "--field-selector=status.phase=Running"])?;
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let live = pods
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(live
        .map(|pod| pod["metadata"]["annotations"]["istio.io/rev"].clone())
        .collect())
}

fn route_through_the_gateway(namespace: &Namespace) -> anyhow::Result<()> {
    let text = mesh::manifest("deploy/samples/bookinfo-networking.yaml")?;
    namespace
        .apply(&text.replace("istio: ingressgateway", &format!("istio: {GATEWAY}")))
        .map(drop)
}

fn restart_everything(namespace: &Namespace) -> anyhow::Result<()> {
    kubectl::run(&["-n", &namespace.name, "rollout", "restart", "deployment"])?;
    let list = namespace.get(&["deployments"])?;
    for deployment in list["items"].as_array().into_iter().flatten() {
        let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
        namespace.rollout(&format!("deployment/{name}"))?;
    }
    Ok(())
}

#[test]
fn everything_moves_to_another_revision_without_a_failed_request() -> anyhow::Result<()> {
    mesh::installed();
    let blue = Resource::apply("blue", &control_plane("blue", &[TAG]))?;
    blue.healthy()?;
    let edge = Resource::apply(GATEWAY, &edge_gateway("blue"))?;
    edge.healthy()?;
    let namespace = Namespace::plain("e2e-canary")?;
    kubectl::run(&[
        "label",
        "namespace",
        &namespace.name,
        &format!("istio.io/rev={TAG}"),
    ])?;
    namespace.apply_file("deploy/samples/bookinfo.yaml")?;
    route_through_the_gateway(&namespace)?;
    restart_everything(&namespace)?;
    let outside = Namespace::plain("e2e-canary-outside")?;
    outside.deploy(&App {
        name: "load",
        args: &["sleep"],
        ports: &[],
        ..App::default()
    })?;
    let url = format!("http://{GATEWAY}.{}/productpage", mesh::SYSTEM);
    wait::until("the page is there", Duration::from_secs(60), || {
        let answer = traffic::get(&outside.name, "deployment/load", &url, &[])?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })?;
    let time = seconds().to_string();
    let load = ["--rate", "100", "--seconds", &time];
    let load = traffic::load_in_background(
        &outside.name,
        "deployment/load",
        &[&[&url[..]][..], &load].concat(),
    );

    let green = Resource::apply("green", &control_plane("green", &[]))?;
    green.healthy()?;
    let (streams, held) = hold_streams(&time)?;
    // First the new one wants the tag, then the old one lets it go.
    green.change(&control_plane("green", &[TAG]))?;
    blue.change(&control_plane("blue", &[]))?;
    wait::until("the tag is moved", Duration::from_secs(30), || {
        let service = tagged()?;
        ensure!(service == "istiod-green", "the tag leads to {service}");
        Ok(())
    })?;
    green.healthy()?;
    restart_everything(&namespace)?;
    let revisions = revisions_of_pods(&namespace)?;
    ensure!(
        revisions.iter().all(|revision| revision == "green"),
        "{revisions:?}"
    );

    kubectl::run(&[
        "-n",
        mesh::SYSTEM,
        "delete",
        "istiooperator",
        "blue",
        "--wait=false",
    ])?;
    let kept = wait::until(
        "it is said who needs the old revision",
        Duration::from_secs(30),
        || {
            let status = blue.get()?["status"].clone();
            let text = status["message"].as_str().unwrap_or_default().to_owned();
            ensure!(
                status["status"] == "ACTION_REQUIRED" && text.contains(GATEWAY),
                "{status:#}"
            );
            Ok(text)
        },
    )?;
    println!("{kept}");
    assert!(kubectl::exists(mesh::SYSTEM, "deployment", "istiod-blue")?);
    edge.change(&edge_gateway("green"))?;
    edge.healthy()?;
    wait::until("the old revision is gone", Duration::from_secs(120), || {
        ensure!(
            !kubectl::exists(mesh::SYSTEM, "istiooperator", "blue")?,
            "{:#}",
            blue.get()?["status"]
        );
        ensure!(
            !kubectl::exists(mesh::SYSTEM, "deployment", "istiod-blue")?,
            "istiod-blue is there"
        );
        Ok(())
    })?;
    println!("the old revision is gone; waiting for the end of the load");
    let load = load
        .join()
        .map_err(|_| anyhow::anyhow!("the load panicked"))??;
    let held = held
        .join()
        .map_err(|_| anyhow::anyhow!("the streams panicked"))??;
    println!(
        "{} requests, {} failed; streams: {held}",
        load.sent, load.failed
    );
    assert_eq!(load.failed, 0, "{load:?}");
    for kind in ["grpc", "tcp"] {
        assert!(held[kind]["error"].is_null(), "{held}");
    }
    // Gateways are nobody's control plane; the revision still has the pods of three namespaces.
    drop(edge);
    green.annotate("operator.ironsail.dev/force-removal=true")?;
    drop((green, streams));
    mesh::healthy("demo", Duration::from_secs(30))
}

type Held = std::thread::JoinHandle<anyhow::Result<Value>>;

/// A pair of pods of the new revision that keep a gRPC stream and a TCP connection in use while everything else moves.
fn hold_streams(seconds: &str) -> anyhow::Result<(Namespace, Held)> {
    let namespace = Namespace::plain("e2e-canary-streams")?;
    kubectl::run(&["label", "namespace", &namespace.name, "istio.io/rev=green"])?;
    namespace.deploy(&App {
        ports: &[("grpc", 8080)],
        ..App::default()
    })?;
    namespace.deploy(&App {
        name: "tcp",
        args: &["tcp-echo"],
        ports: &[("tcp", 9000)],
        ..App::default()
    })?;
    namespace.deploy(&App {
        name: "holder",
        args: &["sleep"],
        ports: &[],
        ..App::default()
    })?;
    let name = namespace.name.clone();
    let seconds = seconds.to_owned();
    let held = std::thread::spawn(move || {
        let command = [
            "/usr/local/bin/apps",
            "hold",
            "--grpc",
            "echo:8080",
            "--tcp",
            "tcp:9000",
            "--seconds",
            &seconds,
        ];
        let text = kubectl::exec(&name, "deployment/holder", "app", &command)?;
        serde_json::from_str(text.trim()).context("no summary")
    });
    Ok((namespace, held))
}
