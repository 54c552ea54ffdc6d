//! Installs that others made are taken over as they are, and given back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use ironsail_e2e::namespace::{App, Namespace};
use ironsail_e2e::resource::Resource;
use ironsail_e2e::{audit, kubectl, mesh, operator, tool, wait};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// What the peer's installer would apply for a resource, without definitions of kinds.
fn objects(spec: &Value, annotations: &Value) -> anyhow::Result<Vec<Value>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("iop.yaml");
    let metadata = json!({"name": "mesh", "namespace": mesh::SYSTEM, "annotations": annotations});
    let resource = json!({
        "apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator", "metadata": metadata, "spec": spec,
    });
    fs::write(&file, resource.to_string())?;
    let file = file.to_str().context("a path")?;
    let text = tool::run(
        "ironsail",
        &["manifest", "generate", "-f", file, "--hub", &mesh::hub()],
    )?;
    let documents = kubectl::run_with_input(
        &["create", "--dry-run=client", "-o", "json", "-f", "-"],
        &text,
    )?;
    let stream = serde_json::Deserializer::from_str(&documents).into_iter::<Value>();
    let mut objects = Vec::new();
    for document in stream {
        let document = document?;
        match document["items"].as_array() {
            Some(items) => objects.extend(items.iter().cloned()),
            None => objects.push(document),
        }
    }
    objects.retain(|object| object["kind"] != "CustomResourceDefinition");
    ensure!(objects.len() > 20, "only {} objects", objects.len());
    Ok(objects)
}

/// Pods of the mesh and of an application, and how often they restarted; templates of Deployments; ports of Services.
fn footprint(namespace: &str) -> anyhow::Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for namespace in [mesh::SYSTEM, namespace] {
        let list = kubectl::get(namespace, &["pods,deployments,services"])?;
        for item in list["items"].as_array().into_iter().flatten() {
            let metadata = &item["metadata"];
            let restarts = item["status"]["containerStatuses"].as_array();
            let restarts: Vec<&Value> = restarts
                .into_iter()
                .flatten()
                .map(|c| &c["restartCount"])
                .collect();
            let key = format!(
                "{}/{}",
                item["kind"].as_str().unwrap_or_default(),
                metadata["name"].as_str().unwrap_or_default()
            );
            found.insert(
                key,
                json!([
                    metadata["uid"],
                    // Not the generation: annotations of Deployments count there too.
                    item["spec"]["template"],
                    restarts,
                    item["spec"]["ports"]
                ]),
            );
        }
    }
    Ok(found)
}

fn wait_for_deployments(names: &[&str]) -> anyhow::Result<()> {
    for name in names {
        let deployment = format!("deployment/{name}");
        kubectl::run(&[
            "-n",
            mesh::SYSTEM,
            "rollout",
            "status",
            &deployment,
            "--timeout=120s",
        ])?;
    }
    Ok(())
}

fn no_writes_for(time: Duration) -> anyhow::Result<()> {
    let writes = audit::operator_writes_within(time)?;
    ensure!(writes.is_empty(), "{writes:#?}");
    Ok(())
}

/// A chart whose only template is a text.
fn chart(directory: &Path, name: &str, objects: &[&Value]) -> anyhow::Result<String> {
    let chart = directory.join(name);
    fs::create_dir_all(chart.join("templates"))?;
    fs::create_dir_all(chart.join("files"))?;
    fs::write(
        chart.join("Chart.yaml"),
        format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n"),
    )?;
    fs::write(
        chart.join("templates/all.yaml"),
        "{{ .Files.Get \"files/all.yaml\" }}\n",
    )?;
    let documents: Vec<String> = objects.iter().map(ToString::to_string).collect();
    fs::write(chart.join("files/all.yaml"), documents.join("\n---\n"))?;
    Ok(chart.to_str().context("a path")?.to_owned())
}

/// The three releases that Istio's documentation makes, with real Helm.
struct Releases {
    directory: tempfile::TempDir,
    names: Vec<&'static str>,
}

impl Releases {
    fn install(objects: &[Value]) -> anyhow::Result<Self> {
        let component =
            |object: &Value| object["metadata"]["labels"]["operator.istio.io/component"].clone();
        let of = |wanted: &[&str]| -> Vec<&Value> {
            let own = |object: &&Value| {
                component(object)
                    .as_str()
                    .is_some_and(|name| wanted.contains(&name))
            };
            objects.iter().filter(own).collect()
        };
        let gateway = of(&["IngressGateways"]);
        let control_plane: Vec<&Value> = objects
            .iter()
            .filter(|object| component(object) != "IngressGateways")
            .collect();
        let (base, istiod): (Vec<&Value>, Vec<&Value>) =
            control_plane.into_iter().partition(|object| {
                object["metadata"]["name"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("istio-reader"))
            });
        let directory = tempfile::tempdir()?;
        for (name, objects) in [
            ("istio-base", base),
            ("istiod", istiod),
            ("istio-ingress", gateway),
        ] {
            let chart = chart(directory.path(), name, &objects)?;
            tool::run("helm", &["install", name, &chart, "-n", mesh::SYSTEM])?;
        }
        Ok(Self {
            directory,
            names: vec!["istio-ingress", "istiod", "istio-base"],
        })
    }

    fn listed() -> anyhow::Result<Vec<String>> {
        let list: Value = serde_json::from_str(&tool::run(
            "helm",
            &["list", "-n", mesh::SYSTEM, "-o", "json"],
        )?)?;
        let names = list.as_array().into_iter().flatten();
        Ok(names
            .filter_map(|release| Some(release["name"].as_str()?.to_owned()))
            .collect())
    }

    fn upgrade(&self, name: &str) -> anyhow::Result<()> {
        let chart = self.directory.path().join(name);
        let chart = chart.to_str().context("a path")?;
        tool::run("helm", &["upgrade", name, chart, "-n", mesh::SYSTEM]).map(drop)
    }
}

impl Drop for Releases {
    fn drop(&mut self) {
        // What an adoption that was not given back has hidden.
        let hidden = [
            "-n",
            mesh::SYSTEM,
            "delete",
            "secret",
            "-l",
            "owner=ironsail",
        ];
        if let Err(error) = kubectl::run(&hidden) {
            eprintln!("records of releases stay: {error:#}");
        }
        for name in &self.names {
            if let Err(error) =
                tool::run("helm", &["uninstall", name, "-n", mesh::SYSTEM, "--wait"])
            {
                eprintln!("release {name} stays: {error:#}");
            }
        }
    }
}

#[test]
fn an_install_of_helm_is_adopted_and_given_back_without_a_restart() -> anyhow::Result<()> {
    let _without = mesh::WithoutDemo::begin()?;
    let objects = objects(
        &json!({"profile": "default", "values": {"pilot": {"autoscaleEnabled": false}}}),
        &json!({}),
    )?;
    let releases = Releases::install(&objects)?;
    wait_for_deployments(&["istiod", "istio-ingressgateway"])?;
    let argo = [
        "annotate",
        "deployment",
        "istiod",
        "argocd.argoproj.io/tracking-id=mesh:apps/Deployment:istio-system/istiod",
    ];
    kubectl::run(&[&["-n", mesh::SYSTEM][..], &argo].concat())?;
    let namespace = Namespace::injected("e2e-adopted")?;
    namespace.deploy(&App::default())?;
    let before = footprint(&namespace.name)?;

    let directory = tempfile::tempdir()?;
    let file = directory.path().join("iop.yaml");
    let file = file.to_str().context("a path")?;
    tool::run("ironsail", &["adopt", "--from-cluster", "-o", file])?;
    println!("{}", fs::read_to_string(file)?);
    kubectl::run(&["apply", "-f", file])?;
    let list = kubectl::get(mesh::SYSTEM, &["istiooperators"])?;
    let name = list["items"][0]["metadata"]["name"]
        .as_str()
        .context("no resource")?
        .to_owned();
    let resource = Resource { name };
    let adopted = resource.condition("Adopted", "True", SOON)?;
    let status = resource.healthy()?["status"].clone();
    println!("{adopted}; plan: {:#}", status["plan"]);
    assert_eq!(before, footprint(&namespace.name)?);
    tool::run("ironsail", &["adopt", "--finish"])?;
    assert_eq!(Releases::listed()?, Vec::<String>::new());
    let istiod = kubectl::get(mesh::SYSTEM, &["deployment", "istiod"])?;
    let annotations = istiod["metadata"]["annotations"].to_string();
    assert!(
        !annotations.contains("argocd") && !annotations.contains("meta.helm.sh"),
        "{annotations}"
    );
    std::thread::sleep(Duration::from_secs(3));
    no_writes_for(Duration::from_secs(15))?;
    kubectl::run(&["-n", mesh::SYSTEM, "delete", "configmap", "istio"])?;
    wait::until("drift is repaired", SOON, || {
        ensure!(
            kubectl::exists(mesh::SYSTEM, "configmap", "istio")?,
            "no ConfigMap"
        );
        Ok(())
    })?;

    resource.annotate("operator.ironsail.dev/on-delete=Orphan")?;
    drop(resource);
    assert_eq!(before, footprint(&namespace.name)?);
    let mut listed = Releases::listed()?;
    listed.sort();
    assert_eq!(listed, ["istio-base", "istio-ingress", "istiod"]);
    for name in &releases.names {
        releases.upgrade(name)?;
    }
    assert_eq!(before, footprint(&namespace.name)?);
    Ok(())
}

/// What the operator up to 1.23 left: its labels, its field manager, and a resource with its status.
fn install_as_the_old_operator(spec: &Value) -> anyhow::Result<Resource> {
    let annotations = json!({"operator.ironsail.dev/list-merge": "ByName"});
    let mut text = String::new();
    for mut object in objects(spec, &annotations)? {
        let component = object["metadata"]["labels"]["operator.istio.io/component"].clone();
        let labels = json!({
            "operator.istio.io/managed": "Reconcile",
            "operator.istio.io/version": "1.16.7",
            "operator.istio.io/component": component.as_str().unwrap_or("Base"),
            "install.operator.istio.io/owning-resource": "old",
            "install.operator.istio.io/owning-resource-namespace": mesh::SYSTEM,
        });
        for (key, value) in labels.as_object().into_iter().flatten() {
            object["metadata"]["labels"][key] = value.clone();
        }
        text.push_str(&format!("---\n{object}\n"));
    }
    let apply = [
        "apply",
        "--server-side",
        "--field-manager=istio-operator",
        "--force-conflicts",
        "-f",
        "-",
    ];
    kubectl::run_with_input(&apply, &text)?;
    let resource = Resource::apply("old", spec)?;
    let finalizer = r#"{"metadata":{"finalizers":["istio-finalizer.install.istio.io"]}}"#;
    let status = r#"{"status":{"status":"HEALTHY","componentStatus":{"Base":{"status":"HEALTHY"},"Pilot":{"status":"HEALTHY"}}}}"#;
    for more in [
        &["-p", finalizer][..],
        &["-p", status, "--subresource=status"],
    ] {
        let patch = [
            "-n",
            mesh::SYSTEM,
            "patch",
            "istiooperator",
            "old",
            "--type=merge",
        ];
        kubectl::run(&[&patch[..], more].concat())?;
    }
    Ok(resource)
}

#[test]
fn an_install_of_the_old_operator_is_adopted_at_first_contact() -> anyhow::Result<()> {
    let _without = mesh::WithoutDemo::begin()?;
    let away = operator::Away::begin()?;
    // Only one gateway is listed; the profile has another one that is on.
    let spec = json!({
        "profile": "demo",
        "addonComponents": {"prometheus": {"enabled": false}},
        "components": {"ingressGateways": [
            {"name": "istio-ingressgateway", "k8s": {"service": {"type": "ClusterIP"}}},
        ]},
    });
    let resource = install_as_the_old_operator(&spec)?;
    wait_for_deployments(&["istiod", "istio-ingressgateway", "istio-egressgateway"])?;
    let namespace = Namespace::injected("e2e-adopted-old")?;
    namespace.deploy(&App::default())?;
    let before = footprint(&namespace.name)?;
    drop(away);
    println!("{}", resource.condition("Adopted", "True", SOON)?);
    let object = resource.healthy()?;
    assert_eq!(object["spec"], spec);
    assert_eq!(
        object["metadata"]["annotations"]["operator.ironsail.dev/list-merge"],
        "ByName"
    );
    assert_eq!(before, footprint(&namespace.name)?);
    std::thread::sleep(Duration::from_secs(3));
    no_writes_for(Duration::from_secs(15))?;
    assert_eq!(before, footprint(&namespace.name)?);
    Ok(())
}
