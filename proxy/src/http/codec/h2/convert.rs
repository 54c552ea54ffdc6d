//! Heads between this proxy's form and that of the h2 crate.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme};
use http::{StatusCode, Uri};

use crate::http::codec::h1::{
    HeadLimits, ProtocolError, Underscores, check_authority, parse_length,
};
use crate::http::header_block::HeaderBlock;
use crate::http::header_name::Known;
use crate::http::message::{BodyLength, Method, RequestHead, ResponseHead, Scheme, Version};

/// Rules for received HTTP/2 heads, beside those that the h2 crate enforces.
#[derive(Clone, Copy, Debug, Default)]
pub struct H2HeadRules {
    pub limits: HeadLimits,
    pub underscores: Underscores,
    /// The clients are not trusted.
    pub edge: bool,
}

/// Why a head cannot go out as HTTP/2.
#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be sent over HTTP/2")]
pub struct NotExpressible(&'static str);

/// Takes a received request apart.
///
/// # Errors
/// The request is refused with the status in the error; `head` has what is needed for the log.
pub fn read_request(
    request: &http::request::Parts,
    ended: bool,
    rules: &H2HeadRules,
    head: &mut RequestHead,
) -> Result<(), ProtocolError> {
    head.version = Version::Http2;
    head.method = Method::parse(request.method.as_str());
    if request.uri.scheme() == Some(&UriScheme::HTTPS) {
        head.scheme = Scheme::Https;
    }
    let path = request
        .uri
        .path_and_query()
        .map_or("", PathAndQuery::as_str);
    let authority = match request.uri.authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => request
            .headers
            .get(http::header::HOST)
            .map_or(&b""[..], HeaderValue::as_bytes),
    };
    let hosts = request.headers.get_all(http::header::HOST).iter().count();
    if request.uri.authority().is_none() && hosts > 1 {
        return Err(ProtocolError::DUPLICATE_HOST);
    }
    check_fields(&request.headers, &rules.limits)?;
    head.set_path(path.as_bytes());
    head.set_authority(authority);
    head.wire_size = copy_fields(&request.headers, &mut head.headers)
        + path.len()
        + authority.len()
        + request.method.as_str().len();
    head.headers.remove(Known::Host);
    head.body = match (ended, length(&head.headers)) {
        (true, _) | (false, Some(0)) => BodyLength::Empty,
        (false, Some(length)) => BodyLength::Exactly(length),
        (false, None) => BodyLength::Unknown,
    };
    head.expects_continue = head
        .headers
        .get(Known::Expect)
        .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    if let Some(protocol) = request.extensions.get::<h2::ext::Protocol>() {
        // RFC 8441 section 5: what HTTP/1 says with these.
        head.headers
            .append(Known::Upgrade, protocol.as_str().as_bytes());
        head.headers.append(Known::Connection, b"upgrade");
        head.upgrade = Some(protocol.as_str().to_ascii_lowercase().into());
    }
    check_request(head, rules)
}

fn check_request(head: &mut RequestHead, rules: &H2HeadRules) -> Result<(), ProtocolError> {
    if !head.path().bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        return Err(ProtocolError::INVALID_URL);
    }
    let asterisk = head.method == Method::Options && head.path() == "*";
    if !head.is_plain_connect() && !asterisk && !head.path().starts_with('/') {
        return Err(ProtocolError::INVALID_URL);
    }
    check_authority(head.authority().as_bytes(), rules.edge)?;
    let has_underscore = |name: &[u8]| name.contains(&b'_');
    match rules.underscores {
        Underscores::Allow => {}
        Underscores::Drop => head.headers.remove_where(has_underscore),
        Underscores::Reject => {
            if head.headers.iter().any(|(name, _)| has_underscore(name)) {
                return Err(ProtocolError::UNDERSCORES);
            }
        }
    }
    Ok(())
}

/// What holds for heads of both directions. Pieces of `cookie` count: each is a field to whoever decodes it.
fn check_fields(map: &HeaderMap, limits: &HeadLimits) -> Result<(), ProtocolError> {
    if map.len() > limits.max_headers {
        return Err(ProtocolError::TOO_MANY_HEADERS);
    }
    let lengths = map.get_all(http::header::CONTENT_LENGTH).iter();
    // The h2 crate compares the body with one of them; over HTTP/1 both would go out.
    if lengths.count() > 1 {
        return Err(ProtocolError::CODEC);
    }
    Ok(())
}

/// Copies fields; pieces of `cookie` are put together again, RFC 9113 section 8.2.3. Returns their size.
fn copy_fields(map: &HeaderMap, block: &mut HeaderBlock) -> usize {
    let mut size = 0;
    let mut cookies: Option<Vec<u8>> = None;
    for (name, value) in map {
        size += name.as_str().len() + value.len();
        if name == http::header::COOKIE {
            let all = cookies.get_or_insert_default();
            if !all.is_empty() {
                all.extend_from_slice(b"; ");
            }
            all.extend_from_slice(value.as_bytes());
            continue;
        }
        block.append_named(name.as_str().as_bytes(), value.as_bytes());
    }
    if let Some(cookies) = cookies {
        block.append(Known::Cookie, &cookies);
    }
    size
}

fn length(headers: &HeaderBlock) -> Option<u64> {
    headers.get(Known::ContentLength).and_then(parse_length)
}

/// Takes a received response apart.
///
/// # Errors
/// Too many fields, or more than one length.
pub fn read_response(
    response: &http::response::Parts,
    ended: bool,
    limits: &HeadLimits,
    head: &mut ResponseHead,
) -> Result<(), ProtocolError> {
    check_fields(&response.headers, limits)?;
    head.status = response.status.as_u16();
    head.version = Version::Http2;
    head.wire_size = copy_fields(&response.headers, &mut head.headers);
    head.body = match (ended, length(&head.headers)) {
        (true, _) => BodyLength::Empty,
        (false, Some(length)) => BodyLength::Exactly(length),
        (false, None) => BodyLength::Unknown,
    };
    Ok(())
}

/// Trailers as a block.
///
/// # Errors
/// Too many fields.
pub fn read_trailers(map: &HeaderMap, max_fields: usize) -> Result<HeaderBlock, ProtocolError> {
    if map.len() > max_fields {
        return Err(ProtocolError::TOO_MANY_TRAILERS);
    }
    let mut block = HeaderBlock::new();
    copy_fields(map, &mut block);
    Ok(block)
}

/// Fields as HTTP/2 has them: without those that belong to an HTTP/1 connection. Returns their size too.
pub fn write_fields(block: &HeaderBlock) -> (HeaderMap, usize) {
    let mut map = HeaderMap::with_capacity(block.len());
    let mut size = 0;
    for (name, value) in block.iter() {
        match Known::find(name) {
            Some(
                Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::Upgrade
                | Known::Http2Settings
                | Known::Host,
            ) => continue,
            Some(Known::Te) if !value.eq_ignore_ascii_case(b"trailers") => continue,
            _ => {}
        }
        // Names and values were checked when they were read or configured.
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        else {
            continue;
        };
        size += name.as_str().len() + value.len();
        map.append(name, value);
    }
    (map, size)
}

/// A request for the h2 crate.
///
/// # Errors
/// A method, authority or path that HTTP/2 cannot carry.
pub fn write_request(head: &RequestHead) -> Result<(http::Request<()>, usize), NotExpressible> {
    let scheme = match head.scheme {
        Scheme::Http => UriScheme::HTTP,
        Scheme::Https => UriScheme::HTTPS,
    };
    let authority: Authority = head
        .authority()
        .parse()
        .map_err(|_| NotExpressible("the authority"))?;
    let mut uri = Uri::builder().authority(authority);
    if !head.is_plain_connect() {
        let path: PathAndQuery = head
            .path()
            .parse()
            .map_err(|_| NotExpressible("the path"))?;
        uri = uri.scheme(scheme).path_and_query(path);
    }
    let uri = uri.build().map_err(|_| NotExpressible("the URI"))?;
    let mut request = http::Request::new(());
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = uri;
    match &head.upgrade {
        None => {
            *request.method_mut() = http::Method::from_bytes(head.method.as_str().as_bytes())
                .map_err(|_| NotExpressible("the method"))?;
        }
        Some(protocol) => {
            // RFC 8441: the upgrade of HTTP/1 is a CONNECT with a protocol here.
            *request.method_mut() = http::Method::CONNECT;
            let protocol = h2::ext::Protocol::from(&**protocol);
            request.extensions_mut().insert(protocol);
        }
    }
    let (map, size) = write_fields(&head.headers);
    *request.headers_mut() = map;
    Ok((request, size + head.path().len() + head.authority().len()))
}

/// A response for the h2 crate, and the size of its head.
pub fn write_response(head: &ResponseHead) -> (http::Response<()>, usize) {
    let mut response = http::Response::new(());
    *response.version_mut() = http::Version::HTTP_2;
    // Statuses come from codecs and checked configuration: all are from 100 to 599.
    *response.status_mut() =
        StatusCode::from_u16(head.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (map, size) = write_fields(&head.headers);
    *response.headers_mut() = map;
    (response, size + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(request: http::request::Builder) -> http::request::Parts {
        request.body(()).expect("a valid request").into_parts().0
    }

    #[test]
    fn requests_round_trip() {
        let request = parts(
            http::Request::post("https://a:1/p?q")
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .header("te", "trailers")
                .header("content-length", "5")
                .header("host", "other"),
        );
        let mut head = RequestHead::default();
        read_request(&request, false, &H2HeadRules::default(), &mut head).expect("valid");
        assert_eq!((head.authority(), head.path()), ("a:1", "/p?q"));
        assert_eq!(head.headers.get(Known::Cookie), Some(&b"a=1; b=2"[..]));
        assert!(!head.headers.contains(Known::Host));
        assert_eq!(head.body, BodyLength::Exactly(5));
        head.headers.append(Known::Connection, b"close");
        head.headers.append_named(b"X-Case", b"1");
        let (again, _) = write_request(&head).expect("expressible");
        assert_eq!(again.uri(), "https://a:1/p?q");
        assert!(!again.headers().contains_key("connection"));
        assert!(again.headers().contains_key("x-case") && again.headers().contains_key("te"));
    }

    #[test]
    fn limits_and_rules() {
        let mut many = http::Request::get("https://a/");
        for number in 0..101 {
            many = many.header(format!("x{number}"), "1");
        }
        let read = |request, rules: H2HeadRules| {
            read_request(&parts(request), true, &rules, &mut RequestHead::default())
        };
        assert_eq!(
            read(many, H2HeadRules::default()),
            Err(ProtocolError::TOO_MANY_HEADERS)
        );
        let underscore = || http::Request::get("https://a/").header("x_y", "1");
        let rules = |underscores| H2HeadRules {
            underscores,
            ..H2HeadRules::default()
        };
        assert!(read(underscore(), rules(Underscores::Allow)).is_ok());
        assert_eq!(
            read(underscore(), rules(Underscores::Reject)),
            Err(ProtocolError::UNDERSCORES)
        );
        let edge = H2HeadRules {
            edge: true,
            ..H2HeadRules::default()
        };
        assert!(read(http::Request::get("https://u@a/"), edge).is_err());
    }
}
