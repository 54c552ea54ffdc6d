//! The life of an install by the command line alone, as a person types it: install, look, change, tag, a revision beside
//! it, hand over to an operator, remove.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use ironsail_e2e::namespace::{App, Namespace};
use ironsail_e2e::resource::{Resource, manifest};
use ironsail_e2e::{kubectl, mesh, tool};
use serde_json::{Value, json};

/// A folder with the files that a person writes.
struct Files(tempfile::TempDir);

impl Files {
    fn path(&self, name: &str) -> anyhow::Result<String> {
        let path: &Path = &self.0.path().join(name);
        Ok(path.to_str().context("a path")?.to_owned())
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let path = self.path(name)?;
        fs::write(&path, text)?;
        Ok(path)
    }

    /// A file with an IstioOperator of this name.
    fn resource(&self, name: &str, spec: &Value) -> anyhow::Result<String> {
        self.write(&format!("{name}.yaml"), &manifest(name, spec))
    }
}

/// Runs `ironsail`; its exit code has to be this one. Returns what it says on both outputs.
fn ironsail(code: i32, arguments: &[&str]) -> anyhow::Result<String> {
    let ended = tool::call("ironsail", arguments)?;
    ensure!(
        ended.code == code,
        "ironsail {} ended with {} instead of {code}: {}{}",
        arguments.join(" "),
        ended.code,
        ended.error,
        ended.text
    );
    Ok(format!("{}{}", ended.text, ended.error))
}

/// Runs `ironsail` with `-o json`, and reads what it prints.
fn document(code: i32, arguments: &[&str]) -> anyhow::Result<Value> {
    let ended = tool::call("ironsail", &[arguments, &["-o", "json"]].concat())?;
    ensure!(ended.code == code, "{}: {}", ended.code, ended.error);
    serde_json::from_str(&ended.text).with_context(|| ended.text.clone())
}

fn exists(kind: &str, name: &str) -> anyhow::Result<bool> {
    kubectl::exists(mesh::SYSTEM, kind, name)
}

/// Pods of the mesh that is not a canary, which nothing but a change of their own may replace.
fn pods(app: &str) -> anyhow::Result<Vec<Value>> {
    let list = kubectl::get(
        mesh::SYSTEM,
        &["pods", "-l", &format!("app={app},istio.io/rev=default")],
    )?;
    let pods = list["items"].as_array().into_iter().flatten();
    let live = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let uids: Vec<Value> = live.map(|pod| pod["metadata"]["uid"].clone()).collect();
    ensure!(!uids.is_empty(), "no pods of {app}");
    Ok(uids)
}

fn spec() -> Value {
    json!({"profile": "default", "values": {
        "pilot": {"autoscaleEnabled": false},
        "gateways": {"istio-ingressgateway": {"autoscaleEnabled": false}},
    }})
}

#[test]
fn an_install_lives_by_the_command_line_alone() -> anyhow::Result<()> {
    let _without = mesh::WithoutDemo::begin()?;
    ironsail(0, &["operator", "remove", "--purge", "-y"])?;
    kubectl::run(&[
        "wait",
        "namespace",
        mesh::OPERATOR,
        "--for=delete",
        "--timeout=60s",
    ])?;
    let files = Files(tempfile::tempdir()?);
    nothing_is_there(&files)?;
    profiles()?;
    install_and_change(&files)?;
    a_revision_beside_it()?;
    an_operator_takes_over(&files)?;
    ironsail(0, &["operator", "remove", "--purge", "-y"])?;
    assert!(!exists("deployment", "istiod")?);
    ironsail(0, &["uninstall", "--purge", "-y"])?;
    let left = kubectl::run(&["get", "crd", "-o", "name"])?;
    assert!(!left.contains("istio.io"), "{left}");
    Ok(())
}

fn nothing_is_there(files: &Files) -> anyhow::Result<()> {
    let said = ironsail(0, &["version"])?;
    assert!(
        said.contains("Istio is not present in the cluster"),
        "{said}"
    );
    let said = ironsail(0, &["x", "precheck"])?;
    assert!(said.contains("No issues found"), "{said}");
    let changed = document(1, &["x", "precheck", "--from-version", "1.28"])?;
    assert!(
        changed.as_array().is_some_and(|list| !list.is_empty()),
        "{changed}"
    );
    let said = ironsail(1, &["verify-install"])?;
    assert!(
        said.contains("Deployment istio-system/istiod: not found"),
        "{said}"
    );
    let said = ironsail(0, &["uninstall", "--purge", "-y"])?;
    println!("{said}");

    ironsail(64, &["install", "--no-such-flag"])?;
    ironsail(64, &["uninstall", "-y"])?;
    let broken = files.write("broken.yaml", "spec: [")?;
    ironsail(65, &["install", "-f", &broken, "-y"])?;
    let said = ironsail(1, &["install", "-s", "profile=nope", "-y"])?;
    assert!(said.contains("spec.profile"), "{said}");
    let said = ironsail(0, &["install", "-s", "profile=demo", "--dry-run"])?;
    assert!(said.contains("+ Deployment istio-system/istiod"), "{said}");
    let said = ironsail(1, &["install", "-s", "profile=demo"])?;
    assert!(said.contains("-y answers yes"), "{said}");
    assert!(!exists("deployment", "istiod")?);
    Ok(())
}

/// The profiles have the gateways and control planes that they always had.
fn profiles() -> anyhow::Result<()> {
    let matrix: [(&str, &[&str]); 6] = [
        ("default", &["istio-ingressgateway", "istiod"]),
        (
            "demo",
            &["istio-egressgateway", "istio-ingressgateway", "istiod"],
        ),
        ("minimal", &["istiod"]),
        ("preview", &["istio-ingressgateway", "istiod"]),
        ("external", &[]),
        ("empty", &[]),
    ];
    for (profile, expected) in matrix {
        // Ironsail has no images for remote clusters.
        let profile = format!("profile={profile}");
        let stock = ["--hub", "docker.io/istio", "--tag", "1.31.0"];
        let generate = ["manifest", "generate", "-s", &profile];
        let ended = tool::call("ironsail", &[&generate[..], &stock].concat())?;
        let renamed = ended.error.contains("remote since");
        ensure!(
            ended.code == 0 && renamed == (profile == "profile=external"),
            "{}",
            ended.error
        );
        let mut names: Vec<&str> = Vec::new();
        for document in ended.text.split("\n---\n") {
            let line = |start: &str| document.lines().find_map(|line| line.strip_prefix(start));
            if line("kind: ") == Some("Deployment") {
                names.extend(line("  name: "));
            }
        }
        names.sort_unstable();
        assert_eq!(names, expected, "{profile}");
    }
    Ok(())
}

fn install_and_change(files: &Files) -> anyhow::Result<()> {
    // Everything that one types first, and a file a day later.
    ironsail(0, &["install", "-s", "profile=demo", "-y"])?;
    assert!(exists("deployment", "istio-egressgateway")?);
    let file = files.resource("mesh", &spec())?;
    let plan = document(2, &["plan", "-f", &file])?;
    println!("plan {}", plan["hash"]);
    let said = ironsail(0, &["install", "-f", &file, "--dry-run"])?;
    assert!(
        said.contains("- Deployment istio-system/istio-egressgateway"),
        "{said}"
    );
    ironsail(0, &["install", "-f", &file, "-y"])?;
    assert!(!exists("deployment", "istio-egressgateway")?);
    let said = ironsail(0, &["verify-install"])?;
    assert!(
        said.contains("objects are installed and ready") && !said.contains("egress"),
        "{said}"
    );
    assert_eq!(document(0, &["plan", "-f", &file])?["hash"], plan["hash"]);
    let before = pods("istiod")?;
    let version = document(0, &["version"])?;
    assert_eq!(
        version["meshVersion"][0]["Revision"], "default",
        "{version}"
    );
    let proxies = version["dataPlaneVersion"].to_string();
    assert!(proxies.contains("istio-ingressgateway"), "{proxies}");

    kubectl::run(&["-n", mesh::SYSTEM, "delete", "configmap", "istio"])?;
    let said = ironsail(1, &["verify-install"])?;
    assert!(
        said.contains("ConfigMap istio-system/istio: not found"),
        "{said}"
    );
    let mut logged = spec();
    logged["meshConfig"] = json!({"accessLogFile": "/dev/stdout"});
    files.resource("mesh", &logged)?;
    let said = ironsail(0, &["upgrade", "-f", &file, "-y", "--verify"])?;
    assert!(
        said.contains("Installation complete") && said.contains("installed and ready"),
        "{said}"
    );
    let map = kubectl::get(mesh::SYSTEM, &["configmap", "istio"])?;
    assert!(
        map["data"]["mesh"].to_string().contains("/dev/stdout"),
        "{map}"
    );
    assert_eq!(
        before,
        pods("istiod")?,
        "nothing that was changed is of the pods"
    );
    manifests(files, &file)
}

/// What is printed is what is installed.
fn manifests(files: &Files, file: &str) -> anyhow::Result<()> {
    let generated = ironsail(0, &["manifest", "generate", "-f", file])?;
    assert_eq!(
        generated,
        ironsail(0, &["manifest", "generate", "-f", file])?
    );
    kubectl::run_with_input(
        &[
            "apply",
            "--server-side",
            "--dry-run=server",
            "--force-conflicts",
            "-f",
            "-",
        ],
        &generated,
    )?;
    let this = files.write("this.yaml", &generated)?;
    let other = ironsail(0, &["manifest", "generate", "-s", "profile=minimal"])?;
    let other = files.write("other.yaml", &other)?;
    ironsail(0, &["manifest", "diff", &this, &this])?;
    let said = ironsail(1, &["manifest", "diff", &this, &other])?;
    assert!(said.contains("istio-ingressgateway"), "{said}");
    let said = ironsail(0, &["manifest", "translate", "-f", file])?;
    assert!(said.contains("helm upgrade --install istiod"), "{said}");
    Ok(())
}

fn a_revision_beside_it() -> anyhow::Result<()> {
    let before = (pods("istiod")?, pods("istio-ingressgateway")?);
    let said = ironsail(1, &["tag", "set", "prod", "-r", "canary"])?;
    assert!(said.contains("there is no revision canary"), "{said}");
    ironsail(0, &["tag", "set", "prod", "-r", "default"])?;
    ironsail(
        0,
        &["install", "-s", "profile=minimal", "-r", "canary", "-y"],
    )?;
    let namespace = Namespace::plain("e2e-command-line")?;
    kubectl::run(&["label", "namespace", &namespace.name, "istio.io/rev=prod"])?;
    namespace.deploy(&App::default())?;
    let revision = || -> anyhow::Result<Value> {
        let pod = namespace.pod("echo")?;
        Ok(namespace.get(&["pod", &pod])?["metadata"]["annotations"]["istio.io/rev"].clone())
    };
    assert_eq!(revision()?, "default");
    let said = ironsail(1, &["tag", "set", "prod", "-r", "canary", "-y"])?;
    assert!(said.contains("--overwrite"), "{said}");
    let said = ironsail(1, &["tag", "set", "prod", "-r", "canary", "--overwrite"])?;
    assert!(
        said.contains(&namespace.name) && said.contains("-y answers yes"),
        "{said}"
    );
    ironsail(
        0,
        &["tag", "set", "prod", "-r", "canary", "--overwrite", "-y"],
    )?;
    let tags = document(0, &["tag", "list"])?;
    let expected = json!({"tag": "prod", "revision": "canary", "namespaces": [namespace.name]});
    assert!(
        tags.as_array().is_some_and(|tags| tags.contains(&expected)),
        "{tags}"
    );
    let pod = namespace.pod("echo")?;
    kubectl::run(&["-n", &namespace.name, "delete", "pod", &pod])?;
    namespace.rollout("deployment/echo")?;
    assert_eq!(revision()?, "canary");
    let generated = ironsail(0, &["tag", "generate", "next", "-r", "canary"])?;
    kubectl::run_with_input(&["apply", "-f", "-"], &generated)?;
    ironsail(0, &["tag", "remove", "next", "-y"])?;
    ironsail(1, &["tag", "remove", "next", "-y"])?;

    let said = ironsail(1, &["uninstall", "--revision", "canary"])?;
    assert!(
        said.contains(&format!("{}/echo", namespace.name))
            && said.contains("The tag prod will lead nowhere"),
        "{said}"
    );
    ironsail(0, &["uninstall", "--revision", "canary", "-y"])?;
    assert!(!exists("deployment", "istiod-canary")?);
    ironsail(0, &["tag", "remove", "prod", "-y"])?;
    assert_eq!(before, (pods("istiod")?, pods("istio-ingressgateway")?));
    Ok(())
}

fn an_operator_takes_over(files: &Files) -> anyhow::Result<()> {
    let before = (pods("istiod")?, pods("istio-ingressgateway")?);
    let file = files.path("mesh.yaml")?;
    let dump = ironsail(0, &["operator", "dump"])?;
    kubectl::run_with_input(&["create", "--dry-run=client", "-f", "-"], &dump)?;
    ironsail(0, &["operator", "init", "-f", &file])?;
    let resource = Resource {
        name: "mesh".to_owned(),
    };
    let status = resource.wait("HEALTHY", Duration::from_secs(60))?["status"].clone();
    assert_eq!(
        document(0, &["plan", "-f", &file])?["hash"],
        status["plan"]["accepted"]
    );
    let said = ironsail(1, &["install", "-f", &file, "-y"])?;
    assert!(said.contains("kubectl apply"), "{said}");
    let said = ironsail(1, &["uninstall", "--purge", "-y"])?;
    assert!(
        said.contains("its operator would install it again"),
        "{said}"
    );
    ironsail(0, &["verify-install"])?;
    assert_eq!(before, (pods("istiod")?, pods("istio-ingressgateway")?));

    // Without its operator the mesh works on, and another one goes on where the first one ended.
    ironsail(0, &["operator", "remove", "-y"])?;
    assert_eq!(before, (pods("istiod")?, pods("istio-ingressgateway")?));
    ironsail(0, &["operator", "init"])?;
    resource.wait("HEALTHY", Duration::from_secs(60))?;
    assert_eq!(before, (pods("istiod")?, pods("istio-ingressgateway")?));
    // Removed by what follows.
    std::mem::forget(resource);
    Ok(())
}
