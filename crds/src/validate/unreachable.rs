//! Warnings about HTTP routes that never match because an earlier one takes their traffic.

use crate::networking::virtual_service::{HttpMatchRequest, HttpRoute, StringMatchKind};

use super::field::{Findings, child, items};

/// Reports routes behind one without matches, repeated matches, and prefixes under earlier ones.
pub(super) fn check(routes: &[HttpRoute], out: &mut Findings) {
    let mut catch_all: Option<usize> = None;
    let mut seen: Vec<(String, &HttpMatchRequest)> = Vec::new();
    for (index, (path, route)) in items("spec", "http", routes).enumerate() {
        if let Some(earlier) = catch_all {
            out.warn(
                path,
                format!("is never used: spec.http[{earlier}] matches everything"),
            );
            continue;
        }
        if route.matches.is_empty() {
            catch_all = Some(index);
            continue;
        }
        for (path, matched) in items(&path, "match", &route.matches) {
            report(&path, matched, &seen, out);
            seen.push((path, matched));
        }
    }
}

fn report(
    path: &str,
    matched: &HttpMatchRequest,
    seen: &[(String, &HttpMatchRequest)],
    out: &mut Findings,
) {
    if let Some((twin, _)) = seen.iter().find(|(_, earlier)| same(earlier, matched)) {
        out.warn(path, format!("is never used: the same match is at {twin}"));
    } else if let Some((wider, _)) = seen.iter().find(|(_, earlier)| covers(earlier, matched)) {
        out.warn(
            child(path, "uri"),
            format!("is never used: {wider} has a shorter prefix"),
        );
    }
}

/// Equal but for names.
fn same(a: &HttpMatchRequest, b: &HttpMatchRequest) -> bool {
    let nameless = |m: &HttpMatchRequest| HttpMatchRequest {
        name: String::new(),
        stat_prefix: String::new(),
        ..m.clone()
    };
    nameless(a) == nameless(b)
}

/// Whether `earlier` asks for a prefix of the path and nothing else but what `later` also asks.
fn covers(earlier: &HttpMatchRequest, later: &HttpMatchRequest) -> bool {
    let (Some(wide), Some(narrow)) = (&earlier.uri, &later.uri) else {
        return false;
    };
    let StringMatchKind::Prefix(prefix) = wide.kind() else {
        return false;
    };
    let inside = match narrow.kind() {
        StringMatchKind::Prefix(text) | StringMatchKind::Exact(text) => text.starts_with(prefix),
        StringMatchKind::Present | StringMatchKind::Regex(_) => false,
    };
    let rest = |m: &HttpMatchRequest| HttpMatchRequest {
        uri: None,
        ..m.clone()
    };
    inside && same(&rest(earlier), &rest(later))
}
