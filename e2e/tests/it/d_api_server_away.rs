//! The mesh goes on without an API server, and the operator comes back to it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use ironsail_e2e::namespace::{App, Namespace};
use ironsail_e2e::{kubectl, mesh, traffic, wait};
use serde_json::Value;

const AWAY: Duration = Duration::from_secs(60);

/// How long Kubernetes' own controllers may take to notice: each looks for the API server in pauses of up to a minute, and a
/// pod takes several of them.
const NOTICED: Duration = Duration::from_secs(240);

/// The API server of the one-node cluster, stopped until this is dropped.
struct Away(String);

impl Away {
    fn begin(node: String) -> anyhow::Result<Self> {
        control(&node, "stop")?;
        Ok(Self(node))
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        if let Err(error) = control(&self.0, "start") {
            eprintln!("the API server stays away: {error:#}");
        }
    }
}

fn control(node: &str, verb: &str) -> anyhow::Result<()> {
    let status = Command::new(node).args([verb, "kube-apiserver"]).status()?;
    ensure!(status.success(), "{node} {verb} kube-apiserver: {status}");
    Ok(())
}

/// Restarts of all containers of the mesh, by pod.
fn restarts() -> anyhow::Result<Vec<(Value, Value)>> {
    let mut counts = Vec::new();
    for namespace in [mesh::SYSTEM, mesh::OPERATOR] {
        let pods = kubectl::get(namespace, &["pods"])?;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let statuses = pod["status"]["containerStatuses"].as_array();
            for status in statuses.into_iter().flatten() {
                counts.push((
                    pod["metadata"]["name"].clone(),
                    status["restartCount"].clone(),
                ));
            }
        }
    }
    Ok(counts)
}

/// A pod that sends requests until it is done; `kubectl exec` would end with the API server.
fn load_pod(seconds: u32) -> String {
    let image = mesh::image("apps");
    format!(
        "apiVersion: v1
kind: Pod
metadata:
  name: load
spec:
  restartPolicy: Never
  containers:
  - name: app
    image: {image}
    args: [load, http://echo:8080/, --rate, \"50\", --seconds, \"{seconds}\"]
"
    )
}

/// Waits until Kubernetes itself makes a pod of a Deployment again.
fn kubernetes_is_back() -> anyhow::Result<()> {
    let plain = Namespace::plain("e2e-kubernetes-back")?;
    let app = App::default();
    plain.apply(&app.manifest())?;
    wait::until("Kubernetes makes pods again", NOTICED, || {
        plain.rollout(&format!("deployment/{}", app.name))
    })
}

#[test]
fn a_minute_without_an_api_server_costs_no_request_and_no_restart() -> anyhow::Result<()> {
    mesh::installed();
    let Ok(node) = std::env::var("IRONSAIL_NODE") else {
        println!("skipped: IRONSAIL_NODE is not set, this cluster's API server can't be stopped");
        return Ok(());
    };
    let namespace = Namespace::injected("e2e-no-api-server")?;
    namespace.deploy(&App::default())?;
    namespace.apply(&load_pod(75))?;
    kubectl::run(&[
        "-n",
        &namespace.name,
        "wait",
        "pod/load",
        "--for=condition=Ready",
        "--timeout=60s",
    ])?;
    let before = restarts()?;
    let away = Away::begin(node)?;
    std::thread::sleep(AWAY);
    drop(away);
    wait::until("the API server is back", Duration::from_secs(60), || {
        kubectl::run(&["get", "--raw", "/readyz"]).map(drop)
    })?;
    assert_eq!(before, restarts()?);
    // Repaired, so the operator watches again.
    kubectl::run(&["-n", mesh::SYSTEM, "delete", "configmap", "istio"])?;
    wait::until("drift is repaired", Duration::from_secs(60), || {
        ensure!(
            kubectl::exists(mesh::SYSTEM, "configmap", "istio")?,
            "no ConfigMap"
        );
        Ok(())
    })?;
    mesh::healthy("demo", Duration::from_secs(60))?;
    let summary = wait::until("the load is over", Duration::from_secs(60), || {
        let log = kubectl::run(&["-n", &namespace.name, "logs", "load", "-c", "app"])?;
        let line = log.lines().find(|line| line.starts_with('{'));
        let summary: Value = serde_json::from_str(line.context("no summary yet")?)?;
        Ok(summary)
    })?;
    println!("{summary}");
    assert_eq!(summary["failed"], 0, "{summary}");
    kubernetes_is_back()?;
    // What is new is injected, known to the proxies, and has a name, also in a new namespace: DNS watches both.
    let later = Namespace::injected("e2e-api-server-back")?;
    later.deploy(&App::default())?;
    let url = format!("http://echo.{}:8080/", later.name);
    wait::until("a new service answers", Duration::from_secs(120), || {
        let answer = traffic::get(&namespace.name, "deployment/echo", &url, &[])?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
}
