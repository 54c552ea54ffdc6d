//! Upgrades between both versions of HTTP.

use super::*;

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const REFUSE: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";

/// A manager that lets websockets pass, in both versions.
fn upgrading() -> proto::HttpConnectionManager {
    let mut config = manager(to(forward("web")));
    config.upgrade_configs = vec![UpgradeConfig {
        upgrade_type: "websocket".to_owned(),
        ..Default::default()
    }];
    config.http2_protocol_options = Some(core::Http2ProtocolOptions {
        allow_connect: true,
        ..Default::default()
    });
    config
}

/// An HTTP/2 server that accepts websockets and echoes what comes in them.
fn websocket_server() -> Dialer {
    Dialer::Memory(Rc::new(|_: SocketAddr| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::task::spawn_local(async move {
            let mut builder = h2::server::Builder::new();
            builder.enable_connect_protocol();
            let mut connection = builder.handshake::<_, Bytes>(far).await.expect("a preface");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                assert_eq!(request.method(), http::Method::CONNECT);
                assert_eq!(request.uri().path(), "/chat");
                let protocol = request.extensions().get::<h2::ext::Protocol>();
                assert_eq!(protocol.map(h2::ext::Protocol::as_str), Some("websocket"));
                tokio::task::spawn_local(async move {
                    let mut body = request.into_body();
                    let response = http::Response::new(());
                    let mut send = respond.send_response(response, false).expect("open");
                    while let Some(Ok(piece)) = body.data().await {
                        let _ = body.flow_control().release_capacity(piece.len());
                        send.send_data(piece, false).expect("open");
                    }
                    let _ = send.send_data(Bytes::new(), true);
                });
            }
        });
        Ok(near)
    }))
}

/// Opens a websocket over HTTP/2 and says something before it is accepted.
async fn connect_h2(mesh: &Mesh) -> (http::Response<h2::RecvStream>, h2::SendStream<Bytes>) {
    let stream = mesh.connect(connection(TrafficDirection::Outbound));
    let (client, driver) = h2::client::handshake(stream).await.expect("a handshake");
    tokio::task::spawn_local(async move {
        let _ = driver.await;
    });
    let mut client = client.ready().await.expect("open");
    // The setting comes with the server's first frames.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut request = http::Request::connect("http://web/chat")
        .body(())
        .expect("valid");
    let protocol = h2::ext::Protocol::from_static("websocket");
    request.extensions_mut().insert(protocol);
    let (response, mut send) = client.send_request(request, false).expect("open");
    send.send_data(Bytes::from_static(b"early"), false)
        .expect("open");
    (response.await.expect("a response"), send)
}

async fn next(response: &mut http::Response<h2::RecvStream>) -> Bytes {
    let body = response.body_mut();
    let piece = body.data().await.expect("there").expect("readable");
    let _ = body.flow_control().release_capacity(piece.len());
    piece
}

#[tokio::test(start_paused = true)]
async fn websockets_pass_from_http2_to_http1() {
    local(async {
        let mesh = Mesh::new(upgrading(), |_, _| Answer::Echo(SWITCH));
        let (mut response, mut send) = connect_h2(&mesh).await;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("upgrade"));
        let request = mesh.seen().remove(0);
        assert!(
            request.starts_with("GET /chat HTTP/1.1\r\nhost: web\r\n"),
            "{request}"
        );
        assert!(
            request.contains("upgrade: websocket\r\nconnection: upgrade\r\n"),
            "{request}"
        );
        assert!(!request.contains("transfer-encoding"), "{request}");
        assert_eq!(next(&mut response).await, "early");
        send.send_data(Bytes::from_static(b"ping"), false)
            .expect("open");
        assert_eq!(next(&mut response).await, "ping");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn websockets_pass_from_http1_to_http2() {
    local(async {
        let clusters = vec![h2_cluster()];
        let mesh = Mesh::with_dialer(upgrading(), clusters, websocket_server(), Rc::default());
        let mut client = mesh.connect(connection(TrafficDirection::Outbound));
        let accepted = exchange(&mut client, &format!("{REQUEST}early")).await;
        assert!(
            accepted.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
            "{accepted}"
        );
        assert!(accepted.contains("upgrade: websocket\r\n"), "{accepted}");
        assert!(accepted.ends_with("\r\n\r\nearly"), "{accepted}");
        assert_eq!(exchange(&mut client, "ping").await, "ping");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn websockets_pass_over_http2_on_both_sides() {
    local(async {
        let clusters = vec![h2_cluster()];
        let mesh = Mesh::with_dialer(upgrading(), clusters, websocket_server(), Rc::default());
        let (mut response, mut send) = connect_h2(&mesh).await;
        assert_eq!(response.status(), 200);
        assert_eq!(next(&mut response).await, "early");
        send.send_data(Bytes::from_static(b"ping"), false)
            .expect("open");
        assert_eq!(next(&mut response).await, "ping");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_an_upgrade_is_refused_goes_nowhere() {
    local(async {
        let mesh = Mesh::new(upgrading(), |_, request| {
            assert!(request.ends_with("\r\n\r\n"), "{request}");
            Answer::Send(REFUSE)
        });
        let (mut response, _send) = connect_h2(&mesh).await;
        assert_eq!(response.status(), 403);
        assert_eq!(next(&mut response).await, "no");
        let mut client = mesh.connect(connection(TrafficDirection::Outbound));
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n";
        let answers = exchange(&mut client, &format!("{REQUEST}{smuggled}")).await;
        assert!(answers.starts_with("HTTP/1.1 403 "), "{answers}");
        // Sent on a connection of its own or not at all, never as bytes of the first one.
        let seen = mesh.seen();
        assert!(
            seen.iter()
                .all(|request| request.matches("HTTP/1.1").count() == 1),
            "{seen:?}"
        );
    })
    .await;
}

/// A manager that ends CONNECT at the cluster `web`.
fn connecting() -> proto::HttpConnectionManager {
    let mut action = forward("web");
    action.upgrade_configs = vec![route::route_action::UpgradeConfig {
        upgrade_type: "CONNECT".to_owned(),
        connect_config: Some(Default::default()),
        ..Default::default()
    }];
    let mut table = to(action);
    let matches = &mut table.virtual_hosts[0].routes[0].r#match;
    matches.as_mut().expect("one").path_specifier = Some(
        route::route_match::PathSpecifier::ConnectMatcher(Default::default()),
    );
    let mut config = manager(table);
    config.upgrade_configs = vec![UpgradeConfig {
        upgrade_type: "connect".to_owned(),
        ..Default::default()
    }];
    config
}

fn clusters() -> Vec<cluster::Cluster> {
    vec![static_cluster("web", &["10.0.0.1:80"])]
}

/// A server that is no HTTP server: greets, and says what came once that has ended.
fn raw_server() -> Dialer {
    Dialer::Memory(Rc::new(|_: SocketAddr| {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        tokio::task::spawn_local(async move {
            far.write_all(b"hi").await.expect("open");
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.expect("readable");
            let _ = far.write_all(&[b"all: ", &all[..]].concat()).await;
        });
        Ok(near)
    }))
}

#[tokio::test(start_paused = true)]
async fn connect_ends_here_and_goes_on_as_bytes() {
    local(async {
        let mesh = Mesh::with_dialer(connecting(), clusters(), raw_server(), Rc::default());
        let mut client = mesh.connect(connection(TrafficDirection::Outbound));
        let request = "CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n";
        let accepted = exchange(&mut client, request).await;
        assert!(accepted.starts_with("HTTP/1.1 200 OK\r\n"), "{accepted}");
        assert!(!accepted.contains("content-length"), "{accepted}");
        assert!(!accepted.contains("transfer-encoding"), "{accepted}");
        assert!(accepted.ends_with("\r\n\r\nhi"), "{accepted}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http2_ends_its_side_of_connect_and_hears_the_rest() {
    local(async {
        let mesh = Mesh::with_dialer(connecting(), clusters(), raw_server(), Rc::default());
        let stream = mesh.connect(connection(TrafficDirection::Outbound));
        let (client, driver) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::task::spawn_local(async move {
            let _ = driver.await;
        });
        let mut client = client.ready().await.expect("open");
        let request = http::Request::connect("db:5432").body(()).expect("valid");
        let (response, mut send) = client.send_request(request, false).expect("open");
        let mut response = response.await.expect("a response");
        assert_eq!(response.status(), 200);
        assert_eq!(next(&mut response).await, "hi");
        send.send_data(Bytes::from_static(b"query"), true)
            .expect("open");
        assert_eq!(next(&mut response).await, "all: query");
        assert_eq!(next(&mut response).await, "");
        assert!(response.body().is_end_stream());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connect_with_a_body_is_refused() {
    local(async {
        let mesh = Mesh::with_dialer(connecting(), clusters(), raw_server(), Rc::default());
        let request = "CONNECT db:5432 HTTP/1.1\r\nHost: db\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(status(&mesh.ask(request).await), "400");
    })
    .await;
}
