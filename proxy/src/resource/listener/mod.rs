//! Compiled `Listener`.

pub(crate) mod compile;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::access_log::AccessLog;
use crate::cluster::Source;
use crate::filter_chain::Matcher;
use crate::http::HttpConnectionManager;
use crate::network::tcp_proxy::TcpProxyConfig;
use crate::resource::cluster::Keepalive;
use crate::resource::transport_socket::DownstreamSocket;
use crate::stats::IstioStats;

/// `traffic_direction` of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrafficDirection {
    #[default]
    Unspecified,
    Inbound,
    Outbound,
}

/// A listener as connections see it.
#[derive(Debug)]
pub struct ListenerConfig {
    pub name: Arc<str>,
    /// Name in statistics: the stat prefix, else the main address with `_` for colons.
    pub stat_name: Arc<str>,
    /// The first is the main address.
    pub addresses: Vec<SocketAddr>,
    pub direction: TrafficDirection,
    /// False: it only takes connections that another listener hands over.
    pub bind_to_port: bool,
    /// Hand connections over to the listener of their original destination.
    pub use_original_dst: bool,
    pub socket: SocketOptions,
    /// In order; what they find out is what chains match on.
    pub filters: Vec<ListenerFilter>,
    /// Connections begin with a header of the PROXY protocol, except where the predicate holds.
    pub proxy_protocol: Option<(ProxyProtocol, Option<DestinationPredicate>)>,
    /// Time that listener filters may take; `None`: no limit. Default 15 s.
    pub filters_timeout: Option<Duration>,
    /// Go on with what is known when that time is over, instead of closing.
    pub continue_on_timeout: bool,
    /// Connections to hosts come from the client's address.
    pub original_src: Option<OriginalSrc>,
    pub chains: Vec<Arc<FilterChain>>,
    pub matcher: Matcher,
    pub default_chain: Option<Arc<FilterChain>>,
    /// Written when no filter chain matches.
    pub access_log: Vec<AccessLog>,
    /// Soft limit of buffered bytes per connection; default 1 MiB.
    pub buffer_limit: usize,
    /// Hash of the encoded resource: equal means equal.
    pub hash: u128,
    /// Hash of everything but the filter chains: if it changes, all connections are drained.
    pub base_hash: u128,
}

/// How the accepting socket is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Accept connections to foreign addresses: TPROXY.
    pub transparent: bool,
    pub freebind: bool,
    /// Queue of connections that nobody accepted yet; `None`: the system's maximum.
    pub backlog: Option<u32>,
    pub keepalive: Option<Keepalive>,
}

/// A listener filter and where it does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerFilter {
    pub kind: ListenerFilterKind,
    pub disabled: Option<DestinationPredicate>,
}

/// The listener filter `original_src`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginalSrc {
    /// Also from the client's port.
    pub bind_port: bool,
    /// `SO_MARK` of connections to hosts.
    pub mark: u32,
}

impl OriginalSrc {
    /// The source of connections for a client.
    pub fn source(self, mut client: SocketAddr) -> Source {
        if !self.bind_port {
            client.set_port(0);
        }
        Source {
            address: client,
            mark: self.mark,
        }
    }
}

/// How headers of the PROXY protocol are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Connections without one are served too.
    pub optional: bool,
    /// Version 1 is allowed.
    pub v1: bool,
    /// Version 2 is allowed.
    pub v2: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerFilterKind {
    /// Restores the destination from before redirection.
    OriginalDst,
    TlsInspector {
        /// Longest ClientHello, in bytes; default and upper bound 65,535.
        max_hello: usize,
    },
    HttpInspector,
}

/// A predicate on the destination of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationPredicate {
    Any,
    All(Vec<DestinationPredicate>),
    AnyOf(Vec<DestinationPredicate>),
    Not(Box<DestinationPredicate>),
    /// From the first, up to but without the second.
    PortRange(i32, i32),
}

impl DestinationPredicate {
    pub fn matches(&self, destination: SocketAddr) -> bool {
        match self {
            DestinationPredicate::Any => true,
            DestinationPredicate::All(rules) => rules.iter().all(|r| r.matches(destination)),
            DestinationPredicate::AnyOf(rules) => rules.iter().any(|r| r.matches(destination)),
            DestinationPredicate::Not(rule) => !rule.matches(destination),
            DestinationPredicate::PortRange(start, end) => {
                (*start..*end).contains(&i32::from(destination.port()))
            }
        }
    }
}

/// What happens to connections that a chain matches.
#[derive(Debug)]
pub struct FilterChain {
    /// Not unique; may be empty.
    pub name: Arc<str>,
    pub transport: DownstreamSocket,
    /// Exchange workload metadata when the ALPN is `istio-peer-exchange`.
    pub metadata_exchange: bool,
    /// `istio.stats` of TCP.
    pub stats: Vec<Arc<IstioStats>>,
    pub terminal: Terminal,
    /// Hash of the encoded chain: equal means equal.
    pub hash: u128,
}

/// The last network filter of a chain.
#[derive(Clone, Debug)]
pub enum Terminal {
    TcpProxy(Arc<TcpProxyConfig>),
    Http(Arc<HttpConnectionManager>),
}

impl ListenerConfig {
    /// All chains, the default one last.
    pub fn all_chains(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.chains.iter().chain(&self.default_chain)
    }

    /// Whether the destination from before redirection is of interest.
    pub fn restores_destination(&self) -> bool {
        let filter = |filter: &ListenerFilter| filter.kind == ListenerFilterKind::OriginalDst;
        self.use_original_dst || self.filters.iter().any(filter)
    }

    /// How the header of a connection to this destination is taken; `None`: there is none.
    pub fn proxy_protocol_at(&self, destination: SocketAddr) -> Option<ProxyProtocol> {
        let (config, disabled) = self.proxy_protocol.as_ref()?;
        let is_disabled = disabled.as_ref().is_some_and(|d| d.matches(destination));
        (!is_disabled).then_some(*config)
    }

    /// The main address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::DestinationPredicate as P;

    #[test]
    fn predicates_look_at_the_port() {
        let rule = P::AnyOf(vec![
            P::PortRange(9080, 9081),
            P::Not(Box::new(P::PortRange(1, 20000))),
        ]);
        let at = |port| ([10, 0, 0, 1], port).into();
        assert!(rule.matches(at(9080)));
        assert!(!rule.matches(at(9081)));
        assert!(rule.matches(at(20000)));
    }
}
