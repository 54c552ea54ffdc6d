//! Rules of EnvoyFilter, as far as they need no knowledge of Envoy's messages.

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::networking::envoy_filter::{
    ApplyTo, ConfigMatch, ConfigPatch, EnvoyFilterSpec, FilterMatch, ListenerMatch, Patch,
    PatchContext, PatchOperation,
};

use super::field::{Findings, child, items};
use super::{shared, target};

/// Network filters that have HTTP filters within them, new and old name.
const CONNECTION_MANAGERS: [&str; 2] = [
    "envoy.filters.network.http_connection_manager",
    "envoy.http_connection_manager",
];

/// Everything that is wrong with an EnvoyFilter.
#[must_use]
pub fn validate(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<EnvoyFilterSpec>(object, &mut out) {
        check(&spec, &mut out);
    }
    out.into_vec()
}

fn check(spec: &EnvoyFilterSpec, out: &mut Findings) {
    if let Some(selector) = &spec.workload_selector {
        shared::selector_by_labels(selector, "spec.workloadSelector", out);
        if !spec.target_refs.is_empty() {
            out.error(
                "spec",
                "only one of workloadSelector, targetRefs can be set",
            );
        }
    }
    target::references(&spec.target_refs, out);
    for (path, patch) in items("spec", "configPatches", &spec.config_patches) {
        check_patch(patch, &path, out);
    }
}

fn check_patch(entry: &ConfigPatch, path: &str, out: &mut Findings) {
    if entry.apply_to == ApplyTo::Invalid {
        out.error(child(path, "applyTo"), "is required");
    }
    match &entry.patch {
        None => out.error(child(path, "patch"), "is required"),
        Some(patch) => {
            check_operation(entry, patch, path, out);
            check_value(&entry.apply_to, patch, &child(path, "patch"), out);
        }
    }
    if let Some(matched) = &entry.matched {
        check_match(&entry.apply_to, matched, &child(path, "match"), out);
    }
}

fn check_operation(entry: &ConfigPatch, patch: &Patch, path: &str, out: &mut Findings) {
    use PatchOperation as Op;
    let patch_path = child(path, "patch");
    let operation = child(&patch_path, "operation");
    match &patch.operation {
        Op::Invalid => out.error(operation, "is required"),
        Op::Remove => {}
        _ if patch.value.is_none() => {
            out.error(child(&patch_path, "value"), "is required unless REMOVE");
        }
        Op::InsertBefore | Op::InsertAfter if !names_filter(entry) => out.warn(
            operation,
            format!(
                "{} without a filter or route to stand beside: the place depends on what else is there",
                patch.operation
            ),
        ),
        Op::InsertBefore | Op::InsertAfter | Op::Replace | Op::Merge if !names_version(entry) => {
            out.warn(
                operation,
                format!(
                    "{} relies on what the control plane generates, which may change with its version; \
                     match.proxy.proxyVersion limits it",
                    patch.operation
                ),
            );
        }
        _ => {}
    }
}

/// Whether the match names what a patch is put beside.
fn names_filter(entry: &ConfigPatch) -> bool {
    let Some(matched) = &entry.matched else {
        return false;
    };
    let chain = matched.listener.as_ref();
    let filter = chain.and_then(|listener| listener.filter_chain.as_ref()?.filter.as_ref());
    let filter = filter.or(matched.waypoint.as_ref().and_then(|w| w.filter.as_ref()));
    let listener = chain.is_some_and(|listener| !listener.listener_filter.is_empty());
    let route = matched.route_configuration.as_ref();
    let route = route.is_some_and(|table| table.vhost.is_some());
    match entry.apply_to {
        ApplyTo::NetworkFilter | ApplyTo::HttpFilter => filter.is_some(),
        ApplyTo::ListenerFilter => listener,
        ApplyTo::HttpRoute => route || matched.waypoint.is_some(),
        _ => true,
    }
}

fn names_version(entry: &ConfigPatch) -> bool {
    let proxy = entry.matched.as_ref().and_then(|m| m.proxy.as_ref());
    proxy.is_some_and(|proxy| !proxy.proxy_version.is_empty())
}

/// Filters say by their type what they are.
fn check_value(apply_to: &ApplyTo, patch: &Patch, path: &str, out: &mut Findings) {
    let Some(value) = &patch.value else { return };
    let path = child(path, "value");
    let filter = matches!(
        apply_to,
        ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::ListenerFilter
    );
    let adds = !matches!(
        patch.operation,
        PatchOperation::Merge | PatchOperation::MergeAndReplaceList | PatchOperation::Remove
    );
    let typed = value.get("typed_config").or(value.get("typedConfig"));
    match typed {
        Some(Value::Object(config)) if !config.contains_key("@type") => {
            out.error(child(&path, "typed_config"), "must have @type");
        }
        Some(Value::Object(_)) => {}
        Some(_) => out.error(child(&path, "typed_config"), "must be an object"),
        None if filter && adds => {
            let discovered = ["config_discovery", "configDiscovery"];
            if !discovered.iter().any(|key| value.contains_key(*key)) {
                out.warn(path, "a filter without typed_config is found by its name only, which newer proxies don't do");
            }
        }
        None => {}
    }
}

fn check_match(apply_to: &ApplyTo, matched: &ConfigMatch, path: &str, out: &mut Findings) {
    if let Some(proxy) = &matched.proxy
        && !proxy.proxy_version.is_empty()
    {
        out.check(
            child(&child(path, "proxy"), "proxyVersion"),
            shared::regex(&proxy.proxy_version),
        );
    }
    if (matched.context == PatchContext::Waypoint) != matched.waypoint.is_some() {
        out.error(path, "waypoint and context WAYPOINT need each other");
    }
    let objects = [
        ("listener", matched.listener.is_some()),
        ("routeConfiguration", matched.route_configuration.is_some()),
        ("cluster", matched.cluster.is_some()),
    ];
    if let Some(fitting) = fitting(apply_to) {
        for (name, set) in objects {
            if set && name != fitting {
                out.error(
                    child(path, name),
                    format!("does not fit applyTo {apply_to}, which is matched by {fitting}"),
                );
            }
        }
    }
    if let Some(listener) = &matched.listener {
        check_listener(apply_to, listener, &child(path, "listener"), out);
    }
    let port = matched.waypoint.as_ref().and_then(|w| w.port_number);
    if let Some(port) = port {
        let path = child(&child(path, "waypoint"), "portNumber");
        out.check(path, shared::port(port));
    }
}

/// The match that goes with what is patched.
fn fitting(apply_to: &ApplyTo) -> Option<&'static str> {
    Some(match apply_to {
        ApplyTo::Listener
        | ApplyTo::FilterChain
        | ApplyTo::NetworkFilter
        | ApplyTo::HttpFilter
        | ApplyTo::ListenerFilter => "listener",
        ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute => {
            "routeConfiguration"
        }
        ApplyTo::Cluster => "cluster",
        ApplyTo::Invalid | ApplyTo::ExtensionConfig | ApplyTo::Bootstrap | ApplyTo::Unknown(_) => {
            return None;
        }
    })
}

fn check_listener(apply_to: &ApplyTo, listener: &ListenerMatch, path: &str, out: &mut Findings) {
    let chain = listener.filter_chain.as_ref();
    let Some(filter) = chain.and_then(|chain| chain.filter.as_ref()) else {
        return;
    };
    let path = child(&child(path, "filterChain"), "filter");
    if matches!(apply_to, ApplyTo::Listener | ApplyTo::FilterChain) {
        out.error(
            path.clone(),
            format!("has no effect with applyTo {apply_to}"),
        );
    }
    check_filter(apply_to, filter, &path, out);
}

fn check_filter(apply_to: &ApplyTo, filter: &FilterMatch, path: &str, out: &mut Findings) {
    if filter.name.is_empty() {
        out.error(child(path, "name"), "is required");
    }
    let Some(sub) = &filter.sub_filter else {
        return;
    };
    let path = child(path, "subFilter");
    if *apply_to != ApplyTo::HttpFilter {
        out.error(path.clone(), "can be set with applyTo HTTP_FILTER only");
    }
    if !CONNECTION_MANAGERS.contains(&filter.name.as_str()) {
        let message = format!("needs the filter {}", CONNECTION_MANAGERS[0]);
        out.error(path.clone(), message);
    }
    if sub.name.is_empty() {
        out.error(child(&path, "name"), "is required");
    }
}
