//! Rules of Gateway.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::networking::gateway::{
    GatewaySpec, Port, Server, ServerTlsMode, ServerTlsSettings, TlsProtocol,
};

use super::field::{Findings, child, items};
use super::shared;

/// Everything that is wrong with a Gateway.
#[must_use]
pub fn validate(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<GatewaySpec>(object, &mut out) {
        check(&spec, &mut out);
    }
    out.into_vec()
}

fn check(spec: &GatewaySpec, out: &mut Findings) {
    shared::labels(&spec.selector, "spec.selector", out);
    if spec.servers.is_empty() {
        out.error("spec.servers", "must have at least one server");
    }
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    for (path, server) in items("spec", "servers", &spec.servers) {
        check_server(server, &path, out);
        let path = child(&child(&path, "port"), "name");
        let name = server.port.name.as_str();
        if let Some(first) = names.get(name).filter(|_| !name.is_empty()) {
            out.error(path, format!("{name:?} is already the name at {first}"));
        } else {
            names.insert(name, path);
        }
    }
}

/// What a port speaks, as far as TLS settings depend on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Http,
    Https,
    Tls,
    Tcp,
}

fn family(protocol: &str) -> Option<Family> {
    Some(match protocol.to_ascii_uppercase().as_str() {
        "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => Family::Http,
        "HTTPS" => Family::Https,
        "TLS" => Family::Tls,
        "TCP" | "MONGO" | "MYSQL" | "REDIS" | "UDP" => Family::Tcp,
        _ => return None,
    })
}

fn check_server(server: &Server, path: &str, out: &mut Findings) {
    check_port(&server.port, &child(path, "port"), out);
    if !server.bind.is_empty() && !is_bind(&server.bind) {
        out.error(
            child(path, "bind"),
            format!(
                "{:?} must be an IP address, or unix:// and an absolute path",
                server.bind
            ),
        );
    }
    if server.hosts.is_empty() {
        out.error(child(path, "hosts"), "must have at least one host");
    }
    for (path, host) in items(path, "hosts", &server.hosts) {
        out.check(path, check_host(host));
    }
    check_tls_use(server, path, out);
    if let Some(tls) = &server.tls {
        check_tls(tls, &child(path, "tls"), out);
    }
}

fn is_bind(bind: &str) -> bool {
    match bind.strip_prefix("unix://") {
        Some(path) => path.starts_with('/') || path.starts_with('@'),
        None => bind.parse::<IpAddr>().is_ok(),
    }
}

fn check_port(port: &Port, path: &str, out: &mut Findings) {
    out.check(child(path, "number"), shared::port(port.number));
    if let Some(target) = port.target_port.filter(|target| *target != 0) {
        out.check(child(path, "targetPort"), shared::port(target));
    }
    if port.name.is_empty() {
        out.error(child(path, "name"), "must not be empty");
    }
    if family(&port.protocol).is_none() {
        out.error(
            child(path, "protocol"),
            format!(
                "{:?} must be one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS",
                port.protocol
            ),
        );
    }
}

/// `host`, `namespace/host`, `./host` or `*/host`.
fn check_host(text: &str) -> Result<(), String> {
    let host = match text.split_once('/') {
        None => text,
        Some(("*" | ".", host)) => host,
        Some((namespace, host)) => {
            shared::dns_label(namespace)?;
            host
        }
    };
    if host.is_empty() {
        return Err(format!("{text:?} must have a host"));
    }
    if !host.contains('.') && !host.starts_with('*') {
        return Err(format!(
            "short name {host:?} is not allowed, write the whole DNS name"
        ));
    }
    shared::wildcard_host(host)
}

/// Whether there may, must or must not be TLS settings.
fn check_tls_use(server: &Server, path: &str, out: &mut Findings) {
    let Some(family) = family(&server.port.protocol) else {
        return;
    };
    let path = child(path, "tls");
    match (family, &server.tls) {
        (Family::Https | Family::Tls, None) => {
            out.error(
                path,
                format!("is required for protocol {}", server.port.protocol),
            );
        }
        (Family::Http, Some(tls)) if tls.mode != ServerTlsMode::Passthrough => {
            out.error(path, "only httpsRedirect can be set for plaintext HTTP");
        }
        (Family::Tcp, Some(_)) => {
            out.error(
                path,
                format!("can't be set for protocol {}", server.port.protocol),
            );
        }
        (Family::Https, Some(tls)) if tls.https_redirect => {
            out.warn(
                child(&path, "httpsRedirect"),
                "has no effect for protocol HTTPS",
            );
        }
        (Family::Tls, Some(tls)) if tls.https_redirect => {
            out.error(
                child(&path, "httpsRedirect"),
                "can be set for protocol HTTP only",
            );
        }
        _ => {}
    }
}

pub(super) fn check_tls(tls: &ServerTlsSettings, path: &str, out: &mut Findings) {
    check_versions(tls, path, out);
    check_ciphers(tls, path, out);
    match tls.mode {
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => unused(tls, path, out),
        ServerTlsMode::IstioMutual => {
            for (name, _) in sources(tls) {
                out.error(child(path, name), "can't be set with mode ISTIO_MUTUAL");
            }
        }
        ServerTlsMode::Simple => check_credentials(tls, path, false, out),
        ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {
            check_credentials(tls, path, true, out);
        }
        ServerTlsMode::Unknown(_) => {}
    }
}

/// Where certificates come from: the fields that are set.
fn sources(tls: &ServerTlsSettings) -> Vec<(&'static str, bool)> {
    [
        ("serverCertificate", !tls.server_certificate.is_empty()),
        ("privateKey", !tls.private_key.is_empty()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        (
            "caCertCredentialName",
            !tls.ca_cert_credential_name.is_empty(),
        ),
    ]
    .into_iter()
    .filter(|(_, set)| *set)
    .collect()
}

fn unused(tls: &ServerTlsSettings, path: &str, out: &mut Findings) {
    for (name, _) in sources(tls) {
        out.warn(
            child(path, name),
            format!("has no effect with mode {}", tls.mode),
        );
    }
}

fn check_credentials(tls: &ServerTlsSettings, path: &str, mutual: bool, out: &mut Findings) {
    let ways = [
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ];
    let set: Vec<&str> = ways.iter().filter(|way| way.1).map(|way| way.0).collect();
    if set.len() > 1 {
        out.error(path, format!("only one of {} can be set", set.join(", ")));
    }
    for (path, name) in items(path, "credentialNames", &tls.credential_names) {
        if name.is_empty() {
            out.error(path, "must not be empty");
        }
    }
    for (path, pair) in items(path, "tlsCertificates", &tls.tls_certificates) {
        required(
            &pair.server_certificate,
            &path,
            "serverCertificate",
            tls,
            out,
        );
        required(&pair.private_key, &path, "privateKey", tls, out);
    }
    let files = [
        ("serverCertificate", &tls.server_certificate),
        ("privateKey", &tls.private_key),
    ];
    for (name, value) in files {
        match set.first() {
            None => required(value, path, name, tls, out),
            Some(way) if !value.is_empty() => {
                out.warn(child(path, name), format!("has no effect beside {way}"));
            }
            Some(_) => {}
        }
    }
    let secret = !tls.credential_name.is_empty() || !tls.credential_names.is_empty();
    let ca = secret
        || !tls.ca_cert_credential_name.is_empty()
        || !tls.ca_certificates.is_empty()
        || tls
            .tls_certificates
            .iter()
            .any(|pair| !pair.ca_certificates.is_empty())
        || tls.insecure_skip_verify == Some(true);
    if mutual && !ca {
        required("", path, "caCertificates", tls, out);
    }
}

fn required(value: &str, path: &str, name: &str, tls: &ServerTlsSettings, out: &mut Findings) {
    if value.is_empty() {
        let message = format!("is required for mode {} without credentialName", tls.mode);
        out.error(child(path, name), message);
    }
}

fn check_versions(tls: &ServerTlsSettings, path: &str, out: &mut Findings) {
    let rank = |version: &TlsProtocol| match version {
        TlsProtocol::V1_0 => Some(0),
        TlsProtocol::V1_1 => Some(1),
        TlsProtocol::V1_2 => Some(2),
        TlsProtocol::V1_3 => Some(3),
        TlsProtocol::Auto | TlsProtocol::Unknown(_) => None,
    };
    let (min, max) = (
        rank(&tls.min_protocol_version),
        rank(&tls.max_protocol_version),
    );
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        out.error(
            child(path, "minProtocolVersion"),
            format!("is above maxProtocolVersion {}", tls.max_protocol_version),
        );
    }
}

/// Cipher suites of TLS 1.2 and below that a proxy may know; TLS 1.3 has no choice.
const CIPHERS: [&str; 17] = [
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA",
    "DES-CBC3-SHA",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
];

const CURVES: [&str; 5] = ["P-256", "P-384", "P-521", "X25519", "X25519MLKEM768"];

fn check_ciphers(tls: &ServerTlsSettings, path: &str, out: &mut Findings) {
    let lists = [
        ("cipherSuites", &tls.cipher_suites, &CIPHERS[..]),
        ("ecdhCurves", &tls.ecdh_curves, &CURVES[..]),
    ];
    for (name, list, known) in lists {
        for (index, (path, entry)) in items(path, name, list).enumerate() {
            if !known.contains(&entry.as_str()) {
                out.warn(path, format!("{entry:?} is not known and left out"));
            } else if list.iter().take(index).any(|earlier| earlier == entry) {
                out.warn(path, format!("{entry:?} is given twice"));
            }
        }
    }
}
