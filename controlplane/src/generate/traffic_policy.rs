//! Traffic policies of DestinationRules on a cluster: pools, balancing, outliers.

use std::time::Duration;

use ironsail_crds::networking::destination_rule::{
    ConnectionPoolSettings, ConsistentHashLb, H2UpgradePolicy, HttpSettings, LoadBalancerSettings,
    OutlierDetection as OutlierSettings, RetryBudget, SimpleLb, TcpSettings,
};
use ironsail_crds::wire::DurationString;
use ironsail_xds::cluster::circuit_breakers::{Thresholds, thresholds};
use ironsail_xds::cluster::cluster::common_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig,
};
use ironsail_xds::cluster::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig,
    SlowStartConfig,
};
use ironsail_xds::cluster::{
    CircuitBreakers, Cluster, OutlierDetection, UpstreamConnectionOptions,
};
use ironsail_xds::core::{
    Http2ProtocolOptions, HttpProtocolOptions, KeepaliveSettings, RuntimeDouble, TcpKeepalive,
};
use ironsail_xds::protobuf::{UInt32Value, UInt64Value};

use crate::generate::message;

/// Least entries of a hash ring when a rule names none.
const DEFAULT_RING_SIZE: u64 = 1024;
/// Most entries that proxies accept.
const MAX_RING_SIZE: u64 = 8 << 20;
const MAX_MAGLEV_SIZE: u64 = 5_000_011;
/// Retries in percent of the requests in progress, when a budget names none.
const DEFAULT_RETRY_PERCENT: f64 = 20.0;

/// A duration text of a rule; one that cannot be read counts as absent, as validation reports.
pub fn read(text: Option<&DurationString>) -> Option<Duration> {
    text.and_then(|text| text.parse().ok())
}

/// As [`read`], for fields that proxies refuse to be zero.
fn read_positive(text: Option<&DurationString>) -> Option<Duration> {
    read(text).filter(|duration| !duration.is_zero())
}

fn positive(value: i32) -> Option<u32> {
    u32::try_from(value).ok().filter(|value| *value > 0)
}

/// Limits that nothing reaches, unless a rule sets some.
pub fn circuit_breakers(
    pool: Option<&ConnectionPoolSettings>,
    budget: Option<&RetryBudget>,
) -> CircuitBreakers {
    let tcp = pool.and_then(|pool| pool.tcp.as_ref());
    let http = pool.and_then(|pool| pool.http.as_ref());
    let limit = |value: Option<i32>| message::uint32(value.and_then(positive).unwrap_or(u32::MAX));
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: limit(tcp.map(|tcp| tcp.max_connections)),
            max_pending_requests: limit(http.map(|http| http.http1_max_pending_requests)),
            max_requests: limit(http.map(|http| http.http2_max_requests)),
            max_retries: limit(http.map(|http| http.max_retries)),
            retry_budget: budget.map(|budget| thresholds::RetryBudget {
                budget_percent: message::percent(budget.percent.unwrap_or(DEFAULT_RETRY_PERCENT)),
                min_retry_concurrency: budget.min_retry_concurrency.and_then(message::uint32),
                budget_interval: read_positive(
                    budget
                        .budget_interval
                        .as_deref()
                        .map(DurationString::from)
                        .as_ref(),
                )
                .and_then(message::duration),
            }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Connect timeout and TCP keep-alive.
pub fn apply_tcp(cluster: &mut Cluster, tcp: Option<&TcpSettings>) {
    let Some(tcp) = tcp else { return };
    if let Some(timeout) = read_positive(tcp.connect_timeout.as_ref()) {
        cluster.connect_timeout = message::duration(timeout);
    }
    if let Some(keepalive) = &tcp.tcp_keepalive {
        let seconds = |text: Option<&DurationString>| {
            let seconds = u32::try_from(read(text)?.as_secs()).ok()?;
            message::uint32(seconds)
        };
        cluster.upstream_connection_options = Some(UpstreamConnectionOptions {
            tcp_keepalive: Some(TcpKeepalive {
                keepalive_probes: keepalive.probes.and_then(message::uint32),
                keepalive_time: seconds(keepalive.time.as_ref()),
                keepalive_interval: seconds(keepalive.interval.as_ref()),
            }),
            ..Default::default()
        });
    }
}

/// Options of connections for every HTTP version; `None` when no rule sets one.
pub fn common_http(pool: Option<&ConnectionPoolSettings>) -> Option<HttpProtocolOptions> {
    let pool = pool?;
    let options = HttpProtocolOptions {
        idle_timeout: pool
            .http
            .as_ref()
            .and_then(|http| read(http.idle_timeout.as_ref()))
            .and_then(message::duration),
        max_connection_duration: pool
            .tcp
            .as_ref()
            .and_then(|tcp| read(tcp.max_connection_duration.as_ref()))
            .and_then(message::duration),
        max_requests_per_connection: pool
            .http
            .as_ref()
            .and_then(|http| positive(http.max_requests_per_connection))
            .and_then(message::uint32),
        ..Default::default()
    };
    (options != HttpProtocolOptions::default()).then_some(options)
}

/// Options of HTTP/2 connections.
pub fn http2(http: Option<&HttpSettings>) -> Http2ProtocolOptions {
    Http2ProtocolOptions {
        max_concurrent_streams: http
            .and_then(|http| positive(http.max_concurrent_streams))
            .and_then(message::uint32),
        connection_keepalive: http
            .and_then(|http| http.http2_keep_alive.as_ref())
            .map(|ping| KeepaliveSettings {
                interval: read_positive(ping.interval.as_ref()).and_then(message::duration),
                timeout: read_positive(ping.timeout.as_ref()).and_then(message::duration),
                ..Default::default()
            }),
        ..Default::default()
    }
}

/// Whether HTTP/1.1 requests are sent as HTTP/2.
pub fn upgrades_to_http2(http: Option<&HttpSettings>, mesh_default: bool) -> bool {
    match http.map(|http| &http.h2_upgrade_policy) {
        Some(H2UpgradePolicy::Upgrade) => true,
        Some(H2UpgradePolicy::DoNotUpgrade) => false,
        _ => mesh_default,
    }
}

/// Whether a rule asks for the original destination instead of balancing.
pub fn is_passthrough(settings: Option<&LoadBalancerSettings>) -> bool {
    settings.and_then(|settings| settings.simple.as_ref()) == Some(&SimpleLb::Passthrough)
}

/// The algorithm of balancing.
pub fn apply_load_balancer(cluster: &mut Cluster, settings: Option<&LoadBalancerSettings>) {
    cluster.lb_policy = LbPolicy::LeastRequest.into();
    let Some(settings) = settings else { return };
    if let Some(hash) = &settings.consistent_hash {
        apply_consistent_hash(cluster, hash);
        return;
    }
    let slow_start = slow_start(settings);
    match settings.simple {
        Some(SimpleLb::Random) => cluster.lb_policy = LbPolicy::Random.into(),
        Some(SimpleLb::RoundRobin) => {
            cluster.lb_policy = LbPolicy::RoundRobin.into();
            cluster.lb_config = slow_start.map(|config| {
                LbConfig::RoundRobinLbConfig(RoundRobinLbConfig {
                    slow_start_config: Some(config),
                })
            });
        }
        _ => {
            cluster.lb_config = slow_start.map(|config| {
                LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    slow_start_config: Some(config),
                    ..Default::default()
                })
            });
        }
    }
}

fn apply_consistent_hash(cluster: &mut Cluster, hash: &ConsistentHashLb) {
    if let Some(maglev) = &hash.maglev {
        cluster.lb_policy = LbPolicy::Maglev.into();
        cluster.lb_config = maglev
            .table_size
            .filter(|size| is_table_size(*size))
            .map(|value| {
                LbConfig::MaglevLbConfig(MaglevLbConfig {
                    table_size: Some(UInt64Value { value }),
                })
            });
        return;
    }
    let size = hash
        .ring_hash
        .as_ref()
        .and_then(|ring| ring.minimum_ring_size)
        .or(hash.minimum_ring_size)
        .unwrap_or(DEFAULT_RING_SIZE)
        .min(MAX_RING_SIZE);
    cluster.lb_policy = LbPolicy::RingHash.into();
    cluster.lb_config = Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
        minimum_ring_size: Some(UInt64Value { value: size }),
        ..Default::default()
    }));
}

/// Proxies refuse sizes that are not prime, or larger than theirs.
fn is_table_size(size: u64) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= size);
    (2..=MAX_MAGLEV_SIZE).contains(&size) && divisors.all(|divisor| !size.is_multiple_of(divisor))
}

fn slow_start(settings: &LoadBalancerSettings) -> Option<SlowStartConfig> {
    let warmup = settings.warmup.as_ref();
    let window = match warmup {
        Some(warmup) => warmup.duration.parse().ok(),
        None => read(settings.warmup_duration_secs.as_ref()),
    };
    Some(SlowStartConfig {
        slow_start_window: message::duration(window?),
        aggression: warmup
            .and_then(|warmup| warmup.aggression)
            .map(|value| RuntimeDouble {
                default_value: value,
                ..Default::default()
            }),
        min_weight_percent: warmup
            .and_then(|warmup| warmup.minimum_percent)
            .map(|percent| percent.clamp(0.0, 100.0))
            .and_then(message::percent),
    })
}

/// Avoiding endpoints that fail; with it, locality preference can act.
pub fn apply_outlier_detection(
    cluster: &mut Cluster,
    settings: Option<&OutlierSettings>,
    is_locality_enabled: bool,
) {
    let Some(settings) = settings else { return };
    let enforcing = |value: Option<u32>| {
        value.and_then(|value| message::uint32(if value > 0 { 100 } else { 0 }))
    };
    let count = |value: Option<u32>| value.map(|value| UInt32Value { value });
    let mut detection = OutlierDetection {
        consecutive_5xx: count(settings.consecutive_5xx_errors),
        enforcing_consecutive_5xx: enforcing(settings.consecutive_5xx_errors),
        consecutive_gateway_failure: count(settings.consecutive_gateway_errors),
        enforcing_consecutive_gateway_failure: enforcing(settings.consecutive_gateway_errors),
        interval: read_positive(settings.interval.as_ref()).and_then(message::duration),
        base_ejection_time: read_positive(settings.base_ejection_time.as_ref())
            .and_then(message::duration),
        max_ejection_percent: positive(settings.max_ejection_percent)
            .map(|percent| percent.min(100))
            .and_then(message::uint32),
        // Success rates compare endpoints with each other, which few endpoints cannot bear.
        enforcing_success_rate: message::uint32(0),
        ..Default::default()
    };
    if settings.split_external_local_origin_errors {
        detection.split_external_local_origin_errors = true;
        detection.enforcing_local_origin_success_rate = message::uint32(0);
        if let Some(failures) = settings
            .consecutive_local_origin_failures
            .filter(|count| *count > 0)
        {
            detection.consecutive_local_origin_failure = message::uint32(failures);
            detection.enforcing_consecutive_local_origin_failure = message::uint32(100);
        }
    }
    cluster.outlier_detection = Some(detection);
    let common = cluster.common_lb_config.get_or_insert_default();
    if let Some(percent) = positive(settings.min_health_percent) {
        common.healthy_panic_threshold = message::percent(f64::from(percent.min(100)));
    }
    if is_locality_enabled {
        common.locality_config_specifier = Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
            LocalityWeightedLbConfig::default(),
        ));
    }
}
