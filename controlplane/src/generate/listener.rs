//! Listeners.

pub mod gateway;
pub mod inbound;
pub mod outbound;

use std::net::IpAddr;
use std::time::Duration;

use ironsail_mesh::xds_name::{BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER};
use ironsail_xds::ext::filters::listener::http_inspector::v3::HttpInspector;
use ironsail_xds::ext::filters::listener::tls_inspector::v3::TlsInspector;
use ironsail_xds::listener::{
    FilterChain, FilterChainMatch, ListenerFilter, ListenerFilterChainMatchPredicate,
    listener_filter,
};
use ironsail_xds::{Any, pack};

use crate::generate::{Cache, Resource, message};
use crate::model::proxy::Proxy;
use crate::model::snapshot::Snapshot;

/// Time for the TLS handshake of a captured connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Enough for the beginning of a ClientHello.
const TLS_INSPECTOR_BUFFER: u32 = 512;

/// All listeners of a proxy.
pub fn generate(snapshot: &Snapshot, proxy: &Proxy, cache: &Cache) -> Vec<Resource> {
    if proxy.is_router() {
        return gateway::generate(snapshot, proxy, cache);
    }
    let mut listeners = outbound::generate(snapshot, proxy, cache);
    listeners.push(inbound::generate(snapshot, proxy));
    listeners
}

/// Name of a listener: `0.0.0.0_9080`.
fn name(ip: IpAddr, port: u16) -> String {
    format!("{ip}_{port}")
}

/// Where connections go that no service wants.
fn unknown_destination(snapshot: &Snapshot) -> &'static str {
    match snapshot.mesh.config.is_registry_only() {
        true => BLACK_HOLE_CLUSTER,
        false => PASSTHROUGH_CLUSTER,
    }
}

/// Plaintext HTTP, as the HTTP inspector recognizes it.
fn plain_http() -> FilterChainMatch {
    FilterChainMatch {
        transport_protocol: "raw_buffer".to_owned(),
        application_protocols: vec!["http/1.1".to_owned(), "h2c".to_owned()],
        ..Default::default()
    }
}

/// A chain whose transport has to be ready in time.
fn timed(chain: FilterChain) -> FilterChain {
    FilterChain {
        transport_socket_connect_timeout: message::duration(HANDSHAKE_TIMEOUT),
        ..chain
    }
}

fn listener_filter(
    name: &str,
    config: Any,
    disabled: Option<ListenerFilterChainMatchPredicate>,
) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        filter_disabled: disabled,
    }
}

fn tls_inspector(disabled: Option<ListenerFilterChainMatchPredicate>) -> ListenerFilter {
    let config = TlsInspector {
        initial_read_buffer_size: message::uint32(TLS_INSPECTOR_BUFFER),
        ..Default::default()
    };
    listener_filter(
        "envoy.filters.listener.tls_inspector",
        pack(&config),
        disabled,
    )
}

fn http_inspector(disabled: Option<ListenerFilterChainMatchPredicate>) -> ListenerFilter {
    let config = pack(&HttpInspector::default());
    listener_filter("envoy.filters.listener.http_inspector", config, disabled)
}
