//! Rules that several kinds share: hosts, names, ports, durations, regular expressions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ironsail_mesh::duration;
use ironsail_mesh::port::Protocol;
use regex::Regex;

use crate::networking::sidecar;
use crate::networking::virtual_service::{PortSelector, StringMatch, StringMatchKind};
use crate::security::peer_authentication::WorkloadSelector;
use crate::wire::DurationString;

use super::field::{Findings, child, items};

type Check = Result<(), String>;

const MAX_HOST: usize = 255;
const MAX_LABEL: usize = 63;
const MAX_LABEL_PREFIX: usize = 253;
const MAX_REGEX: usize = 1024;

fn is_alphanumeric(byte: Option<&u8>) -> bool {
    byte.is_some_and(u8::is_ascii_alphanumeric)
}

/// Letters, digits and what `inner` allows in the middle.
fn is_word(text: &str, max: usize, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= max
        && is_alphanumeric(bytes.first())
        && is_alphanumeric(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || inner.contains(b))
}

/// A label of a DNS name, upper case allowed.
pub(super) fn is_dns_label(text: &str) -> bool {
    is_word(text, MAX_LABEL, b"-")
}

/// A name of a Kubernetes object that must be a DNS label.
pub(super) fn dns_label(text: &str) -> Check {
    if is_dns_label(text) && !text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(());
    }
    Err(format!(
        "{text:?} must be a DNS label: at most 63 of a-z, 0-9 and - with a letter or digit at both ends"
    ))
}

/// A host without wildcard.
pub(super) fn fqdn(host: &str) -> Check {
    if host.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if host.len() > MAX_HOST {
        return Err(format!("host {host:?} has more than {MAX_HOST} characters"));
    }
    let labels: Vec<&str> = host.strip_suffix('.').unwrap_or(host).split('.').collect();
    if let Some(bad) = labels.iter().find(|label| !is_dns_label(label)) {
        return Err(format!(
            "host {host:?} is no DNS name: {bad:?} is no label of one"
        ));
    }
    if labels
        .last()
        .is_some_and(|top| top.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(format!(
            "host {host:?} is no DNS name: the last label has only digits"
        ));
    }
    Ok(())
}

/// A host whose first label may be or begin with `*`.
pub(super) fn wildcard_host(host: &str) -> Check {
    let Some(rest) = host.strip_prefix('*') else {
        return fqdn(host);
    };
    let rest = rest.strip_prefix(['.', '-']).unwrap_or(rest);
    match (rest, host) {
        ("", "*") => Ok(()),
        ("", _) => Err(format!("host {host:?} must have a name after the wildcard")),
        (rest, _) if rest.contains('*') => Err(format!(
            "host {host:?} may have one wildcard, at its beginning"
        )),
        (rest, _) => fqdn(rest),
    }
}

/// A wildcard host or an address.
pub(super) fn wildcard_host_or_address(host: &str) -> Check {
    match host.parse::<IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => wildcard_host(host),
    }
}

/// Whether two hosts, wildcards or not, have a name in common.
pub(super) fn hosts_overlap(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (None, None) => a == b,
        (Some(suffix), None) => b.ends_with(suffix),
        (None, Some(suffix)) => a.ends_with(suffix),
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
    }
}

/// Whether every name of `inner` is one of `outer`.
pub(super) fn host_within(inner: &str, outer: &str) -> bool {
    match (inner.strip_prefix('*'), outer.strip_prefix('*')) {
        (_, None) => inner == outer,
        (None, Some(suffix)) => inner.ends_with(suffix),
        (Some(inner), Some(suffix)) => inner.ends_with(suffix),
    }
}

/// A port number that can be used.
pub(super) fn port(number: u32) -> Check {
    match number {
        1..=65535 => Ok(()),
        _ => Err(format!("port {number} must be 1 to 65535")),
    }
}

/// A port given by number.
pub(super) fn port_selector(selector: &PortSelector, path: &str, out: &mut Findings) {
    out.check(child(path, "number"), port(selector.number.unwrap_or(0)));
}

/// A duration of at least one millisecond.
pub(super) fn duration_ms(
    text: &Option<DurationString>,
    path: &str,
    name: &str,
    out: &mut Findings,
) {
    let Some(text) = text else { return };
    let path = child(path, name);
    match text.parse() {
        Err(error) => out.error(path, error.to_string()),
        Ok(duration) if duration < Duration::from_millis(1) => {
            out.error(path, "must be at least 1ms");
        }
        Ok(duration) if duration.subsec_nanos() % 1_000_000 != 0 => {
            out.error(path, "must be a whole number of milliseconds");
        }
        Ok(_) => {}
    }
}

/// A duration that may be zero.
pub(super) fn duration_or_zero(text: &Option<String>, path: &str, name: &str, out: &mut Findings) {
    if let Some(Err(error)) = text.as_deref().map(duration::parse) {
        out.error(child(path, name), error.to_string());
    }
}

/// A share in percent.
pub(super) fn percent(value: f64) -> Check {
    if (0.0..=100.0).contains(&value) {
        return Ok(());
    }
    Err(format!("{value} must be 0 to 100 percent"))
}

/// A count that must not be negative.
pub(super) fn not_negative(value: i32, path: &str, name: &str, out: &mut Findings) {
    if value < 0 {
        out.error(child(path, name), "must not be negative");
    }
}

/// A regular expression in the syntax of RE2.
pub(super) fn regex(pattern: &str) -> Check {
    if pattern.is_empty() {
        return Err("regular expression must not be empty".to_owned());
    }
    if pattern.len() > MAX_REGEX {
        return Err(format!(
            "regular expression has {} bytes, at most {MAX_REGEX} are allowed",
            pattern.len()
        ));
    }
    // Messages of the parser are drawings of several lines; the last one says what is wrong.
    Regex::new(pattern).map(drop).map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        format!("{pattern:?} is no valid regular expression: {reason}")
    })
}

/// A match of a text.
pub(super) fn string_match(value: &StringMatch, path: &str, out: &mut Findings) {
    match value.kind() {
        StringMatchKind::Prefix("") => out.error(child(path, "prefix"), "must not be empty"),
        StringMatchKind::Regex(pattern) => out.check(child(path, "regex"), regex(pattern)),
        StringMatchKind::Present | StringMatchKind::Exact(_) | StringMatchKind::Prefix(_) => {}
    }
}

/// A name of a header.
pub(super) fn header_name(name: &str) -> Check {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match name {
        "" => Err("header name must not be empty".to_owned()),
        _ if name.bytes().all(token) => Ok(()),
        _ => Err(format!("{name:?} is no valid header name")),
    }
}

/// Labels as pods have them.
pub(super) fn labels(labels: &BTreeMap<String, String>, path: &str, out: &mut Findings) {
    for (key, value) in labels {
        let path = child(path, key);
        out.check(path.clone(), label_key(key));
        out.check(path, label_value(value));
    }
}

fn label_key(key: &str) -> Check {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_ok = prefix.is_none_or(|p| p.len() <= MAX_LABEL_PREFIX && fqdn(p).is_ok());
    if prefix_ok && is_word(name, MAX_LABEL, b"-_.") {
        return Ok(());
    }
    Err(format!("{key:?} is no valid label key"))
}

fn label_value(value: &str) -> Check {
    if value.is_empty() || is_word(value, MAX_LABEL, b"-_.") {
        return Ok(());
    }
    Err(format!("{value:?} is no valid label value"))
}

/// A selector by labels, where wildcards look possible but aren't.
pub(super) fn workload_selector(selector: &WorkloadSelector, path: &str, out: &mut Findings) {
    selected(&selector.match_labels, child(path, "matchLabels"), out);
}

/// The same in the form of the networking kinds.
pub(super) fn selector_by_labels(
    selector: &sidecar::WorkloadSelector,
    path: &str,
    out: &mut Findings,
) {
    selected(&selector.labels, child(path, "labels"), out);
}

fn selected(pods: &BTreeMap<String, String>, path: String, out: &mut Findings) {
    for (key, value) in pods {
        if key.contains('*') || value.contains('*') {
            out.error(
                child(&path, key),
                "wildcards are not supported in selectors",
            );
        }
    }
    if pods.is_empty() {
        out.warn(path.clone(), "an empty selector selects every workload");
    }
    let plain = |(key, value): &(&String, &String)| !key.contains('*') && !value.contains('*');
    let rest: BTreeMap<String, String> = pods
        .iter()
        .filter(plain)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    labels(&rest, &path, out);
}

/// Namespaces that see an object.
pub(super) fn export_to(list: &[String], out: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (path, entry) in items("spec", "exportTo", list) {
        match entry.as_str() {
            "~" => out.error(path.clone(), "~ is supported by ServiceEntry only"),
            "." | "*" => {}
            name => out.check(path.clone(), dns_label(name)),
        }
        if !seen.insert(entry) {
            out.error(path, format!("{entry:?} is given twice"));
        }
    }
    if list.len() > 1 && list.iter().any(|entry| entry == "*") {
        out.error(
            "spec.exportTo",
            "* and other entries can't be given together",
        );
    }
}

/// Namespaces that see a service; `~` alone hides it from all.
pub(super) fn service_export_to(list: &[String], out: &mut Findings) {
    match list {
        [only] if only == "~" => {}
        _ if list.iter().any(|entry| entry == "~") => out.error(
            "spec.exportTo",
            "~ and other entries can't be given together",
        ),
        _ => export_to(list, out),
    }
}

/// Names of gateways: `mesh`, `name` or `namespace/name`.
pub(super) fn gateway_names(list: &[String], path: &str, out: &mut Findings) {
    for (path, name) in items(path, "gateways", list) {
        let result = match name.split_once('/') {
            Some((namespace, name)) => dns_label(namespace).and_then(|()| fqdn(name)),
            None => fqdn(name),
        };
        out.check(path, result);
    }
}

/// Addresses or ranges.
pub(super) fn subnets(list: &[String], path: &str, name: &str, out: &mut Findings) {
    for (path, subnet) in items(path, name, list) {
        out.check(path, self::subnet(subnet));
    }
}

/// An address or a range such as `10.0.0.0/8`.
pub(super) fn subnet(text: &str) -> Check {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let max = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => {
            return Err(format!(
                "{text:?} is no IP address or range such as 10.0.0.0/8"
            ));
        }
    };
    match length.map(str::parse::<u8>) {
        None => Ok(()),
        Some(Ok(length)) if length <= max => Ok(()),
        Some(_) => Err(format!("{text:?} must have a prefix length of 0 to {max}")),
    }
}

/// What follows `unix://` in an address.
pub(super) fn socket_path(path: &str) -> Check {
    let absolute = path.starts_with('/') && !path.ends_with('/');
    match absolute || (path.starts_with('@') && path.len() > 1) {
        true => Ok(()),
        false => Err(format!(
            "{path:?} must be the absolute path of a socket, or @ and a name"
        )),
    }
}

/// Prefix of addresses that are sockets in the file system.
pub(super) const UNIX: &str = "unix://";

/// A port's name: a DNS label, upper case allowed.
pub(super) fn port_name(name: &str) -> Check {
    match is_dns_label(name) {
        true => Ok(()),
        false => Err(format!(
            "port name {name:?} must be at most 63 of letters, digits and -, with a letter or digit at both ends"
        )),
    }
}

/// What a port speaks; empty is undeclared.
pub(super) fn protocol(text: &str) -> Check {
    match text.is_empty() || !Protocol::parse(text).is_unsupported() {
        true => Ok(()),
        false => Err(format!(
            "{text:?} must be one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, MYSQL, REDIS, TCP, TLS"
        )),
    }
}
