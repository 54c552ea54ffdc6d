//! A new operator is no new mesh, and an operator with much around it stays small.

use std::time::Duration;

use anyhow::{Context, ensure};
use ironsail_e2e::namespace::Namespace;
use ironsail_e2e::resource::{Resource, gateway};
use ironsail_e2e::{audit, kubectl, mesh, operator, wait};
use serde_json::{Value, json};

/// What an operator may take with five resources and 2,000 pods in the cluster.
const MAX_MEMORY_MIB: f64 = 40.0;

/// Writes to what a mesh consists of, that is, not to what the operator says about it.
fn mesh_writes(writes: Vec<String>) -> Vec<String> {
    let own = [
        "/status",
        "/events",
        "/configmaps/istio-operator-plan.",
        "/istio-operator/",
    ];
    writes
        .into_iter()
        .filter(|write| !own.iter().any(|own| write.contains(own)))
        .collect()
}

#[test]
fn a_new_operator_changes_no_mesh_until_it_is_told_to() -> anyhow::Result<()> {
    mesh::installed();
    let resource = Resource::apply("pinned", &gateway("pinned", &json!({})))?;
    resource.healthy()?;
    let image = |name: &str| -> anyhow::Result<Value> {
        let deployment = kubectl::get(mesh::SYSTEM, &["deployment", name])?;
        Ok(deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone())
    };
    let before = image("pinned")?;
    let mark = audit::Mark::now()?;
    // As the image of another version would: other images by default.
    let tag = |tag: &str| {
        kubectl::run(&[
            "-n",
            mesh::OPERATOR,
            "set",
            "env",
            "deployment/istio-operator",
            tag,
        ])?;
        operator::rolled_out()
    };
    tag("TAG=1.99.0")?;
    let said = resource.condition("UpgradeAvailable", "True", Duration::from_secs(30));
    std::thread::sleep(Duration::from_secs(5));
    let writes = match mark {
        Some(mark) => mesh_writes(mark.operator_writes()?),
        None => Vec::new(),
    };
    let after = image("pinned")?;
    let drift = ["-n", mesh::SYSTEM, "delete", "service", "pinned"];
    kubectl::run(&drift)?;
    let repaired = wait::until(
        "drift is repaired towards what was accepted",
        Duration::from_secs(20),
        || {
            ensure!(
                kubectl::exists(mesh::SYSTEM, "service", "pinned")?,
                "no Service"
            );
            Ok(())
        },
    );
    mesh::apply_operator()?;
    operator::rolled_out()?;
    println!("{}", said?);
    repaired?;
    assert!(writes.is_empty(), "{writes:#?}");
    assert_eq!((&before, &before), (&after, &image("pinned")?));
    resource.condition("UpgradeAvailable", "False", Duration::from_secs(30))?;
    mesh::healthy("demo", Duration::from_secs(30))
}

/// Pods that no scheduler looks at.
fn unscheduled_pods(count: usize) -> String {
    let pod = |at: usize| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": format!("pod-{at}"), "labels": {"app": "many"}},
            "spec": {
                "schedulerName": "nobody",
                "containers": [{"name": "app", "image": mesh::image("apps"), "args": ["sleep"]}],
            },
        })
    };
    json!({"apiVersion": "v1", "kind": "List", "items": (0..count).map(pod).collect::<Vec<_>>()})
        .to_string()
}

fn operator_memory_mib() -> anyhow::Result<f64> {
    let pods = kubectl::get(mesh::OPERATOR, &["pods", "-l", "name=istio-operator"])?;
    let mut most: f64 = 0.0;
    for pod in pods["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!(
            "/api/v1/namespaces/{}/pods/{name}:8383/proxy/metrics",
            mesh::OPERATOR
        );
        let metrics = kubectl::run(&["get", "--raw", &path])?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("process_resident_memory_bytes"));
        let bytes: f64 = line
            .and_then(|line| line.split(' ').nth(1))
            .context("no memory metric")?
            .parse()?;
        most = most.max(bytes / f64::from(1 << 20));
    }
    Ok(most)
}

#[test]
fn five_resources_and_two_thousand_pods_leave_the_operator_small() -> anyhow::Result<()> {
    mesh::installed();
    let namespace = Namespace::plain("e2e-many-pods")?;
    kubectl::run_with_input(
        &["-n", &namespace.name, "create", "-f", "-"],
        &unscheduled_pods(2000),
    )?;
    let names = ["many-a", "many-b", "many-c", "many-d"];
    let resources: Vec<Resource> = names
        .iter()
        .map(|name| Resource::apply(name, &gateway(name, &json!({}))))
        .collect::<Result<_, _>>()?;
    for resource in &resources {
        resource.healthy()?;
    }
    // Everything is read anew by a process that starts now.
    kubectl::run(&[
        "-n",
        mesh::OPERATOR,
        "rollout",
        "restart",
        "deployment/istio-operator",
    ])?;
    operator::rolled_out()?;
    for resource in &resources {
        resource.healthy()?;
    }
    std::thread::sleep(Duration::from_secs(5));
    let memory = operator_memory_mib()?;
    println!(
        "operator: {memory:.1} MiB with {} resources and 2000 pods",
        names.len() + 1
    );
    assert!(memory <= MAX_MEMORY_MIB, "{memory:.1} MiB");
    Ok(())
}
