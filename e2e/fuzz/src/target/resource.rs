//! Resources of a control plane that is broken, or none.

use ironsail_proxy::snapshot::{Store, StoreOptions};
use ironsail_proxy::xds::{Resource, Sink, Update};
use ironsail_xds::cluster::Cluster;
use ironsail_xds::endpoint::ClusterLoadAssignment;
use ironsail_xds::ext::transport_sockets::tls::v3::Secret;
use ironsail_xds::listener::Listener;
use ironsail_xds::route::RouteConfiguration;
use prost::{Message, Name};

use crate::config;

/// Applies bytes as a resource under the name that they carry; taken or rejected, the store goes on.
fn apply<T: Message + Name + Default>(data: &[u8], name: impl Fn(T) -> String) {
    ironsail_runtime::tls::install_provider();
    let resource = Resource {
        name: T::decode(data).map(name).unwrap_or_default(),
        version: "1".to_owned(),
        body: data.to_vec().into(),
        type_url: T::type_url(),
    };
    let update = Update {
        type_url: T::type_url(),
        added: vec![resource],
        removed: Vec::new(),
        full: false,
    };
    let mut store = Store::new(StoreOptions::default());
    // Twice: the second time there is something to compare with.
    let first = store.apply(update.clone());
    let second = store.apply(update);
    assert_eq!(first, second);
    store.wanted();
    store.snapshot();
}

pub fn cluster(data: &[u8]) {
    apply(data, |cluster: Cluster| cluster.name);
}

pub fn cluster_seeds() -> Vec<Vec<u8>> {
    vec![config::cluster().1.encode_to_vec()]
}

pub fn endpoint(data: &[u8]) {
    apply(data, |assignment: ClusterLoadAssignment| {
        assignment.cluster_name
    });
}

pub fn endpoint_seeds() -> Vec<Vec<u8>> {
    vec![config::endpoints().1.encode_to_vec()]
}

pub fn listener(data: &[u8]) {
    apply(data, |listener: Listener| listener.name);
}

pub fn listener_seeds() -> Vec<Vec<u8>> {
    vec![config::listener().1.encode_to_vec()]
}

pub fn route(data: &[u8]) {
    apply(data, |table: RouteConfiguration| table.name);
}

pub fn route_seeds() -> Vec<Vec<u8>> {
    vec![config::routes().1.encode_to_vec()]
}

pub fn secret(data: &[u8]) {
    apply(data, |secret: Secret| secret.name);
}

pub fn secret_seeds() -> Vec<Vec<u8>> {
    vec![config::secret().1.encode_to_vec()]
}
