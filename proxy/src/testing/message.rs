//! Configuration in short, and the first bytes of clients.

use std::sync::Arc;

use ironsail_xds::core::transport_socket::ConfigType;
use ironsail_xds::ext::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier};
use ironsail_xds::ext::transport_sockets::tls::v3 as tls;
use ironsail_xds::{cluster, core, endpoint, listener, matcher, pack, type_url};
use prost::{Message, Name};

use crate::xds::{Resource, Update};

fn sds(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig {
        name: name.to_owned(),
        sds_config: None,
    }
}

/// TLS of the mesh as the control plane writes it; `sans` are exact, or prefixes with `*` at the end.
pub(crate) fn common_tls(alpn: &[&str], sans: &[&str]) -> tls::CommonTlsContext {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    let pattern = |san: &&str| matcher::StringMatcher {
        match_pattern: Some(match san.strip_suffix('*') {
            Some(prefix) => matcher::string_matcher::MatchPattern::Prefix(prefix.to_owned()),
            None => matcher::string_matcher::MatchPattern::Exact((*san).to_owned()),
        }),
        ..Default::default()
    };
    #[allow(deprecated)]
    let default = tls::CertificateValidationContext {
        match_subject_alt_names: sans.iter().map(pattern).collect(),
        ..Default::default()
    };
    #[allow(deprecated)]
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(default),
        validation_context_sds_secret_config: Some(sds("ROOTCA")),
        ..Default::default()
    };
    tls::CommonTlsContext {
        alpn_protocols: alpn.iter().map(|&name| name.to_owned()).collect(),
        tls_certificate_sds_secret_configs: vec![sds("default")],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(combined)),
        ..Default::default()
    }
}

fn socket<T: Message + Name>(context: &T) -> core::TransportSocket {
    core::TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(context))),
    }
}

pub(crate) fn upstream_tls(sni: &str, common: tls::CommonTlsContext) -> core::TransportSocket {
    socket(&tls::UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: sni.to_owned(),
        ..Default::default()
    })
}

pub(crate) fn downstream_tls(common: tls::CommonTlsContext) -> core::TransportSocket {
    socket(&tls::DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: Some(ironsail_xds::protobuf::BoolValue { value: true }),
        ..Default::default()
    })
}

/// An address `10.0.0.1:80`.
pub(crate) fn address(text: &str) -> core::Address {
    let address: std::net::SocketAddr = text.parse().expect("an address");
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
                address.port().into(),
            )),
            ..Default::default()
        })),
    }
}

/// An assignment of these endpoints in one locality.
pub(crate) fn assignment(name: &str, addresses: &[&str]) -> endpoint::ClusterLoadAssignment {
    let endpoints = addresses.iter().map(|text| endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
            endpoint::Endpoint {
                address: Some(address(text)),
                ..Default::default()
            },
        )),
        ..Default::default()
    });
    endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: endpoints.collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn static_cluster(name: &str, addresses: &[&str]) -> cluster::Cluster {
    cluster::Cluster {
        name: name.to_owned(),
        load_assignment: Some(assignment(name, addresses)),
        ..Default::default()
    }
}

pub(crate) fn eds_cluster(name: &str) -> cluster::Cluster {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    cluster::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        ..Default::default()
    }
}

/// A cluster that connects to where the client wanted.
pub(crate) fn original_dst_cluster(name: &str) -> cluster::Cluster {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
    cluster::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(
            DiscoveryType::OriginalDst as i32,
        )),
        lb_policy: LbPolicy::ClusterProvided as i32,
        ..Default::default()
    }
}

/// A chain that proxies to a cluster.
pub(crate) fn tcp_chain(cluster: &str) -> listener::FilterChain {
    listener::FilterChain {
        filters: vec![filter(&TcpProxy {
            stat_prefix: cluster.to_owned(),
            cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
            ..Default::default()
        })],
        ..Default::default()
    }
}

pub(crate) fn filter<T: Message + Name>(config: &T) -> listener::Filter {
    listener::Filter {
        name: T::full_name(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(pack(config))),
    }
}

pub(crate) fn listener_filter<T: Message + Name>(config: &T) -> listener::ListenerFilter {
    listener::ListenerFilter {
        name: T::full_name(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(pack(
            config,
        ))),
        filter_disabled: None,
    }
}

pub(crate) fn listener(
    name: &str,
    at: &str,
    filter_chains: Vec<listener::FilterChain>,
) -> listener::Listener {
    listener::Listener {
        name: name.to_owned(),
        address: Some(address(at)),
        filter_chains,
        ..Default::default()
    }
}

/// Resources under their names, as one response brings them.
pub(crate) fn update<T: Message + Name>(resources: &[(&str, T)]) -> Update {
    let added = resources.iter().map(|(name, resource)| Resource {
        name: (*name).to_owned(),
        version: "1".to_owned(),
        body: resource.encode_to_vec().into(),
        type_url: T::type_url(),
    });
    Update {
        type_url: T::type_url(),
        added: added.collect(),
        removed: Vec::new(),
        full: [type_url::CLUSTER, type_url::LISTENER].contains(&T::type_url().as_str()),
    }
}

/// The first bytes of a TLS client that knows nobody.
pub(crate) fn client_hello(server_name: &'static str) -> Vec<u8> {
    let roots = rustls::RootCertStore::empty();
    let mut config = ironsail_runtime::tls::client_config(roots, None).expect("valid");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = server_name.try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("valid");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("memory");
    hello
}

/// A hello in records of so many bytes each.
pub(crate) fn fragmented(hello: &[u8], length: usize) -> Vec<u8> {
    let (header, body) = hello.split_at(5);
    let record = |piece: &[u8]| {
        let length = u16::try_from(piece.len()).expect("a record's length");
        [&header[..3], &length.to_be_bytes(), piece].concat()
    };
    body.chunks(length).flat_map(record).collect()
}

/// A hello with `length` bytes more, in an extension that says nothing (RFC 7685); its record may be too long.
pub(crate) fn padded(hello: &[u8], length: usize) -> Vec<u8> {
    const PADDING: u16 = 21;
    let short = |length: usize| u16::try_from(length).expect("at most 64 KiB").to_be_bytes();
    let extension = [&PADDING.to_be_bytes()[..], &short(length), &vec![0; length]].concat();
    let mut bytes = [hello, &extension].concat();
    // Session, suites and compression methods are before the length of all extensions.
    let session = 5 + 4 + 2 + 32;
    let suites = session + 1 + usize::from(hello[session]);
    let suites_length = usize::from(u16::from_be_bytes([hello[suites], hello[suites + 1]]));
    let methods = suites + 2 + suites_length;
    let extensions = methods + 1 + usize::from(hello[methods]);
    let (record, message) = (bytes.len() - 5, bytes.len() - 9);
    let rest = bytes.len() - extensions - 2;
    bytes[3..5].copy_from_slice(&short(record));
    bytes[7..9].copy_from_slice(&short(message));
    bytes[extensions..extensions + 2].copy_from_slice(&short(rest));
    bytes
}
