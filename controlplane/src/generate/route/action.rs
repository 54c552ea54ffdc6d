//! Redirects, fixed answers and rewrites of HTTP rules.

use base64::Engine;
use ironsail_crds::networking::virtual_service::{
    HttpDirectResponse, HttpRedirect, HttpRewrite, RedirectPortSelection, RegexRewrite,
};
use ironsail_xds::core::{DataSource, data_source};
use ironsail_xds::matcher::RegexMatchAndSubstitute;
use ironsail_xds::route::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use ironsail_xds::route::{DirectResponseAction, RedirectAction, RouteAction};

use crate::generate::message;
use crate::model::virtual_service::VirtualService;

/// Largest body that a rule may answer with, which route tables also tell their proxies.
pub const MAX_DIRECT_RESPONSE_BYTES: usize = 1 << 20;

/// A redirect answer; `None` when proxies would not accept its texts.
pub fn redirect(redirect: &HttpRedirect, listen_port: u16) -> Option<RedirectAction> {
    let texts = [
        &redirect.uri,
        &redirect.prefix_rewrite,
        &redirect.authority,
        &redirect.scheme,
    ];
    if !texts.into_iter().all(|text| message::is_header_value(text)) {
        return None;
    }
    let code = match redirect.redirect_code {
        Some(302) => RedirectResponseCode::Found,
        Some(303) => RedirectResponseCode::SeeOther,
        Some(307) => RedirectResponseCode::TemporaryRedirect,
        Some(308) => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    let path = match (redirect.uri.as_str(), redirect.prefix_rewrite.as_str()) {
        ("", "") => None,
        ("", prefix) => Some(PathRewriteSpecifier::PrefixRewrite(prefix.to_owned())),
        (uri, _) => Some(PathRewriteSpecifier::PathRedirect(uri.to_owned())),
    };
    let scheme = match redirect.scheme.as_str() {
        "" => None,
        scheme => Some(SchemeRewriteSpecifier::SchemeRedirect(scheme.to_owned())),
    };
    let port = match (redirect.port, &redirect.derive_port) {
        (Some(port), _) => port,
        (None, Some(RedirectPortSelection::FromRequestPort)) => listen_port.into(),
        (None, _) => 0,
    };
    Some(RedirectAction {
        host_redirect: redirect.authority.clone(),
        port_redirect: port,
        response_code: code.into(),
        path_rewrite_specifier: path,
        scheme_rewrite_specifier: scheme,
        ..Default::default()
    })
}

/// A fixed answer; `None` for a status that is none, and a body above the limit of the tables.
pub fn direct_response(response: &HttpDirectResponse) -> Option<DirectResponseAction> {
    let body = response
        .body
        .as_ref()
        .and_then(|body| match (&body.string, &body.bytes) {
            (Some(text), _) => Some(data_source::Specifier::InlineString(text.clone())),
            (None, Some(encoded)) => base64::engine::general_purpose::STANDARD
                .decode(encoded)
                .ok()
                .map(data_source::Specifier::InlineBytes),
            (None, None) => None,
        });
    let bytes = match &body {
        Some(data_source::Specifier::InlineString(text)) => text.len(),
        Some(data_source::Specifier::InlineBytes(bytes)) => bytes.len(),
        _ => 0,
    };
    if !(200..600).contains(&response.status) || bytes > MAX_DIRECT_RESPONSE_BYTES {
        return None;
    }
    Some(DirectResponseAction {
        status: response.status,
        body: body.map(|specifier| DataSource {
            specifier: Some(specifier),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// Sets the changes of the path and returns the new authority, if there is one; `None` when a
/// change cannot work.
pub fn rewrite(
    rule: &VirtualService,
    rewrite: Option<&HttpRewrite>,
    action: &mut RouteAction,
) -> Option<Option<String>> {
    let Some(rewrite) = rewrite else {
        return Some(None);
    };
    if !message::is_header_value(&rewrite.uri) || !message::is_header_value(&rewrite.authority) {
        return None;
    }
    match &rewrite.uri_regex_rewrite {
        Some(by_regex) => {
            let is_valid = rule.is_valid_regex(&by_regex.pattern) && has_groups(by_regex);
            action.regex_rewrite = Some(is_valid.then(|| RegexMatchAndSubstitute {
                pattern: Some(message::regex_matcher(by_regex.pattern.as_str())),
                substitution: by_regex.rewrite.clone(),
            })?);
        }
        None => action.prefix_rewrite.clone_from(&rewrite.uri),
    }
    Some((!rewrite.authority.is_empty()).then(|| rewrite.authority.clone()))
}

/// Whether the expression is one and has all groups that the replacement names.
fn has_groups(rewrite: &RegexRewrite) -> bool {
    let Ok(pattern) = regex::Regex::new(&rewrite.pattern) else {
        return false;
    };
    let mut chars = rewrite.rewrite.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            continue;
        }
        match chars.next() {
            Some('\\') => {}
            Some(digit) => match digit.to_digit(10) {
                Some(group) if (group as usize) < pattern.captures_len() => {}
                _ => return false,
            },
            None => return false,
        }
    }
    !rewrite.pattern.is_empty() && message::is_header_value(&rewrite.rewrite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, replacement: &str, expected: bool) {
        let rewrite = RegexRewrite {
            pattern: pattern.to_owned(),
            rewrite: replacement.to_owned(),
        };
        assert_eq!(has_groups(&rewrite), expected, "{pattern} {replacement}");
    }

    #[test]
    fn replacements_name_groups_that_are_there() {
        check("/a/(.*)", r"/\1", true);
        check("/a/(.*)", r"/\0\\", true);
        check("/a/.*", r"/\1", false);
        check("/a/.*", r"/\", false);
        check("/a/.*", r"/\x", false);
        check("", "/", false);
    }
}
