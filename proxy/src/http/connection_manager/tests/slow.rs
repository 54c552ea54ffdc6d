//! Clients that send just enough to stay: what they get, and when.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::{
    Answer, Mesh, body_of, connection, forward, local, manager, proto, protobuf, static_cluster,
    status, to,
};
use crate::resource::listener::TrafficDirection;

const SECOND: Option<protobuf::Duration> = Some(protobuf::Duration {
    seconds: 1,
    nanos: 0,
});

const PAUSE: Duration = Duration::from_millis(100);

/// Sends a beginning, then a piece after each pause until there is an answer; the answer and how long it took.
async fn drip(
    config: proto::HttpConnectionManager,
    beginning: &str,
    piece: &str,
) -> (String, Duration) {
    let clusters = vec![static_cluster("web", &["10.0.0.1:80"])];
    let mesh = Mesh::with_clusters(config, clusters, |_, _| Answer::Hang);
    let mut client = mesh.connect(connection(TrafficDirection::Inbound));
    let begin = Instant::now();
    client.write_all(beginning.as_bytes()).await.expect("room");
    let mut answer = Vec::new();
    for _ in 0..50 {
        if timeout(PAUSE, client.read_buf(&mut answer)).await.is_ok() {
            break;
        }
        client.write_all(piece.as_bytes()).await.expect("open");
    }
    let took = begin.elapsed();
    while let Ok(Ok(1..)) = timeout(PAUSE, client.read_buf(&mut answer)).await {}
    (String::from_utf8_lossy(&answer).into(), took)
}

#[tokio::test(start_paused = true)]
async fn slow_requests_end_when_their_time_is_up() {
    let table = || manager(to(forward("web")));
    let heads = proto::HttpConnectionManager {
        request_headers_timeout: SECOND,
        ..table()
    };
    let requests = proto::HttpConnectionManager {
        request_timeout: SECOND,
        ..table()
    };
    let streams = proto::HttpConnectionManager {
        stream_idle_timeout: SECOND,
        ..table()
    };
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    local(async {
        for (name, config, beginning, piece, text) in [
            ("head", &heads, head, "b", "request header timeout"),
            ("lines", &heads, head, "b\r\nY: c", "request header timeout"),
            ("whole head", &requests, head, "b", "request timeout"),
            ("body", &requests, body, "b", "request timeout"),
            ("no body", &streams, body, "", "stream timeout"),
        ] {
            let (answer, took) = drip(config.clone(), beginning, piece).await;
            assert_eq!((status(&answer), body_of(&answer)), ("408", text), "{name}");
            assert!((1000..1300).contains(&took.as_millis()), "{name}: {took:?}");
            assert!(answer.contains("connection: close\r\n"), "{name}");
        }
    })
    .await;
}
