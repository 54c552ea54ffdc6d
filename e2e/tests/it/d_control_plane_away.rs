//! The data plane goes on without its control plane.

use std::time::Duration;

use anyhow::ensure;
use ironsail_e2e::mesh;
use ironsail_e2e::namespace::{App, Namespace};
use ironsail_e2e::{kubectl, traffic, wait};

/// Keeps istiod away although the operator repairs drift: the CR is paused, then scaled down.
struct Away;

impl Away {
    fn begin() -> anyhow::Result<Self> {
        annotate("install.istio.io/ignoreReconcile=true")?;
        kubectl::run(&[
            "-n",
            mesh::SYSTEM,
            "delete",
            "hpa",
            "istiod",
            "--ignore-not-found",
        ])?;
        kubectl::run(&[
            "-n",
            mesh::SYSTEM,
            "scale",
            "deployment/istiod",
            "--replicas=0",
        ])?;
        kubectl::run(&[
            "-n",
            mesh::SYSTEM,
            "wait",
            "pod",
            "-l",
            "app=istiod",
            "--for=delete",
            "--timeout=60s",
        ])?;
        Ok(Self)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let back = annotate("install.istio.io/ignoreReconcile-")
            .and_then(|()| {
                kubectl::run(&[
                    "-n",
                    mesh::SYSTEM,
                    "scale",
                    "deployment/istiod",
                    "--replicas=1",
                ])
            })
            .and_then(|_| {
                kubectl::run(&[
                    "-n",
                    mesh::SYSTEM,
                    "rollout",
                    "status",
                    "deployment/istiod",
                    "--timeout=90s",
                ])
            });
        if let Err(error) = back {
            eprintln!("istiod is not back: {error:#}");
        }
    }
}

fn annotate(annotation: &str) -> anyhow::Result<()> {
    kubectl::run(&[
        "-n",
        mesh::SYSTEM,
        "annotate",
        "--overwrite",
        "istiooperator/demo",
        annotation,
    ])
    .map(drop)
}

#[test]
fn traffic_goes_on_and_new_pods_wait() -> anyhow::Result<()> {
    mesh::installed();
    let namespace = Namespace::injected("e2e-control-plane-away")?;
    namespace.deploy(&App::default())?;
    namespace.deploy(&App {
        name: "client",
        args: &["sleep"],
        ports: &[],
        ..Default::default()
    })?;
    wait::until("a first answer", Duration::from_secs(20), || {
        traffic::get(&namespace.name, "deploy/client", "http://echo:8080/", &[])
    })?;

    let away = Away::begin()?;
    let load = traffic::load_in_background(
        &namespace.name,
        "deploy/client",
        &["http://echo:8080/", "--rate", "50", "--seconds", "60"],
    );
    namespace.apply(
        &App {
            name: "late",
            ..Default::default()
        }
        .manifest(),
    )?;
    let reason = wait::until("a clear reason", Duration::from_secs(40), || {
        let replicas = namespace.get(&["replicaset", "-l", "app=late"])?;
        let conditions = replicas["items"][0]["status"]["conditions"].to_string();
        ensure!(conditions.contains("sidecar-injector"), "{conditions}");
        Ok(conditions)
    })?;
    println!("a new pod waits: {reason}");
    let load = load
        .join()
        .map_err(|_| anyhow::anyhow!("the load panicked"))??;
    assert_eq!(load.failed, 0, "{load:?}");
    assert_eq!(load.sent, 3000);

    drop(away);
    mesh::healthy("demo", Duration::from_secs(120))?;
    kubectl::run(&[
        "-n",
        &namespace.name,
        "rollout",
        "status",
        "deployment/late",
        "--timeout=150s",
    ])?;
    Ok(())
}
