//! A namespace per test, named after it, removed with it; what it held is kept when the test fails.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::{kubectl, wait};

/// How long a workload may take to become ready.
const READY: &str = "90s";

/// Where objects, logs and configuration of failed tests go, in this crate's folder.
const ARTIFACTS: &str = "artifacts";

/// A namespace that lives as long as the value.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    /// A namespace whose pods get a proxy.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn injected(name: &str) -> anyhow::Result<Self> {
        let namespace = Self::plain(name)?;
        kubectl::run(&["label", "namespace", name, "istio-injection=enabled"])?;
        Ok(namespace)
    }

    /// A namespace outside the mesh.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn plain(name: &str) -> anyhow::Result<Self> {
        // What a killed run left.
        kubectl::run(&[
            "delete",
            "namespace",
            name,
            "--ignore-not-found",
            "--timeout=120s",
        ])?;
        kubectl::run(&["create", "namespace", name])?;
        Ok(Self {
            name: name.to_owned(),
        })
    }

    /// # Errors
    /// The API server or a webhook refuses.
    pub fn apply(&self, manifest: &str) -> anyhow::Result<String> {
        kubectl::apply(&self.name, manifest)
    }

    /// Applies a file below the repository's root.
    ///
    /// # Errors
    /// It cannot be read, or is refused.
    pub fn apply_file(&self, path: &str) -> anyhow::Result<String> {
        self.apply(&crate::mesh::manifest(path)?)
    }

    /// Waits until the newest pods of a workload are ready.
    ///
    /// # Errors
    /// They are not ready in time.
    pub fn rollout(&self, workload: &str) -> anyhow::Result<()> {
        let timeout = format!("--timeout={READY}");
        kubectl::run(&["-n", &self.name, "rollout", "status", workload, &timeout]).map(drop)
    }

    /// Runs a program in the container `app` of a workload.
    ///
    /// # Errors
    /// It exits non-zero.
    pub fn exec(&self, target: &str, command: &[&str]) -> anyhow::Result<String> {
        kubectl::exec(&self.name, target, "app", command)
    }

    /// # Errors
    /// The object does not exist.
    pub fn get(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        kubectl::get(&self.name, arguments)
    }

    /// Name of the only running pod with a label `app`.
    ///
    /// # Errors
    /// There is none in time.
    pub fn pod(&self, app: &str) -> anyhow::Result<String> {
        wait::until("a running pod", Duration::from_secs(60), || {
            let pods = self.get(&["pods", "-l", &format!("app={app}")])?;
            pods["items"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
                .find_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
                .ok_or_else(|| anyhow::anyhow!("no pod with app={app}"))
        })
    }

    /// Deploys one of the sample programs with a Service, and waits for it.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn deploy(&self, app: &App<'_>) -> anyhow::Result<()> {
        self.apply(&app.manifest())?;
        self.rollout(&format!("deployment/{}", app.name))
    }

    fn save(&self) -> anyhow::Result<PathBuf> {
        let directory = crate::directory()?.join(ARTIFACTS).join(&self.name);
        fs::create_dir_all(&directory)?;
        let save = |file: &str, arguments: &[&str]| {
            let text = kubectl::run(arguments).unwrap_or_else(|error| format!("{error:#}"));
            fs::write(directory.join(file), text)
        };
        let name = self.name.as_str();
        save(
            "objects.yaml",
            &["-n", name, "get", "all,events,vs,dr,gw,pa", "-o", "yaml"],
        )?;
        save("pods.txt", &["-n", name, "describe", "pods"])?;
        save(
            "istiod.log",
            &[
                "-n",
                "istio-system",
                "logs",
                "deployment/istiod",
                "--tail=2000",
            ],
        )?;
        save(
            "operator.log",
            &[
                "-n",
                "istio-operator",
                "logs",
                "--selector=name=istio-operator",
                "--prefix",
                "--tail=2000",
            ],
        )?;
        let pods = kubectl::run(&["-n", name, "get", "pods", "-o", "name"])?;
        for pod in pods.lines() {
            let file = pod.replace('/', "-");
            save(
                &format!("{file}.log"),
                &["-n", name, "logs", pod, "--all-containers", "--prefix"],
            )?;
            let dump = ["pilot-agent", "request", "GET", "config_dump"];
            let text = kubectl::exec(name, pod, "istio-proxy", &dump)
                .unwrap_or_else(|error| format!("{error:#}"));
            fs::write(directory.join(format!("{file}.config_dump.json")), text)?;
        }
        Ok(directory)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            match self.save() {
                Ok(directory) => {
                    eprintln!("saved what {} held in {}", self.name, directory.display())
                }
                Err(error) => eprintln!("nothing saved of {}: {error:#}", self.name),
            }
        }
        let delete = [
            "delete",
            "namespace",
            &self.name,
            "--ignore-not-found",
            "--wait=false",
        ];
        if let Err(error) = kubectl::run(&delete) {
            eprintln!("namespace {} stays: {error:#}", self.name);
        }
    }
}

/// A Deployment of one sample program with a Service of the same name.
pub struct App<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// Arguments of the program: `["echo"]`.
    pub args: &'a [&'a str],
    /// Service ports: name and number, target port the same.
    pub ports: &'a [(&'a str, u16)],
    pub replicas: u32,
    /// Annotations of the pods: `name: value, …`.
    pub annotations: &'a str,
    /// More lines of the pod's template, indented by six.
    pub pod: &'a str,
}

impl Default for App<'_> {
    fn default() -> Self {
        Self {
            name: "echo",
            version: "v1",
            args: &["echo"],
            ports: &[("http", 8080)],
            replicas: 1,
            annotations: "",
            pod: "",
        }
    }
}

impl App<'_> {
    /// The manifest: a Deployment `<name>` and, where there are ports, a Service `<name>`.
    pub fn manifest(&self) -> String {
        let Self {
            name,
            version,
            args,
            replicas,
            annotations,
            pod,
            ..
        } = self;
        let image = crate::mesh::image("apps");
        let mut text = format!(
            "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: {name}, version: {version}}}
  template:
    metadata:
      labels: {{app: {name}, version: {version}}}
      annotations: {{{annotations}}}
    spec:
      terminationGracePeriodSeconds: 15
      containers:
      - name: app
        image: {image}
        args: {args:?}
        env:
        - {{name: VERSION, value: {version}}}
        - {{name: POD_IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}
{pod}"
        );
        if !self.ports.is_empty() {
            let ports: String = self
                .ports
                .iter()
                .map(|(name, port)| format!("  - {{name: {name}, port: {port}}}\n"))
                .collect();
            text.push_str(&format!(
                "---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector: {{app: {name}}}
  ports:
{ports}"
            ));
        }
        text
    }
}
