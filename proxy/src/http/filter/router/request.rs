//! The request as the upstream gets it: headers of the route, rewrites, timeouts.

use std::time::Duration;

use super::{RequestTimeouts, RouterConfig};
use crate::access_log::FormatContext;
use crate::http::connection_manager::exchange::{Chosen, Exchange};
use crate::http::grpc;
use crate::http::header_name::Known;
use crate::resource::cluster::LbPolicy;
use crate::route::{Forward, HostRewrite, RequestHash};

/// Finds out how long a request may take.
pub(super) fn timeouts(exchange: &Exchange, forward: &Forward) -> RequestTimeouts {
    let retry = forward.retry.as_ref();
    let grpc = forward.grpc_timeout.filter(|_| exchange.is_grpc);
    let cluster = exchange.cluster.as_ref();
    let mut timeouts = RequestTimeouts {
        whole: match grpc {
            Some(rule) => rule.of_response(grpc_timeout(exchange)),
            None => forward.timeout,
        },
        per_try: retry.and_then(|retry| retry.per_try_timeout),
        per_try_idle: retry.and_then(|retry| retry.per_try_idle_timeout),
        stream: stream_limit(exchange, forward),
        upstream_stream: cluster.and_then(|cluster| cluster.config.http.max_stream_duration),
        tells_grpc: grpc.is_some(),
    };
    // Only trusted clients get these headers this far.
    if let Some(limit) = millis(exchange, Known::EnvoyUpstreamTimeoutMs) {
        timeouts.whole = limit;
    }
    if let Some(limit) = millis(exchange, Known::EnvoyPerTryTimeoutMs) {
        timeouts.per_try = limit;
    }
    if let Some(limit) = millis(exchange, Known::EnvoyStreamDurationMs) {
        timeouts.upstream_stream = limit;
    }
    if let (Some(whole), Some(per_try)) = (timeouts.whole, timeouts.per_try)
        && per_try >= whole
    {
        timeouts.per_try = None;
    }
    timeouts
}

fn grpc_timeout(exchange: &Exchange) -> Option<Duration> {
    let asked = exchange.request.headers.get(Known::GrpcTimeout);
    asked.and_then(grpc::parse_timeout)
}

fn stream_limit(exchange: &Exchange, forward: &Forward) -> Option<Duration> {
    let general = exchange.context.hcm.timeouts.max_stream;
    let Some(limit) = forward.stream_limit else {
        return general;
    };
    match limit.grpc.zip(grpc_timeout(exchange)) {
        Some((rule, asked)) => Some(rule.of_stream(asked)),
        None => limit.max.unwrap_or(general),
    }
}

/// Tells the server how long the client will wait, with what is `left` of the time for the response.
pub(super) fn tell_timeouts(
    exchange: &mut Exchange,
    timeouts: &RequestTimeouts,
    left: Option<Duration>,
    config: &RouterConfig,
) {
    let Some(limit) = timeouts.per_try.or(timeouts.whole) else {
        return;
    };
    // 0 would be no limit.
    let left = left.map(|left| left.max(Duration::from_millis(1)));
    let expected = left.map_or(limit, |left| limit.min(left));
    let headers = &mut exchange.request.headers;
    if !config.suppress_envoy_headers {
        let text = expected.as_millis().to_string();
        headers.set(Known::EnvoyExpectedTimeoutMs, text.as_bytes());
    }
    if timeouts.tells_grpc {
        let text = grpc::format_timeout(expected);
        headers.set(Known::GrpcTimeout, text.as_bytes());
    }
}

fn number(exchange: &Exchange, name: Known) -> Option<u64> {
    exchange.request.headers.get_str(name)?.parse().ok()
}

/// A limit in milliseconds; the inner `None` is no limit.
fn millis(exchange: &Exchange, name: Known) -> Option<Option<Duration>> {
    let millis = number(exchange, name)?;
    Some(Some(Duration::from_millis(millis)).filter(|limit| !limit.is_zero()))
}

/// Brings the head into the form for the upstream. Returns the hash for load balancing.
pub(super) fn prepare(
    exchange: &mut Exchange,
    chosen: Chosen<'_>,
    forward: &Forward,
    timeouts: &RequestTimeouts,
    config: &RouterConfig,
) -> Option<u64> {
    let hash = hash(exchange, forward);
    exchange.set_cookies = hash.set_cookies;
    tell_timeouts(exchange, timeouts, None, config);
    if let Some(limit) = timeouts.stream
        && exchange.is_grpc
        && forward.stream_limit.is_some()
    {
        let text = grpc::format_timeout(limit);
        let headers = &mut exchange.request.headers;
        headers.set(Known::GrpcTimeout, text.as_bytes());
    }
    for name in [
        Known::EnvoyUpstreamTimeoutMs,
        Known::EnvoyPerTryTimeoutMs,
        Known::EnvoyStreamDurationMs,
        Known::EnvoyMaxRetries,
        Known::EnvoyRetryOn,
        Known::EnvoyRetryGrpcOn,
        Known::EnvoyRetriableStatusCodes,
        Known::EnvoyRetriableHeaderNames,
    ] {
        exchange.request.headers.remove(name);
    }
    for mutations in chosen.found.request_mutations(chosen.weighted) {
        let context = FormatContext {
            info: &exchange.info,
            connection: Some(&exchange.context.connection),
            request: Some(&exchange.request),
            response: None,
            trailers: None,
        };
        mutations
            .evaluate(&context)
            .apply(&mut exchange.request.headers);
    }
    rewrite_host(exchange, chosen, forward, config);
    rewrite_path(exchange, chosen, forward, config);
    exchange.set_decorator(&chosen.found);
    hash.hash
}

/// What the choice of a host goes by, if it goes by a hash.
fn hash(exchange: &Exchange, forward: &Forward) -> RequestHash {
    let policy = exchange.cluster.as_ref().map(|c| c.config.lb_policy);
    if !policy.is_some_and(LbPolicy::hashes) {
        return RequestHash::default();
    }
    let connection = &exchange.context.connection;
    let source = exchange.info.remote.unwrap_or(connection.remote);
    forward.hash_policies.hash(&exchange.request, source.ip())
}

fn rewrite_host(
    exchange: &mut Exchange,
    chosen: Chosen<'_>,
    forward: &Forward,
    config: &RouterConfig,
) {
    let request = &exchange.request;
    let weighted = chosen.weighted.and_then(|w| w.host_rewrite.as_deref());
    let new = match (weighted, &forward.host_rewrite) {
        (Some(host), _) => Some(host.to_owned()),
        (None, Some(HostRewrite::Literal(host))) => Some(host.to_string()),
        (None, Some(HostRewrite::Header(name))) => request
            .headers
            .get_named(name.as_bytes())
            .and_then(|value| std::str::from_utf8(value).ok())
            .filter(|value| !value.is_empty())
            .map(str::to_owned),
        (None, Some(HostRewrite::PathRegex(rewrite))) => {
            Some(rewrite.apply(request.path_only()).into_owned())
        }
        // The endpoint's name is only known when it is chosen; clusters by DNS have one name for all.
        (None, Some(HostRewrite::Auto)) => exchange.cluster.as_ref().and_then(|cluster| {
            let name = cluster.hosts().first()?.endpoint.hostname.to_string();
            (!name.is_empty()).then_some(name)
        }),
        (None, None) => None,
    };
    let Some(new) = new else {
        return;
    };
    let old = exchange.request.authority().to_owned();
    let headers = &mut exchange.request.headers;
    if !config.suppress_envoy_headers && weighted.is_none() {
        headers.set_named(b"x-envoy-original-host", old.as_bytes());
    }
    if forward.append_forwarded_host {
        headers.append_joined(Known::ForwardedHost, b",", old.as_bytes());
    }
    exchange.request.set_authority(new.as_bytes());
}

fn rewrite_path(
    exchange: &mut Exchange,
    chosen: Chosen<'_>,
    forward: &Forward,
    config: &RouterConfig,
) {
    let Some(rewrite) = &forward.path_rewrite else {
        return;
    };
    let old = exchange.request.path();
    let new = rewrite.apply(chosen.found.route.path_matcher(), old);
    if !new.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        return;
    }
    let old = old.to_owned();
    exchange.request.set_path(new.as_bytes());
    if !config.suppress_envoy_headers {
        exchange
            .request
            .headers
            .set(Known::EnvoyOriginalPath, old.as_bytes());
    }
}
