//! Worker threads: each with its view of configuration, its clusters, listeners and counters.

mod pool;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::ClusterManager;
use crate::listener::Listeners;
use crate::peer::PeerMetadata;
use crate::resource::listener::ListenerConfig;
use crate::route::RouteTable;
use crate::snapshot::Snapshot;
use crate::stats;

pub use pool::{PoolOptions, WorkerPool};

/// This proxy, as it presents itself to peers.
#[derive(Clone, Debug, Default)]
pub struct LocalNode {
    /// `sidecar~10.0.0.1~pod.namespace~namespace.svc.cluster.local`
    pub id: String,
    pub peer: PeerMetadata,
}

/// A worker's handle on something that all workers share: cloning it touches no other core.
#[expect(
    clippy::redundant_allocation,
    reason = "clones of the Rc touch no memory that other workers write"
)]
pub struct Local<T>(Rc<Arc<T>>);

/// What code of one worker thread works with.
#[derive(Debug)]
pub struct Worker {
    /// Counts from 0.
    pub id: usize,
    pub node: Arc<LocalNode>,
    pub clusters: ClusterManager,
    pub listeners: Listeners,
    pub stats: Rc<stats::Shard>,
    routes: RefCell<HashMap<Arc<str>, Local<RouteTable>>>,
    connections: Rc<Cell<usize>>,
}

/// A downstream connection that is counted.
#[derive(Debug)]
pub struct ConnectionCount {
    connections: Rc<Cell<usize>>,
    stats: Rc<stats::ListenerStats>,
}

impl Worker {
    pub fn new(
        id: usize,
        node: Arc<LocalNode>,
        clusters: ClusterManager,
        stats: Rc<stats::Shard>,
    ) -> Self {
        Self {
            id,
            node,
            clusters,
            listeners: Listeners::default(),
            stats,
            routes: RefCell::default(),
            connections: Rc::default(),
        }
    }

    /// The route table of an RDS name.
    pub fn route(&self, name: &str) -> Option<Local<RouteTable>> {
        self.routes.borrow().get(name).cloned()
    }

    /// Downstream connections that are being served.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Makes a snapshot the configuration of this worker. Runs inside a `LocalSet`.
    pub fn apply(self: &Rc<Self>, snapshot: &Snapshot, drain_time: Duration) {
        self.clusters.set_secrets(Arc::clone(&snapshot.secrets));
        self.clusters.apply(snapshot.clusters.values());
        self.set_routes(&snapshot.routes);
        self.listeners.apply(&snapshot.listeners, self, drain_time);
    }

    /// Makes the route tables those of `tables`.
    pub fn set_routes<'a>(
        &self,
        tables: impl IntoIterator<Item = (&'a Arc<str>, &'a Arc<RouteTable>)>,
    ) {
        let old = self.routes.take();
        let new = tables
            .into_iter()
            .map(|(name, table)| {
                let kept = old.get(name).filter(|old| Arc::ptr_eq(&old.0, table));
                let local = kept
                    .cloned()
                    .unwrap_or_else(|| Local::new(Arc::clone(table)));
                (Arc::clone(name), local)
            })
            .collect();
        self.routes.replace(new);
    }

    pub(crate) fn count_connection(&self, listener: &ListenerConfig) -> ConnectionCount {
        let stats = self.stats.listener(&listener.stat_name);
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        self.connections
            .set(self.connections.get().saturating_add(1));
        ConnectionCount {
            connections: Rc::clone(&self.connections),
            stats,
        }
    }

    pub(crate) fn count_no_filter_chain_match(&self, listener: &ListenerConfig) {
        let stats = self.stats.listener(&listener.stat_name);
        stats.no_filter_chain_match.inc();
    }

    pub(crate) fn count_proxy_protocol_error(&self, listener: &ListenerConfig) {
        let name = &listener.stat_name;
        let counter = format!("listener.{name}.downstream_cx_proxy_proto_error");
        self.stats.counter(&counter).inc();
    }

    pub(crate) fn count_tls_error(&self, listener: &ListenerConfig) {
        let stats = self.stats.listener(&listener.stat_name);
        stats.ssl_connection_error.inc();
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        let connections = &self.connections;
        connections.set(connections.get().saturating_sub(1));
        self.stats.downstream_cx_active.dec();
    }
}

impl<T> Local<T> {
    pub fn new(shared: Arc<T>) -> Self {
        Self(Rc::new(shared))
    }

    pub fn shared(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T> Clone for Local<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Deref for Local<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Local<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}
