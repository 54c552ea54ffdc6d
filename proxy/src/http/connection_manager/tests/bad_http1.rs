//! What HTTP/1 clients must not send, and what of it is served nevertheless.
//!
//! Statuses are those of Envoy 1.40 with default settings, but for bare LF, folded lines, a lone CR and two hosts,
//! which Envoy serves and we refuse, because two parsers may read them differently.

use super::{
    Answer, Mesh, OK, buffering, connection, forward, local, manager, mutual_tls, proto,
    static_cluster, to,
};
use crate::conn::ConnectionInfo;
use crate::resource::listener::TrafficDirection;

/// What a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// Served; the connection takes the next request.
    Kept,
    /// The connection ends after the answer.
    Closed,
}

use Ends::{Closed, Kept};

/// Bytes, status of the first answer, what becomes of the connection, requests that the server behind us sees.
type Row<'a> = (&'a str, u16, Ends, usize);

/// A head with these lines behind the request line and `Host`.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

const HELLO: &str = "5\r\nhello\r\n0\r\n\r\n";

fn lengths() -> Vec<(String, u16, Ends, usize)> {
    let both = "Transfer-Encoding: chunked\r\n";
    let refused = |lines: &str, status| (post(lines, HELLO), status, Closed, 0);
    vec![
        refused(&format!("Content-Length: 15\r\n{both}"), 400),
        refused(&format!("{both}Content-Length: 15\r\n"), 400),
        refused("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        refused("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        refused("Content-Length: 5, 5\r\n", 400),
        refused("Content-Length: +5\r\n", 400),
        refused("Content-Length: -1\r\n", 400),
        refused("Content-Length: 0x5\r\n", 400),
        refused("Content-Length: 5 5\r\n", 400),
        refused("Content-Length:\r\n", 400),
        refused("Content-Length: 18446744073709551621\r\n", 400),
        refused("Transfer-Encoding: gzip, chunked\r\n", 501),
        refused("Transfer-Encoding: chunked, identity\r\n", 501),
        refused("Transfer-Encoding: xchunked\r\n", 501),
        refused(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            501,
        ),
        refused("Transfer-Encoding:\r\n", 501),
        refused("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", 400),
        (post("Transfer-Encoding: Chunked\r\n", HELLO), 200, Kept, 1),
        (post("Content-Length: 5\r\n", "hello"), 200, Kept, 1),
    ]
}

fn lines() -> Vec<(String, u16, Ends, usize)> {
    let refused = |text: &str, status| (text.to_owned(), status, Closed, 0);
    let served = |text: String| (text, 200, Kept, 1);
    vec![
        refused("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 426),
        refused("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400),
        refused("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 400),
        refused("GET /\r\n\r\n", 400),
        refused("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        refused("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        refused("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        refused("FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        refused("get / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        refused("QUERY / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        refused("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        refused("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
        refused("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        refused("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        refused(&get("X: b\r\n c\r\n"), 400),
        refused(&get("X: b\rc\r\n"), 400),
        refused(&get("X: b\r\r\n"), 400),
        refused(&get("X : b\r\n"), 400),
        refused(&get(" X: b\r\n"), 400),
        refused(&get("X: b\0c\r\n"), 400),
        refused(&get("X\0: b\r\n"), 400),
        refused(&get("X(: b\r\n"), 400),
        refused(&get(": b\r\n"), 400),
        refused(&get("X\r\n"), 400),
        refused(&get("Host: b\r\n"), 400),
        refused("GET / HTTP/1.1\r\n\r\n", 400),
        refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        refused("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        refused("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        refused("GET /\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        refused("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        served(get("X: \u{fc}\r\n")),
        served(get("X_Y: b\r\n")),
        served(get("Content-Type: a/b\r\n").replace("GET", "QUERY")),
        served("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n".to_owned()),
        served("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".to_owned()),
        served("GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned()),
        served("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        served("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        served(format!("\r\n\r\n{}", get(""))),
        served(get(
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        )),
        (get("").replace("GET /", "OPTIONS *"), 404, Kept, 0),
        (
            get("Connection: Upgrade\r\nUpgrade: odd\r\n"),
            403,
            Closed,
            0,
        ),
        (
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".to_owned(),
            404,
            Closed,
            0,
        ),
    ]
}

fn sizes() -> Vec<(String, u16, Ends, usize)> {
    let fields = |count: usize| {
        let lines = (0..count).map(|number| format!("X-{number}: b\r\n"));
        lines.collect::<String>()
    };
    let extension = |length: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(length));
    let trailers = |lines: &str| chunked(&format!("5\r\nhello\r\n0\r\n{lines}\r\n"));
    vec![
        // `Host` counts.
        (get(&fields(99)), 200, Kept, 1),
        (get(&fields(100)), 431, Closed, 0),
        (
            get(&format!("X: {}\r\n", "b".repeat(61 * 1024))),
            431,
            Closed,
            0,
        ),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "p".repeat(20 * 1024)),
            200,
            Kept,
            1,
        ),
        (chunked(HELLO), 200, Kept, 1),
        (chunked(&extension(100)), 200, Kept, 1),
        (chunked(&extension(5000)), 400, Closed, 0),
        (chunked("10000000000000000\r\n"), 400, Closed, 0),
        (chunked("-5\r\nhello\r\n0\r\n\r\n"), 400, Closed, 0),
        (chunked("0x5\r\nhello\r\n0\r\n\r\n"), 400, Closed, 0),
        (chunked("\r\nhello\r\n0\r\n\r\n"), 400, Closed, 0),
        (chunked("5\nhello\r\n0\r\n\r\n"), 400, Closed, 0),
        (chunked("5;a\nhello\r\n0\r\n\r\n"), 400, Closed, 0),
        (chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"), 400, Closed, 0),
        (chunked("5\r\nhello\n0\r\n\r\n"), 400, Closed, 0),
        (chunked("5\r\nhelloXX0\r\n\r\n"), 400, Closed, 0),
        (trailers("X: b\r\n"), 200, Kept, 1),
        (trailers("X : b\r\n"), 400, Closed, 0),
        (trailers("X: b\n"), 400, Closed, 0),
        (trailers(&fields(101)), 431, Closed, 0),
        (
            trailers(&format!("X: {}\r\n", "b".repeat(61 * 1024))),
            431,
            Closed,
            0,
        ),
    ]
}

/// With a filter that takes bodies of 10 bytes.
fn buffered() -> Vec<(String, u16, Ends, usize)> {
    let sized = |length: &str, body: &str| post(&format!("Content-Length: {length}\r\n"), body);
    let served = |text: String| (text, 200, Kept, 1);
    let refused = |text: String| (text, 413, Closed, 0);
    vec![
        served(get("")),
        served(sized("0", "")),
        served(sized("10", "0123456789")),
        served(chunked("a\r\n0123456789\r\n0\r\n\r\n")),
        served(chunked("5\r\n01234\r\n5\r\n56789\r\n0\r\nX: b\r\n\r\n")),
        refused(sized("11", "0123456789a")),
        // Known before anything of it comes.
        refused(sized("11", "")),
        refused(sized("18446744073709551615", "")),
        refused(chunked("b\r\n0123456789a\r\n0\r\n\r\n")),
        // Known before its end.
        refused(chunked("5\r\n01234\r\n6\r\n56789a")),
        refused(chunked("fffffff\r\n0123456789a")),
        (chunked("5\r\n01234\r\nzz\r\n"), 400, Closed, 0),
    ]
}

fn mesh(config: proto::HttpConnectionManager) -> Mesh {
    let clusters = vec![static_cluster("web", &["10.0.0.1:80"])];
    Mesh::with_clusters(config, clusters, |_, _| Answer::Send(OK))
}

/// Sends each input, then a plain request on the same connection, and compares.
async fn check(
    config: &proto::HttpConnectionManager,
    rows: &[Row<'_>],
    info: impl Fn() -> ConnectionInfo,
) {
    let mut wrong = Vec::new();
    for &(input, status, ends, seen) in rows {
        let mesh = mesh(config.clone());
        let mut client = mesh.connect(info());
        let first = super::exchange(&mut client, input).await;
        let reached = mesh.seen().len();
        let next = match ends {
            Kept => super::exchange(&mut client, &get("")).await,
            Closed => String::new(),
        };
        let outcome = (
            super::status(&first).to_owned(),
            first.contains("connection: close\r\n"),
            reached,
            super::status(&next).to_owned(),
        );
        let after = if ends == Kept { "200" } else { "" };
        let expected = (status.to_string(), ends == Closed, seen, after.to_owned());
        if outcome != expected {
            let input: String = input.chars().take(200).collect();
            wrong.push(format!("{input:?}: {outcome:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn check_all(config: proto::HttpConnectionManager, table: Vec<(String, u16, Ends, usize)>) {
    let rows: Vec<Row<'_>> = table
        .iter()
        .map(|(input, status, ends, seen)| (input.as_str(), *status, *ends, *seen))
        .collect();
    let client = "spiffe://cluster.local/ns/shop/sa/client";
    let server = "spiffe://cluster.local/ns/shop/sa/web";
    local(async {
        check(&config, &rows, || connection(TrafficDirection::Outbound)).await;
        check(&config, &rows, || {
            mutual_tls(TrafficDirection::Inbound, client, server)
        })
        .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn framing() {
    check_all(manager(to(forward("web"))), lengths()).await;
}

#[tokio::test(start_paused = true)]
async fn lines_and_targets() {
    check_all(manager(to(forward("web"))), lines()).await;
}

#[tokio::test(start_paused = true)]
async fn limits_and_chunks() {
    check_all(manager(to(forward("web"))), sizes()).await;
}

#[tokio::test(start_paused = true)]
async fn bodies_over_the_buffer() {
    check_all(buffering(to(forward("web")), 10), buffered()).await;
}

#[tokio::test(start_paused = true)]
async fn unknown_methods_where_they_are_allowed() {
    let config = proto::HttpConnectionManager {
        http_protocol_options: Some(super::core::Http1ProtocolOptions {
            allow_custom_methods: true,
            ..Default::default()
        }),
        ..manager(to(forward("web")))
    };
    let method = |name: &str, status, ends, seen| {
        let text = get("").replace("GET", name);
        (text, status, ends, seen)
    };
    let table = vec![
        method("FOO", 200, Kept, 1),
        method("get", 200, Kept, 1),
        method("X-!#$%&'*+.^_`|~9", 200, Kept, 1),
        method("F@O", 400, Closed, 0),
        method("F\0O", 400, Closed, 0),
        method("F\u{fc}", 400, Closed, 0),
    ];
    check_all(config, table).await;
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_order() {
    local(async {
        let mesh = Mesh::new(manager(to(forward("web"))), |_, request| {
            Answer::Send(match request {
                first if first.contains(" /1 ") => {
                    "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"
                }
                _ => "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
            })
        });
        let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = mesh
            .ask(&format!(
                "{}{}{}",
                request("/1"),
                request("/2"),
                request("/1")
            ))
            .await;
        let statuses: Vec<_> = answer
            .lines()
            .filter_map(|line| line.strip_prefix("HTTP/1.1 "))
            .collect();
        assert_eq!(statuses, ["201 Created", "202 Accepted", "201 Created"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_breaks_a_body_is_no_request() {
    local(async {
        let mesh = mesh(manager(to(forward("web"))));
        let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = mesh.ask(&chunked(&format!("5\r\nhello{hidden}"))).await;
        assert_eq!(super::status(&answer), "400");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(mesh.seen().is_empty(), "{:?}", mesh.seen());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_what_was_refused() {
    local(async {
        let mesh = mesh(manager(to(forward("web"))));
        let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
        for (input, _, ends, _) in lengths().into_iter().chain(lines()).chain(sizes()) {
            if ends == Closed {
                mesh.ask(&format!("{input}{hidden}")).await;
            }
        }
        assert!(mesh.seen().is_empty(), "{:?}", mesh.seen());
    })
    .await;
}

/// With the tail of a request missing, the server behind us waits with us; nobody is told that it was complete.
#[tokio::test(start_paused = true)]
async fn requests_that_arrive_in_single_bytes_are_served_once() {
    local(async {
        use tokio::io::AsyncWriteExt;
        let mesh = mesh(manager(to(forward("web"))));
        let mut client = mesh.connect(connection(TrafficDirection::Outbound));
        let request = chunked(HELLO);
        let (last, first) = request.as_bytes().split_last().expect("not empty");
        for byte in first {
            client.write_all(&[*byte]).await.expect("room");
            tokio::task::yield_now().await;
        }
        assert!(mesh.seen().is_empty());
        let last = String::from_utf8(vec![*last]).expect("ASCII");
        let answer = super::exchange(&mut client, &last).await;
        assert_eq!(super::status(&answer), "200");
        assert_eq!(mesh.seen().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn gateways_refuse_odd_authorities() {
    local(async {
        let config = proto::HttpConnectionManager {
            use_remote_address: Some(super::protobuf::BoolValue { value: true }),
            ..manager(to(forward("web")))
        };
        let mesh = mesh(config);
        for host in ["u@a", "a:99999", "a:x"] {
            let answer = mesh
                .ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
                .await;
            assert_eq!(super::status(&answer), "400", "{host}");
        }
        assert!(mesh.seen().is_empty());
    })
    .await;
}
