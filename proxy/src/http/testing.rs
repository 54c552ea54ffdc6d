//! Helpers of unit tests: connections without sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use prost::Message;

use crate::conn::{ConnectionInfo, Drain, PeerCertificate, TlsInfo, TransportProtocol};
use crate::resource::intern::Interner;
use crate::resource::listener::{ListenerConfig, TrafficDirection};

/// A plaintext connection from 10.0.0.9:4000 to 10.0.0.1:9080.
pub fn connection(direction: TrafficDirection) -> ConnectionInfo {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    ConnectionInfo {
        id: 7,
        local: address("10.0.0.1:9080"),
        direct_local: address("10.0.0.1:15006"),
        remote: address("10.0.0.9:4000"),
        direct_remote: address("10.0.0.9:4000"),
        transport: TransportProtocol::RawBuffer,
        server_name: None,
        tls: None,
        listener: listener(direction),
        filter_chain_name: "chain".into(),
        start: Instant::now(),
        start_time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_715_065_689_012),
        drain: Drain::new(),
    }
}

fn listener(direction: TrafficDirection) -> Arc<ListenerConfig> {
    use ironsail_xds::core::TrafficDirection as Wire;
    let mut config = crate::testing::listener(
        "virtualInbound",
        "0.0.0.0:15006",
        vec![crate::testing::tcp_chain("c")],
    );
    config.traffic_direction = match direction {
        TrafficDirection::Inbound => Wire::Inbound,
        TrafficDirection::Outbound => Wire::Outbound,
        TrafficDirection::Unspecified => Wire::Unspecified,
    }
    .into();
    let compiled = ListenerConfig::compile(&config.encode_to_vec(), None, &mut Interner::default());
    Arc::new(compiled.expect("valid"))
}

/// The same with mutual TLS of `client` and `server`.
pub fn mutual_tls(direction: TrafficDirection, client: &str, server: &str) -> ConnectionInfo {
    ConnectionInfo {
        transport: TransportProtocol::Tls,
        server_name: Some("outbound_.9080_._.web.shop.svc.cluster.local".into()),
        tls: Some(TlsInfo {
            peer: Some(Arc::new(PeerCertificate {
                chain: vec![vec![1, 2, 3]],
                uri_sans: vec![client.into()],
                dns_sans: vec!["client.example".into()],
                subject: "CN=client".to_owned(),
                issuer: "O=cluster.local".to_owned(),
                sha256: "ab12".to_owned(),
                pem: Default::default(),
            })),
            local_uri_sans: Arc::from([Arc::from(server)]),
            alpn: None,
            version: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384".to_owned(),
            server_name: None,
        }),
        ..connection(direction)
    }
}
