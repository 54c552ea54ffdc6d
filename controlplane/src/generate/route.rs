//! Route tables.

pub mod action;
pub mod gateway;
pub mod headers;
pub mod matcher;
pub mod policy;
pub mod retry;
pub mod sidecar;
pub mod virtual_host;
pub mod virtual_service;

use std::sync::Arc;

use crate::generate::destination::RouteClient;
use crate::generate::gateway::MergedGateways;
use crate::generate::{Cache, Resource, grpc};
use crate::model::proxy::Proxy;
use crate::model::snapshot::Snapshot;

/// The table of a name; `None` when it means nothing to this proxy.
pub fn generate(snapshot: &Snapshot, proxy: &Proxy, cache: &Cache, name: &str) -> Option<Resource> {
    let client = client(snapshot, proxy);
    let made = match proxy.is_router() {
        _ if proxy.is_grpc() => grpc::route(snapshot, &client, cache, name),
        true => of_gateway(snapshot, proxy, &client, cache, name),
        false => of_sidecar(snapshot, proxy, &client, cache, name),
    };
    made.first().cloned()
}

/// What of a proxy its routes depend on; labels only where some rule asks for them.
pub fn client(snapshot: &Snapshot, proxy: &Proxy) -> RouteClient {
    let needs_labels = proxy.is_router()
        || snapshot.virtual_services.has_source_labels
        || snapshot.destination_rules.has_selectors;
    RouteClient {
        namespace: proxy.namespace().to_owned(),
        dns_domain: proxy.node.id.dns_domain.clone(),
        labels: match needs_labels {
            true => proxy.labels.clone(),
            false => Arc::default(),
        },
    }
}

fn of_sidecar(
    snapshot: &Snapshot,
    proxy: &Proxy,
    client: &RouteClient,
    cache: &Cache,
    name: &str,
) -> Arc<[Resource]> {
    let is_ipv6 = proxy.is_ipv6();
    let tables = sidecar::Tables {
        snapshot,
        client,
        is_ipv6,
    };
    let (host, port) = match name.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None => (None, name),
    };
    let Some(port) = port.parse::<u16>().ok().filter(|port| *port != 0) else {
        return Arc::from([]);
    };
    let inputs = (
        snapshot.services.port_digest(port),
        snapshot.virtual_services.generation,
        snapshot.destination_rules.generation,
        snapshot.mesh.generation,
    );
    cache.get(("route", name, client, is_ipv6), inputs, || match host {
        None => vec![tables.port(name, port)],
        Some(host) => tables.service(name, host, port).into_iter().collect(),
    })
}

fn of_gateway(
    snapshot: &Snapshot,
    proxy: &Proxy,
    client: &RouteClient,
    cache: &Cache,
    name: &str,
) -> Arc<[Resource]> {
    // Where the Services of a gateway lead its ports is part of the names and hosts.
    let targets: Vec<_> = proxy
        .targets
        .iter()
        .map(|target| (target.port.port, target.target_port))
        .collect();
    let slot = (
        "gateway_route",
        name,
        client,
        proxy.is_ipv6(),
        &proxy.node.metadata.unprivileged_pod,
        targets,
    );
    let inputs = (
        snapshot.services.generation,
        snapshot.gateways.generation,
        snapshot.virtual_services.generation,
        snapshot.destination_rules.generation,
        snapshot.mesh.generation,
    );
    cache.get(slot, inputs, || {
        let gateways = MergedGateways::new(snapshot, proxy);
        let made = gateway::generate(snapshot, client, &gateways, name);
        made.into_iter().collect()
    })
}
