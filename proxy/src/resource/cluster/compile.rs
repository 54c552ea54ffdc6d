//! Compiling `Cluster` messages.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ironsail_runtime::shared::{Interner, shared_text};
use ironsail_xds::cluster as proto;
use ironsail_xds::core::BindConfig as BindProto;
use ironsail_xds::ext::clusters::dns::v3::DnsCluster;
use ironsail_xds::ext::load_balancing_policies as lb;
use ironsail_xds::ext::upstreams::http::v3::HttpProtocolOptions;
use ironsail_xds::ext::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use ironsail_xds::ext::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use ironsail_xds::ext::upstreams::tcp::v3::TcpProtocolOptions;
use ironsail_xds::protobuf::value::Kind;
use ironsail_xds::{Any, core, is_type, istio, protobuf, unpack};
use proto::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy as LbProto,
    common_lb_config::LocalityConfigSpecifier,
};

use super::{
    BindConfig, CircuitBreakers, ClusterConfig, Discovery, Hashing, Http2Options, HttpOptions,
    IstioMetadata, IstioService, Keepalive, LbPolicy, OutlierDetection, SlowStart,
    UpstreamProtocol, dns,
};
use crate::cluster::outlier::Detector;
use crate::resource::endpoint::{self, Endpoints};
use crate::resource::intern;
use crate::resource::parse::{self, duration_or, timeout_or, u32_or};
use crate::resource::transport_socket::{TransportMatch, TransportPlan, TransportSocket};
use crate::resource::{At, CompileError, tls};

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_CLEANUP_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
const DEFAULT_BUFFER_LIMIT: u32 = 1 << 20;
const DEFAULT_PANIC_THRESHOLD: f64 = 50.0;

impl ClusterConfig {
    /// Compiles a decoded cluster; `hash` is that of its encoding.
    ///
    /// # Errors
    /// Unknown types, policies and extensions, invalid values.
    pub fn compile(
        cluster: &proto::Cluster,
        hash: u128,
        interner: &mut intern::Interner,
    ) -> Result<Self, CompileError> {
        if cluster.name.is_empty() {
            return Err(CompileError::new("is empty").at("name"));
        }
        let name = shared_text(&cluster.name);
        let mut discovery = discovery(cluster)?;
        let lb_policy = lb_policy(cluster, &discovery)?;
        if let Discovery::StrictDns(config) | Discovery::LogicalDns(config) = &mut discovery
            && lb_policy.hashing().by_hostname
        {
            config.hash_by_hostname();
        }
        warn_about_absent_features(cluster);
        Ok(Self {
            stat_name: stat_name(cluster),
            name,
            connect_timeout: duration_or(cluster.connect_timeout.as_ref(), DEFAULT_CONNECT_TIMEOUT),
            cleanup_interval: duration_or(
                cluster.cleanup_interval.as_ref(),
                DEFAULT_CLEANUP_INTERVAL,
            ),
            lb_policy,
            breakers: CircuitBreakers::compile(cluster),
            http: http_options(cluster, interner.switches)?,
            transport: transport(cluster, interner)?,
            metadata_exchange: metadata_exchange(cluster)?,
            bind: bind(cluster.upstream_bind_config.as_ref()).at("upstream_bind_config")?,
            istio: istio_metadata(cluster.metadata.as_ref()),
            locality_weighted: locality_weighted(cluster),
            panic_threshold: panic_threshold(cluster),
            slow_start: slow_start(cluster)?,
            outlier: cluster.outlier_detection.as_ref().map(|config| {
                let config = OutlierDetection::compile(config);
                Arc::new(Detector::new(config))
            }),
            tcp_keepalive: keepalive(cluster),
            buffer_limit: buffer_limit(cluster.per_connection_buffer_limit_bytes.as_ref()),
            discovery,
            hash,
        })
    }
}

/// Bytes of a soft buffer limit.
pub(crate) fn buffer_limit(limit: Option<&protobuf::UInt32Value>) -> usize {
    usize::try_from(u32_or(limit, DEFAULT_BUFFER_LIMIT)).unwrap_or(usize::MAX)
}

fn stat_name(cluster: &proto::Cluster) -> Arc<str> {
    let name = cluster.alt_stat_name.trim_end_matches(';');
    let name = if name.is_empty() { &cluster.name } else { name };
    shared_text(name)
}

fn warn_about_absent_features(cluster: &proto::Cluster) {
    let absent = [
        ("health_checks", !cluster.health_checks.is_empty()),
        ("lb_subset_config", cluster.lb_subset_config.is_some()),
        ("preconnect_policy", cluster.preconnect_policy.is_some()),
    ];
    for (field, _) in absent.iter().filter(|(_, present)| *present) {
        tracing::warn!(cluster = %cluster.name, field, "Cluster asks for what this proxy does not do");
    }
}

fn discovery(cluster: &proto::Cluster) -> Result<Discovery, CompileError> {
    let kind = match &cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            return custom_discovery(cluster, custom).at("cluster_type");
        }
        Some(ClusterDiscoveryType::Type(kind)) => *kind,
        None => DiscoveryType::Static as i32,
    };
    let kind = DiscoveryType::try_from(kind)
        .map_err(|_| CompileError::new(format!("{kind} is unknown")).at("type"))?;
    Ok(match kind {
        DiscoveryType::Eds => Discovery::Eds {
            service_name: eds_name(cluster),
        },
        DiscoveryType::Static => {
            let assignment = cluster.load_assignment.as_ref();
            let endpoints = assignment.map(Endpoints::compile).transpose();
            Discovery::Static(Arc::new(
                endpoints.at("load_assignment")?.unwrap_or_default(),
            ))
        }
        DiscoveryType::StrictDns => dns::strict(cluster)?,
        DiscoveryType::LogicalDns => dns::logical(cluster)?,
        DiscoveryType::OriginalDst => original_dst(cluster)?,
    })
}

fn custom_discovery(
    cluster: &proto::Cluster,
    custom: &proto::cluster::CustomClusterType,
) -> Result<Discovery, CompileError> {
    match &custom.typed_config {
        Some(any) if is_type::<DnsCluster>(any) => dns::extension(cluster, &unpack(any)?),
        any => {
            let type_url = any.as_ref().map(|any| any.type_url.as_str());
            Err(CompileError::unknown_extension(
                "cluster type",
                &custom.name,
                type_url.unwrap_or_default(),
            ))
        }
    }
}

fn eds_name(cluster: &proto::Cluster) -> Arc<str> {
    let config = cluster.eds_cluster_config.as_ref();
    let name = config.map(|config| config.service_name.as_str());
    shared_text(
        name.filter(|name| !name.is_empty())
            .unwrap_or(&cluster.name),
    )
}

fn original_dst(cluster: &proto::Cluster) -> Result<Discovery, CompileError> {
    let Some(LbConfig::OriginalDstLbConfig(config)) = &cluster.lb_config else {
        return Ok(Discovery::OriginalDst { port: None });
    };
    if config.use_http_header || config.metadata_key.is_some() {
        return Err(
            CompileError::new("destinations from headers or metadata are not supported")
                .at("original_dst_lb_config"),
        );
    }
    let port = config.upstream_port_override.as_ref();
    let port = port.map(|port| parse::port_number(port.value)).transpose();
    Ok(Discovery::OriginalDst {
        port: port.at("original_dst_lb_config.upstream_port_override")?,
    })
}

fn lb_policy(cluster: &proto::Cluster, discovery: &Discovery) -> Result<LbPolicy, CompileError> {
    if matches!(discovery, Discovery::OriginalDst { .. }) {
        return Ok(LbPolicy::ClusterProvided);
    }
    if let Some(policy) = &cluster.load_balancing_policy {
        return extension_policy(policy).at("load_balancing_policy");
    }
    let policy = LbProto::try_from(cluster.lb_policy);
    Ok(match (policy, &cluster.lb_config) {
        (Ok(LbProto::RoundRobin), _) => LbPolicy::RoundRobin,
        (Ok(LbProto::Random), _) => LbPolicy::Random,
        (Ok(LbProto::LeastRequest), Some(LbConfig::LeastRequestLbConfig(config))) => {
            let bias = config.active_request_bias.as_ref();
            least_request(config.choice_count.as_ref(), bias)
        }
        (Ok(LbProto::LeastRequest), _) => least_request(None, None),
        (Ok(LbProto::RingHash), Some(LbConfig::RingHashLbConfig(config))) => {
            use proto::cluster::ring_hash_lb_config::HashFunction;
            if config.hash_function != HashFunction::XxHash as i32 {
                return Err(CompileError::new("only XX_HASH is supported")
                    .at("ring_hash_lb_config.hash_function"));
            }
            ring_hash(
                config.minimum_ring_size.as_ref(),
                config.maximum_ring_size.as_ref(),
                common_hashing(cluster, discovery)?,
            )
        }
        (Ok(LbProto::RingHash), _) => ring_hash(None, None, common_hashing(cluster, discovery)?),
        (Ok(LbProto::Maglev), Some(LbConfig::MaglevLbConfig(config))) => {
            let hashing = common_hashing(cluster, discovery)?;
            maglev(config.table_size.as_ref(), hashing).at("maglev_lb_config.table_size")?
        }
        (Ok(LbProto::Maglev), _) => maglev(None, common_hashing(cluster, discovery)?)?,
        (Ok(other), _) => {
            let message = format!("{} is not supported", other.as_str_name());
            return Err(CompileError::new(message).at("lb_policy"));
        }
        (Err(_), _) => {
            let message = format!("{} is unknown", cluster.lb_policy);
            return Err(CompileError::new(message).at("lb_policy"));
        }
    })
}

/// The first policy of the list that is supported.
fn extension_policy(policy: &proto::LoadBalancingPolicy) -> Result<LbPolicy, CompileError> {
    let configs = policy.policies.iter().filter_map(|policy| {
        policy
            .typed_extension_config
            .as_ref()?
            .typed_config
            .as_ref()
    });
    for any in configs.clone() {
        if let Some(policy) = known_policy(any)? {
            return Ok(policy);
        }
    }
    let names: Vec<_> = configs
        .map(|any| ironsail_xds::type_name(&any.type_url))
        .collect();
    Err(CompileError::new(format!("none of {names:?} is supported")))
}

fn known_policy(any: &Any) -> Result<Option<LbPolicy>, CompileError> {
    Ok(if is_type::<lb::round_robin::v3::RoundRobin>(any) {
        Some(LbPolicy::RoundRobin)
    } else if is_type::<lb::random::v3::Random>(any) {
        Some(LbPolicy::Random)
    } else if is_type::<lb::least_request::v3::LeastRequest>(any) {
        let config: lb::least_request::v3::LeastRequest = unpack(any)?;
        let bias = config.active_request_bias.as_ref();
        Some(least_request(config.choice_count.as_ref(), bias))
    } else if is_type::<lb::maglev::v3::Maglev>(any) {
        let config: lb::maglev::v3::Maglev = unpack(any)?;
        let hashing = extension_hashing(config.consistent_hashing_lb_config.as_ref())?;
        Some(maglev(config.table_size.as_ref(), hashing)?)
    } else if is_type::<lb::ring_hash::v3::RingHash>(any) {
        let config: lb::ring_hash::v3::RingHash = unpack(any)?;
        Some(ring_hash(
            config.minimum_ring_size.as_ref(),
            config.maximum_ring_size.as_ref(),
            ring_hashing(&config)?,
        ))
    } else if is_type::<lb::wrr_locality::v3::WrrLocality>(any) {
        let config: lb::wrr_locality::v3::WrrLocality = unpack(any)?;
        let inner = config.endpoint_picking_policy.as_ref();
        inner.map(extension_policy).transpose()?
    } else {
        None
    })
}

fn least_request(
    choices: Option<&protobuf::UInt32Value>,
    bias: Option<&core::RuntimeDouble>,
) -> LbPolicy {
    let bias = bias.map_or(1.0, |bias| bias.default_value);
    LbPolicy::LeastRequest {
        choices: u32_or(choices, 2).max(2),
        active_request_bias: if bias.is_finite() && bias >= 0.0 {
            bias
        } else {
            1.0
        },
    }
}

fn common_hashing(
    cluster: &proto::Cluster,
    discovery: &Discovery,
) -> Result<Hashing, CompileError> {
    const FIELD: &str = "common_lb_config.consistent_hashing_lb_config";
    let common = cluster.common_lb_config.as_ref();
    let config = common.and_then(|common| common.consistent_hashing_lb_config.as_ref());
    let Some(config) = config else {
        return Ok(Hashing::default());
    };
    let by_hostname = config.use_hostname_for_hashing;
    let has_names = matches!(
        discovery,
        Discovery::StrictDns(_) | Discovery::LogicalDns(_)
    );
    if by_hostname && !has_names {
        let error = CompileError::new("is for clusters of type STRICT_DNS and LOGICAL_DNS");
        return Err(error.at("use_hostname_for_hashing").at(FIELD));
    }
    hashing(by_hostname, config.hash_balance_factor.as_ref()).at(FIELD)
}

fn extension_hashing(
    config: Option<&lb::common::v3::ConsistentHashingLbConfig>,
) -> Result<Hashing, CompileError> {
    match config {
        Some(config) => hashing(
            config.use_hostname_for_hashing,
            config.hash_balance_factor.as_ref(),
        )
        .at("consistent_hashing_lb_config"),
        None => Ok(Hashing::default()),
    }
}

/// As in the other places, or in fields of its own that were there before.
#[allow(deprecated)]
fn ring_hashing(config: &lb::ring_hash::v3::RingHash) -> Result<Hashing, CompileError> {
    match &config.consistent_hashing_lb_config {
        Some(common) => extension_hashing(Some(common)),
        None => hashing(
            config.use_hostname_for_hashing,
            config.hash_balance_factor.as_ref(),
        ),
    }
}

fn hashing(
    by_hostname: bool,
    balance_factor: Option<&protobuf::UInt32Value>,
) -> Result<Hashing, CompileError> {
    match balance_factor.map(|factor| factor.value) {
        Some(factor @ ..100) => {
            Err(CompileError::new(format!("{factor} is below 100")).at("hash_balance_factor"))
        }
        factor => Ok(Hashing {
            by_hostname,
            balance_factor: factor.unwrap_or(0),
        }),
    }
}

fn ring_hash(
    min: Option<&protobuf::UInt64Value>,
    max: Option<&protobuf::UInt64Value>,
    hashing: Hashing,
) -> LbPolicy {
    /// Entries of a ring at most, as in Envoy.
    const LIMIT: u64 = 8 << 20;
    let max = max.map_or(LIMIT, |size| size.value.clamp(1, LIMIT));
    let min = min.map_or(1024, |size| size.value).clamp(1, max);
    let size = |size| usize::try_from(size).unwrap_or(usize::MAX);
    LbPolicy::RingHash {
        min: size(min),
        max: size(max),
        hashing,
    }
}

fn maglev(
    size: Option<&protobuf::UInt64Value>,
    hashing: Hashing,
) -> Result<LbPolicy, CompileError> {
    /// Largest table, as in Envoy.
    const LIMIT: u64 = 5_000_011;
    let size = size.map_or(65_537, |size| size.value);
    let is_prime = size >= 2
        && (2..)
            .take_while(|n| n * n <= size)
            .all(|n| !size.is_multiple_of(n));
    if size > LIMIT || !is_prime {
        return Err(CompileError::new(format!(
            "{size} is no prime up to {LIMIT}"
        )));
    }
    Ok(LbPolicy::Maglev {
        size: usize::try_from(size).unwrap_or(usize::MAX),
        hashing,
    })
}

/// Whole percent, as Envoy compares it.
fn panic_threshold(cluster: &proto::Cluster) -> u32 {
    let common = cluster.common_lb_config.as_ref();
    let percent = common.and_then(|common| common.healthy_panic_threshold.as_ref());
    let percent = percent.map_or(DEFAULT_PANIC_THRESHOLD, |percent| percent.value);
    percent.clamp(0.0, 100.0).floor() as u32
}

fn slow_start(cluster: &proto::Cluster) -> Result<Option<SlowStart>, CompileError> {
    let config = match (cluster.lb_policy, &cluster.lb_config) {
        (_, Some(LbConfig::RoundRobinLbConfig(config))) => config.slow_start_config.as_ref(),
        (_, Some(LbConfig::LeastRequestLbConfig(config))) => config.slow_start_config.as_ref(),
        _ => None,
    };
    let window = config.and_then(|config| config.slow_start_window.as_ref());
    let window = window
        .map(ironsail_xds::to_std)
        .filter(|window| !window.is_zero());
    let (Some(config), Some(window)) = (config, window) else {
        return Ok(None);
    };
    let aggression = config
        .aggression
        .as_ref()
        .map_or(1.0, |value| value.default_value);
    if !(aggression.is_finite() && aggression > 0.0) {
        return Err(CompileError::new(format!("{aggression} is not above 0"))
            .at("slow_start_config.aggression"));
    }
    let min = config
        .min_weight_percent
        .as_ref()
        .map_or(10.0, |percent| percent.value);
    Ok(Some(SlowStart {
        window,
        aggression,
        min_weight_percent: if min.is_finite() {
            min.clamp(0.0, 100.0)
        } else {
            10.0
        },
    }))
}

fn locality_weighted(cluster: &proto::Cluster) -> bool {
    let common = cluster.common_lb_config.as_ref();
    let specifier = common.and_then(|common| common.locality_config_specifier.as_ref());
    let wrr = cluster.load_balancing_policy.iter().any(|policy| {
        policy.policies.iter().any(|policy| {
            let config = policy.typed_extension_config.as_ref();
            let any = config.and_then(|config| config.typed_config.as_ref());
            any.is_some_and(is_type::<lb::wrr_locality::v3::WrrLocality>)
        })
    });
    wrr || matches!(
        specifier,
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
    )
}

fn transport(
    cluster: &proto::Cluster,
    interner: &mut intern::Interner,
) -> Result<TransportPlan, CompileError> {
    if cluster.transport_socket_matcher.is_some() {
        return Err(CompileError::new("is not supported").at("transport_socket_matcher"));
    }
    let mut matches = Vec::with_capacity(cluster.transport_socket_matches.len());
    for (index, entry) in cluster.transport_socket_matches.iter().enumerate() {
        let socket = match &entry.transport_socket {
            Some(socket) => tls::upstream_socket(socket, interner)
                .at(format_args!("transport_socket_matches[{index}]"))?,
            None => TransportSocket::RAW,
        };
        let mut criteria = entry
            .r#match
            .as_ref()
            .map(endpoint::string_pairs)
            .unwrap_or_default();
        if entry
            .r#match
            .as_ref()
            .is_some_and(|fields| fields.fields.len() != criteria.len())
        {
            return Err(CompileError::new("only strings can be matched")
                .at(format_args!("transport_socket_matches[{index}].match")));
        }
        criteria.sort();
        matches.push(TransportMatch {
            name: shared_text(&entry.name),
            criteria,
            socket,
        });
    }
    let default = match &cluster.transport_socket {
        Some(socket) => tls::upstream_socket(socket, interner)?,
        None => TransportSocket::RAW,
    };
    Ok(TransportPlan { matches, default })
}

fn metadata_exchange(cluster: &proto::Cluster) -> Result<bool, CompileError> {
    let mut found = false;
    for (index, filter) in cluster.filters.iter().enumerate() {
        let config = filter.typed_config.as_ref();
        let known = config.is_some_and(is_metadata_exchange);
        if !known {
            let type_url = config.map(|any| any.type_url.as_str()).unwrap_or_default();
            let error =
                CompileError::unknown_extension("upstream network filter", &filter.name, type_url);
            return Err(error.at(format_args!("filters[{index}]")));
        }
        found = true;
    }
    Ok(found)
}

/// Whether a filter configuration is that of TCP metadata exchange, wrapped in a typed struct or not.
pub(crate) fn is_metadata_exchange(any: &Any) -> bool {
    let wanted = ironsail_xds::type_name(istio::METADATA_EXCHANGE);
    if ironsail_xds::type_name(&any.type_url) == wanted {
        return true;
    }
    typed_struct(any).is_some_and(|inner| ironsail_xds::type_name(&inner.type_url) == wanted)
}

/// Opens a typed struct of either name.
pub(crate) fn typed_struct(any: &Any) -> Option<istio::TypedStruct> {
    let name = ironsail_xds::type_name(&any.type_url);
    let known = matches!(name, "udpa.type.v1.TypedStruct" | "xds.type.v3.TypedStruct");
    let decoded = known.then(|| prost::Message::decode(any.value.as_slice()));
    decoded?.ok()
}

fn bind(config: Option<&BindProto>) -> Result<BindConfig, CompileError> {
    let mut bind = BindConfig::default();
    let Some(config) = config else {
        return Ok(bind);
    };
    let extra = config.extra_source_addresses.iter();
    let extra = extra.filter_map(|extra| extra.address.as_ref());
    for address in config.source_address.iter().chain(extra) {
        let ip = parse::ip(&address.address)?;
        let slot = match SocketAddr::new(ip, 0) {
            SocketAddr::V4(_) => &mut bind.v4,
            SocketAddr::V6(_) => &mut bind.v6,
        };
        slot.get_or_insert(ip);
    }
    Ok(bind)
}

fn istio_metadata(metadata: Option<&core::Metadata>) -> IstioMetadata {
    let Some(fields) = parse::filter_metadata(metadata, "istio") else {
        return IstioMetadata {
            alpn_override: true,
            ..IstioMetadata::default()
        };
    };
    let text = |key| parse::string_field(fields, key).map(Arc::from);
    let services = match fields.fields.get("services").and_then(|v| v.kind.as_ref()) {
        Some(Kind::ListValue(list)) => list.values.iter().filter_map(service).collect(),
        _ => Vec::new(),
    };
    IstioMetadata {
        services,
        subset: text("subset"),
        config: text("config"),
        alpn_override: parse::string_field(fields, "alpn_override") != Some("false"),
    }
}

fn service(value: &protobuf::Value) -> Option<IstioService> {
    let Some(Kind::StructValue(fields)) = &value.kind else {
        return None;
    };
    let text = |key| shared_text(parse::string_field(fields, key).unwrap_or_default());
    Some(IstioService {
        host: text("host"),
        name: text("name"),
        namespace: text("namespace"),
    })
}

fn keepalive(cluster: &proto::Cluster) -> Option<Keepalive> {
    let options = cluster.upstream_connection_options.as_ref()?;
    let config = options.tcp_keepalive.as_ref()?;
    let seconds = |value: Option<&protobuf::UInt32Value>| {
        value.map(|value| Duration::from_secs(u64::from(value.value)))
    };
    Some(Keepalive {
        time: seconds(config.keepalive_time.as_ref()),
        interval: seconds(config.keepalive_interval.as_ref()),
        probes: config.keepalive_probes.map(|probes| probes.value),
    })
}

/// Options of HTTP, from the extension or from the older fields of the cluster itself.
fn http_options(
    cluster: &proto::Cluster,
    switches: intern::Switches,
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
