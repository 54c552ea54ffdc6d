//! Heads as they are sent.

use crate::http::header_name::Known;
use crate::http::message::{BodyLength, Method, RequestHead, ResponseHead, reason_phrase};

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
