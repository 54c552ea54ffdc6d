//! Retries of HTTP rules.

use ironsail_crds::networking::virtual_service::HttpRetry;
use ironsail_xds::ext::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use ironsail_xds::ext::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use ironsail_xds::pack;
use ironsail_xds::route::RetryPolicy;
use ironsail_xds::route::retry_policy::{
    RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
};

use crate::generate::message;
use crate::generate::traffic_policy::read;

const DEFAULT_RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const RETRIABLE_STATUS_CODES: &str = "retriable-status-codes";
const DEFAULT_RETRIES: u32 = 2;
/// How often another host is looked for before a tried one is taken again.
const HOST_SELECTION_ATTEMPTS: i64 = 5;

/// Two retries of requests that surely were not processed. With hashing there is only one right
/// host, so it may be tried again.
pub fn default_policy(is_hashed: bool) -> RetryPolicy {
    let mut policy = RetryPolicy {
        retry_on: DEFAULT_RETRY_ON.to_owned(),
        num_retries: message::uint32(DEFAULT_RETRIES),
        ..Default::default()
    };
    if !is_hashed {
        avoid_previous_hosts(&mut policy);
    }
    policy
}

fn avoid_previous_hosts(policy: &mut RetryPolicy) {
    let config =
        retry_host_predicate::ConfigType::TypedConfig(pack(&PreviousHostsPredicate::default()));
    policy.retry_host_predicate = vec![RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(config),
    }];
    policy.host_selection_retry_max_attempts = HOST_SELECTION_ATTEMPTS;
}

/// What a rule says, else the default; `None` turns retries off.
pub fn policy(settings: Option<&HttpRetry>, is_hashed: bool) -> Option<RetryPolicy> {
    let Some(settings) = settings else {
        return Some(default_policy(is_hashed));
    };
    let retries = u32::try_from(settings.attempts)
        .ok()
        .filter(|count| *count > 0)?;
    let mut policy = RetryPolicy {
        num_retries: message::uint32(retries),
        per_try_timeout: read(settings.per_try_timeout.as_ref()).and_then(message::duration),
        retry_back_off: read(settings.backoff.as_ref())
            .filter(|base| !base.is_zero())
            .map(|base| RetryBackOff {
                base_interval: message::duration(base),
                max_interval: None,
            }),
        ..Default::default()
    };
    (policy.retry_on, policy.retriable_status_codes) = conditions(&settings.retry_on);
    if settings.retry_ignore_previous_hosts.unwrap_or(!is_hashed) {
        avoid_previous_hosts(&mut policy);
    }
    if settings.retry_remote_localities == Some(true) {
        let config = PreviousPrioritiesConfig {
            update_frequency: 2,
        };
        policy.retry_priority = Some(RetryPriority {
            name: "envoy.retry_priorities.previous_priorities".to_owned(),
            config_type: Some(retry_priority::ConfigType::TypedConfig(pack(&config))),
        });
    }
    Some(policy)
}

/// Splits a list of conditions and status codes; empty means the default conditions.
fn conditions(text: &str) -> (String, Vec<u32>) {
    if text.trim().is_empty() {
        return (DEFAULT_RETRY_ON.to_owned(), Vec::new());
    }
    let mut names = Vec::new();
    let mut codes = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        match part.parse::<u32>() {
            Ok(code) => codes.push(code),
            Err(_) => names.push(part),
        }
    }
    if !codes.is_empty() && !names.contains(&RETRIABLE_STATUS_CODES) {
        names.push(RETRIABLE_STATUS_CODES);
    }
    (names.join(","), codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, names: &str, codes: &[u32]) {
        assert_eq!(conditions(text), (names.to_owned(), codes.to_vec()));
    }

    #[test]
    fn codes_are_split_from_names() {
        check("", DEFAULT_RETRY_ON, &[]);
        check("5xx, reset", "5xx,reset", &[]);
        check(
            "gateway-error,503,404",
            "gateway-error,retriable-status-codes",
            &[503, 404],
        );
        check(
            "retriable-status-codes,503",
            "retriable-status-codes",
            &[503],
        );
    }

    #[test]
    fn no_attempts_turn_retries_off() {
        let off = HttpRetry::default();
        assert_eq!(policy(Some(&off), false), None);
        assert!(policy(None, false).is_some());
        let hashed = policy(None, true).expect("the default");
        assert!(hashed.retry_host_predicate.is_empty());
    }
}
