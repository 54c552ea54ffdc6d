use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn router() -> Router {
    Router::new()
        .get("/a", |_| async { text(StatusCode::OK, "a") })
        .post("/b", |request: Request| async move {
            text(StatusCode::OK, request.into_body())
        })
        .prefix("/debug/", |_| async { text(StatusCode::OK, "short") })
        .prefix("/debug/long/", |_| async { text(StatusCode::OK, "long") })
}

async fn call(router: &Router, method: Method, path: &str) -> (u16, String) {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path");
    let (parts, body) = router.handle(request).await.into_parts();
    let body = body.collect().await.expect("in memory").to_bytes();
    (
        parts.status.as_u16(),
        String::from_utf8_lossy(&body).into_owned(),
    )
}

#[tokio::test]
async fn paths_find_their_handlers() {
    let router = router();
    for (method, path, status, body) in [
        (Method::GET, "/a", 200, "a"),
        (Method::GET, "/a?x=1", 200, "a"),
        (Method::HEAD, "/a", 200, "a"),
        (Method::POST, "/a", 405, "method not allowed, use GET\n"),
        (Method::GET, "/b", 405, "method not allowed, use POST\n"),
        (Method::GET, "/debug/long/x", 200, "long"),
        (Method::GET, "/debug/x", 200, "short"),
        (Method::GET, "/c", 404, "not found\n"),
    ] {
        assert_eq!(
            call(&router, method, path).await,
            (status, body.to_owned()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let readiness = Readiness::new();
    let condition = readiness.condition("clusters");
    let router = Router::new().readiness("/ready", readiness);
    assert_eq!(
        call(&router, Method::GET, "/ready").await,
        (503, "not ready: clusters\n".to_owned())
    );
    condition.set(true);
    assert_eq!(call(&router, Method::GET, "/ready").await.0, 200);
}

async fn exchange(limits: Limits, request: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(
        Server::new(router())
            .with_limits(limits)
            .serve(listener, shutdown.clone()),
    );
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request).await.expect("writes");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("reads to the end");
    shutdown.trigger();
    serving.await.expect("no panic");
    answer
}

#[tokio::test]
async fn a_body_comes_back() {
    let answer = exchange(
        Limits::default(),
        b"POST /b HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhi"), "{answer}");
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let limits = Limits {
        max_body: 1,
        ..Limits::default()
    };
    let answer = exchange(
        limits,
        b"POST /b HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
