//! Compiled `HttpConnectionManager`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ironsail_xds::core::http_protocol_options::HeadersWithUnderscoresAction;
use ironsail_xds::ext::filters::network::http_connection_manager::v3 as proto;
use ironsail_xds::{core, kind, protobuf, to_std};
use proto::http_connection_manager::{
    CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
    ServerHeaderTransformation, StripPortMode,
};

use crate::access_log::AccessLog;
use crate::http::codec::h1::{H1Settings, HeadLimits, Underscores};
use crate::http::codec::h2::{H2HeadRules, H2Settings};
use crate::http::filter::Filters;
use crate::resource::{At, CompileError, Switches};
use crate::route::RouteTable;
use crate::route::matcher::Fraction;

/// Idle time of connections when nothing is configured.
const DEFAULT_IDLE: Duration = Duration::from_secs(3600);
/// Idle time of streams when nothing is configured.
const DEFAULT_STREAM_IDLE: Duration = Duration::from_secs(300);
const DEFAULT_DELAYED_CLOSE: Duration = Duration::from_secs(1);
const DEFAULT_DRAIN: Duration = Duration::from_secs(5);
const DEFAULT_SERVER_NAME: &str = "envoy";
const MAX_KB: u32 = 8192;

/// How HTTP is served on the connections of a filter chain.
#[derive(Debug)]
pub struct HttpConnectionManager {
    pub stat_prefix: Arc<str>,
    pub codec: Codec,
    pub routes: Routes,
    pub filters: Filters,
    pub h1: Arc<H1Settings>,
    pub h2: H2Settings,
    pub h2_rules: H2HeadRules,
    pub access_logs: Vec<AccessLog>,
    pub timeouts: Timeouts,
    pub max_requests_per_connection: Option<u32>,
    pub addresses: AddressPolicy,
    pub paths: PathPolicy,
    pub hosts: HostPolicy,
    pub server_header: ServerHeader,
    pub server_name: Box<str>,
    pub via: Option<Box<str>>,
    pub request_id: RequestIdPolicy,
    pub client_cert: ClientCertPolicy,
    /// Upgrades that are allowed unless a route says otherwise, lower-case.
    pub upgrades: Vec<Box<str>>,
    pub proxy_100_continue: bool,
    pub tracing: Option<Tracing>,
    pub append_forwarded_port: bool,
}

/// Which protocols clients may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// By ALPN, else by the first bytes.
    Auto,
    Http1,
    Http2,
}

/// Where the route table comes from.
#[derive(Debug)]
pub enum Routes {
    Inline(Arc<RouteTable>),
    /// Name of the table that arrives by RDS.
    Rds(Arc<str>),
}

/// Times after which something ends; `None`: never.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Connections without requests.
    pub idle: Option<Duration>,
    /// Connections, whatever they do.
    pub max_connection: Option<Duration>,
    /// Requests without progress.
    pub stream_idle: Option<Duration>,
    /// Until the whole request has arrived.
    pub request: Option<Duration>,
    /// Until the request's head has arrived.
    pub request_headers: Option<Duration>,
    /// Whole streams.
    pub max_stream: Option<Duration>,
    /// Between the announcement of a connection's end and the end.
    pub drain: Duration,
    /// For clients to read the last response before the connection is torn down.
    pub delayed_close: Duration,
}

/// Whose addresses are believed.
#[derive(Debug, Default)]
pub struct AddressPolicy {
    /// The connection's address is the client's: this proxy is the edge.
    pub use_remote_address: bool,
    /// Proxies in front that may be believed.
    pub trusted_hops: u32,
    pub skip_append: bool,
    internal: Vec<(IpAddr, u32)>,
}

/// Normalisation of paths.
#[derive(Clone, Copy, Debug)]
pub struct PathPolicy {
    pub normalize: bool,
    pub merge_slashes: bool,
    pub escaped_slashes: EscapedSlashes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapedSlashes {
    Keep,
    Reject,
    UnescapeAndRedirect,
    UnescapeAndForward,
}

/// Normalisation of hosts.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostPolicy {
    pub strip_any_port: bool,
    /// The port that was dialled.
    pub strip_matching_port: bool,
    pub strip_trailing_dot: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerHeader {
    Overwrite,
    AppendIfAbsent,
    PassThrough,
}

#[derive(Clone, Copy, Debug)]
pub struct RequestIdPolicy {
    pub generate: bool,
    pub preserve_external: bool,
    pub set_in_response: bool,
    /// Whether a request is traced is noted in its id.
    pub pack_trace_reason: bool,
    /// The id decides about sampling.
    pub use_for_sampling: bool,
}

/// What becomes of `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardClientCert {
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

#[derive(Clone, Copy, Debug)]
pub struct ClientCertPolicy {
    pub mode: ForwardClientCert,
    pub cert: bool,
    pub chain: bool,
    pub subject: bool,
    pub uri: bool,
    pub dns: bool,
}

/// Shares of requests that are marked for tracing.
#[derive(Clone, Copy, Debug)]
pub struct Tracing {
    pub client: Fraction,
    pub random: Fraction,
    pub overall: Fraction,
}

impl HttpConnectionManager {
    /// # Errors
    /// What is asked for and not there: filters, loggers, extensions; invalid values.
    pub fn compile(config: &proto::HttpConnectionManager) -> Result<Self, CompileError> {
        refuse_unsupported(config)?;
        let common = config.common_http_protocol_options.as_ref();
        let addresses = AddressPolicy::compile(config)?;
        let edge = addresses.use_remote_address;
        let limits = HeadLimits {
            max_bytes: max_head_bytes(config)?,
            max_headers: common
                .and_then(|common| common.max_headers_count.as_ref())
                .map_or(HeadLimits::default().max_headers, |max| max.value as usize),
        };
        let underscores =
            match common.map(core::HttpProtocolOptions::headers_with_underscores_action) {
                Some(HeadersWithUnderscoresAction::RejectRequest) => Underscores::Reject,
                Some(HeadersWithUnderscoresAction::DropHeader) => Underscores::Drop,
                Some(HeadersWithUnderscoresAction::Allow) | None => Underscores::Allow,
            };
        let upgrades = upgrades(config)?;
        Ok(Self {
            stat_prefix: config.stat_prefix.as_str().into(),
            codec: match config.codec_type() {
                CodecType::Auto => Codec::Auto,
                CodecType::Http1 => Codec::Http1,
                CodecType::Http2 => Codec::Http2,
                CodecType::Http3 => {
                    return Err(CompileError::new("HTTP/3 is not supported").at("codec_type"));
                }
            },
            routes: Routes::compile(config)?,
            filters: Filters::compile(&config.http_filters)?,
            h1: Arc::new(h1_settings(config, limits, underscores, edge, &upgrades)?),
            h2: h2_settings(config, &limits),
            h2_rules: H2HeadRules {
                limits,
                underscores,
                edge,
            },
            access_logs: AccessLog::compile_all(&config.access_log)?,
            timeouts: Timeouts::compile(config),
            max_requests_per_connection: common
                .and_then(|common| common.max_requests_per_connection.as_ref())
                .map(|max| max.value)
                .filter(|max| *max > 0),
            addresses,
            paths: PathPolicy::compile(config),
            hosts: HostPolicy {
                strip_any_port: matches!(
                    config.strip_port_mode,
                    Some(StripPortMode::StripAnyHostPort(true))
                ),
                strip_matching_port: config.strip_matching_host_port,
                strip_trailing_dot: config.strip_trailing_host_dot,
            },
            server_header: match config.server_header_transformation() {
                ServerHeaderTransformation::Overwrite => ServerHeader::Overwrite,
                ServerHeaderTransformation::AppendIfAbsent => ServerHeader::AppendIfAbsent,
                ServerHeaderTransformation::PassThrough => ServerHeader::PassThrough,
            },
            server_name: match config.server_name.as_str() {
                "" => DEFAULT_SERVER_NAME.into(),
                name => name.into(),
            },
            via: Some(config.via.as_str())
                .filter(|via| !via.is_empty())
                .map(Into::into),
            request_id: RequestIdPolicy::compile(config)?,
            client_cert: ClientCertPolicy::compile(config),
            upgrades,
            proxy_100_continue: config.proxy_100_continue,
            tracing: config.tracing.as_ref().map(|tracing| Tracing {
                client: percent(tracing.client_sampling.as_ref()),
                random: percent(tracing.random_sampling.as_ref()),
                overall: percent(tracing.overall_sampling.as_ref()),
            }),
            append_forwarded_port: config.append_x_forwarded_port,
        })
    }

    /// The same in a process with these switches.
    #[must_use]
    pub fn with_switches(mut self, switches: Switches) -> Self {
        Arc::make_mut(&mut self.h1).lenient = switches.lenient_http1;
        self
    }

    /// Name of the route configuration to subscribe to; `None` with an inline one.
    pub fn rds_name(&self) -> Option<&Arc<str>> {
        match &self.routes {
            Routes::Rds(name) => Some(name),
            Routes::Inline(_) => None,
        }
    }
}

/// Settings whose absence would change what is let through.
fn refuse_unsupported(config: &proto::HttpConnectionManager) -> Result<(), CompileError> {
    let unsupported = |field: &str| Err(CompileError::new("is not supported").at(field));
    if let Some(extension) = config.original_ip_detection_extensions.first() {
        return Err(
            CompileError::unknown_extension("IP detection", &extension.name, "")
                .at("original_ip_detection_extensions[0]"),
        );
    }
    if let Some(extension) = config.early_header_mutation_extensions.first() {
        return Err(
            CompileError::unknown_extension("header mutation", &extension.name, "")
                .at("early_header_mutation_extensions[0]"),
        );
    }
    if config.local_reply_config.is_some() {
        return unsupported("local_reply_config");
    }
    if config.path_normalization_options.is_some() {
        return unsupported("path_normalization_options");
    }
    if config.typed_header_validation_config.is_some() {
        return unsupported("typed_header_validation_config");
    }
    if config.forward_client_cert_matcher.is_some() {
        return unsupported("forward_client_cert_matcher");
    }
    Ok(())
}

fn max_head_bytes(config: &proto::HttpConnectionManager) -> Result<usize, CompileError> {
    let kb = config
        .max_request_headers_kb
        .as_ref()
        .map_or(60, |max| max.value);
    if kb == 0 || kb > MAX_KB {
        return Err(CompileError::new(format!("{kb} is not from 1 to {MAX_KB}"))
            .at("max_request_headers_kb"));
    }
    Ok(kb as usize * 1024)
}

fn upgrades(config: &proto::HttpConnectionManager) -> Result<Vec<Box<str>>, CompileError> {
    let mut upgrades = Vec::new();
    for (index, upgrade) in config.upgrade_configs.iter().enumerate() {
        if !upgrade.filters.is_empty() {
            return Err(CompileError::new("is not supported")
                .at("filters")
                .at(format_args!("upgrade_configs[{index}]")));
        }
        if upgrade.enabled.is_none_or(|enabled| enabled.value) {
            upgrades.push(upgrade.upgrade_type.to_ascii_lowercase().into());
        }
    }
    Ok(upgrades)
}

fn h1_settings(
    config: &proto::HttpConnectionManager,
    limits: HeadLimits,
    underscores: Underscores,
    edge: bool,
    upgrades: &[Box<str>],
) -> Result<H1Settings, CompileError> {
    use core::http1_protocol_options::header_key_format::HeaderFormat;
    let options = config.http_protocol_options.clone().unwrap_or_default();
    let format = options
        .header_key_format
        .and_then(|format| format.header_format);
    let preserve_case = match format {
        None => false,
        Some(HeaderFormat::StatefulFormatter(extension)) if is_preserve_case(&extension) => true,
        Some(HeaderFormat::StatefulFormatter(extension)) => {
            return Err(
                CompileError::unknown_extension("header formatter", &extension.name, "")
                    .at("http_protocol_options.header_key_format"),
            );
        }
        Some(HeaderFormat::ProperCaseWords(_)) => {
            return Err(CompileError::new("is not supported")
                .at("http_protocol_options.header_key_format.proper_case_words"));
        }
    };
    Ok(H1Settings {
        limits,
        accept_http_10: options.accept_http_10,
        default_host_for_http_10: Some(options.default_host_for_http_10)
            .filter(|host| !host.is_empty())
            .map(Into::into),
        enable_trailers: options.enable_trailers,
        allow_custom_methods: options.allow_custom_methods,
        allow_chunked_length: options.allow_chunked_length,
        preserve_case,
        underscores,
        edge,
        lenient: false,
        upgrades: upgrades.to_vec(),
    })
}

fn is_preserve_case(extension: &core::TypedExtensionConfig) -> bool {
    const TYPE: &str =
        "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig";
    extension
        .typed_config
        .as_ref()
        .is_some_and(|config| ironsail_xds::type_name(&config.type_url) == TYPE)
}

fn h2_settings(config: &proto::HttpConnectionManager, limits: &HeadLimits) -> H2Settings {
    let default = H2Settings::default();
    let options = config.http2_protocol_options.clone().unwrap_or_default();
    let value = |value: &Option<protobuf::UInt32Value>| value.as_ref().map(|value| value.value);
    let keepalive = options.connection_keepalive.as_ref().and_then(|keepalive| {
        Some((
            to_std(keepalive.interval.as_ref()?),
            to_std(keepalive.timeout.as_ref()?),
        ))
    });
    H2Settings {
        max_concurrent_streams: value(&options.max_concurrent_streams)
            .unwrap_or(default.max_concurrent_streams),
        stream_window: value(&options.initial_stream_window_size).unwrap_or(default.stream_window),
        connection_window: value(&options.initial_connection_window_size)
            .unwrap_or(default.connection_window),
        max_header_list: u32::try_from(limits.max_bytes).unwrap_or(u32::MAX),
        keepalive: keepalive.filter(|(interval, _)| !interval.is_zero()),
        extended_connect: options.allow_connect,
    }
}

impl Routes {
    fn compile(config: &proto::HttpConnectionManager) -> Result<Self, CompileError> {
        match &config.route_specifier {
            Some(RouteSpecifier::Rds(rds)) if !rds.route_config_name.is_empty() => {
                Ok(Routes::Rds(rds.route_config_name.as_str().into()))
            }
            Some(RouteSpecifier::Rds(_)) => {
                Err(CompileError::new("is required").at("rds.route_config_name"))
            }
            Some(RouteSpecifier::RouteConfig(table)) => Ok(Routes::Inline(Arc::new(
                RouteTable::compile(table).at("route_config")?,
            ))),
            Some(RouteSpecifier::ScopedRoutes(_)) => {
                Err(CompileError::new("is not supported").at("scoped_routes"))
            }
            None => Err(CompileError::new("names no routes")),
        }
    }
}

impl Timeouts {
    fn compile(config: &proto::HttpConnectionManager) -> Self {
        let limit = |value: &Option<protobuf::Duration>, default: Option<Duration>| match value {
            None => default,
            Some(value) => Some(to_std(value)).filter(|limit| !limit.is_zero()),
        };
        let common = config.common_http_protocol_options.unwrap_or_default();
        Self {
            idle: limit(&common.idle_timeout, Some(DEFAULT_IDLE)),
            max_connection: limit(&common.max_connection_duration, None),
            stream_idle: limit(&config.stream_idle_timeout, Some(DEFAULT_STREAM_IDLE)),
            request: limit(&config.request_timeout, None),
            request_headers: limit(&config.request_headers_timeout, None),
            max_stream: limit(&common.max_stream_duration, None),
            drain: config.drain_timeout.as_ref().map_or(DEFAULT_DRAIN, to_std),
            delayed_close: config
                .delayed_close_timeout
                .as_ref()
                .map_or(DEFAULT_DELAYED_CLOSE, to_std),
        }
    }
}

impl AddressPolicy {
    fn compile(config: &proto::HttpConnectionManager) -> Result<Self, CompileError> {
        let ranges = config
            .internal_address_config
            .iter()
            .flat_map(|internal| &internal.cidr_ranges)
            .enumerate()
            .map(|(index, range)| {
                let address: IpAddr = range.address_prefix.parse().map_err(|_| {
                    CompileError::new(format!("{:?} is not an address", range.address_prefix))
                        .at(format_args!("internal_address_config.cidr_ranges[{index}]"))
                })?;
                Ok((
                    address,
                    range.prefix_len.as_ref().map_or(0, |len| len.value),
                ))
            });
        Ok(Self {
            use_remote_address: config.use_remote_address.is_some_and(|use_it| use_it.value),
            trusted_hops: config.xff_num_trusted_hops,
            skip_append: config.skip_xff_append,
            internal: ranges.collect::<Result<_, CompileError>>()?,
        })
    }

    /// Whether an address belongs to the configured internal ranges; without any, none does.
    pub fn is_internal(&self, address: IpAddr) -> bool {
        self.internal
            .iter()
            .any(|(network, len)| contains(*network, *len, address))
    }
}

/// Whether `address` lies in the network of the first `len` bits of `network`.
fn contains(network: IpAddr, len: u32, address: IpAddr) -> bool {
    let shared = |a: u128, b: u128, width: u32| {
        let len = len.min(width);
        len == 0 || (a ^ b) >> (width - len) == 0
    };
    match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => shared(
            u128::from(u32::from(network)),
            u128::from(u32::from(address)),
            32,
        ),
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            shared(u128::from(network), u128::from(address), 128)
        }
        _ => false,
    }
}

impl PathPolicy {
    fn compile(config: &proto::HttpConnectionManager) -> Self {
        Self {
            normalize: config
                .normalize_path
                .is_some_and(|normalize| normalize.value),
            merge_slashes: config.merge_slashes,
            escaped_slashes: match config.path_with_escaped_slashes_action() {
                PathWithEscapedSlashesAction::ImplementationSpecificDefault
                | PathWithEscapedSlashesAction::KeepUnchanged => EscapedSlashes::Keep,
                PathWithEscapedSlashesAction::RejectRequest => EscapedSlashes::Reject,
                PathWithEscapedSlashesAction::UnescapeAndRedirect => {
                    EscapedSlashes::UnescapeAndRedirect
                }
                PathWithEscapedSlashesAction::UnescapeAndForward => {
                    EscapedSlashes::UnescapeAndForward
                }
            },
        }
    }
}

impl RequestIdPolicy {
    fn compile(config: &proto::HttpConnectionManager) -> Result<Self, CompileError> {
        use ironsail_xds::ext::request_id::uuid::v3::UuidRequestIdConfig;
        let extension = config
            .request_id_extension
            .as_ref()
            .and_then(|extension| extension.typed_config.as_ref());
        let uuid: UuidRequestIdConfig = match extension {
            Some(extension) => {
                ironsail_xds::unpack(extension).at("request_id_extension.typed_config")?
            }
            None => UuidRequestIdConfig::default(),
        };
        let flag = |value: &Option<protobuf::BoolValue>| value.is_none_or(|value| value.value);
        Ok(Self {
            generate: flag(&config.generate_request_id),
            preserve_external: config.preserve_external_request_id,
            set_in_response: config.always_set_request_id_in_response,
            pack_trace_reason: flag(&uuid.pack_trace_reason),
            use_for_sampling: flag(&uuid.use_request_id_for_trace_sampling),
        })
    }
}

impl ClientCertPolicy {
    fn compile(config: &proto::HttpConnectionManager) -> Self {
        let details = config.set_current_client_cert_details.unwrap_or_default();
        Self {
            mode: match config.forward_client_cert_details() {
                ForwardClientCertDetails::Sanitize => ForwardClientCert::Sanitize,
                ForwardClientCertDetails::ForwardOnly => ForwardClientCert::ForwardOnly,
                ForwardClientCertDetails::AppendForward => ForwardClientCert::AppendForward,
                ForwardClientCertDetails::SanitizeSet => ForwardClientCert::SanitizeSet,
                ForwardClientCertDetails::AlwaysForwardOnly => ForwardClientCert::AlwaysForwardOnly,
            },
            cert: details.cert,
            chain: details.chain,
            subject: details.subject.is_some_and(|subject| subject.value),
            uri: details.uri,
            dns: details.dns,
        }
    }
}

/// All requests when nothing is given.
fn percent(percent: Option<&kind::Percent>) -> Fraction {
    match percent {
        None => Fraction::ALL,
        Some(percent) => Fraction::of_percent(percent.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let check = |network: &str, len, address: &str| {
            contains(
                network.parse().expect("an address"),
                len,
                address.parse().expect("an address"),
            )
        };
        assert!(check("10.0.0.0", 8, "10.1.2.3") && !check("10.0.0.0", 8, "11.0.0.1"));
        assert!(check("0.0.0.0", 0, "1.2.3.4") && !check("0.0.0.0", 0, "::1"));
        assert!(check("fd00::", 8, "fd12::1") && check("10.0.0.0", 8, "::ffff:10.0.0.1"));
    }

    #[test]
    fn defaults_are_envoys() {
        let hcm = HttpConnectionManager::compile(&proto::HttpConnectionManager {
            route_specifier: Some(RouteSpecifier::RouteConfig(Default::default())),
            http_filters: crate::http::filter::testing::router_only(),
            ..Default::default()
        })
        .expect("valid");
        assert_eq!(&*hcm.server_name, "envoy");
        assert_eq!(hcm.h1.limits.max_bytes, 60 * 1024);
        assert_eq!(hcm.timeouts.idle, Some(DEFAULT_IDLE));
        assert_eq!(hcm.timeouts.request, None);
        assert!(hcm.request_id.generate && hcm.request_id.pack_trace_reason);
        assert!(
            !hcm.addresses
                .is_internal("10.0.0.1".parse().expect("an address"))
        );
        assert!(hcm.rds_name().is_none());
    }
}
