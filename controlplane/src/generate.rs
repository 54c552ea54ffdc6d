//! Resources of xDS out of a snapshot, for one proxy. Pure: the same input gives the same bytes.
//!
//! Everything that several proxies get alike is made and encoded once and shared through
//! [`cache::Cache`]. Names, chains and fields are those that Istio's own control plane sends, so that
//! every proxy of Istio understands them.

pub mod access_log;
pub mod affected;
pub mod cache;
pub mod cluster;
pub mod connection_manager;
pub mod destination;
pub mod endpoint;
pub mod filter;
pub mod gateway;
pub mod grpc;
pub mod listener;
pub mod message;
pub mod name_table;
pub mod resource;
pub mod route;
pub mod secret;
pub mod tcp;
pub mod traffic_policy;
pub mod transport_socket;

use std::sync::Arc;

pub use affected::{Affected, AffectedNames, affects};
pub use cache::Cache;
pub use resource::{ContentHash, Resource};

use crate::model::destination_rule::{MergedRule, RuleClient};
use crate::model::proxy::Proxy;
use crate::model::service::Service;
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
pub fn clusters(snapshot: &Snapshot, proxy: &Proxy, cache: &Cache) -> Vec<Resource> {
    cluster::generate(snapshot, proxy, cache)
}

/// Endpoints of the named clusters, in the given order; names of clusters that do not exist are left out.
pub fn endpoints<N: AsRef<str>>(
    snapshot: &Snapshot,
    proxy: &Proxy,
    cache: &Cache,
    names: impl IntoIterator<Item = N>,
) -> Vec<Resource> {
    names
        .into_iter()
        .filter_map(|name| endpoint::generate(snapshot, proxy, cache, name.as_ref()))
        .collect()
}

/// Listeners of a proxy.
pub fn listeners(snapshot: &Snapshot, proxy: &Proxy, cache: &Cache) -> Vec<Resource> {
    listener::generate(snapshot, proxy, cache)
}

/// The named route tables, in the given order; names that mean nothing to this proxy are left out.
pub fn routes<N: AsRef<str>>(
    snapshot: &Snapshot,
    proxy: &Proxy,
    cache: &Cache,
    names: impl IntoIterator<Item = N>,
) -> Vec<Resource> {
    names
        .into_iter()
        .filter_map(|name| route::generate(snapshot, proxy, cache, name.as_ref()))
        .collect()
}

/// The named secrets, as far as they exist and the proxy may have them. Never cached.
///
/// Only gateways get any.
pub fn secrets<N: AsRef<str>>(
    snapshot: &Snapshot,
    proxy: &Proxy,
    access: SecretAccess,
    names: impl IntoIterator<Item = N>,
) -> Vec<Resource> {
    if access != SecretAccess::OwnNamespace || !proxy.is_router() {
        return Vec::new();
    }
    names
        .into_iter()
        .filter_map(|name| secret::generate(snapshot, proxy, name.as_ref()))
        .collect()
}

/// Host names and addresses for DNS capture; one resource, without a name.
pub fn name_table(snapshot: &Snapshot, proxy: &Proxy, cache: &Cache) -> Vec<Resource> {
    name_table::generate(snapshot, proxy, cache)
}

/// The destination rule for calls of a proxy to a service.
fn rule_of<'a>(
    snapshot: &'a Snapshot,
    proxy: &Proxy,
    service: &Service,
) -> Option<&'a Arc<MergedRule>> {
    let client = RuleClient {
        namespace: proxy.namespace(),
        labels: &proxy.labels,
    };
    snapshot.destination_rules.lookup(
        client,
        &service.namespace,
        &service.host,
        snapshot.mesh.root_namespace(),
    )
}
