//! What happens to a request that a route matched: forwarding, a redirect, or an answer from the configuration.

use std::sync::Arc;
use std::time::Duration;

use ironsail_xds::{core, route as proto, to_std};
use proto::route_action::RequestMirrorPolicy;

use super::cluster_choice::ClusterChoice;
use super::direct_response::DirectResponse;
use super::hash_policy::HashPolicies;
use super::matcher::Fraction;
use super::redirect::Redirect;
use super::retry::RetryPolicy;
use super::rewrite::{HostRewrite, PathRewrite};
use super::upgrade;
use crate::resource::cluster::RoutingPriority;
use crate::resource::{At, CompileError};

/// Time for a whole request when a route says nothing.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// What a route does.
#[derive(Debug)]
pub enum Action {
    Forward(Box<Forward>),
    Redirect(Box<Redirect>),
    Direct(DirectResponse),
}

/// `RouteAction`.
#[derive(Debug)]
pub struct Forward {
    pub cluster: ClusterChoice,
    /// Status when the cluster does not exist; default 503.
    pub cluster_not_found: u16,
    /// From the end of the request to the end of the response; `None`: no limit, also where `stream_limit` is set.
    pub timeout: Option<Duration>,
    /// Time without progress; the outer `None` leaves it to the connection manager, the inner is no limit.
    pub idle_timeout: Option<Option<Duration>>,
    /// `None` leaves it to the connection manager.
    pub stream_limit: Option<StreamLimit>,
    /// What the timeout of gRPC requests is; only without `stream_limit`.
    pub grpc_timeout: Option<GrpcTimeout>,
    pub retry: Option<RetryPolicy>,
    pub path_rewrite: Option<PathRewrite>,
    pub host_rewrite: Option<HostRewrite>,
    pub append_forwarded_host: bool,
    pub mirrors: Vec<Mirror>,
    pub hash_policies: HashPolicies,
    /// Lower-case protocols that may, or may not, be upgraded to, over what the connection manager says.
    pub upgrades: Vec<(Box<str>, bool)>,
    /// CONNECT ends here: what follows it goes to the cluster as bytes.
    pub terminates_connect: bool,
    pub priority: RoutingPriority,
}

/// `MaxStreamDuration`: time for the whole stream, both messages.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimit {
    /// The outer `None` leaves it to the connection manager, the inner is no limit.
    pub max: Option<Option<Duration>>,
    /// The limit of requests that bring a `grpc-timeout`.
    pub grpc: Option<GrpcTimeout>,
}

/// How the client's `grpc-timeout` becomes a limit.
#[derive(Clone, Copy, Debug)]
pub struct GrpcTimeout {
    /// `None`: whatever the client says.
    pub max: Option<Duration>,
    /// Taken off what the client says.
    pub offset: Duration,
}

/// `RequestMirrorPolicy`.
#[derive(Debug)]
pub struct Mirror {
    pub cluster: Arc<str>,
    pub fraction: Fraction,
    /// Add `-shadow` to the host.
    pub shadow_suffix: bool,
    pub host_rewrite: Option<Box<str>>,
}

impl Forward {
    /// # Errors
    /// Whatever the action asks for that this proxy does not have.
    pub fn compile(
        action: &proto::RouteAction,
        fallback_retry: Option<&proto::RetryPolicy>,
        fallback_mirrors: &[RequestMirrorPolicy],
    ) -> Result<Self, CompileError> {
        let mirror_policies = match action.request_mirror_policies.as_slice() {
            [] => fallback_mirrors,
            own => own,
        };
        let retry = match action.retry_policy.as_ref().or(fallback_retry) {
            Some(policy) => Some(RetryPolicy::compile(policy).at("retry_policy")?),
            None => None,
        };
        let limit = |value: &ironsail_xds::protobuf::Duration| {
            Some(to_std(value)).filter(|limit| !limit.is_zero())
        };
        let stream = action.max_stream_duration.as_ref();
        Ok(Self {
            cluster: ClusterChoice::compile(action.cluster_specifier.as_ref())?,
            cluster_not_found: match action.cluster_not_found_response_code() {
                proto::route_action::ClusterNotFoundResponseCode::ServiceUnavailable => 503,
                proto::route_action::ClusterNotFoundResponseCode::NotFound => 404,
                proto::route_action::ClusterNotFoundResponseCode::InternalServerError => 500,
            },
            timeout: match (&action.timeout, stream) {
                (_, Some(_)) => None,
                (None, None) => Some(DEFAULT_TIMEOUT),
                (Some(timeout), None) => limit(timeout),
            },
            idle_timeout: action.idle_timeout.as_ref().map(limit),
            stream_limit: stream.map(|stream| StreamLimit {
                max: stream.max_stream_duration.as_ref().map(limit),
                grpc: GrpcTimeout::compile(
                    stream.grpc_timeout_header_max.as_ref(),
                    stream.grpc_timeout_header_offset.as_ref(),
                ),
            }),
            grpc_timeout: grpc_timeout(action).filter(|_| stream.is_none()),
            retry,
            path_rewrite: PathRewrite::compile(action)?,
            host_rewrite: HostRewrite::compile(action.host_rewrite_specifier.as_ref())?,
            append_forwarded_host: action.append_x_forwarded_host,
            mirrors: mirrors(mirror_policies)?,
            hash_policies: HashPolicies::compile(&action.hash_policy)?,
            upgrades: upgrade::allowed(&action.upgrade_configs),
            terminates_connect: upgrade::terminates_connect(&action.upgrade_configs)?,
            priority: match action.priority() {
                core::RoutingPriority::Default => RoutingPriority::Default,
                core::RoutingPriority::High => RoutingPriority::High,
            },
        })
    }

    /// Names of the clusters that requests may go to, as far as they are known beforehand.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let (one, weighted) = match &self.cluster {
            ClusterChoice::One(name) => (Some(name), &[][..]),
            ClusterChoice::Weighted(weighted) => (None, weighted.clusters()),
            ClusterChoice::Header(_) => (None, &[][..]),
        };
        let mirrored = self.mirrors.iter().map(|mirror| &mirror.cluster);
        let weighted = weighted.iter().map(|cluster| &cluster.name);
        one.into_iter().chain(weighted).chain(mirrored)
    }
}

#[allow(deprecated)]
fn grpc_timeout(action: &proto::RouteAction) -> Option<GrpcTimeout> {
    GrpcTimeout::compile(
        action.max_grpc_timeout.as_ref(),
        action.grpc_timeout_offset.as_ref(),
    )
}

impl GrpcTimeout {
    fn compile(
        max: Option<&ironsail_xds::protobuf::Duration>,
        offset: Option<&ironsail_xds::protobuf::Duration>,
    ) -> Option<Self> {
        Some(Self {
            max: Some(to_std(max?)).filter(|max| !max.is_zero()),
            offset: offset.map(to_std).unwrap_or_default(),
        })
    }

    /// The timeout of a response, as Envoy reads it: 0 is no limit, and an offset that leaves nothing is left out.
    pub fn of_response(self, asked: Option<Duration>) -> Option<Duration> {
        let asked = asked.filter(|asked| !asked.is_zero());
        let asked = asked.map(|asked| match asked.saturating_sub(self.offset) {
            Duration::ZERO => asked,
            less => less,
        });
        match (asked, self.max) {
            (Some(asked), Some(max)) => Some(asked.min(max)),
            (asked, max) => asked.or(max),
        }
    }

    /// The limit of a stream, as Envoy reads it: 0 is no time at all.
    pub fn of_stream(self, asked: Duration) -> Duration {
        let limit = self.max.map_or(asked, |max| asked.min(max));
        limit.saturating_sub(self.offset)
    }
}

fn mirrors(policies: &[RequestMirrorPolicy]) -> Result<Vec<Mirror>, CompileError> {
    let compile = |(index, policy): (usize, &RequestMirrorPolicy)| {
        let field = format_args!("request_mirror_policies[{index}]");
        if policy.cluster.is_empty() {
            return Err(CompileError::new("is required").at("cluster")).at(field);
        }
        Ok(Mirror {
            cluster: policy.cluster.as_str().into(),
            fraction: Fraction::from_runtime(policy.runtime_fraction.as_ref()),
            shadow_suffix: !policy.disable_shadow_host_suffix_append,
            host_rewrite: Some(policy.host_rewrite_literal.as_str())
                .filter(|host| !host.is_empty())
                .map(Into::into),
        })
    };
    policies.iter().enumerate().map(compile).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_of_0_is_none_for_responses_and_no_time_for_streams() {
        let millis = Duration::from_millis;
        let rule = GrpcTimeout {
            max: Some(millis(1000)),
            offset: millis(100),
        };
        let unlimited = GrpcTimeout { max: None, ..rule };
        for (asked, response, stream) in [(500, 400, 400), (5000, 1000, 900), (100, 100, 0)] {
            assert_eq!(
                rule.of_response(Some(millis(asked))),
                Some(millis(response))
            );
            assert_eq!(rule.of_stream(millis(asked)), millis(stream));
        }
        assert_eq!(rule.of_response(Some(Duration::ZERO)), rule.max);
        assert_eq!(unlimited.of_response(Some(Duration::ZERO)), None);
        assert_eq!(unlimited.of_response(None), None);
        assert_eq!(unlimited.of_stream(millis(5000)), millis(4900));
    }
}
