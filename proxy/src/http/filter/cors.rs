//! The filter `envoy.filters.http.cors`. <https://fetch.spec.whatwg.org/#http-cors-protocol>.

use ironsail_xds::ext::filters::http::cors::v3 as proto;

use crate::http::header_block::HeaderBlock;
use crate::http::header_name::Known;
use crate::http::message::{Method, RequestHead, ResponseHead};
use crate::resource::{At, CompileError};
use crate::route::matcher::{Fraction, StringMatcher};

/// Compiled `CorsPolicy` of a route.
#[derive(Debug)]
pub struct CorsPolicy {
    origins: Vec<StringMatcher>,
    allow_methods: Box<str>,
    allow_headers: Box<str>,
    expose_headers: Box<str>,
    max_age: Box<str>,
    allow_credentials: bool,
    allow_private_network: bool,
    /// Preflights from other origins are the application's business.
    forward_not_matching: bool,
    enabled: Fraction,
}

/// What the filter makes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not a cross-origin request of an allowed origin.
    Pass,
    /// Answer it here.
    Preflight,
    /// Add headers to its response; holds the origin.
    Decorate(Box<[u8]>),
}

impl CorsPolicy {
    /// # Errors
    /// Invalid origin matchers.
    pub fn compile(config: &proto::CorsPolicy) -> Result<Self, CompileError> {
        let origins =
            config
                .allow_origin_string_match
                .iter()
                .enumerate()
                .map(|(index, matcher)| {
                    StringMatcher::compile(matcher)
                        .at(format_args!("allow_origin_string_match[{index}]"))
                });
        Ok(Self {
            origins: origins.collect::<Result<_, _>>()?,
            allow_methods: config.allow_methods.as_str().into(),
            allow_headers: config.allow_headers.as_str().into(),
            expose_headers: config.expose_headers.as_str().into(),
            max_age: config.max_age.as_str().into(),
            allow_credentials: config.allow_credentials.is_some_and(|allow| allow.value),
            allow_private_network: config
                .allow_private_network_access
                .is_some_and(|allow| allow.value),
            forward_not_matching: config
                .forward_not_matching_preflights
                .is_none_or(|forward| forward.value),
            enabled: Fraction::from_runtime(config.filter_enabled.as_ref()),
        })
    }

    /// Decides about a request.
    pub fn judge(&self, head: &RequestHead) -> Verdict {
        let Some(origin) = head.headers.get(Known::Origin).filter(|o| !o.is_empty()) else {
            return Verdict::Pass;
        };
        if !self.enabled.draw() {
            return Verdict::Pass;
        }
        let asked = head.headers.get(Known::RequestMethod);
        let preflight =
            head.method == Method::Options && asked.is_some_and(|method| !method.is_empty());
        let allowed = self.allows(origin);
        match (preflight, allowed) {
            (true, true) => Verdict::Preflight,
            (true, false) if !self.forward_not_matching => Verdict::Preflight,
            (false, true) => Verdict::Decorate(origin.into()),
            _ => Verdict::Pass,
        }
    }

    /// The answer to a preflight; without permissions when the origin is not allowed.
    pub fn preflight(&self, head: &RequestHead) -> ResponseHead {
        let mut response = ResponseHead::new(200);
        let headers = &mut response.headers;
        let origin = head.headers.get(Known::Origin).unwrap_or_default();
        if !self.allows(origin) {
            return response;
        }
        headers.append(Known::AllowOrigin, origin);
        self.add_credentials(headers);
        let asks_private = head
            .headers
            .get_named(b"access-control-request-private-network")
            .is_some_and(|value| value == b"true");
        for (name, value) in [
            ("access-control-allow-methods", &*self.allow_methods),
            ("access-control-allow-headers", &*self.allow_headers),
            ("access-control-max-age", &*self.max_age),
            ("access-control-expose-headers", &*self.expose_headers),
        ] {
            if !value.is_empty() {
                headers.append_named(name.as_bytes(), value.as_bytes());
            }
        }
        if asks_private && self.allow_private_network {
            headers.append_named(b"access-control-allow-private-network", b"true");
        }
        response
    }

    /// Adds the permissions to the response of an allowed request.
    pub fn decorate(&self, origin: &[u8], headers: &mut HeaderBlock) {
        headers.set(Known::AllowOrigin, origin);
        self.add_credentials(headers);
        if !self.expose_headers.is_empty() {
            headers.set_named(
                b"access-control-expose-headers",
                self.expose_headers.as_bytes(),
            );
        }
    }

    /// Whether an origin is one of those that are listed; the matcher of exactly `*` stands for all.
    fn allows(&self, origin: &[u8]) -> bool {
        self.origins
            .iter()
            .any(|matcher| matcher.is_exactly(b"*") || matcher.matches(origin))
    }

    fn add_credentials(&self, headers: &mut HeaderBlock) {
        if self.allow_credentials {
            headers.set_named(b"access-control-allow-credentials", b"true");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironsail_xds::matcher::{StringMatcher as StringProto, string_matcher::MatchPattern};
    use ironsail_xds::protobuf::BoolValue;

    fn policy(forward: bool) -> CorsPolicy {
        CorsPolicy::compile(&proto::CorsPolicy {
            allow_origin_string_match: vec![StringProto {
                match_pattern: Some(MatchPattern::Suffix(".example".to_owned())),
                ..Default::default()
            }],
            allow_methods: "GET,POST".to_owned(),
            max_age: "600".to_owned(),
            expose_headers: "x-a".to_owned(),
            allow_credentials: Some(BoolValue { value: true }),
            forward_not_matching_preflights: Some(BoolValue { value: forward }),
            ..Default::default()
        })
        .expect("valid")
    }

    fn request(method: Method, origin: &str) -> RequestHead {
        let mut head = RequestHead::new(method, "h", "/");
        head.headers.append(Known::Origin, origin.as_bytes());
        if head.method == Method::Options {
            head.headers.append(Known::RequestMethod, b"POST");
        }
        head
    }

    #[test]
    fn verdicts() {
        let judge = |forward, method, origin| policy(forward).judge(&request(method, origin));
        assert_eq!(
            judge(true, Method::Options, "https://a.example"),
            Verdict::Preflight
        );
        assert_eq!(judge(true, Method::Options, "https://b.org"), Verdict::Pass);
        assert_eq!(
            judge(false, Method::Options, "https://b.org"),
            Verdict::Preflight
        );
        assert_eq!(judge(true, Method::Get, "https://b.org"), Verdict::Pass);
        assert_eq!(
            judge(true, Method::Get, "https://a.example"),
            Verdict::Decorate(b"https://a.example".as_slice().into())
        );
        let plain = RequestHead::new(Method::Options, "h", "/");
        assert_eq!(policy(true).judge(&plain), Verdict::Pass);
    }

    #[test]
    fn permissions() {
        let policy = policy(true);
        let answer = policy.preflight(&request(Method::Options, "https://a.example"));
        let value = |name: &str| {
            answer
                .headers
                .get_named(name.as_bytes())
                .map(|value| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(
            value("access-control-allow-origin").as_deref(),
            Some("https://a.example")
        );
        assert_eq!(
            value("access-control-allow-methods").as_deref(),
            Some("GET,POST")
        );
        assert_eq!(
            value("access-control-allow-credentials").as_deref(),
            Some("true")
        );
        assert_eq!(value("access-control-max-age").as_deref(), Some("600"));
        let refused = policy.preflight(&request(Method::Options, "https://b.org"));
        assert!(refused.headers.is_empty());
        let mut headers = HeaderBlock::new();
        policy.decorate(b"https://a.example", &mut headers);
        assert_eq!(headers.len(), 3);
    }
}
