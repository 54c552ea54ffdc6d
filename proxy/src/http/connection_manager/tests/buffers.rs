//! Requests that wait for their bodies.

use super::{
    Answer, Any, HttpConnectionManager, Mesh, OK, buffer, buffering, connection, exchange, filter,
    forward, local, manager, pack, proto, protobuf, route, routes, status, to,
};
use crate::resource::listener::TrafficDirection;
use crate::route::RouteTable;

fn mesh(config: proto::HttpConnectionManager) -> Mesh {
    Mesh::new(config, |_, _| Answer::Send(OK))
}

#[tokio::test(start_paused = true)]
async fn servers_see_a_request_when_its_body_is_there_whole() {
    local(async {
        let mesh = mesh(buffering(to(forward("web")), 100));
        let mut client = mesh.connect(connection(TrafficDirection::Outbound));
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        assert_eq!(exchange(&mut client, head).await, "");
        assert!(mesh.seen().is_empty());
        let answer = exchange(&mut client, "6\r\n world\r\n0\r\n\r\n").await;
        assert_eq!(status(&answer), "200");
        let seen = mesh.seen().concat();
        assert!(seen.contains("content-length: 11\r\n"), "{seen}");
        assert!(seen.ends_with("\r\n\r\nhello world"), "{seen}");
        assert!(!seen.contains("transfer-encoding"), "{seen}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn refusals_are_counted() {
    local(async {
        let mesh = mesh(buffering(to(forward("web")), 3));
        let answer = mesh
            .ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd")
            .await;
        assert_eq!(status(&answer), "413");
        let counted = mesh.metrics("envoy_http_downstream_rq_too_large").concat();
        assert!(counted.ends_with(" 1"), "{counted}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_two_limits_the_smaller_holds() {
    let mut config = buffering(to(forward("web")), 10);
    let smaller = buffering(to(forward("web")), 5).http_filters.remove(0);
    config.http_filters.insert(1, smaller);
    let chunked = |body: &str| {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    };
    local(async {
        let mesh = mesh(config);
        assert_eq!(status(&mesh.ask(&chunked("hello!")).await), "413");
        assert!(mesh.seen().is_empty());
        assert_eq!(status(&mesh.ask(&chunked("hello")).await), "200");
        assert!(mesh.seen().concat().ends_with("\r\n\r\nhello"));
    })
    .await;
}

/// With and without the filter, and also where servers are asked whether the client is to go on.
#[tokio::test(start_paused = true)]
async fn clients_that_wait_are_told_to_go_on() {
    let passing = proto::HttpConnectionManager {
        proxy_100_continue: true,
        ..buffering(to(forward("web")), 100)
    };
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    local(async {
        for config in [
            manager(to(forward("web"))),
            buffering(to(forward("web")), 100),
            passing,
        ] {
            let mesh = mesh(config);
            let mut client = mesh.connect(connection(TrafficDirection::Outbound));
            let answer = exchange(&mut client, head).await;
            assert_eq!(answer, "HTTP/1.1 100 Continue\r\n\r\n");
            let answer = exchange(&mut client, "hello").await;
            assert_eq!(status(&answer), "200");
            assert!(!mesh.seen().concat().contains("expect:"));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_half_way_is_nobodys_request() {
    local(async {
        let mesh = mesh(buffering(to(forward("web")), 100));
        let mut client = mesh.connect(connection(TrafficDirection::Outbound));
        let half = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello";
        assert_eq!(exchange(&mut client, half).await, "");
        drop(client);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert!(mesh.seen().is_empty());
        let left = mesh.metrics("envoy_http_downstream_rq_rx_reset").concat();
        assert!(left.ends_with(" 1"), "{left}");
    })
    .await;
}

fn without_limit() -> Any {
    pack(&buffer::Buffer::default())
}

#[test]
fn a_filter_without_limit_is_refused() {
    let mut config = manager(to(forward("web")));
    let buffer = filter("envoy.filters.http.buffer", without_limit());
    config.http_filters.insert(1, buffer);
    let error = HttpConnectionManager::compile(&config).expect_err("no limit");
    assert_eq!(
        error.to_string(),
        "http_filters[1].typed_config.max_request_bytes: is required"
    );
}

#[test]
fn a_route_without_limit_is_refused() {
    use buffer::buffer_per_route::Override;
    let zero = Some(protobuf::UInt32Value { value: 0 });
    let limit = buffer::Buffer {
        max_request_bytes: zero,
    };
    let own = pack(&buffer::BufferPerRoute {
        r#override: Some(Override::Buffer(limit)),
    });
    let mut table = routes(route::route::Action::Route(forward("web")));
    let route = &mut table.virtual_hosts[0].routes[0];
    let name = "envoy.filters.http.buffer".to_owned();
    route.typed_per_filter_config.insert(name, own);
    let error = RouteTable::compile(&table).expect_err("no limit");
    assert_eq!(
        error.to_string(),
        "virtual_hosts[0].routes[0].typed_per_filter_config[envoy.filters.http.buffer].buffer.max_request_bytes: \
         0 is not greater than 0"
    );
}
