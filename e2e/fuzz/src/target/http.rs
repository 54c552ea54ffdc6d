//! Whole conversations through a proxy: whatever comes in, what goes out is well-formed.

use ironsail_proxy::resource::Switches;
use ironsail_proxy::testing::frames::{self, DATA, END_STREAM, frame, head};

use crate::chain::{self, Seen};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
const GET: &[u8] = b"GET /r1/a HTTP/1.1\r\nHost: a\r\n\r\n";

/// A client of HTTP/1.
pub fn requests(data: &[u8]) {
    for bytes in chain::run(data, OK).server {
        assert_well_formed(&bytes);
    }
}

pub fn request_seeds() -> Vec<Vec<u8>> {
    [
        GET,
        b"POST /a/../b?c=d HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\nX-Request-Id: 1\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n5;e=1\r\nhello\r\n0\r\nX: y\r\n\r\n",
        b"POST /r1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloPOST /r1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n0123456789a",
        b"POST /r1/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\nX: y\r\n\r\n",
        b"GET http://b/%2e%2e//c HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nConnection: close, x\r\nX: y\r\n\r\n",
        b"HEAD /redirect HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nX-Forwarded-For: 1.2.3.4\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nx-envoy-upstream-rq-timeout-ms: 5\r\n\r\n",
    ]
    .map(<[u8]>::to_vec)
    .into()
}

/// A server of HTTP/1.
pub fn responses(data: &[u8]) {
    assert_is_answer(&chain::run(GET, data));
}

fn assert_is_answer(seen: &Seen) {
    assert!(
        seen.client.is_empty() || seen.client.starts_with(b"HTTP/1.1 "),
        "{:?}",
        String::from_utf8_lossy(&seen.client)
    );
}

pub fn response_seeds() -> Vec<Vec<u8>> {
    [
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nSet-Cookie: a=b\r\n\r\nuntil the end",
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ]
    .map(<[u8]>::to_vec)
    .into()
}

/// Client and server of HTTP/1 under `IRONSAIL_HTTP1_LENIENT`.
pub fn lenient(data: &[u8]) {
    let switches = Switches {
        lenient_http1: true,
    };
    for bytes in chain::run_with(switches, data, OK).server {
        assert_well_formed(&bytes);
    }
    assert_is_answer(&chain::run_with(switches, GET, data));
}

pub fn lenient_seeds() -> Vec<Vec<u8>> {
    [
        &b"GET / HTTP/1.1\nHost: a\nHost: b\nX: y\n\n"[..],
        b"\n\r\nPOST / HTTP/1.1\r\nHost:\r\n a\nX: y\r\n\t z\rw\r\nContent-Length: 5\n\nhello",
        b"HTTP/1.1 200 OK\nX: y\n z\r\nY: a\rb\ntransfer-encoding: chunked\n\n0\r\n\r\n",
    ]
    .map(<[u8]>::to_vec)
    .into()
}

/// A client of HTTP/2, behind a valid preface.
pub fn frames(data: &[u8]) {
    let bytes = [frames::preface().as_slice(), data].concat();
    for bytes in chain::run(&bytes, OK).server {
        assert_well_formed(&bytes);
    }
}

pub fn frame_seeds() -> Vec<Vec<u8>> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/a?b"),
        ("content-length", "5"),
        ("cookie", "a=b"),
        ("x", "y"),
    ];
    let (pseudo, all) = (fields.get(..4).unwrap_or_default(), &fields);
    vec![
        head(1, END_STREAM, pseudo),
        [head(1, 0, all), frame(DATA, END_STREAM, 1, b"hello")].concat(),
        [
            head(1, 0, pseudo),
            frame(DATA, 0, 1, b"hello"),
            head(1, END_STREAM, &[("x", "y")]),
            head(3, END_STREAM, pseudo),
            frame(frames::RST_STREAM, 0, 3, &[0, 0, 0, 8]),
            frame(frames::PING, 0, 0, &[0; 8]),
        ]
        .concat(),
    ]
}

/// Requests, one after the other, in the only form that the proxy writes; the last may be cut.
fn assert_well_formed(mut bytes: &[u8]) {
    while let Some(end) = find(bytes, b"\r\n\r\n") {
        let (head, rest) = bytes.split_at(end + 4);
        let text = std::str::from_utf8(head).map_or_else(
            |_| String::from_utf8_lossy(head).into_owned(),
            str::to_owned,
        );
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let request: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        assert!(matches!(request[..], [_, _, "HTTP/1.1"]), "{text:?}");
        assert!(
            !text.replace("\r\n", "").contains(['\r', '\n', '\0']),
            "{text:?}"
        );
        let fields: Vec<(&str, &str)> = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{text:?}")))
            .collect();
        let values = |name: &str| {
            let own = fields
                .iter()
                .filter(|(own, _)| own.eq_ignore_ascii_case(name));
            own.map(|(_, value)| *value).collect::<Vec<_>>()
        };
        assert_eq!(values("host").len(), 1, "{text:?}");
        if !values("upgrade").is_empty() {
            return;
        }
        let body = match (
            &values("content-length")[..],
            &values("transfer-encoding")[..],
        ) {
            ([], []) => Some(0),
            ([length], []) => Some(length.parse().unwrap_or_else(|_| panic!("{text:?}"))),
            ([], ["chunked"]) => chunks(rest),
            _ => panic!("{text:?}"),
        };
        match body.and_then(|length| rest.get(length..)) {
            Some(next) => bytes = next,
            None => return,
        }
    }
}

/// Length of a whole chunked body.
fn chunks(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        let line = find(rest, b"\r\n")?;
        let digits = std::str::from_utf8(rest.get(..line)?).unwrap_or("-");
        let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("chunk {digits:?}"));
        if size == 0 {
            // Trailers, and the empty line.
            return find(rest, b"\r\n\r\n").map(|end| at + end + 4);
        }
        at += line + 2 + size + 2;
        let end = bytes.get(at - 2..at)?;
        assert_eq!(end, b"\r\n");
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
