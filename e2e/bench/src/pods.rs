//! Memory of the operator and the control plane of a demo that runs, as they report it themselves.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context;

use crate::report::{Bound, Figure, Report};

const MIB: f64 = 1024.0 * 1024.0;

/// A pod of the demo: what it is, where, and the bound of its resident memory in MiB.
struct Pod {
    what: &'static str,
    namespace: &'static str,
    selector: &'static str,
    port: u16,
    bound: f64,
}

const PODS: [Pod; 2] = [
    Pod {
        what: "operator",
        namespace: "istio-operator",
        selector: "name=istio-operator",
        port: 8383,
        bound: 30.0,
    },
    Pod {
        what: "control plane",
        namespace: "istio-system",
        selector: "app=istiod",
        port: 15014,
        bound: 40.0,
    },
];

/// Reads the metrics of both through the API server; says so when there is no cluster.
pub fn memory(report: &mut Report) -> anyhow::Result<()> {
    report.section("Operator and control plane with Bookinfo");
    let Some(cluster) = Cluster::find() else {
        report.line("not measured: no cluster; `make demo` starts one, or set KUBECONFIG");
        return Ok(());
    };
    for pod in &PODS {
        match cluster.memory_of(pod) {
            Ok(bytes) => report.figure(Figure {
                name: format!("{} with Bookinfo, resident", pod.what),
                value: bytes / MIB,
                unit: "MiB",
                bound: Bound::AtMost(pod.bound),
            }),
            Err(error) => report.line(format!("{} not measured: {error:#}", pod.what)),
        }
    }
    Ok(())
}

struct Cluster {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
}

impl Cluster {
    /// That of `$KUBECONFIG`, else the one-node cluster if it runs.
    fn find() -> Option<Self> {
        if let Some(kubeconfig) = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) {
            return Some(Self {
                kubeconfig: kubeconfig.into(),
                kubectl: "kubectl".into(),
            });
        }
        let cache = std::env::var_os("CACHE").map(PathBuf::from);
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(home?.join(".cache/ironsail")))?;
        let node = cache.join("bin/ironsail-node");
        let output = Command::new(&node).arg("kubeconfig").output().ok()?;
        let path = String::from_utf8(output.stdout).ok()?;
        let cluster = Self {
            kubeconfig: path.trim().into(),
            kubectl: cache.join("bin/kubectl"),
        };
        let answers = cluster.get(&["--raw", "/readyz"]).is_ok();
        (output.status.success() && answers).then_some(cluster)
    }

    /// The most that one of its replicas needs: of the operator's, one works and the others wait.
    fn memory_of(&self, pod: &Pod) -> anyhow::Result<f64> {
        let selection = ["-n", pod.namespace, "pod", "-l", pod.selector];
        let names = ["-o", "jsonpath={.items[*].metadata.name}"];
        let names = self.get(&[&selection[..], &names].concat())?;
        let mut most = None;
        for name in names.split_whitespace() {
            let bytes = self.memory_of_one(pod, name)?;
            most = Some(most.map_or(bytes, |most: f64| most.max(bytes)));
        }
        most.context("it has no pods")
    }

    fn memory_of_one(&self, pod: &Pod, name: &str) -> anyhow::Result<f64> {
        let path = format!(
            "/api/v1/namespaces/{}/pods/{name}:{}/proxy/metrics",
            pod.namespace, pod.port
        );
        let metrics = self.get(&["--raw", &path])?;
        metrics
            .lines()
            .find_map(|line| line.strip_prefix("process_resident_memory_bytes "))
            .and_then(|value| value.trim().parse().ok())
            .context("its metrics hold no process_resident_memory_bytes")
    }

    fn get(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let kubectl = if self.kubectl.exists() {
            &self.kubectl
        } else {
            Path::new("kubectl")
        };
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(kubectl)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["get", "--request-timeout=10s"])
            .args(arguments)
            .output()
            .context("kubectl does not start")?;
        if !status.success() {
            anyhow::bail!("{}", String::from_utf8_lossy(&stderr).trim());
        }
        Ok(String::from_utf8(stdout)?)
    }
}
