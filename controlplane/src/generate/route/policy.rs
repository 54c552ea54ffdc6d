//! Faults, cross-origin policies, mirrors and hashing of HTTP rules.

use std::collections::BTreeMap;
use std::time::Duration;

use ironsail_crds::networking::destination_rule::ConsistentHashLb;
use ironsail_crds::networking::virtual_service::{
    CorsPolicy, HttpFaultInjection, HttpRoute, Percent, UnmatchedPreflights,
};
use ironsail_mesh::grpc;
use ironsail_xds::core::RuntimeFractionalPercent;
use ironsail_xds::ext::filters::common::fault::v3::{FaultDelay, fault_delay};
use ironsail_xds::ext::filters::http::cors::v3::CorsPolicy as CorsConfig;
use ironsail_xds::ext::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort};
use ironsail_xds::kind::FractionalPercent;
use ironsail_xds::route::route_action::hash_policy::{
    ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};
use ironsail_xds::route::route_action::{HashPolicy, RequestMirrorPolicy};
use ironsail_xds::{Any, pack};

use crate::generate::message;
use crate::generate::route::matcher;
use crate::generate::traffic_policy::read;
use crate::model::virtual_service::VirtualService;

const FAULT_FILTER: &str = "envoy.filters.http.fault";
const CORS_FILTER: &str = "envoy.filters.http.cors";

/// Filter settings of one route.
pub fn filter_config(rule: &VirtualService, route: &HttpRoute) -> BTreeMap<String, Any> {
    let mut config = BTreeMap::new();
    if let Some(fault) = &route.fault {
        config.insert(FAULT_FILTER.to_owned(), pack(&translate_fault(fault)));
    }
    if let Some(cors) = &route.cors_policy {
        config.insert(CORS_FILTER.to_owned(), pack(&translate_cors(rule, cors)));
    }
    config
}

/// Without a share nothing is hit, as the reference of the API says.
fn share(percentage: Option<&Percent>, old_percent: i32) -> FractionalPercent {
    match percentage {
        Some(percentage) => message::share(percentage.value),
        None => message::share(old_percent.into()),
    }
}

fn translate_fault(fault: &HttpFaultInjection) -> HttpFault {
    let delay = fault.delay.as_ref().and_then(|delay| {
        let fixed = read(delay.fixed_delay.as_ref())?;
        Some(FaultDelay {
            percentage: Some(share(delay.percentage.as_ref(), delay.percent)),
            fault_delay_secifier: message::duration(fixed)
                .map(fault_delay::FaultDelaySecifier::FixedDelay),
        })
    });
    let abort = fault.abort.as_ref().and_then(|abort| {
        let http = abort
            .http_status
            .and_then(|status| u32::try_from(status).ok())
            .filter(|status| (200..600).contains(status));
        let grpc = abort.grpc_status.as_deref().and_then(grpc::status_code);
        let error = http
            .map(fault_abort::ErrorType::HttpStatus)
            .or(grpc.map(fault_abort::ErrorType::GrpcStatus))?;
        Some(FaultAbort {
            percentage: Some(share(abort.percentage.as_ref(), 0)),
            error_type: Some(error),
            ..Default::default()
        })
    });
    HttpFault {
        delay,
        abort,
        ..Default::default()
    }
}

fn translate_cors(rule: &VirtualService, cors: &CorsPolicy) -> CorsConfig {
    let old = cors.allow_origin.iter().map(message::exact);
    let new = cors.allow_origins.iter().filter_map(|origin| {
        // An expression that does not compile allows nobody.
        let matcher = matcher::text(rule, origin).ok()?;
        Some(matcher.unwrap_or_else(|| message::regex(".*")))
    });
    let max_age = read(cors.max_age.as_ref()).map(|age| age.as_secs().to_string());
    CorsConfig {
        allow_origin_string_match: old.chain(new).collect(),
        allow_methods: cors.allow_methods.join(","),
        allow_headers: cors.allow_headers.join(","),
        expose_headers: cors.expose_headers.join(","),
        max_age: max_age.unwrap_or_default(),
        allow_credentials: cors.allow_credentials.and_then(message::boolean),
        filter_enabled: Some(fraction(FractionalPercent {
            numerator: 100,
            ..Default::default()
        })),
        forward_not_matching_preflights: match cors.unmatched_preflights {
            UnmatchedPreflights::Forward => message::boolean(true),
            UnmatchedPreflights::Ignore => message::boolean(false),
            _ => None,
        },
        ..Default::default()
    }
}

fn fraction(share: FractionalPercent) -> RuntimeFractionalPercent {
    RuntimeFractionalPercent {
        default_value: Some(share),
        ..Default::default()
    }
}

/// A copy of the traffic to a cluster; `None` when no request is copied.
pub fn mirror(cluster: String, percent: f64) -> Option<RequestMirrorPolicy> {
    (percent > 0.0).then(|| RequestMirrorPolicy {
        cluster,
        runtime_fraction: Some(fraction(message::share(percent))),
        trace_sampled: message::boolean(false),
        disable_shadow_host_suffix_append: true,
        ..Default::default()
    })
}

/// What of a request is hashed.
pub fn hash_policy(hash: &ConsistentHashLb) -> Option<HashPolicy> {
    let header_name = hash.http_header_name.as_ref();
    let cookie = hash.http_cookie.as_ref();
    let specifier =
        if let Some(header_name) = header_name.filter(|name| message::is_header_name(name)) {
            PolicySpecifier::Header(Header {
                header_name: header_name.clone(),
                ..Default::default()
            })
        } else if let Some(cookie) = cookie.filter(|cookie| !cookie.name.is_empty()) {
            let ttl = cookie
                .ttl
                .as_deref()
                .and_then(|text| ironsail_mesh::duration::parse(text).ok());
            let attributes = cookie.attributes.iter().map(|attribute| CookieAttribute {
                name: attribute.name.clone(),
                value: attribute.value.clone(),
            });
            PolicySpecifier::Cookie(Cookie {
                name: cookie.name.clone(),
                path: cookie.path.clone(),
                ttl: ttl.and_then(|ttl: Duration| message::duration(ttl)),
                attributes: attributes.collect(),
            })
        } else if hash.use_source_ip == Some(true) {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        } else {
            PolicySpecifier::QueryParameter(QueryParameter {
                name: hash
                    .http_query_parameter_name
                    .clone()
                    .filter(|name| !name.is_empty())?,
            })
        };
    Some(HashPolicy {
        policy_specifier: Some(specifier),
        ..Default::default()
    })
}
