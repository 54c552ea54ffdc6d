//! Rules of the HTTP routes of a VirtualService.

use std::collections::BTreeMap;

use ironsail_mesh::grpc;

use crate::networking::virtual_service::{
    CorsPolicy, FaultAbort, FaultDelay, HeaderOperations, Headers, HttpDirectResponse,
    HttpFaultInjection, HttpMatchRequest, HttpRedirect, HttpRetry, HttpRewrite, HttpRoute, Percent,
    StringMatch,
};

use super::field::{Findings, child, items};
use super::shared;
use super::virtual_service::{CommonMatch, check_destination, check_weights};

const MAX_BODY: usize = 1024 * 1024;
const LARGE_BODY: usize = 100 * 1024;
/// Header matches of this form look at claims of the caller's token.
const CLAIMS: &str = "@request.auth.claims";

/// Where the routes are used.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    /// The VirtualService is there for another one.
    pub delegate: bool,
    /// Gateways use it.
    pub for_gateways: bool,
}

pub(super) fn check(route: &HttpRoute, scope: Scope, path: &str, out: &mut Findings) {
    check_action(route, scope, path, out);
    for (path, matched) in items(path, "match", &route.matches) {
        check_match(matched, scope, &path, out);
    }
    for (path, entry) in items(path, "route", &route.route) {
        check_destination(&entry.destination, &child(&path, "destination"), out);
        check_headers(entry.headers.as_ref(), &path, out);
    }
    let weights: Vec<i32> = route.route.iter().map(|entry| entry.weight).collect();
    check_weights(&weights, path, out);
    if let Some(redirect) = &route.redirect {
        check_redirect(redirect, &child(path, "redirect"), out);
    }
    if let Some(response) = &route.direct_response {
        check_direct_response(response, &child(path, "directResponse"), out);
    }
    if let Some(rewrite) = &route.rewrite {
        check_rewrite(rewrite, &child(path, "rewrite"), out);
    }
    shared::duration_ms(&route.timeout, path, "timeout", out);
    if let Some(retries) = &route.retries {
        check_retries(retries, &child(path, "retries"), out);
    }
    if let Some(fault) = &route.fault {
        check_fault(fault, &child(path, "fault"), out);
    }
    check_mirrors(route, path, out);
    if let Some(cors) = &route.cors_policy {
        check_cors(cors, &child(path, "corsPolicy"), out);
    }
    check_headers(route.headers.as_ref(), path, out);
}

/// Exactly one of route, redirect, directResponse and delegate, and what goes with it.
fn check_action(route: &HttpRoute, scope: Scope, path: &str, out: &mut Findings) {
    let actions = [
        ("route", !route.route.is_empty()),
        ("redirect", route.redirect.is_some()),
        ("directResponse", route.direct_response.is_some()),
        ("delegate", route.delegate.is_some()),
    ];
    let set: Vec<&str> = actions.iter().filter(|a| a.1).map(|a| a.0).collect();
    match set.as_slice() {
        [] => out.error(
            path,
            "must have route, redirect, directResponse or delegate",
        ),
        [_] => {}
        several => out.error(
            path,
            format!("only one of {} can be set", several.join(", ")),
        ),
    }
    let answers = route.redirect.is_some() || route.direct_response.is_some();
    for (name, set) in [
        ("fault", route.fault.is_some()),
        ("rewrite", route.rewrite.is_some()),
    ] {
        if set && answers {
            out.error(
                child(path, name),
                "can't be set with redirect or directResponse",
            );
        }
    }
    let Some(delegate) = &route.delegate else {
        return;
    };
    let path = child(path, "delegate");
    if scope.delegate {
        out.error(path.clone(), "a delegate can't delegate");
    }
    if delegate.name.is_empty() {
        out.error(child(&path, "name"), "must not be empty");
    }
    if !delegate.namespace.is_empty() {
        out.check(
            child(&path, "namespace"),
            shared::dns_label(&delegate.namespace),
        );
    }
}

fn check_match(matched: &HttpMatchRequest, scope: Scope, path: &str, out: &mut Findings) {
    let texts = [
        ("uri", &matched.uri),
        ("scheme", &matched.scheme),
        ("method", &matched.method),
        ("authority", &matched.authority),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            shared::string_match(text, &child(path, name), out);
        }
    }
    for (name, headers) in [
        ("headers", &matched.headers),
        ("withoutHeaders", &matched.without_headers),
    ] {
        check_header_matches(headers, scope, &child(path, name), out);
    }
    for (name, text) in &matched.query_params {
        shared::string_match(text, &child(&child(path, "queryParams"), name), out);
    }
    let regex = matched.uri.as_ref().is_some_and(|uri| uri.regex.is_some());
    if matched.ignore_uri_case && regex {
        out.warn(
            child(path, "ignoreUriCase"),
            "has no effect on a regular expression",
        );
    }
    let common = CommonMatch {
        port: matched.port,
        source_labels: &matched.source_labels,
        source_namespace: &matched.source_namespace,
        gateways: &matched.gateways,
    };
    common.check(path, out);
}

fn check_header_matches(
    headers: &BTreeMap<String, StringMatch>,
    scope: Scope,
    path: &str,
    out: &mut Findings,
) {
    for (name, text) in headers {
        let path = child(path, name);
        if name.starts_with(CLAIMS) {
            if !scope.for_gateways {
                out.error(
                    path.clone(),
                    "claims of tokens can be matched by gateways only",
                );
            }
        } else {
            out.check(
                path.clone(),
                shared::header_name(name.trim_start_matches(':')),
            );
        }
        shared::string_match(text, &path, out);
    }
}

fn check_redirect(redirect: &HttpRedirect, path: &str, out: &mut Findings) {
    let empty = redirect.uri.is_empty()
        && redirect.prefix_rewrite.is_empty()
        && redirect.authority.is_empty()
        && redirect.scheme.is_empty()
        && redirect.port.is_none()
        && redirect.derive_port.is_none()
        && redirect.redirect_code.unwrap_or(0) == 0;
    if empty {
        out.error(
            path,
            "must have uri, prefixRewrite, authority, scheme, port or redirectCode",
        );
    }
    if !redirect.uri.is_empty() && !redirect.prefix_rewrite.is_empty() {
        out.error(path, "only one of uri, prefixRewrite can be set");
    }
    let code = redirect.redirect_code.unwrap_or(0);
    if code != 0 && !matches!(code, 301 | 302 | 303 | 307 | 308) {
        out.error(
            child(path, "redirectCode"),
            format!("{code} must be 301, 302, 303, 307 or 308"),
        );
    }
    if !matches!(redirect.scheme.as_str(), "" | "http" | "https") {
        out.error(
            child(path, "scheme"),
            format!("{:?} must be http or https", redirect.scheme),
        );
    }
    if let Some(port) = redirect.port {
        out.check(child(path, "port"), shared::port(port));
    }
}

fn check_direct_response(response: &HttpDirectResponse, path: &str, out: &mut Findings) {
    if !(200..=599).contains(&response.status) {
        out.error(
            child(path, "status"),
            format!("{} must be 200 to 599", response.status),
        );
    }
    let Some(body) = &response.body else { return };
    let path = child(path, "body");
    let size = match (&body.string, &body.bytes) {
        (Some(text), _) => text.len(),
        // Four characters are three bytes.
        (None, Some(base64)) => base64.len() / 4 * 3,
        (None, None) => {
            out.error(path, "must have string or bytes");
            return;
        }
    };
    if size > MAX_BODY {
        out.error(
            path,
            format!("has {size} bytes, at most {MAX_BODY} are allowed"),
        );
    } else if size > LARGE_BODY {
        out.warn(
            path,
            format!("has {size} bytes, which every proxy keeps in memory"),
        );
    }
}

fn check_rewrite(rewrite: &HttpRewrite, path: &str, out: &mut Findings) {
    let Some(regex) = &rewrite.uri_regex_rewrite else {
        if rewrite.uri.is_empty() && rewrite.authority.is_empty() {
            out.error(path, "must have uri, uriRegexRewrite or authority");
        }
        return;
    };
    if !rewrite.uri.is_empty() {
        out.error(path, "only one of uri, uriRegexRewrite can be set");
    }
    let path = child(path, "uriRegexRewrite");
    out.check(child(&path, "match"), shared::regex(&regex.pattern));
    if regex.rewrite.is_empty() {
        out.error(child(&path, "rewrite"), "must not be empty");
    }
}

/// Conditions of Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

fn check_retries(retries: &HttpRetry, path: &str, out: &mut Findings) {
    shared::not_negative(retries.attempts, path, "attempts", out);
    let more = retries.per_try_timeout.is_some()
        || !retries.retry_on.is_empty()
        || retries.retry_remote_localities.is_some()
        || retries.backoff.is_some();
    if retries.attempts == 0 && more {
        out.error(
            path,
            "has settings but attempts is 0, which turns retries off",
        );
    }
    shared::duration_ms(&retries.per_try_timeout, path, "perTryTimeout", out);
    shared::duration_ms(&retries.backoff, path, "backoff", out);
    if retries.retry_on.is_empty() {
        return;
    }
    for token in retries.retry_on.split(',').map(str::trim) {
        let status = token
            .parse::<u16>()
            .is_ok_and(|code| (100..=599).contains(&code));
        if !status && !RETRY_ON.contains(&token) {
            out.error(
                child(path, "retryOn"),
                format!("{token:?} is no retry condition and no status code"),
            );
        }
    }
}

fn check_fault(fault: &HttpFaultInjection, path: &str, out: &mut Findings) {
    if fault.delay.is_none() && fault.abort.is_none() {
        out.error(path, "must have delay or abort");
    }
    if let Some(delay) = &fault.delay {
        check_delay(delay, &child(path, "delay"), out);
    }
    if let Some(abort) = &fault.abort {
        check_abort(abort, &child(path, "abort"), out);
    }
}

fn check_delay(delay: &FaultDelay, path: &str, out: &mut Findings) {
    check_percentage(delay.percentage.as_ref(), path, out);
    if delay.percent != 0 {
        let path = child(path, "percent");
        out.warn(path.clone(), "is deprecated, use percentage");
        out.check(path, shared::percent(f64::from(delay.percent)));
    }
    if delay.exponential_delay.is_some() {
        out.error(
            child(path, "exponentialDelay"),
            "is not supported, use fixedDelay",
        );
    } else if delay.fixed_delay.is_none() {
        out.error(child(path, "fixedDelay"), "is required");
    }
    shared::duration_ms(&delay.fixed_delay, path, "fixedDelay", out);
}

fn check_abort(abort: &FaultAbort, path: &str, out: &mut Findings) {
    check_percentage(abort.percentage.as_ref(), path, out);
    if abort.http2_error.is_some() {
        out.error(
            child(path, "http2Error"),
            "is not supported, use httpStatus or grpcStatus",
        );
    } else if abort.http_status.is_none() && abort.grpc_status.is_none() {
        out.error(path, "must have httpStatus or grpcStatus");
    }
    if let Some(status) = abort
        .http_status
        .filter(|status| !(200..=599).contains(status))
    {
        out.error(
            child(path, "httpStatus"),
            format!("{status} must be 200 to 599"),
        );
    }
    if let Some(status) = &abort.grpc_status
        && grpc::status_code(status).is_none()
    {
        out.error(
            child(path, "grpcStatus"),
            format!("{status:?} is no gRPC status"),
        );
    }
}

fn check_percentage(percentage: Option<&Percent>, path: &str, out: &mut Findings) {
    if let Some(percentage) = percentage {
        out.check(child(path, "percentage"), shared::percent(percentage.value));
    }
}

fn check_mirrors(route: &HttpRoute, path: &str, out: &mut Findings) {
    if let Some(mirror) = &route.mirror {
        check_destination(mirror, &child(path, "mirror"), out);
        if !route.mirrors.is_empty() {
            out.error(path, "only one of mirror, mirrors can be set");
        }
    }
    for (path, mirror) in items(path, "mirrors", &route.mirrors) {
        check_destination(&mirror.destination, &child(&path, "destination"), out);
        check_percentage(mirror.percentage.as_ref(), &path, out);
    }
    for (name, share) in [
        ("mirrorPercent", route.mirror_percent),
        ("mirror_percent", route.mirror_percent_snake),
    ] {
        if let Some(share) = share {
            out.warn(child(path, name), "is deprecated, use mirrorPercentage");
            out.check(child(path, name), shared::percent(f64::from(share)));
        }
    }
    if let Some(share) = &route.mirror_percentage {
        out.check(
            child(path, "mirrorPercentage"),
            shared::percent(share.value),
        );
    }
}

const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*",
];

fn check_cors(cors: &CorsPolicy, path: &str, out: &mut Findings) {
    if !cors.allow_origin.is_empty() {
        out.warn(
            child(path, "allowOrigin"),
            "is deprecated, use allowOrigins",
        );
    }
    for (path, origin) in items(path, "allowOrigins", &cors.allow_origins) {
        shared::string_match(origin, &path, out);
    }
    for (path, method) in items(path, "allowMethods", &cors.allow_methods) {
        if !METHODS.contains(&method.as_str()) {
            out.error(path, format!("{method:?} is no HTTP method"));
        }
    }
    for (name, list) in [
        ("allowHeaders", &cors.allow_headers),
        ("exposeHeaders", &cors.expose_headers),
    ] {
        for (path, header) in items(path, name, list) {
            out.check(path, shared::header_name(header));
        }
    }
    shared::duration_ms(&cors.max_age, path, "maxAge", out);
    let whole = |age: std::time::Duration| age.subsec_nanos() == 0;
    if cors
        .max_age
        .as_ref()
        .is_some_and(|age| age.parse().is_ok_and(|age| !whole(age)))
    {
        out.error(child(path, "maxAge"), "must be a whole number of seconds");
    }
}

fn check_headers(headers: Option<&Headers>, path: &str, out: &mut Findings) {
    let Some(headers) = headers else { return };
    let path = child(path, "headers");
    if let Some(request) = &headers.request {
        check_operations(request, true, &child(&path, "request"), out);
    }
    if let Some(response) = &headers.response {
        check_operations(response, false, &child(&path, "response"), out);
    }
}

fn check_operations(operations: &HeaderOperations, request: bool, path: &str, out: &mut Findings) {
    for (kind, changes) in [("set", &operations.set), ("add", &operations.add)] {
        for (name, value) in changes {
            let path = child(&child(path, kind), name);
            // Setting the authority of a request is a rewrite of the host.
            if !(request && name == ":authority") {
                out.check(path.clone(), changeable(name));
            }
            if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
                out.error(path, "value must not have control characters");
            }
        }
    }
    for (path, name) in items(path, "remove", &operations.remove) {
        if name.eq_ignore_ascii_case("host") {
            out.error(path, "the host can't be removed");
        } else {
            out.check(path, changeable(name));
        }
    }
}

fn changeable(name: &str) -> Result<(), String> {
    if name.starts_with(':') {
        return Err(format!("header {name:?} can't be changed"));
    }
    shared::header_name(name)
}
