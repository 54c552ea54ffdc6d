use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use ironsail_runtime::tls;
use ironsail_xds::discovery::Resource;
use ironsail_xds::{cluster, pack, type_url};
use tokio::time::timeout;

use super::*;
use crate::xds::testing::{DeltaStream, FakeServer};
use crate::xds::{Rejected, Update, Wanted};

/// No test waits longer for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// Remembers names and rejects those that begin with `bad`; wants what the test says.
#[derive(Default)]
struct Names {
    applied: Vec<String>,
    wanted: Wanted,
}

impl Sink for Names {
    fn apply(&mut self, update: Update) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        for resource in update.added {
            if resource.name.starts_with("bad") {
                let (name, error) = (resource.name, "cannot be used".to_owned());
                rejected.push(Rejected { name, error });
            } else {
                self.applied.push(resource.name);
            }
        }
        rejected
    }

    fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }
}

#[derive(Default)]
struct FakeCredentials {
    token: Option<String>,
    client_config: Option<Arc<rustls::ClientConfig>>,
}

impl Credentials for FakeCredentials {
    fn client_config(&self) -> Option<Arc<rustls::ClientConfig>> {
        self.client_config.clone()
    }

    fn token(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(std::future::ready(self.token.clone()))
    }
}

fn config(address: SocketAddr) -> ClientConfig {
    ClientConfig {
        address: address.to_string(),
        transport: Transport::Plaintext,
        protocol: Protocol::Delta,
        node: Node {
            id: "me".to_owned(),
            ..Default::default()
        },
        cluster_id: "east".to_owned(),
        headers: vec![("X-Tenant".to_owned(), "one".to_owned())],
        credentials: Arc::new(FakeCredentials {
            token: Some("secret".to_owned()),
            ..Default::default()
        }),
        resolver: Resolver::from_texts("", "").expect("valid texts"),
        wanted_changed: Arc::default(),
    }
}

/// A client that runs beside the test.
struct Running {
    sink: Rc<RefCell<Names>>,
    status: watch::Receiver<ClientStatus>,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<Result<(), ConfigError>>,
}

impl Running {
    fn start(config: ClientConfig) -> Self {
        let sink = Rc::new(RefCell::new(Names::default()));
        let (sender, status) = watch::channel(ClientStatus::default());
        let shutdown = Shutdown::new();
        let client = run(config, sink.clone(), sender, shutdown.clone());
        let task = tokio::task::spawn_local(client);
        Self {
            sink,
            status,
            shutdown,
            task,
        }
    }

    async fn until(&mut self, condition: impl Fn(&ClientStatus) -> bool) -> ClientStatus {
        let waiting = self.status.wait_for(|status| condition(status));
        let status = timeout(LIMIT, waiting).await.expect("in time");
        status.expect("the client runs").clone()
    }

    async fn stop(self) {
        self.shutdown.trigger();
        let ended = timeout(LIMIT, self.task).await.expect("in time");
        ended.expect("no panic").expect("a valid configuration");
        assert!(!self.status.borrow().connected);
    }
}

/// Runs a test whose client is not `Send`.
async fn local<F: Future<Output = ()>>(test: F) {
    let tasks = tokio::task::LocalSet::new();
    let limited = tasks.run_until(timeout(LIMIT, test));
    limited.await.expect("in time");
}

fn clusters(nonce: &str, names: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: type_url::CLUSTER.to_owned(),
        nonce: nonce.to_owned(),
        resources: names
            .iter()
            .map(|name| Resource {
                name: (*name).to_owned(),
                version: "1".to_owned(),
                resource: Some(pack(&cluster::Cluster {
                    name: (*name).to_owned(),
                    ..Default::default()
                })),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// Takes the two first requests of a stream: clusters, which are given back, and listeners.
async fn first_requests(
    stream: &mut DeltaStream,
) -> ironsail_xds::discovery::DeltaDiscoveryRequest {
    let first = stream.request().await;
    assert_eq!(first.type_url, type_url::CLUSTER);
    assert_eq!(first.node.as_ref().map(|node| node.id.as_str()), Some("me"));
    let second = stream.request().await;
    assert_eq!(second.type_url, type_url::LISTENER);
    assert_eq!(second.node, None);
    first
}

#[tokio::test]
async fn fetches_rejects_and_comes_back_with_what_it_has() {
    local(async {
        let mut server = FakeServer::start(None).await;
        let config = config(server.address);
        let wanted_changed = config.wanted_changed.clone();
        let mut client = Running::start(config);

        let mut stream = server.delta_stream().await;
        assert!(
            stream.metadata.get("authorization").is_none(),
            "no token in plaintext"
        );
        assert_eq!(stream.metadata.get("clusterid").expect("is sent"), "east");
        assert_eq!(stream.metadata.get("x-tenant").expect("is sent"), "one");
        assert!(
            first_requests(&mut stream)
                .await
                .initial_resource_versions
                .is_empty()
        );

        stream.send(clusters("n1", &["a", "bad"]));
        let answer = stream.request().await;
        assert_eq!(answer.response_nonce, "n1");
        let detail = answer.error_detail.expect("a rejection");
        assert_eq!(
            (detail.code, detail.message.as_str()),
            (3, "bad: cannot be used")
        );
        let status = client
            .until(|status| status.has_received(type_url::CLUSTER))
            .await;
        assert!(status.connected && !status.has_accepted(type_url::CLUSTER));

        client.sink.borrow_mut().wanted.routes.insert("80".into());
        wanted_changed.notify_one();
        assert_eq!(stream.request().await.resource_names_subscribe, ["80"]);

        drop(stream);
        let status = client.until(|status| !status.connected).await;
        assert_eq!(status.last_error, "closed by the control plane");
        let mut stream = server.delta_stream().await;
        let first = first_requests(&mut stream).await;
        let versions: Vec<_> = first.initial_resource_versions.into_iter().collect();
        assert_eq!(versions, [("a".to_owned(), "1".to_owned())]);
        assert_eq!(stream.request().await.resource_names_subscribe, ["80"]);

        stream.send(clusters("n1", &["b"]));
        assert_eq!(stream.request().await.error_detail, None);
        client
            .until(|status| status.has_accepted(type_url::CLUSTER))
            .await;
        assert_eq!(client.sink.borrow().applied, ["a", "b"]);
        client.stop().await;
    })
    .await;
}

#[tokio::test]
async fn speaks_state_of_the_world() {
    local(async {
        let mut server = FakeServer::start(None).await;
        let client = Running::start(ClientConfig {
            protocol: Protocol::StateOfTheWorld,
            ..config(server.address)
        });
        let mut stream = server.full_stream().await;
        for type_url in [type_url::CLUSTER, type_url::LISTENER] {
            let request = stream.request().await;
            assert_eq!(request.type_url, type_url);
            assert!(request.resource_names.is_empty());
        }
        stream.send(DiscoveryResponse {
            type_url: type_url::CLUSTER.to_owned(),
            version_info: "v1".to_owned(),
            nonce: "n1".to_owned(),
            resources: vec![pack(&cluster::Cluster {
                name: "a".to_owned(),
                ..Default::default()
            })],
            ..Default::default()
        });
        let answer = stream.request().await;
        assert_eq!(
            (answer.version_info.as_str(), answer.response_nonce.as_str()),
            ("v1", "n1")
        );
        assert_eq!(client.sink.borrow().applied, ["a"]);
        client.stop().await;
    })
    .await;
}

#[tokio::test]
async fn says_why_a_stream_failed() {
    local(async {
        let mut server = FakeServer::start(None).await;
        let mut client = Running::start(config(server.address));
        let stream = server.delta_stream().await;
        stream.fail(tonic::Status::permission_denied("not yours"));
        let status = client.until(|status| !status.last_error.is_empty()).await;
        assert_eq!(
            status.last_error,
            "stream failed: PermissionDenied: not yours"
        );
        client.stop().await;
    })
    .await;
}

#[tokio::test]
async fn reads_responses_of_many_frames() {
    local(async {
        let mut server = FakeServer::start(None).await;
        let client = Running::start(config(server.address));
        let mut stream = server.delta_stream().await;
        first_requests(&mut stream).await;
        let names: Vec<String> = (0..20_000).map(|n| format!("cluster-{n:05}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for nonce in ["n1", "n2"] {
            stream.send(clusters(nonce, &names));
            assert_eq!(stream.request().await.response_nonce, nonce);
        }
        let expected = [names.as_slice(), &names].concat();
        assert_eq!(client.sink.borrow().applied, expected);
        client.stop().await;
    })
    .await;
}

/// A self-signed certificate for `name`, as PEM and as server settings.
fn certificate(name: &str) -> (String, rustls::ServerConfig) {
    let key = rcgen::KeyPair::generate().expect("generates");
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("signs");
    let pem = certificate.pem();
    let chain = tls::certificates(pem.as_bytes()).expect("a certificate");
    let key = tls::private_key(key.serialize_pem().as_bytes()).expect("a key");
    let mut settings = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    settings.alpn_protocols = vec![b"h2".to_vec()];
    (pem, settings)
}

fn tls_transport(pem: &str, server_name: &str) -> Transport {
    Transport::Tls {
        roots: Roots::Pem(pem.as_bytes().to_vec()),
        server_name: Some(server_name.to_owned()),
    }
}

#[tokio::test]
async fn the_token_goes_to_the_verified_server() {
    local(async {
        let (pem, settings) = certificate("istiod.istio-system.svc");
        let mut server = FakeServer::start(Some(settings)).await;
        let client = Running::start(ClientConfig {
            transport: tls_transport(&pem, "istiod.istio-system.svc"),
            ..config(server.address)
        });
        let mut stream = server.delta_stream().await;
        let token = stream.metadata.get("authorization").expect("is sent");
        assert_eq!(token, "Bearer secret");
        first_requests(&mut stream).await;
        client.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_server_of_another_name_or_issuer_is_not_talked_to() {
    local(async {
        let (pem, settings) = certificate("istiod.istio-system.svc");
        let (stranger, _) = certificate("istiod.istio-system.svc");
        let mut server = FakeServer::start(Some(settings)).await;
        for transport in [
            tls_transport(&pem, "other.istio-system.svc"),
            tls_transport(&stranger, "istiod.istio-system.svc"),
        ] {
            let mut client = Running::start(ClientConfig {
                transport,
                ..config(server.address)
            });
            let status = client.until(|status| !status.last_error.is_empty()).await;
            assert!(
                status.last_error.contains("certificate"),
                "{}",
                status.last_error
            );
            assert!(!status.connected);
            client.stop().await;
        }
        assert!(server.no_delta_stream());
    })
    .await;
}

#[tokio::test]
async fn the_settings_of_the_credentials_come_first() {
    local(async {
        let (pem, settings) = certificate("istiod.istio-system.svc");
        let mut server = FakeServer::start(Some(settings)).await;
        let roots = tls::roots_from_pem(pem.as_bytes()).expect("a root");
        let client_config = tls::client_config(roots, None).expect("valid settings");
        let client = Running::start(ClientConfig {
            transport: tls_transport("not looked at", "istiod.istio-system.svc"),
            credentials: Arc::new(FakeCredentials {
                token: None,
                client_config: Some(Arc::new(client_config)),
            }),
            ..config(server.address)
        });
        let mut stream = server.delta_stream().await;
        assert!(stream.metadata.get("authorization").is_none());
        first_requests(&mut stream).await;
        client.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_can_never_work_is_said_at_once() {
    local(async {
        let good = config(SocketAddr::from(([127, 0, 0, 1], 1)));
        let cases = [
            (
                ClientConfig {
                    address: "istiod".to_owned(),
                    ..good.clone()
                },
                "host:port",
            ),
            (
                ClientConfig {
                    address: "istiod:15012/path".to_owned(),
                    ..good.clone()
                },
                "host:port",
            ),
            (
                ClientConfig {
                    address: "::1:15012".to_owned(),
                    ..good.clone()
                },
                "host:port",
            ),
            (
                ClientConfig {
                    transport: tls_transport("", "not a name"),
                    ..good.clone()
                },
                "server name",
            ),
            (
                ClientConfig {
                    headers: vec![("a b".to_owned(), String::new())],
                    ..good.clone()
                },
                "metadata a b",
            ),
            (
                ClientConfig {
                    cluster_id: "\n".to_owned(),
                    ..good.clone()
                },
                "metadata clusterid",
            ),
        ];
        for (config, expected) in cases {
            let (status, _) = watch::channel(ClientStatus::default());
            let outcome = run(config, Box::new(Names::default()), status, Shutdown::new()).await;
            let error = outcome
                .expect_err("the configuration is invalid")
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    })
    .await;
}
