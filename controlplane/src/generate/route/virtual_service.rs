//! HTTP rules of VirtualServices as routes.

use std::time::Duration;

use bytes::Bytes;
use ironsail_crds::networking::virtual_service::{
    HttpMatchRequest, HttpRoute, HttpRouteDestination,
};
use ironsail_mesh::xds_name::ClusterName;
use ironsail_xds::ordered::RouteFilterConfig;
use ironsail_xds::route::route::Action;
use ironsail_xds::route::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use ironsail_xds::route::route_match::PathSpecifier;
use ironsail_xds::route::weighted_cluster::{self, ClusterWeight};
use ironsail_xds::route::{Decorator, Route, RouteAction, RouteMatch, WeightedCluster};
use prost::Message;

use crate::generate::destination::{ClientMatch, RouteScope};
use crate::generate::message;
use crate::generate::route::headers::{self, Operations};
use crate::generate::route::{action, matcher, policy, retry};
use crate::generate::traffic_policy::read;
use crate::model::virtual_service::VirtualService;

/// Cluster of destinations without a host.
const UNKNOWN_SERVICE: &str = "UnknownService";

/// An encoded route, and whether nothing after it is reached.
#[derive(Clone, Debug)]
pub struct EncodedRoute {
    pub body: Bytes,
    pub is_catch_all: bool,
}

impl EncodedRoute {
    pub fn new(route: &Route) -> Self {
        Self {
            is_catch_all: route.r#match.as_ref().is_some_and(matcher::is_catch_all),
            body: route.encode_to_vec().into(),
        }
    }
}

/// The routes of a rule in its order, up to the first that matches everything.
///
/// A match that is not for this client, or that can never match, gives none.
pub fn routes(scope: &RouteScope<'_>, rule: &VirtualService) -> Vec<EncodedRoute> {
    let mut routes = Vec::new();
    for http in &rule.spec.http {
        if http.matches.is_empty() {
            routes.extend(translate(scope, rule, http, None));
            return routes;
        }
        for condition in &http.matches {
            if !scope.is_for_client(rule, client_match(condition)) {
                continue;
            }
            let Some(route) = translate(scope, rule, http, Some(condition)) else {
                continue;
            };
            let is_catch_all = route.is_catch_all;
            routes.push(route);
            if is_catch_all {
                return routes;
            }
        }
    }
    routes
}

fn client_match(condition: &HttpMatchRequest) -> ClientMatch<'_> {
    ClientMatch {
        port: condition.port,
        gateways: &condition.gateways,
        source_namespace: &condition.source_namespace,
        source_labels: &condition.source_labels,
    }
}

fn translate(
    scope: &RouteScope<'_>,
    rule: &VirtualService,
    http: &HttpRoute,
    condition: Option<&HttpMatchRequest>,
) -> Option<EncodedRoute> {
    let route_match = match condition {
        None => matcher::any(),
        Some(condition) => matcher::translate(rule, condition).ok()?,
    };
    let operations = headers::translate(http.headers.as_ref());
    let mut route = Route {
        name: route_name(http, condition),
        metadata: message::config_metadata(&message::config_path(
            "virtual-service",
            &rule.key.namespace,
            &rule.key.name,
        )),
        stat_prefix: condition.map(|c| c.stat_prefix.clone()).unwrap_or_default(),
        ..Default::default()
    };
    let authority = operations.authority.clone();
    add_headers(&mut route, operations);
    if let Some(redirect) = &http.redirect {
        let redirect = action::redirect(redirect, scope.listen_port)?;
        route.action = Some(Action::Redirect(redirect));
    } else if let Some(response) = &http.direct_response {
        route.action = Some(Action::DirectResponse(action::direct_response(response)?));
    } else {
        let mut action = forward(scope, rule, http, authority)?;
        apply_destinations(scope, rule, http, &mut route, &mut action)?;
        route.action = Some(Action::Route(action));
    }
    route.decorator = Some(Decorator {
        operation: operation(scope, rule, &route, &route_match),
        ..Default::default()
    });
    route.r#match = Some(route_match);
    let mut encoded = EncodedRoute::new(&route);
    let config = policy::filter_config(rule, http);
    if !config.is_empty() {
        // Two keys in a map: they follow the rest, ordered.
        let config = RouteFilterConfig {
            typed_per_filter_config: config,
        };
        encoded.body = [&encoded.body[..], &config.encode_to_vec()].concat().into();
    }
    Some(encoded)
}

fn route_name(http: &HttpRoute, condition: Option<&HttpMatchRequest>) -> String {
    match condition.map(|condition| condition.name.as_str()) {
        Some(name) if !name.is_empty() && !http.name.is_empty() => format!("{}.{name}", http.name),
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => http.name.clone(),
    }
}

fn add_headers(route: &mut Route, operations: Operations) {
    route.request_headers_to_add.extend(operations.request_add);
    route
        .request_headers_to_remove
        .extend(operations.request_remove);
    route
        .response_headers_to_add
        .extend(operations.response_add);
    route
        .response_headers_to_remove
        .extend(operations.response_remove);
}

/// What holds for a forwarded request whatever its destination; `None` when a rewrite cannot work.
fn forward(
    scope: &RouteScope<'_>,
    rule: &VirtualService,
    http: &HttpRoute,
    authority: Option<String>,
) -> Option<RouteAction> {
    let timeout = message::duration(read(http.timeout.as_ref()).unwrap_or(Duration::ZERO));
    let mut action = RouteAction {
        timeout,
        ..Default::default()
    };
    #[allow(deprecated)] // Proxies of the mesh read this field.
    {
        action.max_grpc_timeout = timeout;
    }
    let authority = action::rewrite(rule, http.rewrite.as_ref(), &mut action)?.or(authority);
    action.host_rewrite_specifier = authority.map(HostRewriteSpecifier::HostRewriteLiteral);
    let old = http
        .mirror
        .iter()
        .map(|mirror| (mirror, http.mirror_share()));
    let new = http.mirrors.iter().map(|mirror| {
        let percent = mirror
            .percentage
            .as_ref()
            .map_or(100.0, |percentage| percentage.value);
        (&mirror.destination, percent)
    });
    action.request_mirror_policies = old
        .chain(new)
        .filter_map(|(mirror, percent)| {
            policy::mirror(scope.cluster(rule, mirror).to_string(), percent)
        })
        .collect();
    Some(action)
}

/// Sets the cluster or the weighted clusters; `None` when there is nothing to send to.
fn apply_destinations(
    scope: &RouteScope<'_>,
    rule: &VirtualService,
    http: &HttpRoute,
    route: &mut Route,
    action: &mut RouteAction,
) -> Option<()> {
    let mut weighted = Vec::new();
    let mut is_hashed = false;
    let is_single = http.route.len() == 1;
    for destination in &http.route {
        let weight = u32::try_from(destination.weight).unwrap_or(0);
        if !is_single && weight == 0 {
            continue;
        }
        let cluster = scope.cluster(rule, &destination.destination);
        if let Some(hash) = scope.consistent_hash(&cluster) {
            is_hashed = true;
            action.hash_policy.extend(policy::hash_policy(hash));
        }
        weighted.push((cluster_text(&cluster), weight, destination));
    }
    action.retry_policy = retry::policy(http.retries.as_ref(), is_hashed);
    // Proxies refuse the whole table for a sum that does not fit.
    let mut weights = weighted.iter().map(|(_, weight, _)| *weight);
    weights.try_fold(0, u32::checked_add)?;
    match weighted.as_slice() {
        [] => return None,
        [(cluster, _, destination)] => {
            let operations = headers::translate(destination.headers.as_ref());
            if let Some(authority) = &operations.authority {
                action.host_rewrite_specifier =
                    Some(HostRewriteSpecifier::HostRewriteLiteral(authority.clone()));
            }
            add_headers(route, operations);
            action.cluster_specifier = Some(ClusterSpecifier::Cluster(cluster.clone()));
            if cluster == UNKNOWN_SERVICE {
                action.cluster_not_found_response_code =
                    ironsail_xds::route::route_action::ClusterNotFoundResponseCode::InternalServerError.into();
            }
        }
        several => {
            let clusters = several
                .iter()
                .map(|(cluster, weight, destination)| cluster_weight(cluster, *weight, destination))
                .collect();
            action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters,
                ..Default::default()
            }));
        }
    }
    Some(())
}

fn cluster_text(cluster: &ClusterName) -> String {
    match cluster.host.as_str() {
        "" => UNKNOWN_SERVICE.to_owned(),
        _ => cluster.to_string(),
    }
}

fn cluster_weight(cluster: &str, weight: u32, destination: &HttpRouteDestination) -> ClusterWeight {
    let operations = headers::translate(destination.headers.as_ref());
    ClusterWeight {
        name: cluster.to_owned(),
        weight: message::uint32(weight),
        request_headers_to_add: operations.request_add,
        request_headers_to_remove: operations.request_remove,
        response_headers_to_add: operations.response_add,
        response_headers_to_remove: operations.response_remove,
        host_rewrite_specifier: operations
            .authority
            .map(weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
        ..Default::default()
    }
}

/// Name of spans: `host:port` of the only cluster, else the rule and the port, followed by the path.
fn operation(
    scope: &RouteScope<'_>,
    rule: &VirtualService,
    route: &Route,
    route_match: &RouteMatch,
) -> String {
    let path = match &route_match.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::SafeRegex(matcher)) => matcher.regex.clone(),
        _ => String::new(),
    };
    let cluster = match &route.action {
        Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
            ..
        })) => cluster.parse::<ClusterName>().ok(),
        _ => None,
    };
    match cluster {
        Some(cluster) => format!("{}:{}{path}", cluster.host, cluster.port),
        None => format!("{}:{}{path}", rule.key.name, scope.listen_port),
    }
}
