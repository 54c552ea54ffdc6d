mod lenient;

use std::future::poll_fn;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{ClientConnection, H1Settings, ServerConnection, StreamError, Underscores};
use crate::http::codec::BodyEvent;
use crate::http::header_name::Known;
use crate::http::message::{BodyLength, Method, RequestHead, ResponseHead};

type Server = ServerConnection<DuplexStream>;

fn settings(change: impl FnOnce(&mut H1Settings)) -> Arc<H1Settings> {
    let mut settings = H1Settings {
        upgrades: vec!["websocket".into()],
        ..H1Settings::default()
    };
    change(&mut settings);
    Arc::new(settings)
}

/// A server that will see `input` and then the end of the stream, and the client's end of the wire.
async fn server(input: &[u8], settings: Arc<H1Settings>) -> (Server, DuplexStream) {
    let (near, mut far) = tokio::io::duplex(256 * 1024);
    far.write_all(input).await.expect("fits the pipe");
    far.shutdown().await.expect("memory shuts down");
    (ServerConnection::new(near, settings), far)
}

async fn next_head(server: &mut Server) -> Result<Option<RequestHead>, StreamError> {
    let mut head = RequestHead::default();
    let found = poll_fn(|cx| server.poll_head(cx, &mut head)).await?;
    Ok(found.then_some(head))
}

async fn body(server: &mut Server) -> Result<Vec<u8>, StreamError> {
    let mut all = Vec::new();
    while let BodyEvent::Data { .. } = poll_fn(|cx| server.poll_body(cx)).await? {
        let piece = server.piece().to_vec();
        server.consume(piece.len());
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

/// The status with which a request is refused, or 200; the body is read too.
async fn verdict_with(input: &[u8], settings: Arc<H1Settings>) -> u16 {
    let (mut server, _client) = server(input, settings).await;
    let outcome = async {
        next_head(&mut server).await?;
        body(&mut server).await
    };
    match outcome.await {
        Ok(_) => 200,
        Err(StreamError::Protocol(error)) => error.status,
        Err(error) => panic!("{error} for {:?}", String::from_utf8_lossy(input)),
    }
}

async fn verdict(input: &[u8]) -> u16 {
    verdict_with(input, settings(|_| {})).await
}

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[tokio::test]
async fn framing_table() {
    let cases = [
        (
            "both framings",
            post(
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            400,
        ),
        (
            "both, other order",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
                "0\r\n\r\n",
            ),
            400,
        ),
        (
            "lengths 5 and 6",
            post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
            400,
        ),
        (
            "lengths 5 and 5",
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            400,
        ),
        (
            "length list",
            post("Content-Length: 5, 5\r\n", "hello"),
            400,
        ),
        (
            "length with plus",
            post("Content-Length: +5\r\n", "hello"),
            400,
        ),
        ("negative length", post("Content-Length: -1\r\n", ""), 400),
        ("empty length", post("Content-Length:\r\n", ""), 400),
        ("hex length", post("Content-Length: 0x5\r\n", "hello"), 400),
        (
            "length beyond 64 bit",
            post("Content-Length: 99999999999999999999999\r\n", ""),
            400,
        ),
        ("a good length", post("Content-Length: 5\r\n", "hello"), 200),
        (
            "gzip, chunked",
            post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            501,
        ),
        (
            "chunked, identity",
            post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
            501,
        ),
        (
            "xchunked",
            post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
            501,
        ),
        (
            "chunked twice",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            501,
        ),
        (
            "identity and length",
            post(
                "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
                "hello",
            ),
            400,
        ),
        (
            "upper-case chunked",
            post("Transfer-Encoding: Chunked\r\n", "0\r\n\r\n"),
            200,
        ),
        (
            "chunked",
            post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            200,
        ),
        (
            "chunk size overflow",
            post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff1\r\n"),
            400,
        ),
        (
            "chunk size not hex",
            post("Transfer-Encoding: chunked\r\n", "g\r\n"),
            400,
        ),
        (
            "chunk size empty",
            post("Transfer-Encoding: chunked\r\n", "\r\n"),
            400,
        ),
        (
            "chunk size negative",
            post("Transfer-Encoding: chunked\r\n", "-1\r\n"),
            400,
        ),
        (
            "chunk size with LF",
            post("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n"),
            400,
        ),
        (
            "chunk data with LF",
            post("Transfer-Encoding: chunked\r\n", "5\r\nhello\n0\r\n\r\n"),
            400,
        ),
        (
            "last chunk with LF",
            post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\n\n"),
            400,
        ),
        (
            "chunk longer than said",
            post("Transfer-Encoding: chunked\r\n", "5\r\nhellox\r\n0\r\n\r\n"),
            400,
        ),
        (
            "chunk extension",
            post(
                "Transfer-Encoding: chunked\r\n",
                "5;name=value\r\nhello\r\n0\r\n\r\n",
            ),
            200,
        ),
        (
            "endless extension",
            post(
                "Transfer-Encoding: chunked\r\n",
                &format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(5000)),
            ),
            400,
        ),
        (
            "trailers",
            post("Transfer-Encoding: chunked\r\n", "0\r\nx: y\r\n\r\n"),
            200,
        ),
        (
            "trailer with LF",
            post("Transfer-Encoding: chunked\r\n", "0\r\nx: y\n\r\n"),
            400,
        ),
        (
            "too many trailers",
            post(
                "Transfer-Encoding: chunked\r\n",
                &format!("0\r\n{}\r\n", "x: y\r\n".repeat(101)),
            ),
            431,
        ),
        (
            "trailers too large",
            post(
                "Transfer-Encoding: chunked\r\n",
                &format!("0\r\nx: {}\r\n\r\n", "y".repeat(62 * 1024)),
            ),
            431,
        ),
    ];
    for (name, input, expected) in cases {
        assert_eq!(verdict(input.as_bytes()).await, expected, "{name}");
    }
}

#[tokio::test]
async fn head_table() {
    let cases: &[(&str, &[u8], u16)] = &[
        ("version 1.0", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 426),
        ("version 1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400),
        ("version 0.9", b"GET /\r\n\r\n", 400),
        ("lower-case version", b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("bare LF lines", b"GET / HTTP/1.1\nHost: a\n\n", 400),
        ("one bare LF", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
        ("bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("bare LF at the end", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("folded line", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400),
        ("lone CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n", 400),
        ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("space before colon", b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n", 400),
        ("bad name token", b"GET / HTTP/1.1\r\nHost: a\r\nX(: y\r\n\r\n", 400),
        ("no host", b"GET / HTTP/1.1\r\n\r\n", 400),
        ("unknown method", b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("lower-case method", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("8-bit value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe9\r\n\r\n", 200),
        ("underscore name", b"GET / HTTP/1.1\r\nHost: a\r\nX_y: z\r\n\r\n", 200),
        ("port beyond range", b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 200),
        ("user information", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 200),
        ("empty host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 200),
        ("host with a slash", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("no leading slash", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("space in target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("DEL in target", b"GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("8-bit target", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("asterisk with GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("asterisk with OPTIONS", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("other scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("empty line first", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("bare LF first", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("h2c upgrade", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", 200),
        ("chunked on CONNECT", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ];
    for (name, input, expected) in cases {
        assert_eq!(verdict(input).await, *expected, "{name}");
    }
}

#[tokio::test]
async fn size_table() {
    let headers = |count: usize| get(&"x: y\r\n".repeat(count));
    assert_eq!(verdict(headers(99).as_bytes()).await, 200);
    assert_eq!(verdict(headers(100).as_bytes()).await, 431);
    let large = get(&format!("x: {}\r\n", "y".repeat(61 * 1024)));
    assert_eq!(verdict(large.as_bytes()).await, 431);
    let url = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "u".repeat(20 * 1024));
    assert_eq!(verdict(url.as_bytes()).await, 200);
    // Without an end of line there is nothing to parse, and still a limit.
    assert_eq!(verdict(&vec![b'G'; 70 * 1024]).await, 431);
}

#[tokio::test]
async fn settings_change_verdicts() {
    let old = b"GET / HTTP/1.0\r\n\r\n";
    let with_default = settings(|s| {
        s.accept_http_10 = true;
        s.default_host_for_http_10 = Some("d".into());
    });
    assert_eq!(verdict_with(old, with_default).await, 200);
    let without = settings(|s| s.accept_http_10 = true);
    assert_eq!(verdict_with(old, without).await, 400);
    let old_chunked = b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let accepting = settings(|s| s.accept_http_10 = true);
    assert_eq!(verdict_with(old_chunked, accepting).await, 400);
    let edge = || settings(|s| s.edge = true);
    for host in ["u@a", "a:99999", "a:b"] {
        let input = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(verdict_with(input.as_bytes(), edge()).await, 400, "{host}");
    }
    for host in ["a:80", "[::1]", "[::1]:80", "::1"] {
        let input = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(verdict_with(input.as_bytes(), edge()).await, 200, "{host}");
    }
    let reject = settings(|s| s.underscores = Underscores::Reject);
    assert_eq!(
        verdict_with(get("x_y: z\r\n").as_bytes(), reject).await,
        400
    );
    let custom = settings(|s| s.allow_custom_methods = true);
    assert_eq!(
        verdict_with(b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", custom).await,
        200
    );
    let both = post(
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
    );
    let lenient = settings(|s| s.allow_chunked_length = true);
    assert_eq!(verdict_with(both.as_bytes(), lenient).await, 200);
}

#[tokio::test]
async fn absolute_form_wins_over_host() {
    let input = b"GET http://b:8080/x?y HTTP/1.1\r\nHost: a\r\n\r\nGET http://c HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut server, _client) = server(input, settings(|_| {})).await;
    let head = next_head(&mut server).await.expect("valid").expect("one");
    assert_eq!((head.authority(), head.path()), ("b:8080", "/x?y"));
    let head = next_head(&mut server).await.expect("valid").expect("two");
    assert_eq!((head.authority(), head.path()), ("c", "/"));
}

#[tokio::test]
async fn pipelined_requests_come_in_order_one_byte_at_a_time() {
    let input = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x\r\nf\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n";
    let (near, mut far) = tokio::io::duplex(1);
    let feed = async move {
        far.write_all(input).await.expect("read by the server");
        far.shutdown().await.expect("memory shuts down");
        far
    };
    let read = async {
        let mut server = ServerConnection::new(near, settings(|_| {}));
        let mut seen = Vec::new();
        while let Some(head) = next_head(&mut server).await.expect("valid") {
            let body = body(&mut server).await.expect("valid");
            seen.push((
                head.path().to_owned(),
                String::from_utf8(body).expect("text"),
            ));
        }
        seen
    };
    let (_client, seen) = tokio::join!(feed, read);
    let pair = |path: &str, body: &str| (path.to_owned(), body.to_owned());
    assert_eq!(seen, [pair("/1", "abc"), pair("/2", "def"), pair("/3", "")]);
}

#[tokio::test]
async fn names_are_lowered_unless_case_is_preserved() {
    let input = get("X-ABC: 1\r\nAccept: a\r\n");
    for (keep, expected) in [
        (false, "x-abc: 1\r\naccept: a\r\n"),
        (true, "X-ABC: 1\r\nAccept: a\r\n"),
    ] {
        let (mut server, _client) =
            server(input.as_bytes(), settings(|s| s.preserve_case = keep)).await;
        let head = next_head(&mut server).await.expect("valid").expect("one");
        let mut out = Vec::new();
        head.headers.write_to(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

#[tokio::test]
async fn trailers_pass_when_enabled_and_lose_what_frames() {
    let input = post(
        "Transfer-Encoding: chunked\r\n",
        "0\r\nGrpc-Status: 0\r\nContent-Length: 9\r\n\r\n",
    );
    let (mut server, _client) =
        server(input.as_bytes(), settings(|s| s.enable_trailers = true)).await;
    next_head(&mut server).await.expect("valid");
    assert!(body(&mut server).await.expect("valid").is_empty());
    let trailers = server.take_trailers().expect("enabled");
    assert_eq!(trailers.get(Known::GrpcStatus), Some(&b"0"[..]));
    assert_eq!(trailers.len(), 1);
}

async fn answered(input: &str, answer: impl FnOnce(&mut Server)) -> String {
    let (mut server, mut client) = server(
        input.as_bytes(),
        settings(|s| {
            s.accept_http_10 = true;
            s.enable_trailers = true;
        }),
    )
    .await;
    next_head(&mut server).await.expect("valid");
    body(&mut server).await.expect("valid");
    answer(&mut server);
    poll_fn(|cx| server.poll_flush(cx)).await.expect("room");
    let closing = server.is_closing();
    drop(server);
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("text");
    format!("{text}[{}]", if closing { "close" } else { "keep" })
}

fn respond(head: ResponseHead, body: &'static [u8]) -> impl FnOnce(&mut Server) {
    move |server| {
        server.send_head(&head);
        if !body.is_empty() {
            let waker = futures::task::noop_waker();
            let sent = server.poll_send(&mut std::task::Context::from_waker(&waker), body);
            assert!(matches!(sent, std::task::Poll::Ready(Ok(_))));
        }
        server.finish(None);
    }
}

fn head(status: u16, body: BodyLength) -> ResponseHead {
    ResponseHead {
        body,
        ..ResponseHead::new(status)
    }
}

#[tokio::test]
async fn responses_are_framed_for_their_request() {
    let http11 = get("");
    let http10 = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";
    let http10_keep = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    let of_head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let cases = [
        (
            &*http11,
            head(200, BodyLength::Exactly(2)),
            &b"hi"[..],
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi[keep]",
        ),
        (
            &*http11,
            head(200, BodyLength::Unknown),
            b"hi",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n[keep]",
        ),
        (
            &*http11,
            head(404, BodyLength::Empty),
            b"",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n[keep]",
        ),
        (
            &*http11,
            head(204, BodyLength::Empty),
            b"",
            "HTTP/1.1 204 No Content\r\n\r\n[keep]",
        ),
        (
            &*http11,
            head(304, BodyLength::Exactly(5)),
            b"",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n[keep]",
        ),
        (
            &*http11,
            head(200, BodyLength::Exactly(5)),
            b"hi",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi[close]",
        ),
        (
            of_head,
            head(200, BodyLength::Exactly(5)),
            b"",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n[keep]",
        ),
        (
            of_head,
            head(404, BodyLength::Empty),
            b"",
            "HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n[keep]",
        ),
        (
            http10,
            head(200, BodyLength::Unknown),
            b"hi",
            "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nhi[close]",
        ),
        (
            http10,
            head(200, BodyLength::Exactly(2)),
            b"hi",
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi[close]",
        ),
        (
            http10_keep,
            head(200, BodyLength::Exactly(2)),
            b"hi",
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nhi[keep]",
        ),
    ];
    for (input, head, body, expected) in cases {
        assert_eq!(answered(input, respond(head, body)).await, expected);
    }
}

#[tokio::test]
async fn a_client_that_leaves_early_is_an_error() {
    let input = post("Content-Length: 5\r\n", "he");
    let (mut server, _client) = server(input.as_bytes(), settings(|_| {})).await;
    next_head(&mut server).await.expect("valid");
    assert!(matches!(body(&mut server).await, Err(StreamError::Closed)));
}

#[tokio::test]
async fn preface_is_told_from_http1() {
    for (input, expected) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"[..], true),
        (b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n", false),
        (b"GET / HTTP/1.1\r\n\r\n", false),
        (b"PRI", false),
    ] {
        let (mut server, _client) = server(input, settings(|_| {})).await;
        let seen = poll_fn(|cx| server.poll_preface(cx))
            .await
            .expect("readable");
        assert_eq!(seen, expected, "{}", String::from_utf8_lossy(input));
        assert_eq!(&*server.into_parts().1, input);
    }
}

/// What a client makes of a response: head, body, whether the connection can be used again.
async fn received(
    request: &RequestHead,
    response: &[u8],
) -> Result<(u16, Vec<u8>, bool), StreamError> {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    far.write_all(response).await.expect("fits");
    let mut client = ClientConnection::new(near, settings(|_| {}));
    client.send_head(request);
    client.finish(None);
    poll_fn(|cx| client.poll_flush(cx)).await?;
    far.shutdown().await.expect("memory shuts down");
    let mut head = ResponseHead::default();
    loop {
        poll_fn(|cx| client.poll_head(cx, &mut head)).await?;
        if !head.is_informational() || head.status == 101 {
            break;
        }
        head.reset();
    }
    let mut all = Vec::new();
    while let BodyEvent::Data { .. } = poll_fn(|cx| client.poll_body(cx)).await? {
        let piece = client.piece().to_vec();
        client.consume(piece.len());
        all.extend_from_slice(&piece);
    }
    Ok((head.status, all, client.is_reusable()))
}

#[tokio::test]
async fn response_table() {
    let get = RequestHead::new(Method::Get, "a", "/");
    let of_head = RequestHead::new(Method::Head, "a", "/");
    let cases: &[(&RequestHead, &[u8], (u16, &[u8], bool))] = &[
        (&get, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", (200, b"hi", true)),
        (&get, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", (200, b"hi", true)),
        (&get, b"HTTP/1.1 200 OK\r\n\r\nhi", (200, b"hi", false)),
        (&get, b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", (200, b"hi", false)),
        (&get, b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", (200, b"hi", false)),
        (&get, b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi", (200, b"hi", true)),
        (&get, b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", true)),
        (&get, b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", (204, b"", true)),
        (&get, b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", (304, b"", true)),
        (&of_head, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", (200, b"", true)),
        (&get, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", (200, b"", true)),
        (&get, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n", (200, b"hi", false)),
    ];
    for (request, response, (status, body, reusable)) in cases {
        let seen = received(request, response).await.expect("valid response");
        let text = String::from_utf8_lossy(response);
        assert_eq!(seen, (*status, body.to_vec(), *reusable), "{text}");
    }
}

#[tokio::test]
async fn malformed_responses_are_errors() {
    let get = RequestHead::new(Method::Get, "a", "/");
    for response in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
        b"nonsense\r\n\r\n",
    ] {
        let outcome = received(&get, response).await;
        let text = String::from_utf8_lossy(response);
        assert!(matches!(outcome, Err(StreamError::Protocol(_))), "{text}");
    }
    for response in [
        &b""[..],
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi",
    ] {
        let outcome = received(&get, response).await;
        assert!(matches!(outcome, Err(StreamError::Closed)));
    }
}

#[tokio::test]
async fn host_keeps_its_case_where_names_do() {
    for (preserve_case, expected) in [(true, "HOST: a\r\n"), (false, "host: a\r\n")] {
        let input = b"GET / HTTP/1.1\r\nHOST: a\r\n\r\n";
        let (mut server, _client) = server(
            input,
            settings(|settings| settings.preserve_case = preserve_case),
        )
        .await;
        let head = next_head(&mut server).await.expect("valid").expect("one");
        let mut out = Vec::new();
        super::head::write_request(&mut out, &head);
        assert_eq!(out, format!("GET / HTTP/1.1\r\n{expected}\r\n").as_bytes());
    }
}

#[tokio::test]
async fn requests_are_written_whole() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let mut client = ClientConnection::new(near, settings(|_| {}));
    let mut request = RequestHead::new(Method::Post, "a:80", "/p?q");
    request.headers.append_named(b"X-Case", b"1");
    request.body = BodyLength::Unknown;
    client.send_head(&request);
    let sent = poll_fn(|cx| client.poll_send(cx, b"hello")).await;
    assert_eq!(sent.expect("room"), 5);
    client.finish(None);
    poll_fn(|cx| client.poll_flush(cx)).await.expect("room");
    drop(client);
    let mut text = String::new();
    far.read_to_string(&mut text).await.expect("text");
    assert_eq!(
        text,
        "POST /p?q HTTP/1.1\r\nhost: a:80\r\nX-Case: 1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
}

#[tokio::test]
async fn idle_connections_that_the_server_closed_are_noticed() {
    let (near, far) = tokio::io::duplex(64);
    let mut client = ClientConnection::new(near, settings(|_| {}));
    assert!(poll_fn(|cx| std::task::Poll::Ready(client.poll_idle(cx))).await);
    drop(far);
    assert!(!poll_fn(|cx| std::task::Poll::Ready(client.poll_idle(cx))).await);
}

#[tokio::test]
async fn head_and_connect_ask_for_no_other_protocol() {
    for first in ["HEAD / HTTP/1.1", "CONNECT a:1 HTTP/1.1"] {
        let fields = "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        let input = format!("{first}\r\n{fields}\r\n");
        let (mut server, _client) = server(input.as_bytes(), settings(|_| {})).await;
        let head = next_head(&mut server).await.expect("valid").expect("one");
        assert_eq!(head.upgrade, None, "{first}");
    }
}

#[tokio::test]
async fn an_accepted_upgrade_becomes_a_tunnel() {
    let input = get("Connection: Upgrade\r\nUpgrade: WebSocket\r\n") + "early";
    let (mut server, mut client) = server(input.as_bytes(), settings(|_| {})).await;
    let head = next_head(&mut server).await.expect("valid").expect("one");
    assert_eq!(head.upgrade.as_deref(), Some("websocket"));
    // Nothing behind the head is given out before the upgrade is accepted.
    let event = poll_fn(|cx| server.poll_body(cx)).await.expect("no body");
    assert_eq!(event, BodyEvent::End);
    server.send_head(&ResponseHead::new(101));
    assert_eq!(body(&mut server).await.expect("tunnel"), b"early");
    let sent = poll_fn(|cx| server.poll_send(cx, b"bytes")).await;
    assert_eq!(sent.expect("room"), 5);
    poll_fn(|cx| server.poll_flush(cx)).await.expect("room");
    drop(server);
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("text");
    assert_eq!(
        text,
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nbytes"
    );
}
