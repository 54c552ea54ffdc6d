//! Heads that are refused unless somebody asks for leniency: what they mean then, and what stays refused.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::sample::select;
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::super::head::{Parsed, parse_request, parse_response, write_request};
use super::{get, next_head, server, settings, verdict_with};
use crate::http::codec::h1::{H1Settings, ProtocolError};
use crate::http::message::{RequestHead, ResponseHead, ResponseTo};

fn lenient() -> Arc<H1Settings> {
    settings(|settings| settings.lenient = true)
}

/// What is understood of a request: authority and fields as they would be sent on.
fn understood(input: &[u8], settings: &H1Settings) -> Result<String, ProtocolError> {
    let mut head = RequestHead::default();
    let consumed = parse_request(input, settings, &mut head)?.expect("a whole head");
    assert_eq!((consumed, head.wire_size), (input.len(), input.len()));
    let mut text = format!("{}|", head.authority()).into_bytes();
    head.headers.write_to(&mut text);
    Ok(String::from_utf8(text).expect("text").replace("\r\n", "|"))
}

#[test]
fn lines_are_understood_as_envoy_does() {
    let cases: &[(&str, &[u8], &str)] = &[
        ("bare LF", b"GET / HTTP/1.1\nHost: a\nX: y\n\n", "a|x: y|"),
        (
            "one bare LF",
            b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
            "a|x: y|",
        ),
        (
            "bare LF at the end",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            "a|",
        ),
        (
            "bare LF before the end",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            "a|",
        ),
        (
            "empty lines first",
            b"\n\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "a|",
        ),
        (
            "a folded line",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
            "a|x: y z|",
        ),
        (
            "folded twice",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y \r\n\t z\n  w \r\n\r\n",
            "a|x: y \t z  w|",
        ),
        (
            "a fold of blanks",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n \r\nB: c\r\n\r\n",
            "a|x: y|b: c|",
        ),
        (
            "a fold with a colon",
            b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n Y: z\r\n\r\n",
            "a|x: Y: z|",
        ),
        (
            "a folded host",
            b"GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n",
            "a|",
        ),
        (
            "CR in a value",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \ry\r\rz\r\r\n\r\n",
            "a|x: yz|",
        ),
        (
            "CR before a name",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rB: c\r\n\r\n",
            "a|x: yB: c|",
        ),
        (
            "CR in the host",
            b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            "ab|",
        ),
        (
            "two hosts",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nHost: b\r\n\r\n",
            "a,b|x: y|",
        ),
        (
            "one host twice",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "a,a|",
        ),
        (
            "an empty host between",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost:\r\nHost: c\r\n\r\n",
            "a,c|",
        ),
        (
            "the target wins",
            b"GET http://c/ HTTP/1.1\nHost: a\nHost: b\n\n",
            "c|",
        ),
    ];
    for (name, input, expected) in cases {
        assert_eq!(
            understood(input, &lenient()).as_deref(),
            Ok(*expected),
            "{name}"
        );
        let strict = understood(input, &settings(|_| {}));
        assert_eq!(strict.expect_err(name).status, 400, "{name}");
    }
}

#[test]
fn what_else_is_wrong_stays_refused() {
    let cases: &[(&str, &[u8], u16)] = &[
        (
            "folded length",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 5\r\n\r\n",
            400,
        ),
        (
            "folded coding",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
            400,
        ),
        (
            "CR in a length",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r0\r\n\r\n",
            400,
        ),
        (
            "CR in a coding",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chun\rked\r\n\r\n",
            400,
        ),
        (
            "two lengths",
            b"POST / HTTP/1.1\nHost: a\nContent-Length: 5\nContent-Length: 5\n\n",
            400,
        ),
        (
            "both framings",
            b"POST / HTTP/1.1\nHost: a\nContent-Length: 5\nTransfer-Encoding: chunked\n\n",
            400,
        ),
        (
            "another coding",
            b"POST / HTTP/1.1\nHost: a\nTransfer-Encoding: gzip\n\n",
            501,
        ),
        (
            "fold before any field",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            400,
        ),
        (
            "fold of a name",
            b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n : y\r\n\r\n",
            400,
        ),
        (
            "fold in a host",
            b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            400,
        ),
        (
            "a bad second host",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b/c\r\n\r\n",
            400,
        ),
        (
            "CR in a name",
            b"GET / HTTP/1.1\r\nHost: a\r\nX\r: y\r\n\r\n",
            400,
        ),
        (
            "CR before a name",
            b"GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n",
            400,
        ),
        (
            "CR in the target",
            b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
        ),
        (
            "CR behind the version",
            b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
            400,
        ),
        (
            "CR at the end",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n",
            400,
        ),
        (
            "space before colon",
            b"GET / HTTP/1.1\nHost: a\nX : y\n\n",
            400,
        ),
        (
            "NUL in a value",
            b"GET / HTTP/1.1\nHost: a\nX: y\0z\n\n",
            400,
        ),
        ("no host", b"GET / HTTP/1.1\n\n", 400),
        ("a hello of TLS", b"\x16\x03\x01\x02\x00\x01\x00", 400),
    ];
    for (name, input, status) in cases {
        let refused = parse_request(input, &lenient(), &mut RequestHead::default());
        assert_eq!(refused.expect_err(name).status, *status, "{name}");
    }
}

#[tokio::test]
async fn chunks_and_trailers_stay_strict() {
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "0\r\nx: y\n\r\n",
        "0\r\nx: y\r\n z\r\n\r\n",
        "0\r\nx: y\rz\r\n\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n{body}");
        let verdict = verdict_with(request.as_bytes(), lenient()).await;
        assert_eq!(verdict, 400, "{body:?}");
    }
}

#[tokio::test]
async fn limits_count_what_came() {
    let carriage_returns = get(&format!("x: {}\r\n", "\r".repeat(61 * 1024)));
    let folds = get(&format!("x: y\r\n{}", " \r\n".repeat(21 * 1024)));
    let fields = get(&"x: y\n".repeat(100));
    for input in [carriage_returns, folds, fields] {
        assert_eq!(verdict_with(input.as_bytes(), lenient()).await, 431);
    }
}

#[tokio::test]
async fn the_next_request_begins_behind_the_last_line() {
    let input = b"GET /1 HTTP/1.1\nHost: a\n\nGET /2 HTTP/1.1\r\nHost: a\r\nX: y\n z\n\r\n\nGET /3 HTTP/1.1\nHost: a\n\n";
    let (mut server, _client) = server(input, lenient()).await;
    for path in ["/1", "/2", "/3"] {
        let head = next_head(&mut server).await.expect("valid").expect(path);
        assert_eq!(head.path(), path);
    }
    assert!(next_head(&mut server).await.expect("valid").is_none());
}

#[test]
fn answers_are_understood_as_envoy_does() {
    let parse = |input: &[u8], settings: &H1Settings| -> Result<String, ProtocolError> {
        let mut head = ResponseHead::default();
        let parsed: Parsed = parse_response(input, settings, ResponseTo::default(), &mut head);
        assert_eq!(parsed?, Some(input.len()));
        let mut text = Vec::new();
        head.headers.write_to(&mut text);
        Ok(String::from_utf8(text).expect("text").replace("\r\n", "|"))
    };
    for (input, expected) in [
        (&b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n"[..], "x: y z|"),
        (b"HTTP/1.1 200 OK\nX: y\rz\n\n", "x: yz|"),
    ] {
        assert_eq!(parse(input, &lenient()).as_deref(), Ok(expected));
        parse(input, &settings(|_| {})).expect_err("strict");
    }
    for input in [
        &b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 5\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: \r5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n X: y\r\n\r\n",
    ] {
        parse(input, &lenient()).expect_err("refused");
    }
}

/// Pieces of heads, well-formed and not.
const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ",",
    "\0",
    "x: y",
    "Host: b",
    "content-length: 5",
    "transfer-encoding: chunked",
    "connection: close",
    "a",
    "HTTP/1.1",
];

fn parse(
    input: &[u8],
    settings: &H1Settings,
) -> Result<Option<(usize, RequestHead)>, ProtocolError> {
    let mut head = RequestHead::default();
    let consumed = parse_request(input, settings, &mut head)?;
    Ok(consumed.map(|consumed| (consumed, head)))
}

fn fields(head: &RequestHead) -> Vec<(Vec<u8>, Vec<u8>)> {
    let fields = head.headers.iter();
    fields
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

proptest! {
    /// Whatever is understood is sent on in a form that a strict parser understands the same.
    #[test]
    fn what_is_sent_on_is_strict(pieces in vec(select(PIECES), 0..12)) {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{}\n\n", pieces.concat());
        let Ok(Some((consumed, head))) = parse(text.as_bytes(), &lenient()) else {
            return Ok(());
        };
        prop_assert!(consumed <= text.len());
        let mut sent = Vec::new();
        write_request(&mut sent, &head);
        let again = parse(&sent, &settings(|_| {})).expect("strict");
        let (length, again) = again.expect("a whole head");
        prop_assert_eq!(length, sent.len());
        prop_assert_eq!(again.authority(), head.authority());
        prop_assert_eq!(again.body, head.body);
        let mut expected = fields(&head);
        let said = (b"content-length".to_vec(), b"0".to_vec());
        if fields(&again).last() == Some(&said) && expected.last() != Some(&said) {
            expected.push(said);
        }
        prop_assert_eq!(fields(&again), expected);
        for end in 0..consumed {
            prop_assert_eq!(parse(&text.as_bytes()[..end], &lenient()).map(|found| found.is_some()), Ok(false));
        }
    }

    /// What the strict rules accept means the same under lenient ones.
    #[test]
    fn strict_heads_mean_the_same(pieces in vec(select(PIECES), 0..12)) {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", pieces.join("\r\n"));
        let strict = parse(text.as_bytes(), &settings(|_| {}));
        if let Ok(Some((consumed, head))) = strict {
            let (again, lenient) = parse(text.as_bytes(), &lenient()).expect("accepted").expect("whole");
            prop_assert_eq!((again, lenient.authority(), lenient.body), (consumed, head.authority(), head.body));
            prop_assert_eq!(fields(&lenient), fields(&head));
        }
    }
}
