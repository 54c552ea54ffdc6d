//! Matches of HTTP rules.

use ironsail_crds::networking::virtual_service::{HttpMatchRequest, StringMatch, StringMatchKind};
use ironsail_xds::matcher::StringMatcher;
use ironsail_xds::route::header_matcher::HeaderMatchSpecifier;
use ironsail_xds::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use ironsail_xds::route::route_match::PathSpecifier;
use ironsail_xds::route::{HeaderMatcher, QueryParameterMatcher, RouteMatch};

use crate::generate::message;
use crate::model::virtual_service::VirtualService;

/// A part of a match that can never match, such as an expression that does not compile or what is
/// no header's name. Proxies would refuse the whole table for it.
#[derive(Debug, PartialEq, Eq)]
pub struct NeverMatches;

/// The match of everything.
pub fn any() -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..Default::default()
    }
}

/// Whether nothing after this match is ever reached.
pub fn is_catch_all(route: &RouteMatch) -> bool {
    let is_any_path = match &route.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
        Some(PathSpecifier::SafeRegex(matcher)) => matches!(matcher.regex.as_str(), "*" | ".*"),
        _ => false,
    };
    is_any_path && route.headers.is_empty() && route.query_parameters.is_empty()
}

/// The Envoy form of a match.
///
/// # Errors
/// It contains an expression that does not compile.
pub fn translate(
    rule: &VirtualService,
    condition: &HttpMatchRequest,
) -> Result<RouteMatch, NeverMatches> {
    let mut headers = Vec::new();
    for (name, value) in &condition.headers {
        headers.push(header(rule, name, value)?);
    }
    for (name, value) in &condition.without_headers {
        let matcher = header(rule, name, value)?;
        let is_present = matches!(
            matcher.header_match_specifier,
            Some(HeaderMatchSpecifier::PresentMatch(_))
        );
        headers.push(HeaderMatcher {
            invert_match: true,
            // A header that is not there does not have the value.
            treat_missing_header_as_empty: !is_present,
            ..matcher
        });
    }
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    let pseudo_headers = [
        (":method", &condition.method),
        (":authority", &condition.authority),
        (":scheme", &condition.scheme),
    ];
    for (name, value) in pseudo_headers {
        if let Some(value) = value {
            headers.push(header(rule, name, value)?);
        }
    }
    let mut query_parameters = Vec::new();
    for (name, value) in &condition.query_params {
        query_parameters.push(query_parameter(rule, name, value)?);
    }
    Ok(RouteMatch {
        path_specifier: Some(path(rule, condition.uri.as_ref())?),
        case_sensitive: message::boolean(!condition.ignore_uri_case),
        headers,
        query_parameters,
        ..Default::default()
    })
}

fn path(rule: &VirtualService, uri: Option<&StringMatch>) -> Result<PathSpecifier, NeverMatches> {
    Ok(match uri.map(StringMatch::kind) {
        None | Some(StringMatchKind::Present) => PathSpecifier::Prefix("/".to_owned()),
        Some(StringMatchKind::Exact(path)) => PathSpecifier::Path(path.to_owned()),
        Some(StringMatchKind::Prefix(prefix)) => PathSpecifier::Prefix(prefix.to_owned()),
        // It matches the empty path only, which no request has.
        Some(StringMatchKind::Regex("")) => return Err(NeverMatches),
        Some(StringMatchKind::Regex("*")) => PathSpecifier::Prefix("/".to_owned()),
        Some(StringMatchKind::Regex(expression)) => {
            PathSpecifier::SafeRegex(message::regex_matcher(valid(rule, expression)?))
        }
    })
}

fn valid<'a>(rule: &VirtualService, expression: &'a str) -> Result<&'a str, NeverMatches> {
    match rule.is_valid_regex(expression) {
        true => Ok(expression),
        false => Err(NeverMatches),
    }
}

/// A text; `None` asks for no more than presence: nothing given, an empty text, or `*`.
pub fn text(
    rule: &VirtualService,
    value: &StringMatch,
) -> Result<Option<StringMatcher>, NeverMatches> {
    Ok(match value.kind() {
        StringMatchKind::Present
        | StringMatchKind::Exact("")
        | StringMatchKind::Prefix("")
        | StringMatchKind::Regex("" | "*") => None,
        StringMatchKind::Exact(text) => Some(message::exact(text)),
        StringMatchKind::Prefix(text) => Some(message::prefix(text)),
        StringMatchKind::Regex(expression) => Some(message::regex(valid(rule, expression)?)),
    })
}

fn header(
    rule: &VirtualService,
    name: &str,
    value: &StringMatch,
) -> Result<HeaderMatcher, NeverMatches> {
    if !message::is_header_name(name) {
        return Err(NeverMatches);
    }
    let specifier = match text(rule, value)? {
        None => HeaderMatchSpecifier::PresentMatch(true),
        Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
    };
    Ok(HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..Default::default()
    })
}

fn query_parameter(
    rule: &VirtualService,
    name: &str,
    value: &StringMatch,
) -> Result<QueryParameterMatcher, NeverMatches> {
    if name.is_empty() {
        return Err(NeverMatches);
    }
    let specifier = match (value.kind(), text(rule, value)?) {
        // An empty value of a parameter is a value.
        (StringMatchKind::Exact(""), _) => {
            QueryParameterMatchSpecifier::StringMatch(message::exact(""))
        }
        (_, None) => QueryParameterMatchSpecifier::PresentMatch(true),
        (_, Some(matcher)) => QueryParameterMatchSpecifier::StringMatch(matcher),
    };
    Ok(QueryParameterMatcher {
        name: name.to_owned(),
        query_parameter_match_specifier: Some(specifier),
    })
}
