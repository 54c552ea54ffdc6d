//! Listeners of gRPC clients and servers.

use std::net::SocketAddr;

use ironsail_mesh::xds_name::ClusterName;
use ironsail_xds::core::TrafficDirection;
use ironsail_xds::ext::filters::http::fault::v3::HttpFault;
use ironsail_xds::ext::filters::http::router::v3::Router;
use ironsail_xds::ext::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use ironsail_xds::ext::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
};
use ironsail_xds::ext::transport_sockets::tls::v3::DownstreamTlsContext;
use ironsail_xds::listener::{ApiListener, FilterChain, Listener};
use ironsail_xds::pack;
use ironsail_xds::route::route::Action;
use ironsail_xds::route::{NonForwardingAction, Route, RouteConfiguration, VirtualHost};

use crate::generate::route::matcher;
use crate::generate::{Resource, filter, message, transport_socket};
use crate::model::authentication::MtlsMode;
use crate::model::proxy::Proxy;
use crate::model::service::Service;
use crate::model::snapshot::Snapshot;

const SERVER: &str = "xds.istio.io/grpc/lds/inbound/";
/// Name that libraries expect.
const MANAGER: &str = "envoy.filters.network.http_connection_manager";
/// Label of pods that accept mutual TLS from everybody.
const TLS_MODE: &str = "security.istio.io/tlsMode";

/// The listener of a name.
pub fn generate(snapshot: &Snapshot, proxy: &Proxy, name: &str) -> Option<Resource> {
    let listener = match name.strip_prefix(SERVER) {
        Some(address) => server(proxy, name, address)?,
        None => client(snapshot, proxy, name)?,
    };
    Some(Resource::encode(name, &listener))
}

/// What leads a client to a service, `host:port`.
fn client(snapshot: &Snapshot, proxy: &Proxy, name: &str) -> Option<Listener> {
    let (host, port) = name.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let service = find(snapshot, proxy, host)?;
    service.port(port)?;
    let table = ClusterName::outbound(port, "", &*service.host);
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(message::ads_config()),
            route_config_name: table.to_string(),
        })),
        http_filters: vec![fault(), router()],
        ..Default::default()
    };
    Some(Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener {
            api_listener: Some(pack(&manager)),
        }),
        ..Default::default()
    })
}

/// A service by its name in full or by one of the shorter forms that a resolver in the client's pod completes.
fn find<'a>(snapshot: &'a Snapshot, proxy: &Proxy, host: &str) -> Option<&'a Service> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let domain = &snapshot.options.cluster_domain;
    let completed = [
        host.clone(),
        format!("{host}.{}.svc.{domain}", proxy.namespace()),
        format!("{host}.svc.{domain}"),
        format!("{host}.{domain}"),
    ];
    let services = &snapshot.services;
    let mut found = completed.iter().filter_map(|host| services.get(host));
    let service = found.find(|service| services.is_visible(service, proxy.namespace()))?;
    (!service.is_alias()).then_some(service)
}

/// What a server expects on an address. A port that no Service leads to has no listener: nothing serves there.
fn server(proxy: &Proxy, name: &str, address: &str) -> Option<Listener> {
    let address: SocketAddr = address.parse().ok()?;
    let port = address.port();
    let mut targets = proxy.targets.iter();
    targets.find(|target| target.target_port == port)?;
    let inbound = ClusterName::inbound(port).to_string();
    let manager = HttpConnectionManager {
        stat_prefix: inbound.clone(),
        route_specifier: Some(RouteSpecifier::RouteConfig(accept_all(&inbound))),
        // Faults are not for servers.
        http_filters: vec![router()],
        ..Default::default()
    };
    let socket = expects_tls(proxy, port).then(|| {
        transport_socket::downstream(&DownstreamTlsContext {
            common_tls_context: Some(super::mutual_tls(Vec::new())),
            require_client_certificate: message::boolean(true),
            ..Default::default()
        })
    });
    Some(Listener {
        name: name.to_owned(),
        // Libraries compare it with theirs.
        address: message::address(address.ip(), port),
        traffic_direction: TrafficDirection::Inbound.into(),
        filter_chains: vec![FilterChain {
            name: inbound,
            filters: vec![filter::network_filter(MANAGER, pack(&manager))],
            transport_socket: socket,
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// Libraries cannot take both. Where both are allowed, the pod's label tells what its clients use.
fn expects_tls(proxy: &Proxy, port: u16) -> bool {
    match proxy.mtls.port(port) {
        MtlsMode::Strict => true,
        MtlsMode::Disable => false,
        MtlsMode::Permissive => proxy
            .labels
            .get(TLS_MODE)
            .is_some_and(|mode| mode == "istio"),
    }
}

fn accept_all(name: &str) -> RouteConfiguration {
    let route = Route {
        name: "default".to_owned(),
        r#match: Some(matcher::any()),
        action: Some(Action::NonForwardingAction(NonForwardingAction::default())),
        ..Default::default()
    };
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: name.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn fault() -> HttpFilter {
    filter::http_filter("envoy.filters.http.fault", pack(&HttpFault::default()))
}

fn router() -> HttpFilter {
    filter::http_filter("envoy.filters.http.router", pack(&Router::default()))
}
