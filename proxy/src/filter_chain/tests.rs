use super::*;

fn wrap(number: &str) -> ironsail_xds::protobuf::UInt32Value {
    ironsail_xds::protobuf::UInt32Value {
        value: number.parse().expect("a number"),
    }
}

/// A chain in short: `port=9080 cidr=10.0.0.0/8 sni=*.a.com tls alpn=istio,h2`.
fn chain(text: &str) -> FilterChainMatch {
    let mut proto = proto::FilterChainMatch::default();
    for part in text.split_whitespace() {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let list = || value.split(',').map(str::to_owned);
        let cidrs = || {
            list()
                .map(|range| {
                    let (address, length) = range.split_once('/').expect("address/length");
                    CidrRange {
                        address_prefix: address.to_owned(),
                        prefix_len: Some(wrap(length)),
                    }
                })
                .collect()
        };
        match key {
            "port" => {
                proto.destination_port = Some(wrap(value));
            }
            "cidr" => proto.prefix_ranges = cidrs(),
            "sni" => proto.server_names = list().collect(),
            "tls" => proto.transport_protocol = "tls".to_owned(),
            "raw" => proto.transport_protocol = "raw_buffer".to_owned(),
            "alpn" => proto.application_protocols = list().collect(),
            "direct" => proto.direct_source_prefix_ranges = cidrs(),
            "local" => proto.source_type = ConnectionSourceType::SameIpOrLoopback as i32,
            "external" => proto.source_type = ConnectionSourceType::External as i32,
            "source" => proto.source_prefix_ranges = cidrs(),
            "sport" => {
                proto.source_ports = list().map(|port| port.parse().expect("a port")).collect();
            }
            other => panic!("unknown key {other}"),
        }
    }
    FilterChainMatch::compile(Some(&proto)).expect("valid match")
}

/// A connection in short: `10.0.0.1:9080 tls sni=x alpn=h2 from=10.0.0.9:1234`.
#[track_caller]
fn check(chains: &[&str], connection: &str, expected: Option<usize>) {
    let matches: Vec<_> = chains.iter().map(|text| chain(text)).collect();
    let matcher = Matcher::build(&matches).expect("no duplicates");
    let mut parts = connection.split_whitespace();
    let destination = parts.next().and_then(|text| text.parse().ok());
    let source = SocketAddr::from(([192, 0, 2, 7], 40000));
    let mut protocols = Vec::new();
    let mut criteria = Criteria {
        destination: destination.expect("an address"),
        server_name: "",
        transport: TransportProtocol::RawBuffer,
        application_protocols: &[],
        direct_source: source.ip(),
        source,
    };
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key {
            "tls" => criteria.transport = TransportProtocol::Tls,
            "sni" => criteria.server_name = value,
            "alpn" => protocols = value.split(',').map(|p| p.as_bytes().to_vec()).collect(),
            "from" => criteria.source = value.parse().expect("an address"),
            other => panic!("unknown key {other}"),
        }
    }
    criteria.direct_source = criteria.source.ip();
    criteria.application_protocols = &protocols;
    assert_eq!(matcher.find(&criteria), expected, "{connection}");
}

/// Chains of a permissive inbound listener with one HTTP port, as stock Istio writes them.
const INBOUND: &[&str] = &[
    "port=15006",
    "tls alpn=istio-http/1.0,istio-http/1.1,istio-h2",
    "raw alpn=http/1.1,h2c",
    "tls alpn=istio-peer-exchange,istio",
    "raw",
    "tls",
    "port=9080 tls alpn=istio,istio-peer-exchange,istio-http/1.0,istio-http/1.1,istio-h2",
    "port=9080 raw",
];

#[test]
fn inbound_chains_of_a_sidecar() {
    for (connection, expected) in [
        ("10.0.0.1:15006", Some(0)),
        ("10.0.0.1:15006 tls alpn=istio", Some(0)),
        (
            "10.0.0.1:8000 tls alpn=istio-http/1.1,istio,http/1.1",
            Some(1),
        ),
        ("10.0.0.1:8000 alpn=http/1.1", Some(2)),
        ("10.0.0.1:8000 alpn=http/1.0", Some(4)),
        ("10.0.0.1:8000 tls alpn=istio-peer-exchange,istio", Some(3)),
        ("10.0.0.1:8000", Some(4)),
        ("10.0.0.1:8000 tls alpn=h2", Some(5)),
        ("10.0.0.1:8000 tls sni=outbound_.8000_._.x", Some(5)),
        ("10.0.0.1:9080 tls alpn=istio-h2,istio,h2", Some(6)),
        ("10.0.0.1:9080 alpn=http/1.1", Some(7)),
        // The chosen port is not given up again: TLS without a mesh ALPN finds nothing there.
        ("10.0.0.1:9080 tls alpn=h2", None),
    ] {
        check(INBOUND, connection, expected);
    }
}

#[test]
fn longest_prefix_wins() {
    let chains = &["cidr=10.0.0.0/8", "cidr=10.1.0.0/16,fd00::/8", ""];
    check(chains, "10.1.2.3:80", Some(1));
    check(chains, "10.2.2.3:80", Some(0));
    check(chains, "11.0.0.1:80", Some(2));
    check(chains, "[fd00::1]:80", Some(1));
    check(chains, "[fe80::1]:80", Some(2));
}

#[test]
fn exact_server_name_before_longest_suffix() {
    let chains = &["sni=a.b.com", "sni=*.b.com", "sni=*.com", ""];
    check(chains, "1.1.1.1:443 tls sni=a.b.com", Some(0));
    check(chains, "1.1.1.1:443 tls sni=x.y.b.com", Some(1));
    check(chains, "1.1.1.1:443 tls sni=b.com", Some(2));
    check(chains, "1.1.1.1:443 tls sni=org", Some(3));
}

#[test]
fn a_server_name_is_not_given_up_for_another_transport() {
    check(&["sni=a.com tls", "raw"], "1.1.1.1:443 sni=a.com", None);
}

#[test]
fn sources_come_last() {
    let chains = &[
        "local",
        "external source=192.0.2.0/24 sport=40000",
        "external",
        "direct=198.51.100.0/24",
    ];
    check(chains, "1.1.1.1:80 from=127.0.0.1:5", Some(0));
    check(chains, "1.1.1.1:80 from=1.1.1.1:5", Some(0));
    check(chains, "1.1.1.1:80 from=192.0.2.1:40000", Some(1));
    check(chains, "1.1.1.1:80 from=192.0.2.1:40001", None);
    check(chains, "1.1.1.1:80 from=203.0.113.1:1", Some(2));
    check(chains, "1.1.1.1:80 from=198.51.100.1:1", Some(3));
}

#[test]
fn equal_matches_are_refused() {
    let error = Matcher::build(&[chain("port=80"), chain("port=80")]).expect_err("duplicate");
    assert_eq!(error.path, "[1]");
}

#[test]
fn partial_wildcards_are_refused() {
    for name in ["a.*.com", "*a.com", "*", "*.*.com"] {
        let proto = proto::FilterChainMatch {
            server_names: vec![name.to_owned()],
            ..Default::default()
        };
        assert!(FilterChainMatch::compile(Some(&proto)).is_err(), "{name}");
    }
}
