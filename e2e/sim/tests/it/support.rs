//! Samples of the project, meshes with them, and small services of tests.

use std::path::PathBuf;

use ironsail_sim::{Call, Mesh, Outcome};

/// Runs a simulation under a paused clock.
pub fn run(simulation: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, simulation);
}

/// Folder of the samples.
pub fn samples() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate"))
        .join("../../deploy/samples")
}

/// Text of a sample.
pub fn sample(name: &str) -> String {
    std::fs::read_to_string(samples().join(name)).expect("a sample")
}

/// A namespace whose pods are injected.
pub fn injected(name: &str) -> String {
    format!("{{kind: Namespace, metadata: {{name: {name}, labels: {{istio-injection: enabled}}}}}}")
}

/// The demo profile.
pub fn demo() -> Mesh {
    Mesh::install(&sample("iop-demo.yaml")).expect("installs")
}

/// The demo profile with Bookinfo in namespace `bookinfo`.
pub fn bookinfo() -> Mesh {
    let mut mesh = demo();
    add_bookinfo(&mut mesh);
    mesh
}

/// Adds Bookinfo in namespace `bookinfo`.
pub fn add_bookinfo(mesh: &mut Mesh) {
    apply(mesh, "bookinfo", &injected("bookinfo"));
    apply(mesh, "bookinfo", &sample("bookinfo.yaml"));
    apply(mesh, "bookinfo", &sample("bookinfo-networking.yaml"));
}

/// Versions of a service `web` with an HTTP port 80, and a client, in namespace `shop`.
pub const SHOP: &str = "
{kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{kind: Deployment, metadata: {name: web-v1}, spec: {template: {metadata: {labels: {app: web, version: v1}}, spec: {serviceAccountName: web, containers: [{name: web, image: web, ports: [{containerPort: 8080}]}]}}}}
---
{kind: Deployment, metadata: {name: web-v2}, spec: {template: {metadata: {labels: {app: web, version: v2}}, spec: {serviceAccountName: web, containers: [{name: web, image: web, ports: [{containerPort: 8080}]}]}}}}
---
{kind: DestinationRule, metadata: {name: web}, spec: {host: web, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}}
---
{kind: Deployment, metadata: {name: client}, spec: {template: {metadata: {labels: {app: client}}, spec: {serviceAccountName: client, containers: [{name: client, image: client}]}}}}
---
{kind: Deployment, metadata: {name: bare}, spec: {template: {metadata: {labels: {app: bare, sidecar.istio.io/inject: 'false'}}, spec: {containers: [{name: bare, image: bare}]}}}}
";

/// The demo profile with [`SHOP`].
pub fn shop() -> Mesh {
    let mut mesh = demo();
    apply(&mut mesh, "shop", &injected("shop"));
    apply(&mut mesh, "shop", SHOP);
    mesh
}

#[track_caller]
pub fn apply(mesh: &mut Mesh, namespace: &str, text: &str) {
    if let Err(error) = mesh.apply(namespace, text) {
        panic!("{error:?}");
    }
}

pub async fn call(mesh: &Mesh, call: Call) -> Outcome {
    mesh.call(call).await.expect("a possible call")
}

/// Who served a call, with its status: `web-v1 200`, or `- 404` when no application saw it.
pub fn served(outcome: &Outcome) -> String {
    let served = outcome.served.iter().map(|served| served.workload.as_str());
    let served: Vec<&str> = served.collect();
    let served = if served.is_empty() {
        "-".to_owned()
    } else {
        served.join(" ")
    };
    format!("{served} {}", outcome.status())
}

/// Makes all calls of a table and tells those that did not end as expected.
pub async fn check(mesh: &Mesh, table: Vec<(Call, &str)>) {
    let mut wrong = Vec::new();
    for (description, expected) in table {
        let outcome = call(mesh, description.clone()).await;
        let seen = served(&outcome);
        if seen != expected {
            wrong.push(format!(
                "{description:?}: expected {expected}, saw {seen}: {outcome}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
