//! Compiled `Cluster`.

pub(crate) mod compile;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::resource::endpoint::Endpoints;
use crate::resource::transport_socket::TransportPlan;

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
    pub http: HttpOptions,
    pub transport: TransportPlan,
    /// Exchange workload metadata on connections whose ALPN is `istio-peer-exchange`.
    pub metadata_exchange: bool,
    /// Source address of connections, by family of the destination.
    pub bind: BindConfig,
    pub istio: IstioMetadata,
    /// Localities share traffic by their weights, not by their endpoints.
    pub locality_weighted: bool,
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

/// Names to look up, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsConfig {
    pub names: Vec<DnsName>,
    pub refresh: Duration,
    pub respect_ttl: bool,
    pub family: DnsFamily,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DnsName {
    pub host: Arc<str>,
    pub port: u16,
    pub priority: usize,
    /// Everything of the endpoints but their address.
    pub template: crate::resource::endpoint::Endpoint,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv6 addresses, or those of IPv4 when there are none.
    #[default]
    Auto,
    V4,
    V6,
    /// IPv4 addresses, or those of IPv6 when there are none.
    V4Preferred,
    All,
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
    },
    /// By hash in a table of prime `size`.
    Maglev {
        size: usize,
    },
    /// Of `ORIGINAL_DST`.
    ClusterProvided,
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
#[derive(Clone, Debug, PartialEq)]
pub struct HttpOptions {
    pub protocol: UpstreamProtocol,
    /// Of connections without requests; default 1 h, `None`: no limit.
    pub idle_timeout: Option<Duration>,
    /// `None`: no limit.
    pub max_requests_per_connection: Option<u32>,
    pub max_connection_duration: Option<Duration>,
    pub http2: Http2Options,
    /// Keep the case of header names on HTTP/1.
    pub preserve_header_case: bool,
    pub auto_sni: bool,
    pub auto_san_validation: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http2Options {
    pub max_concurrent_streams: Option<u32>,
    pub initial_stream_window: Option<u32>,
    pub initial_connection_window: Option<u32>,
    /// Interval and timeout of keep-alive pings.
    pub keepalive: Option<(Duration, Duration)>,
}

/// Limits of a cluster, for all workers together.
#[derive(Debug, Default)]
pub struct CircuitBreakers {
    default: Thresholds,
    high: Thresholds,
}

/// Limits of one routing priority; `None`: no limit.
#[derive(Debug, Default)]
pub struct Thresholds {
    pub connections: Breaker,
    pub pending_requests: Breaker,
    pub requests: Breaker,
    pub retries: Breaker,
}

/// A counted limit. Without one nothing is counted.
#[derive(Debug, Default)]
pub struct Breaker {
    limit: Option<Arc<Limit>>,
}

#[derive(Debug)]
struct Limit {
    max: u32,
    used: AtomicU32,
}

/// One unit of a [`Breaker`], given back on drop.
#[derive(Debug, Default)]
pub struct Permit(Option<Arc<Limit>>);

/// Routing priority of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoutingPriority {
    #[default]
    Default,
    High,
}

/// A limit of a circuit breaker is reached: response flag `UO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker limit reached")]
pub struct Overflow;

impl CircuitBreakers {
    pub fn new(default: Thresholds, high: Thresholds) -> Self {
        Self { default, high }
    }

    pub fn of(&self, priority: RoutingPriority) -> &Thresholds {
        match priority {
            RoutingPriority::Default => &self.default,
            RoutingPriority::High => &self.high,
        }
    }
}

impl Breaker {
    /// A limit of `max`; `u32::MAX` counts as none.
    pub fn new(max: u32) -> Self {
        Self {
            limit: (max != u32::MAX).then(|| {
                Arc::new(Limit {
                    max,
                    used: AtomicU32::new(0),
                })
            }),
        }
    }

    /// # Errors
    /// All units are in use.
    pub fn acquire(&self) -> Result<Permit, Overflow> {
        let Some(limit) = &self.limit else {
            return Ok(Permit(None));
        };
        limit
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used < limit.max).then_some(used.saturating_add(1))
            })
            .map_err(|_| Overflow)?;
        Ok(Permit(Some(Arc::clone(limit))))
    }

    /// `u32::MAX` without a limit.
    pub fn max(&self) -> u32 {
        self.limit.as_ref().map_or(u32::MAX, |limit| limit.max)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(limit) = &self.0 {
            limit.used.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_given_back() {
        let breaker = Breaker::new(1);
        let permit = breaker.acquire().expect("one is free");
        assert!(breaker.acquire().is_err());
        drop(permit);
        assert!(breaker.acquire().is_ok());
        assert!(Breaker::new(u32::MAX).limit.is_none());
    }
}
