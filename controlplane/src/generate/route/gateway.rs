//! Route tables of gateways.

use std::collections::BTreeMap;

use crate::generate::Resource;
use crate::generate::destination::{RouteClient, RouteScope};
use crate::generate::gateway::{GatewayServer, MergedGateways};
use crate::generate::route::virtual_host::{Domains, Host, table};
use crate::generate::route::virtual_service::routes;
use crate::model::snapshot::Snapshot;

/// The table of a name; `None` when no server has it.
pub fn generate(
    snapshot: &Snapshot,
    client: &RouteClient,
    gateways: &MergedGateways,
    name: &str,
) -> Option<Resource> {
    let servers = gateways.of_table(name);
    let port = servers.first()?.port;
    let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
    for server in &servers {
        add_rules(&mut hosts, snapshot, client, server, port);
        if server.redirects_to_https() {
            for host in &server.hosts {
                entry(&mut hosts, &host.host, port).requires_tls = true;
            }
        }
    }
    let mut domains = Domains::default();
    let mut hosts: Vec<Host> = hosts.into_values().collect();
    for host in &mut hosts {
        host.domains = domains.claim(std::mem::take(&mut host.domains));
        // What matches everything is for what no other rule of the host matches.
        host.routes.sort_by_key(|route| route.is_catch_all);
    }
    hosts.retain(|host| !host.domains.is_empty());
    if hosts.is_empty() {
        let mut black_hole = Host::new(
            format!("blackhole:{port}"),
            vec!["*".to_owned()],
            Vec::new(),
        );
        black_hole.counts_attempts = false;
        hosts.push(black_hole);
    }
    Some(table(name, hosts))
}

fn entry<'h>(hosts: &'h mut BTreeMap<String, Host>, host: &str, port: u16) -> &'h mut Host {
    let name = format!("{host}:{port}");
    hosts
        .entry(name.clone())
        .or_insert_with(|| Host::new(name, vec![host.to_owned()], Vec::new()))
}

/// Adds the routes of the rules bound to a server, oldest first.
fn add_rules(
    hosts: &mut BTreeMap<String, Host>,
    snapshot: &Snapshot,
    client: &RouteClient,
    server: &GatewayServer,
    port: u16,
) {
    let gateway = server.gateway.reference();
    let scope = RouteScope {
        snapshot,
        client,
        gateway: &gateway,
        listen_port: port,
    };
    for rule in snapshot
        .virtual_services
        .for_gateway(&gateway, &client.namespace)
    {
        let common = server.common_hosts(rule);
        let routes = match common.is_empty() {
            true => Vec::new(),
            false => routes(&scope, rule),
        };
        if routes.is_empty() {
            continue;
        }
        for host in &common {
            let target = entry(hosts, host, port);
            target.requires_tls |= server.redirects_to_https();
            target.routes.extend(routes.iter().cloned());
        }
    }
}
