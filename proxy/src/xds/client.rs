//! The stream to the control plane, and its return after every failure.

mod connect;
mod messages;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ironsail_runtime::net::Resolver;
use ironsail_runtime::retry::{Backoff, BackoffConfig};
use ironsail_runtime::signal::Shutdown;
use ironsail_xds::core::Node;
use ironsail_xds::discovery::aggregated_discovery_service_server::SERVICE_NAME;
use ironsail_xds::discovery::{DeltaDiscoveryResponse, DiscoveryResponse};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::http::uri::{InvalidUri, Uri};
use tracing::{debug, info, warn};

use super::subscription::join;
use super::{Kind, Pending, Protocol, Request, Response, Sink, Subscriptions};
use connect::Connection;
pub use connect::{Roots, Transport};
use messages::Messages;

/// Delays between streams: a restart of the control plane is noticed soon, a long outage does not flood it.
const BACKOFF: BackoffConfig = BackoffConfig {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(15),
    multiplier: 2.0,
    jitter: 0.2,
};

/// What the client shows to the control plane; looked at for each connection.
pub trait Credentials: Send + Sync {
    /// TLS settings with a client certificate and its trust anchors. `None`, as long as there is no certificate,
    /// means TLS without one, with the roots of [`Transport::Tls`].
    fn client_config(&self) -> Option<Arc<rustls::ClientConfig>>;

    /// The bearer token; `None` if there is none. Never sent in plaintext.
    fn token(&self) -> BoxFuture<'_, Option<String>>;
}

/// Where the control plane is and how to talk to it.
#[derive(Clone)]
pub struct ClientConfig {
    /// `host:port`, an IPv6 literal in brackets.
    pub address: String,
    pub transport: Transport,
    pub protocol: Protocol,
    pub node: Node,
    /// Sent as `clusterid`, which tells the control plane who issued the token; empty means not sent.
    pub cluster_id: String,
    /// More metadata of each stream, name and value.
    pub headers: Vec<(String, String)>,
    pub credentials: Arc<dyn Credentials>,
    pub resolver: Resolver,
    /// To be notified when what the sink wants changed otherwise than by an update.
    pub wanted_changed: Arc<Notify>,
}

/// Why a configuration can never work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("discovery address {address} is not host:port")]
    Address {
        address: String,
        #[source]
        source: Option<InvalidUri>,
    },
    #[error("server name {name} of the discovery address is no DNS name or IP address")]
    ServerName { name: String },
    #[error("metadata {name} of xDS streams has an invalid name or value")]
    Metadata { name: String },
}

/// What became of the updates of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updates {
    /// Those that were accepted as a whole.
    pub accepted: u64,
    /// Those of which at least one resource was rejected.
    pub rejected: u64,
    /// Why the last update was rejected; empty if it was accepted.
    pub last_rejection: String,
}

/// How the client is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientStatus {
    /// Whether there is a stream.
    pub connected: bool,
    /// Updates since the start by type URL; a type that is not there was never received.
    pub received: BTreeMap<String, Updates>,
    /// Why there is no stream, or why the last one ended; empty while there is one.
    pub last_error: String,
}

impl ClientStatus {
    /// Whether an update of the type arrived, accepted or not.
    pub fn has_received(&self, type_url: &str) -> bool {
        self.received.contains_key(type_url)
    }

    /// Whether an update of the type was ever accepted as a whole.
    pub fn has_accepted(&self, type_url: &str) -> bool {
        self.received
            .get(type_url)
            .is_some_and(|updates| updates.accepted > 0)
    }
}

/// Keeps a stream open until `shutdown` and feeds `sink`. What was applied outlives any stream.
///
/// # Errors
/// The configuration cannot work. Failures of the network or of the control plane are retried forever.
pub async fn run<S: Sink>(
    config: ClientConfig,
    sink: S,
    status: watch::Sender<ClientStatus>,
    shutdown: Shutdown,
) -> Result<(), ConfigError> {
    let connection = Connection::new(&config)?;
    let mut client = Client {
        subscriptions: Subscriptions::new(config.protocol, config.node.clone()),
        backoff: Backoff::new(BACKOFF),
        connection,
        config,
        sink,
        status,
    };
    shutdown.guard(client.run()).await;
    client.status.send_modify(|status| status.connected = false);
    Ok(())
}

/// Why a stream ended or did not begin.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("connection failed: {0}")]
    Connect(String),
    #[error("stream failed: {0}")]
    Stream(String),
    #[error("closed by the control plane")]
    Closed,
}

impl From<tonic::Status> for StreamError {
    fn from(status: tonic::Status) -> Self {
        let source = std::error::Error::source(&status).map(connect::chain);
        let code = status.code();
        StreamError::Stream(match source {
            Some(source) => format!("{code:?}: {}: {source}", status.message()),
            None => format!("{code:?}: {}", status.message()),
        })
    }
}

struct Client<S> {
    config: ClientConfig,
    connection: Connection,
    subscriptions: Subscriptions,
    backoff: Backoff,
    sink: S,
    status: watch::Sender<ClientStatus>,
}

impl<S: Sink> Client<S> {
    /// One stream after the other.
    async fn run(&mut self) {
        loop {
            let error = match self.stream().await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            self.subscriptions.on_disconnect();
            let delay = self.backoff.next_delay();
            let address = &self.config.address;
            if matches!(error, StreamError::Closed) {
                info!(address, ?delay, "xDS stream was closed, reconnecting");
            } else {
                warn!(address, %error, ?delay, "xDS stream failed, reconnecting");
            }
            self.status.send_modify(|status| {
                status.connected = false;
                status.last_error = error.to_string();
            });
            tokio::time::sleep(delay).await;
        }
    }

    /// Connects, and moves messages until the stream fails.
    async fn stream(&mut self) -> Result<std::convert::Infallible, StreamError> {
        let connected = self.connection.open(&self.config).await?;
        let (requests, outgoing) = mpsc::unbounded_channel();
        send_all(
            &requests,
            self.subscriptions.on_connect(&self.sink.wanted()),
        )?;
        let mut incoming = Incoming::open(connected, self.config.protocol, outgoing).await?;
        info!(address = self.config.address, protocol = ?self.config.protocol, "xDS stream is open");
        self.status.send_modify(|status| {
            status.connected = true;
            status.last_error.clear();
        });
        let wanted_changed = self.config.wanted_changed.clone();
        loop {
            let answers = tokio::select! {
                response = incoming.next() => {
                    let response = response?.ok_or(StreamError::Closed)?;
                    self.backoff.reset();
                    self.take(response)
                }
                () = wanted_changed.notified() => self.subscriptions.on_wanted(&self.sink.wanted()),
            };
            send_all(&requests, answers)?;
        }
    }

    /// Applies a response and says what to answer.
    fn take(&mut self, response: Response) -> Vec<Request> {
        let type_url = response.type_url().to_owned();
        let Some((update, pending)) = self.subscriptions.on_response(response) else {
            debug!(
                type_url,
                "Response of a type that was not asked for is ignored"
            );
            return Vec::new();
        };
        let (added, removed) = (update.added.len(), update.removed.len());
        debug!(
            type_url,
            added,
            removed,
            full = update.full,
            "Update received"
        );
        let rejected = self.sink.apply(update);
        self.count(&pending, &join(pending.malformed().iter().chain(&rejected)));
        let wanted = pending.kind().refers().then(|| self.sink.wanted());
        self.subscriptions
            .on_applied(pending, &rejected, wanted.as_ref())
    }

    fn count(&self, pending: &Pending, rejection: &str) {
        let type_url = Kind::type_url(pending.kind());
        if !rejection.is_empty() {
            warn!(type_url, error = rejection, "Resources are rejected");
        }
        self.status.send_modify(|status| {
            let updates = status.received.entry(type_url.to_owned()).or_default();
            if rejection.is_empty() {
                updates.accepted += 1;
            } else {
                updates.rejected += 1;
            }
            rejection.clone_into(&mut updates.last_rejection);
        });
    }
}

fn send_all(
    requests: &mpsc::UnboundedSender<Request>,
    all: Vec<Request>,
) -> Result<(), StreamError> {
    for request in all {
        requests.send(request).map_err(|_| StreamError::Closed)?;
    }
    Ok(())
}

/// Responses of either protocol.
enum Incoming {
    Delta(Messages<DeltaDiscoveryResponse>),
    StateOfTheWorld(Messages<DiscoveryResponse>),
}

impl Incoming {
    async fn open(
        connected: connect::Connected,
        protocol: Protocol,
        outgoing: mpsc::UnboundedReceiver<Request>,
    ) -> Result<Self, StreamError> {
        let connect::Connected { channel, metadata } = connected;
        let outgoing = UnboundedReceiverStream::new(outgoing);
        Ok(match protocol {
            Protocol::Delta => {
                let requests = outgoing.filter_map(|request| match request {
                    Request::Delta(request) => Some(request),
                    Request::StateOfTheWorld(_) => None,
                });
                let path = path("DeltaAggregatedResources");
                let opening = messages::open(channel, path, metadata, Box::pin(requests));
                Incoming::Delta(opening.await?)
            }
            Protocol::StateOfTheWorld => {
                let requests = outgoing.filter_map(|request| match request {
                    Request::StateOfTheWorld(request) => Some(request),
                    Request::Delta(_) => None,
                });
                let path = path("StreamAggregatedResources");
                let opening = messages::open(channel, path, metadata, Box::pin(requests));
                Incoming::StateOfTheWorld(opening.await?)
            }
        })
    }

    /// The next response; `None` when the stream ended without an error. Cancel safe.
    async fn next(&mut self) -> Result<Option<Response>, tonic::Status> {
        match self {
            Incoming::Delta(stream) => Ok(stream.next().await?.map(Response::Delta)),
            Incoming::StateOfTheWorld(stream) => {
                Ok(stream.next().await?.map(Response::StateOfTheWorld))
            }
        }
    }
}

/// Path of a method of `AggregatedDiscoveryService`.
fn path(method: &str) -> Uri {
    let path = format!("/{SERVICE_NAME}/{method}");
    path.try_into().expect("names of gRPC are valid in paths")
}
