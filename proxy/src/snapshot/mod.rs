//! The configuration in force: what workers see, and how resources get there.
//!
//! A resource that does not compile is rejected alone, and its last good version stays. What compiles is warmed before
//! it is used: a cluster waits for its endpoints, a listener for its routes and, up to a limit, for its secrets; the
//! first listeners wait for all clusters. Each change publishes a new immutable [`Snapshot`].

mod dns;
mod entry;
mod packed;
mod socket;
mod store;
#[cfg(test)]
mod tests;
mod warming;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::cluster::manager::ClusterUpdate;
use crate::resource::listener::ListenerConfig;
use crate::route::RouteTable;
use crate::transport_socket::secret::Secrets;

pub use socket::BoundSockets;
pub(crate) use socket::set_transparent;
pub use store::{Store, StoreOptions};

/// Everything that is in force at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with each publication.
    pub version: u64,
    pub listeners: BTreeMap<Arc<str>, ActiveListener>,
    pub clusters: BTreeMap<Arc<str>, ClusterUpdate>,
    pub routes: BTreeMap<Arc<str>, Arc<RouteTable>>,
    pub secrets: Arc<Secrets>,
}

/// A listener that takes connections.
#[derive(Clone, Debug)]
pub struct ActiveListener {
    pub config: Arc<ListenerConfig>,
    /// One set per address; none for listeners that only take handed over connections.
    pub sockets: Vec<Arc<BoundSockets>>,
}

/// A resource as it came, for `config_dump`.
#[derive(Clone, Debug)]
pub struct RawResource {
    pub name: String,
    /// Of the last good version; empty without one.
    pub version: String,
    pub last_updated: SystemTime,
    /// The last good version's encoding, keys redacted; empty without one.
    pub body: Bytes,
    /// Why the newest version was rejected.
    pub error: Option<String>,
}

/// What is still missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WarmingStatus {
    /// Clusters without endpoints.
    pub clusters: Vec<String>,
    /// Listeners without routes or secrets.
    pub listeners: Vec<String>,
    /// All clusters and listeners of the first configuration were in use at least once.
    pub initialized: bool,
}
