//! Connections through listeners, filter chains and TCP proxy, all in memory.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ironsail_xds::ext::filters::listener as filters;
use ironsail_xds::ext::transport_sockets::tls::v3::CommonTlsContext;
use ironsail_xds::listener as proto;
use ironsail_xds::protobuf::{BoolValue, UInt32Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::testing::memory::{self, Arrival, DRAIN_TIME};
use crate::testing::{
    Authority, client_hello, common_tls, downstream_tls, listener, listener_filter,
    original_dst_cluster, static_cluster, tcp_chain, update, upstream_tls,
};
use crate::worker::LocalNode;
use crate::xds::Sink;

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

/// A proxy in memory: what it dials arrives at `dialled`.
struct Proxy {
    memory: memory::Proxy,
    dialled: RefCell<mpsc::UnboundedReceiver<(SocketAddr, DuplexStream)>>,
}

impl Proxy {
    fn new() -> Self {
        let (sender, dialled) = mpsc::unbounded_channel();
        let dial = move |address| {
            let (near, far) = memory::stream();
            let sent = sender.send((address, far));
            sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok(near)
        };
        Self {
            memory: memory::Proxy::new(LocalNode::default(), dial),
            dialled: RefCell::new(dialled),
        }
    }

    fn configure(
        &mut self,
        clusters: &[ironsail_xds::cluster::Cluster],
        listeners: &[proto::Listener],
    ) {
        let clusters: Vec<_> = clusters
            .iter()
            .map(|c| (c.name.as_str(), c.clone()))
            .collect();
        let listeners: Vec<_> = listeners
            .iter()
            .map(|l| (l.name.as_str(), l.clone()))
            .collect();
        assert_eq!(self.memory.store.apply(update(&clusters)), vec![]);
        assert_eq!(self.memory.store.apply(update(&listeners)), vec![]);
        self.memory.apply();
    }

    /// A client whose connection to `destination` arrived at the listener of `at`.
    fn connect(&self, at: &str, destination: &str) -> DuplexStream {
        let stream = self.memory.connect(Arrival {
            at: at.parse().expect("an address"),
            remote: ([192, 0, 2, 1], 40000).into(),
            destination: Some(destination.parse().expect("an address")),
        });
        stream.expect("configured")
    }

    async fn server(&self) -> (SocketAddr, DuplexStream) {
        std::future::poll_fn(|context| self.dialled.borrow_mut().poll_recv(context))
            .await
            .expect("the dialer lives")
    }

    fn was_dialled(&self) -> bool {
        !self.dialled.borrow().is_empty()
    }
}

async fn read_exactly(stream: &mut DuplexStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.expect("enough bytes");
    String::from_utf8(bytes).expect("text")
}

fn matching(
    mut chain: proto::FilterChain,
    change: impl FnOnce(&mut proto::FilterChainMatch),
) -> proto::FilterChain {
    change(chain.filter_chain_match.get_or_insert_default());
    chain
}

fn http_inspector() -> proto::ListenerFilter {
    listener_filter(&filters::http_inspector::v3::HttpInspector::default())
}

fn tls_inspector() -> proto::ListenerFilter {
    listener_filter(&filters::tls_inspector::v3::TlsInspector::default())
}

async fn local(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

/// Listeners as a sidecar has them: one that takes all, one for a service, and a guard against loops.
fn outbound() -> Vec<proto::Listener> {
    let guard = matching(tcp_chain("BlackHole"), |m| {
        m.destination_port = Some(UInt32Value { value: 15001 });
    });
    let mut all = listener(
        "virtualOutbound",
        "0.0.0.0:15001",
        vec![guard, tcp_chain("Passthrough")],
    );
    all.use_original_dst = Some(BoolValue { value: true });
    let mut service = listener("10.96.0.1_443", "10.96.0.1:443", vec![tcp_chain("service")]);
    service.bind_to_port = Some(BoolValue { value: false });
    vec![all, service]
}

fn outbound_clusters() -> Vec<ironsail_xds::cluster::Cluster> {
    vec![
        static_cluster("BlackHole", &[]),
        original_dst_cluster("Passthrough"),
        static_cluster("service", &["10.0.0.7:8443"]),
    ]
}

#[tokio::test(start_paused = true)]
async fn destinations_choose_the_listener() {
    local(async {
        let mut proxy = Proxy::new();
        proxy.configure(&outbound_clusters(), &outbound());
        for (destination, expected) in [
            ("10.96.0.1:443", "10.0.0.7:8443"),
            ("10.96.0.1:444", "10.96.0.1:444"),
            ("203.0.113.9:443", "203.0.113.9:443"),
        ] {
            let mut client = proxy.connect("0.0.0.0:15001", destination);
            let (address, mut server) = proxy.server().await;
            assert_eq!(address.to_string(), expected);
            client.write_all(b"ping").await.expect("open");
            assert_eq!(read_exactly(&mut server, 4).await, "ping");
            server.write_all(b"pong").await.expect("open");
            assert_eq!(read_exactly(&mut client, 4).await, "pong");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn loops_end_in_the_black_hole() {
    local(async {
        let mut proxy = Proxy::new();
        proxy.configure(&outbound_clusters(), &outbound());
        let mut client = proxy.connect("0.0.0.0:15001", "10.0.0.1:15001");
        assert_eq!(client.read(&mut [0; 8]).await.expect("closed"), 0);
        assert!(!proxy.was_dialled());
    })
    .await;
}

/// A listener that tells HTTP by its first bytes, as on a port without declared protocol.
fn sniffing() -> proto::Listener {
    let http = matching(tcp_chain("http"), |m| {
        m.transport_protocol = "raw_buffer".to_owned();
        m.application_protocols = vec!["http/1.1".to_owned(), "h2c".to_owned()];
    });
    let mut config = listener("sniff", "0.0.0.0:15006", vec![http]);
    config.default_filter_chain = Some(tcp_chain("tcp"));
    config.listener_filters = vec![http_inspector()];
    config.listener_filters_timeout = Some(ironsail_xds::duration(Duration::ZERO));
    config.continue_on_listener_filters_timeout = true;
    config
}

fn sniffing_clusters() -> Vec<ironsail_xds::cluster::Cluster> {
    vec![
        static_cluster("http", &["10.0.0.80:80"]),
        static_cluster("tcp", &["10.0.0.6:6"]),
    ]
}

#[tokio::test(start_paused = true)]
async fn first_bytes_choose_the_chain_and_are_not_lost() {
    local(async {
        let mut proxy = Proxy::new();
        proxy.configure(&sniffing_clusters(), &[sniffing()]);
        for (text, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", "10.0.0.80:80"),
            ("SSH-2.0-client\r\n", "10.0.0.6:6"),
            ("GET / HTTP/1.0\r\n\r\n", "10.0.0.6:6"),
        ] {
            let mut client = proxy.connect("0.0.0.0:15006", "10.0.0.1:8000");
            let (head, tail) = text.split_at(2);
            client.write_all(head.as_bytes()).await.expect("open");
            tokio::task::yield_now().await;
            client.write_all(tail.as_bytes()).await.expect("open");
            let (address, mut server) = proxy.server().await;
            assert_eq!(address.to_string(), expected, "{text:?}");
            assert_eq!(read_exactly(&mut server, text.len()).await, text);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_first_is_heard() {
    local(async {
        let mut proxy = Proxy::new();
        proxy.configure(&sniffing_clusters(), &[sniffing()]);
        let mut client = proxy.connect("0.0.0.0:15006", "10.0.0.1:3306");
        let (address, mut server) = proxy.server().await;
        assert_eq!(address.to_string(), "10.0.0.6:6");
        server.write_all(b"greeting").await.expect("open");
        assert_eq!(read_exactly(&mut client, 8).await, "greeting");
        client.write_all(b"answer").await.expect("open");
        assert_eq!(read_exactly(&mut server, 6).await, "answer");
        assert!(!proxy.was_dialled(), "one connection serves both");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_keeps_its_protocol() {
    local(async {
        let mut proxy = Proxy::new();
        proxy.configure(&sniffing_clusters(), &[sniffing()]);
        let mut client = proxy.connect("0.0.0.0:15006", "10.0.0.1:8000");
        let (address, mut asked) = proxy.server().await;
        assert_eq!(address.to_string(), "10.0.0.6:6");
        client
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("open");
        let (address, mut server) = proxy.server().await;
        assert_eq!(address.to_string(), "10.0.0.80:80");
        assert_eq!(
            read_exactly(&mut server, 18).await,
            "GET / HTTP/1.1\r\n\r\n"
        );
        assert_eq!(asked.read(&mut [0; 8]).await.expect("closed"), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn listener_filters_have_their_time() {
    local(async {
        let mut proxy = Proxy::new();
        let mut config = sniffing();
        config.listener_filters_timeout = Some(ironsail_xds::duration(Duration::from_millis(10)));
        config.continue_on_listener_filters_timeout = false;
        proxy.configure(&sniffing_clusters(), &[config]);
        let mut client = proxy.connect("0.0.0.0:15006", "10.0.0.1:8000");
        assert_eq!(client.read(&mut [0; 8]).await.expect("closed"), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn handshakes_have_their_time() {
    local(async {
        let mut proxy = Proxy::new();
        let workload = Authority::new().workload(WEB);
        proxy.memory.store.set_workload(Some(workload));
        let mut chain = tcp_chain("service");
        let certificates = common_tls(&[], &["spiffe://cluster.local/*"]);
        chain.transport_socket = Some(downstream_tls(certificates));
        let limit = Some(ironsail_xds::duration(Duration::from_secs(1)));
        chain.transport_socket_connect_timeout = limit;
        let mut secured = listener("secured", "0.0.0.0:15006", vec![chain]);
        secured.listener_filters = vec![tls_inspector()];
        secured.listener_filters_timeout = limit;
        proxy.configure(&outbound_clusters(), &[secured]);
        let hello = client_hello("web");
        let (half, _) = hello.split_at(hello.len() / 2);
        for (name, sent, is_answered) in [
            ("a hello and no more", hello.as_slice(), true),
            ("half a record", half, false),
            ("nothing", &[], false),
        ] {
            let begin = tokio::time::Instant::now();
            let mut client = proxy.connect("0.0.0.0:15006", "10.0.0.1:80");
            client.write_all(sent).await.expect("open");
            let mut said = Vec::new();
            client.read_to_end(&mut said).await.expect("closed");
            assert_eq!(!said.is_empty(), is_answered, "{name}");
            assert!(begin.elapsed() <= Duration::from_secs(3), "{name}");
        }
        assert!(!proxy.was_dialled());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_chain_closes_the_connection() {
    local(async {
        let mut proxy = Proxy::new();
        let chain = matching(tcp_chain("tcp"), |m| {
            m.transport_protocol = "tls".to_owned()
        });
        let mut strict = listener("strict", "0.0.0.0:15006", vec![chain]);
        strict.listener_filters = vec![tls_inspector()];
        proxy.configure(&sniffing_clusters(), &[strict]);
        let mut client = proxy.connect("0.0.0.0:15006", "10.0.0.1:80");
        client
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("open");
        assert_eq!(client.read(&mut [0; 8]).await.expect("closed"), 0);
        assert!(!proxy.was_dialled());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_are_counted_where_they_were_handed_over() {
    local(async {
        let mut proxy = Proxy::new();
        let mut strict = matching(tcp_chain("service"), |m| {
            m.transport_protocol = "tls".to_owned()
        });
        let certificates = common_tls(&[], &["spiffe://cluster.local/*"]);
        strict.transport_socket = Some(downstream_tls(certificates));
        let mut refusing = listener("strict", "[::]:15006", vec![strict]);
        refusing.listener_filters = vec![tls_inspector()];
        let mut listeners = outbound();
        listeners.push(refusing);
        proxy.configure(&outbound_clusters(), &listeners);

        let client = proxy.connect("0.0.0.0:15001", "10.96.0.1:443");
        let server = proxy.server().await;
        for hello in [b"no TLS".to_vec(), client_hello("web")] {
            let mut refused = proxy.connect("[::]:15006", "[::1]:80");
            refused.write_all(&hello).await.expect("open");
            let _ = refused.read_to_end(&mut Vec::new()).await;
        }
        let service = "listener.10.96.0.1_443";
        let strict = "listener.[__]_15006";
        let count = |name: String| proxy.memory.registry.sum(|own| own == name);
        assert_eq!(count(format!("{service}.downstream_cx_total")), 1);
        assert_eq!(count(format!("{service}.downstream_cx_active")), 1);
        assert_eq!(
            count("listener.0.0.0.0_15001.downstream_cx_total".to_owned()),
            0
        );
        assert_eq!(count(format!("{strict}.no_filter_chain_match")), 1);
        assert_eq!(count(format!("{strict}.downstream_cx_total")), 1);
        assert_eq!(count(format!("{strict}.downstream_cx_active")), 0);
        assert_eq!(count(format!("{strict}.ssl.connection_error")), 1);

        drop((client, server));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(count(format!("{service}.downstream_cx_active")), 0);
        assert_eq!(count(format!("{service}.downstream_cx_total")), 1);
    })
    .await;
}

/// A client's proxy and a server's proxy, with mutual TLS and metadata exchange between them.
#[tokio::test(start_paused = true)]
async fn mutual_tls_between_two_proxies() {
    local(async {
        let authority = Authority::new();
        let alpn = &["istio-peer-exchange", "istio"];
        let mut cluster = static_cluster("web", &["10.0.0.9:80"]);
        cluster.transport_socket = Some(upstream_tls(
            "outbound_.80_._.web",
            common_tls(alpn, &[WEB]),
        ));
        let exchange: CommonTlsContext =
            common_tls(&["istio-peer-exchange"], &["spiffe://cluster.local/*"]);
        let mut secured = matching(tcp_chain("app"), |m| {
            m.transport_protocol = "tls".to_owned();
            m.application_protocols = vec!["istio".to_owned()];
        });
        secured.transport_socket = Some(downstream_tls(exchange));
        let mut inbound = listener("virtualInbound", "0.0.0.0:15006", vec![secured]);
        inbound.listener_filters = vec![tls_inspector()];

        let mut near = Proxy::new();
        near.memory.store.set_workload(Some(
            authority.workload("spiffe://cluster.local/ns/shop/sa/api"),
        ));
        near.configure(
            &[cluster],
            &[listener("out", "10.96.0.5:80", vec![tcp_chain("web")])],
        );
        let mut far = Proxy::new();
        far.memory.store.set_workload(Some(authority.workload(WEB)));
        far.configure(&[static_cluster("app", &["10.0.0.9:8080"])], &[inbound]);

        let mut client = near.connect("10.96.0.5:80", "10.96.0.5:80");
        let (address, between) = near.server().await;
        assert_eq!(address.to_string(), "10.0.0.9:80");
        let mut entry = far.connect("0.0.0.0:15006", "10.0.0.9:80");
        tokio::task::spawn_local(async move {
            let mut between = between;
            tokio::io::copy_bidirectional(&mut between, &mut entry).await
        });
        client.write_all(b"ping").await.expect("open");
        let (address, mut app) = far.server().await;
        assert_eq!(address.to_string(), "10.0.0.9:8080");
        assert_eq!(read_exactly(&mut app, 4).await, "ping");
        let numbers: String = (0..100_000).map(|number| format!("{number} ")).collect();
        let (sent, received) = tokio::join!(
            client.write_all(numbers.as_bytes()),
            read_exactly(&mut app, numbers.len())
        );
        sent.expect("open");
        assert!(received == numbers, "records are joined in order");
        let mut answer = String::new();
        let back = async {
            app.write_all(numbers.as_bytes()).await.expect("open");
            drop(app);
        };
        let (_, read) = tokio::join!(back, client.read_to_string(&mut answer));
        read.expect("ended");
        assert!(answer == numbers, "all comes before the end");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn changed_chains_drain_and_others_stay() {
    local(async {
        let mut proxy = Proxy::new();
        let chains = |second: &str| {
            let chain = |cluster: &str, port| {
                matching(tcp_chain(cluster), |m| {
                    m.destination_port = Some(UInt32Value { value: port });
                })
            };
            listener(
                "l",
                "0.0.0.0:15006",
                vec![chain("http", 80), chain(second, 81)],
            )
        };
        proxy.configure(&sniffing_clusters(), &[chains("http")]);
        let mut kept = proxy.connect("0.0.0.0:15006", "10.0.0.1:80");
        let mut drained = proxy.connect("0.0.0.0:15006", "10.0.0.1:81");
        let (_first, _second) = (proxy.server().await, proxy.server().await);
        proxy.configure(&sniffing_clusters(), &[chains("tcp")]);
        tokio::time::sleep(DRAIN_TIME / 2).await;
        let _echo = proxy.connect("0.0.0.0:15006", "10.0.0.1:81");
        assert_eq!(proxy.server().await.0.to_string(), "10.0.0.6:6");
        let mut byte = [0; 1];
        let open = tokio::time::timeout(Duration::from_secs(1), drained.read(&mut byte));
        open.await.expect_err("it may finish what it does");
        assert_eq!(
            drained
                .read(&mut byte)
                .await
                .expect("closed after the drain time"),
            0
        );
        let open = tokio::time::timeout(Duration::from_secs(100), kept.read(&mut byte));
        open.await
            .expect_err("an unchanged chain keeps its connections");
    })
    .await;
}

#[test]
fn draining_inbound_leaves_outbound() {
    let mut proxy = Proxy::new();
    let mut inbound = listener("in", "0.0.0.0:15006", vec![tcp_chain("tcp")]);
    inbound.traffic_direction = ironsail_xds::core::TrafficDirection::Inbound as i32;
    let outbound = listener("out", "0.0.0.0:15001", vec![tcp_chain("tcp")]);
    proxy.configure(&sniffing_clusters(), &[inbound, outbound]);
    let draining = |port: u16| {
        let at = SocketAddr::from(([0, 0, 0, 0], port));
        let listener = proxy
            .memory
            .worker
            .listeners
            .for_destination(at)
            .expect("configured");
        let chain = Arc::clone(&listener.config.chains[0]);
        listener.drain_of(&chain).is_draining()
    };
    proxy
        .memory
        .worker
        .listeners
        .drain(super::DrainScope::Inbound, super::DrainMode::Graceful);
    assert!(draining(15006));
    assert!(!draining(15001));
}

#[tokio::test(start_paused = true)]
async fn load_balancers_tell_who_the_client_is() {
    local(async {
        let mut proxy = Proxy::new();
        let near = matching(tcp_chain("near"), |m| {
            m.source_prefix_ranges = vec![ironsail_xds::core::CidrRange {
                address_prefix: "203.0.113.0".to_owned(),
                prefix_len: Some(UInt32Value { value: 24 }),
            }];
        });
        let mut all = listener("all", "10.0.0.1:80", vec![near, tcp_chain("other")]);
        all.listener_filters = vec![
            http_inspector(),
            listener_filter(&filters::proxy_protocol::v3::ProxyProtocol::default()),
        ];
        let clusters = [
            static_cluster("near", &["10.0.0.7:80"]),
            static_cluster("other", &["10.0.0.8:80"]),
        ];
        proxy.configure(&clusters, &[all]);
        let header = "PROXY TCP4 203.0.113.9 10.0.0.1 4000 80\r\n";
        for (said, server) in [
            (header, "10.0.0.7:80"),
            ("PROXY UNKNOWN\r\n", "10.0.0.8:80"),
        ] {
            let mut client = proxy.connect("10.0.0.1:80", "10.0.0.1:80");
            client.write_all(said.as_bytes()).await.expect("room");
            tokio::task::yield_now().await;
            client.write_all(b"GET / HTTP/1.1\r\n").await.expect("room");
            let (address, mut far) = proxy.server().await;
            assert_eq!(address.to_string(), server, "{said:?}");
            // Of the header itself nothing is passed on.
            assert_eq!(read_exactly(&mut far, 16).await, "GET / HTTP/1.1\r\n");
        }
        // Neither bytes without a header nor silence get anywhere.
        for said in ["GET / HTTP/1.1\r\n", "PROXY TCP4 "] {
            let mut client = proxy.connect("10.0.0.1:80", "10.0.0.1:80");
            client.write_all(said.as_bytes()).await.expect("room");
            assert_eq!(client.read(&mut [0; 1]).await.ok(), Some(0), "{said:?}");
        }
        assert!(!proxy.was_dialled());
        let errors = |name: &str| name.ends_with("downstream_cx_proxy_proto_error");
        assert_eq!(proxy.memory.registry.sum(errors), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn hosts_are_told_who_the_client_is() {
    use ironsail_xds::core::{
        ProxyProtocolConfig, TransportSocket, proxy_protocol_config::Version, transport_socket,
    };
    use ironsail_xds::ext::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
    local(async {
        let mut proxy = Proxy::new();
        let mut cluster = static_cluster("told", &["10.0.0.7:80"]);
        let config = ProxyProtocolUpstreamTransport {
            config: Some(ProxyProtocolConfig {
                version: Version::V1.into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        cluster.transport_socket = Some(TransportSocket {
            name: "envoy.transport_sockets.upstream_proxy_protocol".to_owned(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(
                ironsail_xds::pack(&config),
            )),
        });
        let all = listener("all", "10.0.0.1:80", vec![tcp_chain("told")]);
        proxy.configure(&[cluster], &[all]);
        let mut client = proxy.connect("10.0.0.1:80", "10.0.0.1:80");
        client.write_all(b"hello").await.expect("room");
        let (_, mut far) = proxy.server().await;
        let expected = "PROXY TCP4 192.0.2.1 10.0.0.1 40000 80\r\nhello";
        assert_eq!(read_exactly(&mut far, expected.len()).await, expected);
    })
    .await;
}
