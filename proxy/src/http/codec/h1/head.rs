//! Heads of HTTP/1 messages: httparse finds the parts, the rules of framing are here.
//!
//! Stricter than RFC 9112 allows where laxness lets two parsers disagree: bare LF, folded lines, repeated lengths and
//! hosts are refused. <https://www.rfc-editor.org/rfc/rfc9112>.

use std::mem::MaybeUninit;

use super::error::ProtocolError;
use crate::http::header_block::{HeaderBlock, Span, has_token, tokens};
use crate::http::header_name::Known;
use crate::http::message::{
    BodyLength, Method, RequestHead, ResponseHead, ResponseTo, Scheme, Version, reason_phrase,
};

/// Header fields that fit on the stack while parsing; larger limits are clamped to it.
const MAX_FIELDS: usize = 256;

/// Limits of one head, and of trailers.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Default 60 KiB.
    pub max_bytes: usize,
    /// Default 100.
    pub max_headers: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            max_bytes: 60 * 1024,
            max_headers: 100,
        }
    }
}

/// What to do with header names that contain `_`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    #[default]
    Allow,
    Reject,
    Drop,
}

/// Rules for received HTTP/1 messages: `Http1ProtocolOptions` and the limits around it.
#[derive(Clone, Debug, Default)]
pub struct H1Settings {
    pub limits: HeadLimits,
    pub accept_http_10: bool,
    /// `Host` of HTTP/1.0 requests without one.
    pub default_host_for_http_10: Option<Box<str>>,
    /// Pass trailers on instead of dropping them.
    pub enable_trailers: bool,
    pub allow_custom_methods: bool,
    /// `Content-Length` beside `Transfer-Encoding: chunked` is dropped instead of refused.
    pub allow_chunked_length: bool,
    /// Keep the case of header names.
    pub preserve_case: bool,
    pub underscores: Underscores,
    /// The clients are not trusted: authorities with user information or impossible ports are refused.
    pub edge: bool,
    /// Protocols that requests may upgrade to, lower-case: `websocket`.
    pub upgrades: Vec<Box<str>>,
}

/// Bytes consumed by a complete head; `None` when more input is needed.
pub type Parsed = Result<Option<usize>, ProtocolError>;

type Fields<'b> = [MaybeUninit<httparse::Header<'b>>; MAX_FIELDS];

fn fields<'b>() -> Fields<'b> {
    [MaybeUninit::uninit(); MAX_FIELDS]
}

fn window<'h, 'b>(
    fields: &'h mut Fields<'b>,
    limits: &HeadLimits,
) -> &'h mut [MaybeUninit<httparse::Header<'b>>] {
    let count = limits.max_headers.min(MAX_FIELDS);
    fields.get_mut(..count).unwrap_or(&mut [])
}

fn parse_error(error: httparse::Error) -> ProtocolError {
    match error {
        httparse::Error::TooManyHeaders => ProtocolError::TOO_MANY_HEADERS,
        _ => ProtocolError::CODEC,
    }
}

/// Parses a request head at the start of `input` into `head`, which must be reset.
///
/// # Errors
/// Why the request is refused, with the status to answer.
pub fn parse_request(input: &[u8], settings: &H1Settings, head: &mut RequestHead) -> Parsed {
    let skipped = skip_empty_lines(input)?;
    let Some(input) = input.get(skipped..).filter(|rest| !rest.is_empty()) else {
        return Ok(None);
    };
    let mut storage = fields();
    let mut request = httparse::Request::new(&mut []);
    let status = request
        .parse_with_uninit_headers(input, window(&mut storage, &settings.limits))
        .map_err(parse_error)?;
    let httparse::Status::Complete(consumed) = status else {
        return Ok(None);
    };
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(ProtocolError::CODEC);
    };
    let headers = &*request.headers;
    check_line_ends(
        input,
        offset(input, target.as_bytes()) + target.len() + 9,
        headers,
    )?;
    head.method = parse_method(method, settings)?;
    head.version = version_of(version);
    if head.version == Version::Http10 && !settings.accept_http_10 {
        return Err(ProtocolError::LOW_VERSION);
    }
    head.wire_size = skipped + consumed;
    copy_fields(input, consumed, headers, settings, &mut head.headers)?;
    set_host(head, settings)?;
    set_target(input, target, head, settings)?;
    head.body = request_body(head, settings)?;
    set_intents(head, settings);
    Ok(Some(skipped + consumed))
}

/// Empty lines before a request are allowed, RFC 9112 section 2.2.
fn skip_empty_lines(input: &[u8]) -> Result<usize, ProtocolError> {
    let mut skipped = 0;
    let mut rest = input;
    while let Some(tail) = rest.strip_prefix(b"\r\n") {
        skipped += 2;
        rest = tail;
    }
    match rest {
        [b'\r'] | [] => Ok(skipped),
        [b'\r' | b'\n', ..] => Err(ProtocolError::CODEC),
        _ => Ok(skipped),
    }
}

fn offset(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize)
}

/// httparse takes a bare LF for the end of a line; here every line must end with CRLF.
fn check_line_ends(
    input: &[u8],
    first_line: usize,
    headers: &[httparse::Header<'_>],
) -> Result<(), ProtocolError> {
    let ends_with_crlf = |at: usize| {
        let rest = input.get(at..).unwrap_or(&[]);
        let blanks = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        rest.get(blanks..)
            .is_some_and(|rest| rest.starts_with(b"\r\n"))
    };
    let line = input.get(first_line..).unwrap_or(&[]);
    let headers_end = headers.last().map_or(first_line, |last| {
        offset(input, last.value) + last.value.len()
    });
    let end_of_line = |at: usize| {
        let rest = input.get(at..).unwrap_or(&[]);
        rest.iter()
            .position(|byte| *byte == b'\n')
            .map(|lf| at + lf + 1)
    };
    let all = line.starts_with(b"\r\n")
        && headers
            .iter()
            .all(|header| ends_with_crlf(offset(input, header.value) + header.value.len()))
        && end_of_line(headers_end).is_some_and(|at| {
            input
                .get(at..)
                .is_some_and(|rest| rest.starts_with(b"\r\n"))
        });
    if all {
        Ok(())
    } else {
        Err(ProtocolError::CODEC)
    }
}

fn parse_method(method: &str, settings: &H1Settings) -> Result<Method, ProtocolError> {
    match Method::parse(method) {
        Method::Other(_) if !settings.allow_custom_methods => Err(ProtocolError::CODEC),
        method => Ok(method),
    }
}

fn version_of(minor: u8) -> Version {
    if minor == 0 {
        Version::Http10
    } else {
        Version::Http11
    }
}

/// Copies the head once into the block's arena and points the fields at it.
fn copy_fields(
    input: &[u8],
    consumed: usize,
    headers: &[httparse::Header<'_>],
    settings: &H1Settings,
    block: &mut HeaderBlock,
) -> Result<(), ProtocolError> {
    if consumed > settings.limits.max_bytes {
        return Err(ProtocolError::HEADERS_TOO_LARGE);
    }
    debug_assert!(block.is_empty());
    block.store(input.get(..consumed).unwrap_or(input));
    for header in headers {
        if settings.underscores != Underscores::Allow && header.name.contains('_') {
            match settings.underscores {
                Underscores::Reject => return Err(ProtocolError::UNDERSCORES),
                _ => continue,
            }
        }
        let name = Span::new(offset(input, header.name.as_bytes()), header.name.len());
        let value = Span::new(offset(input, header.value), header.value.len());
        block.push_stored(name, value, settings.preserve_case);
    }
    Ok(())
}

/// Moves `Host` out of the fields.
fn set_host(head: &mut RequestHead, settings: &H1Settings) -> Result<(), ProtocolError> {
    let (first, count) = head.headers.span_of(Known::Host);
    let Some(host) = first else {
        return match &settings.default_host_for_http_10 {
            Some(host) if head.version == Version::Http10 => {
                head.set_authority(host.as_bytes());
                Ok(())
            }
            _ => Err(ProtocolError::MISSING_HOST),
        };
    };
    if count > 1 {
        return Err(ProtocolError::DUPLICATE_HOST);
    }
    check_authority(head.headers.text(host), settings.edge)?;
    head.set_authority_span(host);
    if settings.preserve_case {
        let name = head.headers.name_span_of(Known::Host);
        head.set_host_name_span(name);
    }
    head.headers.remove(Known::Host);
    Ok(())
}

/// RFC 3986 section 3.2; the lax forms that Envoy lets through are refused only at the edge.
pub fn check_authority(authority: &[u8], edge: bool) -> Result<(), ProtocolError> {
    let allowed =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@[]".contains(byte);
    if !authority.iter().all(allowed) {
        return Err(ProtocolError::INVALID_HOST);
    }
    if edge && (authority.contains(&b'@') || !port_is_possible(authority)) {
        return Err(ProtocolError::INVALID_HOST);
    }
    Ok(())
}

fn port_is_possible(authority: &[u8]) -> bool {
    let text = std::str::from_utf8(authority).unwrap_or_default();
    match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.contains(']') => {
            port.parse::<u16>().is_ok()
        }
        _ => true,
    }
}

/// RFC 9112 section 3.2: origin, absolute, authority and asterisk form.
fn set_target(
    input: &[u8],
    target: &str,
    head: &mut RequestHead,
    settings: &H1Settings,
) -> Result<(), ProtocolError> {
    if !target.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        return Err(ProtocolError::INVALID_URL);
    }
    if head.method == Method::Connect {
        check_authority(target.as_bytes(), settings.edge)?;
        head.set_authority_span(Span::new(offset(input, target.as_bytes()), target.len()));
        return Ok(());
    }
    if target.starts_with('/') || (target == "*" && head.method == Method::Options) {
        head.set_path_span(Span::new(offset(input, target.as_bytes()), target.len()));
        return Ok(());
    }
    let (scheme, rest) = target.split_once("://").ok_or(ProtocolError::INVALID_URL)?;
    head.scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
        _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
        _ => return Err(ProtocolError::INVALID_SCHEME),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() {
        return Err(ProtocolError::INVALID_URL);
    }
    check_authority(authority.as_bytes(), settings.edge)?;
    // RFC 9112 section 3.2.2: the target wins over Host.
    head.set_authority(authority.as_bytes());
    match path.as_bytes().first() {
        Some(b'/') => head.set_path(path.as_bytes()),
        _ => head.set_path(format!("/{path}").as_bytes()),
    }
    Ok(())
}

/// RFC 9112 section 6.3, without the cases in which a proxy and a server could differ.
fn request_body(
    head: &mut RequestHead,
    settings: &H1Settings,
) -> Result<BodyLength, ProtocolError> {
    let length = content_length(&head.headers)?;
    // Nobody knows whether it would belong to the request or to what is tunnelled.
    if head.method == Method::Connect && length.is_some_and(|length| length > 0) {
        return Err(ProtocolError::CODEC);
    }
    if !head.headers.contains(Known::TransferEncoding) {
        return Ok(match length {
            None | Some(0) => BodyLength::Empty,
            Some(length) => BodyLength::Exactly(length),
        });
    }
    if length.is_some() && !(settings.allow_chunked_length && is_chunked(&head.headers)) {
        return Err(ProtocolError::LENGTH_AND_CHUNKED);
    }
    if head.version == Version::Http10 || head.method == Method::Connect {
        return Err(ProtocolError::TRANSFER_ENCODING_NOT_ALLOWED);
    }
    if !is_chunked(&head.headers) {
        return Err(ProtocolError::TRANSFER_ENCODING);
    }
    head.headers.remove(Known::TransferEncoding);
    head.headers.remove(Known::ContentLength);
    Ok(BodyLength::Unknown)
}

fn is_chunked(headers: &HeaderBlock) -> bool {
    let mut values = headers.get_all(Known::TransferEncoding);
    values
        .next()
        .is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"))
        && values.next().is_none()
}

/// The only `Content-Length`, digits only.
fn content_length(headers: &HeaderBlock) -> Result<Option<u64>, ProtocolError> {
    let mut values = headers.get_all(Known::ContentLength);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(ProtocolError::CODEC);
    }
    parse_length(value).map(Some).ok_or(ProtocolError::CODEC)
}

/// A decimal length without sign or list.
pub fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Reads `Connection: upgrade` and `Expect` before hop-by-hop fields are removed.
fn set_intents(head: &mut RequestHead, settings: &H1Settings) {
    head.expects_continue = head
        .headers
        .get(Known::Expect)
        .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    // Answers to HEAD have no body that could tell an upgrade from a length, and CONNECT is an upgrade of its own.
    let upgradable = !matches!(head.method, Method::Head | Method::Connect);
    let old = head.version == Version::Http10;
    if !upgradable || old || !head.headers.contains(Known::Upgrade) {
        return;
    }
    let asked = head
        .headers
        .get_all(Known::Connection)
        .any(|value| has_token(value, "upgrade"));
    let protocol = head.headers.get_str(Known::Upgrade).unwrap_or_default();
    // RFC 9113 withdrew the upgrade to h2c; such requests go on as HTTP/1.1.
    let ignored = tokens(protocol.as_bytes()).any(|token| {
        token.eq_ignore_ascii_case(b"h2c") && !settings.upgrades.iter().any(|name| &**name == "h2c")
    });
    if asked && !ignored && !protocol.is_empty() {
        head.upgrade = Some(protocol.to_ascii_lowercase().into());
    }
}

/// Parses a response head at the start of `input` into `head`, which must be reset.
///
/// # Errors
/// The response is malformed; the status says nothing to the client.
pub fn parse_response(
    input: &[u8],
    settings: &H1Settings,
    to: ResponseTo,
    head: &mut ResponseHead,
) -> Parsed {
    let mut storage = fields();
    let mut response = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(
            &mut response,
            input,
            window(&mut storage, &settings.limits),
        )
        .map_err(parse_error)?;
    let httparse::Status::Complete(consumed) = status else {
        return Ok(None);
    };
    let (Some(version), Some(code)) = (response.version, response.code) else {
        return Err(ProtocolError::CODEC);
    };
    if !(100..600).contains(&code) {
        return Err(ProtocolError::CODEC);
    }
    head.status = code;
    head.version = version_of(version);
    head.wire_size = consumed;
    copy_fields(
        input,
        consumed,
        response.headers,
        settings,
        &mut head.headers,
    )?;
    head.body = response_body(head, to)?;
    Ok(Some(consumed))
}

fn response_body(head: &mut ResponseHead, to: ResponseTo) -> Result<BodyLength, ProtocolError> {
    if head.status == 101 && to != ResponseTo::Upgrade {
        return Err(ProtocolError::CODEC);
    }
    if to == ResponseTo::Connect && to.becomes_tunnel(head.status) {
        // RFC 9110 section 9.3.6: they mean nothing there.
        head.headers.remove(Known::TransferEncoding);
        head.headers.remove(Known::ContentLength);
        return Ok(BodyLength::Empty);
    }
    let length = content_length(&head.headers)?;
    let encoded = head.headers.contains(Known::TransferEncoding);
    if encoded && (length.is_some() || head.version == Version::Http10) {
        return Err(ProtocolError::LENGTH_AND_CHUNKED);
    }
    if encoded && !is_chunked(&head.headers) {
        return Err(ProtocolError::TRANSFER_ENCODING);
    }
    // RFC 9112 section 6.1, RFC 9110 section 8.6: what follows would be taken for the next response.
    let announces = encoded || length.is_some_and(|length| length > 0);
    if announces && matches!(head.status, 100..=199 | 204) {
        return Err(ProtocolError::CODEC);
    }
    if to == ResponseTo::Head || matches!(head.status, 100..=199 | 204 | 304) {
        return Ok(BodyLength::Empty);
    }
    if encoded {
        head.headers.remove(Known::TransferEncoding);
        head.chunked = true;
        return Ok(BodyLength::Unknown);
    }
    Ok(match length {
        Some(0) => BodyLength::Empty,
        Some(length) => BodyLength::Exactly(length),
        None => BodyLength::Unknown,
    })
}

/// Parses trailers at the start of `input`: bytes consumed and the fields, or `None` when more is needed.
///
/// # Errors
/// Malformed, too many, or fields that framing or routing depend on.
pub fn parse_trailers(
    input: &[u8],
    limits: &HeadLimits,
) -> Result<Option<(usize, HeaderBlock)>, ProtocolError> {
    let mut block = HeaderBlock::new();
    match input {
        [] | [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => return Ok(Some((2, block))),
        _ => {}
    }
    let mut storage = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let count = limits.max_headers.min(MAX_FIELDS);
    let room = storage.get_mut(..count).unwrap_or(&mut []);
    let parsed = match httparse::parse_headers(input, room) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(ProtocolError::TOO_MANY_TRAILERS),
        Err(_) => return Err(ProtocolError::CODEC),
    };
    let (consumed, headers) = parsed;
    check_trailer_lines(input.get(..consumed).unwrap_or(input))?;
    if consumed > limits.max_bytes {
        return Err(ProtocolError::TRAILERS_TOO_LARGE);
    }
    for header in headers {
        // RFC 9110 section 6.5.1: these would change how the message was understood.
        let forbidden = matches!(
            Known::find(header.name.as_bytes()),
            Some(
                Known::TransferEncoding
                    | Known::ContentLength
                    | Known::Host
                    | Known::Connection
                    | Known::Te
                    | Known::Authorization
                    | Known::Trailer
            )
        );
        if !forbidden {
            block.append_named(header.name.to_ascii_lowercase().as_bytes(), header.value);
        }
    }
    Ok(Some((consumed, block)))
}

fn check_trailer_lines(block: &[u8]) -> Result<(), ProtocolError> {
    let bare = block.iter().enumerate().any(|(at, byte)| {
        *byte == b'\n' && at.checked_sub(1).and_then(|at| block.get(at)) != Some(&b'\r')
    });
    if bare {
        Err(ProtocolError::CODEC)
    } else {
        Ok(())
    }
}

/// Appends a request head; `Host` first, framing last.
pub fn write_request(out: &mut Vec<u8>, head: &RequestHead) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    let target = match head.method {
        Method::Connect => head.authority(),
        _ => head.path(),
    };
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    out.extend_from_slice(head.host_name());
    out.extend_from_slice(b": ");
    out.extend_from_slice(head.authority().as_bytes());
    out.extend_from_slice(b"\r\n");
    head.headers.write_to(out);
    match head.body {
        BodyLength::Unknown => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        BodyLength::Exactly(length) if !head.headers.contains(Known::ContentLength) => {
            write_length(length, out);
        }
        BodyLength::Empty if says_no_body(head) => write_length(0, out),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a request without body says so: methods that usually have one (RFC 9110 section 8.6).
fn says_no_body(head: &RequestHead) -> bool {
    let never_has_one = matches!(
        head.method,
        Method::Get | Method::Head | Method::Delete | Method::Trace | Method::Connect
    );
    !never_has_one && head.upgrade.is_none() && !head.headers.contains(Known::ContentLength)
}

/// What a response's head says beside its fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseFraming {
    /// The client speaks HTTP/1.0.
    pub old: bool,
    pub chunked: bool,
    pub close: bool,
    /// Nothing follows, which is said.
    pub empty: bool,
    /// HTTP/1.0 clients are told that the connection stays open.
    pub keep_alive: bool,
}

/// Appends a response head.
pub fn write_response(out: &mut Vec<u8>, head: &ResponseHead, framing: ResponseFraming) {
    write_status_line(out, head.status, framing.old);
    head.headers.write_to(out);
    if let BodyLength::Exactly(length) = head.body
        && !head.headers.contains(Known::ContentLength)
    {
        write_length(length, out);
    }
    match framing {
        ResponseFraming { close: true, .. } => out.extend_from_slice(b"connection: close\r\n"),
        ResponseFraming {
            keep_alive: true, ..
        } => out.extend_from_slice(b"connection: keep-alive\r\n"),
        _ => {}
    }
    if framing.chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if framing.empty {
        write_length(0, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_status_line(out: &mut Vec<u8>, status: u16, old: bool) {
    if status == 200 && !old {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(if old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    write_decimal(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"content-length: ");
    write_decimal(length, out);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal.
pub fn write_decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut first = digits.len();
    let mut rest = number;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        first -= 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or(b"0"));
}
