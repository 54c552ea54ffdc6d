//! Where a request goes: its target and `Host`.

use super::super::error::ProtocolError;
use super::{H1Settings, offset};
use crate::http::header_block::Span;
use crate::http::header_name::Known;
use crate::http::message::{Method, RequestHead, Scheme, Version};

/// Moves `Host` out of the fields.
pub(super) fn set_host(head: &mut RequestHead, settings: &H1Settings) -> Result<(), ProtocolError> {
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
        join_hosts(head, settings)?;
    } else {
        check_authority(head.headers.text(host), settings.edge)?;
        head.set_authority_span(host);
    }
    if settings.preserve_case {
        let name = head.headers.name_span_of(Known::Host);
        head.set_host_name_span(name);
    }
    head.headers.remove(Known::Host);
    Ok(())
}

/// Several `Host` fields are one that has their values as a list, which is no host that anybody serves by chance.
fn join_hosts(head: &mut RequestHead, settings: &H1Settings) -> Result<(), ProtocolError> {
    if !settings.lenient {
        return Err(ProtocolError::DUPLICATE_HOST);
    }
    let hosts = head.headers.get_all(Known::Host);
    let named: Vec<&[u8]> = hosts.filter(|host| !host.is_empty()).collect();
    let joined = named.join(&b',');
    check_authority(&joined, settings.edge)?;
    head.set_authority(&joined);
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
pub(super) fn set_target(
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
