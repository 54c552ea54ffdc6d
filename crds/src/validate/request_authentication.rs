//! Rules of RequestAuthentication.

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::security::request_authentication::{JwtRule, RequestAuthenticationSpec};

use super::field::{Findings, child, items};
use super::target::Target;
use super::{jwks, shared};

/// Everything that is wrong with a RequestAuthentication.
#[must_use]
pub fn validate(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<RequestAuthenticationSpec>(object, &mut out) {
        check(&spec, &mut out);
    }
    out.into_vec()
}

fn check(spec: &RequestAuthenticationSpec, out: &mut Findings) {
    let target = Target {
        selector: spec.selector.as_ref(),
        target_ref: spec.target_ref.as_ref(),
        target_refs: &spec.target_refs,
    };
    target.check(out);
    for (path, rule) in items("spec", "jwtRules", &spec.jwt_rules) {
        check_rule(rule, &path, out);
    }
}

fn check_rule(rule: &JwtRule, path: &str, out: &mut Findings) {
    let issuer = child(path, "issuer");
    // An empty text is reported by the schema, an absent one is not.
    if rule.issuer.is_empty() && !out.mentions(&issuer) {
        out.error(issuer, "is required");
    }
    check_keys(rule, path, out);
    for (path, header) in items(path, "fromHeaders", &rule.from_headers) {
        // Missing is reported by the schema.
        if !header.name.is_empty() {
            out.check(child(&path, "name"), shared::header_name(&header.name));
        }
    }
    if !rule.output_payload_to_header.is_empty() {
        out.check(
            child(path, "outputPayloadToHeader"),
            shared::header_name(&rule.output_payload_to_header),
        );
    }
    shared::duration_ms(&rule.timeout, path, "timeout", out);
}

fn check_keys(rule: &JwtRule, path: &str, out: &mut Findings) {
    let ways = [
        ("jwksUri", &rule.jwks_uri),
        ("jwks_uri", &rule.jwks_uri_snake),
        ("jwks", &rule.jwks),
    ];
    let set: Vec<&str> = ways
        .iter()
        .filter(|way| way.1.is_some())
        .map(|way| way.0)
        .collect();
    if set.len() > 1 {
        out.error(path, format!("only one of {} can be set", set.join(", ")));
    }
    for (name, uri) in [ways[0], ways[1]] {
        if let Some(uri) = uri.as_deref().filter(|uri| !uri.is_empty()) {
            out.check(child(path, name), check_uri(uri));
            if uri.starts_with("http://") {
                out.warn(
                    child(path, name),
                    "keys fetched without TLS can be exchanged on the way",
                );
            }
        }
    }
    if let Some(text) = rule.jwks.as_deref().filter(|text| !text.is_empty()) {
        out.check(child(path, "jwks"), jwks::check(text));
    }
}

/// `http://` or `https://`, a host and perhaps a port.
fn check_uri(uri: &str) -> Result<(), String> {
    let rest = uri
        .strip_prefix("https://")
        .or_else(|| uri.strip_prefix("http://"))
        .ok_or_else(|| format!("{uri:?} must begin with http:// or https://"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.is_empty() || uri.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err(format!("{uri:?} is no address of a file"));
    }
    match port.map(str::parse::<u16>) {
        None | Some(Ok(1..)) => Ok(()),
        Some(_) => Err(format!("{uri:?} has no valid port")),
    }
}
