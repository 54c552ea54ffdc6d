//! Installation, removal, and an operator that dies on the way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use ironsail_e2e::namespace::Namespace;
use ironsail_e2e::{kubectl, mesh, wait};
use serde_json::Value;

/// Kinds the operator makes for the demo profile; CRDs stay when the resource goes.
const NAMESPACED: &str = "deployment,service,configmap,serviceaccount,role,rolebinding,hpa,pdb";
const CLUSTER: &str =
    "clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingwebhookconfiguration";

const OWNED: &str = "operator.istio.io/managed=Reconcile";

/// How often the operator is killed while it installs.
const KILLS: u64 = 20;

/// How long a removal may take.
const REMOVAL: Duration = Duration::from_secs(60);

/// What is owned, as desired state only: kind/name to spec, data, rules and webhooks without their CA bundle.
fn owned() -> anyhow::Result<BTreeMap<String, Value>> {
    let mut objects = BTreeMap::new();
    for kinds in [NAMESPACED, CLUSTER] {
        let list = kubectl::get(mesh::SYSTEM, &[kinds, "-l", OWNED])?;
        for mut item in list["items"].as_array().cloned().unwrap_or_default() {
            let key = format!(
                "{}/{}",
                item["kind"].as_str().unwrap_or_default(),
                item["metadata"]["name"].as_str().unwrap_or_default()
            );
            objects.insert(key, desired(&mut item));
        }
    }
    Ok(objects)
}

fn desired(item: &mut Value) -> Value {
    let labels = item["metadata"]["labels"].take();
    let Some(object) = item.as_object_mut() else {
        return Value::Null;
    };
    object.retain(|key, _| {
        matches!(
            key.as_str(),
            "spec" | "data" | "rules" | "subjects" | "roleRef" | "webhooks"
        )
    });
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        // Assigned by the cluster.
        spec.retain(|key, _| {
            !matches!(
                key.as_str(),
                "clusterIP" | "clusterIPs" | "healthCheckNodePort" | "replicas"
            )
        });
        for port in spec
            .get_mut("ports")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
        }
    }
    for webhook in object
        .get_mut("webhooks")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(webhook) = webhook.as_object_mut() {
            // Owned by the control plane.
            webhook.remove("failurePolicy");
        }
        if let Some(config) = webhook["clientConfig"].as_object_mut() {
            config.remove("caBundle");
        }
    }
    object.insert("labels".to_owned(), labels);
    Value::Object(object.clone())
}

fn delete_resource() -> anyhow::Result<Duration> {
    let start = Instant::now();
    let arguments = [
        "-n",
        mesh::SYSTEM,
        "delete",
        "istiooperator",
        "demo",
        "--timeout=60s",
    ];
    kubectl::run(&arguments)?;
    wait::until(
        "nothing owned is left",
        REMOVAL.saturating_sub(start.elapsed()),
        || {
            let left = owned()?;
            ensure!(left.is_empty(), "{:?}", left.keys());
            Ok(())
        },
    )?;
    Ok(start.elapsed())
}

#[test]
fn deleting_the_resource_removes_what_it_owns_and_keeps_the_users_config() -> anyhow::Result<()> {
    mesh::installed();
    let namespace = Namespace::plain("e2e-users-config")?;
    namespace.apply_file("deploy/samples/bookinfo-networking.yaml")?;
    println!("removed in {:?}", delete_resource()?);
    assert!(kubectl::exists(
        &namespace.name,
        "virtualservice",
        "bookinfo"
    )?);
    let active = kubectl::get("default", &["namespace", mesh::SYSTEM])?;
    assert_eq!(active["status"]["phase"], "Active");
    mesh::apply_demo()?;
    mesh::healthy("demo", Duration::from_secs(180))
}

/// The operator as it stands is killed, and the next one leads at once: nobody gave the Lease back.
fn kill_operator() -> anyhow::Result<()> {
    let operator = ["-n", mesh::OPERATOR];
    let kill = ["delete", "pod", "--all", "--grace-period=0", "--force"];
    kubectl::run(&[&operator[..], &kill].concat())?;
    kubectl::run(&[&operator[..], &["delete", "lease", "istio-operator-lock"]].concat())?;
    wait::until("another operator leads", Duration::from_secs(60), || {
        let lease = kubectl::get(mesh::OPERATOR, &["lease", "istio-operator-lock"])?;
        ensure!(!lease["spec"]["holderIdentity"].is_null(), "{lease}");
        Ok(())
    })
}

#[test]
fn killing_the_operator_at_twenty_points_changes_nothing_in_the_end() -> anyhow::Result<()> {
    mesh::installed();
    let undisturbed = owned()?;
    ensure!(undisturbed.len() > 20, "{:?}", undisturbed.keys());
    delete_resource()?;
    for round in 0..KILLS {
        // Installed at first, then made smaller and larger: something is created or deleted in every round.
        let profile = if round % 2 == 0 { "demo" } else { "default" };
        let text = mesh::manifest("deploy/samples/iop-demo.yaml")?;
        let text = text.replace("profile: demo", &format!("profile: {profile}"));
        kubectl::run_with_input(&["apply", "-f", "-"], &text)?;
        std::thread::sleep(Duration::from_millis(70 * round));
        kill_operator()?;
    }
    mesh::apply_demo()?;
    mesh::healthy("demo", Duration::from_secs(180))?;
    let disturbed = owned()?;
    assert_eq!(
        undisturbed.keys().collect::<Vec<_>>(),
        disturbed.keys().collect::<Vec<_>>()
    );
    for (key, before) in &undisturbed {
        assert_eq!(Some(before), disturbed.get(key), "{key}");
    }
    Ok(())
}

/// Whether both namespaces are gone; the error says what the rest waits for.
fn namespaces_gone() -> anyhow::Result<()> {
    for name in [mesh::SYSTEM, mesh::OPERATOR] {
        if kubectl::exists("default", "namespace", name)? {
            let rest = kubectl::get("default", &["namespace", name])?;
            bail!("{name} is there: {:#}", rest["status"]);
        }
    }
    Ok(())
}

#[test]
fn namespace_and_operator_deleted_together_are_gone() -> anyhow::Result<()> {
    mesh::installed();
    let start = Instant::now();
    kubectl::run(&[
        "delete",
        "namespace",
        mesh::SYSTEM,
        mesh::OPERATOR,
        "--wait=false",
    ])?;
    wait::until("both namespaces are gone", REMOVAL, namespaces_gone)?;
    println!("gone after {:?}", start.elapsed());
    // The next run, and whoever looks at the cluster, finds it installed.
    mesh::apply_operator()?;
    mesh::apply_demo()?;
    mesh::healthy("demo", Duration::from_secs(180))
}

#[test]
fn deleting_the_operators_manifest_with_a_mesh_there_leaves_nothing() -> anyhow::Result<()> {
    mesh::installed();
    let start = Instant::now();
    let manifest = mesh::manifest("deploy/operator.yaml")?;
    kubectl::run_with_input(&["delete", "-f", "-", "--timeout=60s"], &manifest)?;
    wait::until(
        "nothing is left",
        REMOVAL.saturating_sub(start.elapsed()),
        || {
            namespaces_gone()?;
            let left = kubectl::get("default", &[CLUSTER, "-l", OWNED])?;
            ensure!(left["items"].as_array().is_none_or(Vec::is_empty), "{left}");
            let roles = kubectl::run(&["get", "clusterrole,clusterrolebinding", "-o", "name"])?;
            let ours: Vec<_> = roles
                .lines()
                .filter(|name| name.contains("istio"))
                .collect();
            ensure!(ours.is_empty(), "{ours:?}");
            Ok(())
        },
    )?;
    println!("gone after {:?}", start.elapsed());
    mesh::apply_operator()?;
    mesh::apply_demo()?;
    mesh::healthy("demo", Duration::from_secs(180))
}
