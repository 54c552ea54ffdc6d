//! How a cluster speaks HTTP.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ironsail_runtime::shared::Interner;
use ironsail_xds::cluster as proto;
use ironsail_xds::ext::upstreams::http::v3::HttpProtocolOptions;
use ironsail_xds::ext::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use ironsail_xds::ext::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use ironsail_xds::ext::upstreams::tcp::v3::TcpProtocolOptions;
use ironsail_xds::{core, is_type, protobuf, unpack};

use super::{Http2Options, HttpOptions, UpstreamProtocol};
use crate::resource::parse::timeout_or;
use crate::resource::{At, CompileError, Switches};

const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Options of HTTP, from the extension or from the older fields of the cluster itself.
pub(super) fn http_options(
    cluster: &proto::Cluster,
    switches: Switches,
) -> Result<Arc<HttpOptions>, CompileError> {
    static OPTIONS: LazyLock<Interner<HttpOptions>> = LazyLock::new(Interner::default);
    let mut extension = None;
    for (name, any) in &cluster.typed_extension_protocol_options {
        let path = format!("typed_extension_protocol_options[{name:?}]");
        if is_type::<HttpProtocolOptions>(any) {
            extension = Some(unpack::<HttpProtocolOptions>(any).at(path)?);
        } else if !is_type::<TcpProtocolOptions>(any) {
            let error = CompileError::unknown_extension("protocol options", name, &any.type_url);
            return Err(error.at(path));
        }
    }
    #[allow(deprecated)]
    let older = HttpProtocolOptions {
        common_http_protocol_options: cluster.common_http_protocol_options,
        upstream_http_protocol_options: cluster.upstream_http_protocol_options.clone(),
        ..HttpProtocolOptions::default()
    };
    let options = extension.unwrap_or(older);
    if let Some(filter) = options
        .http_filters
        .iter()
        .find(|f| !f.name.ends_with("upstream_codec"))
    {
        let error = CompileError::unknown_extension("upstream HTTP filter", &filter.name, "");
        return Err(error.at("http_filters"));
    }
    let (protocol, http1, http2) = protocol(&options, cluster)?;
    let common = options.common_http_protocol_options.unwrap_or_default();
    let upstream = options.upstream_http_protocol_options.unwrap_or_default();
    #[allow(deprecated)]
    let older_max = cluster.max_requests_per_connection.as_ref();
    let max_requests = common.max_requests_per_connection.as_ref().or(older_max);
    Ok(OPTIONS.share(Arc::new(HttpOptions {
        protocol,
        idle_timeout: timeout_or(common.idle_timeout.as_ref(), DEFAULT_IDLE_TIMEOUT),
        max_requests_per_connection: max_requests.map(|max| max.value).filter(|max| *max > 0),
        max_connection_duration: timeout_or(
            common.max_connection_duration.as_ref(),
            Duration::ZERO,
        ),
        max_stream_duration: timeout_or(common.max_stream_duration.as_ref(), Duration::ZERO),
        http2: http2.map(http2_options).unwrap_or_default(),
        preserve_header_case: http1.is_some_and(|http1| preserves_case(&http1)),
        lenient_http1: switches.lenient_http1,
        auto_sni: upstream.auto_sni,
        auto_san_validation: upstream.auto_san_validation,
    })))
}

type Protocol = (
    UpstreamProtocol,
    Option<core::Http1ProtocolOptions>,
    Option<core::Http2ProtocolOptions>,
);

fn protocol(
    options: &HttpProtocolOptions,
    cluster: &proto::Cluster,
) -> Result<Protocol, CompileError> {
    use UpstreamProtocolOptions as P;
    #[allow(deprecated)]
    let (http1, http2) = (
        cluster.http_protocol_options.clone(),
        cluster.http2_protocol_options.clone(),
    );
    Ok(match &options.upstream_protocol_options {
        Some(P::ExplicitHttpConfig(config)) => match &config.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(http2)) => {
                (UpstreamProtocol::Http2, None, Some(http2.clone()))
            }
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                return Err(CompileError::new("HTTP/3 is not supported")
                    .at("explicit_http_config.http3_protocol_options"));
            }
            Some(ProtocolConfig::HttpProtocolOptions(http1)) => {
                (UpstreamProtocol::Http1, Some(http1.clone()), None)
            }
            None => (UpstreamProtocol::Http1, None, None),
        },
        Some(P::UseDownstreamProtocolConfig(config)) => (
            UpstreamProtocol::UseDownstream,
            config.http_protocol_options.clone(),
            config.http2_protocol_options.clone(),
        ),
        Some(P::AutoConfig(config)) => (
            UpstreamProtocol::Auto,
            config.http_protocol_options.clone(),
            config.http2_protocol_options.clone(),
        ),
        None if http2.is_some() => (UpstreamProtocol::Http2, None, http2),
        None => (UpstreamProtocol::Http1, http1, None),
    })
}

fn http2_options(options: core::Http2ProtocolOptions) -> Http2Options {
    let number = |value: Option<protobuf::UInt32Value>| value.map(|value| value.value);
    let keepalive = options.connection_keepalive.and_then(|keepalive| {
        let interval = keepalive.interval.as_ref().map(ironsail_xds::to_std)?;
        let timeout = keepalive.timeout.as_ref().map(ironsail_xds::to_std)?;
        Some((interval, timeout))
    });
    Http2Options {
        max_concurrent_streams: number(options.max_concurrent_streams),
        initial_stream_window: number(options.initial_stream_window_size),
        initial_connection_window: number(options.initial_connection_window_size),
        keepalive,
    }
}

fn preserves_case(options: &core::Http1ProtocolOptions) -> bool {
    use core::http1_protocol_options::header_key_format::HeaderFormat;
    let format = options.header_key_format.as_ref();
    let format = format.and_then(|format| format.header_format.as_ref());
    matches!(format, Some(HeaderFormat::StatefulFormatter(_)))
}
