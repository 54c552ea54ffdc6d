//! Whole requests through [`super::serve`], with clients and servers in memory.

mod bad_http1;
mod bad_http2;
mod buffers;
mod slow;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ironsail_xds::ext::filters::http::{
    buffer::v3 as buffer, fault::v3 as fault, grpc_stats::v3 as grpc_stats, router::v3::Router,
};
use ironsail_xds::ext::filters::network::http_connection_manager::v3 as proto;
use ironsail_xds::ext::upstreams::http::v3 as upstreams;
use ironsail_xds::istio::{PEER_METADATA, PluginConfig, TypedStruct};
use ironsail_xds::ordered::{Struct, Value};
use ironsail_xds::{Any, cluster, core, kind, pack, protobuf, route};
use prost::Message;
use proto::http_connection_manager::{RouteSpecifier, UpgradeConfig};
use regex::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::LocalSet;

mod upgrades;

use super::HttpConnectionManager;
use crate::cluster::manager::ClusterUpdate;
use crate::cluster::{ClusterManager, Dialer};
use crate::conn::{Connection, ConnectionInfo, Io};
use crate::http::filter::testing::filter;
use crate::http::testing::{connection, mutual_tls};
use crate::peer::PeerMetadata;
use crate::resource::cluster::{ClusterConfig, Discovery};
use crate::resource::intern::Interner;
use crate::resource::listener::TrafficDirection;
use crate::stats::{DEFAULT_BOUNDS, Filter, Registry};
use crate::testing::static_cluster;
use crate::worker::{LocalNode, Worker};

/// Answers a request, given as text, on the n-th connection.
type Handler = Rc<dyn Fn(usize, &str) -> Answer>;

/// What a server does with a request.
enum Answer {
    Send(&'static str),
    /// Send, then close.
    Last(&'static str),
    /// Close without a word.
    Close,
    /// Never answer.
    Hang,
    /// Send, then echo whatever comes.
    Echo(&'static str),
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

struct Mesh {
    worker: Rc<Worker>,
    registry: Arc<Registry>,
    hcm: Arc<HttpConnectionManager>,
    seen: Rc<RefCell<Vec<String>>>,
}

fn forward(cluster: &str) -> route::RouteAction {
    route::RouteAction {
        timeout: Some(protobuf::Duration::default()),
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
            cluster.to_owned(),
        )),
        ..Default::default()
    }
}

fn routes(action: route::route::Action) -> route::RouteConfiguration {
    route::RouteConfiguration {
        virtual_hosts: vec![route::VirtualHost {
            name: "all".to_owned(),
            domains: vec!["*".to_owned()],
            include_request_attempt_count: true,
            routes: vec![route::Route {
                name: "default".to_owned(),
                r#match: Some(route::RouteMatch {
                    path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
                    ..Default::default()
                }),
                action: Some(action),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn to(action: route::RouteAction) -> route::RouteConfiguration {
    routes(route::route::Action::Route(action))
}

fn peer_metadata(fields: &[&str]) -> Any {
    let headers: Struct = [("istio_headers", Value::from(Struct::default()))]
        .into_iter()
        .collect();
    let methods = Value::from(vec![Value::from(headers)]);
    let value = TypedStruct {
        type_url: PEER_METADATA.to_owned(),
        value: Some(
            fields
                .iter()
                .map(|field| (*field, methods.clone()))
                .collect(),
        ),
    };
    pack(&value)
}

fn manager(table: route::RouteConfiguration) -> proto::HttpConnectionManager {
    let yes = Some(protobuf::BoolValue { value: true });
    proto::HttpConnectionManager {
        stat_prefix: "test".to_owned(),
        normalize_path: yes,
        route_specifier: Some(RouteSpecifier::RouteConfig(table)),
        stream_idle_timeout: Some(protobuf::Duration::default()),
        http_filters: vec![
            filter(
                "istio.metadata_exchange",
                peer_metadata(&["downstream_discovery", "downstream_propagation"]),
            ),
            filter(
                "envoy.filters.http.grpc_stats",
                pack(&grpc_stats::FilterConfig {
                    emit_filter_state: true,
                    ..Default::default()
                }),
            ),
            filter(
                "envoy.filters.http.fault",
                pack(&fault::HttpFault::default()),
            ),
            filter("istio.stats", pack(&PluginConfig::default())),
            filter("envoy.filters.http.router", pack(&Router::default())),
        ],
        ..Default::default()
    }
}

/// The same, with a filter that waits for bodies of at most so many bytes.
fn buffering(table: route::RouteConfiguration, max: u32) -> proto::HttpConnectionManager {
    let mut config = manager(table);
    let limit = buffer::Buffer {
        max_request_bytes: Some(protobuf::UInt32Value { value: max }),
    };
    let buffer = filter("envoy.filters.http.buffer", pack(&limit));
    config.http_filters.insert(0, buffer);
    config
}

impl Mesh {
    fn new(
        config: proto::HttpConnectionManager,
        handler: impl Fn(usize, &str) -> Answer + 'static,
    ) -> Self {
        let cluster = static_cluster("web", &["10.0.0.1:80", "10.0.0.2:80"]);
        Self::with_clusters(config, vec![cluster], handler)
    }

    fn with_clusters(
        config: proto::HttpConnectionManager,
        clusters: Vec<cluster::Cluster>,
        handler: impl Fn(usize, &str) -> Answer + 'static,
    ) -> Self {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let handler: Handler = Rc::new(handler);
        let count = Rc::new(std::cell::Cell::new(0));
        let log = Rc::clone(&seen);
        let dialer = Dialer::Memory(Rc::new(move |_: SocketAddr| {
            let (near, far) = tokio::io::duplex(64 * 1024);
            count.set(count.get() + 1);
            let server = serve_http1(far, count.get(), Rc::clone(&handler), Rc::clone(&log));
            tokio::task::spawn_local(server);
            Ok(near)
        }));
        Self::with_dialer(config, clusters, dialer, seen)
    }

    fn with_dialer(
        config: proto::HttpConnectionManager,
        clusters: Vec<cluster::Cluster>,
        dialer: Dialer,
        seen: Rc<RefCell<Vec<String>>>,
    ) -> Self {
        let peer = PeerMetadata {
            workload: "web-v1".into(),
            namespace: "shop".into(),
            canonical_name: "web".into(),
            canonical_revision: "v1".into(),
            ..PeerMetadata::default()
        };
        let registry = Registry::new(peer.clone(), "1.32.0", DEFAULT_BOUNDS);
        let node = Arc::new(LocalNode {
            id: "sidecar~10.0.0.1~web.shop~shop.svc.cluster.local".to_owned(),
            peer,
        });
        let shard = registry.shard();
        let manager = ClusterManager::new(dialer, Rc::clone(&shard));
        let updates: Vec<ClusterUpdate> = clusters.iter().map(cluster_update).collect();
        manager.apply(&updates);
        let worker = Rc::new(Worker::new(0, node, manager, shard));
        let hcm = HttpConnectionManager::compile(&config).expect("valid");
        Self {
            worker,
            registry,
            hcm: Arc::new(hcm),
            seen,
        }
    }

    /// Opens a client connection.
    fn connect(&self, info: ConnectionInfo) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let connection = Connection {
            io: Io::memory(near),
            info: Rc::new(info),
        };
        let (hcm, worker) = (Arc::clone(&self.hcm), Rc::clone(&self.worker));
        tokio::task::spawn_local(super::serve(connection, hcm, worker));
        far
    }

    /// Sends bytes, ends the client's side and reads all answers.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.connect(connection(TrafficDirection::Outbound));
        exchange(&mut client, request).await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.borrow().clone()
    }

    fn metrics(&self, name: &str) -> Vec<String> {
        let text = self.registry.prometheus(&Filter::default());
        let wanted = |line: &&str| line.starts_with(&format!("{name}{{"));
        text.lines().filter(wanted).map(str::to_owned).collect()
    }
}

fn cluster_update(cluster: &cluster::Cluster) -> ClusterUpdate {
    let config = ClusterConfig::compile(cluster, 0, &mut Interner::default()).expect("valid");
    let endpoints = match &config.discovery {
        Discovery::Static(endpoints) => Arc::clone(endpoints),
        _ => Arc::default(),
    };
    ClusterUpdate {
        config: Arc::new(config),
        endpoints,
    }
}

async fn exchange(client: &mut DuplexStream, request: &str) -> String {
    client.write_all(request.as_bytes()).await.expect("room");
    let mut text = Vec::new();
    // Every answer in these tests is followed by silence, or by the end of the connection.
    loop {
        let mut chunk = [0; 4096];
        let read = tokio::time::timeout(Duration::from_millis(200), client.read(&mut chunk)).await;
        match read {
            Ok(Ok(0)) | Err(_) => break,
            Ok(Ok(count)) => text.extend_from_slice(&chunk[..count]),
            Ok(Err(error)) => panic!("{error}"),
        }
    }
    let text = String::from_utf8(text).expect("text");
    // Dates differ from run to run.
    text.split_inclusive("\r\n")
        .filter(|line| !line.starts_with("date: "))
        .collect()
}

/// Reads one request: head, and body of the announced length or in chunks.
async fn read_request(io: &mut DuplexStream, read: &mut Vec<u8>) -> Option<String> {
    let complete = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|length| length.parse::<usize>().ok());
        let size = match length {
            Some(length) if body.len() >= length => length,
            Some(_) => return None,
            None if head.contains("transfer-encoding: chunked") => body.find("0\r\n\r\n")? + 5,
            None => 0,
        };
        Some(head.len() + 4 + size)
    };
    loop {
        if let Some(size) = complete(read) {
            let request: Vec<u8> = read.drain(..size).collect();
            return String::from_utf8(request).ok();
        }
        if io.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

async fn serve_http1(
    mut io: DuplexStream,
    connection: usize,
    handler: Handler,
    seen: Rc<RefCell<Vec<String>>>,
) {
    let mut read = Vec::new();
    while let Some(request) = read_request(&mut io, &mut read).await {
        seen.borrow_mut().push(request.clone());
        let answer = match handler(connection, &request) {
            Answer::Send(text) => text,
            Answer::Last(text) => {
                let _ = io.write_all(text.as_bytes()).await;
                return;
            }
            Answer::Close => return,
            Answer::Hang => std::future::pending().await,
            Answer::Echo(text) => {
                let _ = io.write_all(text.as_bytes()).await;
                let (mut from, mut to) = tokio::io::split(io);
                let _ = tokio::io::copy(&mut from, &mut to).await;
                return;
            }
        };
        if io.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Runs a test where tasks of the same thread can be spawned.
async fn local(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or(response)
}

/// The same with the times of servers as 0: they are those of a real clock.
fn without_times(responses: &str) -> String {
    let time = Regex::new("(service-time: )[0-9]+").expect("valid");
    time.replace_all(responses, "${1}0").into_owned()
}

fn body_of(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test(start_paused = true)]
async fn requests_pass_and_connections_are_reused() {
    local(async {
        let clusters = vec![static_cluster("web", &["10.0.0.1:80"])];
        let mesh =
            Mesh::with_clusters(manager(to(forward("web"))), clusters, |_, _| Answer::Send(OK));
        let request = "GET /a/../b?c HTTP/1.1\r\nHost: web\r\nX-Mixed: 1\r\nConnection: keep-alive, X-Gone\r\nX-Gone: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\nX-Request-Id: my-id\r\n\r\n";
        let response = without_times(&mesh.ask(&format!("{request}{request}")).await);
        let expected = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-envoy-upstream-service-time: 0\r\nserver: envoy\r\n\r\nhi";
        assert_eq!(response, expected.repeat(2));
        let seen = mesh.seen();
        assert_eq!(
            seen[0],
            "GET /b?c HTTP/1.1\r\nhost: web\r\nx-mixed: 1\r\nx-request-id: my-id\r\nx-forwarded-proto: http\r\nx-envoy-attempt-count: 1\r\n\r\n"
        );
        assert_eq!(seen.len(), 2);
        let connections = mesh.metrics("envoy_cluster_upstream_cx_total");
        assert_eq!(connections, ["envoy_cluster_upstream_cx_total{cluster_name=\"web\"} 1"]);
        let requests = mesh.metrics("istio_requests_total");
        assert!(requests.len() == 1 && requests[0].ends_with(" 2"), "{requests:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bodies_pass_in_both_framings() {
    local(async {
        let mesh = Mesh::new(manager(to(forward("web"))), |_, request| {
            if request.starts_with("HEAD") {
                return Answer::Send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
            }
            Answer::Send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        });
        let response = mesh
            .ask("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhelloPOST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHEAD / HTTP/1.1\r\nHost: web\r\n\r\n")
            .await;
        assert_eq!(response.matches("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").count(), 2);
        assert!(without_times(&response).ends_with("content-length: 5\r\nx-envoy-upstream-service-time: 0\r\nserver: envoy\r\n\r\n"));
        let seen = mesh.seen();
        assert!(seen[0].contains("content-length: 5\r\n") && seen[0].ends_with("\r\n\r\nhello"));
        assert!(seen[1].ends_with("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn large_bodies_pass_whole() {
    local(async {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 300000\r\n\r\n{}",
            "x".repeat(300_000)
        );
        for config in [
            manager(to(forward("web"))),
            buffering(to(forward("web")), 300_000),
        ] {
            let mesh = Mesh::new(config, |_, request| {
                assert_eq!(body_of(request).len(), 300_000);
                assert!(body_of(request).bytes().all(|byte| byte == b'x'));
                Answer::Send(OK)
            });
            let response = mesh.ask(&request).await;
            assert_eq!((status(&response), body_of(&response)), ("200", "hi"));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn protocol_errors_are_answered_and_end_the_connection() {
    local(async {
        let mesh = Mesh::new(manager(to(forward("web"))), |_, _| Answer::Send(OK));
        for (request, status, reason) in [
            ("GET / HTTP/1.1\nHost: a\n\n", 400, "Bad Request"),
            ("GET / HTTP/1.0\r\n\r\n", 426, "Upgrade Required"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
                501,
                "Not Implemented",
            ),
        ] {
            let response = mesh.ask(request).await;
            assert_eq!(
                response,
                format!(
                    "HTTP/1.1 {status} {reason}\r\ncontent-length: {}\r\ncontent-type: text/plain\r\nserver: envoy\r\nconnection: close\r\n\r\n{reason}",
                    reason.len()
                )
            );
        }
        assert!(mesh.seen().is_empty());
        let flags = mesh.metrics("istio_requests_total");
        assert!(flags.iter().all(|line| line.contains("response_flags=\"DPE\"")), "{flags:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn answers_of_the_proxy() {
    local(async {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: web\r\n\r\n");
        let empty = route::RouteConfiguration::default();
        let mesh = Mesh::new(manager(empty), |_, _| Answer::Send(OK));
        assert_eq!(status(&mesh.ask(&get("/")).await), "404");
        assert!(mesh.metrics("istio_requests_total")[0].contains("response_flags=\"NR\""));

        let mesh = Mesh::new(manager(to(forward("none"))), |_, _| Answer::Send(OK));
        assert_eq!(status(&mesh.ask(&get("/")).await), "503");
        assert!(mesh.metrics("istio_requests_total")[0].contains("response_flags=\"NC\""));

        let idle = vec![static_cluster("web", &[])];
        let mesh = Mesh::with_clusters(manager(to(forward("web"))), idle, |_, _| Answer::Send(OK));
        let response = mesh.ask(&get("/")).await;
        assert_eq!(
            (status(&response), body_of(&response)),
            ("503", "no healthy upstream")
        );
        let connect = mesh
            .ask("CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n")
            .await;
        assert_eq!(status(&connect), "404");
        let asterisk = mesh.ask("OPTIONS * HTTP/1.1\r\nHost: web\r\n\r\n").await;
        assert_eq!(status(&asterisk), "404");
        let nul = mesh.ask(&get("/%00")).await;
        assert_eq!(status(&nul), "400");

        let direct = route::route::Action::DirectResponse(route::DirectResponseAction {
            status: 418,
            body: Some(core::DataSource {
                specifier: Some(core::data_source::Specifier::InlineString("tea".to_owned())),
                ..Default::default()
            }),
            ..Default::default()
        });
        let mesh = Mesh::new(manager(routes(direct)), |_, _| Answer::Send(OK));
        let response = mesh.ask(&get("/")).await;
        assert_eq!((status(&response), body_of(&response)), ("418", "tea"));

        let redirect = route::route::Action::Redirect(route::RedirectAction {
            host_redirect: "other".to_owned(),
            ..Default::default()
        });
        let mesh = Mesh::new(manager(routes(redirect)), |_, _| Answer::Send(OK));
        let response = mesh.ask(&get("/x")).await;
        assert!(response.contains("301") && response.contains("location: http://other/x\r\n"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn grpc_clients_get_a_grpc_status() {
    local(async {
        let idle = vec![static_cluster("web", &[])];
        let mesh = Mesh::with_clusters(manager(to(forward("web"))), idle, |_, _| Answer::Send(OK));
        let response = mesh
            .ask("POST / HTTP/1.1\r\nHost: web\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert_eq!(status(&response), "200");
        assert!(response.contains("grpc-status: 14\r\ngrpc-message: no healthy upstream\r\n"));
        let metric = mesh.metrics("istio_requests_total").join("");
        assert!(metric.contains("grpc_response_status=\"14\""), "{metric}");
    })
    .await;
}

fn with_retries(retry_on: &str) -> route::RouteAction {
    route::RouteAction {
        retry_policy: Some(route::RetryPolicy {
            retry_on: retry_on.to_owned(),
            num_retries: Some(protobuf::UInt32Value { value: 2 }),
            retriable_status_codes: vec![503],
            ..Default::default()
        }),
        ..forward("web")
    }
}

#[tokio::test(start_paused = true)]
async fn retries_follow_the_policy() {
    local(async {
        const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        let flaky = |connection: usize, _: &str| match connection {
            1 | 2 => Answer::Send(UNAVAILABLE),
            _ => Answer::Send(OK),
        };
        let post = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello";
        let mesh = Mesh::new(manager(to(with_retries("retriable-status-codes"))), flaky);
        let response = mesh.ask(post).await;
        assert_eq!((status(&response), body_of(&response)), ("200", "hi"));
        let seen = mesh.seen();
        assert_eq!(seen.len(), 3);
        assert!(seen[2].contains("x-envoy-attempt-count: 3\r\n") && seen[2].ends_with("hello"));

        let mesh = Mesh::new(manager(to(with_retries("retriable-status-codes"))), |_, _| {
            Answer::Send(UNAVAILABLE)
        });
        assert_eq!(status(&mesh.ask(post).await), "503");
        assert_eq!(mesh.seen().len(), 3);
        assert!(mesh.metrics("istio_requests_total")[0].contains("response_flags=\"URX\""));

        let mesh = Mesh::new(manager(to(with_retries("connect-failure"))), |_, _| Answer::Close);
        let response = mesh.ask(post).await;
        assert_eq!(
            body_of(&response),
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
        );
        assert_eq!(mesh.seen().len(), 1);
        assert!(mesh.metrics("istio_requests_total")[0].contains("response_flags=\"UC\""));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn failed_connections_are_retried_and_explained() {
    local(async {
        let refuse = Dialer::Memory(Rc::new(|_: SocketAddr| {
            Err(io::Error::from_raw_os_error(111))
        }));
        let clusters = vec![static_cluster("web", &["10.0.0.1:80"])];
        let mesh = Mesh::with_dialer(
            manager(to(with_retries("connect-failure"))),
            clusters,
            refuse,
            Rc::default(),
        );
        let response = mesh.ask("GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
        assert_eq!(status(&response), "503");
        assert_eq!(
            body_of(&response),
            "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure"
        );
        assert!(mesh.metrics("istio_requests_total")[0].contains("response_flags=\"UF,URX\""));
        let retries = mesh.metrics("envoy_cluster_upstream_rq_retry");
        assert_eq!(retries, ["envoy_cluster_upstream_rq_retry{cluster_name=\"web\"} 2"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn kept_connections_that_died_are_replaced() {
    local(async {
        let clusters = vec![static_cluster("web", &["10.0.0.1:80"])];
        let mesh = Mesh::with_clusters(manager(to(forward("web"))), clusters, {
            let requests = RefCell::new(0);
            move |_, _| {
                *requests.borrow_mut() += 1;
                match *requests.borrow() {
                    // The connection is closed by the request that finds it in the pool.
                    2 => Answer::Close,
                    _ => Answer::Send(OK),
                }
            }
        });
        let mut client = mesh.connect(connection(TrafficDirection::Outbound));
        let get = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
        assert_eq!(status(&exchange(&mut client, get).await), "200");
        assert_eq!(status(&exchange(&mut client, get).await), "200");
        assert_eq!(mesh.seen().len(), 3);
        // Without the certainty that it was not done, a POST is not repeated.
        let clusters = vec![static_cluster("web", &["10.0.0.1:80"])];
        let mesh = Mesh::with_clusters(manager(to(forward("web"))), clusters, |_, request| {
            if request.starts_with("POST") {
                Answer::Close
            } else {
                Answer::Send(OK)
            }
        });
        let mut client = mesh.connect(connection(TrafficDirection::Outbound));
        assert_eq!(status(&exchange(&mut client, get).await), "200");
        let post = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(status(&exchange(&mut client, post).await), "503");
        assert_eq!(mesh.seen().len(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn timeouts_answer_and_flag() {
    local(async {
        let slow = route::RouteAction {
            timeout: Some(protobuf::Duration {
                seconds: 0,
                nanos: 50_000_000,
            }),
            ..forward("web")
        };
        let mesh = Mesh::new(manager(to(slow)), |_, _| Answer::Hang);
        let response = mesh.ask("GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
        assert_eq!(
            (status(&response), body_of(&response)),
            ("504", "upstream request timeout")
        );
        assert!(mesh.seen()[0].contains("x-envoy-expected-rq-timeout-ms: 50\r\n"));
        assert!(mesh.metrics("istio_requests_total")[0].contains("response_flags=\"UT\""));

        let mut per_try = with_retries("gateway-error");
        if let Some(policy) = &mut per_try.retry_policy {
            policy.per_try_timeout = Some(protobuf::Duration {
                seconds: 0,
                nanos: 20_000_000,
            });
        }
        let mesh = Mesh::new(manager(to(per_try)), |connection, _| match connection {
            1 => Answer::Hang,
            _ => Answer::Send(OK),
        });
        let response = mesh.ask("GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
        assert_eq!(status(&response), "200");
        assert_eq!(mesh.seen().len(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clients_that_leave_are_noticed() {
    local(async {
        let mesh = Mesh::new(manager(to(forward("web"))), |_, _| Answer::Hang);
        let mut client = mesh.connect(connection(TrafficDirection::Outbound));
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            .await
            .expect("room");
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(client);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let metric = mesh.metrics("istio_requests_total").join("");
        assert!(metric.contains("response_code=\"0\"") && metric.contains("response_flags=\"DC\""));
        assert_eq!(
            mesh.metrics("envoy_cluster_upstream_cx_active"),
            ["envoy_cluster_upstream_cx_active{cluster_name=\"web\"} 0"]
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn broken_responses_are_not_passed_off_as_whole() {
    local(async {
        let mesh = Mesh::new(manager(to(forward("web"))), |_, _| {
            Answer::Last("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        });
        let response = mesh.ask("GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
        assert!(response.ends_with("\r\n\r\nhalf"), "{response}");
        let metric = mesh.metrics("istio_requests_total").join("");
        assert!(metric.contains("response_flags=\"UC\""), "{metric}");

        let mesh = Mesh::new(manager(to(forward("web"))), |_, _| {
            Answer::Last(
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            )
        });
        let response = mesh.ask("GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
        assert_eq!(status(&response), "502");
        assert!(
            mesh.metrics("istio_requests_total")
                .join("")
                .contains("\"UPE\"")
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn early_answers_end_the_connection() {
    local(async {
        let empty = route::RouteConfiguration::default();
        let mesh = Mesh::new(manager(empty), |_, _| Answer::Send(OK));
        let response = mesh
            .ask("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 100\r\n\r\npart")
            .await;
        assert_eq!(status(&response), "404");
        // What is left of the body must not be taken for a request.
        assert_eq!(response.matches("HTTP/1.1").count(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn continue_is_passed_or_given() {
    local(async {
        let request =
            "POST / HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n";
        let mut config = manager(to(forward("web")));
        let mesh = Mesh::new(config.clone(), |_, request| {
            assert!(!request.contains("expect:"));
            Answer::Send(OK)
        });
        let response = mesh.ask(request).await;
        assert!(response.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
        config.proxy_100_continue = true;
        let mesh = Mesh::new(config, |_, request| {
            assert!(request.contains("expect: 100-continue"));
            Answer::Send(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            )
        });
        let response = mesh.ask(request).await;
        assert!(response.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn websockets_become_tunnels() {
    local(async {
        const SWITCH: &str =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let request =
            "GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let mut config = manager(to(forward("web")));
        let mesh = Mesh::new(config.clone(), |_, _| Answer::Echo(SWITCH));
        assert_eq!(status(&mesh.ask(request).await), "403");
        config.upgrade_configs = vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..Default::default()
        }];
        let mesh = Mesh::new(config.clone(), |_, request| {
            assert!(request.contains("connection: Upgrade\r\nupgrade: websocket\r\n"));
            Answer::Echo(SWITCH)
        });
        let mut client = mesh.connect(connection(TrafficDirection::Outbound));
        let accepted = exchange(&mut client, request).await;
        assert!(
            accepted.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
            "{accepted}"
        );
        assert!(accepted.contains("connection: upgrade\r\n"));
        assert_eq!(exchange(&mut client, "ping").await, "ping");
        assert_eq!(exchange(&mut client, "pong").await, "pong");
        let mesh = Mesh::new(config, |_, _| Answer::Send(OK));
        assert_eq!(status(&mesh.ask(request).await), "200");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn faults_are_injected_by_routes() {
    local(async {
        let all = Some(kind::FractionalPercent {
            numerator: 100,
            denominator: 0,
        });
        let config = fault::HttpFault {
            delay: Some(ironsail_xds::ext::filters::common::fault::v3::FaultDelay {
                percentage: all,
                fault_delay_secifier: Some(
                    ironsail_xds::ext::filters::common::fault::v3::fault_delay::FaultDelaySecifier::FixedDelay(
                        protobuf::Duration { seconds: 0, nanos: 100_000_000 },
                    ),
                ),
            }),
            abort: Some(fault::FaultAbort {
                percentage: all,
                error_type: Some(fault::fault_abort::ErrorType::HttpStatus(555)),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut table = to(forward("web"));
        table.virtual_hosts[0].routes[0]
            .typed_per_filter_config
            .insert("envoy.filters.http.fault".to_owned(), pack(&config));
        let mesh = Mesh::new(manager(table), |_, _| Answer::Send(OK));
        let start = tokio::time::Instant::now();
        let response = mesh.ask("GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
        assert_eq!((status(&response), body_of(&response)), ("555", "fault filter abort"));
        assert!(start.elapsed() >= Duration::from_millis(100));
        assert!(mesh.seen().is_empty());
        assert!(mesh.metrics("istio_requests_total")[0].contains("response_flags=\"DI,FI\""));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn peers_learn_about_each_other() {
    local(async {
        let peer = PeerMetadata {
            workload: "front-v2".into(),
            namespace: "front".into(),
            app: "front".into(),
            canonical_name: "front".into(),
            canonical_revision: "v2".into(),
            ..PeerMetadata::default()
        };
        use base64::Engine;
        let header =
            base64::engine::general_purpose::STANDARD.encode(peer.to_node().encode_to_vec());
        let mesh = Mesh::new(manager(to(forward("web"))), |_, request| {
            assert!(!request.contains("x-envoy-peer-metadata"));
            Answer::Send(OK)
        });
        let client = "spiffe://cluster.local/ns/front/sa/front";
        let server = "spiffe://cluster.local/ns/shop/sa/web";
        let mut stream = mesh.connect(mutual_tls(TrafficDirection::Inbound, client, server));
        let request = format!(
            "GET / HTTP/1.1\r\nHost: web\r\nx-envoy-peer-metadata: {header}\r\nx-envoy-peer-metadata-id: x\r\n\r\n"
        );
        let response = exchange(&mut stream, &request).await;
        assert!(response.contains("x-envoy-peer-metadata-id: sidecar~10.0.0.1~web.shop~"));
        assert!(response.contains("\r\nx-envoy-peer-metadata: "));
        let metric = mesh.metrics("istio_requests_total").join("");
        for label in [
            "reporter=\"destination\"",
            "source_workload=\"front-v2\"",
            "source_canonical_revision=\"v2\"",
            &format!("source_principal=\"{client}\""),
            &format!("destination_principal=\"{server}\""),
            "destination_workload=\"web-v1\"",
            "connection_security_policy=\"mutual_tls\"",
        ] {
            assert!(metric.contains(label), "{label} not in {metric}");
        }
        // Whoever does not speak the protocol gets no headers of it.
        let response = mesh.ask("GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
        assert!(!response.contains("x-envoy-peer-metadata"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn edges_trust_nobody() {
    local(async {
        let mut config = manager(to(forward("web")));
        config.use_remote_address = Some(protobuf::BoolValue { value: true });
        let mesh = Mesh::new(config, |_, _| Answer::Send(OK));
        mesh.ask("GET / HTTP/1.1\r\nHost: web\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Request-Id: theirs\r\nX-Envoy-Internal: true\r\nX-Envoy-Retry-On: 5xx\r\nX-Envoy-Peer-Metadata: abc\r\nX-Envoy-Decorator-Operation: op\r\nX-Forwarded-Client-Cert: By=x\r\n\r\n").await;
        let seen = mesh.seen()[0].clone();
        for line in [
            "x-forwarded-for: 1.2.3.4,10.0.0.9\r\n",
            "x-forwarded-proto: http\r\n",
            "x-envoy-external-address: 10.0.0.9\r\n",
        ] {
            assert!(seen.contains(line), "{line} not in {seen}");
        }
        for gone in ["theirs", "internal", "retry-on", "peer-metadata", "decorator", "By=x"] {
            assert!(!seen.contains(gone), "{gone} in {seen}");
        }
        assert!(seen.contains("x-request-id: "));
        let host = mesh.ask("GET / HTTP/1.1\r\nHost: user@web\r\n\r\n").await;
        assert_eq!(status(&host), "400");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn draining_connections_say_so_and_end() {
    local(async {
        let mesh = Mesh::new(manager(to(forward("web"))), |_, _| Answer::Send(OK));
        let info = connection(TrafficDirection::Inbound);
        let drain = info.drain.clone();
        let mut client = mesh.connect(info);
        let get = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
        assert!(
            !exchange(&mut client, get)
                .await
                .contains("connection: close")
        );
        drain.start();
        assert!(
            exchange(&mut client, get)
                .await
                .contains("connection: close\r\n")
        );
        assert_eq!(client.read(&mut [0; 1]).await.expect("an orderly end"), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_end_after_an_hour() {
    local(async {
        let mesh = Mesh::new(manager(to(forward("web"))), |_, _| Answer::Send(OK));
        let mut client = mesh.connect(connection(TrafficDirection::Inbound));
        exchange(&mut client, "GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
        let start = tokio::time::Instant::now();
        assert_eq!(client.read(&mut [0; 1]).await.expect("an orderly end"), 0);
        assert!((3590..=3600).contains(&start.elapsed().as_secs()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn mirrors_get_a_copy_nobody_waits_for() {
    local(async {
        let mut action = forward("web");
        action.request_mirror_policies = vec![route::route_action::RequestMirrorPolicy {
            cluster: "mirror".to_owned(),
            ..Default::default()
        }];
        let clusters = vec![
            static_cluster("web", &["10.0.0.1:80"]),
            static_cluster("mirror", &["10.0.0.2:80"]),
        ];
        let mesh = Mesh::with_clusters(manager(to(action)), clusters, |_, request| {
            if request.contains("-shadow") {
                Answer::Hang
            } else {
                Answer::Send(OK)
            }
        });
        let response = mesh
            .ask("POST / HTTP/1.1\r\nHost: web:80\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        assert_eq!(status(&response), "200");
        let seen = mesh.seen();
        let copy = seen
            .iter()
            .find(|request| request.contains("host: web-shadow:80\r\n"));
        assert!(
            copy.is_some_and(|copy| copy.ends_with("\r\n\r\nhello")),
            "{seen:?}"
        );
    })
    .await;
}

#[test]
fn missing_filters_are_errors() {
    let error = |name: &str, type_url: &str, optional: bool| {
        let mut config = manager(to(forward("web")));
        let mut unknown = filter(
            name,
            Any {
                type_url: type_url.to_owned(),
                value: Vec::new(),
            },
        );
        unknown.is_optional = optional;
        config.http_filters.insert(1, unknown);
        HttpConnectionManager::compile(&config)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let rbac = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
    assert_eq!(
        error("envoy.filters.http.rbac", rbac, false),
        Err("http_filters[1].typed_config: unknown HTTP filter \"envoy.filters.http.rbac\" of type \"envoy.extensions.filters.http.rbac.v3.RBAC\"".to_owned())
    );
    assert_eq!(error("envoy.filters.http.rbac", rbac, true), Ok(()));
    let mut config = manager(to(forward("web")));
    config.http_filters.pop();
    let error = HttpConnectionManager::compile(&config)
        .expect_err("no router")
        .to_string();
    assert_eq!(error, "http_filters: lacks the router");
}

fn h2_cluster() -> cluster::Cluster {
    let options = upstreams::HttpProtocolOptions {
        upstream_protocol_options: Some(
            upstreams::http_protocol_options::UpstreamProtocolOptions::ExplicitHttpConfig(
                upstreams::http_protocol_options::ExplicitHttpConfig {
                    protocol_config: Some(
                        upstreams::http_protocol_options::explicit_http_config::ProtocolConfig::Http2ProtocolOptions(
                            Default::default(),
                        ),
                    ),
                },
            ),
        ),
        ..Default::default()
    };
    let mut cluster = static_cluster("web", &["10.0.0.1:80"]);
    cluster.typed_extension_protocol_options.insert(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
        pack(&options),
    );
    cluster
}

/// An HTTP/2 server that echoes gRPC messages, with trailers, and counts its connections.
fn grpc_server(connections: Rc<RefCell<usize>>) -> Dialer {
    Dialer::Memory(Rc::new(move |_: SocketAddr| {
        *connections.borrow_mut() += 1;
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::task::spawn_local(async move {
            let mut connection = h2::server::handshake(far).await.expect("a preface");
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                tokio::task::spawn_local(async move {
                    let mut body = request.into_body();
                    let response = http::Response::builder()
                        .header("content-type", "application/grpc")
                        .body(())
                        .expect("valid");
                    let mut send = respond.send_response(response, false).expect("open");
                    while let Some(Ok(piece)) = body.data().await {
                        let _ = body.flow_control().release_capacity(piece.len());
                        send.send_data(piece, false).expect("open");
                    }
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                    send.send_trailers(trailers).expect("open");
                });
            }
        });
        Ok(near)
    }))
}

#[tokio::test(start_paused = true)]
async fn grpc_passes_over_http2_with_trailers() {
    local(async {
        let connections = Rc::new(RefCell::new(0));
        let mesh = Mesh::with_dialer(
            manager(to(forward("web"))),
            vec![h2_cluster()],
            grpc_server(Rc::clone(&connections)),
            Rc::default(),
        );
        let stream = mesh.connect(connection(TrafficDirection::Outbound));
        let (client, driver) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::task::spawn_local(async move {
            let _ = driver.await;
        });
        let call = async |number: u8| {
            let mut client = client.clone().ready().await.expect("open");
            let request = http::Request::post("http://web/svc/Method")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(())
                .expect("valid");
            let (response, mut send) = client.send_request(request, false).expect("open");
            let message = Bytes::copy_from_slice(&[0, 0, 0, 0, 1, number]);
            send.send_data(message.clone(), false).expect("open");
            send.send_data(message.clone(), true).expect("open");
            let response = response.await.expect("a response");
            assert_eq!(response.status(), 200);
            let mut body = response.into_body();
            let mut all = Vec::new();
            while let Some(piece) = body.data().await {
                let piece = piece.expect("a piece");
                let _ = body.flow_control().release_capacity(piece.len());
                all.extend_from_slice(&piece);
            }
            assert_eq!(all, [&message[..], &message[..]].concat());
            let trailers = body.trailers().await.expect("readable").expect("there");
            assert_eq!(trailers["grpc-status"], "0");
        };
        tokio::join!(call(1), call(2), call(3));
        assert_eq!(*connections.borrow(), 1);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let metric = mesh.metrics("istio_requests_total").join("");
        assert!(
            metric.contains("request_protocol=\"grpc\"") && metric.ends_with(" 3"),
            "{metric}"
        );
        assert!(metric.contains("grpc_response_status=\"0\""), "{metric}");
        let messages = mesh.metrics("istio_request_messages_total").join("");
        assert!(messages.ends_with(" 6"), "{messages}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn versions_are_translated() {
    local(async {
        let mesh = Mesh::new(manager(to(forward("web"))), |_, request| {
            assert!(
                request.starts_with("POST /x HTTP/1.1\r\nhost: web\r\n"),
                "{request}"
            );
            assert!(request.contains("cookie: a=1; b=2\r\n"));
            Answer::Send(
                "HTTP/1.1 201 Created\r\nConnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi",
            )
        });
        let stream = mesh.connect(connection(TrafficDirection::Outbound));
        let (client, driver) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::task::spawn_local(async move {
            let _ = driver.await;
        });
        let mut client = client.ready().await.expect("open");
        let request = http::Request::post("http://web/x")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(())
            .expect("valid");
        let (response, mut send) = client.send_request(request, false).expect("open");
        send.send_data(Bytes::from_static(b"hello"), true)
            .expect("open");
        let response = response.await.expect("a response");
        assert_eq!(response.status(), 201);
        assert!(!response.headers().contains_key("connection"));
        let mut body = response.into_body();
        let piece = body.data().await.expect("there").expect("readable");
        assert_eq!(&piece[..], b"hi");
        assert!(
            mesh.seen()[0].ends_with("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn draining_http2_says_goodbye() {
    local(async {
        let mesh = Mesh::new(manager(to(forward("web"))), |_, _| Answer::Send(OK));
        let info = connection(TrafficDirection::Inbound);
        let drain = info.drain.clone();
        let stream = mesh.connect(info);
        let (client, driver) = h2::client::handshake(stream).await.expect("a handshake");
        let ended = tokio::task::spawn_local(driver);
        let mut client = client.ready().await.expect("open");
        let request = http::Request::get("http://web/").body(()).expect("valid");
        let (response, _) = client.send_request(request, true).expect("open");
        assert_eq!(response.await.expect("a response").status(), 200);
        drain.start();
        drop(client);
        ended.await.expect("not cancelled").expect("an orderly end");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn http2_connections_end_when_they_are_old_however_busy() {
    local(async {
        let mut config = manager(to(forward("web")));
        config.common_http_protocol_options = Some(core::HttpProtocolOptions {
            max_connection_duration: Some(protobuf::Duration {
                seconds: 10,
                nanos: 0,
            }),
            ..Default::default()
        });
        let mesh = Mesh::new(config, |_, _| Answer::Hang);
        let stream = mesh.connect(connection(TrafficDirection::Inbound));
        let (client, driver) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::task::spawn_local(driver);
        let mut client = client.ready().await.expect("open");
        let request = || http::Request::get("http://web/").body(()).expect("valid");
        let (_busy, _) = client.send_request(request(), true).expect("open");
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(poll_fn(|cx| client.poll_ready(cx)).await.is_ok());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let refused = match client.send_request(request(), true) {
            Ok((response, _)) => response.await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "GOAWAY was sent");
    })
    .await;
}
