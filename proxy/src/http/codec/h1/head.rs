//! Heads of HTTP/1 messages: httparse finds the parts, the rules of framing are here.
//!
//! Stricter than RFC 9112 allows where laxness lets two parsers disagree: bare LF, folded lines, repeated lengths and
//! hosts are refused unless the user asks for [`H1Settings::lenient`]. <https://www.rfc-editor.org/rfc/rfc9112>.

mod lenient;
mod response;
mod target;
mod write;

use std::mem::MaybeUninit;

use super::error::ProtocolError;
use crate::http::header_block::{HeaderBlock, Span, has_token, tokens};
use crate::http::header_name::Known;
use crate::http::message::{BodyLength, Method, RequestHead, Version};
use target::{set_host, set_target};

pub use response::parse_response;
pub use target::check_authority;
pub use write::{ResponseFraming, write_decimal, write_request, write_response};

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
    /// Bare line feeds, folded lines, carriage returns in values and several `Host` fields are understood as Envoy
    /// understands them instead of refused.
    pub lenient: bool,
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
    if !settings.lenient {
        return parse_strict_request(input, settings, head);
    }
    let consumed = lenient::parse(input, &settings.limits, |strict| {
        parse_strict_request(strict, settings, head)
    })?;
    head.wire_size = consumed.unwrap_or_default();
    Ok(consumed)
}

fn parse_strict_request(input: &[u8], settings: &H1Settings, head: &mut RequestHead) -> Parsed {
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
