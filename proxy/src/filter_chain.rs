//! Which filter chain of a listener takes a connection.
//!
//! The order is Envoy's: destination port, destination address, server name, transport protocol, application
//! protocol, direct source address, source type, source address, source port. At each step the most specific choice
//! is taken and never given up again for another.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch>

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ironsail_xds::core::CidrRange;
use ironsail_xds::listener as proto;
use proto::filter_chain_match::ConnectionSourceType;

use crate::conn::TransportProtocol;
use crate::resource::parse;
use crate::resource::{At, CompileError};

/// What is known about a connection when its chain is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Criteria<'a> {
    /// Original destination.
    pub destination: SocketAddr,
    /// Lower-case SNI; empty without.
    pub server_name: &'a str,
    pub transport: TransportProtocol,
    /// ALPN of the ClientHello, or what the HTTP inspector found, in order.
    pub application_protocols: &'a [Vec<u8>],
    pub direct_source: IpAddr,
    pub source: SocketAddr,
}

/// Match of one chain. Empty lists and `None` match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterChainMatch {
    destination_port: Option<u16>,
    prefix_ranges: Vec<Cidr>,
    server_names: Vec<ServerName>,
    transport_protocol: Option<String>,
    application_protocols: Vec<Vec<u8>>,
    direct_source_prefix_ranges: Vec<Cidr>,
    source_type: SourceType,
    source_prefix_ranges: Vec<Cidr>,
    source_ports: Vec<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ServerName {
    Exact(String),
    /// `*.example.com` is kept as `.example.com`.
    Suffix(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum SourceType {
    #[default]
    Any,
    SameIpOrLoopback,
    External,
}

/// An address range; addresses are kept without their host part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    /// Longer prefixes sort first, which is the order of matching.
    inverse_length: u8,
    network: IpAddr,
}

impl Cidr {
    /// # Errors
    /// `length` exceeds that of the address.
    pub fn new(address: IpAddr, length: u32) -> Result<Self, CompileError> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        match u8::try_from(length) {
            Ok(length) if length <= bits => Ok(Self {
                inverse_length: u8::MAX - length,
                network: mask(address, length),
            }),
            _ => Err(CompileError::new(format!(
                "prefix length {length} is above {bits}"
            ))),
        }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let length = u8::MAX - self.inverse_length;
        let same_family = address.is_ipv4() == self.network.is_ipv4();
        same_family && mask(address, length) == self.network
    }
}

fn mask(address: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX
                .checked_shl(32_u32.saturating_sub(length))
                .unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX
                .checked_shl(128_u32.saturating_sub(length))
                .unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FilterChainMatch {
    /// Compiles a match; none matches everything.
    ///
    /// # Errors
    /// Malformed ranges and names, fields that Envoy does not implement either.
    pub fn compile(proto: Option<&proto::FilterChainMatch>) -> Result<Self, CompileError> {
        let Some(proto) = proto else {
            return Ok(Self::default());
        };
        if !proto.address_suffix.is_empty() || proto.suffix_len.is_some() {
            return Err(CompileError::new("is not supported").at("address_suffix"));
        }
        let port = proto.destination_port.as_ref();
        let port = port.map(|port| parse::port_number(port.value)).transpose();
        let ports = proto.source_ports.iter().copied().map(parse::port_number);
        let names = proto.server_names.iter().filter(|name| !name.is_empty());
        let transport = Some(&proto.transport_protocol).filter(|text| !text.is_empty());
        Ok(Self {
            destination_port: port.at("destination_port")?.filter(|port| *port > 0),
            prefix_ranges: ranges(&proto.prefix_ranges).at("prefix_ranges")?,
            server_names: names
                .map(|n| server_name(n))
                .collect::<Result<_, _>>()
                .at("server_names")?,
            transport_protocol: transport.cloned(),
            application_protocols: proto
                .application_protocols
                .iter()
                .map(|protocol| protocol.clone().into_bytes())
                .collect(),
            direct_source_prefix_ranges: ranges(&proto.direct_source_prefix_ranges)
                .at("direct_source_prefix_ranges")?,
            source_type: match ConnectionSourceType::try_from(proto.source_type) {
                Ok(ConnectionSourceType::Any) => SourceType::Any,
                Ok(ConnectionSourceType::SameIpOrLoopback) => SourceType::SameIpOrLoopback,
                Ok(ConnectionSourceType::External) => SourceType::External,
                Err(_) => return Err(CompileError::new("is unknown").at("source_type")),
            },
            source_prefix_ranges: ranges(&proto.source_prefix_ranges).at("source_prefix_ranges")?,
            source_ports: ports.collect::<Result<_, _>>().at("source_ports")?,
        })
    }
}

fn ranges(ranges: &[CidrRange]) -> Result<Vec<Cidr>, CompileError> {
    ranges
        .iter()
        .map(|range| {
            let address = parse::ip(&range.address_prefix)?;
            Cidr::new(address, range.prefix_len.map_or(0, |length| length.value))
        })
        .collect()
}

fn server_name(name: &str) -> Result<ServerName, CompileError> {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix('*') {
        Some(suffix) if suffix.starts_with('.') && !suffix.contains('*') => {
            Ok(ServerName::Suffix(suffix.to_owned()))
        }
        _ if name.contains('*') => Err(CompileError::new(format!(
            "partial wildcard {name:?} is not supported"
        ))),
        _ => Ok(ServerName::Exact(name)),
    }
}

/// The matches of a listener's chains as one tree, a level per criterion.
#[derive(Debug, Default)]
pub struct Matcher {
    ports: Choices<u16, Ranges<NameLevel>>,
}

/// One level: a choice by key, else what matches any key.
#[derive(Debug)]
struct Choices<K, T> {
    by_key: BTreeMap<K, T>,
    any: Option<Box<T>>,
}

/// One level that chooses by the longest prefix.
#[derive(Debug)]
struct Ranges<T> {
    by_range: BTreeMap<Cidr, T>,
    any: Option<Box<T>>,
}

type NameLevel = Names<TransportLevel>;
type TransportLevel = Choices<String, AlpnLevel>;
type AlpnLevel = Choices<Vec<u8>, Ranges<SourceTypeLevel>>;
type SourceTypeLevel = BTreeMap<SourceType, Ranges<Choices<u16, usize>>>;

#[derive(Debug)]
struct Names<T> {
    exact: BTreeMap<String, T>,
    /// By `.example.com`.
    suffix: BTreeMap<String, T>,
    any: Option<Box<T>>,
}

impl<K, T> Default for Choices<K, T> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            any: None,
        }
    }
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self {
            by_range: BTreeMap::new(),
            any: None,
        }
    }
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self {
            exact: BTreeMap::new(),
            suffix: BTreeMap::new(),
            any: None,
        }
    }
}

impl<K: Ord + Clone, T: Default> Choices<K, T> {
    fn entry(&mut self, key: Option<&K>) -> &mut T {
        match key {
            Some(key) => self.by_key.entry(key.clone()).or_default(),
            None => self.any.get_or_insert_default(),
        }
    }
}

impl<K: Ord, T> Choices<K, T> {
    fn any(&self) -> Option<&T> {
        self.any.as_deref()
    }
}

impl<T: Default> Ranges<T> {
    fn entry(&mut self, range: Option<&Cidr>) -> &mut T {
        match range {
            Some(range) => self.by_range.entry(*range).or_default(),
            None => self.any.get_or_insert_default(),
        }
    }
}

impl<T> Ranges<T> {
    fn find(&self, address: IpAddr) -> Option<&T> {
        let found = self
            .by_range
            .iter()
            .find(|(range, _)| range.contains(address));
        found.map(|(_, next)| next).or(self.any.as_deref())
    }
}

impl<T: Default> Names<T> {
    fn entry(&mut self, name: Option<&ServerName>) -> &mut T {
        match name {
            Some(ServerName::Exact(name)) => self.exact.entry(name.clone()).or_default(),
            Some(ServerName::Suffix(name)) => self.suffix.entry(name.clone()).or_default(),
            None => self.any.get_or_insert_default(),
        }
    }
}

impl<T> Names<T> {
    fn find(&self, name: &str) -> Option<&T> {
        if let Some(next) = self.exact.get(name) {
            return Some(next);
        }
        let mut dots = name.match_indices('.').filter(|(index, _)| *index > 0);
        let suffix = dots.find_map(|(index, _)| self.suffix.get(name.get(index..)?));
        suffix.or(self.any.as_deref())
    }
}

/// The elements of a list, or `None` once when it is empty: it matches everything.
fn each<T>(list: &[T]) -> impl Iterator<Item = Option<&T>> + Clone {
    let any = list.is_empty().then_some(None);
    list.iter().map(Some).chain(any)
}

impl Matcher {
    /// Builds the tree; the chain of `matches[i]` is `i`.
    ///
    /// # Errors
    /// Two chains match the same.
    pub fn build(matches: &[FilterChainMatch]) -> Result<Self, CompileError> {
        let mut matcher = Self::default();
        for (index, criteria) in matches.iter().enumerate() {
            if !matcher.insert(criteria, index) {
                return Err(CompileError::new(
                    "another filter chain has the same filter_chain_match",
                )
                .at(format_args!("[{index}]")));
            }
        }
        Ok(matcher)
    }

    fn insert(&mut self, criteria: &FilterChainMatch, chain: usize) -> bool {
        let by_range = self.ports.entry(criteria.destination_port.as_ref());
        let mut unique = true;
        for range in each(&criteria.prefix_ranges) {
            for name in each(&criteria.server_names) {
                let transports = by_range.entry(range).entry(name);
                let protocols = transports.entry(criteria.transport_protocol.as_ref());
                for protocol in each(&criteria.application_protocols) {
                    let direct = protocols.entry(protocol);
                    for range in each(&criteria.direct_source_prefix_ranges) {
                        let sources = direct.entry(range);
                        unique &= insert_source(sources, criteria, chain);
                    }
                }
            }
        }
        unique
    }

    /// Index of the chain for a connection; `None`: the default chain, if there is one.
    pub fn find(&self, criteria: &Criteria<'_>) -> Option<usize> {
        let port = criteria.destination.port();
        let ranges = self.ports.by_key.get(&port).or(self.ports.any())?;
        let names = ranges.find(criteria.destination.ip())?;
        let transports = names.find(criteria.server_name)?;
        let transport = transports.by_key.get(criteria.transport.as_str());
        let protocols = transport.or(transports.any())?;
        let mut offered = criteria.application_protocols.iter();
        let protocol = offered.find_map(|protocol| protocols.by_key.get(protocol));
        let direct = protocol.or(protocols.any())?;
        let types = direct.find(criteria.direct_source)?;
        let sources = source_type(types, criteria)?;
        let ports = sources.find(criteria.source.ip())?;
        let port = ports.by_key.get(&criteria.source.port());
        port.or(ports.any()).copied()
    }
}

fn insert_source(types: &mut SourceTypeLevel, criteria: &FilterChainMatch, chain: usize) -> bool {
    let sources = types.entry(criteria.source_type).or_default();
    let mut unique = true;
    for range in each(&criteria.source_prefix_ranges) {
        let ports = sources.entry(range);
        for port in each(&criteria.source_ports) {
            unique &= match port {
                Some(port) => ports.by_key.insert(*port, chain).is_none(),
                None => ports.any.replace(Box::new(chain)).is_none(),
            };
        }
    }
    unique
}

fn source_type<'a>(
    types: &'a SourceTypeLevel,
    criteria: &Criteria<'_>,
) -> Option<&'a Ranges<Choices<u16, usize>>> {
    let source = criteria.source.ip();
    let is_local = is_the_loopback_address(source) || source == criteria.destination.ip();
    let wanted = if is_local {
        SourceType::SameIpOrLoopback
    } else {
        SourceType::External
    };
    types.get(&wanted).or_else(|| types.get(&SourceType::Any))
}

/// As in Envoy only this one of its range: Istio's inbound connections come from 127.0.0.6.
fn is_the_loopback_address(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::LOCALHOST) || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

#[cfg(test)]
mod tests;
