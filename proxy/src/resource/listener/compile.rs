//! Compiling `Listener` messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ironsail_xds::core::TrafficDirection as DirectionProto;
use ironsail_xds::ext::filters::listener as listener_ext;
use ironsail_xds::ext::filters::network::http_connection_manager::v3::HttpConnectionManager as HcmProto;
use ironsail_xds::ext::filters::network::tcp_proxy::v3::TcpProxy;
use ironsail_xds::listener as proto;
use ironsail_xds::{Any, is_type, istio, protobuf, unpack};
use proto::listener_filter_chain_match_predicate::Rule;
use proto::{filter, listener_filter};

use super::{
    DestinationPredicate, FilterChain, ListenerConfig, ListenerFilter, ListenerFilterKind,
    OriginalSrc, ProxyProtocol, SocketOptions, Terminal, TrafficDirection,
};
use crate::access_log::AccessLog;
use crate::filter_chain::{FilterChainMatch, Matcher};
use crate::http::HttpConnectionManager;
use crate::network::tcp_proxy::TcpProxyConfig;
use crate::resource::cluster::Keepalive;
use crate::resource::cluster::compile::{buffer_limit, is_metadata_exchange};
use crate::resource::intern::Interner;
use crate::resource::parse::{self, bool_or, content_hash, duration_or, timeout_or, u32_or};
use crate::resource::{At, CompileError, tls};
use crate::stats::IstioStats;

const DEFAULT_FILTERS_TIMEOUT: Duration = Duration::from_secs(15);
/// Envoy has none; a handshake that never ends would hold its connection for ever.
const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_CLIENT_HELLO: u32 = 65_535;

/// Field numbers of `Listener.filter_chains` and `Listener.default_filter_chain`.
const FILTER_CHAINS: u32 = 3;
const DEFAULT_FILTER_CHAIN: u32 = 25;

impl ListenerConfig {
    /// Compiles an encoded listener, taking over chains of `old` whose encoding is the same.
    ///
    /// # Errors
    /// Unknown filters, invalid values, chains with equal matches.
    pub fn compile(
        body: &[u8],
        old: Option<&ListenerConfig>,
        interner: &mut Interner,
    ) -> Result<Self, CompileError> {
        let listener: proto::Listener = prost::Message::decode(body)
            .map_err(|error: prost::DecodeError| CompileError::new(error.to_string()))?;
        refuse_unsupported(&listener)?;
        let hashes = Hashes::of(body)?;
        let addresses = addresses(&listener)?;
        let filters = listener_filters(&listener)?;
        let direction = direction(listener.traffic_direction);
        let mut compiler = ChainCompiler {
            direction,
            known: old
                .map(|old| old.all_chains().map(|chain| (chain.hash, chain)).collect())
                .unwrap_or_default(),
            interner,
        };
        let mut chains = Vec::with_capacity(listener.filter_chains.len());
        let mut matches = Vec::with_capacity(listener.filter_chains.len());
        for (index, chain) in listener.filter_chains.iter().enumerate() {
            let hash = hashes.chains.get(index).copied().unwrap_or_default();
            let path = format!("filter_chains[{index}]");
            let criteria = chain.filter_chain_match.as_ref();
            matches.push(
                FilterChainMatch::compile(criteria)
                    .at("filter_chain_match")
                    .at(&path)?,
            );
            chains.push(compiler.compile(chain, hash).at(&path)?);
        }
        let default_chain = listener
            .default_filter_chain
            .as_ref()
            .map(|chain| compiler.compile(chain, hashes.default))
            .transpose()
            .at("default_filter_chain")?;
        Ok(Self {
            name: listener.name.as_str().into(),
            stat_name: stat_name(&listener, &addresses),
            addresses,
            direction,
            bind_to_port: bool_or(listener.bind_to_port.as_ref(), true),
            use_original_dst: bool_or(listener.use_original_dst.as_ref(), false),
            socket: socket_options(&listener),
            filters: filters.filters,
            proxy_protocol: filters.proxy_protocol,
            original_src: filters.original_src,
            filters_timeout: timeout_or(
                listener.listener_filters_timeout.as_ref(),
                DEFAULT_FILTERS_TIMEOUT,
            ),
            continue_on_timeout: listener.continue_on_listener_filters_timeout,
            chains,
            matcher: Matcher::build(&matches).at("filter_chains")?,
            default_chain,
            access_log: access_logs(&listener.access_log).at("access_log")?,
            buffer_limit: buffer_limit(listener.per_connection_buffer_limit_bytes.as_ref()),
            hash: content_hash(body),
            base_hash: hashes.base,
        })
    }
}

/// Content hashes of a listener's parts, of the bytes as they came.
struct Hashes {
    chains: Vec<u128>,
    default: u128,
    base: u128,
}

impl Hashes {
    fn of(body: &[u8]) -> Result<Self, CompileError> {
        let mut hashes = Self {
            chains: Vec::new(),
            default: 0,
            base: 0,
        };
        let mut base = Vec::new();
        for (tag, bytes) in parse::wire_fields(body)? {
            match tag {
                FILTER_CHAINS => hashes.chains.push(content_hash(bytes)),
                DEFAULT_FILTER_CHAIN => hashes.default = content_hash(bytes),
                _ => {
                    base.extend_from_slice(&tag.to_le_bytes());
                    base.extend_from_slice(&content_hash(bytes).to_le_bytes());
                }
            }
        }
        hashes.base = content_hash(&base);
        Ok(hashes)
    }
}

fn refuse_unsupported(listener: &proto::Listener) -> Result<(), CompileError> {
    let unsupported = [
        (
            "filter_chain_matcher",
            listener.filter_chain_matcher.is_some(),
        ),
        ("fcds_config", listener.fcds_config.is_some()),
        (
            "udp_listener_config",
            listener.udp_listener_config.is_some(),
        ),
        ("api_listener", listener.api_listener.is_some()),
        ("listener_specifier", listener.listener_specifier.is_some()),
    ];
    match unsupported.into_iter().find(|(_, present)| *present) {
        Some((field, _)) => Err(CompileError::new("is not supported").at(field)),
        None => Ok(()),
    }
}

fn direction(direction: i32) -> TrafficDirection {
    match DirectionProto::try_from(direction) {
        Ok(DirectionProto::Inbound) => TrafficDirection::Inbound,
        Ok(DirectionProto::Outbound) => TrafficDirection::Outbound,
        _ => TrafficDirection::Unspecified,
    }
}

fn stat_name(listener: &proto::Listener, addresses: &[std::net::SocketAddr]) -> Arc<str> {
    if !listener.stat_prefix.is_empty() {
        return listener.stat_prefix.as_str().into();
    }
    let address = addresses.first().map(ToString::to_string);
    address.unwrap_or_default().replace(':', "_").into()
}

fn addresses(listener: &proto::Listener) -> Result<Vec<std::net::SocketAddr>, CompileError> {
    let mut all = vec![parse::socket_addr(listener.address.as_ref()).at("address")?];
    for (index, additional) in listener.additional_addresses.iter().enumerate() {
        let address = parse::socket_addr(additional.address.as_ref());
        all.push(address.at(format_args!("additional_addresses[{index}]"))?);
    }
    Ok(all)
}

fn socket_options(listener: &proto::Listener) -> SocketOptions {
    let seconds = |value: Option<&protobuf::UInt32Value>| {
        value.map(|value| Duration::from_secs(u64::from(value.value)))
    };
    let keepalive = listener.tcp_keepalive.as_ref().map(|config| Keepalive {
        time: seconds(config.keepalive_time.as_ref()),
        interval: seconds(config.keepalive_interval.as_ref()),
        probes: config.keepalive_probes.map(|probes| probes.value),
    });
    SocketOptions {
        transparent: bool_or(listener.transparent.as_ref(), false),
        freebind: bool_or(listener.freebind.as_ref(), false),
        backlog: listener.tcp_backlog_size.map(|size| size.value),
        keepalive,
    }
}

/// Listener filters by what they do: find out, or take away.
#[derive(Default)]
struct ListenerFilters {
    filters: Vec<ListenerFilter>,
    proxy_protocol: Option<(ProxyProtocol, Option<DestinationPredicate>)>,
    original_src: Option<OriginalSrc>,
}

fn listener_filters(listener: &proto::Listener) -> Result<ListenerFilters, CompileError> {
    let mut filters = ListenerFilters::default();
    for (index, filter) in listener.listener_filters.iter().enumerate() {
        let path = format!("listener_filters[{index}]");
        let disabled = filter.filter_disabled.as_ref().map(predicate).transpose();
        let disabled = disabled.at("filter_disabled").at(&path)?;
        if let Some(config) = proxy_protocol(filter).at(&path)? {
            filters.proxy_protocol = Some((config, disabled));
        } else if let Some(config) = original_src(filter).at(&path)? {
            filters.original_src = Some(config);
        } else {
            let kind = listener_filter(filter).at(&path)?;
            filters.filters.push(ListenerFilter { kind, disabled });
        }
    }
    Ok(filters)
}

fn proxy_protocol(filter: &proto::ListenerFilter) -> Result<Option<ProxyProtocol>, CompileError> {
    use ironsail_xds::core::proxy_protocol_config::Version;
    use listener_ext::proxy_protocol::v3::ProxyProtocol as Proto;
    let Some(listener_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        return Ok(None);
    };
    if !is_type::<Proto>(any) {
        return Ok(None);
    }
    let config: Proto = unpack(any)?;
    let allowed = |version: Version| !config.disallowed_versions.contains(&version.into());
    Ok(Some(ProxyProtocol {
        optional: config.allow_requests_without_proxy_protocol,
        v1: allowed(Version::V1),
        v2: allowed(Version::V2),
    }))
}

fn original_src(filter: &proto::ListenerFilter) -> Result<Option<OriginalSrc>, CompileError> {
    use listener_ext::original_src::v3::OriginalSrc as Proto;
    let Some(listener_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        return Ok(None);
    };
    if !is_type::<Proto>(any) {
        return Ok(None);
    }
    let config: Proto = unpack(any)?;
    Ok(Some(OriginalSrc {
        bind_port: config.bind_port,
        mark: config.mark,
    }))
}

fn listener_filter(filter: &proto::ListenerFilter) -> Result<ListenerFilterKind, CompileError> {
    let Some(listener_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        return Err(CompileError::new("typed_config is missing"));
    };
    if is_type::<listener_ext::original_dst::v3::OriginalDst>(any) {
        Ok(ListenerFilterKind::OriginalDst)
    } else if is_type::<listener_ext::tls_inspector::v3::TlsInspector>(any) {
        let config: listener_ext::tls_inspector::v3::TlsInspector = unpack(any)?;
        let max = u32_or(config.max_client_hello_size.as_ref(), MAX_CLIENT_HELLO);
        Ok(ListenerFilterKind::TlsInspector {
            max_hello: usize::try_from(max.min(MAX_CLIENT_HELLO)).unwrap_or(usize::MAX),
        })
    } else if is_type::<listener_ext::http_inspector::v3::HttpInspector>(any) {
        Ok(ListenerFilterKind::HttpInspector)
    } else {
        Err(CompileError::unknown_extension(
            "listener filter",
            &filter.name,
            &any.type_url,
        ))
    }
}

fn predicate(
    predicate: &proto::ListenerFilterChainMatchPredicate,
) -> Result<DestinationPredicate, CompileError> {
    let all = |rules: &[proto::ListenerFilterChainMatchPredicate]| {
        rules
            .iter()
            .map(self::predicate)
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(match &predicate.rule {
        Some(Rule::AnyMatch(true)) => DestinationPredicate::Any,
        Some(Rule::AnyMatch(false)) => {
            DestinationPredicate::Not(Box::new(DestinationPredicate::Any))
        }
        Some(Rule::OrMatch(set)) => DestinationPredicate::AnyOf(all(&set.rules)?),
        Some(Rule::AndMatch(set)) => DestinationPredicate::All(all(&set.rules)?),
        Some(Rule::NotMatch(rule)) => DestinationPredicate::Not(Box::new(self::predicate(rule)?)),
        Some(Rule::DestinationPortRange(range)) => {
            DestinationPredicate::PortRange(range.start, range.end)
        }
        None => return Err(CompileError::new("rule is missing")),
    })
}

pub(crate) fn access_logs(
    logs: &[ironsail_xds::accesslog::AccessLog],
) -> Result<Vec<AccessLog>, CompileError> {
    logs.iter()
        .enumerate()
        .map(|(index, log)| AccessLog::compile(log).at(format_args!("[{index}]")))
        .collect()
}

struct ChainCompiler<'a> {
    direction: TrafficDirection,
    /// Chains of the last version, by hash.
    known: HashMap<u128, &'a Arc<FilterChain>>,
    interner: &'a mut Interner,
}

impl ChainCompiler<'_> {
    fn compile(
        &mut self,
        chain: &proto::FilterChain,
        hash: u128,
    ) -> Result<Arc<FilterChain>, CompileError> {
        if let Some(known) = self.known.get(&hash) {
            return Ok(Arc::clone(known));
        }
        let timeout = duration_or(
            chain.transport_socket_connect_timeout.as_ref(),
            DEFAULT_HANDSHAKE_TIMEOUT,
        );
        let transport =
            tls::downstream_socket(chain.transport_socket.as_ref(), timeout, self.interner)?;
        let mut filters = Filters::default();
        for (index, filter) in chain.filters.iter().enumerate() {
            let path = format!("filters[{index}]");
            if filters.terminal.is_some() {
                return Err(CompileError::new("follows the terminal filter").at(path));
            }
            self.network_filter(filter, &mut filters).at(path)?;
        }
        let terminal = filters.terminal;
        let terminal = terminal.ok_or_else(|| {
            CompileError::new("no terminal filter (HTTP or TCP proxy)").at("filters")
        })?;
        Ok(Arc::new(FilterChain {
            name: chain.name.as_str().into(),
            transport,
            metadata_exchange: filters.metadata_exchange,
            stats: filters.stats,
            terminal,
            hash,
        }))
    }

    fn network_filter(
        &mut self,
        filter: &proto::Filter,
        filters: &mut Filters,
    ) -> Result<(), CompileError> {
        let Some(filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
            return Err(CompileError::new(format!(
                "configuration of {:?} is missing",
                filter.name
            )));
        };
        if is_metadata_exchange(any) {
            filters.metadata_exchange = true;
        } else if is_type::<istio::PluginConfig>(any) {
            filters.stats.push(self.stats(any)?);
        } else if is_type::<TcpProxy>(any) {
            let config: TcpProxy = unpack(any)?;
            let config = TcpProxyConfig::compile(&config).at("tcp_proxy")?;
            filters.terminal = Some(Terminal::TcpProxy(Arc::new(config)));
        } else if is_type::<HcmProto>(any) {
            let switches = self.interner.switches;
            let manager = self.interner.connection_manager(any, |any| {
                let config: HcmProto = unpack(any)?;
                HttpConnectionManager::compile(&config)
                    .map(|manager| manager.with_switches(switches))
            });
            let manager = manager.at("http_connection_manager")?;
            filters.terminal = Some(Terminal::Http(manager));
        } else {
            return Err(CompileError::unknown_extension(
                "network filter",
                &filter.name,
                &any.type_url,
            ));
        }
        Ok(())
    }

    fn stats(&mut self, any: &Any) -> Result<Arc<IstioStats>, CompileError> {
        let direction = self.direction;
        self.interner.stats(direction, any, |any| {
            let config: istio::PluginConfig = unpack(any)?;
            IstioStats::compile(&config, direction)
        })
    }
}

#[derive(Default)]
struct Filters {
    metadata_exchange: bool,
    stats: Vec<Arc<IstioStats>>,
    terminal: Option<Terminal>,
}
