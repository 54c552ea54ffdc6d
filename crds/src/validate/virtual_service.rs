//! Rules of VirtualService; those of HTTP routes are in a file of their own.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::networking::virtual_service::{
    Destination, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute, VirtualServiceSpec,
};

use super::field::{Findings, child, items};
use super::http_route::Scope;
use super::{http_route, shared, unreachable};

const MESH: &str = "mesh";

/// Everything that is wrong with a VirtualService.
#[must_use]
pub fn validate(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<VirtualServiceSpec>(object, &mut out) {
        check(&spec, &mut out);
    }
    out.into_vec()
}

fn check(spec: &VirtualServiceSpec, out: &mut Findings) {
    let for_mesh = spec.gateways.is_empty() || spec.gateways.iter().any(|name| name == MESH);
    let for_gateways = spec.gateways.iter().any(|name| name != MESH);
    check_hosts(&spec.hosts, for_mesh, out);
    let delegate = spec.hosts.is_empty();
    if delegate {
        check_delegate(spec, out);
    }
    shared::gateway_names(&spec.gateways, "spec", out);
    shared::export_to(&spec.export_to, out);
    if spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty() {
        out.error("spec", "must have http, tls or tcp routes");
    }
    let scope = Scope {
        delegate,
        // A delegate is used through the gateways of its root.
        for_gateways: for_gateways || delegate,
    };
    for (path, route) in items("spec", "http", &spec.http) {
        http_route::check(route, scope, &path, out);
    }
    unreachable::check(&spec.http, out);
    for (path, route) in items("spec", "tls", &spec.tls) {
        check_tls(route, &spec.hosts, &path, out);
    }
    for (path, route) in items("spec", "tcp", &spec.tcp) {
        check_tcp(route, &path, out);
    }
}

fn check_hosts(hosts: &[String], for_mesh: bool, out: &mut Findings) {
    let before = out.errors();
    for (path, host) in items("spec", "hosts", hosts) {
        if host == "*" && for_mesh {
            out.error(path, "wildcard host * is not allowed for the gateway mesh");
        } else {
            out.check(path, shared::wildcard_host_or_address(host));
        }
    }
    if out.errors() > before {
        return;
    }
    for (index, (path, host)) in items("spec", "hosts", hosts).enumerate() {
        let mut earlier = hosts.iter().take(index);
        if let Some(twin) = earlier.find(|other| shared::hosts_overlap(host, other)) {
            out.error(
                path,
                format!("duplicate host: {host:?} and {twin:?} have names in common"),
            );
        }
    }
}

/// Without hosts the rules are there for another VirtualService.
fn check_delegate(spec: &VirtualServiceSpec, out: &mut Findings) {
    let unused = [
        ("spec.gateways", spec.gateways.is_empty()),
        ("spec.tls", spec.tls.is_empty()),
        ("spec.tcp", spec.tcp.is_empty()),
    ];
    for (path, empty) in unused {
        if !empty {
            out.error(
                path,
                "can't be set without hosts: a delegate has http routes only",
            );
        }
    }
}

/// A service, subset and port.
pub(super) fn check_destination(destination: &Destination, path: &str, out: &mut Findings) {
    match destination.host.as_str() {
        // Missing is reported by the schema.
        "" => {}
        "*" => out.error(child(path, "host"), "wildcard host * is no destination"),
        host => out.check(child(path, "host"), shared::wildcard_host(host)),
    }
    if !destination.subset.is_empty() {
        out.check(
            child(path, "subset"),
            shared::dns_label(&destination.subset),
        );
    }
    if let Some(port) = &destination.port {
        shared::port_selector(port, &child(path, "port"), out);
    }
}

/// Weights of several destinations.
pub(super) fn check_weights(weights: &[i32], path: &str, out: &mut Findings) {
    let path = child(path, "route");
    for (index, weight) in weights.iter().enumerate() {
        if *weight < 0 {
            out.error(format!("{path}[{index}].weight"), "must not be negative");
        }
    }
    if weights.len() > 1 && weights.iter().all(|weight| *weight == 0) {
        out.error(
            path,
            "the weights of several destinations must not all be 0",
        );
    }
}

fn check_routes(routes: &[RouteDestination], path: &str, out: &mut Findings) {
    if routes.is_empty() {
        out.error(child(path, "route"), "must have at least one destination");
    }
    for (path, route) in items(path, "route", routes) {
        check_destination(&route.destination, &child(&path, "destination"), out);
    }
    let weights: Vec<i32> = routes.iter().map(|route| route.weight).collect();
    check_weights(&weights, path, out);
}

/// What matches of every protocol have in common.
pub(super) struct CommonMatch<'a> {
    pub port: Option<u32>,
    pub source_labels: &'a BTreeMap<String, String>,
    pub source_namespace: &'a str,
    pub gateways: &'a [String],
}

impl CommonMatch<'_> {
    pub(super) fn check(&self, path: &str, out: &mut Findings) {
        if let Some(port) = self.port.filter(|port| *port != 0) {
            out.check(child(path, "port"), shared::port(port));
        }
        shared::labels(self.source_labels, &child(path, "sourceLabels"), out);
        if !self.source_namespace.is_empty() {
            out.check(
                child(path, "sourceNamespace"),
                shared::dns_label(self.source_namespace),
            );
        }
        shared::gateway_names(self.gateways, path, out);
    }
}

fn check_tls(route: &TlsRoute, hosts: &[String], path: &str, out: &mut Findings) {
    if route.matches.is_empty() {
        out.error(child(path, "match"), "must have at least one match");
    }
    for (path, matched) in items(path, "match", &route.matches) {
        check_tls_match(matched, hosts, &path, out);
    }
    check_routes(&route.route, path, out);
}

fn check_tls_match(matched: &TlsMatchAttributes, hosts: &[String], path: &str, out: &mut Findings) {
    if matched.sni_hosts.is_empty() {
        out.error(child(path, "sniHosts"), "must have at least one name");
    }
    for (path, sni) in items(path, "sniHosts", &matched.sni_hosts) {
        if let Err(message) = shared::wildcard_host(sni) {
            out.error(path, message);
        } else if !hosts.iter().any(|host| shared::host_within(sni, host)) {
            let hosts = hosts.join(", ");
            out.error(path, format!("{sni:?} is in none of the hosts {hosts}"));
        }
    }
    shared::subnets(
        &matched.destination_subnets,
        path,
        "destinationSubnets",
        out,
    );
    let common = CommonMatch {
        port: matched.port,
        source_labels: &matched.source_labels,
        source_namespace: &matched.source_namespace,
        gateways: &matched.gateways,
    };
    common.check(path, out);
}

fn check_tcp(route: &TcpRoute, path: &str, out: &mut Findings) {
    for (path, matched) in items(path, "match", &route.matches) {
        shared::subnets(
            &matched.destination_subnets,
            &path,
            "destinationSubnets",
            out,
        );
        if !matched.source_subnet.is_empty() {
            out.warn(
                child(&path, "sourceSubnet"),
                "has no effect: not implemented by any version",
            );
        }
        let common = CommonMatch {
            port: matched.port,
            source_labels: &matched.source_labels,
            source_namespace: &matched.source_namespace,
            gateways: &matched.gateways,
        };
        common.check(&path, out);
    }
    check_routes(&route.route, path, out);
}
