//! VirtualServices that leave a part of their routes to others.
//!
//! [Delegate](https://istio.io/latest/docs/reference/config/networking/virtual-service/#Delegate): one
//! level deep; a match of the delegate must be narrower than the root's.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironsail_crds::VirtualServiceSpec;
use ironsail_crds::networking::virtual_service::{
    Destination, HeaderOperations, Headers, HttpMatchRequest, HttpRoute, StringMatch,
    StringMatchKind,
};
use ironsail_mesh::host::resolve_short_name;

use crate::model::export::ExportTo;
use crate::model::virtual_service::VirtualService;

/// The rule with the routes of its delegates in place of the references; `None` when it has none.
///
/// A delegate that is missing, not visible in the root's namespace or itself a root gives no routes.
pub fn expand(
    root: &VirtualService,
    default_export: &ExportTo,
    domain: &str,
    find: impl Fn(&str, &str) -> Option<Arc<VirtualService>>,
) -> Option<VirtualService> {
    if !root.spec.http.iter().any(|route| route.delegate.is_some()) {
        return None;
    }
    let mut expanded = root.clone();
    expanded.spec.http.clear();
    for route in &root.spec.http {
        let Some(reference) = &route.delegate else {
            expanded.spec.http.push(route.clone());
            continue;
        };
        let namespace = match reference.namespace.as_str() {
            "" => &*root.key.namespace,
            namespace => namespace,
        };
        let delegate = find(namespace, &reference.name).filter(|delegate| {
            let export = delegate.export_to.as_ref().unwrap_or(default_export);
            delegate.hosts.is_empty() && export.is_visible(namespace, &root.key.namespace)
        });
        let Some(delegate) = delegate else { continue };
        expanded
            .invalid_regexes
            .extend(delegate.invalid_regexes.iter().cloned());
        let routes = qualified(&delegate.spec, namespace, domain);
        expanded
            .spec
            .http
            .extend(routes.iter().filter_map(|own| merge_routes(route, own)));
    }
    Some(expanded)
}

/// The delegate's routes with full host names: short ones are of its own namespace.
fn qualified(spec: &VirtualServiceSpec, namespace: &str, domain: &str) -> Vec<HttpRoute> {
    let qualify = |destination: &mut Destination| {
        destination.host = resolve_short_name(&destination.host, namespace, domain);
    };
    let mut routes = spec.http.clone();
    for route in &mut routes {
        route
            .route
            .iter_mut()
            .for_each(|weighted| qualify(&mut weighted.destination));
        route.mirror.iter_mut().for_each(qualify);
        route
            .mirrors
            .iter_mut()
            .for_each(|mirror| qualify(&mut mirror.destination));
    }
    routes
}

/// What the delegate says wins; `None` when their matches exclude each other.
fn merge_routes(root: &HttpRoute, own: &HttpRoute) -> Option<HttpRoute> {
    if own.delegate.is_some() {
        return None;
    }
    let name = match (root.name.as_str(), own.name.as_str()) {
        (name, "") | ("", name) => name.to_owned(),
        (root, own) => format!("{root}-{own}"),
    };
    Some(HttpRoute {
        name,
        matches: merge_matches(&root.matches, &own.matches)?,
        rewrite: own.rewrite.clone().or_else(|| root.rewrite.clone()),
        timeout: own.timeout.clone().or_else(|| root.timeout.clone()),
        retries: own.retries.clone().or_else(|| root.retries.clone()),
        fault: own.fault.clone().or_else(|| root.fault.clone()),
        cors_policy: own.cors_policy.clone().or_else(|| root.cors_policy.clone()),
        mirror: own.mirror.clone().or_else(|| root.mirror.clone()),
        mirror_percentage: own
            .mirror_percentage
            .clone()
            .or_else(|| root.mirror_percentage.clone()),
        mirrors: match own.mirrors.is_empty() {
            true => root.mirrors.clone(),
            false => own.mirrors.clone(),
        },
        headers: merge_headers(root.headers.as_ref(), own.headers.as_ref()),
        ..own.clone()
    })
}

fn merge_headers(root: Option<&Headers>, own: Option<&Headers>) -> Option<Headers> {
    let (Some(root), Some(own)) = (root, own) else {
        return own.or(root).cloned();
    };
    Some(Headers {
        request: merge_operations(root.request.as_ref(), own.request.as_ref()),
        response: merge_operations(root.response.as_ref(), own.response.as_ref()),
    })
}

fn merge_operations(
    root: Option<&HeaderOperations>,
    own: Option<&HeaderOperations>,
) -> Option<HeaderOperations> {
    let (Some(root), Some(own)) = (root, own) else {
        return own.or(root).cloned();
    };
    let mut merged = root.clone();
    merged.set.extend(own.set.clone());
    merged.add.extend(own.add.clone());
    merged.remove.extend(own.remove.iter().cloned());
    Some(merged)
}

/// Every pair that can match together; `None` when there are matches and no pair can.
fn merge_matches(
    root: &[HttpMatchRequest],
    own: &[HttpMatchRequest],
) -> Option<Vec<HttpMatchRequest>> {
    if root.is_empty() || own.is_empty() {
        return Some(if own.is_empty() { root } else { own }.to_vec());
    }
    let pairs = root
        .iter()
        .flat_map(|root| own.iter().map(move |own| (root, own)));
    let merged: Vec<_> = pairs
        .filter_map(|(root, own)| merge_match(root, own))
        .collect();
    (!merged.is_empty()).then_some(merged)
}

fn merge_match(root: &HttpMatchRequest, own: &HttpMatchRequest) -> Option<HttpMatchRequest> {
    let texts = |root: &Option<StringMatch>, own: &Option<StringMatch>| match (root, own) {
        (Some(root), Some(own)) => is_narrower(root, own).then(|| Some(own.clone())),
        (root, own) => Some(own.clone().or_else(|| root.clone())),
    };
    let same = |root: &str, own: &str| match (root, own) {
        ("", text) | (text, "") => Some(text.to_owned()),
        (root, own) => (root == own).then(|| own.to_owned()),
    };
    let port = match (root.port, own.port) {
        (Some(root), Some(own)) if root != own => return None,
        (root, own) => own.or(root),
    };
    let mut source_labels = root.source_labels.clone();
    for (key, value) in &own.source_labels {
        let known = source_labels.insert(key.clone(), value.clone());
        if known.is_some_and(|known| known != *value) {
            return None;
        }
    }
    Some(HttpMatchRequest {
        name: match (root.name.as_str(), own.name.as_str()) {
            (name, "") | ("", name) => name.to_owned(),
            (root, own) => format!("{root}-{own}"),
        },
        uri: texts(&root.uri, &own.uri)?,
        scheme: texts(&root.scheme, &own.scheme)?,
        method: texts(&root.method, &own.method)?,
        authority: texts(&root.authority, &own.authority)?,
        headers: merge_texts(&root.headers, &own.headers)?,
        without_headers: merge_texts(&root.without_headers, &own.without_headers)?,
        query_params: merge_texts(&root.query_params, &own.query_params)?,
        port,
        source_labels,
        source_namespace: same(&root.source_namespace, &own.source_namespace)?,
        gateways: match own.gateways.is_empty() {
            true => root.gateways.clone(),
            false => own.gateways.clone(),
        },
        ignore_uri_case: root.ignore_uri_case || own.ignore_uri_case,
        stat_prefix: match own.stat_prefix.as_str() {
            "" => root.stat_prefix.clone(),
            own => own.to_owned(),
        },
    })
}

fn merge_texts(
    root: &BTreeMap<String, StringMatch>,
    own: &BTreeMap<String, StringMatch>,
) -> Option<BTreeMap<String, StringMatch>> {
    let mut merged = root.clone();
    for (name, text) in own {
        if root.get(name).is_some_and(|root| !is_narrower(root, text)) {
            return None;
        }
        merged.insert(name.clone(), text.clone());
    }
    Some(merged)
}

/// Whether whatever the delegate matches, the root matches too, as far as that can be told.
fn is_narrower(root: &StringMatch, own: &StringMatch) -> bool {
    match (root.kind(), own.kind()) {
        (StringMatchKind::Present, _) => true,
        (StringMatchKind::Exact(root), StringMatchKind::Exact(own)) => root == own,
        (
            StringMatchKind::Prefix(root),
            StringMatchKind::Prefix(own) | StringMatchKind::Exact(own),
        ) => own.starts_with(root),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::change::ConfigKey;
    use crate::model::object::ObjectKind;

    fn rule(namespace: &str, name: &str, yaml: &str) -> VirtualService {
        let spec = serde_yaml_ng::from_str(yaml).expect("a valid spec");
        let key = ConfigKey::new(ObjectKind::VirtualService, namespace, name);
        VirtualService::new(key, 0, spec, "cluster.local", 1).0
    }

    fn expanded(delegate: &str) -> Vec<HttpRoute> {
        let root = rule(
            "edge",
            "root",
            "{hosts: [a.example], http: [{name: r, match: [{uri: {prefix: /a}, headers: {x: {}}}], timeout: 3s,
              delegate: {name: d, namespace: shop}}, {route: [{destination: {host: rest}}]}]}",
        );
        let delegate = Arc::new(rule("shop", "d", delegate));
        let find = |namespace: &str, name: &str| {
            (namespace == "shop" && name == "d").then(|| delegate.clone())
        };
        let found = expand(&root, &ExportTo::everywhere(), "cluster.local", find);
        found.expect("it has a delegate").spec.http
    }

    #[test]
    fn routes_take_the_place_of_the_reference() {
        let routes = expanded(
            "{http: [{name: d, match: [{uri: {prefix: /a/b}}, {uri: {prefix: /c}}], route: [{destination: {host: web}}]},
              {match: [{uri: {exact: /z}}], route: [{destination: {host: never}}]}]}",
        );
        assert_eq!(routes.len(), 2);
        assert_eq!(routes[0].name, "r-d");
        assert_eq!(routes[0].matches.len(), 1);
        assert!(routes[0].matches[0].headers.contains_key("x"));
        assert_eq!(routes[0].timeout.as_deref(), Some("3s"));
        assert_eq!(
            routes[0].route[0].destination.host,
            "web.shop.svc.cluster.local"
        );
        assert_eq!(routes[1].route[0].destination.host, "rest");
    }

    #[test]
    fn hidden_and_rooted_delegates_give_nothing() {
        assert_eq!(
            expanded("{exportTo: ['.'], http: [{route: [{destination: {host: web}}]}]}").len(),
            1
        );
        assert_eq!(
            expanded("{hosts: [b], http: [{route: [{destination: {host: web}}]}]}").len(),
            1
        );
    }
}
