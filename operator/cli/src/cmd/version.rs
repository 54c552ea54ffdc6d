//! `version`: of this program, the control planes and the proxies.

use std::collections::BTreeMap;

use clap::{ArgAction, Args};
use ironsail_mesh::VERSION;
use ironsail_runtime::version::{build_info, line};
use kube::Client;
use serde_json::{Map, Value, json};

use crate::cluster::ClusterFlags;
use crate::exit::{self, Code};
use crate::output::Format;
use crate::pods::{self, MeshPod};

#[derive(Args)]
pub struct Flags {
    /// Ask the cluster too.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", value_name = "BOOL")]
    remote: bool,
    /// Version numbers only.
    #[arg(short, long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", value_name = "BOOL")]
    short: bool,
    /// For programs.
    #[arg(short, long)]
    output: Option<Format>,
    /// Only control planes and proxies of this revision.
    #[arg(short, long)]
    revision: Option<String>,
}

/// What runs in the cluster.
#[derive(Debug, Default)]
struct Remote {
    control_planes: Vec<MeshPod>,
    proxies: Vec<MeshPod>,
}

impl Flags {
    pub async fn run(&self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        let remote = match self.remote {
            true => Some(self.look(cluster).await),
            false => None,
        };
        match self.output {
            Some(format) => print!("{}", format.write(&document(remote.as_ref()))?),
            None => print!("{}", self.text(remote.as_ref())),
        }
        Ok(Code::Ok)
    }

    async fn look(&self, cluster: &ClusterFlags) -> anyhow::Result<Remote> {
        let client = cluster.connect().await?;
        self.read(&client, cluster.istio_namespace()).await
    }

    async fn read(&self, client: &Client, namespace: &str) -> anyhow::Result<Remote> {
        let mut remote = Remote {
            control_planes: pods::control_planes(client, namespace).await?,
            proxies: pods::proxies(client).await?,
        };
        if let Some(revision) = &self.revision {
            remote
                .control_planes
                .retain(|pod| pod.revision == *revision);
            remote.proxies.retain(|pod| pod.revision == *revision);
        }
        Ok(remote)
    }

    fn text(&self, remote: Option<&anyhow::Result<Remote>>) -> String {
        let client = match self.short {
            true => VERSION.to_owned(),
            false => line(),
        };
        let mut lines = vec![format!("client version: {client}")];
        match remote {
            None => {}
            Some(Err(error)) => {
                lines.push(format!(
                    "Istio is not present in the cluster: {}",
                    exit::text(error)
                ));
            }
            Some(Ok(remote)) if remote.control_planes.is_empty() => {
                lines.push("Istio is not present in the cluster".to_owned());
            }
            Some(Ok(remote)) => lines.extend(remote_lines(remote)),
        }
        lines.join("\n") + "\n"
    }
}

fn remote_lines(remote: &Remote) -> Vec<String> {
    let versions: Vec<String> = counted(&remote.control_planes)
        .into_keys()
        .map(str::to_owned)
        .collect();
    let mut lines = vec![format!("control plane version: {}", versions.join(", "))];
    let proxies = counted(&remote.proxies);
    let proxies: Vec<String> = proxies
        .into_iter()
        .map(|(version, count)| match count {
            1 => format!("{version} (1 proxy)"),
            count => format!("{version} ({count} proxies)"),
        })
        .collect();
    match proxies.is_empty() {
        true => lines.push("data plane version: none".to_owned()),
        false => lines.push(format!("data plane version: {}", proxies.join(", "))),
    }
    lines
}

fn counted(pods: &[MeshPod]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for pod in pods {
        *counts.entry(pod.version.as_str()).or_default() += 1;
    }
    counts
}

/// The peer's shape of `--output`.
fn document(remote: Option<&anyhow::Result<Remote>>) -> Value {
    let mut document = Map::new();
    document.insert("clientVersion".to_owned(), build_info());
    if let Some(Ok(remote)) = remote {
        let control_planes = remote.control_planes.iter().map(|pod| {
            json!({"Component": "pilot", "Revision": pod.revision, "Info": {"version": pod.version}})
        });
        let proxies = remote.proxies.iter().map(|pod| {
            json!({"ID": format!("{}.{}", pod.name, pod.namespace), "IstioVersion": pod.version})
        });
        document.insert("meshVersion".to_owned(), control_planes.collect());
        document.insert("dataPlaneVersion".to_owned(), proxies.collect());
    }
    Value::Object(document)
}

#[cfg(test)]
mod tests {
    use ironsail_operator::testing::FakeServer;

    use super::*;

    fn flags() -> Flags {
        Flags {
            remote: true,
            short: true,
            output: None,
            revision: None,
        }
    }

    fn put(server: &FakeServer, namespace: &str, name: &str, container: &str, tag: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace,
                "labels": {"app": "istiod", "istio.io/rev": "default"}},
            "spec": {"containers": [{"name": container, "image": format!("ironsail/x:{tag}")}]},
            "status": {"phase": "Running"},
        });
        server.put(&format!("/api/v1/namespaces/{namespace}/pods"), pod);
    }

    #[tokio::test]
    async fn nothing_is_installed() {
        let server = FakeServer::default();
        let remote = flags().read(&server.client(), "istio-system").await;
        let text = flags().text(Some(&remote));
        assert_eq!(
            text,
            format!("client version: {VERSION}\nIstio is not present in the cluster\n")
        );
    }

    #[tokio::test]
    async fn everything_is_counted() {
        let server = FakeServer::default();
        put(
            &server,
            "istio-system",
            "istiod-1",
            "discovery",
            "1.32.0-ironsail.1",
        );
        put(&server, "apps", "a", "istio-proxy", "1.32.0-ironsail.1");
        put(&server, "apps", "b", "istio-proxy", "1.32.0-ironsail.1");
        put(&server, "apps", "c", "istio-proxy", "1.31.0");
        put(&server, "apps", "d", "app", "7");
        let remote = flags().read(&server.client(), "istio-system").await;
        let text = flags().text(Some(&remote));
        let expected = format!(
            "client version: {VERSION}\ncontrol plane version: 1.32.0-ironsail.1\n\
             data plane version: 1.31.0 (1 proxy), 1.32.0-ironsail.1 (2 proxies)\n"
        );
        assert_eq!(text, expected);
        let document = document(Some(&remote));
        assert_eq!(document["clientVersion"]["version"], VERSION);
        assert_eq!(
            document["meshVersion"][0]["Info"]["version"],
            "1.32.0-ironsail.1"
        );
        assert_eq!(
            document["dataPlaneVersion"].as_array().map(Vec::len),
            Some(3)
        );
    }

    #[test]
    fn without_a_cluster_the_reason_is_told() {
        let text = flags().text(Some(&Err(anyhow::anyhow!("no configuration"))));
        assert!(
            text.ends_with("Istio is not present in the cluster: no configuration\n"),
            "{text}"
        );
        assert_eq!(flags().text(None), format!("client version: {VERSION}\n"));
    }
}
