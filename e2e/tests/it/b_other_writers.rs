//! The operator shares the cluster: with webhooks that rewrite objects, and with somebody who writes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ironsail_e2e::namespace::{App, Namespace};
use ironsail_e2e::resource::{Resource, gateway};
use ironsail_e2e::{audit, kubectl, mesh, wait};
use serde_json::{Value, json};

/// Seconds without a change that are watched; `IRONSAIL_IDLE_SECONDS` makes it longer.
const IDLE_SECONDS: u64 = 60;

fn idle() -> Duration {
    let given = std::env::var("IRONSAIL_IDLE_SECONDS").ok();
    Duration::from_secs(
        given
            .and_then(|text| text.parse().ok())
            .unwrap_or(IDLE_SECONDS),
    )
}

/// A gateway that says nothing of limits, so that a webhook may.
fn without_limits(name: &str) -> Value {
    let overlay = json!({"kind": "Deployment", "name": name, "patches": [
        {"path": "spec.template.spec.containers.[name:istio-proxy].resources.limits"},
    ]});
    gateway(name, &json!({"k8s": {"overlays": [overlay]}}))
}

/// Webhook configurations are no part of a namespace.
struct Configuration(&'static str);

impl Drop for Configuration {
    fn drop(&mut self) {
        let delete = [
            "delete",
            "mutatingwebhookconfiguration",
            self.0,
            "--ignore-not-found",
        ];
        if let Err(error) = kubectl::run(&delete) {
            eprintln!("{} stays: {error:#}", self.0);
        }
    }
}

/// Lets the webhook of a namespace rewrite what a gateway's Deployment and pods say.
fn install_webhook(namespace: &Namespace, gateway: &str) -> anyhow::Result<Configuration> {
    let name = &namespace.name;
    let host = format!("admission.{name}.svc");
    namespace.deploy(&App {
        name: "admission",
        args: &["admission", &host],
        ports: &[("https", 8443), ("http", 8080)],
        ..App::default()
    })?;
    let certificate = namespace.exec(
        "deployment/admission",
        &["/usr/local/bin/apps", "get", "http://127.0.0.1:8080/"],
    )?;
    let (_, pem) = certificate
        .split_once("-----BEGIN")
        .context("no certificate")?;
    let bundle = ironsail_e2e::base64(format!("-----BEGIN{pem}").trim_end().as_bytes());
    let rule = |group: &str, resource: &str| json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]});
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "e2e-rewriting"},
        "webhooks": [{
            "name": "rewriting.example.com",
            "clientConfig": {"caBundle": bundle, "service": {"namespace": name, "name": "admission", "port": 8443}},
            "rules": [rule("apps", "deployments"), rule("", "pods")],
            "objectSelector": {"matchLabels": {"istio": gateway}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }],
    });
    kubectl::run_with_input(&["apply", "-f", "-"], &configuration.to_string())?;
    Ok(Configuration("e2e-rewriting"))
}

#[test]
fn webhooks_that_rewrite_objects_cause_no_loop() -> anyhow::Result<()> {
    mesh::installed();
    let namespace = Namespace::plain("e2e-rewriting")?;
    let _configuration = install_webhook(&namespace, "rewritten")?;
    let resource = Resource::apply("rewritten", &without_limits("rewritten"))?;
    resource.healthy()?;
    let deployment = kubectl::get(mesh::SYSTEM, &["deployment", "rewritten"])?;
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let image = container["image"].as_str().unwrap_or_default();
    if mesh::image("proxyv2").starts_with("ironsail/") {
        assert!(image.starts_with("docker.io/ironsail/"), "{image}");
    }
    assert_eq!(container["resources"]["limits"]["memory"], "512Mi");
    std::thread::sleep(Duration::from_secs(5));
    let idle = idle();
    let writes = audit::operator_writes_within(idle)?;
    assert!(writes.is_empty(), "{writes:#?}");
    println!("{idle:?} without a write");
    // What the webhook did not touch is still repaired.
    kubectl::run(&[
        "-n",
        mesh::SYSTEM,
        "annotate",
        "deployment",
        "rewritten",
        "example.com/edit=1",
    ])?;
    kubectl::run(&[
        "-n",
        mesh::SYSTEM,
        "label",
        "deployment",
        "rewritten",
        "app.kubernetes.io/name=other",
        "--overwrite",
    ])?;
    wait::until("the label is as before", Duration::from_secs(10), || {
        let deployment = kubectl::get(mesh::SYSTEM, &["deployment", "rewritten"])?;
        let labels = &deployment["metadata"]["labels"];
        ensure!(
            labels["app.kubernetes.io/name"] == "istio-ingressgateway",
            "{labels}"
        );
        Ok(())
    })
}

#[test]
fn a_fight_is_slowed_and_named() -> anyhow::Result<()> {
    mesh::installed();
    let resource = Resource::apply("contested", &gateway("contested", &json!({})))?;
    resource.healthy()?;
    let over = AtomicBool::new(false);
    let Some(mark) = audit::Mark::now()? else {
        return Ok(());
    };
    let start = Instant::now();
    let (conflict, writes) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let patch = r#"[{"op":"replace","path":"/spec/ports/1/targetPort","value":9999}]"#;
            let command = [
                "-n",
                mesh::SYSTEM,
                "patch",
                "service",
                "contested",
                "--type=json",
                "-p",
                patch,
            ];
            while !over.load(Ordering::Relaxed) {
                let _ = kubectl::run(&command);
                std::thread::sleep(Duration::from_millis(700));
            }
        });
        let conflict = resource.condition("Conflict", "True", Duration::from_secs(50));
        std::thread::sleep(Duration::from_secs(60).saturating_sub(start.elapsed()));
        let writes = mark.operator_writes();
        over.store(true, Ordering::Relaxed);
        (conflict, writes)
    });
    let conflict = conflict?;
    assert!(
        conflict.contains("contested") && conflict.contains("kubectl"),
        "{conflict}"
    );
    let fights: Vec<String> = writes?
        .into_iter()
        .filter(|write| write.contains("/services/contested"))
        .collect();
    println!("{} writes in a minute; {conflict}", fights.len());
    assert!((1..=6).contains(&fights.len()), "{fights:#?}");
    mesh::healthy("demo", Duration::from_secs(10))
}
