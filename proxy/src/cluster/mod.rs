//! Upstream clusters as one worker sees them: hosts, the choice among them, connections to them.
//!
//! Request counts that load balancing reads are those of this worker. Differs from Envoy, which shares them.

mod bounded_load;
mod connect;
mod happy_eyeballs;
mod hash_table;
pub mod load_balancer;
mod loopback;
pub mod manager;
pub mod outlier;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use crate::conn::{ConnectionInfo, Io, Proxied, TlsInfo};
use crate::resource::cluster::{Overflow, Permit, RoutingPriority};
use crate::resource::endpoint::Endpoint;
use outlier::Monitor;

pub use connect::Dialer;
pub use manager::{Cluster, ClusterManager};
pub use outlier::HostResult;

/// What a choice of host may depend on.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickContext<'a> {
    /// Destination that `ORIGINAL_DST` clusters connect to.
    pub original_dst: Option<SocketAddr>,
    /// Hash of a hash policy.
    pub hash: Option<u64>,
    /// Hosts that earlier attempts used: another one is preferred.
    pub avoid: &'a [Rc<Host>],
    /// Hosts that are marked as canaries: another one is preferred.
    pub avoid_canaries: bool,
    /// Priorities that earlier attempts used: others are preferred.
    pub avoid_priorities: &'a [usize],
}

impl PickContext<'_> {
    /// Whether another host is preferred.
    pub fn avoids(&self, host: &Rc<Host>) -> bool {
        let used = self.avoid.iter().any(|used| Rc::ptr_eq(used, host));
        used || (self.avoid_canaries && host.endpoint.canary)
    }
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
    /// Whose limits of connections count.
    pub priority: RoutingPriority,
    /// The client's connection, for hosts that are told of it.
    pub proxied: Option<Proxied>,
    /// Source address in place of the cluster's.
    pub source: Option<Source>,
}

/// The client's address as that of connections to hosts: `original_src` with TPROXY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Port 0: any.
    pub address: SocketAddr,
    /// `SO_MARK`, so that the answers find back; 0: none.
    pub mark: u32,
}

impl ConnectOptions {
    /// The same, for a connection from this client.
    #[must_use]
    pub fn of_client(self, info: &ConnectionInfo, cluster: &Cluster) -> Self {
        Self {
            proxied: cluster.tells_client.then(|| info.proxied()),
            source: info
                .listener
                .original_src
                .map(|filter| filter.source(info.remote)),
            ..self
        }
    }
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

    /// A connection to the host has ended, so that another one may be allowed.
    fn released(&self);
}

/// A host of a cluster on this worker. Keeps its identity while its endpoint stays the same.
pub struct Host {
    pub endpoint: Arc<Endpoint>,
    /// Index into the priorities of the cluster.
    pub priority: Cell<usize>,
    pub stats: HostStats,
    /// When this worker first knew of it.
    pub added: Instant,
    removed: Cell<bool>,
    /// Set where outlier detection watches.
    monitor: Option<Arc<Monitor>>,
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
            added: Instant::now(),
            removed: Cell::new(false),
            monitor: None,
            pools: OnceCell::new(),
        }
    }

    /// The same host, watched by outlier detection.
    #[must_use]
    pub fn with_monitor(self, monitor: Option<Arc<Monitor>>) -> Self {
        Self { monitor, ..self }
    }

    /// Outlier detection leaves it out.
    pub fn is_ejected(&self) -> bool {
        self.monitor
            .as_ref()
            .is_some_and(|monitor| monitor.is_ejected())
    }

    /// Whether new requests may go there.
    pub fn takes_requests(&self) -> bool {
        self.endpoint.health.takes_requests() && !self.is_ejected()
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
    permit: Option<Permit>,
}

impl ConnectionGuard {
    pub(crate) fn new(host: &Rc<Host>, permit: Permit) -> Self {
        let stats = &host.stats;
        stats.cx_active.set(stats.cx_active.get().saturating_add(1));
        stats.cx_total.set(stats.cx_total.get().wrapping_add(1));
        Self {
            host: Rc::clone(host),
            permit: Some(permit),
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let active = &self.host.stats.cx_active;
        active.set(active.get().saturating_sub(1));
        self.permit = None;
        if let Some(pools) = self.host.pools.get() {
            pools.released();
        }
    }
}
