//! Compiled `OutlierDetection`.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/outlier_detection.proto>.

use std::time::Duration;

use ironsail_xds::cluster::OutlierDetection as Proto;

use crate::resource::parse::{bool_or, duration_or, u32_or};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_BASE_EJECTION_TIME: Duration = Duration::from_secs(30);
const DEFAULT_MAX_EJECTION_TIME: Duration = Duration::from_secs(300);
const DEFAULT_MAX_EJECTION_PERCENT: u32 = 10;
const DEFAULT_FAILURES: u32 = 5;

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
}

/// How many failures in a row eject, and in how many percent of the cases they really do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// 0: never.
    pub failures: u32,
    pub enforcing: u32,
}

impl OutlierDetection {
    /// The settings with their defaults. `cluster` is told in the warning about what is not done.
    pub fn compile(config: &Proto, cluster: &str) -> Self {
        warn_about_rates(config, cluster);
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
        }
    }
}

/// Comparing hosts by their rates is what Istio turns off.
fn warn_about_rates(config: &Proto, cluster: &str) {
    let rates = [
        (
            "enforcing_success_rate",
            u32_or(config.enforcing_success_rate.as_ref(), 100),
        ),
        (
            "enforcing_failure_percentage",
            u32_or(config.enforcing_failure_percentage.as_ref(), 0),
        ),
    ];
    for (field, _) in rates.iter().filter(|(_, enforcing)| *enforcing > 0) {
        tracing::warn!(%cluster, field, "Outlier detection asks for what this proxy does not do");
    }
}
