//! Compiling `Cluster` messages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ironsail_runtime::shared::shared_text;
use ironsail_xds::cluster as proto;
use ironsail_xds::core::BindConfig as BindProto;
use ironsail_xds::ext::clusters::dns::v3::DnsCluster;
use ironsail_xds::protobuf::value::Kind;
use ironsail_xds::{Any, core, is_type, istio, protobuf, unpack};
use proto::cluster::{ClusterDiscoveryType, DiscoveryType, LbConfig};

use super::http_options::http_options;
use super::load_balancing::{lb_policy, locality_weighted, panic_threshold, slow_start};
use super::{
    BindConfig, CircuitBreakers, ClusterConfig, Discovery, IstioMetadata, IstioService, Keepalive,
    OutlierDetection, dns,
};
use crate::cluster::outlier::Detector;
use crate::resource::endpoint::{self, Endpoints};
use crate::resource::intern;
use crate::resource::parse::{self, duration_or, u32_or};
use crate::resource::transport_socket::{TransportMatch, TransportPlan, TransportSocket};
use crate::resource::{At, CompileError, tls};

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_CLEANUP_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_BUFFER_LIMIT: u32 = 1 << 20;

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
