//! The listener for calls to a sidecar's application: chains by port, by what the port speaks, and
//! by what its policy accepts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ironsail_mesh::port::Protocol;
use ironsail_mesh::xds_name::{
    BLACK_HOLE_CLUSTER, ClusterName, INBOUND_PASSTHROUGH_CLUSTER, VIRTUAL_INBOUND,
};
use ironsail_xds::core::TrafficDirection;
use ironsail_xds::ext::filters::listener::original_dst::v3::OriginalDst;
use ironsail_xds::ext::filters::listener::original_src::v3::OriginalSrc;
use ironsail_xds::kind::Int32Range;
use ironsail_xds::listener::listener_filter_chain_match_predicate::{MatchSet, Rule};
use ironsail_xds::listener::{
    FilterChain, FilterChainMatch, Listener, ListenerFilter, ListenerFilterChainMatchPredicate,
};
use ironsail_xds::pack;
use ironsail_xds::route::route::Action;
use ironsail_xds::route::route_action::{ClusterSpecifier, MaxStreamDuration};
use ironsail_xds::route::{
    Decorator, RetryPolicy, Route, RouteAction, RouteConfiguration, VirtualHost,
};

use crate::generate::connection_manager::{Manager, ManagerClass, ManagerTemplate, Routes};
use crate::generate::filter::{self, Side};
use crate::generate::gateway::wildcard;
use crate::generate::listener::outbound::is_tproxy;
use crate::generate::listener::{http_inspector, listener_filter, plain_http, tls_inspector};
use crate::generate::route::matcher;
use crate::generate::tcp::{Target, TcpFilters};
use crate::generate::transport_socket::{self, Inside, PEER_EXCHANGE, strings};
use crate::generate::{Resource, access_log, message};
use crate::model::authentication::MtlsMode;
use crate::model::mesh::Mesh;
use crate::model::proxy::{Proxy, ServiceTarget};
use crate::model::snapshot::Snapshot;

/// Port that captured inbound connections are redirected to.
const INBOUND_PORT: u16 = 15006;
/// Mark that connections to the application carry under TPROXY, so that they are not captured again.
const TPROXY_MARK: u32 = 1337;
/// Protocols that proxies of the mesh offer for HTTP.
const MESH_HTTP: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// Everything that proxies of the mesh offer.
const MESH_ANY: [&str; 5] = [
    "istio",
    "istio-peer-exchange",
    "istio-http/1.0",
    "istio-http/1.1",
    "istio-h2",
];
/// Protocols of plaintext that the HTTP inspector recognizes.
const PLAIN_HTTP: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// The inbound listener. It is its workload's own and made anew each time: kept for every workload, listeners would be most
/// of what a control plane holds.
pub fn generate(snapshot: &Snapshot, proxy: &Proxy) -> Resource {
    let class = ManagerClass::new(proxy, snapshot, Side::SidecarInbound);
    let builder = Builder {
        mesh: &snapshot.mesh,
        class: &class,
        template: ManagerTemplate::new(&class, &snapshot.mesh.config),
        is_ipv6: proxy.is_ipv6(),
    };
    let ports = ports(&proxy.targets);
    Resource::encode(VIRTUAL_INBOUND, &builder.listener(proxy, &ports))
}

/// Ports of the pod and the oldest service that leads to each.
fn ports(targets: &[ServiceTarget]) -> BTreeMap<u16, &ServiceTarget> {
    let mut ports = BTreeMap::new();
    for target in targets {
        if target.port.protocol != Protocol::Udp {
            ports.entry(target.target_port).or_insert(target);
        }
    }
    ports
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http,
    Tcp,
    /// Found out per connection.
    Either,
}

/// One chain of a port: what it takes, and how it goes on.
struct ChainKind {
    transport: &'static str,
    alpn: Vec<String>,
    /// Ends mutual TLS.
    ends_tls: bool,
    inside: Inside,
}

impl ChainKind {
    fn tls(alpn: &[&str], inside: Inside) -> Self {
        Self {
            transport: "tls",
            alpn: strings(alpn),
            ends_tls: true,
            inside,
        }
    }

    /// TLS of the application, which is passed on as it is.
    fn foreign_tls() -> Self {
        Self {
            ends_tls: false,
            ..Self::tls(&[], Inside::Tcp)
        }
    }

    fn plain(inside: Inside) -> Self {
        Self {
            transport: "raw_buffer",
            alpn: Vec::new(),
            ends_tls: false,
            inside,
        }
    }

    fn plain_http() -> Self {
        Self {
            alpn: plain_http().application_protocols,
            ..Self::plain(Inside::Http)
        }
    }
}

/// The chains of a port in their order.
fn chain_kinds(speaks: Speaks, mode: MtlsMode) -> Vec<ChainKind> {
    use Inside::{Http, Tcp};
    match (mode, speaks) {
        (MtlsMode::Permissive, Speaks::Http) => {
            vec![ChainKind::tls(&MESH_ANY, Http), ChainKind::plain(Http)]
        }
        (MtlsMode::Permissive, Speaks::Tcp) => vec![
            ChainKind::tls(&MESH_ANY, Tcp),
            ChainKind::foreign_tls(),
            ChainKind::plain(Tcp),
        ],
        (MtlsMode::Permissive, Speaks::Either) => vec![
            ChainKind::tls(&MESH_HTTP, Http),
            ChainKind::plain_http(),
            ChainKind::tls(&PEER_EXCHANGE, Tcp),
            ChainKind::plain(Tcp),
            ChainKind::foreign_tls(),
        ],
        (MtlsMode::Strict, Speaks::Http) => vec![ChainKind::tls(&[], Http)],
        (MtlsMode::Strict, Speaks::Tcp) => vec![ChainKind::tls(&[], Tcp)],
        (MtlsMode::Strict, Speaks::Either) => {
            vec![ChainKind::tls(&MESH_HTTP, Http), ChainKind::tls(&[], Tcp)]
        }
        (MtlsMode::Disable, Speaks::Http) => vec![ChainKind::plain(Http)],
        (MtlsMode::Disable, Speaks::Tcp) => vec![ChainKind::plain(Tcp)],
        (MtlsMode::Disable, Speaks::Either) => vec![ChainKind::plain_http(), ChainKind::plain(Tcp)],
    }
}

/// What a set of chains leads to.
struct Destination {
    /// Port of the match; `None` is every other port.
    port: Option<u16>,
    cluster: String,
    /// Service by which spans and virtual hosts are named; empty for unknown ports.
    host: String,
    service_port: u16,
    stat_prefix: String,
    protocol: Protocol,
    http_name: String,
    tcp_name: String,
}

impl Destination {
    fn of_target(port: u16, target: &ServiceTarget, is_ipv6: bool) -> Self {
        let address = wildcard(is_ipv6);
        Self {
            port: Some(port),
            cluster: ClusterName::inbound(port).to_string(),
            host: target.service.host.to_string(),
            service_port: target.port.port,
            stat_prefix: format!("inbound_{address}_{port};"),
            protocol: target.port.protocol,
            http_name: format!("{address}_{port}"),
            tcp_name: format!("{address}_{port}"),
        }
    }

    fn unknown(port: Option<u16>) -> Self {
        Self {
            port,
            cluster: INBOUND_PASSTHROUGH_CLUSTER.to_owned(),
            host: String::new(),
            service_port: 0,
            stat_prefix: format!("{INBOUND_PASSTHROUGH_CLUSTER};"),
            protocol: Protocol::Unsupported,
            http_name: format!("{VIRTUAL_INBOUND}-catchall-http"),
            tcp_name: VIRTUAL_INBOUND.to_owned(),
        }
    }

    fn speaks(&self) -> Speaks {
        if self.protocol.is_http() {
            Speaks::Http
        } else if self.protocol.is_unsupported() {
            Speaks::Either
        } else {
            Speaks::Tcp
        }
    }
}

struct Builder<'a> {
    mesh: &'a Mesh,
    class: &'a ManagerClass,
    template: ManagerTemplate,
    is_ipv6: bool,
}

impl Builder<'_> {
    fn listener(&self, proxy: &Proxy, ports: &BTreeMap<u16, &ServiceTarget>) -> Listener {
        let mut chains = vec![self.black_hole()];
        chains.extend(self.chains(&Destination::unknown(None), proxy.mtls.default));
        // Ports that only a policy names have its mode too.
        for (port, mode) in &proxy.mtls.ports {
            if !ports.contains_key(port) && *mode != proxy.mtls.default {
                chains.extend(self.chains(&Destination::unknown(Some(*port)), *mode));
            }
        }
        for (port, target) in ports {
            let destination = Destination::of_target(*port, target, self.is_ipv6);
            chains.extend(self.chains(&destination, proxy.mtls.port(*port)));
        }
        let is_transparent = is_tproxy(proxy);
        let mut filters = vec![listener_filter(
            "envoy.filters.listener.original_dst",
            pack(&OriginalDst::default()),
            None,
        )];
        if is_transparent {
            let config = OriginalSrc {
                mark: TPROXY_MARK,
                ..Default::default()
            };
            filters.push(listener_filter(
                "envoy.filters.listener.original_src",
                pack(&config),
                None,
            ));
        }
        filters.extend(inspectors(&chains));
        Listener {
            name: VIRTUAL_INBOUND.to_owned(),
            address: message::address(wildcard(self.is_ipv6), INBOUND_PORT),
            transparent: is_transparent.then_some(true).and_then(message::boolean),
            traffic_direction: TrafficDirection::Inbound.into(),
            continue_on_listener_filters_timeout: true,
            listener_filters_timeout: message::duration(Duration::ZERO),
            max_connections_to_accept_per_socket_event: message::uint32(1),
            access_log: access_log::of_unmatched(&self.mesh.config),
            listener_filters: filters,
            filter_chains: chains,
            ..Default::default()
        }
    }

    /// Connections to the capture port itself would loop.
    fn black_hole(&self) -> FilterChain {
        FilterChain {
            name: format!("{VIRTUAL_INBOUND}-blackhole"),
            filter_chain_match: Some(FilterChainMatch {
                destination_port: message::uint32(INBOUND_PORT.into()),
                ..Default::default()
            }),
            filters: self.tcp_filters(BLACK_HOLE_CLUSTER),
            ..Default::default()
        }
    }

    fn chains(&self, destination: &Destination, mode: MtlsMode) -> Vec<FilterChain> {
        let kinds = chain_kinds(destination.speaks(), mode);
        kinds
            .into_iter()
            .map(|kind| self.chain(destination, kind))
            .collect()
    }

    fn chain(&self, destination: &Destination, kind: ChainKind) -> FilterChain {
        let filters = match kind.inside {
            Inside::Http => self.http_filters(destination),
            Inside::Tcp => self.tcp_filters(&destination.cluster),
        };
        let name = match kind.inside {
            Inside::Http => &destination.http_name,
            Inside::Tcp => &destination.tcp_name,
        };
        let socket = kind.ends_tls.then(|| {
            let context = transport_socket::mutual_downstream(
                self.mesh.trust_domains(),
                kind.inside,
                self.class.has_istio_filters,
            );
            transport_socket::downstream(&context)
        });
        FilterChain {
            name: name.clone(),
            filter_chain_match: Some(FilterChainMatch {
                destination_port: destination
                    .port
                    .and_then(|port| message::uint32(port.into())),
                transport_protocol: kind.transport.to_owned(),
                application_protocols: kind.alpn,
                ..Default::default()
            }),
            filters,
            transport_socket: socket,
            ..Default::default()
        }
    }

    fn tcp_filters(&self, cluster: &str) -> Vec<ironsail_xds::listener::Filter> {
        let filters = TcpFilters {
            side: Side::SidecarInbound,
            has_istio_filters: self.class.has_istio_filters,
            mesh: &self.mesh.config,
        };
        filters.chain(Target::cluster(cluster))
    }

    fn http_filters(&self, destination: &Destination) -> Vec<ironsail_xds::listener::Filter> {
        let mut filters = Vec::with_capacity(2);
        if self.class.has_istio_filters {
            filters.push(filter::metadata_exchange());
        }
        filters.push(self.template.filter(Manager {
            stat_prefix: destination.stat_prefix.clone(),
            routes: Routes::Inline(Box::new(inline_routes(destination))),
            is_http2: destination.protocol.is_http2(),
            is_grpc_web: destination.protocol == Protocol::GrpcWeb,
        }));
        filters
    }
}

/// The table of one port: everything to the application, retried only where it cannot have seen
/// the request.
fn inline_routes(destination: &Destination) -> RouteConfiguration {
    let is_grpc = matches!(destination.protocol, Protocol::Grpc | Protocol::GrpcWeb);
    let retry_policy = (!is_grpc).then(|| RetryPolicy {
        retry_on: "reset-before-request".to_owned(),
        num_retries: message::uint32(2),
        ..Default::default()
    });
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(destination.cluster.clone())),
        timeout: message::duration(Duration::ZERO),
        max_stream_duration: Some(MaxStreamDuration {
            max_stream_duration: message::duration(Duration::ZERO),
            grpc_timeout_header_max: message::duration(Duration::ZERO),
            ..Default::default()
        }),
        retry_policy,
        ..Default::default()
    };
    let route = Route {
        name: "default".to_owned(),
        r#match: Some(matcher::any()),
        decorator: Some(Decorator {
            operation: format!("{}:{}/*", destination.host, destination.service_port),
            ..Default::default()
        }),
        action: Some(Action::Route(action)),
        ..Default::default()
    };
    RouteConfiguration {
        name: destination.cluster.clone(),
        validate_clusters: message::boolean(false),
        virtual_hosts: vec![VirtualHost {
            name: format!("inbound|http|{}", destination.service_port),
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The inspectors that the chains need, switched off on the ports that need none: a server that
/// speaks first must not wait for them.
fn inspectors(chains: &[FilterChain]) -> Vec<ListenerFilter> {
    let needs_tls = |condition: &FilterChainMatch| condition.transport_protocol == "tls";
    let needs_http = |condition: &FilterChainMatch| {
        let mut protocols = condition.application_protocols.iter();
        protocols.any(|protocol| PLAIN_HTTP.contains(&protocol.as_str()))
    };
    let tls = Inspected::new(chains, needs_tls);
    let http = Inspected::new(chains, needs_http);
    let mut filters = Vec::new();
    if tls.is_needed() {
        filters.push(tls_inspector(tls.disabled()));
    }
    if http.is_needed() {
        filters.push(http_inspector(http.disabled()));
    }
    filters
}

/// On which ports an inspector is needed.
struct Inspected {
    by_default: bool,
    needed: BTreeSet<u16>,
    others: BTreeSet<u16>,
}

impl Inspected {
    fn new(chains: &[FilterChain], is_needed: impl Fn(&FilterChainMatch) -> bool) -> Self {
        let mut inspected = Self {
            by_default: false,
            needed: BTreeSet::new(),
            others: BTreeSet::new(),
        };
        for condition in chains
            .iter()
            .filter_map(|chain| chain.filter_chain_match.as_ref())
        {
            let is_needed = is_needed(condition);
            let port = condition
                .destination_port
                .and_then(|port| u16::try_from(port.value).ok());
            match port {
                None => inspected.by_default |= is_needed,
                Some(port) if is_needed => {
                    inspected.needed.insert(port);
                }
                Some(port) => {
                    inspected.others.insert(port);
                }
            }
        }
        inspected.others = &inspected.others - &inspected.needed;
        inspected
    }

    fn is_needed(&self) -> bool {
        self.by_default || !self.needed.is_empty()
    }

    fn disabled(&self) -> Option<ListenerFilterChainMatchPredicate> {
        match self.by_default {
            true => any_port(&self.others),
            false => {
                any_port(&self.needed).map(|needed| predicate(Rule::NotMatch(Box::new(needed))))
            }
        }
    }
}

fn predicate(rule: Rule) -> ListenerFilterChainMatchPredicate {
    ListenerFilterChainMatchPredicate { rule: Some(rule) }
}

fn any_port(ports: &BTreeSet<u16>) -> Option<ListenerFilterChainMatchPredicate> {
    let mut rules: Vec<_> = ports
        .iter()
        .map(|port| {
            predicate(Rule::DestinationPortRange(Int32Range {
                start: i32::from(*port),
                end: i32::from(*port) + 1,
            }))
        })
        .collect();
    match rules.len() {
        0 | 1 => rules.pop(),
        _ => Some(predicate(Rule::OrMatch(MatchSet { rules }))),
    }
}
