//! Resources of a proxy that does a bit of everything; they are the seeds of their own targets, too.

use ironsail_xds::cluster::Cluster;
use ironsail_xds::core::{self, TrafficDirection, address, data_source, socket_address};
use ironsail_xds::endpoint::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use ironsail_xds::ext::access_loggers::file::v3 as file;
use ironsail_xds::ext::filters::http::{
    buffer::v3 as buffer, fault::v3 as fault, router::v3::Router,
};
use ironsail_xds::ext::filters::network::http_connection_manager::v3 as hcm;
use ironsail_xds::ext::transport_sockets::tls::v3 as tls;
use ironsail_xds::listener::{Filter, FilterChain, Listener, filter};
use ironsail_xds::{Any, accesslog, matcher, pack, protobuf, route};

const NAME: &str = "origin";
const BUFFER: &str = "envoy.filters.http.buffer";

pub fn cluster() -> (&'static str, Cluster) {
    let cluster = Cluster {
        name: NAME.to_owned(),
        load_assignment: Some(endpoints().1),
        ..Default::default()
    };
    (NAME, cluster)
}

pub fn endpoints() -> (&'static str, ClusterLoadAssignment) {
    let endpoint = LbEndpoint {
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
            address: Some(address("10.0.0.2", 8080)),
            ..Default::default()
        })),
        ..Default::default()
    };
    let assignment = ClusterLoadAssignment {
        cluster_name: NAME.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            ..Default::default()
        }],
        ..Default::default()
    };
    (NAME, assignment)
}

pub fn listener() -> (&'static str, Listener) {
    let yes = Some(protobuf::BoolValue { value: true });
    let upgrade = hcm::http_connection_manager::UpgradeConfig {
        upgrade_type: "websocket".to_owned(),
        ..Default::default()
    };
    let manager = hcm::HttpConnectionManager {
        stat_prefix: NAME.to_owned(),
        normalize_path: yes,
        merge_slashes: true,
        access_log: vec![access_log()],
        upgrade_configs: vec![upgrade],
        http_filters: vec![
            http_filter(
                "envoy.filters.http.fault",
                pack(&fault::HttpFault::default()),
            ),
            http_filter(BUFFER, pack(&buffer_limit(1 << 20))),
            http_filter("envoy.filters.http.router", pack(&Router::default())),
        ],
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(
            routes().1,
        )),
        ..Default::default()
    };
    let listener = Listener {
        name: NAME.to_owned(),
        address: Some(address("10.0.0.1", 80)),
        traffic_direction: TrafficDirection::Inbound.into(),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "envoy.filters.network.http_connection_manager".to_owned(),
                config_type: Some(filter::ConfigType::TypedConfig(pack(&manager))),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    (NAME, listener)
}

pub fn routes() -> (&'static str, route::RouteConfiguration) {
    use buffer::buffer_per_route::Override;
    use route::route_match::PathSpecifier;
    let forward = || {
        route::route::Action::Route(route::RouteAction {
            cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
                NAME.to_owned(),
            )),
            timeout: Some(protobuf::Duration {
                seconds: 1,
                nanos: 0,
            }),
            retry_policy: Some(route::RetryPolicy {
                retry_on: "5xx,reset".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        })
    };
    let one = |path: PathSpecifier, action| route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(path),
            ..Default::default()
        }),
        action: Some(action),
        ..Default::default()
    };
    let redirect = route::route::Action::Redirect(route::RedirectAction {
        host_redirect: "b".to_owned(),
        ..Default::default()
    });
    let regex = matcher::RegexMatcher {
        regex: "/r[0-9]+/.*".to_owned(),
        ..Default::default()
    };
    let buffers = |choice| {
        let config = buffer::BufferPerRoute {
            r#override: Some(choice),
        };
        [(BUFFER.to_owned(), pack(&config))].into()
    };
    let waits = route::Route {
        typed_per_filter_config: buffers(Override::Buffer(buffer_limit(10))),
        ..one(PathSpecifier::SafeRegex(regex), forward())
    };
    let table = route::RouteConfiguration {
        name: NAME.to_owned(),
        virtual_hosts: vec![route::VirtualHost {
            name: "all".to_owned(),
            domains: vec!["*".to_owned()],
            typed_per_filter_config: buffers(Override::Disabled(true)),
            routes: vec![
                one(PathSpecifier::Path("/redirect".to_owned()), redirect),
                waits,
                one(PathSpecifier::Prefix("/".to_owned()), forward()),
            ],
            ..Default::default()
        }],
        ..Default::default()
    };
    (NAME, table)
}

pub fn secret() -> (&'static str, tls::Secret) {
    let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).expect("randomness");
    let secret = tls::Secret {
        name: NAME.to_owned(),
        r#type: Some(tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: Some(inline(&made.cert.pem())),
            private_key: Some(inline(&made.signing_key.serialize_pem())),
            ..Default::default()
        })),
    };
    (NAME, secret)
}

fn access_log() -> accesslog::AccessLog {
    let file = file::FileAccessLog {
        path: "/dev/null".to_owned(),
        access_log_format: None,
    };
    accesslog::AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(pack(&file))),
        ..Default::default()
    }
}

fn buffer_limit(max: u32) -> buffer::Buffer {
    buffer::Buffer {
        max_request_bytes: Some(protobuf::UInt32Value { value: max }),
    }
}

fn http_filter(name: &str, config: Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn inline(text: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(data_source::Specifier::InlineString(text.to_owned())),
        ..Default::default()
    }
}

fn address(ip: &str, port: u32) -> core::Address {
    core::Address {
        address: Some(address::Address::SocketAddress(core::SocketAddress {
            address: ip.to_owned(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port)),
            ..Default::default()
        })),
    }
}
