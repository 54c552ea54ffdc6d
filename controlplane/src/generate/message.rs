//! Small parts that many messages share.

use std::net::IpAddr;
use std::time::Duration;

use ironsail_xds::core::{self, config_source, grpc_service, socket_address};
use ironsail_xds::protobuf::{BoolValue, UInt32Value};
use ironsail_xds::{Any, kind, matcher};

pub fn boolean(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

pub fn uint32(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub fn duration(value: Duration) -> Option<ironsail_xds::protobuf::Duration> {
    Some(ironsail_xds::duration(value))
}

pub fn percent(value: f64) -> Option<kind::Percent> {
    Some(kind::Percent { value })
}

/// A share of requests in percent, exact to a ten-thousandth; what is out of range is cut.
pub fn share(percent: f64) -> kind::FractionalPercent {
    kind::FractionalPercent {
        numerator: (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32,
        denominator: kind::fractional_percent::DenominatorType::Million.into(),
    }
}

pub fn address(ip: IpAddr, port: u16) -> Option<core::Address> {
    Some(core::Address {
        address: Some(core::address::Address::SocketAddress(socket(ip, port))),
    })
}

pub fn socket(ip: IpAddr, port: u16) -> core::SocketAddress {
    core::SocketAddress {
        address: ip.to_string(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    }
}

/// A resource that comes over the same stream; the proxy waits for it without limit.
pub fn ads_config() -> core::ConfigSource {
    core::ConfigSource {
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource::default(),
        )),
        initial_fetch_timeout: duration(Duration::ZERO),
        resource_api_version: core::ApiVersion::V3.into(),
        ..Default::default()
    }
}

/// A secret that the proxy's own agent serves.
pub fn agent_secret_config(initial_fetch_timeout: Option<Duration>) -> core::ConfigSource {
    let target = grpc_service::TargetSpecifier::EnvoyGrpc(grpc_service::EnvoyGrpc {
        cluster_name: "sds-grpc".to_owned(),
        ..Default::default()
    });
    let source = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Grpc.into(),
        transport_api_version: core::ApiVersion::V3.into(),
        set_node_on_first_message_only: true,
        grpc_services: vec![core::GrpcService {
            target_specifier: Some(target),
            ..Default::default()
        }],
        ..Default::default()
    };
    core::ConfigSource {
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::ApiConfigSource(
            source,
        )),
        initial_fetch_timeout: initial_fetch_timeout.and_then(duration),
        resource_api_version: core::ApiVersion::V3.into(),
        ..Default::default()
    }
}

pub fn transport_socket(name: &str, config: Any) -> core::TransportSocket {
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}

pub fn exact(text: impl Into<String>) -> matcher::StringMatcher {
    string_matcher(matcher::string_matcher::MatchPattern::Exact(text.into()))
}

pub fn prefix(text: impl Into<String>) -> matcher::StringMatcher {
    string_matcher(matcher::string_matcher::MatchPattern::Prefix(text.into()))
}

pub fn regex(expression: impl Into<String>) -> matcher::StringMatcher {
    let pattern = matcher::string_matcher::MatchPattern::SafeRegex(regex_matcher(expression));
    string_matcher(pattern)
}

pub fn regex_matcher(expression: impl Into<String>) -> matcher::RegexMatcher {
    matcher::RegexMatcher {
        regex: expression.into(),
        ..Default::default()
    }
}

fn string_matcher(pattern: matcher::string_matcher::MatchPattern) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(pattern),
        ..Default::default()
    }
}

/// Whether a proxy accepts a text as a header's value, or as a part of the request line.
pub fn is_header_value(text: &str) -> bool {
    !text.contains(['\0', '\r', '\n'])
}

/// Whether a proxy accepts a text as a header's name; pseudo-headers begin with a colon.
pub fn is_header_name(text: &str) -> bool {
    let name = text.strip_prefix(':').unwrap_or(text);
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(is_token)
}

/// Metadata `istio.config`: where a route comes from. One key, so its encoding is stable.
pub fn config_metadata(path: &str) -> Option<core::Metadata> {
    let text = ironsail_xds::protobuf::value::Kind::StringValue(path.to_owned());
    let fields = [(
        "config".to_owned(),
        ironsail_xds::protobuf::Value { kind: Some(text) },
    )];
    let structure = ironsail_xds::protobuf::Struct {
        fields: fields.into(),
    };
    Some(core::Metadata {
        filter_metadata: [("istio".to_owned(), structure)].into(),
        ..Default::default()
    })
}

/// Path of a configuration object, as metadata carries it.
pub fn config_path(kind: &str, namespace: &str, name: &str) -> String {
    format!("/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}")
}
