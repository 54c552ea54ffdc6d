//! What a route asks of a request: path, headers, query parameters, cookies.

use ironsail_xds::kind::{FractionalPercent, Int64Range, fractional_percent::DenominatorType};
use ironsail_xds::matcher::{StringMatcher as StringProto, string_matcher::MatchPattern};
use ironsail_xds::{core, route as proto};
use proto::header_matcher::HeaderMatchSpecifier;
use proto::query_parameter_matcher::QueryParameterMatchSpecifier;
use proto::route_match::PathSpecifier;

use super::regex::FullRegex;
use crate::conn::ConnectionInfo;
use crate::http::header_name::Known;
use crate::http::message::{Method, RequestHead};
use crate::resource::{At, CompileError};

/// `StringMatcher`.
#[derive(Clone, Debug)]
pub struct StringMatcher {
    kind: StringKind,
    ignore_case: bool,
}

#[derive(Clone, Debug)]
enum StringKind {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<[u8]>),
    Regex(FullRegex),
}

impl StringMatcher {
    /// # Errors
    /// Invalid expressions, extensions, nothing to match.
    pub fn compile(matcher: &StringProto) -> Result<Self, CompileError> {
        let text = |text: &String| {
            let text = if matcher.ignore_case {
                text.to_ascii_lowercase()
            } else {
                text.clone()
            };
            text.into_bytes().into_boxed_slice()
        };
        let kind = match &matcher.match_pattern {
            Some(MatchPattern::Exact(exact)) => StringKind::Exact(text(exact)),
            Some(MatchPattern::Prefix(prefix)) => StringKind::Prefix(text(prefix)),
            Some(MatchPattern::Suffix(suffix)) => StringKind::Suffix(text(suffix)),
            Some(MatchPattern::Contains(part)) => StringKind::Contains(text(part)),
            Some(MatchPattern::SafeRegex(regex)) => {
                StringKind::Regex(FullRegex::compile(regex).at("safe_regex")?)
            }
            Some(MatchPattern::Custom(custom)) => {
                return Err(CompileError::unknown_extension(
                    "string matcher",
                    &custom.name,
                    "",
                ));
            }
            None => return Err(CompileError::new("names no pattern")),
        };
        Ok(Self {
            kind,
            ignore_case: matcher.ignore_case,
        })
    }

    fn of(kind: StringKind) -> Self {
        Self {
            kind,
            ignore_case: false,
        }
    }

    /// Whether this matches one text only, namely `text`.
    pub fn is_exactly(&self, text: &[u8]) -> bool {
        matches!(&self.kind, StringKind::Exact(exact) if **exact == *text)
    }

    pub fn matches(&self, text: &[u8]) -> bool {
        if self.ignore_case && !matches!(self.kind, StringKind::Regex(_)) {
            return self.kind.matches(&text.to_ascii_lowercase());
        }
        self.kind.matches(text)
    }
}

impl StringKind {
    fn matches(&self, text: &[u8]) -> bool {
        match self {
            StringKind::Exact(exact) => text == &**exact,
            StringKind::Prefix(prefix) => text.starts_with(prefix),
            StringKind::Suffix(suffix) => text.ends_with(suffix),
            StringKind::Contains(part) => contains(text, part),
            StringKind::Regex(regex) => regex.is_match(text),
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

/// `HeaderMatcher`; pseudo headers count as headers. Of several values one has to match; inverted, none.
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    name: Box<[u8]>,
    kind: HeaderKind,
    invert: bool,
    missing_is_empty: bool,
}

#[derive(Clone, Debug)]
enum HeaderKind {
    Present(bool),
    Range(Int64Range),
    Text(StringMatcher),
}

impl HeaderMatcher {
    /// # Errors
    /// Those of the string matcher.
    #[allow(deprecated)]
    pub fn compile(matcher: &proto::HeaderMatcher) -> Result<Self, CompileError> {
        use StringKind::{Contains, Exact, Prefix, Regex, Suffix};
        let text = |text: &String| text.clone().into_bytes().into_boxed_slice();
        let kind = match &matcher.header_match_specifier {
            None => HeaderKind::Present(true),
            Some(HeaderMatchSpecifier::PresentMatch(present)) => HeaderKind::Present(*present),
            Some(HeaderMatchSpecifier::RangeMatch(range)) => HeaderKind::Range(*range),
            Some(specifier) => HeaderKind::Text(match specifier {
                HeaderMatchSpecifier::StringMatch(matcher) => {
                    StringMatcher::compile(matcher).at("string_match")?
                }
                HeaderMatchSpecifier::SafeRegexMatch(regex) => {
                    StringMatcher::of(Regex(FullRegex::compile(regex).at("safe_regex_match")?))
                }
                HeaderMatchSpecifier::ExactMatch(exact) => StringMatcher::of(Exact(text(exact))),
                HeaderMatchSpecifier::PrefixMatch(part) => StringMatcher::of(Prefix(text(part))),
                HeaderMatchSpecifier::SuffixMatch(part) => StringMatcher::of(Suffix(text(part))),
                HeaderMatchSpecifier::ContainsMatch(part) => {
                    StringMatcher::of(Contains(text(part)))
                }
                HeaderMatchSpecifier::PresentMatch(_) | HeaderMatchSpecifier::RangeMatch(_) => {
                    return Err(CompileError::new("names no text"));
                }
            }),
        };
        Ok(Self {
            name: matcher.name.to_ascii_lowercase().into_bytes().into(),
            kind,
            invert: matcher.invert_match,
            missing_is_empty: matcher.treat_missing_header_as_empty,
        })
    }

    pub fn matches(&self, head: &RequestHead) -> bool {
        if head.pseudo(&self.name).is_some() {
            return self.matches_value(head.lookup(&self.name).as_deref());
        }
        let mut values = head.headers.get_all_named(&self.name).peekable();
        if values.peek().is_none() {
            return self.matches_value(None);
        }
        match self.invert {
            false => values.any(|value| self.matches_value(Some(value))),
            true => values.all(|value| self.matches_value(Some(value))),
        }
    }

    /// Whether a header with this value, or without one, matches.
    ///
    /// An absent header matches no text, also when inverted, unless it counts as empty.
    pub fn matches_value(&self, value: Option<&[u8]>) -> bool {
        let value = match (value, self.missing_is_empty) {
            (None, true) => Some(&b""[..]),
            (value, _) => value,
        };
        match (&self.kind, value) {
            (HeaderKind::Present(present), value) => (value.is_some() == *present) != self.invert,
            (_, None) => false,
            (HeaderKind::Text(matcher), Some(value)) => matcher.matches(value) != self.invert,
            (HeaderKind::Range(range), Some(value)) => in_range(*range, value) != self.invert,
        }
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether there is a header of this name.
    pub fn present(name: &str) -> Self {
        Self {
            name: name.to_ascii_lowercase().into_bytes().into(),
            kind: HeaderKind::Present(true),
            invert: false,
            missing_is_empty: false,
        }
    }
}

fn in_range(range: Int64Range, value: &[u8]) -> bool {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse::<i64>().ok())
        .is_some_and(|number| (range.start..range.end).contains(&number))
}

/// A share of requests, drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    numerator: u32,
    denominator: u32,
}

impl Fraction {
    pub const ALL: Fraction = Fraction {
        numerator: 100,
        denominator: 100,
    };

    /// `default` is the numerator, in percent, when nothing is given.
    pub fn from_percent(percent: Option<&FractionalPercent>, default: u32) -> Self {
        let Some(percent) = percent else {
            return Self {
                numerator: default,
                denominator: 100,
            };
        };
        let denominator = match percent.denominator() {
            DenominatorType::Hundred => 100,
            DenominatorType::TenThousand => 10_000,
            DenominatorType::Million => 1_000_000,
        };
        Self {
            numerator: percent.numerator,
            denominator,
        }
    }

    /// A percentage with up to two decimals.
    pub fn of_percent(percent: f64) -> Self {
        Self {
            // The conversion saturates; what is not a number becomes zero.
            numerator: (percent * 100.0).round() as u32,
            denominator: 10_000,
        }
    }

    /// Whether a number below 10000, which stands for a request, belongs to the share.
    pub fn holds(self, sample: u32) -> bool {
        u64::from(sample) * u64::from(self.denominator) < u64::from(self.numerator) * 10_000
    }

    /// All requests when nothing is given. The runtime key is not looked up: there is no runtime.
    pub fn from_runtime(fraction: Option<&core::RuntimeFractionalPercent>) -> Self {
        match fraction {
            None => Self::ALL,
            Some(fraction) => Self::from_percent(fraction.default_value.as_ref(), 0),
        }
    }

    /// Whether this request belongs to the share.
    pub fn draw(self) -> bool {
        self.numerator >= self.denominator
            || (self.numerator > 0 && fastrand::u32(..self.denominator) < self.numerator)
    }
}

#[derive(Clone, Debug)]
struct QueryMatcher {
    name: Box<str>,
    /// `None`: present is enough.
    value: Option<StringMatcher>,
    present: bool,
}

impl QueryMatcher {
    fn compile(matcher: &proto::QueryParameterMatcher) -> Result<Self, CompileError> {
        let (value, present) = match &matcher.query_parameter_match_specifier {
            None => (None, true),
            Some(QueryParameterMatchSpecifier::PresentMatch(present)) => (None, *present),
            Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => (
                Some(StringMatcher::compile(matcher).at("string_match")?),
                true,
            ),
        };
        Ok(Self {
            name: matcher.name.as_str().into(),
            value,
            present,
        })
    }

    fn matches(&self, query: &str) -> bool {
        let found = query_parameter(query, &self.name);
        match (&self.value, found) {
            (Some(matcher), Some(value)) => matcher.matches(value.as_bytes()),
            (Some(_), None) => false,
            (None, found) => found.is_some() == self.present,
        }
    }
}

/// The first value of a query parameter, as it stands there.
pub fn query_parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// The value of a cookie, without surrounding quotes.
pub fn cookie<'h>(head: &'h RequestHead, name: &str) -> Option<&'h str> {
    head.headers
        .get_all(Known::Cookie)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then(|| value.trim_matches('"'))
        })
}

#[derive(Clone, Debug)]
struct CookieMatcher {
    name: Box<str>,
    value: StringMatcher,
    invert: bool,
}

/// How a path must look; queries do not count.
#[derive(Clone, Debug)]
pub enum PathMatcher {
    Prefix(Box<str>),
    Exact(Box<str>),
    /// The prefix alone or followed by `/`.
    SeparatedPrefix(Box<str>),
    Regex(FullRegex),
    /// CONNECT requests, with any path.
    Connect,
}

impl PathMatcher {
    fn matches(&self, path: &str, ignore_case: bool) -> bool {
        let starts = |prefix: &str| {
            path.as_bytes().get(..prefix.len()).is_some_and(|start| {
                if ignore_case {
                    start.eq_ignore_ascii_case(prefix.as_bytes())
                } else {
                    start == prefix.as_bytes()
                }
            })
        };
        match self {
            PathMatcher::Prefix(prefix) => starts(prefix),
            PathMatcher::Exact(exact) => path.len() == exact.len() && starts(exact),
            PathMatcher::SeparatedPrefix(prefix) => {
                starts(prefix) && matches!(path.as_bytes().get(prefix.len()), None | Some(b'/'))
            }
            PathMatcher::Regex(regex) => regex.is_match(path.as_bytes()),
            PathMatcher::Connect => false,
        }
    }

    /// How much of a path that matched is the part that a prefix rewrite replaces.
    pub fn matched_length(&self, path: &str) -> usize {
        match self {
            PathMatcher::Prefix(prefix) | PathMatcher::SeparatedPrefix(prefix) => prefix.len(),
            PathMatcher::Exact(_) | PathMatcher::Regex(_) | PathMatcher::Connect => path.len(),
        }
    }
}

/// `RouteMatch`.
#[derive(Clone, Debug)]
pub struct RouteMatcher {
    pub path: PathMatcher,
    ignore_case: bool,
    fraction: Fraction,
    headers: Vec<HeaderMatcher>,
    query: Vec<QueryMatcher>,
    cookies: Vec<CookieMatcher>,
    grpc: bool,
    /// Client certificates: presented, validated.
    tls: Option<(Option<bool>, Option<bool>)>,
    never: bool,
}

impl RouteMatcher {
    /// # Errors
    /// Invalid expressions and matchers this proxy does not have.
    pub fn compile(matcher: &proto::RouteMatch) -> Result<Self, CompileError> {
        let path = match &matcher.path_specifier {
            Some(PathSpecifier::Prefix(prefix)) => PathMatcher::Prefix(prefix.as_str().into()),
            Some(PathSpecifier::Path(path)) => PathMatcher::Exact(path.as_str().into()),
            Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
                PathMatcher::SeparatedPrefix(prefix.as_str().into())
            }
            Some(PathSpecifier::SafeRegex(regex)) => {
                PathMatcher::Regex(FullRegex::compile(regex).at("safe_regex")?)
            }
            Some(PathSpecifier::ConnectMatcher(_)) => PathMatcher::Connect,
            Some(PathSpecifier::PathMatchPolicy(policy)) => {
                return Err(CompileError::unknown_extension(
                    "path match policy",
                    &policy.name,
                    "",
                ));
            }
            None => return Err(CompileError::new("names no path")),
        };
        if !matcher.dynamic_metadata.is_empty() {
            return Err(CompileError::new("is not supported").at("dynamic_metadata"));
        }
        if !matcher.filter_state.is_empty() {
            return Err(CompileError::new("is not supported").at("filter_state"));
        }
        let tls = matcher.tls_context.as_ref().map(|tls| {
            let value = |value: Option<ironsail_xds::protobuf::BoolValue>| value.map(|v| v.value);
            (value(tls.presented), value(tls.validated))
        });
        Ok(Self {
            path,
            ignore_case: matcher.case_sensitive.is_some_and(|value| !value.value),
            fraction: Fraction::from_runtime(matcher.runtime_fraction.as_ref()),
            headers: compile_all(&matcher.headers, "headers", HeaderMatcher::compile)?,
            query: compile_all(
                &matcher.query_parameters,
                "query_parameters",
                QueryMatcher::compile,
            )?,
            cookies: compile_all(&matcher.cookies, "cookies", |cookie| {
                let value = cookie.string_match.clone().unwrap_or_default();
                Ok(CookieMatcher {
                    name: cookie.name.as_str().into(),
                    value: StringMatcher::compile(&value).at("string_match")?,
                    invert: cookie.invert_match,
                })
            })?,
            grpc: matcher.grpc.is_some(),
            tls,
            never: false,
        })
    }

    /// Matches nothing: stands for a matcher that could not be compiled.
    pub fn never() -> Self {
        Self {
            path: PathMatcher::Connect,
            ignore_case: false,
            fraction: Fraction::ALL,
            headers: Vec::new(),
            query: Vec::new(),
            cookies: Vec::new(),
            grpc: false,
            tls: None,
            never: true,
        }
    }

    /// `path` is the request's path without query, and without parameters where these are to be ignored.
    pub fn matches(&self, path: &str, head: &RequestHead, connection: &ConnectionInfo) -> bool {
        self.matches_path(path, head)
            && (self.headers.is_empty() || self.headers.iter().all(|header| header.matches(head)))
            && (self.query.is_empty() || self.query.iter().all(|q| q.matches(head.query())))
            && self.cookies.iter().all(|matcher| {
                cookie(head, &matcher.name)
                    .is_some_and(|value| matcher.value.matches(value.as_bytes()) != matcher.invert)
            })
            && (!self.grpc || head.is_grpc())
            && self.tls.is_none_or(|tls| matches_tls(tls, connection))
            && self.fraction.draw()
    }

    fn matches_path(&self, path: &str, head: &RequestHead) -> bool {
        if self.never {
            return false;
        }
        let connect = head.method == Method::Connect;
        match &self.path {
            PathMatcher::Connect => connect,
            // CONNECT requests have no path; those that are upgrades in disguise have one.
            _ if connect && path.is_empty() => false,
            path_matcher => path_matcher.matches(path, self.ignore_case),
        }
    }
}

/// A client certificate that this proxy accepted is one that it validated.
fn matches_tls(wanted: (Option<bool>, Option<bool>), connection: &ConnectionInfo) -> bool {
    let present = connection.peer().is_some();
    wanted.0.is_none_or(|presented| presented == present)
        && wanted.1.is_none_or(|validated| validated == present)
}

fn compile_all<P, T>(
    protos: &[P],
    field: &str,
    compile: impl Fn(&P) -> Result<T, CompileError>,
) -> Result<Vec<T>, CompileError> {
    protos
        .iter()
        .enumerate()
        .map(|(index, proto)| compile(proto).at(format_args!("{field}[{index}]")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(matcher: proto::HeaderMatcher, value: Option<&[u8]>) -> bool {
        HeaderMatcher::compile(&matcher)
            .expect("valid")
            .matches_value(value)
    }

    fn exact(text: &str) -> Option<HeaderMatchSpecifier> {
        Some(HeaderMatchSpecifier::StringMatch(StringProto {
            match_pattern: Some(MatchPattern::Exact(text.to_owned())),
            ..Default::default()
        }))
    }

    #[test]
    fn absent_headers() {
        let present = |invert, value: Option<&[u8]>| {
            header(
                proto::HeaderMatcher {
                    invert_match: invert,
                    header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
                    ..Default::default()
                },
                value,
            )
        };
        assert!(present(false, Some(b"")) && !present(false, None));
        assert!(!present(true, Some(b"")) && present(true, None));
        let text = |invert, missing, value: Option<&[u8]>| {
            header(
                proto::HeaderMatcher {
                    invert_match: invert,
                    treat_missing_header_as_empty: missing,
                    header_match_specifier: exact("a"),
                    ..Default::default()
                },
                value,
            )
        };
        assert!(text(false, false, Some(b"a")) && !text(false, false, Some(b"b")));
        assert!(text(true, false, Some(b"b")));
        assert!(!text(false, false, None) && !text(true, false, None));
        assert!(!text(false, true, None) && text(true, true, None));
    }

    #[test]
    fn ranges_are_half_open() {
        let matcher = |value: &[u8]| {
            header(
                proto::HeaderMatcher {
                    header_match_specifier: Some(HeaderMatchSpecifier::RangeMatch(Int64Range {
                        start: -10,
                        end: 0,
                    })),
                    ..Default::default()
                },
                Some(value),
            )
        };
        assert!(matcher(b"-10") && matcher(b"-1"));
        assert!(!matcher(b"0") && !matcher(b"x") && !matcher(b"-1.5"));
    }

    #[test]
    fn separated_prefixes_end_at_a_slash() {
        let matcher = PathMatcher::SeparatedPrefix("/a".into());
        assert!(matcher.matches("/a", false) && matcher.matches("/a/b", false));
        assert!(!matcher.matches("/ab", false) && matcher.matches("/A/b", true));
    }

    #[test]
    fn parameters_and_cookies() {
        assert_eq!(query_parameter("a=1&b&a=2", "a"), Some("1"));
        assert_eq!(query_parameter("a=1&b", "b"), Some(""));
        assert_eq!(query_parameter("", "a"), None);
        let mut head = RequestHead::new(Method::Get, "h", "/");
        head.headers.append(Known::Cookie, b"x=1; user=\"me\"");
        assert_eq!(cookie(&head, "user"), Some("me"));
        assert_eq!(cookie(&head, "y"), None);
    }

    #[test]
    fn fractions() {
        let percent = |numerator| FractionalPercent {
            numerator,
            denominator: DenominatorType::Hundred.into(),
        };
        assert!(Fraction::from_percent(Some(&percent(100)), 0).draw());
        assert!(!Fraction::from_percent(Some(&percent(0)), 0).draw());
        assert!(Fraction::from_runtime(None).draw());
        let half = Fraction::from_percent(Some(&percent(50)), 0);
        let drawn = (0..10_000).filter(|_| half.draw()).count();
        assert!((4_500..5_500).contains(&drawn), "{drawn}");
    }
}
