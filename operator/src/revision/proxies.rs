//! Proxies that are connected to the replicas of a control plane, as its monitoring port tells.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ironsail_runtime::net::{ConnectError, connect_tcp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Port of metrics and debugging.
const PORT: u16 = 15014;
/// How long one replica may take to answer.
const LIMIT: Duration = Duration::from_secs(2);
/// Largest answer that is read; some thousand proxies.
const MAX_BYTES: u64 = 8 << 20;

/// How replicas are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub port: u16,
    pub limit: Duration,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            port: PORT,
            limit: LIMIT,
        }
    }
}

/// Why it can't be said which proxies are connected.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("pods of the control plane can't be listed: {}", crate::apply::reason(.0))]
    List(#[source] Box<kube::Error>),
    #[error("the control plane {pod} can't be asked for its proxies: {source}")]
    Ask {
        pod: String,
        #[source]
        source: AskError,
    },
}

/// Why one replica gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("the answer is {0}")]
    Status(String),
    #[error("the answer is no list of connections: {0}")]
    Format(#[from] serde_json::Error),
}

/// `/debug/connections`, of which the names are needed.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    clients: Vec<Connection>,
}

#[derive(Deserialize)]
struct Connection {
    #[serde(rename = "connectionId", default)]
    id: String,
    #[serde(default)]
    proxy: String,
}

impl Connection {
    /// `pod.namespace`. The peer's identifiers have a number at their end instead of a field.
    fn name(self) -> String {
        if !self.proxy.is_empty() {
            return self.proxy;
        }
        match self.id.rsplit_once('-') {
            Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => name.to_owned(),
            _ => self.id,
        }
    }
}

impl Probe {
    /// Names of the proxies that are connected to the pods of a selector, as `pod.namespace`.
    ///
    /// Pods that never ran have none; one that runs and doesn't answer may have any.
    ///
    /// # Errors
    /// Somebody doesn't answer.
    pub async fn connected(
        &self,
        client: &Client,
        namespace: &str,
        selector: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, ProbeError> {
        let labels: Vec<String> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let params = ListParams::default().labels(&labels.join(","));
        let pods = api.list(&params).await;
        let pods = pods.map_err(|error| ProbeError::List(Box::new(error)))?;
        let mut names = Vec::new();
        for pod in pods {
            let Some(address) = running_at(&pod) else {
                continue;
            };
            let asked = tokio::time::timeout(self.limit, self.ask(address)).await;
            let found = asked.unwrap_or(Err(AskError::Timeout));
            let found = found.map_err(|source| ProbeError::Ask {
                pod: pod.name_any(),
                source,
            })?;
            names.extend(found);
        }
        Ok(names)
    }

    async fn ask(&self, address: IpAddr) -> Result<Vec<String>, AskError> {
        let address = SocketAddr::new(address, self.port);
        let mut stream = connect_tcp(address, self.limit).await?;
        // Version 1.0: the answer ends with the connection and is in one piece.
        let request = format!("GET /debug/connections HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.take(MAX_BYTES).read_to_end(&mut bytes).await?;
        let answer: Answer = serde_json::from_slice(body(&bytes)?)?;
        Ok(answer.clients.into_iter().map(Connection::name).collect())
    }
}

/// Address of a pod that runs.
fn running_at(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let running = status.phase.as_deref() == Some("Running");
    let address = status.pod_ip.as_ref().filter(|_| running)?;
    address.parse().ok()
}

/// The body of an answer with status 200.
fn body(answer: &[u8]) -> Result<&[u8], AskError> {
    const END: &[u8] = b"\r\n\r\n";
    let end = answer.windows(END.len()).position(|bytes| bytes == END);
    let Some((head, body)) = end.map(|at| answer.split_at(at)) else {
        return Err(AskError::Status("not HTTP".to_owned()));
    };
    let head = String::from_utf8_lossy(head);
    let status = head.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(body.get(END.len()..).unwrap_or_default()),
        _ => Err(AskError::Status(status.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A control plane that gives one answer; its port.
    async fn control_plane(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 512];
                let length = stream.read(&mut request).await.expect("a request");
                assert!(request[..length].starts_with(b"GET /debug/connections HTTP/1.0\r\n"));
                stream.write_all(answer.as_bytes()).await.expect("sent");
            }
        });
        port
    }

    async fn ask(answer: &'static str) -> Result<Vec<String>, AskError> {
        let probe = Probe {
            port: control_plane(answer).await,
            ..Probe::default()
        };
        probe.ask(IpAddr::from([127, 0, 0, 1])).await
    }

    #[tokio::test]
    async fn both_forms_of_names_are_read() {
        let own = "HTTP/1.0 200 OK\r\na: b\r\n\r\n{\"totalClients\":1,\"clients\":[{\"connectionId\":\"sidecar~1~a.shop~x\",\"proxy\":\"a.shop\"}]}";
        assert_eq!(ask(own).await.expect("answered"), ["a.shop"]);
        let peer = "HTTP/1.1 200 OK\r\n\r\n{\"clients\":[{\"connectionId\":\"b-7d.shop-12\",\"metadata\":{}}]}";
        assert_eq!(ask(peer).await.expect("answered"), ["b-7d.shop"]);
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        let refused = ask("HTTP/1.1 403 Forbidden\r\n\r\n").await;
        assert!(
            matches!(refused, Err(AskError::Status(status)) if status.ends_with("403 Forbidden"))
        );
        let other = ask("HTTP/1.1 200 OK\r\n\r\nhello").await;
        assert!(matches!(other, Err(AskError::Format(_))));
        assert!(matches!(ask("").await, Err(AskError::Status(_))));
        let nobody = Probe {
            port: 1,
            ..Probe::default()
        };
        let nobody = nobody.ask(IpAddr::from([127, 0, 0, 1])).await;
        assert!(matches!(nobody, Err(AskError::Connect(_))));
    }
}
