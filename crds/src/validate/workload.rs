//! Rules of WorkloadEntry and WorkloadGroup.

use std::net::IpAddr;

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::networking::workload_entry::WorkloadEntrySpec;
use crate::networking::workload_group::{HttpHealthCheck, ReadinessProbe, WorkloadGroupSpec};

use super::field::{Findings, child, items};
use super::shared::{self, UNIX};

/// Everything that is wrong with a WorkloadEntry.
#[must_use]
pub fn validate_entry(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<WorkloadEntrySpec>(object, &mut out) {
        check(&spec, Addresses::ANY, "spec", &mut out);
    }
    out.into_vec()
}

/// Everything that is wrong with a WorkloadGroup.
#[must_use]
pub fn validate_group(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<WorkloadGroupSpec>(object, &mut out) {
        check_group(&spec, &mut out);
    }
    out.into_vec()
}

/// Addresses that a workload may have, beside IP addresses.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    names: bool,
    sockets: bool,
}

impl Addresses {
    /// What a service with resolution STATIC takes.
    pub(super) const STATIC: Self = Self {
        names: false,
        sockets: true,
    };
    /// What a service with resolution DNS takes.
    pub(super) const DNS: Self = Self {
        names: true,
        sockets: false,
    };
    const ANY: Self = Self {
        names: true,
        sockets: true,
    };
}

/// A workload, alone or as an endpoint of a ServiceEntry.
pub(super) fn check(entry: &WorkloadEntrySpec, may: Addresses, path: &str, out: &mut Findings) {
    let address = child(path, "address");
    match (entry.address.as_str(), entry.network.is_empty()) {
        ("", true) => out.error(address, "is required, unless network is set"),
        ("", false) => out.warn(
            address,
            "without an address it is reached through the gateways of its network only",
        ),
        (text, _) => out.check(address, check_address(text, may)),
    }
    check_socket_ports(entry, path, out);
    check_parts(entry, path, out);
}

fn check_address(address: &str, may: Addresses) -> Result<(), String> {
    if let Some(path) = address.strip_prefix(UNIX) {
        return match may.sockets {
            true => shared::socket_path(path),
            false => Err(format!("{address:?} can't be looked up by name")),
        };
    }
    if address.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    match may.names {
        true => shared::fqdn(address),
        false => Err(format!("{address:?} must be an IP address")),
    }
}

fn check_socket_ports(entry: &WorkloadEntrySpec, path: &str, out: &mut Findings) {
    if entry.address.starts_with(UNIX) && !entry.ports.is_empty() {
        out.error(
            child(path, "ports"),
            "can't be set: a socket in the file system has no ports",
        );
    }
}

fn check_parts(entry: &WorkloadEntrySpec, path: &str, out: &mut Findings) {
    for (name, port) in &entry.ports {
        let path = child(&child(path, "ports"), name);
        out.check(path.clone(), shared::port_name(name));
        out.check(path, shared::port(*port));
    }
    shared::labels(&entry.labels, &child(path, "labels"), out);
}

fn check_group(spec: &WorkloadGroupSpec, out: &mut Findings) {
    if let Some(metadata) = &spec.metadata {
        shared::labels(&metadata.labels, "spec.metadata.labels", out);
    }
    if let Some(template) = &spec.template {
        if !template.address.is_empty() {
            out.warn(
                "spec.template.address",
                "has no effect: every workload brings its own",
            );
        }
        check_socket_ports(template, "spec.template", out);
        check_parts(template, "spec.template", out);
    }
    if let Some(probe) = &spec.probe {
        check_probe(probe, "spec.probe", out);
    }
}

fn check_probe(probe: &ReadinessProbe, path: &str, out: &mut Findings) {
    let methods = [
        probe.http_get.is_some(),
        probe.tcp_socket.is_some(),
        probe.exec.is_some(),
        probe.grpc.is_some(),
    ];
    if !methods.contains(&true) {
        out.error(path, "must have httpGet, tcpSocket, exec or grpc");
    }
    if let Some(get) = &probe.http_get {
        check_http(get, &child(path, "httpGet"), out);
    }
    if let Some(tcp) = &probe.tcp_socket {
        out.check(
            child(&child(path, "tcpSocket"), "port"),
            shared::port(tcp.port),
        );
    }
    if let Some(port) = probe.grpc.as_ref().and_then(|grpc| grpc.port) {
        out.check(child(&child(path, "grpc"), "port"), shared::port(port));
    }
    if probe.exec.as_ref().is_some_and(|e| e.command.is_empty()) {
        out.error(
            child(&child(path, "exec"), "command"),
            "must have at least one word",
        );
    }
}

fn check_http(get: &HttpHealthCheck, path: &str, out: &mut Findings) {
    out.check(child(path, "port"), shared::port(get.port));
    if !["", "HTTP", "HTTPS"].contains(&get.scheme.as_str()) {
        out.error(
            child(path, "scheme"),
            format!("{:?} must be HTTP or HTTPS", get.scheme),
        );
    }
    for (path, header) in items(path, "httpHeaders", &get.http_headers) {
        // Other characters are reported by the schema.
        if header.name.is_empty() {
            out.error(child(&path, "name"), "must not be empty");
        }
    }
}
