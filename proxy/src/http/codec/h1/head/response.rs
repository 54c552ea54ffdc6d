//! Heads of responses.

use super::super::error::ProtocolError;
use super::{
    H1Settings, Parsed, content_length, copy_fields, fields, is_chunked, lenient, parse_error,
    version_of, window,
};
use crate::http::header_name::Known;
use crate::http::message::{BodyLength, ResponseHead, ResponseTo, Version};

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
    if !settings.lenient {
        return parse_strict_response(input, settings, to, head);
    }
    let consumed = lenient::parse(input, &settings.limits, |strict| {
        parse_strict_response(strict, settings, to, head)
    })?;
    head.wire_size = consumed.unwrap_or_default();
    Ok(consumed)
}

fn parse_strict_response(
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
