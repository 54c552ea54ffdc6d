//! Clients of discovery that cost little: they acknowledge what comes and read none of it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use h2::SendStream;
use hyper::Request;
use hyper::body::Bytes;
use ironsail_runtime::signal::Shutdown;
use ironsail_xds::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use ironsail_xds::{core, protobuf, type_url};
use prost::Message;
use tokio::net::TcpStream;

use super::scanner::{Scanner, Seen};
use crate::world::World;

/// Flow control of our own proxy's client.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Pause of a client that was refused: the control plane may not have its configuration yet.
const RETRY: Duration = Duration::from_millis(20);
/// Time for a step with all clients.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which variant of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    StateOfTheWorld,
    Delta,
}

/// One type that a client asks for.
#[derive(Clone, Debug)]
struct Asked {
    type_url: &'static str,
    /// Names, encoded as part of a request.
    names: Bytes,
    /// Asked for when a response of this type is there.
    after: Option<&'static str>,
}

/// A response that a client got.
#[derive(Clone, Debug)]
pub struct Received {
    pub type_url: String,
    pub bytes: usize,
    pub at: Instant,
}

/// Clients with a thread of their own; they end when this is dropped.
pub struct Fleet {
    received: Receiver<Received>,
    size: usize,
    types: usize,
    shutdown: Shutdown,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What all clients got together in one step.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// When the last one had all of it.
    pub end: Option<Instant>,
    /// When each client had it.
    pub times: Vec<Instant>,
    pub bytes: usize,
}

impl Fleet {
    /// Connects clients that ask for everything a sidecar asks for.
    pub fn start(
        port: u16,
        size: usize,
        world: &World,
        protocol: Protocol,
    ) -> anyhow::Result<Self> {
        let asked = |type_url, names: Vec<String>, after| Asked {
            type_url,
            names: encode(names),
            after,
        };
        let all = vec![
            asked(type_url::CLUSTER, Vec::new(), None),
            asked(type_url::LISTENER, Vec::new(), None),
            asked(
                type_url::ENDPOINT,
                world.clusters(),
                Some(type_url::CLUSTER),
            ),
            asked(type_url::ROUTE, world.routes(), Some(type_url::LISTENER)),
        ];
        Self::with(port, size, world, protocol, all)
    }

    /// Waits until a control plane serves, with a client that asks for next to nothing.
    pub fn probe(port: u16, world: &World) -> anyhow::Result<()> {
        let asked = Asked {
            type_url: type_url::SECRET,
            names: Bytes::new(),
            after: None,
        };
        let fleet = Self::with(port, 1, world, Protocol::Delta, vec![asked])?;
        fleet
            .wait_for_all()
            .context("the control plane does not serve")
            .map(drop)
    }

    fn with(
        port: u16,
        size: usize,
        world: &World,
        protocol: Protocol,
        asked: Vec<Asked>,
    ) -> anyhow::Result<Self> {
        let (sender, received) = channel();
        let types = asked.len();
        let asked = Arc::new(asked);
        let shutdown = Shutdown::new();
        let end = shutdown.child();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let clients: Vec<Client> = (0..size)
            .map(|number| Client {
                node: node(world, number),
                protocol,
                asked: Arc::clone(&asked),
                received: sender.clone(),
            })
            .collect();
        let thread = std::thread::Builder::new()
            .name("clients".to_owned())
            .spawn(move || {
                runtime.block_on(end.guard(async {
                    let running = clients
                        .into_iter()
                        .map(|client| tokio::spawn(client.run(port)));
                    futures::future::join_all(running).await;
                }));
            })?;
        Ok(Self {
            received,
            size,
            types,
            shutdown,
            thread: Some(thread),
        })
    }

    /// Waits until every client has had a response of every type; in the first step.
    pub fn wait_for_all(&self) -> anyhow::Result<Step> {
        self.wait(|_| true, self.size * self.types)
    }

    /// Waits until every client has had one more response of a type; others are counted in the bytes.
    pub fn wait_for(&self, type_url: &str) -> anyhow::Result<Step> {
        self.wait(|received| received.type_url == type_url, self.size)
    }

    /// Bytes of whatever comes until nothing has come for `quiet`.
    pub fn drain(&self, quiet: Duration) -> usize {
        let mut bytes = 0;
        while let Ok(received) = self.received.recv_timeout(quiet) {
            bytes += received.bytes;
        }
        bytes
    }

    fn wait(&self, counts: impl Fn(&Received) -> bool, count: usize) -> anyhow::Result<Step> {
        let mut step = Step::default();
        while step.times.len() < count {
            match self.received.recv_timeout(PATIENCE) {
                Ok(received) => {
                    step.bytes += received.bytes;
                    if counts(&received) {
                        step.times.push(received.at);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "{} of {count} responses came in {PATIENCE:?}",
                        step.times.len()
                    )
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the clients ended"),
            }
        }
        step.end = step.times.last().copied();
        Ok(step)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shutdown.trigger();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that matters now.
            let _ = thread.join();
        }
    }
}

/// Names of a request: the field has the same number in both protocols.
fn encode(names: Vec<String>) -> Bytes {
    let request = DiscoveryRequest {
        resource_names: names,
        ..Default::default()
    };
    request.encode_to_vec().into()
}

/// What a sidecar says about itself.
fn node(world: &World, number: usize) -> core::Node {
    use protobuf::value::Kind;
    let text = |text: &str| protobuf::Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let (id, labels) = world.client(number);
    let address = id.split('~').nth(1).unwrap_or_default().to_owned();
    let labels = protobuf::Struct {
        fields: labels
            .iter()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
    };
    let fields = [
        ("CLUSTER_ID", text("Kubernetes")),
        ("INSTANCE_IPS", text(&address)),
        ("INTERCEPTION_MODE", text("REDIRECT")),
        ("ISTIO_VERSION", text("1.32.0")),
        ("MESH_ID", text("cluster.local")),
        ("NODE_NAME", text("node-0")),
        (
            "LABELS",
            protobuf::Value {
                kind: Some(Kind::StructValue(labels)),
            },
        ),
    ];
    core::Node {
        id,
        cluster: "bench".to_owned(),
        metadata: Some(protobuf::Struct {
            fields: fields
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }),
        ..Default::default()
    }
}

struct Client {
    node: core::Node,
    protocol: Protocol,
    asked: Arc<Vec<Asked>>,
    received: Sender<Received>,
}

impl Client {
    /// Until nobody listens; a stream that ends is opened again.
    async fn run(self, port: u16) {
        loop {
            // A control plane that is not ready refuses; there is nobody to tell.
            let _ = self.stream(port).await;
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn stream(&self, port: u16) -> anyhow::Result<()> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (client, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake::<_, Bytes>(stream)
            .await?;
        tokio::spawn(connection);
        let method = match self.protocol {
            Protocol::StateOfTheWorld => "StreamAggregatedResources",
            Protocol::Delta => "DeltaAggregatedResources",
        };
        let request = Request::post(format!(
            "http://istiod/envoy.service.discovery.v3.AggregatedDiscoveryService/{method}"
        ))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
        let (response, mut out) = client.ready().await?.send_request(request, false)?;
        let mut node = Some(self.node.clone());
        for asked in self.asked.iter().filter(|asked| asked.after.is_none()) {
            out.send_data(self.request(asked, node.take(), None), false)?;
        }
        self.receive(response.await?.into_body(), &mut out).await
    }

    async fn receive(
        &self,
        mut body: h2::RecvStream,
        out: &mut SendStream<Bytes>,
    ) -> anyhow::Result<()> {
        let mut scanner = Scanner::default();
        let mut known: Vec<String> = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            let mut responses = Vec::new();
            scanner.read(&piece, |seen| responses.push(seen));
            for seen in responses {
                self.acknowledge(&seen, &mut known, out)?;
                let received = Received {
                    bytes: seen.bytes,
                    type_url: seen.type_url,
                    at: Instant::now(),
                };
                // Nobody may listen any more.
                let _ = self.received.send(received);
            }
        }
        Ok(())
    }

    fn acknowledge(
        &self,
        seen: &Seen,
        known: &mut Vec<String>,
        out: &mut SendStream<Bytes>,
    ) -> anyhow::Result<()> {
        let asked = self
            .asked
            .iter()
            .find(|asked| asked.type_url == seen.type_url);
        let asked = asked.with_context(|| format!("nobody asked for {}", seen.type_url))?;
        out.send_data(self.request(asked, None, Some(seen)), false)?;
        if known.contains(&seen.type_url) {
            return Ok(());
        }
        known.push(seen.type_url.clone());
        let next = self
            .asked
            .iter()
            .filter(|asked| asked.after == Some(seen.type_url.as_str()));
        for asked in next {
            out.send_data(self.request(asked, None, None), false)?;
        }
        Ok(())
    }

    /// A first request, or an acknowledgement of `seen`, framed.
    fn request(&self, asked: &Asked, node: Option<core::Node>, seen: Option<&Seen>) -> Bytes {
        let nonce = seen.map(|seen| seen.nonce.clone()).unwrap_or_default();
        let (mut body, has_names) = match self.protocol {
            Protocol::Delta => {
                let request = DeltaDiscoveryRequest {
                    node,
                    type_url: asked.type_url.to_owned(),
                    response_nonce: nonce,
                    ..Default::default()
                };
                (request.encode_to_vec(), seen.is_none())
            }
            Protocol::StateOfTheWorld => {
                let request = DiscoveryRequest {
                    node,
                    type_url: asked.type_url.to_owned(),
                    response_nonce: nonce,
                    version_info: seen.map(|seen| seen.version.clone()).unwrap_or_default(),
                    ..Default::default()
                };
                (request.encode_to_vec(), true)
            }
        };
        if has_names {
            body.extend_from_slice(&asked.names);
        }
        let mut message = vec![0];
        message.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        message.extend(body);
        message.into()
    }
}
