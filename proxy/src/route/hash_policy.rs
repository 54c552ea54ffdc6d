//! What load balancing by hash takes from a request.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use ironsail_xds::{route as proto, to_std};
use xxhash_rust::xxh64::xxh64;

use super::matcher;
use super::regex::Substitution;
use crate::http::message::RequestHead;
use crate::resource::{At, CompileError};

/// `RouteAction.hash_policy`.
#[derive(Debug)]
pub struct HashPolicies(Vec<HashPolicy>);

#[derive(Debug)]
struct HashPolicy {
    kind: HashKind,
    terminal: bool,
}

#[derive(Debug)]
enum HashKind {
    Header {
        name: Box<[u8]>,
        rewrite: Option<Substitution>,
    },
    Cookie(HashCookie),
    SourceIp,
    Query(Box<str>),
}

/// A cookie that clients are told to keep, when it has a lifetime and they have none yet.
#[derive(Debug)]
struct HashCookie {
    name: Box<str>,
    ttl: Option<Duration>,
    path: Box<str>,
    attributes: Box<str>,
}

/// The hash of a request, and the cookies that keep it for the next one.
#[derive(Debug, Default)]
pub struct RequestHash {
    pub hash: Option<u64>,
    /// Values of `set-cookie`.
    pub set_cookies: Vec<String>,
}

impl HashPolicies {
    /// # Errors
    /// An invalid expression, or a policy of no kind.
    pub(super) fn compile(
        policies: &[proto::route_action::HashPolicy],
    ) -> Result<Self, CompileError> {
        let mut compiled = Vec::with_capacity(policies.len());
        for (index, policy) in policies.iter().enumerate() {
            let field = format_args!("hash_policy[{index}]");
            compiled.extend(HashPolicy::compile(policy).at(field)?);
        }
        Ok(Self(compiled))
    }

    /// The hash that load balancing by hash uses.
    pub fn hash(&self, head: &RequestHead, source: IpAddr) -> RequestHash {
        let mut result = RequestHash::default();
        for policy in &self.0 {
            if let Some(new) = policy.hash(head, source, &mut result.set_cookies) {
                let old = result.hash.map_or(0, |old: u64| old.rotate_left(1));
                result.hash = Some(old ^ new);
                if policy.terminal {
                    break;
                }
            }
        }
        result
    }
}

impl HashPolicy {
    /// `None` for policies on filter state: there is none that a request could be hashed by.
    fn compile(policy: &proto::route_action::HashPolicy) -> Result<Option<Self>, CompileError> {
        use proto::route_action::hash_policy::PolicySpecifier;
        let kind = match &policy.policy_specifier {
            Some(PolicySpecifier::Header(header)) => HashKind::Header {
                name: header.header_name.to_ascii_lowercase().into_bytes().into(),
                rewrite: match &header.regex_rewrite {
                    Some(rewrite) => {
                        Some(Substitution::compile(rewrite).at("header.regex_rewrite")?)
                    }
                    None => None,
                },
            },
            Some(PolicySpecifier::Cookie(cookie)) => {
                let attributes =
                    cookie
                        .attributes
                        .iter()
                        .map(|attribute| match attribute.value.as_str() {
                            "" => format!("; {}", attribute.name),
                            value => format!("; {}={value}", attribute.name),
                        });
                HashKind::Cookie(HashCookie {
                    name: cookie.name.as_str().into(),
                    ttl: cookie.ttl.as_ref().map(to_std),
                    path: cookie.path.as_str().into(),
                    attributes: attributes.collect::<String>().into(),
                })
            }
            Some(PolicySpecifier::ConnectionProperties(connection)) if connection.source_ip => {
                HashKind::SourceIp
            }
            Some(PolicySpecifier::QueryParameter(query)) => {
                HashKind::Query(query.name.as_str().into())
            }
            Some(PolicySpecifier::ConnectionProperties(_) | PolicySpecifier::FilterState(_)) => {
                return Ok(None);
            }
            None => return Err(CompileError::new("names no policy")),
        };
        Ok(Some(Self {
            kind,
            terminal: policy.terminal,
        }))
    }

    fn hash(
        &self,
        head: &RequestHead,
        source: IpAddr,
        set_cookies: &mut Vec<String>,
    ) -> Option<u64> {
        match &self.kind {
            HashKind::SourceIp => Some(xxh64(source.to_string().as_bytes(), 0)),
            HashKind::Query(name) => {
                let value = matcher::query_parameter(head.query(), name)?;
                Some(xxh64(value.as_bytes(), 0))
            }
            HashKind::Header { name, rewrite } => header_hash(head, name, rewrite.as_ref()),
            HashKind::Cookie(cookie) => match matcher::cookie(head, &cookie.name) {
                Some(value) if !value.is_empty() => Some(xxh64(value.as_bytes(), 0)),
                _ => cookie.generate(set_cookies),
            },
        }
    }
}

/// The hash of all values of a header, whose order says nothing: that of each is the seed for the next.
fn header_hash(head: &RequestHead, name: &[u8], rewrite: Option<&Substitution>) -> Option<u64> {
    let mut values: Vec<Cow<'_, [u8]>> = match head.pseudo(name) {
        Some(value) => vec![value.as_bytes().into()],
        None => head.headers.get_all_named(name).map(Cow::from).collect(),
    };
    if values.is_empty() {
        return None;
    }
    if let Some(rewrite) = rewrite {
        for value in &mut values {
            let rewritten = rewrite.apply(std::str::from_utf8(value).ok()?).into_owned();
            *value = rewritten.into_bytes().into();
        }
    }
    values.sort_unstable();
    Some(values.iter().fold(0, |seed, value| xxh64(value, seed)))
}

impl HashCookie {
    fn generate(&self, set_cookies: &mut Vec<String>) -> Option<u64> {
        let ttl = self.ttl?;
        let value = format!("{:016x}", fastrand::u64(..));
        let mut text = format!("{}=\"{value}\"", self.name);
        if !ttl.is_zero() {
            text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
        }
        if !self.path.is_empty() {
            text.push_str(&format!("; Path={}", self.path));
        }
        text.push_str(&self.attributes);
        text.push_str("; HttpOnly");
        set_cookies.push(text);
        Some(xxh64(value.as_bytes(), 0))
    }
}
