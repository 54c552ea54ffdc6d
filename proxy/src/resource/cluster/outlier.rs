//! Compiled `OutlierDetection`.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/outlier_detection.proto>.

use std::time::Duration;

use ironsail_xds::cluster::OutlierDetection as Proto;
use ironsail_xds::protobuf::UInt32Value;

use crate::resource::parse::{bool_or, duration_or, u32_or};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_BASE_EJECTION_TIME: Duration = Duration::from_secs(30);
const DEFAULT_MAX_EJECTION_TIME: Duration = Duration::from_secs(300);
const DEFAULT_MAX_EJECTION_PERCENT: u32 = 10;
const DEFAULT_FAILURES: u32 = 5;
const DEFAULT_MIN_HOSTS: u32 = 5;

/// When hosts that fail are left out, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct OutlierDetection {
    /// How often it is looked who may come back; default 10 s.
    pub interval: Duration,
    /// Time of a first ejection, default 30 s; the next ones are multiples of it.
    pub base_ejection_time: Duration,
    /// Default 300 s, at least the base.
    pub max_ejection_time: Duration,
    /// Added to each ejection, up to this; default none.
    pub max_ejection_time_jitter: Duration,
    /// Percent of the hosts that may be ejected at a time; default 10.
    pub max_ejection_percent: u32,
    /// One host may be ejected whatever the percentage says.
    pub always_eject_one_host: bool,
    /// Failures to connect count for themselves, not as 5xx.
    pub split_local_origin: bool,
    pub consecutive_5xx: Threshold,
    pub consecutive_gateway_failure: Threshold,
    pub consecutive_local_origin_failure: Threshold,
    /// `None`: hosts are not compared, because nothing would come of it.
    pub rates: Option<Rates>,
}

/// When the requests of an interval eject a host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Hosts whose share of successes is far below that of all.
    pub success_rate: RateRule,
    /// How far: standard deviations; default 1.9.
    pub stdev_factor: f64,
    /// Hosts whose share of failures is high.
    pub failure_percentage: RateRule,
    /// How high: percent; default 85.
    pub failure_threshold: f64,
}

/// Who is compared, and in how many percent of the cases a host is really ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateRule {
    /// So many hosts at least must have enough requests; default 5.
    pub min_hosts: usize,
    /// Requests in the interval that are enough; default 100, and 50 for the share of failures.
    pub min_requests: u32,
    pub enforcing: u32,
    /// The same for failures to connect, where they count for themselves.
    pub enforcing_local: u32,
}

/// How many failures in a row eject, and in how many percent of the cases they really do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// 0: never.
    pub failures: u32,
    pub enforcing: u32,
}

impl OutlierDetection {
    /// The settings with their defaults.
    pub fn compile(config: &Proto) -> Self {
        let threshold = |failures, enforcing, default| Threshold {
            failures: u32_or(failures, DEFAULT_FAILURES),
            enforcing: u32_or(enforcing, default).min(100),
        };
        let base = duration_or(
            config.base_ejection_time.as_ref(),
            DEFAULT_BASE_EJECTION_TIME,
        );
        Self {
            interval: duration_or(config.interval.as_ref(), DEFAULT_INTERVAL),
            base_ejection_time: base,
            max_ejection_time: duration_or(
                config.max_ejection_time.as_ref(),
                DEFAULT_MAX_EJECTION_TIME,
            )
            .max(base),
            max_ejection_time_jitter: duration_or(
                config.max_ejection_time_jitter.as_ref(),
                Duration::ZERO,
            ),
            max_ejection_percent: u32_or(
                config.max_ejection_percent.as_ref(),
                DEFAULT_MAX_EJECTION_PERCENT,
            )
            .min(100),
            always_eject_one_host: bool_or(config.always_eject_one_host.as_ref(), false),
            split_local_origin: config.split_external_local_origin_errors,
            consecutive_5xx: threshold(
                config.consecutive_5xx.as_ref(),
                config.enforcing_consecutive_5xx.as_ref(),
                100,
            ),
            consecutive_gateway_failure: threshold(
                config.consecutive_gateway_failure.as_ref(),
                config.enforcing_consecutive_gateway_failure.as_ref(),
                0,
            ),
            consecutive_local_origin_failure: threshold(
                config.consecutive_local_origin_failure.as_ref(),
                config.enforcing_consecutive_local_origin_failure.as_ref(),
                100,
            ),
            rates: Rates::compile(config),
        }
    }
}

impl Rates {
    /// `None` when nothing is enforced, as Istio has it.
    fn compile(config: &Proto) -> Option<Self> {
        let number = |value: &Option<UInt32Value>, default| u32_or(value.as_ref(), default);
        let local = |enforcing: u32| match config.split_external_local_origin_errors {
            true => enforcing.min(100),
            false => 0,
        };
        let hosts = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let rates = Self {
            success_rate: RateRule {
                min_hosts: hosts(number(
                    &config.success_rate_minimum_hosts,
                    DEFAULT_MIN_HOSTS,
                )),
                min_requests: number(&config.success_rate_request_volume, 100),
                enforcing: number(&config.enforcing_success_rate, 100).min(100),
                enforcing_local: local(number(&config.enforcing_local_origin_success_rate, 100)),
            },
            stdev_factor: f64::from(number(&config.success_rate_stdev_factor, 1900)) / 1000.0,
            failure_percentage: RateRule {
                min_hosts: hosts(number(
                    &config.failure_percentage_minimum_hosts,
                    DEFAULT_MIN_HOSTS,
                )),
                min_requests: number(&config.failure_percentage_request_volume, 50),
                enforcing: number(&config.enforcing_failure_percentage, 0).min(100),
                enforcing_local: local(number(
                    &config.enforcing_failure_percentage_local_origin,
                    0,
                )),
            },
            failure_threshold: f64::from(number(&config.failure_percentage_threshold, 85)),
        };
        let rules = [rates.success_rate, rates.failure_percentage];
        let enforced = rules
            .iter()
            .any(|rule| rule.enforcing + rule.enforcing_local > 0);
        enforced.then_some(rates)
    }
}
