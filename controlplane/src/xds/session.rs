//! What one stream knows of its client, and what it sends next. No I/O.
//!
//! A resource is sent when its content differs from what the client was sent or said it has; versions are hashes of the
//! content, so this holds over restarts and replicas.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ironsail_xds::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use xxhash_rust::xxh3::Xxh3;

use crate::generate::{self, Affected, AffectedNames, Cache, ContentHash, Resource, SecretAccess};
use crate::model::change::ChangeSet;
use crate::model::proxy::{Proxy, ProxyNode};
use crate::model::snapshot::Snapshot;
use crate::xds::inventory::{Inventory, Names};
use crate::xds::resource_type::ResourceType;

/// Names one client may subscribe to per type; more is an abuse.
const MAX_NAMES: usize = 100_000;

/// One thing to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub kind: ResourceType,
    pub nonce: String,
    /// State of the world: hash of everything sent. Delta: of the change.
    pub version: String,
    pub resources: Vec<Resource>,
    /// Delta only.
    pub removed: Vec<Arc<str>>,
}

/// What a request meant, for metrics, status and log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Subscribed,
    Acknowledged,
    /// With the client's text.
    Rejected(String),
    /// A nonce of the past.
    Stale,
}

/// Why a stream ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("more than {MAX_NAMES} names are subscribed")]
    TooManyNames,
}

/// How far one type is.
#[derive(Clone, Debug, Default)]
struct Watched {
    /// All resources of the type.
    is_wildcard: bool,
    names: Names,
    /// What the client was sent.
    sent: Inventory,
    nonce: String,
    acknowledged: String,
    error: Option<String>,
}

/// Sent and acknowledged nonces of a type, and the last refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeStatus {
    pub sent: String,
    pub acknowledged: String,
    pub error: Option<String>,
}

/// One client.
pub struct Session {
    is_delta: bool,
    access: SecretAccess,
    node: Arc<ProxyNode>,
    snapshot: Arc<Snapshot>,
    proxy: Proxy,
    cache: Arc<Cache>,
    watched: BTreeMap<ResourceType, Watched>,
    /// Differs between streams, so that nonces of another stream are stale.
    stream: u64,
    responses: u64,
}

impl Session {
    pub fn new(
        is_delta: bool,
        stream: u64,
        node: Arc<ProxyNode>,
        access: SecretAccess,
        snapshot: Arc<Snapshot>,
        cache: Arc<Cache>,
    ) -> Self {
        let proxy = Proxy::new(Arc::clone(&node), &snapshot);
        Self {
            is_delta,
            access,
            node,
            snapshot,
            proxy,
            cache,
            watched: BTreeMap::new(),
            stream,
            responses: 0,
        }
    }

    pub fn node(&self) -> &ProxyNode {
        &self.node
    }

    pub fn status(&self) -> BTreeMap<ResourceType, TypeStatus> {
        let status = |watched: &Watched| TypeStatus {
            sent: watched.nonce.clone(),
            acknowledged: watched.acknowledged.clone(),
            error: watched.error.clone(),
        };
        self.watched
            .iter()
            .map(|(kind, watched)| (*kind, status(watched)))
            .collect()
    }

    /// Takes a state-of-the-world request.
    ///
    /// # Errors
    /// The client asks for more than anybody may.
    pub fn on_request(
        &mut self,
        kind: ResourceType,
        request: &DiscoveryRequest,
    ) -> Result<(Event, Vec<Response>), SessionError> {
        if request.resource_names.len() > MAX_NAMES {
            return Err(SessionError::TooManyNames);
        }
        let names: Names = request.resource_names.iter().map(String::as_str).collect();
        let Some(watched) = self.watched.get_mut(&kind) else {
            return Ok((Event::Subscribed, self.begin(kind, names)));
        };
        if let Some(detail) = &request.error_detail {
            if request.response_nonce == watched.nonce {
                watched.error = Some(detail.message.clone());
            }
            return Ok((Event::Rejected(detail.message.clone()), Vec::new()));
        }
        if request.response_nonce.is_empty() {
            return Ok((Event::Subscribed, self.begin(kind, names)));
        }
        if request.response_nonce != watched.nonce {
            return Ok((Event::Stale, Vec::new()));
        }
        watched.acknowledged.clone_from(&watched.nonce);
        watched.error = None;
        // Whoever began without names has them all.
        if watched.is_wildcard || names == watched.names {
            return Ok((Event::Acknowledged, Vec::new()));
        }
        let is_more = names.iter().any(|name| !watched.names.contains(name));
        watched.sent.retain(|name| names.contains(name));
        watched.names = names;
        if !is_more {
            return Ok((Event::Acknowledged, Vec::new()));
        }
        // Everything asked for, not only what is new: clients may take a response for the whole.
        let responses = self.answer(kind, &Force::All, true);
        Ok((Event::Subscribed, responses.into_iter().collect()))
    }

    /// Takes a delta request.
    ///
    /// # Errors
    /// The client asks for more than anybody may.
    pub fn on_delta_request(
        &mut self,
        kind: ResourceType,
        request: &DeltaDiscoveryRequest,
    ) -> Result<(Event, Vec<Response>), SessionError> {
        let is_first = !self.watched.contains_key(&kind);
        let watched = self.watched.entry(kind).or_default();
        let mut event = Event::Subscribed;
        if !request.response_nonce.is_empty() {
            let is_current = request.response_nonce == watched.nonce;
            event = match &request.error_detail {
                Some(detail) => {
                    if is_current {
                        watched.error = Some(detail.message.clone());
                    }
                    Event::Rejected(detail.message.clone())
                }
                None if is_current => {
                    watched.acknowledged.clone_from(&watched.nonce);
                    watched.error = None;
                    Event::Acknowledged
                }
                None => Event::Stale,
            };
        }
        if is_first {
            let known = request.initial_resource_versions.iter();
            watched.sent = known
                .filter_map(|(name, version)| {
                    Some((Arc::from(name.as_str()), parse_version(version)?))
                })
                .collect();
            watched.is_wildcard = kind.is_wildcard() && request.resource_names_subscribe.is_empty();
        }
        let mut added = BTreeSet::new();
        for name in &request.resource_names_subscribe {
            match name.as_str() {
                "*" => watched.is_wildcard = true,
                name => {
                    added.insert(name.to_owned());
                }
            }
        }
        watched.names.insert(added.iter().map(String::as_str));
        let (whole, left): (Vec<&str>, Vec<&str>) = request
            .resource_names_unsubscribe
            .iter()
            .map(String::as_str)
            .partition(|name| *name == "*");
        watched.is_wildcard &= whole.is_empty();
        watched.names.remove(left.iter().copied());
        let forgotten = left.into_iter().map(|name| (Arc::from(name), None));
        watched.sent.apply(forgotten);
        if watched.names.len() > MAX_NAMES {
            return Err(SessionError::TooManyNames);
        }
        if !is_first && added.is_empty() {
            return Ok((event, Vec::new()));
        }
        // Names that the client listed as known are answered only when they differ.
        let known: BTreeSet<String> = match is_first {
            true => request.initial_resource_versions.keys().cloned().collect(),
            false => BTreeSet::new(),
        };
        let force = Force::Names(added.difference(&known).cloned().collect());
        let mut responses: Vec<Response> =
            self.answer(kind, &force, is_first).into_iter().collect();
        self.warm(&mut responses);
        Ok((event, responses))
    }

    /// Takes a new snapshot; returns what this client must be told.
    pub fn push(&mut self, snapshot: Arc<Snapshot>, changes: &ChangeSet) -> Vec<Response> {
        self.snapshot = snapshot;
        let before = Affected::of(changes, &self.proxy);
        self.proxy = Proxy::new(Arc::clone(&self.node), &self.snapshot);
        let after = Affected::of(changes, &self.proxy);
        let mut responses = Vec::new();
        for kind in ResourceType::ALL {
            let touched = before.touches(kind) || after.touches(kind);
            if !touched {
                continue;
            }
            responses.extend(match (kind, &before.endpoints, &after.endpoints) {
                (ResourceType::Endpoint, AffectedNames::All, _)
                | (ResourceType::Endpoint, _, AffectedNames::All) => {
                    self.answer(kind, &Force::None, false)
                }
                (ResourceType::Endpoint, before, after) => self.answer_endpoints(before, after),
                _ => self.answer(kind, &Force::None, false),
            });
        }
        self.warm(&mut responses);
        if self.is_delta {
            self.remove_last(&mut responses);
        }
        responses
    }

    /// Takes clusters away behind everything else: until routes and listeners are changed, they name them. State of the
    /// world has no words for it.
    fn remove_last(&mut self, responses: &mut Vec<Response>) {
        let is_removal = |response: &Response| {
            response.kind == ResourceType::Cluster && !response.removed.is_empty()
        };
        let Some(at) = responses.iter().position(is_removal) else {
            return;
        };
        if at + 1 == responses.len() {
            return;
        }
        let mut response = responses.remove(at);
        if response.resources.is_empty() {
            return responses.push(response);
        }
        let removal = Response {
            kind: response.kind,
            nonce: self.next_nonce(response.kind),
            version: response.version.clone(),
            resources: Vec::new(),
            removed: std::mem::take(&mut response.removed),
        };
        responses.insert(at, response);
        responses.push(removal);
    }

    /// Numbers a response; only the last one of its type is acknowledged.
    fn next_nonce(&mut self, kind: ResourceType) -> String {
        self.responses += 1;
        let nonce = format!("{:x}-{}", self.stream, self.responses);
        if let Some(watched) = self.watched.get_mut(&kind) {
            watched.nonce.clone_from(&nonce);
        }
        nonce
    }

    fn begin(&mut self, kind: ResourceType, names: Names) -> Vec<Response> {
        let watched = self.watched.entry(kind).or_default();
        watched.is_wildcard = kind.is_wildcard() && names.is_empty();
        watched.names = names;
        watched.sent = Inventory::default();
        let mut responses: Vec<Response> =
            self.answer(kind, &Force::All, true).into_iter().collect();
        self.warm(&mut responses);
        responses
    }

    /// A cluster that is sent warms until its endpoints come again, also when those did not change.
    fn warm(&mut self, responses: &mut Vec<Response>) {
        let Some(clusters) = responses
            .iter()
            .find(|response| response.kind == ResourceType::Cluster)
        else {
            return;
        };
        let Some(watched) = self.watched.get(&ResourceType::Endpoint) else {
            return;
        };
        let names: BTreeSet<String> = clusters
            .resources
            .iter()
            .map(|resource| resource.name.to_string())
            .filter(|name| watched.names.contains(name.as_str()))
            .collect();
        if names.is_empty() {
            return;
        }
        responses.retain(|response| response.kind != ResourceType::Endpoint);
        // What was taken out of `responses` counts as sent already, so it is forced too.
        let force = match self.is_delta {
            true => Force::Names(self.unacknowledged_endpoints(names)),
            false => Force::All,
        };
        if let Some(endpoints) = self.answer(ResourceType::Endpoint, &force, false) {
            let after = responses
                .iter()
                .position(|response| response.kind > ResourceType::Endpoint)
                .unwrap_or(responses.len());
            responses.insert(after, endpoints);
        }
    }

    fn unacknowledged_endpoints(&self, mut names: BTreeSet<String>) -> BTreeSet<String> {
        if let Some(watched) = self.watched.get(&ResourceType::Endpoint)
            && watched.nonce != watched.acknowledged
        {
            names.extend(watched.names.iter().map(|name| name.to_string()));
        }
        names
    }

    /// Generates a type and compares it with what the client has; nothing when there is nothing to tell.
    fn answer(&mut self, kind: ResourceType, force: &Force, is_due: bool) -> Option<Response> {
        let watched = self.watched.get(&kind)?;
        let resources = self.generate(kind, watched);
        let mut removed = watched.absent(&resources);
        if let (true, Force::Names(names)) = (self.is_delta, force) {
            removed.extend(watched.unknown(names, &resources));
        }
        removed.sort();
        self.respond(kind, resources, removed, force, is_due)
    }

    /// The same, looking only at endpoints of services that changed.
    fn answer_endpoints(
        &mut self,
        before: &AffectedNames,
        after: &AffectedNames,
    ) -> Option<Response> {
        let watched = self.watched.get(&ResourceType::Endpoint)?;
        let names: Vec<&Arc<str>> = watched
            .names
            .iter()
            .filter(|name| before.has_cluster(name) || after.has_cluster(name))
            .collect();
        let resources = generate::endpoints(
            &self.snapshot,
            &self.proxy,
            &self.cache,
            names.iter().copied(),
        );
        let present = names_of(&resources);
        let removed = names
            .into_iter()
            .filter(|name| watched.sent.get(name).is_some() && !present.contains(&***name))
            .cloned()
            .collect();
        self.respond(
            ResourceType::Endpoint,
            resources,
            removed,
            &Force::None,
            false,
        )
    }

    /// What of `resources` the client must be told, and that others are gone.
    fn respond(
        &mut self,
        kind: ResourceType,
        resources: Vec<Resource>,
        removed: Vec<Arc<str>>,
        force: &Force,
        is_due: bool,
    ) -> Option<Response> {
        let watched = self.watched.get_mut(&kind)?;
        let differs = |resource: &Resource| {
            force.has(&resource.name) || watched.sent.get(&resource.name) != Some(resource.version)
        };
        let changed: Vec<Resource> = resources.iter().filter(|r| differs(r)).cloned().collect();
        // Names that went are no news where names are asked for in state of the world: the client unsubscribes by itself.
        let is_news = !removed.is_empty() && (self.is_delta || kind.is_whole());
        if changed.is_empty() && !is_news && !is_due {
            return None;
        }
        let sent = changed
            .iter()
            .map(|r| (Arc::clone(&r.name), Some(r.version)));
        let gone = removed.iter().map(|name| (Arc::clone(name), None));
        watched.sent.apply(gone.chain(sent));
        let version = version_of(&resources);
        let nonce = self.next_nonce(kind);
        Some(Response {
            kind,
            nonce,
            version,
            resources: match self.is_delta || !kind.is_whole() {
                true => changed,
                false => resources,
            },
            removed: if self.is_delta { removed } else { Vec::new() },
        })
    }

    fn generate(&self, kind: ResourceType, watched: &Watched) -> Vec<Resource> {
        let (snapshot, proxy, cache) = (&*self.snapshot, &self.proxy, &*self.cache);
        let names = watched.names.iter();
        let mut resources = match kind {
            ResourceType::Cluster if proxy.is_grpc() => {
                generate::grpc::clusters(snapshot, proxy, cache, names)
            }
            ResourceType::Listener if proxy.is_grpc() => {
                generate::grpc::listeners(snapshot, proxy, names)
            }
            ResourceType::Cluster => generate::clusters(snapshot, proxy, cache),
            ResourceType::Endpoint => generate::endpoints(snapshot, proxy, cache, names),
            ResourceType::Listener => generate::listeners(snapshot, proxy, cache),
            ResourceType::Route => generate::routes(snapshot, proxy, cache, names),
            ResourceType::Secret => generate::secrets(snapshot, proxy, self.access, names),
            ResourceType::NameTable => generate::name_table(snapshot, proxy, cache),
        };
        if kind.is_wildcard() && !watched.is_wildcard {
            resources.retain(|resource| watched.names.contains(&resource.name));
        }
        resources
    }
}

/// Resources that are sent although they did not change.
enum Force {
    None,
    All,
    Names(BTreeSet<String>),
}

impl Force {
    fn has(&self, name: &str) -> bool {
        match self {
            Force::None => false,
            Force::All => true,
            Force::Names(names) => names.contains(name),
        }
    }
}

impl Watched {
    /// What the client has and `resources` have not.
    fn absent(&self, resources: &[Resource]) -> Vec<Arc<str>> {
        let known = resources
            .iter()
            .filter(|r| self.sent.get(&r.name).is_some());
        if known.count() == self.sent.len() {
            return Vec::new();
        }
        let present = names_of(resources);
        self.sent
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !present.contains(&***name))
            .cloned()
            .collect()
    }

    /// Names that are asked for and not there: that is said, or the client would wait.
    fn unknown(&self, names: &BTreeSet<String>, resources: &[Resource]) -> Vec<Arc<str>> {
        let present = names_of(resources);
        names
            .iter()
            .map(String::as_str)
            .filter(|name| !present.contains(name) && self.sent.get(name).is_none())
            .map(Arc::from)
            .collect()
    }
}

fn names_of(resources: &[Resource]) -> BTreeSet<&str> {
    resources.iter().map(|resource| &*resource.name).collect()
}

/// A version as we write it; those of other control planes mean nothing to us.
fn parse_version(text: &str) -> Option<ContentHash> {
    u64::from_str_radix(text, 16).ok().map(ContentHash)
}

fn version_of(resources: &[Resource]) -> String {
    let mut hasher = Xxh3::new();
    for resource in resources {
        hasher.update(resource.name.as_bytes());
        hasher.update(&resource.version.0.to_be_bytes());
    }
    format!("{:016x}", hasher.digest())
}

impl Affected {
    fn of(changes: &ChangeSet, proxy: &Proxy) -> Self {
        generate::affects(changes, proxy)
    }

    fn touches(&self, kind: ResourceType) -> bool {
        match kind {
            ResourceType::Cluster => self.clusters,
            ResourceType::Endpoint => !self.endpoints.is_none(),
            ResourceType::Listener => self.listeners,
            ResourceType::Route => self.routes,
            ResourceType::Secret => !self.secrets.is_none(),
            ResourceType::NameTable => self.names,
        }
    }
}
