//! One worker thread: its view of configuration, its clusters and its counters.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::cluster::ClusterManager;
use crate::peer::PeerMetadata;
use crate::route::RouteTable;
use crate::stats;

/// This proxy, as it presents itself to peers.
#[derive(Clone, Debug, Default)]
pub struct LocalNode {
    /// `sidecar~10.0.0.1~pod.namespace~namespace.svc.cluster.local`
    pub id: String,
    pub peer: PeerMetadata,
}

/// A worker's handle on something that all workers share: cloning it touches no other core.
pub struct Local<T>(Rc<Arc<T>>);

/// What code of one worker thread works with.
#[derive(Debug)]
pub struct Worker {
    /// Counts from 0.
    pub id: usize,
    pub node: Arc<LocalNode>,
    pub clusters: ClusterManager,
    pub stats: Rc<stats::Shard>,
    routes: RefCell<HashMap<Arc<str>, Local<RouteTable>>>,
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
            stats,
            routes: RefCell::default(),
        }
    }

    /// The route table of an RDS name.
    pub fn route(&self, name: &str) -> Option<Local<RouteTable>> {
        self.routes.borrow().get(name).cloned()
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
