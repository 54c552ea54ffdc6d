//! Resources by type, their references, and the publication of snapshots.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use ironsail_runtime::net::Resolver;
use ironsail_xds::ext::transport_sockets::tls::v3 as tls_proto;
use ironsail_xds::type_url;
use ironsail_xds::{
    cluster as cluster_proto, core, endpoint as endpoint_proto, route as route_proto,
};
use prost::Message;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::entry::Table;
use super::socket::BoundSockets;
use super::{ActiveListener, RawResource, Snapshot, WarmingStatus, dns, warming};
use crate::cluster::manager::ClusterUpdate;
use crate::resource::cluster::{ClusterConfig, Discovery};
use crate::resource::endpoint::Endpoints;
use crate::resource::intern::Interner;
use crate::resource::listener::{FilterChain, ListenerConfig, SocketOptions};
use crate::resource::parse::content_hash;
use crate::resource::{At, CompileError, Switches, tls};
use crate::route::RouteTable;
use crate::transport_socket::secret::{AdsSecret, Secrets, WorkloadCertificate};
use crate::xds::{Rejected, Resource, Sink, Update, Wanted};

/// How long a listener waits for secrets that do not come: `initial_fetch_timeout` of Envoy.
const SECRET_TIMEOUT: Duration = Duration::from_secs(15);
/// How long it does when some of its chains have theirs: one that is missing must not hold up the others.
const OTHER_SECRETS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long changed routes wait for clusters that they name to get their endpoints; as long as Envoy waits for those.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(15);

/// How the store prepares what workers use.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Sockets to bind per address; 0 binds none, for tests.
    pub workers: usize,
    /// How long connections of replaced listeners may go on, so that what they refer to is kept as long.
    pub drain_time: Duration,
    /// Of all resources.
    pub switches: Switches,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            workers: 0,
            drain_time: Duration::from_secs(45),
            switches: Switches::default(),
        }
    }
}

/// The store; clones are the same store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    published: watch::Sender<Arc<Snapshot>>,
    /// Something changed that `run` must look at.
    changed: Notify,
}

struct State {
    options: StoreOptions,
    interner: Interner,
    clusters: Table<Arc<ClusterConfig>>,
    endpoints: Table<Arc<Endpoints>>,
    listeners: Table<Accepted>,
    routes: Table<Arc<RouteTable>>,
    secrets: Table<AdsSecret>,
    workload: Option<WorkloadCertificate>,
    /// Results of name lookups, by cluster.
    resolved: HashMap<Arc<str>, Arc<Endpoints>>,
    /// Listeners in use; one that is replaced stays until its successor is warm.
    active: BTreeMap<Arc<str>, ActiveListener>,
    /// Sockets by address, as long as a listener holds them.
    sockets: HashMap<SocketAddr, Weak<BoundSockets>>,
    /// Clusters that were removed, as they were, and until when they are kept.
    leaving: BTreeMap<Arc<str>, (ClusterUpdate, Instant)>,
    /// Names of clusters that were removed since the last publication.
    removed: Vec<Arc<str>>,
    /// Route configurations that wait for clusters, and until when.
    waiting_routes: BTreeMap<Arc<str>, Instant>,
    /// Route configurations that nothing refers to, and since when.
    unused_routes: HashMap<Arc<str>, Instant>,
    initialized: bool,
    version: u64,
}

/// A listener that compiled, with its sockets.
#[derive(Clone, Debug)]
struct Accepted {
    listener: ActiveListener,
    since: Instant,
}

impl Store {
    pub fn new(options: StoreOptions) -> Self {
        let (published, _) = watch::channel(Arc::new(Snapshot::default()));
        Self {
            shared: Arc::new(Shared {
                published,
                changed: Notify::new(),
                state: Mutex::new(State {
                    interner: Interner::new(options.switches),
                    options,
                    clusters: Table::default(),
                    endpoints: Table::default(),
                    listeners: Table::default(),
                    routes: Table::default(),
                    secrets: Table::default(),
                    workload: None,
                    resolved: HashMap::new(),
                    active: BTreeMap::new(),
                    sockets: HashMap::new(),
                    leaving: BTreeMap::new(),
                    removed: Vec::new(),
                    waiting_routes: BTreeMap::new(),
                    unused_routes: HashMap::new(),
                    initialized: false,
                    version: 0,
                }),
            }),
        }
    }

    /// Snapshots as they are published.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.shared.published.subscribe()
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.published.borrow())
    }

    /// Takes over the workload's certificate; handshakes from now on use it.
    pub fn set_workload(&self, certificate: Option<WorkloadCertificate>) {
        self.update(|state| state.workload = certificate);
    }

    /// Resources of a type as they came. Keys of secrets are redacted.
    pub fn raw(&self, type_url: &str) -> Vec<RawResource> {
        let state = self.lock();
        match type_url {
            type_url::CLUSTER => state.clusters.raw(),
            type_url::ENDPOINT => state.endpoints.raw(),
            type_url::LISTENER => state.listeners.raw(),
            type_url::ROUTE => state.routes.raw(),
            type_url::SECRET => state.secrets.raw(),
            _ => Vec::new(),
        }
    }

    /// What is not ready yet.
    pub fn warming(&self) -> WarmingStatus {
        self.lock().warming()
    }

    /// Keeps time: workload certificates, name lookups, limits of warming. Runs for ever.
    pub async fn run(
        &self,
        mut workload: watch::Receiver<Option<WorkloadCertificate>>,
        resolver: Resolver,
    ) {
        let mut schedule = dns::Schedule::new(resolver);
        self.set_workload(workload.borrow_and_update().clone());
        loop {
            schedule.follow(self.dns_clusters());
            let deadline = self.lock().next_deadline();
            tokio::select! {
                () = changed(&mut workload) => self.set_workload(workload.borrow_and_update().clone()),
                () = self.shared.changed.notified() => {}
                () = schedule.next(self) => {}
                () = sleep_until_some(deadline) => self.update(|_| ()),
            }
        }
    }

    /// Clusters whose endpoints are looked up by name.
    pub(super) fn dns_clusters(&self) -> Vec<Arc<ClusterConfig>> {
        self.lock().dns_clusters()
    }

    /// Takes over addresses of a cluster's names.
    pub(super) fn set_dns(&self, cluster: &Arc<str>, answers: &dns::Answers) {
        self.update(|state| {
            let Some(config) = state.clusters.get(cluster) else {
                return;
            };
            let old = state.resolved.get(cluster);
            let new = dns::endpoints(config, answers, old.map(|old| &**old));
            if old.is_none_or(|old| **old != new) {
                state.resolved.insert(Arc::clone(cluster), Arc::new(new));
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves resources that are each complete.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and publishes what follows from it.
    fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        let old = Arc::clone(&self.shared.published.borrow());
        if let Some(snapshot) = state.publish(&old) {
            self.shared.published.send_replace(Arc::new(snapshot));
        }
        drop(state);
        self.shared.changed.notify_one();
        result
    }
}

/// Waits for another certificate; for ever when the agent is going away: what is known stays.
async fn changed(workload: &mut watch::Receiver<Option<WorkloadCertificate>>) {
    if workload.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Sink for Store {
    fn apply(&mut self, update: Update) -> Vec<Rejected> {
        let rejected = self.update(|state| state.apply(&update));
        for rejection in &rejected {
            tracing::warn!(
                type_url = %update.type_url,
                object = %rejection.name,
                error = %rejection.error,
                "Resource rejected"
            );
        }
        rejected
    }

    fn wanted(&self) -> Wanted {
        self.lock().wanted()
    }
}

fn decode<M: Message + Default>(resource: &Resource) -> Result<M, CompileError> {
    M::decode(resource.body.clone()).map_err(|error| CompileError::new(error.to_string()))
}

fn same_name(resource: &Resource, name: &str) -> Result<(), CompileError> {
    if resource.name == name {
        return Ok(());
    }
    Err(CompileError::new(format!("is {name:?}, announced as {:?}", resource.name)).at("name"))
}

impl State {
    fn apply(&mut self, update: &Update) -> Vec<Rejected> {
        let rejected = match update.type_url.as_str() {
            type_url::CLUSTER => self.apply_clusters(update),
            type_url::LISTENER => self.apply_listeners(update),
            type_url::ENDPOINT => self.apply_endpoints(update),
            type_url::ROUTE => self.apply_routes(update),
            type_url::SECRET => self.apply_secrets(update),
            _ => Vec::new(),
        };
        self.interner.sweep();
        rejected
    }

    fn apply_clusters(&mut self, update: &Update) -> Vec<Rejected> {
        let interner = &mut self.interner;
        let rejected = put_all(&mut self.clusters, update, |resource, _| {
            let cluster: cluster_proto::Cluster = decode(resource)?;
            same_name(resource, &cluster.name)?;
            let hash = content_hash(&resource.body);
            Ok(Arc::new(ClusterConfig::compile(&cluster, hash, interner)?))
        });
        self.removed = remove_gone(&mut self.clusters, update);
        rejected
    }

    fn apply_endpoints(&mut self, update: &Update) -> Vec<Rejected> {
        // Removals are those of clusters: endpoints of a cluster that stays are kept, as in Envoy.
        put_all(&mut self.endpoints, update, |resource, _| {
            let assignment: endpoint_proto::ClusterLoadAssignment = decode(resource)?;
            same_name(resource, &assignment.cluster_name).at("cluster_name")?;
            Ok(Arc::new(Endpoints::compile(&assignment)?))
        })
    }

    fn apply_listeners(&mut self, update: &Update) -> Vec<Rejected> {
        let Self {
            interner,
            listeners,
            sockets,
            options,
            ..
        } = self;
        let workers = options.workers;
        let rejected = put_all(listeners, update, |resource, old: Option<&Accepted>| {
            let old = old.map(|accepted| &*accepted.listener.config);
            let config = ListenerConfig::compile(&resource.body, old, interner)?;
            same_name(resource, &config.name)?;
            let sockets = bind(&config, sockets, workers)?;
            Ok(Accepted {
                listener: ActiveListener {
                    config: Arc::new(config),
                    sockets,
                },
                since: Instant::now(),
            })
        });
        remove_gone(&mut self.listeners, update);
        rejected
    }

    fn apply_routes(&mut self, update: &Update) -> Vec<Rejected> {
        put_all(&mut self.routes, update, |resource, _| {
            let config: route_proto::RouteConfiguration = decode(resource)?;
            same_name(resource, &config.name)?;
            Ok(Arc::new(RouteTable::compile(&config)?))
        })
    }

    fn apply_secrets(&mut self, update: &Update) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        for resource in &update.added {
            let put = self.secrets.put(
                resource,
                |resource, _| {
                    let secret: tls_proto::Secret = decode(resource)?;
                    same_name(resource, &secret.name)?;
                    tls::secret(&secret)
                },
                redact,
            );
            rejected.extend(put.err());
        }
        self.secrets.received = true;
        rejected
    }

    fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for (_, cluster) in self.clusters.iter() {
            if let Discovery::Eds { service_name } = &cluster.discovery {
                wanted.endpoints.insert(Arc::clone(service_name));
            }
            wanted
                .secrets
                .extend(warming::cluster_secrets(cluster).iter().cloned());
        }
        for listener in self.all_listeners() {
            wanted.routes.extend(warming::routes(listener).cloned());
            wanted
                .secrets
                .extend(warming::listener_secrets(listener).iter().cloned());
        }
        wanted
    }

    /// Accepted listeners, and active ones that they have not replaced yet.
    fn all_listeners(&self) -> impl Iterator<Item = &Arc<ListenerConfig>> {
        let accepted = self
            .listeners
            .iter()
            .map(|(_, accepted)| &accepted.listener.config);
        accepted.chain(self.active.values().map(|active| &active.config))
    }

    fn dns_clusters(&self) -> Vec<Arc<ClusterConfig>> {
        let clusters = self.clusters.iter().map(|(_, cluster)| cluster);
        clusters
            .filter(|cluster| dns::dns_config(cluster).is_some())
            .cloned()
            .collect()
    }

    fn endpoints_of(&self, cluster: &ClusterConfig) -> Option<Arc<Endpoints>> {
        match &cluster.discovery {
            Discovery::Eds { service_name } => self.endpoints.get(service_name).cloned(),
            Discovery::Static(endpoints) => Some(Arc::clone(endpoints)),
            Discovery::StrictDns(_) | Discovery::LogicalDns(_) => {
                self.resolved.get(&cluster.name).cloned()
            }
            Discovery::OriginalDst { .. } => Some(Arc::default()),
        }
    }

    fn is_warm(&self, accepted: &Accepted, now: Instant) -> bool {
        let listener = &accepted.listener.config;
        let routes = warming::routes(listener).all(|name| self.routes.get(name).is_some());
        routes && (self.has_secrets(listener) || now >= self.secrets_deadline(accepted))
    }

    fn has_secrets(&self, listener: &ListenerConfig) -> bool {
        listener.all_chains().all(|chain| self.is_served(chain))
    }

    fn is_served(&self, chain: &FilterChain) -> bool {
        let names = warming::chain_secrets(chain);
        names.iter().all(|name| self.secrets.get(name).is_some())
    }

    /// When a listener stops waiting for secrets. Chains without theirs then fail handshakes; the others serve.
    fn secrets_deadline(&self, accepted: &Accepted) -> Instant {
        let mut chains = accepted.listener.config.all_chains();
        let limit = match chains.any(|chain| self.is_served(chain)) {
            true => OTHER_SECRETS_TIMEOUT,
            false => SECRET_TIMEOUT,
        };
        accepted.since + limit
    }

    fn warming(&self) -> WarmingStatus {
        let now = Instant::now();
        let clusters = self.clusters.iter();
        let listeners = self.listeners.iter();
        WarmingStatus {
            clusters: clusters
                .filter(|(_, cluster)| self.endpoints_of(cluster).is_none())
                .map(|(name, _)| name.to_string())
                .collect(),
            listeners: listeners
                .filter(|(_, accepted)| !self.is_warm(accepted, now))
                .map(|(name, _)| name.to_string())
                .collect(),
            initialized: self.initialized,
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        let listeners = self.listeners.iter();
        let secrets = listeners.map(|(_, accepted)| self.secrets_deadline(accepted));
        let secrets = secrets.filter(|deadline| *deadline > now);
        let unused = self.unused_routes.values();
        let unused = unused.map(|since| *since + self.options.drain_time);
        let leaving = self.leaving.values().map(|(_, end)| *end);
        let waiting = self.waiting_routes.values().copied();
        secrets.chain(unused).chain(leaving).chain(waiting).min()
    }

    /// The next snapshot, if it differs from `old`.
    fn publish(&mut self, old: &Snapshot) -> Option<Snapshot> {
        self.resolved
            .retain(|name, _| self.clusters.get(name).is_some());
        let mut clusters: BTreeMap<_, _> = self
            .clusters
            .iter()
            .filter_map(|(name, cluster)| {
                let endpoints = self.endpoints_of(cluster)?;
                let config = Arc::clone(cluster);
                Some((Arc::clone(name), ClusterUpdate { config, endpoints }))
            })
            .collect();
        self.activate_listeners(clusters.len());
        self.keep_leaving(old, &mut clusters);
        self.forget_unused();
        let routes = self.warm_routes(old, &clusters);
        let snapshot = Snapshot {
            version: self.version + 1,
            listeners: self.active.clone(),
            clusters,
            routes,
            secrets: self.current_secrets(&old.secrets),
        };
        if is_same(old, &snapshot) {
            return None;
        }
        self.version += 1;
        Some(snapshot)
    }

    /// Routes as workers get them. Changed ones that name a cluster without endpoints so far wait a while: they were sent
    /// together, and until the endpoints come the old routes serve. Differs from Envoy, which answers with 503 meanwhile.
    fn warm_routes(
        &mut self,
        old: &Snapshot,
        clusters: &BTreeMap<Arc<str>, ClusterUpdate>,
    ) -> BTreeMap<Arc<str>, Arc<RouteTable>> {
        let now = Instant::now();
        let is_cold =
            |name: &Arc<str>| self.clusters.get(name).is_some() && !clusters.contains_key(name);
        let mut waiting = BTreeMap::new();
        let mut choose = |name: &Arc<str>, table: &Arc<RouteTable>| {
            let before = old
                .routes
                .get(name)
                .filter(|before| !Arc::ptr_eq(before, table));
            let before = before.filter(|_| table.clusters().any(is_cold));
            let Some(before) = before else {
                return Arc::clone(table);
            };
            let known = self.waiting_routes.get(name).copied();
            let end = known.unwrap_or_else(|| now + ROUTE_TIMEOUT);
            if now >= end {
                return Arc::clone(table);
            }
            waiting.insert(Arc::clone(name), end);
            Arc::clone(before)
        };
        let tables = self.routes.iter();
        let routes = tables
            .map(|(name, table)| (Arc::clone(name), choose(name, table)))
            .collect();
        self.waiting_routes = waiting;
        routes
    }

    /// Adds clusters that were removed a short while ago: routes whose own update is still on its way name them, and so
    /// do those of connections that drain. Differs from Envoy, which answers such requests with 503.
    fn keep_leaving(&mut self, old: &Snapshot, clusters: &mut BTreeMap<Arc<str>, ClusterUpdate>) {
        let now = Instant::now();
        let end = now + self.options.drain_time;
        for name in std::mem::take(&mut self.removed) {
            if let Some(last) = old.clusters.get(&name) {
                let kept = self.leaving.entry(name);
                kept.or_insert_with(|| (last.clone(), end));
            }
        }
        self.leaving
            .retain(|name, (_, end)| now < *end && !clusters.contains_key(name));
        for (name, (cluster, _)) in &self.leaving {
            clusters.insert(Arc::clone(name), cluster.clone());
        }
    }

    fn activate_listeners(&mut self, warm_clusters: usize) {
        let now = Instant::now();
        let all_clusters = self.clusters.iter().count();
        let ready = self.initialized || (self.clusters.received && warm_clusters == all_clusters);
        if !ready {
            return;
        }
        self.active
            .retain(|name, _| self.listeners.get(name).is_some());
        let mut waiting = 0_usize;
        for (name, accepted) in self.listeners.iter() {
            if self.is_warm(accepted, now) {
                self.active
                    .insert(Arc::clone(name), accepted.listener.clone());
            } else {
                waiting += 1;
            }
        }
        self.initialized |= self.listeners.received && waiting == 0;
    }

    /// Forgets endpoints, secrets and, after a while, routes that nothing refers to.
    fn forget_unused(&mut self) {
        let now = Instant::now();
        let wanted = self.wanted();
        self.endpoints
            .retain(|name| wanted.endpoints.contains(name));
        self.secrets.retain(|name| wanted.secrets.contains(name));
        let names: BTreeSet<Arc<str>> = self
            .routes
            .iter()
            .map(|(name, _)| Arc::clone(name))
            .collect();
        self.unused_routes
            .retain(|name, _| names.contains(name) && !wanted.routes.contains(name));
        for name in names
            .into_iter()
            .filter(|name| !wanted.routes.contains(name))
        {
            self.unused_routes.entry(name).or_insert(now);
        }
        // Connections that drain still look their routes up.
        let drain_time = self.options.drain_time;
        let unused = &self.unused_routes;
        self.routes.retain(|name| {
            unused
                .get(name)
                .is_none_or(|since| now < *since + drain_time)
        });
    }

    fn current_secrets(&self, old: &Arc<Secrets>) -> Arc<Secrets> {
        let secrets = Secrets {
            workload: self.workload.clone(),
            ads: self
                .secrets
                .iter()
                .map(|(name, secret)| (Arc::clone(name), secret.clone()))
                .collect(),
        };
        if secrets.is_same(old) {
            Arc::clone(old)
        } else {
            Arc::new(secrets)
        }
    }
}

fn put_all<T>(
    table: &mut Table<T>,
    update: &Update,
    mut compile: impl FnMut(&Resource, Option<&T>) -> Result<T, CompileError>,
) -> Vec<Rejected> {
    table.received = true;
    let mut rejected = Vec::new();
    for resource in &update.added {
        let put = table.put(resource, &mut compile, Bytes::clone);
        rejected.extend(put.err());
    }
    rejected
}

/// Removes what an update says is gone, and returns its names.
fn remove_gone<T>(table: &mut Table<T>, update: &Update) -> Vec<Arc<str>> {
    let added: BTreeSet<&str> = update.added.iter().map(|r| r.name.as_str()).collect();
    let removed: BTreeSet<&str> = update.removed.iter().map(String::as_str).collect();
    let mut gone = Vec::new();
    table.retain(|name| {
        let stays = added.contains(name) || !(update.full || removed.contains(name));
        if !stays {
            gone.push(Arc::from(name));
        }
        stays
    });
    gone
}

/// The sockets of a listener, taking over those that are bound already.
fn bind(
    config: &ListenerConfig,
    known: &mut HashMap<SocketAddr, Weak<BoundSockets>>,
    workers: usize,
) -> Result<Vec<Arc<BoundSockets>>, CompileError> {
    if !config.bind_to_port || workers == 0 {
        return Ok(Vec::new());
    }
    known.retain(|_, sockets| sockets.strong_count() > 0);
    let addresses = config.addresses.iter();
    addresses
        .map(|address| bind_one(*address, &config.socket, known, workers))
        .collect()
}

fn bind_one(
    address: SocketAddr,
    options: &SocketOptions,
    known: &mut HashMap<SocketAddr, Weak<BoundSockets>>,
    workers: usize,
) -> Result<Arc<BoundSockets>, CompileError> {
    let bound = known.get(&address).and_then(Weak::upgrade);
    if let Some(bound) = bound.filter(|bound| bound.options == *options) {
        return Ok(bound);
    }
    let bound = BoundSockets::bind(address, options, workers).map_err(|error| {
        CompileError::new(format!("cannot bind {address}: {error}")).at("address")
    })?;
    let bound = Arc::new(bound);
    known.insert(address, Arc::downgrade(&bound));
    Ok(bound)
}

/// A secret without its key.
fn redact(body: &Bytes) -> Bytes {
    use tls_proto::secret::Type;
    let Ok(mut secret) = tls_proto::Secret::decode(body.clone()) else {
        return Bytes::new();
    };
    let redacted = core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(
            "[redacted]".to_owned(),
        )),
        ..core::DataSource::default()
    };
    match &mut secret.r#type {
        Some(Type::TlsCertificate(certificate)) => {
            certificate.private_key = Some(redacted);
            certificate.password = None;
            certificate.pkcs12 = None;
        }
        Some(Type::ValidationContext(_)) | None => {}
        Some(other) => *other = Type::GenericSecret(tls_proto::GenericSecret::default()),
    }
    secret.encode_to_vec().into()
}

/// Whether two snapshots mean the same.
fn is_same(old: &Snapshot, new: &Snapshot) -> bool {
    fn same_maps<T>(
        old: &BTreeMap<Arc<str>, T>,
        new: &BTreeMap<Arc<str>, T>,
        same: impl Fn(&T, &T) -> bool,
    ) -> bool {
        old.len() == new.len()
            && old
                .iter()
                .zip(new)
                .all(|((a, old), (b, new))| a == b && same(old, new))
    }
    Arc::ptr_eq(&old.secrets, &new.secrets)
        && same_maps(&old.routes, &new.routes, Arc::ptr_eq)
        && same_maps(&old.clusters, &new.clusters, |a, b| {
            Arc::ptr_eq(&a.config, &b.config) && Arc::ptr_eq(&a.endpoints, &b.endpoints)
        })
        && same_maps(&old.listeners, &new.listeners, |a, b| {
            Arc::ptr_eq(&a.config, &b.config)
        })
}
