//! Certificates and first bytes that must not lead to a connection, and odd ones that may.

use std::sync::Arc;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::{API, WEB, handshake, handshake_over, mesh_client, mesh_server, secrets};
use crate::testing::{Authority, client_hello, fragmented, padded};
use crate::transport_socket::secret::WorkloadCertificate;
use crate::transport_socket::verify::{Policy, Verifier};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("ASCII"))
}

type Change = fn(&mut CertificateParams);

/// Certificates of clients, signed by the right authority, and why the server refuses them.
const CERTIFICATES: &[(&str, Change, &str)] = &[
    (
        "expired",
        |c| c.not_after = rcgen::date_time_ymd(2020, 1, 1),
        "xpired",
    ),
    (
        "not yet valid",
        |c| c.not_before = rcgen::date_time_ymd(2200, 1, 1),
        "alid",
    ),
    (
        "no name",
        |c| c.subject_alt_names = Vec::new(),
        "no subject alternative name",
    ),
    (
        "a host's name",
        |c| c.subject_alt_names = vec![dns("api.shop")],
        "no subject alternative name",
    ),
    (
        "a host's name that looks like an identity",
        |c| c.subject_alt_names = vec![dns("cluster.local")],
        "no subject alternative name",
    ),
    (
        "another trust domain",
        |c| c.subject_alt_names = vec![uri("spiffe://cluster.local.evil/ns/shop/sa/api")],
        "no subject alternative name",
    ),
    (
        "two identities",
        |c| c.subject_alt_names = vec![uri(API), uri("spiffe://cluster.local/ns/shop/sa/admin")],
        "more than one",
    ),
    (
        "an identity beside another one",
        |c| c.subject_alt_names = vec![uri("https://a/"), uri(API)],
        "more than one",
    ),
    (
        "for servers only",
        |c| c.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        "",
    ),
];

#[tokio::test]
async fn certificates_that_are_no_identity() {
    let authority = Authority::new();
    for (name, change, reason) in CERTIFICATES {
        let bad = secrets(authority.issue(API, change));
        let good = secrets(authority.workload(WEB));
        let (client, server) =
            handshake((&mesh_client(&[WEB]), &bad, None), (&mesh_server(), &good)).await;
        assert!(client.is_err(), "{name}: the client is told by an alert");
        let error = server.expect_err(name).to_string();
        assert!(error.contains(reason), "{name}: {error}");
    }
}

#[tokio::test]
async fn handshakes_come_in_single_bytes() {
    let authority = Authority::new();
    let (ours, theirs) = (authority.workload(API), authority.workload(WEB));
    let (near, mut between) = tokio::io::duplex(16 * 1024);
    let (mut beyond, far) = tokio::io::duplex(16 * 1024);
    let (context, acceptor) = (mesh_client(&[WEB]), mesh_server());
    let (ours, theirs) = (secrets(ours), secrets(theirs));
    let handshake = handshake_over((near, far), (&context, &ours, None), (&acceptor, &theirs));
    let carried = tokio::io::copy_bidirectional_with_sizes(&mut between, &mut beyond, 1, 1);
    let ((client, server), _) = tokio::join!(handshake, carried);
    client.expect("the server is who it should be");
    server.expect("the client is of the mesh");
}

/// The first byte that a server answers, and whether it goes on.
async fn answer(bytes: &[u8]) -> (Option<u8>, bool) {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    far.write_all(bytes).await.expect("room");
    far.shutdown().await.expect("memory shuts down");
    let own = secrets(Authority::new().workload(WEB));
    let accepted = mesh_server().accept(near, &own).await;
    let mut said = Vec::new();
    far.read_to_end(&mut said).await.expect("memory reads");
    (said.first().copied(), accepted.is_ok())
}

fn replaced(hello: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = hello
        .windows(from.len())
        .position(|part| part == from)
        .expect("it is there");
    let mut bytes = hello.to_vec();
    bytes.splice(at..at + to.len(), to.iter().copied());
    bytes
}

#[tokio::test]
async fn first_bytes() {
    let hello = client_hello("a.example.com");
    let named = |name: &[u8]| replaced(&hello, b"a.example.com", name);
    // The handshake of those that are answered breaks off, because the client has gone.
    let cases: &[(&str, Vec<u8>, Option<u8>)] = &[
        ("plain", hello.clone(), Some(HANDSHAKE)),
        ("upper case", named(b"A.EXAMPLE.COM"), Some(HANDSHAKE)),
        ("an address", named(b"100.100.100.1"), Some(HANDSHAKE)),
        (
            "records of 40 bytes",
            fragmented(&hello, 40),
            Some(HANDSHAKE),
        ),
        (
            "16 KiB more in records of 1000 bytes",
            fragmented(&padded(&hello, 16 * 1024), 1000),
            Some(HANDSHAKE),
        ),
        (
            "16 KiB more in as large records as there are",
            fragmented(&padded(&hello, 16 * 1024), 16 * 1024),
            Some(HANDSHAKE),
        ),
        ("a name with NUL", named(b"a.exam\0le.com"), Some(ALERT)),
        ("a name with a blank", named(b"a.exam le.com"), Some(ALERT)),
        (
            "an empty record",
            [&hello[..3], &[0, 0], &hello].concat(),
            Some(ALERT),
        ),
        (
            "too long a record",
            [&hello[..3], &[0xff, 0xff], &hello].concat(),
            Some(ALERT),
        ),
        (
            "too long a hello",
            [&hello[..5], &[1, 0xff, 0xff, 0xff], &[0; 600]].concat(),
            None,
        ),
        (
            "a server's hello",
            [&hello[..5], &[2], &hello[6..]].concat(),
            Some(ALERT),
        ),
        (
            "HTTP",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            Some(ALERT),
        ),
        ("zeros", vec![0; 100], Some(ALERT)),
    ];
    for (name, bytes, first) in cases {
        let (said, accepted) = answer(bytes).await;
        assert_eq!((said, accepted), (*first, false), "{name}");
    }
    for end in [0, 1, 5, hello.len() - 1] {
        assert!(!answer(&hello[..end]).await.1, "{end}");
    }
}

/// SSL 3 to TLS 1.1, by the versions that the client supports.
#[tokio::test]
async fn old_versions_are_refused() {
    let hello = client_hello("a.example.com");
    // supported_versions: TLS 1.3 and 1.2.
    let old = replaced(
        &hello,
        &[0x04, 0x03, 0x04, 0x03, 0x03],
        &[0x04, 0x03, 0x02, 0x03, 0x01],
    );
    let old = replaced(&old, &[0x03, 0x03], &[0x03, 0x01]);
    assert_eq!(answer(&old).await, (Some(ALERT), false));
}

/// A client that would send its request with the first bytes, if the last session's ticket allowed it.
#[tokio::test]
async fn tickets_allow_no_early_data() {
    let authority = Authority::new();
    let (own, server) = (secrets(authority.workload(WEB)), mesh_server());
    let config = eager_client(&authority.workload(API));
    let name = || ServerName::try_from("web").expect("a name");
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut hello = ClientConnection::new(Arc::clone(&config), name()).expect("valid");
        assert!(hello.early_data().is_none(), "{expected:?}");
        let (near, far) = tokio::io::duplex(16 * 1024);
        let connecting = TlsConnector::from(Arc::clone(&config)).connect(name(), near);
        let (stream, accepted) = tokio::join!(connecting, server.accept(far, &own));
        let (mut stream, (mut accepted, _)) = (stream.expect("good"), accepted.expect("good"));
        accepted.write_all(b"!").await.expect("room");
        accepted.flush().await.expect("room");
        // Tickets come behind the handshake.
        stream.read_u8().await.expect("a byte");
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
    }
}

fn eager_client(own: &WorkloadCertificate) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new(Policy::Any, true, Arc::clone(&provider));
    let key = SingleCertAndKey::from(Arc::clone(&own.certificate.certified));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a version of the provider")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(key));
    config.enable_early_data = true;
    Arc::new(config)
}
