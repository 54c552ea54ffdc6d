//! Upstream clusters as one worker sees them: hosts, the choice among them, connections to them.
//!
//! Request counts that load balancing reads are those of this worker. Differs from Envoy, which shares them.

mod connect;
mod hash_table;
pub mod load_balancer;
mod loopback;
pub mod manager;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::conn::{Io, TlsInfo};
use crate::resource::cluster::Overflow;
use crate::resource::endpoint::Endpoint;

pub use connect::Dialer;
pub use manager::{Cluster, ClusterManager};

/// What a choice of host may depend on.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickContext<'a> {
    /// Destination that `ORIGINAL_DST` clusters connect to.
    pub original_dst: Option<SocketAddr>,
    /// Hash of a hash policy.
    pub hash: Option<u64>,
    /// Hosts that earlier attempts used: another one is preferred.
    pub avoid: &'a [Rc<Host>],
}

/// Why no host can take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// Response flag `UH`.
    #[error("no healthy upstream")]
    NoHealthyUpstream,
    /// Response flag `UO`.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// What a connection may differ in from what its cluster says.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// ALPN to offer instead of the configured list.
    pub alpn: Option<Rc<[Arc<[u8]>]>>,
    /// Server name for clusters with `auto_sni`.
    pub server_name: Option<Arc<str>>,
}

/// A connection to a host, ready for payload.
#[derive(Debug)]
pub struct Upstream {
    pub io: Io,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Set on connections with TLS.
    pub tls: Option<TlsInfo>,
    /// Given back when the connection is dropped.
    pub guard: ConnectionGuard,
}

impl Upstream {
    /// ALPN protocol that the host selected.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.as_ref().and_then(|tls| tls.alpn.as_deref())
    }
}

/// Why no connection came about: response flag `UF`, and `UO` for [`ConnectError::Overflow`].
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("connection timeout")]
    Timeout,
    #[error("{0}")]
    Io(std::io::Error),
    /// Text for `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    #[error("{0}")]
    Tls(String),
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

/// Pools of protocol layers on a host; they are built by who uses them.
pub trait HostPools: Any {
    /// Closes connections without requests, and others when their requests are done: the host is gone.
    fn close(&self);
}

/// A host of a cluster on this worker. Keeps its identity while its endpoint stays the same.
pub struct Host {
    pub endpoint: Arc<Endpoint>,
    /// Index into the priorities of the cluster.
    pub priority: Cell<usize>,
    pub stats: HostStats,
    removed: Cell<bool>,
    pools: OnceCell<Box<dyn HostPools>>,
}

/// Counts of a host on this worker.
#[derive(Debug, Default)]
pub struct HostStats {
    pub cx_active: Cell<u32>,
    pub cx_total: Cell<u64>,
    pub cx_connect_fail: Cell<u64>,
    pub rq_active: Cell<u32>,
    pub rq_total: Cell<u64>,
    pub rq_success: Cell<u64>,
    pub rq_error: Cell<u64>,
    pub rq_timeout: Cell<u64>,
}

impl Host {
    pub fn new(endpoint: Arc<Endpoint>, priority: usize) -> Self {
        Self {
            endpoint,
            priority: Cell::new(priority),
            stats: HostStats::default(),
            removed: Cell::new(false),
            pools: OnceCell::new(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// No longer part of its cluster: connections must not be reused.
    pub fn is_removed(&self) -> bool {
        self.removed.get()
    }

    /// The pools of this host, made on first use. All callers use the same `T`.
    pub fn pools<T: HostPools + Default>(&self) -> Option<&T> {
        let pools: &dyn HostPools = &**self.pools.get_or_init(|| Box::<T>::default());
        (pools as &dyn Any).downcast_ref()
    }

    /// Counts a request, or a TCP session, until the guard is dropped.
    pub fn begin(self: &Rc<Self>) -> ActiveRequest {
        let stats = &self.stats;
        stats.rq_active.set(stats.rq_active.get().saturating_add(1));
        stats.rq_total.set(stats.rq_total.get().wrapping_add(1));
        ActiveRequest(Rc::clone(self))
    }

    pub(crate) fn remove(&self) {
        self.removed.set(true);
        if let Some(pools) = self.pools.get() {
            pools.close();
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("address", &self.address())
            .field("removed", &self.removed.get())
            .finish_non_exhaustive()
    }
}

/// A request in progress on a host.
#[derive(Debug)]
pub struct ActiveRequest(Rc<Host>);

impl ActiveRequest {
    pub fn host(&self) -> &Rc<Host> {
        &self.0
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let active = &self.0.stats.rq_active;
        active.set(active.get().saturating_sub(1));
    }
}

/// A connection counted on its host and against the cluster's limit.
#[derive(Debug)]
pub struct ConnectionGuard {
    host: Rc<Host>,
    _permit: crate::resource::cluster::Permit,
}

impl ConnectionGuard {
    pub(crate) fn new(host: &Rc<Host>, permit: crate::resource::cluster::Permit) -> Self {
        let stats = &host.stats;
        stats.cx_active.set(stats.cx_active.get().saturating_add(1));
        stats.cx_total.set(stats.cx_total.get().wrapping_add(1));
        Self {
            host: Rc::clone(host),
            _permit: permit,
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let active = &self.host.stats.cx_active;
        active.set(active.get().saturating_sub(1));
    }
}
