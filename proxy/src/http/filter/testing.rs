//! Filter lists for unit tests.

use ironsail_xds::ext::filters::http::router::v3::Router;
use ironsail_xds::ext::filters::network::http_connection_manager::v3 as proto;
use ironsail_xds::{Any, pack};

/// A filter with a packed configuration.
pub fn filter(name: &str, config: Any) -> proto::HttpFilter {
    proto::HttpFilter {
        name: name.to_owned(),
        config_type: Some(proto::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

/// The shortest valid list.
pub fn router_only() -> Vec<proto::HttpFilter> {
    vec![filter(
        "envoy.filters.http.router",
        pack(&Router::default()),
    )]
}
