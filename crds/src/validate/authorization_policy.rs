//! Rules of AuthorizationPolicy.

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::security::authorization_policy::{
    Action, AuthorizationPolicySpec, Condition, Operation, Rule, Source,
};

use super::field::{Findings, child, item, items};
use super::target::Target;
use super::{DRY_RUN, shared};

/// Everything that is wrong with an AuthorizationPolicy.
#[must_use]
pub fn validate(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<AuthorizationPolicySpec>(object, &mut out) {
        check_dry_run(&spec, object, &mut out);
        check(&spec, object, &mut out);
    }
    out.into_vec()
}

fn check_dry_run(spec: &AuthorizationPolicySpec, object: &Value, out: &mut Findings) {
    let path = child("metadata.annotations", DRY_RUN);
    let Some(value) = super::annotation(object, DRY_RUN) else {
        return;
    };
    if !matches!(spec.action, Action::Allow | Action::Deny) {
        out.error(path, "is supported for actions ALLOW and DENY only");
    } else if !TRUTHS.contains(&value) {
        out.error(path, format!("{value:?} must be true or false"));
    }
}

/// What counts as a boolean in annotations.
const TRUTHS: [&str; 12] = [
    "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
];

fn check(spec: &AuthorizationPolicySpec, object: &Value, out: &mut Findings) {
    let target = Target {
        selector: spec.selector.as_ref(),
        target_ref: spec.target_ref.as_ref(),
        target_refs: &spec.target_refs,
    };
    target.check(out);
    check_provider(spec, out);
    if spec.rules.is_empty() && matches!(spec.action, Action::Deny | Action::Custom) {
        out.error(
            "spec.rules",
            format!(
                "{} without rules never matches; an empty rule {{}} matches every request",
                spec.action
            ),
        );
    }
    for (index, (path, rule)) in items("spec", "rules", &spec.rules).enumerate() {
        check_empty_lists(object, index, &path, out);
        check_rule(rule, &path, out);
        if spec.action == Action::Custom {
            check_custom(rule, &path, out);
        }
        if spec.action == Action::Deny && http_only(rule) {
            out.warn(
                path,
                "has only HTTP conditions: on TCP ports it denies everything; name ports to limit it",
            );
        }
    }
}

fn check_provider(spec: &AuthorizationPolicySpec, out: &mut Findings) {
    match (&spec.action, &spec.provider) {
        (Action::Custom, None) => out.error("spec.provider", "is required for action CUSTOM"),
        (Action::Custom, Some(provider)) if provider.name.is_empty() => {
            out.error("spec.provider.name", "must not be empty");
        }
        (Action::Custom, Some(_)) | (_, None) => {}
        (_, Some(_)) => out.error("spec.provider", "can be set for action CUSTOM only"),
    }
}

/// Lists that are written but empty: whether nothing or everything is meant can't be told.
fn check_empty_lists(object: &Value, index: usize, path: &str, out: &mut Findings) {
    let rule = object.pointer(&format!("/spec/rules/{index}"));
    for name in ["from", "to"] {
        let list = rule.and_then(|rule| rule.get(name)?.as_array());
        if list.is_some_and(Vec::is_empty) {
            out.error(
                child(path, name),
                "must not be an empty list; leave it out to match everything",
            );
        }
    }
}

fn check_rule(rule: &Rule, path: &str, out: &mut Findings) {
    for (path, from) in items(path, "from", &rule.from) {
        let path = child(&path, "source");
        match &from.source {
            None => out.error(path, "is required"),
            Some(source) if *source == Source::default() => {
                out.error(path, "must have at least one field");
            }
            Some(source) => check_source(source, &path, out),
        }
    }
    for (path, to) in items(path, "to", &rule.to) {
        let path = child(&path, "operation");
        match &to.operation {
            None => out.error(path, "is required"),
            Some(operation) if *operation == Operation::default() => {
                out.error(path, "must have at least one field");
            }
            Some(operation) => check_operation(operation, &path, out),
        }
    }
    for (path, condition) in items(path, "when", &rule.when) {
        check_condition(condition, &path, out);
    }
}

/// The fields of a source.
fn source_lists(source: &Source) -> [(&'static str, &[String]); 14] {
    [
        ("principals", &source.principals),
        ("notPrincipals", &source.not_principals),
        ("requestPrincipals", &source.request_principals),
        ("notRequestPrincipals", &source.not_request_principals),
        ("namespaces", &source.namespaces),
        ("notNamespaces", &source.not_namespaces),
        ("ipBlocks", &source.ip_blocks),
        ("notIpBlocks", &source.not_ip_blocks),
        ("remoteIpBlocks", &source.remote_ip_blocks),
        ("notRemoteIpBlocks", &source.not_remote_ip_blocks),
        ("serviceAccounts", &source.service_accounts),
        ("notServiceAccounts", &source.not_service_accounts),
        ("trustDomains", &source.trust_domains),
        ("notTrustDomains", &source.not_trust_domains),
    ]
}

/// Those that only HTTP requests have.
const TOKEN_IDENTITY: [&str; 2] = ["requestPrincipals", "notRequestPrincipals"];

fn check_source(source: &Source, path: &str, out: &mut Findings) {
    for (name, list) in source_lists(source) {
        match name {
            "ipBlocks" | "notIpBlocks" | "remoteIpBlocks" | "notRemoteIpBlocks" => {
                shared::subnets(list, path, name, out);
            }
            "serviceAccounts" | "notServiceAccounts" => {
                each(list, path, name, service_account, out);
            }
            _ => each(list, path, name, not_empty, out),
        }
    }
    let accounts = !source.service_accounts.is_empty() || !source.not_service_accounts.is_empty();
    let identities = !source.principals.is_empty()
        || !source.not_principals.is_empty()
        || !source.namespaces.is_empty()
        || !source.not_namespaces.is_empty();
    if accounts && identities {
        out.error(
            path,
            "service accounts can't be given together with principals or namespaces",
        );
    }
}

fn check_operation(operation: &Operation, path: &str, out: &mut Findings) {
    let lists: [(&str, &[String], fn(&str) -> Check); 8] = [
        ("hosts", &operation.hosts, not_empty),
        ("notHosts", &operation.not_hosts, not_empty),
        ("ports", &operation.ports, port),
        ("notPorts", &operation.not_ports, port),
        ("methods", &operation.methods, not_empty),
        ("notMethods", &operation.not_methods, not_empty),
        ("paths", &operation.paths, path_template),
        ("notPaths", &operation.not_paths, path_template),
    ];
    for (name, list, check) in lists {
        each(list, path, name, check, out);
    }
}

type Check = Result<(), String>;

fn each(list: &[String], path: &str, name: &str, check: fn(&str) -> Check, out: &mut Findings) {
    for (path, value) in items(path, name, list) {
        out.check(path, check(value));
    }
}

fn not_empty(text: &str) -> Check {
    match text.is_empty() {
        true => Err("must not be empty".to_owned()),
        false => Ok(()),
    }
}

fn port(text: &str) -> Check {
    match text.parse::<u16>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{text:?} is no port number")),
    }
}

fn service_account(text: &str) -> Check {
    let parts: Vec<&str> = text.split('/').collect();
    let shaped = parts.len() <= 2 && parts.iter().all(|part| !part.is_empty());
    match shaped && !text.contains('*') {
        true => Ok(()),
        false => Err(format!(
            "{text:?} must be a service account or namespace/account, without wildcards"
        )),
    }
}

/// Segments that stand for others.
const ONE: &str = "{*}";
const ANY: &str = "{**}";

/// A path, perhaps with `{*}` for a segment and `{**}` for the last ones.
fn path_template(text: &str) -> Check {
    not_empty(text)?;
    let template = text.contains(ONE) || text.contains(ANY);
    let mut ended = false;
    for segment in text.trim_matches('/').split('/') {
        match segment {
            ONE | ANY if ended => return Err(format!("{text:?}: {ANY} must be the last segment")),
            ONE => {}
            ANY => ended = true,
            other if other.contains(['{', '}']) => {
                return Err(format!(
                    "{text:?}: braces are allowed as whole segments {ONE} and {ANY} only"
                ));
            }
            other if template && !is_literal(other) => {
                return Err(format!(
                    "{text:?}: {other:?} can't stand in a path with {ONE} or {ANY}"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// [`pchar`](https://datatracker.ietf.org/doc/html/rfc3986#appendix-A) but the asterisk.
fn is_literal(segment: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&b);
    !segment.is_empty() && segment.bytes().all(allowed)
}

fn check_condition(condition: &Condition, path: &str, out: &mut Findings) {
    let key = condition.key.as_str();
    if key.is_empty() {
        // Missing is reported by the schema.
        if !out.mentions(&child(path, "key")) {
            out.error(child(path, "key"), "must not be empty");
        }
        return;
    }
    if condition.values.is_empty() && condition.not_values.is_empty() {
        out.error(path, "must have values or notValues");
    }
    let check = match attribute(key) {
        Ok(check) => check,
        Err(message) => return out.error(child(path, "key"), message),
    };
    each(&condition.values, path, "values", check, out);
    each(&condition.not_values, path, "notValues", check, out);
}

/// What the values of an attribute must be.
fn attribute(key: &str) -> Result<fn(&str) -> Check, String> {
    const KEYED: [&str; 4] = [
        "request.headers",
        "request.experimental.inline.headers",
        "request.auth.claims",
        "experimental.envoy.filters.",
    ];
    if KEYED.iter().any(|prefix| key.starts_with(prefix)) {
        return match key.strip_suffix(']').and_then(|key| key.split_once('[')) {
            Some((_, inner)) if !inner.is_empty() => Ok(not_empty),
            _ => Err(format!("{key:?} must have the form name[key]")),
        };
    }
    match key {
        "source.ip" | "remote.ip" | "destination.ip" => Ok(shared::subnet),
        "destination.port" => Ok(port),
        "source.serviceAccount" => Ok(service_account),
        "source.namespace"
        | "source.principal"
        | "source.trustDomain"
        | "request.auth.principal"
        | "request.auth.audiences"
        | "request.auth.presenter"
        | "connection.sni" => Ok(not_empty),
        "destination.namespace" => Err(format!("{key:?}: a policy is for its own namespace")),
        "destination.name" | "destination.user" => {
            Err(format!("{key:?}: use the selector of the policy"))
        }
        _ if key.starts_with("destination.labels") => {
            Err(format!("{key:?}: use the selector of the policy"))
        }
        _ => Err(format!("{key:?} is no known attribute")),
    }
}

/// What an external authorizer is asked by is decided before identities are looked at.
fn check_custom(rule: &Rule, path: &str, out: &mut Findings) {
    const IDENTITY: [&str; 4] = ["principals", "notPrincipals", "namespaces", "notNamespaces"];
    let message = "is not supported with action CUSTOM";
    for (path, from) in items(path, "from", &rule.from) {
        let source = from.source.iter().flat_map(source_lists);
        for (name, list) in source {
            if !list.is_empty() && (IDENTITY.contains(&name) || TOKEN_IDENTITY.contains(&name)) {
                out.error(child(&child(&path, "source"), name), message);
            }
        }
    }
    for (index, condition) in rule.when.iter().enumerate() {
        let key = condition.key.as_str();
        if ["source.namespace", "source.principal"].contains(&key)
            || key.starts_with("request.auth.")
        {
            let path = item(&child(path, "when"), index);
            out.error(child(&path, "key"), format!("{key} {message}"));
        }
    }
}

/// Whether a rule says nothing that means something for TCP.
fn http_only(rule: &Rule) -> bool {
    let tcp_source = |source: &Source| {
        source_lists(source)
            .iter()
            .any(|(name, list)| !list.is_empty() && !TOKEN_IDENTITY.contains(name))
    };
    let tcp_from = rule.from.iter().filter_map(|from| from.source.as_ref());
    let tcp_from = tcp_from.into_iter().any(tcp_source);
    let tcp_to = rule.to.iter().filter_map(|to| to.operation.as_ref());
    let tcp_to = tcp_to
        .into_iter()
        .any(|operation| !operation.ports.is_empty() || !operation.not_ports.is_empty());
    match (rule.from.is_empty(), rule.to.is_empty()) {
        (_, false) => !tcp_to,
        (false, true) => !tcp_from,
        (true, true) => false,
    }
}
