//! Route tables of gRPC clients: those of proxies, without what libraries refuse.

use std::sync::Arc;

use ironsail_mesh::xds_name::{ClusterName, Direction};
use ironsail_xds::route::RouteConfiguration;
use prost::Message;

use crate::generate::destination::RouteClient;
use crate::generate::route::sidecar::Tables;
use crate::generate::{Cache, Resource};
use crate::model::snapshot::Snapshot;

/// The only filter of a route that libraries have.
const FAULT: &str = "envoy.filters.http.fault";

/// The table `outbound|port||host`.
pub fn generate(
    snapshot: &Snapshot,
    client: &RouteClient,
    cache: &Cache,
    name: &str,
) -> Arc<[Resource]> {
    let table = name.parse::<ClusterName>().ok();
    let is_table = |table: &ClusterName| {
        table.direction == Direction::Outbound && table.subset.is_empty() && table.port != 0
    };
    let Some(wanted) = table.filter(is_table) else {
        return Arc::from([]);
    };
    let inputs = (
        snapshot.services.port_digest(wanted.port),
        snapshot.virtual_services.generation,
        snapshot.destination_rules.generation,
        snapshot.mesh.generation,
    );
    cache.get(("grpc_route", name, client), inputs, || {
        let tables = Tables {
            snapshot,
            client,
            is_ipv6: false,
        };
        let made = tables.service(name, &wanted.host, wanted.port);
        made.map(|table| without_filters(&table))
            .into_iter()
            .collect()
    })
}

/// Libraries refuse a table with settings of a filter that they lack.
fn without_filters(table: &Resource) -> Resource {
    // It is our own encoding.
    let mut routes = RouteConfiguration::decode(table.body.clone()).unwrap_or_default();
    // The host that is called has its port in it, and the table is for it alone.
    routes.ignore_port_in_host_matching = false;
    for route in routes
        .virtual_hosts
        .iter_mut()
        .flat_map(|host| &mut host.routes)
    {
        route
            .typed_per_filter_config
            .retain(|name, _| name == FAULT);
    }
    Resource::encode(Arc::clone(&table.name), &routes)
}
