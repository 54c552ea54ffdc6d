use std::collections::BTreeMap;
use std::sync::Arc;

use ironsail_xds::core::{Node, data_source};
use ironsail_xds::ext::transport_sockets::tls::v3::{Secret, secret};
use ironsail_xds::secret_service::secret_discovery_service_client::SecretDiscoveryServiceClient;
use ironsail_xds::unpack;
use tokio::sync::watch;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::client::ForeignAgent;
use super::*;
use crate::agent::credential::{Credential, Texts};
use crate::agent::{AgentStats, Publisher};

fn credential() -> Arc<Credential> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let pem = rcgen::CertificateParams::default()
        .self_signed(&key)
        .expect("signs")
        .pem();
    let texts = Texts {
        chain: &pem,
        key: &key.serialize_pem(),
        roots: &pem,
    };
    Arc::new(Credential::new(texts).expect("fits"))
}

async fn connect(path: &Path) -> SecretDiscoveryServiceClient<Channel> {
    let connector = ironsail_runtime::net::UnixConnector::new(path);
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .expect("connects");
    SecretDiscoveryServiceClient::new(channel)
}

/// An agent with a certificate, and where it serves.
struct Served {
    credential: watch::Sender<Option<Arc<Credential>>>,
    directory: tempfile::TempDir,
}

impl Served {
    fn start(first: Option<Arc<Credential>>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (credential, receiver) = watch::channel(first);
        let served = Self {
            credential,
            directory,
        };
        serve(&served.path(), receiver, Shutdown::new()).expect("binds");
        served
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("uds/socket")
    }
}

fn chain_of(secret: &Secret) -> Vec<u8> {
    let Some(secret::Type::TlsCertificate(certificate)) = &secret.r#type else {
        panic!("{} is no certificate", secret.name);
    };
    let chain = certificate.certificate_chain.clone().expect("a chain");
    match chain.specifier {
        Some(data_source::Specifier::InlineBytes(bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}

fn ask(names: &[&str], nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: names.iter().map(|&name| name.to_owned()).collect(),
        response_nonce: nonce.to_owned(),
        ..Default::default()
    }
}

fn names(resources: &[ironsail_xds::Any]) -> Vec<String> {
    let unpacked = resources.iter().map(unpack::<Secret>);
    unpacked
        .map(|secret| secret.expect("a secret").name)
        .collect()
}

#[tokio::test]
async fn a_renewed_certificate_is_pushed() {
    let served = Served::start(None);
    let (requests, outgoing) = mpsc::unbounded_channel();
    requests.send(ask(&["default"], "")).expect("open");
    let mut client = connect(&served.path()).await;
    let responses = client.stream_secrets(UnboundedReceiverStream::new(outgoing));
    let mut responses = responses.await.expect("a stream").into_inner();

    // Asked before it was there.
    for _ in 0..2 {
        let issued = credential();
        served.credential.send_replace(Some(Arc::clone(&issued)));
        let response = responses.message().await.expect("no error").expect("open");
        assert_eq!(names(&response.resources), ["default"]);
        let secret = unpack::<Secret>(&response.resources[0]).expect("a secret");
        assert_eq!(chain_of(&secret), issued.chain_pem().as_bytes());
        requests
            .send(ask(&["default"], &response.nonce))
            .expect("open");
    }
    requests
        .send(ask(&["default", "ROOTCA"], "2"))
        .expect("open");
    let response = responses.message().await.expect("no error").expect("open");
    assert_eq!(names(&response.resources), ["ROOTCA", "default"]);
}

#[tokio::test]
async fn delta_sends_what_changed_and_files_are_followed() {
    let served = Served::start(Some(credential()));
    let file = served.directory.path().join("ca.pem");
    std::fs::write(&file, credential().roots_pem()).expect("writes");
    let name = format!("file-root:{}", file.display());
    let (requests, outgoing) = mpsc::unbounded_channel();
    let first = DeltaDiscoveryRequest {
        resource_names_subscribe: vec!["default".to_owned(), name.clone(), "other".to_owned()],
        ..Default::default()
    };
    requests.send(first.clone()).expect("open");
    let mut client = connect(&served.path()).await;
    let responses = client.delta_secrets(UnboundedReceiverStream::new(outgoing));
    let mut responses = responses.await.expect("a stream").into_inner();
    let response = responses.message().await.expect("no error").expect("open");
    let sent = |response: &DeltaDiscoveryResponse| -> BTreeMap<String, String> {
        let all = response.resources.iter();
        all.map(|resource| (resource.name.clone(), resource.version.clone()))
            .collect()
    };
    let before = sent(&response);
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        ["default", name.as_str()]
    );

    std::fs::write(&file, "no certificate is served").expect("writes");
    std::fs::write(&file, credential().roots_pem()).expect("writes");
    let response = responses.message().await.expect("no error").expect("open");
    assert_eq!(sent(&response).keys().collect::<Vec<_>>(), [name.as_str()]);

    // A client that comes back with what it has is sent the rest only.
    let (requests, outgoing) = mpsc::unbounded_channel();
    let again = DeltaDiscoveryRequest {
        initial_resource_versions: before.into_iter().collect(),
        ..first
    };
    requests.send(again).expect("open");
    let responses = client.delta_secrets(UnboundedReceiverStream::new(outgoing));
    let mut responses = responses.await.expect("a stream").into_inner();
    let response = responses.message().await.expect("no error").expect("open");
    assert_eq!(sent(&response).keys().collect::<Vec<_>>(), [name.as_str()]);
}

#[tokio::test]
async fn the_certificate_of_another_agent_is_followed() {
    let first = credential();
    let served = Served::start(Some(Arc::clone(&first)));
    assert!(client::is_served(&served.path()).await);
    let (publisher, mut received, _certificate) = Publisher::channel();
    let foreign = ForeignAgent {
        path: served.path(),
        node: Node::default(),
        publisher,
        stats: Arc::new(AgentStats::default()),
    };
    let following = tokio::spawn(foreign.run());
    for issued in [first, credential()] {
        served.credential.send_replace(Some(Arc::clone(&issued)));
        let is_there = |now: &Option<Arc<Credential>>| {
            now.as_ref()
                .is_some_and(|now| now.serial() == issued.serial())
        };
        let waited = tokio::time::timeout(Duration::from_secs(5), received.wait_for(is_there));
        assert!(waited.await.is_ok_and(|held| held.is_ok()));
    }
    following.abort();
}

#[tokio::test]
async fn a_socket_that_was_left_over_is_replaced() {
    let served = Served::start(None);
    let left = served.directory.path().join("left");
    drop(std::os::unix::net::UnixListener::bind(&left).expect("binds"));
    assert!(left.exists() && !client::is_served(&left).await);
    let (_, receiver) = watch::channel(None);
    serve(&left, receiver, Shutdown::new()).expect("replaces");
    assert!(client::is_served(&left).await);
}
