//! Resources of xDS out of a snapshot, for one proxy. Pure: the same input gives the same bytes.
//!
//! Everything that several proxies get alike is made and encoded once and shared through [`cache::Cache`].

pub mod affected;
pub mod cache;
pub mod resource;

pub use affected::{Affected, affects};
pub use cache::Cache;
pub use resource::{ContentHash, Resource};

use crate::model::proxy::Proxy;
use crate::model::snapshot::Snapshot;

/// Whether a client may be given private keys. Discovery decides it: the stream is authenticated,
/// its identity is the node's, and its service account may read Secrets of its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretAccess {
    Denied,
    /// Secrets of the proxy's own namespace.
    OwnNamespace,
}

/// Clusters of a proxy, in the order of the peer: services oldest first, each with its subsets,
/// then the fixed ones.
pub fn clusters(_snapshot: &Snapshot, _proxy: &Proxy, _cache: &Cache) -> Vec<Resource> {
    Vec::new()
}

/// Endpoints of the named clusters, in the given order; names of clusters that do not exist are left out.
pub fn endpoints<N: AsRef<str>>(
    _snapshot: &Snapshot,
    _proxy: &Proxy,
    _cache: &Cache,
    _names: impl IntoIterator<Item = N>,
) -> Vec<Resource> {
    Vec::new()
}

/// Listeners of a proxy.
pub fn listeners(_snapshot: &Snapshot, _proxy: &Proxy, _cache: &Cache) -> Vec<Resource> {
    Vec::new()
}

/// The named route tables, in the given order; names that mean nothing to this proxy are left out.
pub fn routes<N: AsRef<str>>(
    _snapshot: &Snapshot,
    _proxy: &Proxy,
    _cache: &Cache,
    _names: impl IntoIterator<Item = N>,
) -> Vec<Resource> {
    Vec::new()
}

/// The named secrets, as far as they exist and the proxy may have them. Never cached.
pub fn secrets<N: AsRef<str>>(
    _snapshot: &Snapshot,
    _proxy: &Proxy,
    _access: SecretAccess,
    _names: impl IntoIterator<Item = N>,
) -> Vec<Resource> {
    Vec::new()
}

/// Host names and addresses for DNS capture; one resource, without a name.
pub fn name_table(_snapshot: &Snapshot, _proxy: &Proxy, _cache: &Cache) -> Vec<Resource> {
    Vec::new()
}
