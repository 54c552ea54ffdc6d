//! What users set in a resource arrives, and what they take out goes away again.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ironsail_e2e::resource::{self, Resource};
use ironsail_e2e::{kubectl, mesh, wait};
use serde_json::{Value, json};

/// How fast the operator answers a change.
const SOON: Duration = Duration::from_secs(20);

/// A gateway with settings of Kubernetes and of all gateways.
fn gateway(name: &str, k8s: &Value, values: &Value) -> Value {
    let mut spec = resource::gateway(name, &json!({"k8s": k8s}));
    *resource::gateway_values(&mut spec) = values.clone();
    spec
}

fn object(kind: &str, name: &str) -> anyhow::Result<Value> {
    kubectl::get(mesh::SYSTEM, &[kind, name])
}

/// Waits until a part of an object is as expected.
fn becomes(kind: &str, name: &str, pointer: &str, expected: &Value) -> anyhow::Result<()> {
    let what = format!("{kind}/{name} {pointer}");
    wait::until(&what, SOON, || {
        let object = object(kind, name)?;
        let found = object.pointer(pointer).unwrap_or(&Value::Null);
        ensure!(found == expected, "{found}");
        Ok(())
    })
}

/// What tells whether somebody touched the gateways of the demo.
fn footprint() -> anyhow::Result<Vec<(String, Value, Value)>> {
    let kinds = "deployment,service,serviceaccount,role,rolebinding,hpa";
    let list = kubectl::get(
        mesh::SYSTEM,
        &[kinds, "-l", "istio in (ingressgateway,egressgateway)"],
    )?;
    let items = list["items"].as_array().context("no list")?;
    ensure!(items.len() >= 4, "{list:#}");
    let mark = |item: &Value| {
        let metadata = &item["metadata"];
        let name = format!("{}/{}", item["kind"], metadata["name"]);
        (
            name,
            metadata["uid"].clone(),
            metadata["generation"].clone(),
        )
    };
    Ok(items.iter().map(mark).collect())
}

#[test]
fn a_resource_with_only_a_gateway_lives_beside_the_control_plane() -> anyhow::Result<()> {
    mesh::installed();
    let before = footprint()?;
    let values = json!({"autoscaleEnabled": false});
    let service = json!({"service": {"type": "ClusterIP"}});
    let resource = Resource::apply("own-gateway", &gateway("own-gateway", &service, &values))?;
    resource.healthy()?;
    let deployment = object("deployment", "own-gateway")?;
    assert_eq!(deployment["status"]["readyReplicas"], 1);
    drop(resource);
    wait::until("the gateway is gone", SOON, || {
        for kind in ["deployment", "service"] {
            ensure!(
                !kubectl::exists(mesh::SYSTEM, kind, "own-gateway")?,
                "{kind}"
            );
        }
        Ok(())
    })?;
    assert_eq!(before, footprint()?);
    mesh::healthy("demo", SOON)
}

#[test]
fn settings_arrive_and_go_away_again() -> anyhow::Result<()> {
    mesh::installed();
    let name = "settings";
    let values = json!({"autoscaleEnabled": false});
    let k8s = json!({
        "podAnnotations": {"example.com/team": "edge"},
        "serviceAnnotations": {"cloud.google.com/neg": "{\"ingress\": true}"},
        "service": {"externalTrafficPolicy": "Local"},
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        "env": [{"name": "EXAMPLE", "value": "1"}],
        "overlays": [
            {"kind": "Service", "name": name, "patches": [
                {"path": "metadata.labels.example\\.com/zone", "value": "north"},
                {"path": "spec.ports.[name:http2].port", "value": 8081},
            ]},
            {"kind": "Deployment", "name": name, "patches": [
                {"path": "spec.template.spec.containers.[name:istio-proxy].args[-1]", "value": "--concurrency=1"},
            ]},
            {"kind": "ConfigMap", "name": "nobody", "patches": [{"path": "data.a", "value": "b"}]},
        ],
    });
    let resource = Resource::apply(name, &gateway(name, &k8s, &values))?;
    resource.healthy()?;
    let template = "/spec/template";
    becomes(
        "deployment",
        name,
        &format!("{template}/metadata/annotations/example.com~1team"),
        &json!("edge"),
    )?;
    becomes(
        "service",
        name,
        "/metadata/annotations/cloud.google.com~1neg",
        &json!("{\"ingress\": true}"),
    )?;
    becomes(
        "service",
        name,
        "/metadata/labels/example.com~1zone",
        &json!("north"),
    )?;
    becomes(
        "service",
        name,
        "/spec/externalTrafficPolicy",
        &json!("Local"),
    )?;
    let service = object("service", name)?;
    let ports: Vec<_> = service["spec"]["ports"]
        .as_array()
        .context("ports")?
        .iter()
        .map(|port| &port["port"])
        .collect();
    assert_eq!(ports, [&json!(15021), &json!(8081), &json!(443)]);
    let deployment = object("deployment", name)?;
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let has = |list: &str, key: &str, value: &str| {
        container[list]
            .as_array()
            .is_some_and(|items| items.iter().any(|item| item[key] == value))
    };
    assert!(
        has("volumeMounts", "mountPath", "/scratch") && has("env", "name", "EXAMPLE"),
        "{container:#}"
    );
    let last = container["args"].as_array().and_then(|args| args.last());
    assert_eq!(last, Some(&json!("--concurrency=1")));
    let warnings = resource.condition("Valid", "True", SOON)?;
    assert!(
        warnings.contains("overlays[2]") && warnings.contains("nobody"),
        "{warnings}"
    );

    resource.change(&gateway(name, &json!({}), &values))?;
    resource.healthy()?;
    becomes(
        "deployment",
        name,
        &format!("{template}/metadata/annotations/example.com~1team"),
        &Value::Null,
    )?;
    becomes(
        "service",
        name,
        "/metadata/annotations/cloud.google.com~1neg",
        &Value::Null,
    )?;
    becomes(
        "service",
        name,
        "/metadata/labels/example.com~1zone",
        &Value::Null,
    )?;
    let service = object("service", name)?;
    assert_eq!(service["spec"]["externalTrafficPolicy"], "Cluster");
    assert_eq!(service["spec"]["ports"][1]["port"], 80);
    let deployment = object("deployment", name)?;
    let text = deployment.to_string();
    assert!(
        !text.contains("/scratch") && !text.contains("EXAMPLE") && !text.contains("--concurrency"),
        "{text}"
    );
    Ok(())
}

#[test]
fn replicas_belong_to_the_autoscaler_while_there_is_one() -> anyhow::Result<()> {
    mesh::installed();
    let name = "scaled";
    let fixed = |count: u32| {
        gateway(
            name,
            &json!({"replicaCount": count, "resources": {"requests": {"cpu": "5m"}}}),
            &json!({"autoscaleEnabled": false}),
        )
    };
    let resource = Resource::apply(name, &fixed(2))?;
    resource.healthy()?;
    becomes("deployment", name, "/spec/replicas", &json!(2))?;
    let scale = |count: u32| {
        let count = format!("--replicas={count}");
        kubectl::run(&["-n", mesh::SYSTEM, "scale", "deployment", name, &count])
    };
    scale(1)?;
    becomes("deployment", name, "/spec/replicas", &json!(2))?;

    let auto = gateway(
        name,
        &json!({"resources": {"requests": {"cpu": "5m"}}}),
        &json!({"autoscaleEnabled": true, "autoscaleMin": 2, "autoscaleMax": 3}),
    );
    resource.change(&auto)?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        let replicas = object("deployment", name)?["spec"]["replicas"].clone();
        ensure!(
            replicas == 2,
            "handing over to the autoscaler left {replicas} replicas"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    resource.healthy()?;
    scale(3)?;
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(object("deployment", name)?["spec"]["replicas"], 3);

    resource.change(&fixed(2))?;
    becomes("deployment", name, "/spec/replicas", &json!(2))?;
    wait::until("the autoscaler is gone", SOON, || {
        ensure!(!kubectl::exists(mesh::SYSTEM, "hpa", name)?, "it is there");
        Ok(())
    })?;
    resource.healthy().map(drop)
}

#[test]
fn a_gateway_that_leaves_the_list_is_removed_and_the_others_stay() -> anyhow::Result<()> {
    mesh::installed();
    let list = |names: &[&str]| {
        let entries = names.iter().map(|name| resource::entry(name, &json!({})));
        resource::gateways(&entries.collect::<Vec<_>>())
    };
    let resource = Resource::apply("listed", &list(&["listed-a", "listed-b"]))?;
    resource.healthy()?;
    let uid = object("deployment", "listed-a")?["metadata"]["uid"].clone();
    resource.change(&list(&["listed-a"]))?;
    wait::until("the other one is gone", SOON, || {
        for kind in ["deployment", "service", "serviceaccount"] {
            let name = if kind == "serviceaccount" {
                "listed-b-service-account"
            } else {
                "listed-b"
            };
            ensure!(!kubectl::exists(mesh::SYSTEM, kind, name)?, "{kind}");
        }
        Ok(())
    })?;
    assert_eq!(object("deployment", "listed-a")?["metadata"]["uid"], uid);
    resource.healthy().map(drop)
}
