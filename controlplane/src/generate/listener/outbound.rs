//! Listeners for calls of a sidecar's application: one per port for HTTP, one per address and port
//! for everything else, and one that takes what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ironsail_mesh::port::Protocol;
use ironsail_mesh::xds_name::{BLACK_HOLE_CLUSTER, ClusterName, VIRTUAL_OUTBOUND};
use ironsail_xds::core::TrafficDirection;
use ironsail_xds::listener::{FilterChain, FilterChainMatch, Listener};

use crate::generate::connection_manager::{Manager, ManagerClass, ManagerTemplate, Routes};
use crate::generate::destination::{RouteClient, RouteScope};
use crate::generate::filter::Side;
use crate::generate::gateway::wildcard;
use crate::generate::listener::{
    http_inspector, name, plain_http, timed, tls_inspector, unknown_destination,
};
use crate::generate::tcp::{RuleChain, Target, TcpFilters, tcp_chains, tls_chains};
use crate::generate::{Cache, Resource, access_log, message, route};
use crate::model::proxy::Proxy;
use crate::model::service::{Service, ServicePort};
use crate::model::snapshot::Snapshot;
use crate::model::virtual_service::{MESH_GATEWAY, VirtualService};

/// Port that captured outbound connections are redirected to.
const OUTBOUND_PORT: u16 = 15001;

/// Listeners of the outbound side, by name, the one for captured connections last. Those for HTTP name their workload in
/// traces, so they are its own, and made anew each time as the inbound one is.
pub fn generate(snapshot: &Snapshot, proxy: &Proxy, cache: &Cache) -> Vec<Resource> {
    let class = ManagerClass::new(proxy, snapshot, Side::SidecarOutbound);
    let client = route::client(snapshot, proxy);
    let builder = Builder {
        snapshot,
        class: &class,
        client: &client,
        template: ManagerTemplate::new(&class, &snapshot.mesh.config),
        is_ipv6: proxy.is_ipv6(),
        rules: opaque_rules(snapshot, &client),
    };
    let mut listeners = builder.services(cache);
    listeners.push(builder.captured(is_tproxy(proxy)));
    // A pod of a headless service does not call itself through its own proxy.
    let own = |name: &str| {
        let mut addresses = proxy
            .workload
            .iter()
            .flat_map(|workload| &workload.addresses);
        addresses.any(|address| {
            let rest = name.strip_prefix(&address.to_string());
            rest.is_some_and(|rest| rest.starts_with('_'))
        })
    };
    listeners.retain(|listener| !own(&listener.name));
    listeners
}

/// Whether captured connections keep their addresses.
pub fn is_tproxy(proxy: &Proxy) -> bool {
    proxy.node.metadata.interception_mode.as_deref() == Some("TPROXY")
}

/// Rules for connections that are not HTTP.
fn opaque_rules<'a>(snapshot: &'a Snapshot, client: &RouteClient) -> Vec<&'a Arc<VirtualService>> {
    snapshot
        .virtual_services
        .for_mesh(&client.namespace)
        .filter(|rule| !rule.spec.tcp.is_empty() || !rule.spec.tls.is_empty())
        .collect()
}

/// What listens on one address and port.
enum Wanted<'a> {
    /// All HTTP services of a port.
    Http { is_grpc_web: bool },
    /// A service with a declared protocol that is not HTTP.
    Opaque(&'a Service, &'a ServicePort),
    /// A service whose protocol is found out per connection.
    Sniffed(&'a Service, &'a ServicePort),
}

struct Builder<'a> {
    snapshot: &'a Snapshot,
    class: &'a ManagerClass,
    client: &'a RouteClient,
    template: ManagerTemplate,
    is_ipv6: bool,
    rules: Vec<&'a Arc<VirtualService>>,
}

impl<'a> Builder<'a> {
    fn services(&self, cache: &Cache) -> Vec<Resource> {
        let mut listeners = Vec::new();
        for ((ip, port), wanted) in self.wanted() {
            let make = || Resource::encode(name(ip, port), &self.listener(ip, port, &wanted));
            match &wanted {
                Wanted::Opaque(service, _) => {
                    let class = (self.class.has_istio_filters, self.client);
                    let slot = ("listener_opaque", ip, port, class);
                    let made = cache.get(slot, self.inputs(service, port), || vec![make()]);
                    listeners.extend_from_slice(&made);
                }
                Wanted::Http { .. } | Wanted::Sniffed(..) => listeners.push(make()),
            }
        }
        listeners.sort_by(|a, b| a.name.cmp(&b.name));
        listeners
    }

    /// Everything that the listener of a service depends on besides address and class, when it has no HTTP.
    fn inputs(&self, service: &Service, port: u16) -> impl std::hash::Hash {
        let snapshot = self.snapshot;
        let rules = match self.rules.is_empty() {
            true => 0,
            false => snapshot.virtual_services.generation,
        };
        (
            service.host.clone(),
            service.generation,
            port,
            rules,
            snapshot.destination_rules.generation,
            snapshot.mesh.generation,
        )
    }

    /// Who gets which address and port: the older service where two want the same.
    fn wanted(&self) -> BTreeMap<(IpAddr, u16), Wanted<'a>> {
        let mut wanted: BTreeMap<(IpAddr, u16), Wanted<'a>> = BTreeMap::new();
        for service in self.snapshot.services.visible(&self.client.namespace) {
            if service.is_alias() {
                continue;
            }
            for port in &service.ports {
                if port.protocol == Protocol::Udp {
                    continue;
                }
                if port.protocol.is_http() {
                    let is_grpc_web = port.protocol == Protocol::GrpcWeb;
                    let key = (wildcard(self.is_ipv6), port.port);
                    let entry = wanted.entry(key).or_insert(Wanted::Http { is_grpc_web });
                    if let Wanted::Http { is_grpc_web: known } = entry {
                        *known |= is_grpc_web;
                    }
                    continue;
                }
                for ip in self.addresses(service, port) {
                    wanted.entry((ip, port.port)).or_insert_with(|| {
                        match port.protocol.is_unsupported() {
                            true => Wanted::Sniffed(service, port),
                            false => Wanted::Opaque(service, port),
                        }
                    });
                }
            }
        }
        wanted
    }

    /// The service's own address of the proxy's family; for headless services those of all pods,
    /// ready or not, because their callers choose.
    fn addresses(&self, service: &Service, port: &ServicePort) -> Vec<IpAddr> {
        if !service.is_headless() {
            let own = service
                .addresses
                .iter()
                .find(|ip| ip.is_ipv6() == self.is_ipv6);
            return own
                .or(service.addresses.first())
                .copied()
                .into_iter()
                .collect();
        }
        let Some(endpoints) = self.snapshot.endpoints_of(service) else {
            return Vec::new();
        };
        let addresses: BTreeSet<IpAddr> = endpoints
            .port(&port.name)
            .iter()
            .map(|endpoint| endpoint.address)
            .filter(|ip| ip.is_ipv6() == self.is_ipv6)
            .collect();
        addresses.into_iter().collect()
    }

    fn listener(&self, ip: IpAddr, port: u16, wanted: &Wanted<'_>) -> Listener {
        let base = Listener {
            name: name(ip, port),
            address: message::address(ip, port),
            bind_to_port: message::boolean(false),
            traffic_direction: TrafficDirection::Outbound.into(),
            continue_on_listener_filters_timeout: true,
            listener_filters_timeout: message::duration(Duration::ZERO),
            ..Default::default()
        };
        let stat_prefix = format!("outbound_{ip}_{port};");
        match wanted {
            Wanted::Http { is_grpc_web } => Listener {
                listener_filters: vec![http_inspector(None)],
                filter_chains: vec![self.http_chain(port.to_string(), stat_prefix, *is_grpc_web)],
                default_filter_chain: Some(FilterChain {
                    name: "PassthroughFilterChain".to_owned(),
                    filter_chain_match: Some(FilterChainMatch::default()),
                    filters: self.tcp(Target::cluster(unknown_destination(self.snapshot))),
                    ..Default::default()
                }),
                ..base
            },
            Wanted::Sniffed(service, service_port) => {
                let route_name = format!("{}:{}", service.host, service_port.port);
                let chains = self.opaque_chains(service, service_port);
                let (mut rest, mut default) = (Vec::new(), None);
                for chain in chains {
                    match chain.filter_chain_match {
                        None => default = Some(chain),
                        Some(_) => rest.push(chain),
                    }
                }
                let mut filters = vec![http_inspector(None)];
                if rest.iter().any(has_server_names) {
                    filters.insert(0, tls_inspector(None));
                }
                rest.insert(0, self.http_chain(route_name, stat_prefix, false));
                Listener {
                    listener_filters: filters,
                    filter_chains: rest,
                    default_filter_chain: default,
                    ..base
                }
            }
            Wanted::Opaque(service, service_port) => {
                let filter_chains = self.opaque_chains(service, service_port);
                let needs_names = filter_chains.iter().any(has_server_names);
                Listener {
                    listener_filters: if needs_names {
                        vec![tls_inspector(None)]
                    } else {
                        Vec::new()
                    },
                    filter_chains,
                    ..base
                }
            }
        }
    }

    fn http_chain(
        &self,
        route_name: String,
        stat_prefix: String,
        is_grpc_web: bool,
    ) -> FilterChain {
        timed(FilterChain {
            filter_chain_match: Some(plain_http()),
            filters: vec![self.template.filter(Manager {
                stat_prefix,
                routes: Routes::Named(route_name),
                is_http2: false,
                is_grpc_web,
            })],
            ..Default::default()
        })
    }

    fn tcp(&self, target: Target) -> Vec<ironsail_xds::listener::Filter> {
        let filters = TcpFilters {
            side: Side::SidecarOutbound,
            has_istio_filters: self.class.has_istio_filters,
            mesh: &self.snapshot.mesh.config,
        };
        filters.chain(target)
    }

    /// Chains of the rules for a service, then the one to the service itself, unless a rule takes
    /// everything or the port is TLS and rules choose by server name.
    fn opaque_chains(&self, service: &Service, port: &ServicePort) -> Vec<FilterChain> {
        let scope = RouteScope {
            snapshot: self.snapshot,
            client: self.client,
            gateway: MESH_GATEWAY,
            listen_port: port.port,
        };
        let rules = self.rules.iter().filter(|rule| {
            let mut hosts = rule.hosts.iter();
            hosts.any(|host| ironsail_mesh::host::matches(host, &service.host))
        });
        let is_tls = matches!(port.protocol, Protocol::Https | Protocol::Tls);
        let mut seen = BTreeSet::new();
        let mut chains: Vec<RuleChain> = Vec::new();
        for rule in rules {
            if is_tls || port.protocol.is_unsupported() {
                chains.extend(tls_chains(&scope, rule, |_| true, &mut seen));
            }
            if !is_tls && !chains.iter().any(RuleChain::is_catch_all) {
                chains.extend(tcp_chains(&scope, rule));
            }
        }
        let needs_default = match is_tls {
            true => chains.is_empty(),
            false => !chains.iter().any(RuleChain::is_catch_all),
        };
        let mut chains: Vec<FilterChain> = chains
            .into_iter()
            .map(|chain| {
                let filter_chain_match = (!chain.is_catch_all()).then(|| FilterChainMatch {
                    server_names: chain.server_names,
                    prefix_ranges: chain.destinations,
                    ..Default::default()
                });
                timed(FilterChain {
                    filter_chain_match,
                    filters: self.tcp(chain.target),
                    ..Default::default()
                })
            })
            .collect();
        if needs_default {
            let cluster = ClusterName::outbound(port.port, "", &*service.host);
            chains.push(timed(FilterChain {
                filters: self.tcp(Target::service(&scope, &cluster)),
                ..Default::default()
            }));
        }
        chains
    }

    /// The listener that captured connections enter, and that handles those nothing else is for.
    fn captured(&self, is_transparent: bool) -> Resource {
        let black_hole = FilterChain {
            name: format!("{VIRTUAL_OUTBOUND}-blackhole"),
            filter_chain_match: Some(FilterChainMatch {
                destination_port: message::uint32(OUTBOUND_PORT.into()),
                ..Default::default()
            }),
            filters: self.tcp(Target::cluster(BLACK_HOLE_CLUSTER)),
            ..Default::default()
        };
        let rest = FilterChain {
            name: format!("{VIRTUAL_OUTBOUND}-catchall-tcp"),
            filters: self.tcp(Target::cluster(unknown_destination(self.snapshot))),
            ..Default::default()
        };
        let listener = Listener {
            name: VIRTUAL_OUTBOUND.to_owned(),
            address: message::address(wildcard(self.is_ipv6), OUTBOUND_PORT),
            use_original_dst: message::boolean(true),
            transparent: is_transparent.then_some(true).and_then(message::boolean),
            traffic_direction: TrafficDirection::Outbound.into(),
            max_connections_to_accept_per_socket_event: message::uint32(1),
            access_log: access_log::of_unmatched(&self.snapshot.mesh.config),
            filter_chains: vec![black_hole, rest],
            ..Default::default()
        };
        Resource::encode(VIRTUAL_OUTBOUND, &listener)
    }
}

fn has_server_names(chain: &FilterChain) -> bool {
    chain
        .filter_chain_match
        .as_ref()
        .is_some_and(|condition| !condition.server_names.is_empty())
}
