//! What HTTP/2 clients must not send: which stream or connection it ends, and that it costs a bounded amount.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use super::{
    Answer, Mesh, OK, buffering, connection, forward, local, manager, mutual_tls, proto, protobuf,
    static_cluster, to,
};
use crate::conn::ConnectionInfo;
use crate::resource::listener::TrafficDirection;
use crate::testing::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Received,
    SETTINGS, block, frame, head,
};

/// RFC 9113 section 7.
const PROTOCOL_ERROR: u32 = 1;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The stream has a response with this status.
    Status(u16),
    /// The stream is reset with this code, and the connection serves others.
    Reset(u32),
    /// The connection ends with this code.
    Goodbye(u32),
}

use Told::{Goodbye, Reset, Status};

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/"),
];

fn get_with(fields: &[(&'static str, &'static str)]) -> Vec<u8> {
    head(1, END_STREAM, &[&GET[..], fields].concat())
}

/// A request without one of the pseudo-headers.
fn without(name: &str) -> Vec<u8> {
    let fields: Vec<_> = GET.into_iter().filter(|(own, _)| *own != name).collect();
    head(1, END_STREAM, &fields)
}

/// A request with another value of a pseudo-header.
fn changed(name: &str, value: &'static str) -> Vec<u8> {
    let change = |(own, old)| (own, if own == name { value } else { old });
    head(1, END_STREAM, &GET.map(change))
}

fn post(fields: &[(&'static str, &'static str)], body: &[u8]) -> Vec<u8> {
    let head = head(1, 0, &[&GET[..], fields].concat());
    [head, frame(DATA, END_STREAM, 1, body)].concat()
}

fn with_trailers(trailers: &[(&'static str, &'static str)]) -> Vec<u8> {
    let request = [head(1, 0, &GET), frame(DATA, 0, 1, b"hello")].concat();
    [request, head(1, END_STREAM, trailers)].concat()
}

/// Where a row ends the connection instead of the stream, the h2 crate refuses while it decodes, before there is a
/// stream to end; it says `PROTOCOL_ERROR` for broken compression, too.
fn heads() -> Vec<(&'static str, Vec<u8>, Told)> {
    vec![
        ("plain", get_with(&[]), Status(200)),
        (
            "upper-case name",
            get_with(&[("X-Y", "b")]),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "name with a blank",
            get_with(&[("x y", "b")]),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "name with a colon",
            get_with(&[("x:y", "b")]),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "empty name",
            get_with(&[("", "b")]),
            Goodbye(PROTOCOL_ERROR),
        ),
        ("NUL", get_with(&[("x", "b\0c")]), Goodbye(PROTOCOL_ERROR)),
        (
            "CR and LF",
            get_with(&[("x", "b\r\nx: c")]),
            Goodbye(PROTOCOL_ERROR),
        ),
        ("LF", get_with(&[("x", "b\nx: c")]), Goodbye(PROTOCOL_ERROR)),
        (
            "connection",
            get_with(&[("connection", "close")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "keep-alive",
            get_with(&[("keep-alive", "5")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "proxy-connection",
            get_with(&[("proxy-connection", "a")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "upgrade",
            get_with(&[("upgrade", "websocket")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "transfer-encoding",
            post(&[("transfer-encoding", "chunked")], b"0\r\n\r\n"),
            Reset(PROTOCOL_ERROR),
        ),
        ("te", get_with(&[("te", "gzip")]), Reset(PROTOCOL_ERROR)),
        (
            "te with trailers",
            get_with(&[("te", "trailers")]),
            Status(200),
        ),
        ("no method", without(":method"), Reset(PROTOCOL_ERROR)),
        ("no scheme", without(":scheme"), Reset(PROTOCOL_ERROR)),
        ("no path", without(":path"), Reset(PROTOCOL_ERROR)),
        ("empty path", changed(":path", ""), Reset(PROTOCOL_ERROR)),
        (
            "relative path",
            changed(":path", "x"),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "path with a blank",
            changed(":path", "/ HTTP/1.1"),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "path with CR and LF",
            changed(":path", "/ HTTP/1.1\r\nx: y"),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "method with a blank",
            changed(":method", "GET / HTTP/1.1"),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "empty method",
            changed(":method", ""),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "authority with a path",
            changed(":authority", "a/b"),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "authority with LF",
            changed(":authority", "a\r\nx: y"),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "scheme with a path",
            changed(":scheme", "http://b/c?"),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "two methods",
            get_with(&[(":method", "GET")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "two paths",
            get_with(&[(":path", "/")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "unknown pseudo-header",
            get_with(&[(":odd", "b")]),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "status",
            get_with(&[(":status", "200")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "late pseudo-header",
            head(1, END_STREAM, &[GET[0], GET[1], GET[2], ("x", "b"), GET[3]]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "protocol without CONNECT",
            get_with(&[(":protocol", "websocket")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "a query without content type",
            changed(":method", "QUERY"),
            Status(400),
        ),
        (
            "host and authority",
            get_with(&[("host", "b")]),
            Status(200),
        ),
        (
            "two hosts",
            head(
                1,
                END_STREAM,
                &[GET[0], GET[1], GET[3], ("host", "a"), ("host", "b")],
            ),
            Status(400),
        ),
        (
            "CONNECT",
            head(
                1,
                END_STREAM,
                &[(":method", "CONNECT"), (":authority", "a:80")],
            ),
            Status(404),
        ),
    ]
}

fn bodies() -> Vec<(&'static str, Vec<u8>, Told)> {
    vec![
        (
            "the announced length",
            post(&[("content-length", "5")], b"hello"),
            Status(200),
        ),
        (
            "less than announced",
            post(&[("content-length", "6")], b"hello"),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "more than announced",
            post(&[("content-length", "4")], b"hello"),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "nothing of what was announced",
            get_with(&[("content-length", "5")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "no number",
            post(&[("content-length", "five")], b"hello"),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "a sign",
            post(&[("content-length", "+5")], b"hello"),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "a list",
            post(&[("content-length", "5, 5")], b"hello"),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "two lengths",
            post(
                &[("content-length", "5"), ("content-length", "6")],
                b"hello",
            ),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "two equal lengths",
            post(
                &[("content-length", "5"), ("content-length", "5")],
                b"hello",
            ),
            Status(400),
        ),
        // The h2 crate drops it.
        (
            "pseudo-header in trailers",
            with_trailers(&[(":path", "/")]),
            Status(200),
        ),
        (
            "connection in trailers",
            with_trailers(&[("connection", "x")]),
            Reset(PROTOCOL_ERROR),
        ),
        (
            "trailers that do not end",
            [head(1, 0, &GET), head(1, 0, &[("x", "b")])].concat(),
            Reset(PROTOCOL_ERROR),
        ),
    ]
}

/// With a filter that takes bodies of 10 bytes.
fn buffered() -> Vec<(&'static str, Vec<u8>, Told)> {
    let announced = ("content-length", "11");
    vec![
        ("the limit", post(&[], b"0123456789"), Status(200)),
        (
            "the limit and trailers",
            [
                head(1, 0, &GET),
                frame(DATA, 0, 1, b"0123456789"),
                head(1, END_STREAM, &[("x", "b")]),
            ]
            .concat(),
            Status(200),
        ),
        ("one frame", post(&[], b"0123456789a"), Status(413)),
        ("announced", post(&[announced], b"0123456789a"), Status(413)),
        (
            "announced, before anything of it comes",
            head(1, 0, &[&GET[..], &[announced]].concat()),
            Status(413),
        ),
        (
            "two frames, before its end",
            [
                head(1, 0, &GET),
                frame(DATA, 0, 1, b"0123456789"),
                frame(DATA, 0, 1, b"a"),
            ]
            .concat(),
            Status(413),
        ),
    ]
}

fn frames_of_connections() -> Vec<(&'static str, Vec<u8>, Told)> {
    let request = get_with(&[]);
    let opened = head(1, 0, &GET);
    vec![
        (
            "smaller stream id",
            [head(3, END_STREAM, &GET), request.clone()].concat(),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "even stream id",
            head(2, END_STREAM, &GET),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "data of stream 0",
            frame(DATA, 0, 0, b"x"),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "data of an idle stream",
            frame(DATA, 0, 1, b"x"),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "data of a half-closed stream",
            [request.clone(), frame(DATA, 0, 1, b"x")].concat(),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "a frame between the parts of a head",
            [
                frame(HEADERS, 0, 1, &block(&GET)),
                frame(PING, 0, 0, &[0; 8]),
            ]
            .concat(),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "broken HPACK",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 20]),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "a field of an empty table",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xc0]),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "a table larger than ours",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[&[0x3f, 0xe2, 0x1f], &block(&GET)[..]].concat(),
            ),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "an increment of 0",
            [opened.clone(), frame(frames::WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            Goodbye(PROTOCOL_ERROR),
        ),
        (
            "too large a window",
            [
                opened,
                frame(frames::WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]),
            ]
            .concat(),
            Reset(3),
        ),
        (
            "too long a frame",
            frame(DATA, 0, 1, &[0; 17000]),
            Goodbye(6),
        ),
    ]
}

fn mesh(config: proto::HttpConnectionManager) -> Mesh {
    let clusters = vec![static_cluster("web", &["10.0.0.1:80"])];
    Mesh::with_clusters(config, clusters, |_, _| Answer::Send(OK))
}

/// Reads until the proxy is silent; whether it closed, too.
async fn listen(client: &mut DuplexStream, read: &mut Vec<u8>) -> bool {
    loop {
        match timeout(Duration::from_millis(200), client.read_buf(read)).await {
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(_)) => {}
            Err(_) => return false,
        }
    }
}

fn told(stream: u32, received: &[Received]) -> Option<Told> {
    let mut answers = received.iter().filter_map(|frame| match frame.kind {
        RST_STREAM if frame.stream == stream => frame.code().map(Reset),
        GOAWAY if frame.code() != Some(0) => frame.code().map(Goodbye),
        HEADERS if frame.stream == stream => Some(Status(status(&frame.payload))),
        _ => None,
    });
    answers.next()
}

/// The status behind updates of the table's size: of the static table (RFC 7541 appendix A), or three digits in
/// Huffman code.
fn status(block: &[u8]) -> u16 {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    const LITERAL: [u8; 2] = [0x48, 0x83];
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20);
    match &block[start.unwrap_or_default()..] {
        [first @ 0x88..=0x8e, ..] => STATIC[usize::from(first - 0x88)],
        [first, length, a, b, c, ..] if [*first, *length] == LITERAL => digits([*a, *b, *c]),
        other => panic!("no status: {other:x?}"),
    }
}

/// RFC 7541 appendix B: five bits for 0 to 2, six for the others.
fn digits(code: [u8; 3]) -> u16 {
    let [a, b, c] = code.map(u32::from);
    let mut bits = (a << 24) | (b << 16) | (c << 8);
    let mut number = 0;
    for _ in 0..3 {
        let (digit, length) = match bits >> 27 {
            digit @ 0..=2 => (digit, 5),
            _ => ((bits >> 26) - 0x19 + 3, 6),
        };
        number = number * 10 + u16::try_from(digit).expect("a digit");
        bits <<= length;
    }
    number
}

/// Each row in plaintext and with mutual TLS.
async fn check(config: proto::HttpConnectionManager, table: Vec<(&str, Vec<u8>, Told)>) {
    let client = "spiffe://cluster.local/ns/shop/sa/client";
    let server = "spiffe://cluster.local/ns/shop/sa/web";
    check_on(&config, &table, || connection(TrafficDirection::Inbound)).await;
    check_on(&config, &table, || {
        mutual_tls(TrafficDirection::Inbound, client, server)
    })
    .await;
}

async fn check_on(
    config: &proto::HttpConnectionManager,
    table: &[(&str, Vec<u8>, Told)],
    info: impl Fn() -> ConnectionInfo,
) {
    let mut wrong = Vec::new();
    for &(name, ref bytes, expected) in table {
        let mesh = mesh(config.clone());
        let mut client = mesh.connect(info());
        let all = [&frames::preface(), &bytes[..]].concat();
        client.write_all(&all).await.expect("room");
        let mut read = Vec::new();
        let closed = listen(&mut client, &mut read).await;
        let seen = mesh.seen();
        let outcome = told(1, &frames::parse(&read));
        let served = seen.len();
        let goes_on = !closed && {
            client
                .write_all(&head(5, END_STREAM, &GET))
                .await
                .expect("room");
            listen(&mut client, &mut read).await;
            told(5, &frames::parse(&read)) == Some(Status(200))
        };
        let wanted = (Some(expected), !matches!(expected, Goodbye(_)));
        let forwards = matches!(expected, Status(200));
        let may_forward = forwards || name.contains("closed stream") || name.contains("smaller");
        if (outcome, goes_on) != wanted || (served > 0 && !may_forward) || (forwards && served != 1)
        {
            wrong.push(format!("{name}: {outcome:?}, closed {closed}, goes on {goes_on}, {seen:?}; not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn malformed_heads() {
    local(check(manager(to(forward("web"))), heads())).await;
}

#[tokio::test(start_paused = true)]
async fn lengths_and_trailers() {
    local(check(manager(to(forward("web"))), bodies())).await;
}

#[tokio::test(start_paused = true)]
async fn bodies_over_the_buffer() {
    local(check(buffering(to(forward("web")), 10), buffered())).await;
}

#[tokio::test(start_paused = true)]
async fn frames_out_of_place() {
    let config = manager(to(forward("web")));
    local(check(config, frames_of_connections())).await;
}

/// Writes as long as the proxy takes it, without reading more than there is at once; what was taken and what was read.
async fn flood(client: &mut DuplexStream, bytes: &[u8], reads: bool) -> (usize, Vec<Received>) {
    let mut read = Vec::new();
    let mut taken = 0;
    for piece in bytes.chunks(16 * 1024) {
        match timeout(Duration::from_secs(1), client.write_all(piece)).await {
            Ok(Ok(())) => taken += piece.len(),
            _ => break,
        }
        if reads && listen(client, &mut read).await {
            break;
        }
    }
    if reads {
        listen(client, &mut read).await;
    }
    (taken, frames::parse(&read))
}

/// The code with which a connection was ended.
fn goodbye(received: &[Received]) -> Option<u32> {
    let goodbye = received.iter().find(|frame| frame.kind == GOAWAY);
    goodbye.and_then(Received::code)
}

#[tokio::test(start_paused = true)]
async fn heads_have_a_size() {
    local(async {
        let many = |count: usize, name: &str| {
            let crumbs = vec![(name, "b"); count];
            head(1, END_STREAM, &[&GET[..], &crumbs].concat())
        };
        // One large entry of the dynamic table, then references to it of a byte each.
        let mut bomb = block(&GET);
        bomb.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
        bomb.extend([b'b'; 4000]);
        bomb.extend([0xbe; 8000]);
        let bomb = frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
        for (name, bytes) in [
            ("fields", many(101, "x")),
            ("cookies", many(101, "cookie")),
            ("table", bomb),
        ] {
            let mesh = mesh(manager(to(forward("web"))));
            let mut client = mesh.connect(connection(TrafficDirection::Inbound));
            let all = [frames::preface(), bytes].concat();
            let (_, received) = flood(&mut client, &all, true).await;
            let told = told(1, &received);
            let refused = told.is_some_and(|told| told != Status(200));
            assert!(refused && mesh.seen().is_empty(), "{name}: {told:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn endless_continuation_ends_the_connection() {
    local(async {
        let mesh = mesh(manager(to(forward("web"))));
        let mut client = mesh.connect(connection(TrafficDirection::Inbound));
        let mut all = [frames::preface(), frame(HEADERS, 0, 1, &block(&GET))].concat();
        for _ in 0..100_000 {
            all.extend(frame(CONTINUATION, 0, 1, &[]));
        }
        let (taken, received) = flood(&mut client, &all, true).await;
        assert_eq!(goodbye(&received), Some(ENHANCE_YOUR_CALM));
        assert!(taken < all.len() / 2, "{taken}");
    })
    .await;
}

fn seconds(seconds: i64) -> protobuf::Duration {
    protobuf::Duration { seconds, nanos: 0 }
}

/// A head that does not come to its end, in whatever way, ends the connection when the time for heads is up.
#[tokio::test(start_paused = true)]
async fn slow_heads_end_the_connection() {
    let begun = || frame(HEADERS, 0, 1, &block(&GET));
    let short = head(1, END_STREAM, &GET);
    let drips: [(&str, Vec<u8>, Vec<u8>); 3] = [
        ("silence", begun(), Vec::new()),
        ("continuations", begun(), frame(CONTINUATION, 0, 1, &[])),
        (
            "bytes of a frame",
            short[..10].to_vec(),
            short[10..11].to_vec(),
        ),
    ];
    for (name, first, drip) in drips {
        for limited in [false, true] {
            local(async {
                let mesh = mesh(proto::HttpConnectionManager {
                    request_headers_timeout: limited.then(|| seconds(10)),
                    stream_idle_timeout: Some(seconds(0)),
                    ..manager(to(forward("web")))
                });
                let mut client = mesh.connect(connection(TrafficDirection::Inbound));
                client.write_all(&frames::preface()).await.expect("room");
                client.write_all(&first).await.expect("room");
                let begin = tokio::time::Instant::now();
                let mut read = Vec::new();
                while begin.elapsed() < Duration::from_secs(15) {
                    let _ = client.write_all(&drip).await;
                    if listen(&mut client, &mut read).await {
                        break;
                    }
                    // The h2 crate allows few continuations, whenever they come.
                    tokio::time::sleep(Duration::from_secs(4)).await;
                }
                assert!(begin.elapsed() > Duration::from_secs(10), "{name}");
                let code = goodbye(&frames::parse(&read));
                assert_eq!(code, limited.then_some(ENHANCE_YOUR_CALM), "{name}");
            })
            .await;
        }
    }
}

/// The time for heads is over before a second request, and begins anew with it.
#[tokio::test(start_paused = true)]
async fn heads_in_time_are_served_however_long_the_connection_lasts() {
    local(async {
        let mesh = mesh(proto::HttpConnectionManager {
            request_headers_timeout: Some(seconds(10)),
            ..manager(to(forward("web")))
        });
        let mut client = mesh.connect(connection(TrafficDirection::Inbound));
        client.write_all(&frames::preface()).await.expect("room");
        let mut read = Vec::new();
        for stream in [1, 3, 5] {
            let request = head(stream, END_STREAM, &GET);
            let (first, rest) = request.split_at(12);
            client.write_all(first).await.expect("room");
            tokio::time::sleep(Duration::from_secs(8)).await;
            client.write_all(rest).await.expect("room");
            assert!(!listen(&mut client, &mut read).await, "{stream} is served");
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        assert_eq!(mesh.seen().len(), 3);
    })
    .await;
}

/// Nobody reads the answers, so that the proxy stops to read, too.
#[tokio::test(start_paused = true)]
async fn frames_that_are_answered_wait_for_their_readers() {
    local(async {
        for one in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[])] {
            let mesh = mesh(manager(to(forward("web"))));
            let mut client = mesh.connect(connection(TrafficDirection::Inbound));
            client.write_all(&frames::preface()).await.expect("room");
            let (taken, _) = flood(&mut client, &one.repeat(100_000), false).await;
            assert!(taken < 300 * 1024, "{taken}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn empty_data_ends_the_connection() {
    local(async {
        let mesh = Mesh::new(manager(to(forward("web"))), |_, _| Answer::Hang);
        let mut client = mesh.connect(connection(TrafficDirection::Inbound));
        let empty = frame(DATA, 0, 1, &[]).repeat(200_000);
        let all = [frames::preface(), head(1, 0, &GET), empty].concat();
        let (taken, received) = flood(&mut client, &all, true).await;
        assert_eq!(goodbye(&received), Some(ENHANCE_YOUR_CALM));
        assert!(taken < all.len(), "{taken}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn rapid_resets_end_the_connection() {
    local(async {
        for pause in [false, true] {
            let mesh = Mesh::new(manager(to(forward("web"))), |_, _| Answer::Hang);
            let mut client = mesh.connect(connection(TrafficDirection::Inbound));
            client.write_all(&frames::preface()).await.expect("room");
            let mut read = Vec::new();
            let mut opened = 0;
            for number in 0..2000_u32 {
                let stream = number * 2 + 1;
                if client
                    .write_all(&head(stream, END_STREAM, &GET))
                    .await
                    .is_err()
                {
                    break;
                }
                if pause {
                    // The request reaches the server behind us.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let reset = frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
                if client.write_all(&reset).await.is_err() {
                    break;
                }
                opened += 1;
            }
            listen(&mut client, &mut read).await;
            let told = goodbye(&frames::parse(&read));
            assert_eq!(told, Some(ENHANCE_YOUR_CALM), "pause {pause}");
            assert!(opened < 1000, "pause {pause}: {opened}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn closed_windows_hold_little_and_not_for_ever() {
    local(async {
        let config = proto::HttpConnectionManager {
            stream_idle_timeout: Some(protobuf::Duration {
                seconds: 5,
                nanos: 0,
            }),
            ..manager(to(forward("web")))
        };
        let mesh = mesh(config);
        let mut client = mesh.connect(connection(TrafficDirection::Inbound));
        // Initial window 0.
        let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let requests = (0..100).flat_map(|number| head(number * 2 + 1, END_STREAM, &GET));
        let all = [frames::preface(), settings, requests.collect()].concat();
        client.write_all(&all).await.expect("room");
        let mut read = Vec::new();
        listen(&mut client, &mut read).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        listen(&mut client, &mut read).await;
        let received = frames::parse(&read);
        let resets = received
            .iter()
            .filter(|frame| frame.kind == RST_STREAM)
            .count();
        assert_eq!(resets, 100);
        assert!(received.iter().all(|frame| frame.kind != DATA));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn answered_streams_take_nothing_more() {
    local(async {
        for (name, late) in [
            ("head", get_with(&[])),
            ("data", frame(DATA, END_STREAM, 1, b"x")),
        ] {
            let mesh = mesh(manager(to(forward("web"))));
            let mut client = mesh.connect(connection(TrafficDirection::Inbound));
            let all = [frames::preface(), get_with(&[])].concat();
            client.write_all(&all).await.expect("room");
            let mut read = Vec::new();
            listen(&mut client, &mut read).await;
            assert_eq!(told(1, &frames::parse(&read)), Some(Status(200)));
            let answered = read.len();
            client.write_all(&late).await.expect("room");
            listen(&mut client, &mut read).await;
            let told = told(1, &frames::parse(&read[answered..]));
            assert!(
                matches!(told, Some(Reset(_) | Goodbye(_))),
                "{name}: {told:?}"
            );
            assert_eq!(mesh.seen().len(), 1, "{name}");
        }
    })
    .await;
}

/// Each change empties a table; none of them is a reason to end a connection, or to keep anything.
#[tokio::test(start_paused = true)]
async fn tables_may_change_their_size_with_every_request() {
    local(async {
        let mesh = mesh(manager(to(forward("web"))));
        let mut client = mesh.connect(connection(TrafficDirection::Inbound));
        client.write_all(&frames::preface()).await.expect("room");
        let mut read = Vec::new();
        for number in 0..200_u32 {
            let size = if number % 2 == 0 { 0 } else { u32::MAX };
            let setting = [&[0, 1][..], &size.to_be_bytes()].concat();
            // To 0, and to 4,096 again.
            let resized = [&[0x20, 0x3f, 0xe1, 0x1f], &block(&GET)[..]].concat();
            let request = frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &resized);
            let both = [frame(SETTINGS, 0, 0, &setting), request].concat();
            client.write_all(&both).await.expect("room");
            assert!(!listen(&mut client, &mut read).await, "{number}");
        }
        let received = frames::parse(&read);
        let count = |kind| received.iter().filter(|frame| frame.kind == kind).count();
        assert_eq!(
            (count(HEADERS), count(RST_STREAM), count(GOAWAY)),
            (200, 0, 0)
        );
        assert_eq!(mesh.seen().len(), 200);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn goodbye_of_the_client_lets_streams_end() {
    local(async {
        let mesh = mesh(manager(to(forward("web"))));
        let mut client = mesh.connect(connection(TrafficDirection::Inbound));
        let goodbye = frame(GOAWAY, 0, 0, &[0; 8]);
        let all = [frames::preface(), get_with(&[]), goodbye].concat();
        client.write_all(&all).await.expect("room");
        let mut read = Vec::new();
        listen(&mut client, &mut read).await;
        assert_eq!(told(1, &frames::parse(&read)), Some(Status(200)));
    })
    .await;
}

/// The farewell does not fit into the buffers of a client that reads nothing.
#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_left_in_the_end() {
    local(async {
        let mesh = mesh(manager(to(forward("web"))));
        let info = connection(TrafficDirection::Inbound);
        let drain = info.drain.clone();
        let mut client = mesh.connect(info);
        client.write_all(&frames::preface()).await.expect("room");
        flood(
            &mut client,
            &frame(PING, 0, 0, &[7; 8]).repeat(100_000),
            false,
        )
        .await;
        drain.start();
        tokio::time::sleep(Duration::from_secs(10)).await;
        let mut rest = Vec::new();
        assert!(listen(&mut client, &mut rest).await);
    })
    .await;
}
