//! Retry policies: which failures, how often, after what wait.

use std::time::{Duration, SystemTime};

use ironsail_xds::ext::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use ironsail_xds::route as proto;
use ironsail_xds::{is_type, unpack};

use super::back_off::{AskedBackOff, BackOff};
use super::matcher::HeaderMatcher;
use crate::http::header_block::HeaderBlock;
use crate::http::header_name::Known;
use crate::resource::{At, CompileError};

const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
const OMIT_CANARY_HOSTS: &str =
    "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate";

/// A set of conditions of `retry_on`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(u32);

macro_rules! conditions {
    ($($name:ident = $bit:literal, $text:literal;)*) => {
        impl RetryOn {
            $(pub const $name: RetryOn = RetryOn(1 << $bit);)*
            const NAMES: &'static [(&'static str, RetryOn)] = &[$(($text, RetryOn::$name),)*];
        }
    };
}

conditions! {
    ALL_5XX = 0, "5xx";
    GATEWAY_ERROR = 1, "gateway-error";
    RESET = 2, "reset";
    RESET_BEFORE_REQUEST = 3, "reset-before-request";
    CONNECT_FAILURE = 4, "connect-failure";
    REFUSED_STREAM = 5, "refused-stream";
    RETRIABLE_4XX = 6, "retriable-4xx";
    RETRIABLE_STATUS_CODES = 7, "retriable-status-codes";
    RETRIABLE_HEADERS = 8, "retriable-headers";
    ENVOY_RATELIMITED = 9, "envoy-ratelimited";
    HTTP3_POST_CONNECT_FAILURE = 10, "http3-post-connect-failure";
    CANCELLED = 11, "cancelled";
    DEADLINE_EXCEEDED = 12, "deadline-exceeded";
    INTERNAL = 13, "internal";
    RESOURCE_EXHAUSTED = 14, "resource-exhausted";
    UNAVAILABLE = 15, "unavailable";
}

impl RetryOn {
    /// Reads a comma-separated list; the second value has the names that are not known.
    pub fn parse(text: &str) -> (Self, Vec<&str>) {
        let mut conditions = Self::default();
        let mut unknown = Vec::new();
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            match Self::NAMES.iter().find(|(known, _)| *known == name) {
                Some((_, condition)) => conditions = conditions.with(*condition),
                None => unknown.push(name),
            }
        }
        (conditions, unknown)
    }

    #[must_use]
    pub fn with(self, other: RetryOn) -> Self {
        Self(self.0 | other.0)
    }

    pub fn has(self, condition: RetryOn) -> bool {
        self.0 & condition.0 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The condition that a gRPC status in a response's head meets.
    fn of_grpc(status: u32) -> RetryOn {
        match status {
            1 => Self::CANCELLED,
            4 => Self::DEADLINE_EXCEEDED,
            8 => Self::RESOURCE_EXHAUSTED,
            13 => Self::INTERNAL,
            14 => Self::UNAVAILABLE,
            _ => RetryOn(0),
        }
    }
}

/// Compiled `RetryPolicy`.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    pub conditions: RetryOn,
    /// Attempts after the first; default 1.
    pub retries: u32,
    /// `None`: the route's timeout alone counts.
    pub per_try_timeout: Option<Duration>,
    pub per_try_idle_timeout: Option<Duration>,
    status_codes: Vec<u16>,
    headers: Vec<HeaderMatcher>,
    request_headers: Vec<HeaderMatcher>,
    /// Another host than before is preferred.
    pub avoid_previous_hosts: bool,
    /// Hosts that are no canaries are preferred.
    pub omit_canary_hosts: bool,
    /// After how many attempts their priorities are left for others; at least 1.
    pub priority_update_frequency: Option<usize>,
    back_off: BackOff,
    asked: Option<AskedBackOff>,
}

impl Default for RetryPolicy {
    /// Envoy's numbers, and nothing that is retried.
    fn default() -> Self {
        Self {
            conditions: RetryOn::default(),
            retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            status_codes: Vec::new(),
            headers: Vec::new(),
            request_headers: Vec::new(),
            avoid_previous_hosts: false,
            omit_canary_hosts: false,
            priority_update_frequency: None,
            back_off: BackOff::default(),
            asked: None,
        }
    }
}

/// How an attempt failed before its response's head arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection came about.
    Connect,
    /// The connection or the stream ended; `sent` tells whether the host can have seen the request.
    Reset { sent: bool },
    /// The host did not take the stream.
    RefusedStream,
    /// The attempt took too long.
    PerTryTimeout,
}

impl RetryPolicy {
    /// # Errors
    /// Unknown predicates, invalid intervals. Unknown names in `retry_on` are ignored, as Envoy does.
    pub fn compile(policy: &proto::RetryPolicy) -> Result<Self, CompileError> {
        let (conditions, unknown) = RetryOn::parse(&policy.retry_on);
        if !unknown.is_empty() {
            tracing::warn!(conditions = ?unknown, "Unknown retry conditions are ignored");
        }
        let (mut avoid_previous_hosts, mut omit_canary_hosts) = (false, false);
        for (index, predicate) in policy.retry_host_predicate.iter().enumerate() {
            let field = format_args!("retry_host_predicate[{index}]");
            match host_predicate(predicate).at(field)? {
                HostPredicate::PreviousHosts => avoid_previous_hosts = true,
                HostPredicate::OmitCanaryHosts => omit_canary_hosts = true,
            }
        }
        let duration = |value: &Option<ironsail_xds::protobuf::Duration>| {
            value
                .as_ref()
                .map(ironsail_xds::to_std)
                .filter(|value| !value.is_zero())
        };
        let asked = policy.rate_limited_retry_back_off.as_ref();
        let headers = |matchers: &[proto::HeaderMatcher], field: &str| {
            let compile = |(index, matcher)| {
                HeaderMatcher::compile(matcher).at(format_args!("{field}[{index}]"))
            };
            matchers
                .iter()
                .enumerate()
                .map(compile)
                .collect::<Result<Vec<_>, CompileError>>()
        };
        Ok(Self {
            conditions,
            retries: policy.num_retries.as_ref().map_or(1, |count| count.value),
            per_try_timeout: duration(&policy.per_try_timeout),
            per_try_idle_timeout: duration(&policy.per_try_idle_timeout),
            status_codes: policy
                .retriable_status_codes
                .iter()
                .filter_map(|code| u16::try_from(*code).ok())
                .collect(),
            headers: headers(&policy.retriable_headers, "retriable_headers")?,
            request_headers: headers(
                &policy.retriable_request_headers,
                "retriable_request_headers",
            )?,
            avoid_previous_hosts,
            omit_canary_hosts,
            priority_update_frequency: policy
                .retry_priority
                .as_ref()
                .map(priority_update_frequency)
                .transpose()
                .at("retry_priority")?,
            back_off: BackOff::compile(policy.retry_back_off.as_ref()).at("retry_back_off")?,
            asked: asked
                .map(AskedBackOff::compile)
                .transpose()
                .at("rate_limited_retry_back_off")?,
        })
    }

    /// The route's policy as a trusted client changes it: `x-envoy-retry-on`, `x-envoy-retry-grpc-on` and
    /// `x-envoy-retriable-status-codes` and `x-envoy-retriable-header-names` add to it, `x-envoy-max-retries` replaces
    /// the number. `None`: nothing is asked.
    /// <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on>
    pub fn asked_for(route: Option<&Self>, headers: &HeaderBlock) -> Option<Self> {
        const ASKS: [Known; 5] = [
            Known::EnvoyRetryOn,
            Known::EnvoyRetryGrpcOn,
            Known::EnvoyMaxRetries,
            Known::EnvoyRetriableStatusCodes,
            Known::EnvoyRetriableHeaderNames,
        ];
        if !ASKS.iter().any(|name| headers.contains(*name)) {
            return None;
        }
        let mut policy = route.cloned().unwrap_or_default();
        for name in [Known::EnvoyRetryOn, Known::EnvoyRetryGrpcOn] {
            let (conditions, _) = RetryOn::parse(headers.get_str(name).unwrap_or_default());
            policy.conditions = policy.conditions.with(conditions);
        }
        let retries = headers.get_str(Known::EnvoyMaxRetries);
        if let Some(retries) = retries.and_then(|text| text.parse().ok()) {
            policy.retries = retries;
        }
        let codes = headers.get_str(Known::EnvoyRetriableStatusCodes);
        let codes = codes.unwrap_or_default().split(',');
        let codes = codes.filter_map(|code| code.trim().parse::<u16>().ok());
        policy.status_codes.extend(codes);
        let names = headers.get_str(Known::EnvoyRetriableHeaderNames);
        let names = names.unwrap_or_default().split(',').map(str::trim);
        let names = names.filter(|name| !name.is_empty());
        policy.headers.extend(names.map(HeaderMatcher::present));
        Some(policy)
    }

    /// Whether requests with this head may be retried at all, if there are any retries.
    pub fn applies_to(&self, head: &crate::http::message::RequestHead) -> bool {
        !self.conditions.is_empty()
            && (self.request_headers.is_empty()
                || self
                    .request_headers
                    .iter()
                    .any(|matcher| matcher.matches(head)))
    }

    /// Whether a failure before the response is to be retried.
    pub fn covers(&self, failure: Failure) -> bool {
        let on = self.conditions;
        match failure {
            Failure::Connect => on.has(
                RetryOn::CONNECT_FAILURE
                    .with(RetryOn::ALL_5XX)
                    .with(RetryOn::GATEWAY_ERROR)
                    .with(RetryOn::RESET)
                    .with(RetryOn::RESET_BEFORE_REQUEST),
            ),
            Failure::RefusedStream => on.has(
                RetryOn::REFUSED_STREAM
                    .with(RetryOn::ALL_5XX)
                    .with(RetryOn::GATEWAY_ERROR)
                    .with(RetryOn::RESET),
            ),
            Failure::Reset { sent } => {
                on.has(
                    RetryOn::ALL_5XX
                        .with(RetryOn::GATEWAY_ERROR)
                        .with(RetryOn::RESET),
                ) || (!sent && on.has(RetryOn::RESET_BEFORE_REQUEST))
            }
            Failure::PerTryTimeout => on.has(
                RetryOn::ALL_5XX
                    .with(RetryOn::GATEWAY_ERROR)
                    .with(RetryOn::RESET),
            ),
        }
    }

    /// Whether a response with this head is to be retried.
    pub fn covers_response(&self, head: &crate::http::message::ResponseHead) -> bool {
        let on = self.conditions;
        let status = head.status;
        let ratelimited = head.headers.get_named(b"x-envoy-ratelimited").is_some();
        if ratelimited {
            return on.has(RetryOn::ENVOY_RATELIMITED);
        }
        if (on.has(RetryOn::ALL_5XX) && (500..600).contains(&status))
            || (on.has(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&status))
            || (on.has(RetryOn::RETRIABLE_4XX) && status == 409)
            || (on.has(RetryOn::RETRIABLE_STATUS_CODES) && self.status_codes.contains(&status))
        {
            return true;
        }
        if on.has(RetryOn::RETRIABLE_HEADERS) && self.has_retriable_header(head) {
            return true;
        }
        let grpc = head.headers.get_str(Known::GrpcStatus);
        grpc.and_then(|text| text.parse().ok())
            .is_some_and(|status| on.has(RetryOn::of_grpc(status)))
    }

    fn has_retriable_header(&self, head: &crate::http::message::ResponseHead) -> bool {
        let status = head.status.to_string();
        self.headers.iter().any(|matcher| {
            if matcher.name() == b":status" {
                return matcher.matches_value(Some(status.as_bytes()));
            }
            matcher.matches_value(head.headers.joined(matcher.name()).as_deref())
        })
    }

    /// The wait before the attempt after `retries` retries.
    pub fn wait(&self, retries: u32) -> Duration {
        self.back_off.wait(retries)
    }

    /// The wait that a response asks for, where the policy listens to that.
    pub fn asked_wait(&self, head: &crate::http::message::ResponseHead) -> Option<Duration> {
        self.asked.as_ref()?.wait(head, SystemTime::now())
    }
}

enum HostPredicate {
    PreviousHosts,
    OmitCanaryHosts,
}

fn host_predicate(
    predicate: &proto::retry_policy::RetryHostPredicate,
) -> Result<HostPredicate, CompileError> {
    use proto::retry_policy::retry_host_predicate::ConfigType;
    let name = &predicate.name;
    let type_url = match &predicate.config_type {
        Some(ConfigType::TypedConfig(any)) => any.type_url.as_str(),
        None => "",
    };
    match (ironsail_xds::type_name(type_url), name.as_str()) {
        (PREVIOUS_HOSTS, _) | ("", "envoy.retry_host_predicates.previous_hosts") => {
            Ok(HostPredicate::PreviousHosts)
        }
        (OMIT_CANARY_HOSTS, _) | ("", "envoy.retry_host_predicates.omit_canary_hosts") => {
            Ok(HostPredicate::OmitCanaryHosts)
        }
        _ => Err(CompileError::unknown_extension(
            "retry host predicate",
            name,
            type_url,
        )),
    }
}

fn priority_update_frequency(
    priority: &proto::retry_policy::RetryPriority,
) -> Result<usize, CompileError> {
    use proto::retry_policy::retry_priority::ConfigType;
    let Some(ConfigType::TypedConfig(any)) = &priority.config_type else {
        return Err(CompileError::unknown_extension(
            "retry priority",
            &priority.name,
            "",
        ));
    };
    if !is_type::<PreviousPrioritiesConfig>(any) {
        let (name, type_url) = (&priority.name, &any.type_url);
        return Err(CompileError::unknown_extension(
            "retry priority",
            name,
            type_url,
        ));
    }
    let config: PreviousPrioritiesConfig = unpack(any)?;
    match usize::try_from(config.update_frequency) {
        Ok(frequency) if frequency > 0 => Ok(frequency),
        _ => Err(CompileError::new("is not above 0").at("update_frequency")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::message::ResponseHead;

    fn policy(retry_on: &str) -> RetryPolicy {
        RetryPolicy::compile(&proto::RetryPolicy {
            retry_on: retry_on.to_owned(),
            retriable_status_codes: vec![418],
            ..Default::default()
        })
        .expect("valid")
    }

    #[test]
    fn istios_default_retries_what_was_not_processed() {
        let policy =
            policy("connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes");
        assert!(policy.covers(Failure::Connect) && policy.covers(Failure::RefusedStream));
        assert!(!policy.covers(Failure::Reset { sent: true }));
        assert!(!policy.covers(Failure::PerTryTimeout));
        assert!(policy.covers_response(&ResponseHead::new(418)));
        assert!(!policy.covers_response(&ResponseHead::new(503)));
        let mut head = ResponseHead::new(200);
        head.headers.append_named(b"grpc-status", b"14");
        assert!(policy.covers_response(&head));
    }

    #[test]
    fn clients_add_to_the_policy_of_the_route() {
        let headers = |fields: &[(&str, &str)]| fields.iter().copied().collect::<HeaderBlock>();
        assert!(RetryPolicy::asked_for(None, &headers(&[("x-other", "5xx")])).is_none());
        let asked = headers(&[
            ("x-envoy-retry-on", "gateway-error,retriable-status-codes"),
            ("x-envoy-retriable-status-codes", "425, 429"),
            ("x-envoy-max-retries", "3"),
        ]);
        let alone = RetryPolicy::asked_for(None, &asked).expect("asked for");
        assert_eq!(alone.retries, 3);
        assert!(alone.covers_response(&ResponseHead::new(502)));
        assert!(alone.covers_response(&ResponseHead::new(429)));
        assert!(!alone.covers_response(&ResponseHead::new(500)));
        let named = headers(&[
            ("x-envoy-retry-on", "retriable-headers"),
            ("x-envoy-retriable-header-names", "X-Again, x-other"),
        ]);
        let named = RetryPolicy::asked_for(None, &named).expect("asked for");
        let mut head = ResponseHead::new(200);
        assert!(!named.covers_response(&head));
        head.headers.append_named(b"x-again", b"");
        assert!(named.covers_response(&head));
        let route = policy("retriable-4xx");
        let both = RetryPolicy::asked_for(Some(&route), &asked).expect("asked for");
        assert!(both.covers_response(&ResponseHead::new(409)));
        assert!(both.covers_response(&ResponseHead::new(418)));
    }

    #[test]
    fn conditions() {
        assert!(policy("5xx").covers_response(&ResponseHead::new(500)));
        assert!(!policy("gateway-error").covers_response(&ResponseHead::new(500)));
        assert!(policy("gateway-error").covers_response(&ResponseHead::new(504)));
        assert!(policy("retriable-4xx").covers_response(&ResponseHead::new(409)));
        assert!(policy("reset").covers(Failure::Reset { sent: true }));
        let before = policy("reset-before-request");
        assert!(before.covers(Failure::Reset { sent: false }));
        assert!(!before.covers(Failure::Reset { sent: true }));
        assert_eq!(RetryOn::parse("5xx, nonsense").1, ["nonsense"]);
    }

    #[test]
    fn hosts_and_priorities_to_prefer_are_read() {
        use proto::retry_policy::retry_host_predicate::ConfigType as HostConfig;
        use proto::retry_policy::retry_priority::ConfigType as PriorityConfig;
        use proto::retry_policy::{RetryHostPredicate, RetryPriority};
        let compile = |name: &str, frequency| {
            RetryPolicy::compile(&proto::RetryPolicy {
                retry_on: "5xx".to_owned(),
                retry_host_predicate: vec![RetryHostPredicate {
                    name: name.to_owned(),
                    config_type: None::<HostConfig>,
                }],
                retry_priority: Some(RetryPriority {
                    name: "envoy.retry_priorities.previous_priorities".to_owned(),
                    config_type: Some(PriorityConfig::TypedConfig(ironsail_xds::pack(
                        &PreviousPrioritiesConfig {
                            update_frequency: frequency,
                        },
                    ))),
                }),
                ..Default::default()
            })
        };
        let previous = compile("envoy.retry_host_predicates.previous_hosts", 2).expect("valid");
        assert!(previous.avoid_previous_hosts && !previous.omit_canary_hosts);
        assert_eq!(previous.priority_update_frequency, Some(2));
        let canaries = "envoy.retry_host_predicates.omit_canary_hosts";
        assert!(compile(canaries, 1).expect("valid").omit_canary_hosts);
        assert!(compile(canaries, 0).is_err());
        assert!(compile("envoy.retry_host_predicates.nonsense", 1).is_err());
    }
}
