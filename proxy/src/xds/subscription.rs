//! The xDS protocol without I/O: what is subscribed to, and which request follows from what happened.
//!
//! Both variants of ADS are spoken. *Delta* names what changes and remembers the version of every accepted resource,
//! so that after a reconnect only differences travel. *State of the world* repeats everything: names in requests, and
//! all clusters and listeners in responses.

mod decode;

#[cfg(test)]
mod equivalence;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ironsail_runtime::shared::shared_text;
use ironsail_xds::core::Node;
use ironsail_xds::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use ironsail_xds::{rpc, type_url};

use super::{Rejected, Update, Wanted};
use decode::Content;

/// `google.rpc.Code.INVALID_ARGUMENT`.
const INVALID_ARGUMENT: i32 = 3;

/// Variant of ADS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Delta,
    StateOfTheWorld,
}

/// What goes to the control plane.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Delta(DeltaDiscoveryRequest),
    StateOfTheWorld(DiscoveryRequest),
}

/// What comes from the control plane.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    Delta(DeltaDiscoveryResponse),
    StateOfTheWorld(DiscoveryResponse),
}

impl Response {
    pub fn type_url(&self) -> &str {
        match self {
            Response::Delta(response) => &response.type_url,
            Response::StateOfTheWorld(response) => &response.type_url,
        }
    }
}

/// A type of resource that is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Clusters,
    Endpoints,
    Listeners,
    Routes,
    Secrets,
}

impl Kind {
    /// In the order of requests: what is referred to by a later one comes first.
    pub const ALL: [Kind; 5] = [
        Kind::Clusters,
        Kind::Endpoints,
        Kind::Listeners,
        Kind::Routes,
        Kind::Secrets,
    ];

    pub fn type_url(self) -> &'static str {
        match self {
            Kind::Clusters => type_url::CLUSTER,
            Kind::Endpoints => type_url::ENDPOINT,
            Kind::Listeners => type_url::LISTENER,
            Kind::Routes => type_url::ROUTE,
            Kind::Secrets => type_url::SECRET,
        }
    }

    /// Whether all resources of the type are subscribed to, not some by name.
    pub fn is_wildcard(self) -> bool {
        matches!(self, Kind::Clusters | Kind::Listeners)
    }

    /// Whether resources of the type refer to others, so that an update can change what is wanted.
    pub fn refers(self) -> bool {
        !matches!(self, Kind::Endpoints | Kind::Secrets)
    }

    fn wanted(self, wanted: &Wanted) -> Option<&BTreeSet<Arc<str>>> {
        match self {
            Kind::Clusters | Kind::Listeners => None,
            Kind::Endpoints => Some(&wanted.endpoints),
            Kind::Routes => Some(&wanted.routes),
            Kind::Secrets => Some(&wanted.secrets),
        }
    }
}

/// An update that waits for the sink's verdict.
#[derive(Debug)]
#[must_use = "a response that is not answered blocks later ones of its type"]
pub struct Pending {
    kind: Kind,
    nonce: String,
    version: String,
    /// Name and version of what the update adds.
    versions: Vec<(String, String)>,
    /// What did not even reach the sink.
    malformed: Vec<Rejected>,
}

impl Pending {
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the sink did not get to see because it could not be read.
    pub fn malformed(&self) -> &[Rejected] {
        &self.malformed
    }
}

/// Names that a type gained and lost.
#[derive(Debug, Default)]
struct Change {
    added: Vec<Arc<str>>,
    removed: Vec<Arc<str>>,
}

impl Change {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

fn texts<'a>(names: impl IntoIterator<Item = &'a Arc<str>>) -> Vec<String> {
    names.into_iter().map(ToString::to_string).collect()
}

#[derive(Debug)]
struct Subscription {
    kind: Kind,
    /// Empty for wildcard types.
    names: BTreeSet<Arc<str>>,
    /// Whether this stream has seen a request of the type.
    requested: bool,
    /// Nonce of the last response on this stream.
    nonce: String,
    /// State of the world: version of the last response that was accepted as a whole.
    version: String,
    /// Delta: versions that the sink holds, by name.
    known: BTreeMap<Arc<str>, Box<str>>,
}

impl Subscription {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            names: BTreeSet::new(),
            requested: false,
            nonce: String::new(),
            version: String::new(),
            known: BTreeMap::new(),
        }
    }

    fn covers(&self, name: &str) -> bool {
        self.kind.is_wildcard() || self.names.contains(name)
    }

    /// Takes over the wanted names and forgets the versions of those that are wanted no more.
    fn update_names(&mut self, wanted: &Wanted) -> Change {
        let Some(names) = self.kind.wanted(wanted) else {
            return Change::default();
        };
        let change = Change {
            added: names.difference(&self.names).cloned().collect(),
            removed: self.names.difference(names).cloned().collect(),
        };
        if !change.is_empty() {
            self.names.clone_from(names);
            self.known.retain(|name, _| names.contains(name));
        }
        change
    }

    fn delta_request(&self) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: self.kind.type_url().to_owned(),
            ..Default::default()
        }
    }

    /// The first request on a stream, which says what is there already.
    fn delta_first(&self) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            resource_names_subscribe: texts(&self.names),
            initial_resource_versions: self
                .known
                .iter()
                .map(|(name, version)| (name.to_string(), version.to_string()))
                .collect(),
            ..self.delta_request()
        }
    }

    fn full_request(&self) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: self.version.clone(),
            resource_names: texts(&self.names),
            type_url: self.kind.type_url().to_owned(),
            response_nonce: self.nonce.clone(),
            ..Default::default()
        }
    }
}

/// All subscriptions of a client, over any number of consecutive streams.
#[derive(Debug)]
pub struct Subscriptions {
    protocol: Protocol,
    node: Node,
    /// Whether there is a stream.
    connected: bool,
    /// Whether this stream has seen the node.
    introduced: bool,
    types: [Subscription; 5],
}

impl Subscriptions {
    /// `node` goes with the first request of every stream.
    pub fn new(protocol: Protocol, node: Node) -> Self {
        Self {
            protocol,
            node,
            connected: false,
            introduced: false,
            types: Kind::ALL.map(Subscription::new),
        }
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// A stream begins; the requests are its first, in this order.
    pub fn on_connect(&mut self, wanted: &Wanted) -> Vec<Request> {
        self.connected = true;
        self.introduced = false;
        let mut requests = Vec::new();
        for kind in Kind::ALL {
            let subscription = self.subscription(kind);
            subscription.requested = false;
            subscription.nonce.clear();
            subscription.update_names(wanted);
            if kind.is_wildcard() || !subscription.names.is_empty() {
                requests.push(self.request(kind, Change::default()));
            }
        }
        requests
    }

    /// The stream is gone; what was accepted is remembered.
    pub fn on_disconnect(&mut self) {
        self.connected = false;
    }

    /// Other names may be wanted. The resources of a name that leaves are forgotten here: if it returns, they come
    /// again.
    pub fn on_wanted(&mut self, wanted: &Wanted) -> Vec<Request> {
        let mut requests = Vec::new();
        for kind in Kind::ALL {
            requests.extend(self.refresh(kind, wanted, false));
        }
        requests
    }

    /// Reads a response. `None` means that its type was not asked for on this stream; such a response is not
    /// answered.
    pub fn on_response(&mut self, response: Response) -> Option<(Update, Pending)> {
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.type_url() == response.type_url())?;
        let subscription = self.subscription(kind);
        if !subscription.requested {
            return None;
        }
        let covers = |name: &str| subscription.covers(name);
        let (nonce, version, content) = match response {
            Response::Delta(response) => {
                let (resources, removed) = (response.resources, response.removed_resources);
                let known = |name: &str| subscription.known.contains_key(name);
                let content = Content::from_delta(kind, resources, removed, covers, known);
                (response.nonce, response.system_version_info, content)
            }
            Response::StateOfTheWorld(response) => {
                let version = response.version_info;
                let content = Content::from_full(kind, response.resources, &version, covers);
                (response.nonce, version, content)
            }
        };
        subscription.nonce.clone_from(&nonce);
        for name in &content.removed {
            subscription.known.remove(name.as_str());
        }
        let versions = match self.protocol {
            Protocol::Delta => content.versions(),
            Protocol::StateOfTheWorld => Vec::new(),
        };
        let update = Update {
            type_url: kind.type_url().to_owned(),
            added: content.added,
            removed: content.removed,
            full: content.full,
        };
        let pending = Pending {
            kind,
            nonce,
            version,
            versions,
            malformed: content.malformed,
        };
        Some((update, pending))
    }

    /// The sink has taken over an update and rejected some of it. The first request is the answer to the response;
    /// others follow from `wanted`, which is looked at if the type [refers](Kind::refers) to others.
    pub fn on_applied(
        &mut self,
        pending: Pending,
        rejected: &[Rejected],
        wanted: Option<&Wanted>,
    ) -> Vec<Request> {
        let kind = pending.kind;
        let mut requests = vec![self.answer(pending, rejected)];
        if let Some(wanted) = wanted {
            for other in Kind::ALL {
                // A changed cluster waits for its endpoints, which a server that repeats everything sends only
                // when asked. With delta, those that were sent still hold.
                let again = kind == Kind::Clusters
                    && other == Kind::Endpoints
                    && self.protocol == Protocol::StateOfTheWorld;
                requests.extend(self.refresh(other, wanted, again));
            }
        }
        requests
    }

    fn answer(&mut self, pending: Pending, rejected: &[Rejected]) -> Request {
        let protocol = self.protocol;
        let subscription = self.subscription(pending.kind);
        let failed: BTreeSet<&str> = rejected.iter().map(|one| one.name.as_str()).collect();
        for (name, version) in pending.versions {
            if !failed.contains(name.as_str()) {
                subscription
                    .known
                    .insert(shared_text(&name), version.into());
            }
        }
        let error_detail = error_detail(pending.malformed.iter().chain(rejected));
        if error_detail.is_none() {
            subscription.version = pending.version;
        }
        match protocol {
            Protocol::Delta => Request::Delta(DeltaDiscoveryRequest {
                response_nonce: pending.nonce,
                error_detail,
                ..subscription.delta_request()
            }),
            Protocol::StateOfTheWorld => Request::StateOfTheWorld(DiscoveryRequest {
                error_detail,
                ..subscription.full_request()
            }),
        }
    }

    /// Takes over wanted names of one type; `again` asks for them even if they are the same.
    fn refresh(&mut self, kind: Kind, wanted: &Wanted, again: bool) -> Option<Request> {
        let connected = self.connected;
        let subscription = self.subscription(kind);
        let change = subscription.update_names(wanted);
        let due = !change.is_empty() || (again && !subscription.names.is_empty());
        // An empty first request would subscribe to everything.
        let allowed = subscription.requested || !subscription.names.is_empty();
        (connected && due && allowed).then(|| self.request(kind, change))
    }

    /// The first request of a type on this stream, or one that changes its names.
    fn request(&mut self, kind: Kind, change: Change) -> Request {
        let node = (!self.introduced).then(|| self.node.clone());
        self.introduced = true;
        let protocol = self.protocol;
        let subscription = self.subscription(kind);
        let first = !subscription.requested;
        subscription.requested = true;
        match protocol {
            Protocol::Delta if first => Request::Delta(DeltaDiscoveryRequest {
                node,
                ..subscription.delta_first()
            }),
            Protocol::Delta => Request::Delta(DeltaDiscoveryRequest {
                node,
                resource_names_subscribe: texts(&change.added),
                resource_names_unsubscribe: texts(&change.removed),
                ..subscription.delta_request()
            }),
            Protocol::StateOfTheWorld => Request::StateOfTheWorld(DiscoveryRequest {
                node,
                ..subscription.full_request()
            }),
        }
    }

    fn subscription(&mut self, kind: Kind) -> &mut Subscription {
        let [clusters, endpoints, listeners, routes, secrets] = &mut self.types;
        match kind {
            Kind::Clusters => clusters,
            Kind::Endpoints => endpoints,
            Kind::Listeners => listeners,
            Kind::Routes => routes,
            Kind::Secrets => secrets,
        }
    }
}

/// `name: error; name: error`, or nothing if nothing was rejected.
fn error_detail<'a>(rejected: impl Iterator<Item = &'a Rejected>) -> Option<rpc::Status> {
    let message = join(rejected);
    (!message.is_empty()).then(|| rpc::Status {
        code: INVALID_ARGUMENT,
        message,
        details: Vec::new(),
    })
}

/// One text of all rejections.
pub(super) fn join<'a>(rejected: impl Iterator<Item = &'a Rejected>) -> String {
    let parts: Vec<String> = rejected
        .map(|Rejected { name, error }| format!("{name}: {error}"))
        .collect();
    parts.join("; ")
}
