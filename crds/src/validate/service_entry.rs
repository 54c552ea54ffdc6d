//! Rules of ServiceEntry.

use std::collections::{BTreeMap, BTreeSet};

use ironsail_mesh::port::Protocol;
use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::networking::service_entry::{Resolution, ServiceEntrySpec, ServicePort};
use crate::networking::workload_entry::WorkloadEntrySpec;

use super::field::{Findings, child, items};
use super::shared::{self, UNIX};
use super::workload::{self, Addresses};

/// Label that turns automatic addresses off.
const AUTO_ALLOCATION: &str = "/metadata/labels/networking.istio.io~1enable-autoallocate-ip";

/// Everything that is wrong with a ServiceEntry.
#[must_use]
pub fn validate(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<ServiceEntrySpec>(object, &mut out) {
        let label = object.pointer(AUTO_ALLOCATION).and_then(Value::as_str);
        let allocates = label.is_none_or(|label| !label.eq_ignore_ascii_case("false"))
            && spec.resolution != Resolution::None
            && !spec.hosts.iter().any(|host| host.starts_with('*'));
        check(&spec, allocates, &mut out);
    }
    out.into_vec()
}

/// `allocates`: hosts get addresses of the control plane if they have none of their own.
fn check(spec: &ServiceEntrySpec, allocates: bool, out: &mut Findings) {
    check_hosts(&spec.hosts, out);
    shared::subnets(&spec.addresses, "spec", "addresses", out);
    check_ports(&spec.ports, out);
    if spec.addresses.is_empty() && !allocates {
        for (path, port) in items("spec", "ports", &spec.ports) {
            if port.protocol.is_empty() || port.protocol.eq_ignore_ascii_case("TCP") {
                out.warn(
                    path,
                    "takes the port's traffic to every address: TCP needs spec.addresses to tell services apart",
                );
            }
        }
    }
    if let Some(selector) = &spec.workload_selector {
        shared::selector_by_labels(selector, "spec.workloadSelector", out);
        if !spec.endpoints.is_empty() {
            out.error("spec", "only one of workloadSelector, endpoints can be set");
        }
    }
    check_resolution(spec, out);
    check_several_hosts(spec, out);
    shared::service_export_to(&spec.export_to, out);
}

fn check_hosts(hosts: &[String], out: &mut Findings) {
    for (path, host) in items("spec", "hosts", hosts) {
        match host.strip_prefix('*') {
            Some("") => out.error(path, "wildcard host * is not allowed"),
            Some(rest) if !rest.starts_with('.') && shared::wildcard_host(host).is_ok() => {
                out.warn(
                    path,
                    format!("{host:?}: a wildcard for a part of a label matches no TLS traffic"),
                );
            }
            _ => out.check(path, shared::wildcard_host(host)),
        }
    }
}

fn check_ports(ports: &[ServicePort], out: &mut Findings) {
    let mut numbers: BTreeMap<u32, String> = BTreeMap::new();
    for (path, port) in items("spec", "ports", ports) {
        out.check(child(&path, "number"), shared::port(port.number));
        if let Some(first) = numbers.get(&port.number) {
            out.error(
                child(&path, "number"),
                format!("port {} is already at {first}", port.number),
            );
        } else {
            numbers.insert(port.number, path.clone());
        }
        // Missing is reported by the schema.
        if !port.name.is_empty() {
            out.check(child(&path, "name"), shared::port_name(&port.name));
        }
        out.check(child(&path, "protocol"), shared::protocol(&port.protocol));
        if let Some(target) = port.target_port.filter(|target| *target != 0) {
            out.check(child(&path, "targetPort"), shared::port(target));
        }
    }
}

/// What each way to find endpoints goes with.
fn check_resolution(spec: &ServiceEntrySpec, out: &mut Findings) {
    let resolution = &spec.resolution;
    let ranges = spec.addresses.iter().any(|address| address.contains('/'));
    if ranges && !matches!(resolution, Resolution::None | Resolution::Static) {
        out.error(
            "spec.addresses",
            "ranges are allowed with resolution NONE or STATIC only",
        );
    }
    match resolution {
        Resolution::None | Resolution::DynamicDns => {
            if !spec.endpoints.is_empty() {
                let message = format!("can't be set with resolution {resolution}");
                out.error("spec.endpoints", message);
            }
        }
        Resolution::Static => endpoints(spec, Addresses::STATIC, out),
        Resolution::Dns | Resolution::DnsRoundRobin => {
            endpoints(spec, Addresses::DNS, out);
            check_names(spec, out);
        }
        Resolution::Unknown(_) => {}
    }
    if spec.workload_selector.is_some() && *resolution != Resolution::Static {
        out.warn(
            "spec.workloadSelector",
            format!("has no effect with resolution {resolution}, only with STATIC"),
        );
    }
}

/// Without endpoints the hosts themselves are looked up.
fn check_names(spec: &ServiceEntrySpec, out: &mut Findings) {
    let resolution = &spec.resolution;
    if spec.endpoints.is_empty() && spec.workload_selector.is_none() {
        for (path, host) in items("spec", "hosts", &spec.hosts) {
            if host.starts_with('*') && host != "*" {
                out.error(
                    path,
                    format!("{host:?} can't be looked up: resolution {resolution} needs endpoints or a whole name"),
                );
            }
        }
    }
    if *resolution == Resolution::DnsRoundRobin && spec.endpoints.len() > 1 {
        out.error(
            "spec.endpoints",
            "must have at most one endpoint with resolution DNS_ROUND_ROBIN",
        );
    }
}

fn endpoints(spec: &ServiceEntrySpec, may: Addresses, out: &mut Findings) {
    let names: BTreeSet<&str> = spec.ports.iter().map(|port| port.name.as_str()).collect();
    for (path, endpoint) in items("spec", "endpoints", &spec.endpoints) {
        workload::check(endpoint, may, &path, out);
        check_port_names(endpoint, &names, &path, out);
        if endpoint.address.starts_with(UNIX) && spec.ports.len() != 1 {
            out.error(
                child(&path, "address"),
                "a socket in the file system needs a service with exactly one port",
            );
        }
    }
}

fn check_port_names(
    endpoint: &WorkloadEntrySpec,
    names: &BTreeSet<&str>,
    path: &str,
    out: &mut Findings,
) {
    for name in endpoint.ports.keys() {
        if !names.contains(name.as_str()) {
            let path = child(&child(path, "ports"), name);
            out.error(path, format!("the service has no port {name:?}"));
        }
    }
}

/// HTTP and TLS say which host they are for, others don't.
fn check_several_hosts(spec: &ServiceEntrySpec, out: &mut Findings) {
    if spec.hosts.len() < 2 || spec.resolution == Resolution::None {
        return;
    }
    let tells = |port: &ServicePort| {
        let protocol = Protocol::parse(&port.protocol);
        protocol.is_http() || matches!(protocol, Protocol::Https | Protocol::Tls)
    };
    for (path, port) in items("spec", "ports", &spec.ports) {
        if !tells(port) && shared::protocol(&port.protocol).is_ok() {
            out.error(
                path,
                "several hosts need protocols that name the host: HTTP, HTTPS, HTTP2, GRPC or TLS",
            );
        }
    }
}
