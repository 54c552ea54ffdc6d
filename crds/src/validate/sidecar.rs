//! Rules of Sidecar.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ironsail_mesh::port::Protocol;
use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::networking::gateway::{ServerTlsMode, ServerTlsSettings};
use crate::networking::sidecar::{
    CaptureMode, EgressListener, IngressListener, OutboundTrafficMode, OutboundTrafficPolicy,
    SidecarPort, SidecarSpec,
};

use super::field::{Findings, child, items};
use super::shared::{self, UNIX};
use super::virtual_service::check_destination;
use super::{gateway, traffic_policy};

/// Everything that is wrong with a Sidecar.
#[must_use]
pub fn validate(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<SidecarSpec>(object, &mut out) {
        check(&spec, super::namespace(object), &mut out);
    }
    out.into_vec()
}

fn check(spec: &SidecarSpec, namespace: &str, out: &mut Findings) {
    if let Some(selector) = &spec.workload_selector {
        shared::selector_by_labels(selector, "spec.workloadSelector", out);
    }
    if spec.ingress.is_empty()
        && spec.egress.is_empty()
        && spec.inbound_connection_pool.is_none()
        && spec.outbound_traffic_policy.is_none()
    {
        out.error(
            "spec",
            "must have ingress, egress, inboundConnectionPool or outboundTrafficPolicy",
        );
    }
    check_ingress(&spec.ingress, out);
    if let Some(pool) = &spec.inbound_connection_pool {
        traffic_policy::check_pool(pool, "spec.inboundConnectionPool", out);
    }
    check_egress(&spec.egress, namespace, out);
    if let Some(policy) = &spec.outbound_traffic_policy {
        check_outbound(policy, "spec.outboundTrafficPolicy", out);
    }
}

fn check_ingress(listeners: &[IngressListener], out: &mut Findings) {
    let mut numbers = BTreeMap::new();
    for (path, listener) in items("spec", "ingress", listeners) {
        // Missing is reported by the schema.
        if let Some(port) = &listener.port {
            let port_path = child(&path, "port");
            check_port(port, &port_path, out);
            out.check(child(&port_path, "number"), shared::port(port.number));
            unique(port.number, &port_path, &mut numbers, out);
            check_pool_protocol(listener, port, &path, out);
        }
        check_bind(&listener.bind, &path, out);
        if !listener.default_endpoint.is_empty() {
            out.check(
                child(&path, "defaultEndpoint"),
                check_endpoint(&listener.default_endpoint),
            );
        }
        if let Some(tls) = &listener.tls {
            check_tls(tls, &child(&path, "tls"), out);
        }
        if let Some(pool) = &listener.connection_pool {
            traffic_policy::check_pool(pool, &child(&path, "connectionPool"), out);
        }
    }
}

fn check_pool_protocol(
    listener: &IngressListener,
    port: &SidecarPort,
    path: &str,
    out: &mut Findings,
) {
    let pool = listener.connection_pool.as_ref();
    if pool.is_some_and(|pool| pool.http.is_some()) && !Protocol::parse(&port.protocol).is_http() {
        out.warn(
            child(&child(path, "connectionPool"), "http"),
            format!(
                "has no effect: the port's protocol {:?} is not HTTP",
                port.protocol
            ),
        );
    }
}

fn check_port(port: &SidecarPort, path: &str, out: &mut Findings) {
    if !port.name.is_empty() {
        out.check(child(path, "name"), shared::port_name(&port.name));
    }
    out.check(child(path, "protocol"), shared::protocol(&port.protocol));
    if port.target_port != 0 {
        out.error(child(path, "targetPort"), "can't be set in a Sidecar");
    }
}

fn unique(number: u32, path: &str, seen: &mut BTreeMap<u32, String>, out: &mut Findings) {
    if let Some(first) = seen.get(&number) {
        out.error(
            child(path, "number"),
            format!("port {number} is already at {first}"),
        );
    } else {
        seen.insert(number, path.to_owned());
    }
}

fn check_bind(bind: &str, path: &str, out: &mut Findings) {
    if !bind.is_empty() && bind.parse::<IpAddr>().is_err() {
        let message = format!("{bind:?} must be an IP address");
        out.error(child(path, "bind"), message);
    }
}

/// Where the application listens, from the proxy's side.
fn check_endpoint(endpoint: &str) -> Result<(), String> {
    if let Some(path) = endpoint.strip_prefix(UNIX) {
        return shared::socket_path(path);
    }
    let form = || {
        format!(
            "{endpoint:?} must be 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix:// and a path"
        )
    };
    let (host, port) = endpoint.rsplit_once(':').ok_or_else(form)?;
    if !["", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"].contains(&host) {
        return Err(form());
    }
    port.parse::<u32>()
        .map_err(|_| form())
        .and_then(shared::port)
}

/// What a sidecar can't do for its clients, and what holds for gateways too.
fn check_tls(tls: &ServerTlsSettings, path: &str, out: &mut Findings) {
    let unsupported = [
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("httpsRedirect", tls.https_redirect),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
    ];
    for (name, set) in unsupported {
        if set {
            out.error(child(path, name), "is not supported in a Sidecar");
        }
    }
    match tls.mode {
        ServerTlsMode::IstioMutual | ServerTlsMode::AutoPassthrough => out.error(
            child(path, "mode"),
            format!("{} is not supported in a Sidecar", tls.mode),
        ),
        _ => gateway::check_tls(tls, path, out),
    }
}

fn check_egress(listeners: &[EgressListener], namespace: &str, out: &mut Findings) {
    let mut numbers = BTreeMap::new();
    let mut sockets = BTreeSet::new();
    for (index, (path, listener)) in items("spec", "egress", listeners).enumerate() {
        match &listener.port {
            None if index + 1 < listeners.len() => out.error(
                path.clone(),
                "a listener without port takes what is left, so it must be the last",
            ),
            None => check_bind(&listener.bind, &path, out),
            Some(port) => {
                let port_path = child(&path, "port");
                check_port(port, &port_path, out);
                if port.number == 0 {
                    check_socket(listener, &mut sockets, &path, out);
                } else {
                    out.check(child(&port_path, "number"), shared::port(port.number));
                    unique(port.number, &port_path, &mut numbers, out);
                    check_bind(&listener.bind, &path, out);
                }
            }
        }
        check_hosts(&listener.hosts, namespace, &path, out);
    }
}

/// A listener on a socket in the file system, which is what port 0 means.
fn check_socket<'a>(
    listener: &'a EgressListener,
    seen: &mut BTreeSet<&'a str>,
    path: &str,
    out: &mut Findings,
) {
    let bind = child(path, "bind");
    match listener.bind.strip_prefix(UNIX) {
        None => out.error(bind, "must be unix:// and a path, because the port is 0"),
        Some(socket) => {
            out.check(bind.clone(), shared::socket_path(socket));
            if !seen.insert(socket) {
                out.error(bind, format!("{socket:?} is given twice"));
            }
        }
    }
    if listener.capture_mode == CaptureMode::Iptables {
        out.error(
            child(path, "captureMode"),
            "must be DEFAULT or NONE for a socket in the file system",
        );
    }
}

fn check_hosts(hosts: &[String], namespace: &str, path: &str, out: &mut Findings) {
    let list = child(path, "hosts");
    // A missing list is reported by the schema.
    if hosts.is_empty() && !out.mentions(&list) {
        out.error(list.clone(), "must have at least one host");
    }
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, text) in items(path, "hosts", hosts) {
        let Some((of, host)) = text.split_once('/') else {
            out.error(
                path,
                format!("{text:?} must be namespace/host, */host, ./host or ~/host"),
            );
            continue;
        };
        if !["*", ".", "~"].contains(&of) {
            out.check(path.clone(), shared::dns_label(of));
        }
        out.check(path.clone(), shared::wildcard_host(host));
        let of = match of {
            "." => namespace,
            of => of,
        };
        let known = seen.entry(of).or_default();
        let covered = known.contains("*") || known.contains(host);
        if covered || (host == "*" && !known.is_empty()) {
            out.warn(path, format!("{text:?} repeats hosts of this list"));
        }
        known.insert(host);
    }
    let everything = seen.get("*").is_some_and(|hosts| hosts.contains("*"));
    if everything && seen.len() > 1 {
        out.warn(list, "*/* has every host, the others have no effect");
    }
}

fn check_outbound(policy: &OutboundTrafficPolicy, path: &str, out: &mut Findings) {
    let Some(proxy) = &policy.egress_proxy else {
        return;
    };
    let path = child(path, "egressProxy");
    if policy.mode != OutboundTrafficMode::AllowAny {
        out.error(path.clone(), "needs mode ALLOW_ANY");
    }
    if proxy.port.is_none() {
        out.error(child(&path, "port"), "is required");
    }
    if proxy.host.starts_with('*') {
        out.error(child(&path, "host"), "must be a whole name");
    } else {
        check_destination(proxy, &path, out);
    }
}
