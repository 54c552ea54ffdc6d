//! The configuration that all proxies get: one listener that routes by host and path, one cluster.

use ironsail_xds::cluster::Cluster;
use ironsail_xds::cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
use ironsail_xds::core::{self, TrafficDirection, address, socket_address};
use ironsail_xds::endpoint::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use ironsail_xds::ext::filters::http::router::v3::Router;
use ironsail_xds::ext::filters::network::http_connection_manager::v3 as hcm;
use ironsail_xds::istio::PluginConfig;
use ironsail_xds::listener::{Filter, FilterChain, Listener, filter};
use ironsail_xds::route::{self, route_action, route_match};
use ironsail_xds::{Any, bootstrap, duration, pack};
use std::time::Duration;

use crate::mesh::Named;

/// Host that load generators ask for.
pub const HOST: &str = "reviews.default.svc.cluster.local";
/// Path that load generators ask for.
pub const PATH: &str = "/reviews/0";
/// Services of the route table; each has a virtual host, as in a sidecar's.
const SERVICES: [&str; 20] = [
    "adservice",
    "cartservice",
    "catalog",
    "checkout",
    "currency",
    "details",
    "email",
    "frontend",
    "gateway",
    "inventory",
    "orders",
    "payment",
    "productpage",
    "ratings",
    "recommendation",
    "reviews",
    "search",
    "shipping",
    "users",
    "zipkin",
];
const CLUSTER: &str = "outbound|9080||reviews.default.svc.cluster.local";

/// Listener and cluster of one run.
pub struct Config {
    pub port: u16,
    pub backend: u16,
}

impl Config {
    /// As a sidecar gets it: with Istio's metrics.
    pub fn resources(&self) -> Vec<Named> {
        let stats = http_filter("istio.stats", pack(&PluginConfig::default()));
        let listener = self.listener(vec![stats, router()]);
        vec![
            Named {
                name: CLUSTER.to_owned(),
                body: pack(&self.cluster()),
            },
            Named {
                name: listener.name.clone(),
                body: pack(&listener),
            },
        ]
    }

    /// The same for Envoy, which lacks the filter of Istio's metrics: with the router only.
    pub fn bootstrap(&self) -> bootstrap::Bootstrap {
        bootstrap::Bootstrap {
            static_resources: Some(bootstrap::bootstrap::StaticResources {
                listeners: vec![self.listener(vec![router()])],
                clusters: vec![self.cluster()],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn listener(&self, filters: Vec<hcm::HttpFilter>) -> Listener {
        let manager = hcm::HttpConnectionManager {
            stat_prefix: "outbound_0.0.0.0_9080".to_owned(),
            http_filters: filters,
            route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(
                routes(),
            )),
            ..Default::default()
        };
        Listener {
            name: "0.0.0.0_9080".to_owned(),
            address: Some(address(self.port)),
            traffic_direction: TrafficDirection::Outbound.into(),
            filter_chains: vec![FilterChain {
                filters: vec![Filter {
                    name: "envoy.filters.network.http_connection_manager".to_owned(),
                    config_type: Some(filter::ConfigType::TypedConfig(pack(&manager))),
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn cluster(&self) -> Cluster {
        cluster(CLUSTER, self.backend)
    }
}

/// A cluster with one endpoint on loopback.
pub fn cluster(name: &str, port: u16) -> Cluster {
    let endpoint = LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
            address: Some(address(port)),
            ..Default::default()
        })),
        ..Default::default()
    };
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        connect_timeout: Some(duration(Duration::from_secs(10))),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![endpoint],
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// One virtual host per service, each with two routes.
fn routes() -> route::RouteConfiguration {
    let virtual_host = |service: &&str| route::VirtualHost {
        name: format!("{service}.default.svc.cluster.local:9080"),
        domains: ["", ".default", ".default.svc", ".default.svc.cluster.local"]
            .map(|suffix| format!("{service}{suffix}"))
            .into(),
        routes: vec![
            to_cluster(route_match::PathSpecifier::Path("/healthz".to_owned())),
            to_cluster(route_match::PathSpecifier::Prefix("/".to_owned())),
        ],
        ..Default::default()
    };
    route::RouteConfiguration {
        name: "9080".to_owned(),
        virtual_hosts: SERVICES.iter().map(virtual_host).collect(),
        ..Default::default()
    }
}

fn to_cluster(path: route_match::PathSpecifier) -> route::Route {
    route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(path),
            ..Default::default()
        }),
        action: Some(route::route::Action::Route(route::RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(CLUSTER.to_owned())),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn router() -> hcm::HttpFilter {
    http_filter("envoy.filters.http.router", pack(&Router::default()))
}

fn http_filter(name: &str, config: Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

/// An address of loopback; port 0 is any.
pub fn address(port: u16) -> core::Address {
    core::Address {
        address: Some(address::Address::SocketAddress(core::SocketAddress {
            address: "127.0.0.1".to_owned(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
            ..Default::default()
        })),
    }
}
