//! The xDS stream of one proxy: both ends' protocol, and the bytes between them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use ironsail_controlplane::generate::{Cache, SecretAccess};
use ironsail_controlplane::model::change::ChangeSet;
use ironsail_controlplane::model::proxy::ProxyNode;
use ironsail_controlplane::model::snapshot::Snapshot;
use ironsail_controlplane::xds::frame;
use ironsail_controlplane::xds::resource_type::ResourceType;
use ironsail_controlplane::xds::session::{self, Session};
use ironsail_proxy::snapshot::Store;
use ironsail_proxy::xds::{Protocol, Request, Response, Sink, Subscriptions};
use ironsail_xds::core::Node;
use ironsail_xds::discovery::{DeltaDiscoveryResponse, DiscoveryResponse};
use prost::Message;

/// Flag and length before a gRPC message.
const GRPC_PREFIX: usize = 5;

/// A stream that never breaks.
pub struct Discovery {
    protocol: Protocol,
    session: Session,
    subscriptions: Subscriptions,
    store: Store,
}

impl Discovery {
    /// Connects a proxy and fetches everything that it wants.
    ///
    /// # Errors
    /// The node is no proxy's, or the proxy rejects a resource.
    pub fn connect(
        protocol: Protocol,
        node: Node,
        store: Store,
        snapshot: Arc<Snapshot>,
        cache: Arc<Cache>,
    ) -> anyhow::Result<Self> {
        let proxy = ProxyNode::from_node(Some(&node))?;
        let access = match proxy.id.node_type {
            ironsail_mesh::node::NodeType::Router => SecretAccess::OwnNamespace,
            _ => SecretAccess::Denied,
        };
        let is_delta = protocol == Protocol::Delta;
        let session = Session::new(is_delta, 1, Arc::new(proxy), access, snapshot, cache);
        let mut discovery = Self {
            protocol,
            session,
            subscriptions: Subscriptions::new(protocol, node),
            store,
        };
        let wanted = discovery.store.wanted();
        let first = discovery.subscriptions.on_connect(&wanted);
        discovery.exchange(first.into())?;
        Ok(discovery)
    }

    /// Tells the proxy of a new snapshot.
    ///
    /// # Errors
    /// The proxy rejects a resource.
    pub fn push(&mut self, snapshot: Arc<Snapshot>, changes: &ChangeSet) -> anyhow::Result<()> {
        let mut requests = VecDeque::new();
        for response in self.session.push(snapshot, changes) {
            requests.extend(self.receive(&response)?);
        }
        self.exchange(requests)
    }

    /// The same with a pause behind each message, in which proxies work with what they have.
    ///
    /// # Errors
    /// The proxy rejects a resource.
    pub async fn spread(
        &mut self,
        snapshot: Arc<Snapshot>,
        changes: &ChangeSet,
        pause: Duration,
    ) -> anyhow::Result<()> {
        let mut requests = VecDeque::new();
        for response in self.session.push(snapshot, changes) {
            requests.extend(self.receive(&response)?);
            tokio::time::sleep(pause).await;
        }
        while let Some(request) = requests.pop_front() {
            for response in self.answer(&request)? {
                requests.extend(self.receive(&response)?);
                tokio::time::sleep(pause).await;
            }
        }
        Ok(())
    }

    /// Moves messages until neither side has anything to say.
    fn exchange(&mut self, mut requests: VecDeque<Request>) -> anyhow::Result<()> {
        while let Some(request) = requests.pop_front() {
            for response in self.answer(&request)? {
                requests.extend(self.receive(&response)?);
            }
        }
        Ok(())
    }

    /// The control plane's side.
    fn answer(&mut self, request: &Request) -> anyhow::Result<Vec<session::Response>> {
        let kind =
            |url: &str| ResourceType::parse(url).with_context(|| format!("{url} is unknown"));
        let (event, responses) = match request {
            Request::Delta(request) => {
                let kind = kind(&request.type_url)?;
                self.session.on_delta_request(kind, request)?
            }
            Request::StateOfTheWorld(request) => {
                let kind = kind(&request.type_url)?;
                self.session.on_request(kind, request)?
            }
        };
        match event {
            session::Event::Rejected(error) => bail!("rejected: {error}"),
            // Stale: the answer to one response while the next one was on its way.
            session::Event::Subscribed | session::Event::Acknowledged | session::Event::Stale => {
                Ok(responses)
            }
        }
    }

    /// The proxy's side.
    fn receive(&mut self, response: &session::Response) -> anyhow::Result<Vec<Request>> {
        let bytes = match self.protocol {
            Protocol::Delta => frame::delta(response).concat(),
            Protocol::StateOfTheWorld => frame::state_of_the_world(response).concat(),
        };
        let message = bytes
            .get(GRPC_PREFIX..)
            .context("a response without prefix")?;
        let response = match self.protocol {
            Protocol::Delta => Response::Delta(DeltaDiscoveryResponse::decode(message)?),
            Protocol::StateOfTheWorld => {
                Response::StateOfTheWorld(DiscoveryResponse::decode(message)?)
            }
        };
        let (update, pending) = self
            .subscriptions
            .on_response(response)
            .context("a response that was not asked for")?;
        let rejected = self.store.apply(update);
        let wanted = self.store.wanted();
        Ok(self
            .subscriptions
            .on_applied(pending, &rejected, Some(&wanted)))
    }
}
