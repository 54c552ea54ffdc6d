//! Compiled `Cluster`.

mod circuit_breaker;
pub(crate) mod compile;
mod dns;
mod http_options;
mod load_balancing;
mod outlier;
mod retry_budget;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::outlier::Detector;
use crate::resource::endpoint::Endpoints;
use crate::resource::transport_socket::TransportPlan;

pub use circuit_breaker::{Breaker, CircuitBreakers, Overflow, Permit, Thresholds};
pub use dns::{DnsConfig, DnsFamily, DnsName};
pub use outlier::{OutlierDetection, RateRule, Rates, Threshold};

/// An upstream cluster.
#[derive(Debug)]
pub struct ClusterConfig {
    pub name: Arc<str>,
    /// Name in statistics, without the delimiter `;`; falls back to `name`.
    pub stat_name: Arc<str>,
    pub discovery: Discovery,
    /// Default 5 s.
    pub connect_timeout: Duration,
    /// How long unused original destinations are remembered; default 5 s.
    pub cleanup_interval: Duration,
    pub lb_policy: LbPolicy,
    pub breakers: CircuitBreakers,
    /// Shared with clusters of the same options.
    pub http: Arc<HttpOptions>,
    pub transport: TransportPlan,
    /// Exchange workload metadata on connections whose ALPN is `istio-peer-exchange`.
    pub metadata_exchange: bool,
    /// Source address of connections, by family of the destination.
    pub bind: BindConfig,
    pub istio: IstioMetadata,
    /// Localities share traffic by their weights, not by their endpoints.
    pub locality_weighted: bool,
    /// Percent of healthy hosts below which a priority is served by all of its hosts; default 50, 0: never.
    pub panic_threshold: u32,
    /// Hosts that are new get less; of least request and round robin only.
    pub slow_start: Option<SlowStart>,
    /// Who fails, for all workers together.
    pub outlier: Option<Arc<Detector>>,
    pub tcp_keepalive: Option<Keepalive>,
    /// Soft limit of buffered bytes per connection; default 1 MiB.
    pub buffer_limit: usize,
    /// Hash of the encoded resource: equal means equal.
    pub hash: u128,
}

impl ClusterConfig {
    /// Whether connections stay in the pod: they go on to where the client wanted, from the address that redirection
    /// lets through.
    pub fn leads_to_own_pod(&self) -> bool {
        matches!(self.discovery, Discovery::OriginalDst { .. })
            && self.bind != BindConfig::default()
    }
}

/// Where endpoints come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    Eds {
        /// Name of the `ClusterLoadAssignment`.
        service_name: Arc<str>,
    },
    Static(Arc<Endpoints>),
    /// All addresses of all names.
    StrictDns(DnsConfig),
    /// One address of one name.
    LogicalDns(DnsConfig),
    /// The destination the client dialled.
    OriginalDst {
        /// Port that replaces the destination's.
        port: Option<u16>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LbPolicy {
    /// The less busy of `choices` random hosts.
    LeastRequest {
        choices: u32,
        active_request_bias: f64,
    },
    RoundRobin,
    Random,
    /// By hash on a ring with `min` to `max` entries.
    RingHash {
        min: usize,
        max: usize,
        hashing: Hashing,
    },
    /// By hash in a table of prime `size`.
    Maglev {
        size: usize,
        hashing: Hashing,
    },
    /// Of `ORIGINAL_DST`.
    ClusterProvided,
}

impl LbPolicy {
    /// Whether the hash of a request says where it goes.
    pub fn hashes(self) -> bool {
        matches!(self, LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. })
    }

    pub fn hashing(self) -> Hashing {
        match self {
            LbPolicy::RingHash { hashing, .. } | LbPolicy::Maglev { hashing, .. } => hashing,
            _ => Hashing::default(),
        }
    }
}

/// `ConsistentHashingLbConfig`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashing {
    /// Hosts are told apart by their names, not by their addresses.
    pub by_hostname: bool,
    /// Percent of the average load of all hosts that one may have, at least 100; 0: any.
    pub balance_factor: u32,
}

/// How hosts that are new grow into their share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    pub window: Duration,
    /// 1: in proportion to the time; more: faster at first. Default 1.
    pub aggression: f64,
    /// Percent of its weight that a host gets at least; default 10.
    pub min_weight_percent: f64,
}

impl SlowStart {
    /// Share of its weight that a host of this age gets, from 0 to 1.
    pub fn share(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let grown = age.as_secs_f64() / self.window.as_secs_f64();
        let share = grown.powf(1.0 / self.aggression);
        share.max(self.min_weight_percent / 100.0)
    }
}

/// Source addresses of upstream connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindConfig {
    pub v4: Option<IpAddr>,
    pub v6: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    pub time: Option<Duration>,
    pub interval: Option<Duration>,
    pub probes: Option<u32>,
}

/// Metadata `istio` of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IstioMetadata {
    pub services: Vec<IstioService>,
    pub subset: Option<Arc<str>>,
    /// Path of the DestinationRule that shaped the cluster.
    pub config: Option<Arc<str>>,
    /// False: the filter `istio.alpn` leaves this cluster's ALPN alone.
    pub alpn_override: bool,
}

/// A service behind a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IstioService {
    pub host: Arc<str>,
    pub name: Arc<str>,
    pub namespace: Arc<str>,
}

/// `HttpProtocolOptions` of a cluster.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct HttpOptions {
    pub protocol: UpstreamProtocol,
    /// Of connections without requests; default 1 h, `None`: no limit.
    pub idle_timeout: Option<Duration>,
    /// `None`: no limit.
    pub max_requests_per_connection: Option<u32>,
    pub max_connection_duration: Option<Duration>,
    /// Of a stream to a host, both messages; `None`: no limit.
    pub max_stream_duration: Option<Duration>,
    pub http2: Http2Options,
    /// Keep the case of header names on HTTP/1.
    pub preserve_header_case: bool,
    /// See [`Switches::lenient_http1`](crate::resource::Switches::lenient_http1).
    pub lenient_http1: bool,
    pub auto_sni: bool,
    pub auto_san_validation: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    #[default]
    Http1,
    Http2,
    /// What the client speaks.
    UseDownstream,
    /// By ALPN.
    Auto,
}

/// HTTP/2 settings; `None`: the default of the codec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Http2Options {
    pub max_concurrent_streams: Option<u32>,
    pub initial_stream_window: Option<u32>,
    pub initial_connection_window: Option<u32>,
    /// Interval and timeout of keep-alive pings.
    pub keepalive: Option<(Duration, Duration)>,
}

/// Routing priority of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoutingPriority {
    #[default]
    Default,
    High,
}
