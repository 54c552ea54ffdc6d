//! Handshakes in memory: good and bad identities, resumption, rotation.

mod hostile;

use std::sync::Arc;

use ironsail_xds::core::TransportSocket as SocketProto;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::conn::TlsInfo;
use crate::resource::intern::Interner;
use crate::resource::tls::{downstream_socket, upstream_socket};
use crate::resource::transport_socket::DownstreamSocket;
use crate::testing::{Authority, common_tls, downstream_tls, upstream_tls};
use crate::transport_socket::secret::{Secrets, WorkloadCertificate};
use crate::transport_socket::tls::{ClientContext, ServerContext, TlsError};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const API: &str = "spiffe://cluster.local/ns/shop/sa/api";

fn secrets(workload: WorkloadCertificate) -> Arc<Secrets> {
    Arc::new(Secrets {
        workload: Some(workload),
        ..Secrets::default()
    })
}

fn server(socket: &SocketProto) -> Arc<ServerContext> {
    let limit = std::time::Duration::from_secs(15);
    match downstream_socket(Some(socket), limit, &mut Interner::default()).expect("compiles") {
        DownstreamSocket::Tls { context, .. } => context,
        DownstreamSocket::Raw => panic!("not TLS"),
    }
}

fn client(socket: &SocketProto) -> Arc<ClientContext> {
    let socket = upstream_socket(socket, &mut Interner::default()).expect("compiles");
    socket.tls.expect("TLS")
}

fn mesh_server() -> Arc<ServerContext> {
    server(&downstream_tls(common_tls(
        &["h2", "http/1.1"],
        &["spiffe://cluster.local/*"],
    )))
}

fn mesh_client(sans: &[&str]) -> Arc<ClientContext> {
    let alpn = &["istio-peer-exchange", "istio"];
    client(&upstream_tls("outbound_.80_._.web", common_tls(alpn, sans)))
}

type Side = Result<TlsInfo, TlsError>;

/// One handshake and, if it succeeds, one byte each way. Returns what the client and the server saw.
async fn handshake(
    client: (&ClientContext, &Secrets, Option<&[Arc<[u8]>]>),
    server: (&ServerContext, &Secrets),
) -> (Side, Side) {
    let (near, far) = tokio::io::duplex(16 * 1024);
    handshake_over((near, far), client, server).await
}

/// The same between the ends of a given transport.
async fn handshake_over(
    (near, far): (DuplexStream, DuplexStream),
    client: (&ClientContext, &Secrets, Option<&[Arc<[u8]>]>),
    server: (&ServerContext, &Secrets),
) -> (Side, Side) {
    let (context, secrets, alpn) = client;
    let connecting = async {
        let (mut stream, info) = context.connect(near, secrets, alpn, None).await?;
        stream.write_all(b"?").await?;
        stream.flush().await?;
        // With TLS 1.3 a client learns only now that its certificate was refused.
        stream.read_u8().await?;
        Ok(info)
    };
    let accepting = async {
        let (mut stream, info) = server.0.accept(far, server.1).await?;
        stream.read_u8().await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok(info)
    };
    tokio::join!(connecting, accepting)
}

#[tokio::test]
async fn both_sides_know_each_other() {
    let authority = Authority::new();
    let (ours, theirs) = (
        secrets(authority.workload(API)),
        secrets(authority.workload(WEB)),
    );
    let context = mesh_client(&[WEB]);
    let alpn: Vec<Arc<[u8]>> = vec![
        Arc::from(&b"istio-http/1.1"[..]),
        Arc::from(&b"http/1.1"[..]),
    ];
    let (client, server) =
        handshake((&context, &ours, Some(&alpn)), (&mesh_server(), &theirs)).await;
    let (client, server) = (client.expect("accepted"), server.expect("accepted"));
    let uri = |info: &TlsInfo| info.peer.as_ref().and_then(|peer| peer.uri().cloned());
    assert_eq!(uri(&client).as_deref(), Some(WEB));
    assert_eq!(uri(&server).as_deref(), Some(API));
    assert_eq!(&*server.local_uri_sans[0], WEB);
    assert_eq!(client.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(server.version, "TLSv1.3");
    assert_eq!(server.cipher, "TLS_AES_128_GCM_SHA256");
    assert_eq!(server.server_name.as_deref(), Some("outbound_.80_._.web"));
    assert_eq!(server.peer.expect("verified").sha256.len(), 64);
}

#[tokio::test]
async fn without_a_common_protocol_the_handshake_goes_on() {
    let authority = Authority::new();
    let (ours, theirs) = (
        secrets(authority.workload(API)),
        secrets(authority.workload(WEB)),
    );
    let (client, server) = handshake(
        (&mesh_client(&[WEB]), &ours, None),
        (&mesh_server(), &theirs),
    )
    .await;
    assert_eq!(client.expect("accepted").alpn, None);
    assert_eq!(server.expect("accepted").alpn, None);
}

#[tokio::test]
async fn a_server_with_another_identity_is_refused() {
    let authority = Authority::new();
    let (ours, theirs) = (
        secrets(authority.workload(API)),
        secrets(authority.workload(API)),
    );
    let (client, server) = handshake(
        (&mesh_client(&[WEB]), &ours, None),
        (&mesh_server(), &theirs),
    )
    .await;
    let error = client.expect_err("wrong identity").to_string();
    assert!(
        error.contains("no subject alternative name matches"),
        "{error}"
    );
    assert!(error.contains(API), "{error}");
    server.expect_err("told by an alert");
}

#[tokio::test]
async fn a_client_of_another_trust_domain_is_refused() {
    let authority = Authority::new();
    let foreign = authority.workload("spiffe://cluster.local.evil/ns/shop/sa/api");
    let (client, server) = handshake(
        (&mesh_client(&[WEB]), &secrets(foreign), None),
        (&mesh_server(), &secrets(authority.workload(WEB))),
    )
    .await;
    client.expect_err("told by an alert");
    let error = server.expect_err("wrong trust domain").to_string();
    assert!(
        error.contains("no subject alternative name matches"),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_of_another_root_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (client, server) = handshake(
        (&mesh_client(&[]), &secrets(other.workload(API)), None),
        (&mesh_server(), &secrets(authority.workload(WEB))),
    )
    .await;
    client.expect_err("does not know the root either");
    server.expect_err("unknown issuer");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let expired = authority.issue(API, |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    });
    let (client, server) = handshake(
        (&mesh_client(&[WEB]), &secrets(expired), None),
        (&mesh_server(), &secrets(authority.workload(WEB))),
    )
    .await;
    client.expect_err("told by an alert");
    let error = server.expect_err("expired").to_string();
    assert!(error.contains("xpired"), "{error}");
}

#[tokio::test]
async fn a_client_without_certificate_is_refused_where_one_is_required() {
    let authority = Authority::new();
    let mut common = common_tls(&[], &[WEB]);
    common.tls_certificate_sds_secret_configs.clear();
    let anonymous = client(&upstream_tls("web", common));
    let (client, server) = handshake(
        (&anonymous, &secrets(authority.workload(API)), None),
        (&mesh_server(), &secrets(authority.workload(WEB))),
    )
    .await;
    client.expect_err("told by an alert");
    server.expect_err("no certificate");
}

#[tokio::test]
async fn a_missing_secret_fails_the_handshake() {
    let authority = Authority::new();
    let none = Secrets::default();
    let theirs = secrets(authority.workload(WEB));
    let (client, server) = handshake(
        (&mesh_client(&[WEB]), &none, None),
        (&mesh_server(), &theirs),
    )
    .await;
    assert!(matches!(client, Err(TlsError::MissingSecret(name)) if &*name == "default"));
    server.expect_err("the client went away");
}

#[tokio::test]
async fn verification_that_cannot_be_understood_denies() {
    let authority = Authority::new();
    let both = secrets(authority.workload(WEB));
    let mut common = common_tls(&[], &[]);
    use ironsail_xds::ext::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
    if let Some(ValidationContextType::CombinedValidationContext(combined)) =
        &mut common.validation_context_type
        && let Some(context) = &mut combined.default_validation_context
    {
        context.verify_certificate_hash = vec!["no digest".to_owned()];
    }
    let denying = client(&upstream_tls("web", common));
    let (client, server) = handshake((&denying, &both, None), (&mesh_server(), &both)).await;
    let error = client.expect_err("denied").to_string();
    assert!(error.contains("is no SHA-256 digest"), "{error}");
    server.expect_err("the client went away");
}

#[tokio::test]
async fn new_certificates_are_used_by_new_handshakes() {
    let authority = Authority::new();
    let (client, server) = (mesh_client(&[WEB, API]), mesh_server());
    let ours = secrets(authority.workload(API));
    for identity in [WEB, API] {
        let theirs = secrets(authority.workload(identity));
        let (seen, _) = handshake((&client, &ours, None), (&server, &theirs)).await;
        let peer = seen.expect("accepted").peer.expect("verified");
        assert_eq!(peer.uri().map(|uri| &**uri), Some(identity));
    }
}

#[test]
fn requiring_a_client_certificate_without_roots_denies() {
    let mut common = common_tls(&[], &[]);
    common.validation_context_type = None;
    let context = server(&downstream_tls(common));
    let denies = matches!(
        context.tls.common.validation,
        crate::resource::transport_socket::Validation::Deny(_)
    );
    assert!(denies);
}
