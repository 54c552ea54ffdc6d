//! Heads of requests and responses, the same for both protocol versions.

use super::header_block::{HeaderBlock, Span};
use super::header_name::Known;

macro_rules! methods {
    ($($variant:ident = $text:literal,)*) => {
        /// A request method: registered ones by number, others by text.
        #[derive(Clone, Debug, PartialEq, Eq, Default)]
        pub enum Method {
            #[default]
            $($variant,)*
            Other(Box<str>),
        }

        impl Method {
            pub fn as_str(&self) -> &str {
                match self {
                    $(Method::$variant => $text,)*
                    Method::Other(text) => text,
                }
            }

            /// Methods are case-sensitive; unregistered ones become [`Method::Other`].
            pub fn parse(text: &str) -> Method {
                match text {
                    $($text => Method::$variant,)*
                    other => Method::Other(other.into()),
                }
            }
        }
    };
}

methods! {
    Get = "GET",
    Head = "HEAD",
    Post = "POST",
    Put = "PUT",
    Delete = "DELETE",
    Connect = "CONNECT",
    Options = "OPTIONS",
    Trace = "TRACE",
    Patch = "PATCH",
    Acl = "ACL",
    Bind = "BIND",
    Checkout = "CHECKOUT",
    Copy = "COPY",
    Link = "LINK",
    Lock = "LOCK",
    Merge = "MERGE",
    MkActivity = "MKACTIVITY",
    MkCalendar = "MKCALENDAR",
    MkCol = "MKCOL",
    Move = "MOVE",
    MSearch = "M-SEARCH",
    Notify = "NOTIFY",
    PropFind = "PROPFIND",
    PropPatch = "PROPPATCH",
    Purge = "PURGE",
    Query = "QUERY",
    Rebind = "REBIND",
    Report = "REPORT",
    Search = "SEARCH",
    Source = "SOURCE",
    Subscribe = "SUBSCRIBE",
    Unbind = "UNBIND",
    Unlink = "UNLINK",
    Unlock = "UNLOCK",
    Unsubscribe = "UNSUBSCRIBE",
}

impl Method {
    /// RFC 9110 section 9.2.1: asking twice does no more than asking once does, and changes nothing.
    pub fn is_safe(&self) -> bool {
        matches!(
            self,
            Method::Get | Method::Head | Method::Options | Method::Query | Method::Trace
        )
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

impl Version {
    /// `HTTP/1.1`, as `%PROTOCOL%`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// How long a message's body is, as far as its head tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    #[default]
    Empty,
    Exactly(u64),
    /// Chunked, delimited by the stream, or until the connection closes.
    Unknown,
}

impl BodyLength {
    pub fn is_empty(self) -> bool {
        matches!(self, BodyLength::Empty | BodyLength::Exactly(0))
    }
}

/// The head of a request. Memory is reused between requests, see [`RequestHead::reset`].
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    pub scheme: Scheme,
    /// Without `Host`, which lives in [`RequestHead::authority`].
    pub headers: HeaderBlock,
    pub body: BodyLength,
    /// Protocol to upgrade to, when the request asks for one that is to be honoured: `websocket`.
    pub upgrade: Option<Box<str>>,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Bytes of the head on the wire.
    pub wire_size: usize,
    path: Span,
    authority: Span,
    /// `Host` as the client spells it, where case is kept.
    host_name: Span,
}

impl RequestHead {
    pub fn new(method: Method, authority: &str, path: &str) -> Self {
        let mut head = Self {
            method,
            ..Self::default()
        };
        head.set_authority(authority.as_bytes());
        head.set_path(path.as_bytes());
        head
    }

    /// Forgets everything and keeps the memory.
    pub fn reset(&mut self) {
        self.headers.clear();
        let headers = std::mem::take(&mut self.headers);
        *self = Self {
            headers,
            ..Self::default()
        };
    }

    /// Path with query, visible ASCII: `/a?b=c`, or `*`.
    pub fn path(&self) -> &str {
        visible(self.headers.text(self.path))
    }

    /// The path before `?`.
    pub fn path_only(&self) -> &str {
        split_query(self.path()).0
    }

    /// What follows `?`, empty without one.
    pub fn query(&self) -> &str {
        split_query(self.path()).1.unwrap_or_default()
    }

    /// `Host` of HTTP/1, `:authority` of HTTP/2.
    pub fn authority(&self) -> &str {
        visible(self.headers.text(self.authority))
    }

    pub fn set_path(&mut self, path: &[u8]) {
        self.path = self.headers.store(path);
    }

    pub fn set_authority(&mut self, authority: &[u8]) {
        self.authority = self.headers.store(authority);
    }

    pub(super) fn set_path_span(&mut self, span: Span) {
        self.path = span;
    }

    pub(super) fn set_authority_span(&mut self, span: Span) {
        self.authority = span;
    }

    pub(super) fn set_host_name_span(&mut self, span: Span) {
        self.host_name = span;
    }

    /// Name of the field that carries the authority in HTTP/1.
    pub(super) fn host_name(&self) -> &[u8] {
        match self.host_name.is_empty() {
            true => b"host",
            false => self.headers.text(self.host_name),
        }
    }

    /// Whether this is CONNECT as RFC 9110 section 9.3.6 has it: a request without path or protocol.
    pub fn is_plain_connect(&self) -> bool {
        self.method == Method::Connect && self.upgrade.is_none()
    }

    /// Whether the client wants to go on in another protocol: an upgrade, or CONNECT.
    pub fn asks_for_tunnel(&self) -> bool {
        self.upgrade.is_some() || self.method == Method::Connect
    }

    /// Whether an answer with this status grants that.
    pub fn becomes_tunnel(&self, status: u16) -> bool {
        ResponseTo::of(self).becomes_tunnel(status)
    }

    /// Whether a body belongs to the request. With HTTP/2 it is the stream itself that becomes a tunnel: what comes on it
    /// has no end that could be waited for.
    pub fn has_body(&self) -> bool {
        let is_stream = self.version == Version::Http2
            && self.body == BodyLength::Unknown
            && self.asks_for_tunnel();
        !self.body.is_empty() && !is_stream
    }

    /// `application/grpc`, alone or with a suffix.
    pub fn is_grpc(&self) -> bool {
        is_grpc(&self.headers)
    }

    /// Value of a header or of a pseudo header (`:path`, `:method`, `:authority` or `host`, `:scheme`).
    pub fn lookup<'a>(&'a self, name: &'a [u8]) -> Option<std::borrow::Cow<'a, [u8]>> {
        match self.pseudo(name) {
            Some(value) => Some(value.as_bytes().into()),
            None => self.headers.joined(name),
        }
    }

    /// Value of a pseudo header; `host` counts as `:authority`.
    pub fn pseudo(&self, name: &[u8]) -> Option<&str> {
        match name {
            b":path" => Some(self.path()),
            b":method" => Some(self.method.as_str()),
            b":scheme" => Some(self.scheme.as_str()),
            b":authority" => Some(self.authority()),
            _ if name.eq_ignore_ascii_case(b"host") => Some(self.authority()),
            _ => None,
        }
    }
}

/// What was asked for, as far as it tells how long the response is and what follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseTo {
    #[default]
    Other,
    Head,
    /// A request that asked for an upgrade.
    Upgrade,
    Connect,
}

impl ResponseTo {
    pub fn of(head: &RequestHead) -> Self {
        match head.method {
            Method::Head => ResponseTo::Head,
            _ if head.upgrade.is_some() => ResponseTo::Upgrade,
            Method::Connect => ResponseTo::Connect,
            _ => ResponseTo::Other,
        }
    }

    /// Whether a response with this status makes a tunnel of the connection or stream. Over HTTP/2 too an upgrade is
    /// granted with 101 here.
    pub fn becomes_tunnel(self, status: u16) -> bool {
        match self {
            ResponseTo::Upgrade => status == 101,
            ResponseTo::Connect => (200..300).contains(&status),
            ResponseTo::Other | ResponseTo::Head => false,
        }
    }
}

/// The head of a response.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    pub status: u16,
    pub version: Version,
    pub headers: HeaderBlock,
    pub body: BodyLength,
    /// A body of unknown length is chunked, not delimited by the end of the connection.
    pub chunked: bool,
    /// Bytes of the head on the wire.
    pub wire_size: usize,
}

impl ResponseHead {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub fn reset(&mut self) {
        self.headers.clear();
        let headers = std::mem::take(&mut self.headers);
        *self = Self {
            headers,
            ..Self::default()
        };
    }

    pub fn is_informational(&self) -> bool {
        (100..200).contains(&self.status)
    }
}

/// Whether a head announces gRPC: content type `application/grpc` or `application/grpc+…`.
pub fn is_grpc(headers: &HeaderBlock) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    headers.get(Known::ContentType).is_some_and(|value| {
        value
            .strip_prefix(TYPE)
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

/// Splits a path at `?`.
pub fn split_query(path: &str) -> (&str, Option<&str>) {
    match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    }
}

/// Codecs let only ASCII into paths and authorities; anything else could only come from a rewrite and reads as empty.
fn visible(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// The registered reason phrase of a status, `Unknown` without one.
pub fn reason_phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|code| code.canonical_reason())
        .unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_round_trip() {
        for text in ["GET", "M-SEARCH", "UNSUBSCRIBE", "get", "FOO"] {
            assert_eq!(Method::parse(text).as_str(), text);
        }
        assert_eq!(Method::parse("GET"), Method::Get);
        assert!(matches!(Method::parse("FOO"), Method::Other(_)));
    }

    #[test]
    fn grpc_content_types() {
        let of = |value| is_grpc(&[("content-type", value)].into_iter().collect());
        assert!(of("application/grpc"));
        assert!(of("application/grpc+proto"));
        assert!(!of("application/grpc-web"));
        assert!(!of("application/json"));
    }

    #[test]
    fn paths_split_at_the_query() {
        let head = RequestHead::new(Method::Get, "h", "/a?b=c?d");
        assert_eq!((head.path_only(), head.query()), ("/a", "b=c?d"));
        assert_eq!(head.lookup(b"Host").as_deref(), Some(&b"h"[..]));
    }

    #[test]
    fn upgrades_and_connect_are_granted_differently() {
        let connect = RequestHead::new(Method::Connect, "h:1", "");
        assert!(connect.asks_for_tunnel() && connect.is_plain_connect());
        assert!(connect.becomes_tunnel(204) && !connect.becomes_tunnel(101));
        let mut upgrade = RequestHead::new(Method::Get, "h", "/");
        assert!(!upgrade.asks_for_tunnel() && !upgrade.becomes_tunnel(200));
        upgrade.upgrade = Some("websocket".into());
        assert!(upgrade.becomes_tunnel(101) && !upgrade.becomes_tunnel(200));
    }
}
