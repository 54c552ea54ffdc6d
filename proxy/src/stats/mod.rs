//! Statistics: Istio's standard metrics and the part of Envoy's own that is used.
//!
//! Each worker counts for itself in a [`Shard`]; readers add the shards up. Nothing on the request path locks or
//! allocates once the labels of a call are known.
//! <https://istio.io/latest/docs/reference/config/metrics/>.

mod counter;
mod hash;
mod histogram;
mod istio;
mod labels;
mod plugin;
mod render;
mod scope;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ironsail_mesh::label;
use ironsail_mesh::node::NodeMetadata;

pub use counter::{Local, Shared};
pub use histogram::{Bounds, DEFAULT_BOUNDS};
pub use istio::{CallRef, Dropped, RequestProtocol, RequestReport, StatsSettings};
pub use labels::{Call, Reporter, Service};
pub use plugin::IstioStats;
pub use render::{Filter, prometheus_name};
pub use scope::{ClusterStats, HttpStats, ListenerStats};

use crate::peer::PeerMetadata;
use hash::PointerHash;
use istio::{Published, Reports};

/// All statistics of the process.
#[derive(Debug)]
pub struct Registry {
    local: Arc<PeerMetadata>,
    /// Shown by `istio_build`.
    version: String,
    bounds: Arc<Bounds>,
    shards: Mutex<Vec<Arc<ShardStore>>>,
    shared: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    computed: Mutex<Vec<Computed>>,
}

/// Gauges that are found out when somebody asks.
struct Computed(Box<dyn Fn() -> Vec<(String, u64)> + Send + Sync>);

impl std::fmt::Debug for Computed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Computed").finish_non_exhaustive()
    }
}

/// The published part of a shard.
#[derive(Debug, Default)]
struct ShardStore {
    counters: Mutex<HashMap<String, Arc<AtomicU64>>>,
    published: Arc<Published>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// `local` is the workload of this proxy, `version` its version, `bounds` those of the histograms.
    pub fn new(local: PeerMetadata, version: impl Into<String>, bounds: &[f64]) -> Arc<Self> {
        Arc::new(Self {
            local: Arc::new(local),
            version: version.into(),
            bounds: Bounds::new(bounds),
            shards: Mutex::default(),
            shared: Mutex::default(),
            computed: Mutex::default(),
        })
    }

    /// The workload of this proxy.
    pub fn local(&self) -> &Arc<PeerMetadata> {
        &self.local
    }

    /// The counting side for one more worker; to be called on its thread.
    pub fn shard(self: &Arc<Self>) -> Rc<Shard> {
        let store = Arc::new(ShardStore::default());
        lock(&self.shards).push(Arc::clone(&store));
        Rc::new(Shard {
            registry: Arc::clone(self),
            reports: Reports::new(
                Arc::clone(&self.local),
                Arc::clone(&self.bounds),
                Arc::clone(&store.published),
            ),
            store,
            clusters: RefCell::default(),
            http: RefCell::default(),
            listeners: RefCell::default(),
        })
    }

    /// A counter or gauge of the whole process, by Envoy's dotted name: `server.live`.
    pub fn shared(&self, name: &str) -> Shared {
        let mut shared = lock(&self.shared);
        let cell = shared.entry(name.to_owned()).or_default();
        Shared::new(Arc::clone(cell))
    }

    /// Adds gauges of the whole process, by Envoy's dotted names, that are computed for each reader.
    pub fn compute(&self, gauges: impl Fn() -> Vec<(String, u64)> + Send + Sync + 'static) {
        lock(&self.computed).push(Computed(Box::new(gauges)));
    }

    /// Sum over all workers of the counters and gauges whose name `wanted` picks, saturating at zero.
    pub fn sum(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        self.counters()
            .into_iter()
            .filter(|(name, _)| wanted(name))
            .map(|(_, value)| value)
            .fold(0, u64::saturating_add)
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        for store in lock(&self.shards).iter() {
            for (name, cell) in lock(&store.counters).iter() {
                let sum = all.entry(name.clone()).or_default();
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        for (name, cell) in lock(&self.shared).iter() {
            let sum = all.entry(name.clone()).or_default();
            *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
        }
        for Computed(gauges) in lock(&self.computed).iter() {
            all.extend(gauges());
        }
        all
    }

    fn published(&self) -> Vec<Arc<Published>> {
        let shards = lock(&self.shards);
        shards.iter().map(|s| Arc::clone(&s.published)).collect()
    }
}

/// The statistics of one worker. Stays on its thread.
pub struct Shard {
    registry: Arc<Registry>,
    store: Arc<ShardStore>,
    reports: Reports,
    clusters: RefCell<Scopes<ClusterStats>>,
    http: RefCell<Scopes<HttpStats>>,
    listeners: RefCell<Scopes<ListenerStats>>,
}

/// Scopes by the address of the name they were asked for with, which is kept alive.
type Scopes<T> = HashMap<usize, (Arc<str>, Rc<T>), PointerHash>;

/// Names that are remembered before starting over.
const MAX_SCOPES: usize = 4096;

fn scope<T>(scopes: &RefCell<Scopes<T>>, name: &Arc<str>, make: impl FnOnce() -> T) -> Rc<T> {
    let address = name.as_ptr() as usize;
    if let Some((_, stats)) = scopes.borrow().get(&address) {
        return Rc::clone(stats);
    }
    let stats = Rc::new(make());
    let mut scopes = scopes.borrow_mut();
    if scopes.len() >= MAX_SCOPES {
        scopes.clear();
    }
    scopes.insert(address, (Arc::clone(name), Rc::clone(&stats)));
    stats
}

impl Shard {
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The workload of this proxy.
    pub fn local(&self) -> &Arc<PeerMetadata> {
        &self.registry.local
    }

    /// This worker's part of a counter or gauge, by Envoy's dotted name. To be kept, not looked up per event.
    pub fn counter(&self, name: &str) -> Local {
        let mut counters = lock(&self.store.counters);
        let cell = counters.entry(name.to_owned()).or_default();
        Local::new(Arc::clone(cell))
    }

    /// The counters of a cluster, by its name in statistics; cheap when always asked for with the same `Arc`.
    pub fn cluster(&self, stat_name: &Arc<str>) -> Rc<ClusterStats> {
        scope(&self.clusters, stat_name, || {
            ClusterStats::new(self, stat_name)
        })
    }

    /// The counters of an HTTP connection manager, by its stat prefix; cheap when always asked for with the same `Arc`.
    pub fn http(&self, prefix: &Arc<str>) -> Rc<HttpStats> {
        scope(&self.http, prefix, || HttpStats::new(self, prefix))
    }

    /// The counters of a listener, by its name in statistics; cheap when always asked for with the same `Arc`.
    pub fn listener(&self, stat_name: &Arc<str>) -> Rc<ListenerStats> {
        scope(&self.listeners, stat_name, || {
            ListenerStats::new(self, stat_name)
        })
    }

    /// Counts a finished request in Istio's standard metrics.
    pub fn report_request(&self, report: &RequestReport<'_>, now: Instant) {
        self.reports.request(report, now);
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").finish_non_exhaustive()
    }
}

/// The workload that a node's metadata describes.
pub fn local_workload(node: &NodeMetadata) -> PeerMetadata {
    let text = |value: &Option<String>| value.as_deref().unwrap_or_default().into();
    let find = |key: &str| node.labels.get(key).map(String::as_str);
    let workload = node.workload_name.as_deref().unwrap_or_default();
    let (name, revision) = label::canonical(find, workload);
    PeerMetadata {
        instance: text(&node.name),
        namespace: text(&node.namespace),
        workload: workload.into(),
        owner: text(&node.owner),
        cluster: text(&node.cluster_id),
        app: find(label::APP).unwrap_or_default().into(),
        version: find(label::VERSION).unwrap_or_default().into(),
        canonical_name: name.into(),
        canonical_revision: revision.into(),
    }
}
