//! Filters of every chain, in the forms that proxies of the mesh expect.

use ironsail_xds::ext::filters::http::cors::v3::Cors;
use ironsail_xds::ext::filters::http::fault::v3::HttpFault;
use ironsail_xds::ext::filters::http::grpc_stats::v3::{
    FilterConfig as GrpcStats, filter_config::PerMethodStatSpecifier,
};
use ironsail_xds::ext::filters::http::router::v3::Router;
use ironsail_xds::ext::filters::network::http_connection_manager::v3::{HttpFilter, http_filter};
use ironsail_xds::ext::filters::network::tcp_proxy::v3::TcpProxy;
use ironsail_xds::istio::{
    AlpnFilterConfig, AlpnOverride, AlpnProtocol, METADATA_EXCHANGE, PEER_METADATA, PluginConfig,
    TypedStruct,
};
use ironsail_xds::ordered::{Struct, Value};
use ironsail_xds::protobuf::BoolValue;
use ironsail_xds::{Any, cluster, listener, pack};

use crate::generate::transport_socket::strings;

const METADATA_EXCHANGE_FILTER: &str = "istio.metadata_exchange";
const STATS_FILTER: &str = "istio.stats";

/// Which side of the proxy a filter works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    SidecarOutbound,
    SidecarInbound,
    Gateway,
}

pub fn network_filter(name: &str, config: Any) -> listener::Filter {
    listener::Filter {
        name: name.to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
    }
}

pub fn http_filter(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn metadata_exchange_config() -> Any {
    let value: Struct = [
        ("protocol", Value::from("istio-peer-exchange")),
        ("enable_discovery", Value::from(true)),
    ]
    .into_iter()
    .collect();
    pack(&TypedStruct {
        type_url: METADATA_EXCHANGE.to_owned(),
        value: Some(value),
    })
}

/// Exchange of peer metadata on TCP connections, inbound.
pub fn metadata_exchange() -> listener::Filter {
    network_filter(METADATA_EXCHANGE_FILTER, metadata_exchange_config())
}

/// Exchange of peer metadata on TCP connections, as a filter of clusters.
pub fn cluster_metadata_exchange() -> cluster::Filter {
    cluster::Filter {
        name: METADATA_EXCHANGE_FILTER.to_owned(),
        typed_config: Some(metadata_exchange_config()),
        ..Default::default()
    }
}

fn stats_config(side: Side) -> Any {
    pack(&PluginConfig {
        // Outbound, the Host header tells which service was meant; elsewhere callers choose it.
        disable_host_header_fallback: side != Side::SidecarOutbound,
        ..Default::default()
    })
}

/// Istio's metrics of TCP connections.
pub fn network_stats(side: Side) -> listener::Filter {
    network_filter(STATS_FILTER, stats_config(side))
}

pub fn tcp_proxy(config: &TcpProxy) -> listener::Filter {
    network_filter("envoy.filters.network.tcp_proxy", pack(config))
}

/// Peer metadata in HTTP headers.
fn peer_metadata(side: Side) -> HttpFilter {
    let (discovery, propagation) = match side {
        Side::SidecarInbound => ("downstream_discovery", "downstream_propagation"),
        Side::SidecarOutbound | Side::Gateway => ("upstream_discovery", "upstream_propagation"),
    };
    let method = |name: &str| -> Value {
        let method: Struct = [(name, Value::from(Struct::default()))]
            .into_iter()
            .collect();
        method.into()
    };
    let value: Struct = [
        (
            discovery,
            Value::from(vec![method("istio_headers"), method("workload_discovery")]),
        ),
        (propagation, Value::from(vec![method("istio_headers")])),
    ]
    .into_iter()
    .collect();
    let config = TypedStruct {
        type_url: PEER_METADATA.to_owned(),
        value: Some(value),
    };
    http_filter(METADATA_EXCHANGE_FILTER, pack(&config))
}

/// Protocols that each HTTP version offers to endpoints with mutual TLS.
fn alpn() -> HttpFilter {
    let offer = |protocol: AlpnProtocol, names: [&str; 3]| AlpnOverride {
        upstream_protocol: protocol.into(),
        alpn_override: strings(&names),
    };
    let config = AlpnFilterConfig {
        alpn_override: vec![
            offer(
                AlpnProtocol::Http10,
                ["istio-http/1.0", "istio", "http/1.0"],
            ),
            offer(
                AlpnProtocol::Http11,
                ["istio-http/1.1", "istio", "http/1.1"],
            ),
            offer(AlpnProtocol::Http2, ["istio-h2", "istio", "h2"]),
        ],
    };
    http_filter("istio.alpn", pack(&config))
}

fn grpc_stats() -> HttpFilter {
    let config = GrpcStats {
        emit_filter_state: true,
        per_method_stat_specifier: Some(PerMethodStatSpecifier::StatsForAllMethods(BoolValue {
            value: false,
        })),
        ..Default::default()
    };
    http_filter("envoy.filters.http.grpc_stats", pack(&config))
}

/// The HTTP filters of a connection manager, in their order.
pub fn http_filters(side: Side, has_istio_filters: bool, is_grpc_web: bool) -> Vec<HttpFilter> {
    use ironsail_xds::ext::filters::http::grpc_web::v3::GrpcWeb;
    let mut filters = Vec::with_capacity(8);
    if has_istio_filters {
        filters.push(peer_metadata(side));
    }
    if is_grpc_web {
        filters.push(http_filter(
            "envoy.filters.http.grpc_web",
            pack(&GrpcWeb::default()),
        ));
    }
    filters.push(grpc_stats());
    if has_istio_filters && side != Side::SidecarInbound {
        filters.push(alpn());
    }
    filters.push(http_filter(
        "envoy.filters.http.fault",
        pack(&HttpFault::default()),
    ));
    filters.push(http_filter(
        "envoy.filters.http.cors",
        pack(&Cors::default()),
    ));
    if has_istio_filters {
        filters.push(http_filter(STATS_FILTER, stats_config(side)));
    }
    filters.push(http_filter(
        "envoy.filters.http.router",
        pack(&Router::default()),
    ));
    filters
}
