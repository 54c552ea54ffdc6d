//! Our control plane on a socket: discovery and certificates of a simulated cluster.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use arc_swap::ArcSwap;
use ironsail_controlplane::ca::authenticate::{
    AuthError, Authenticator, Peer, Review, TokenReviewer, TrustDomains,
};
use ironsail_controlplane::ca::authority::{Authority, TtlPolicy};
use ironsail_controlplane::ca::handle::{CaHandle, CaState};
use ironsail_controlplane::ca::metrics::CaMetrics;
use ironsail_controlplane::ca::root;
use ironsail_controlplane::ca::service::CaService;
use ironsail_controlplane::ca::serving::{Serving, dns_names};
use ironsail_controlplane::push::Publisher;
use ironsail_controlplane::server::GrpcServer;
use ironsail_controlplane::xds::resource_type::ResourceType;
use ironsail_controlplane::xds::status::Connection;
use ironsail_controlplane::xds::{Answer, Connections, Discovery, Gate, Metrics};
use ironsail_mesh::identity::{DEFAULT_TRUST_DOMAIN, Identity};
use ironsail_runtime::signal::Shutdown;
use ironsail_runtime::tls;
use ironsail_sim::Installation;
use prometheus::Registry;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::namespace::{NODE, Namespace};

const NAMESPACE: &str = "istio-system";
const AUDIENCE: &str = "istio-ca";
/// Time for a client to connect and to take everything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Listens until dropped.
pub struct ControlPlane {
    installation: Installation,
    publisher: Publisher,
    connections: Connections,
    /// With TLS, where agents connect.
    pub address: SocketAddr,
    /// Without, where nobody is asked who they are.
    pub plaintext: SocketAddr,
    /// PEM of the mesh's root.
    pub root: String,
    shutdown: Shutdown,
    _runtime: Runtime,
}

impl ControlPlane {
    /// What an IstioOperator installs, listening on the node's address.
    ///
    /// # Errors
    /// The operator refuses it.
    pub fn start(node: &Namespace, operator: &str) -> anyhow::Result<Self> {
        tls::install_provider();
        let mut installation = Installation::new(operator, [])?;
        let publisher = Publisher::default();
        let (snapshot, changes) = installation.snapshot();
        publisher.publish(snapshot, changes);
        let connections = Connections::default();
        let now = OffsetDateTime::now_utc();
        let authority = Authority::new(
            &root::create(DEFAULT_TRUST_DOMAIN, root::LIFETIME, now)?,
            now,
        )?;
        let root = authority.roots_pem().to_owned();
        let shutdown = Shutdown::new();
        let server = Server {
            publisher: publisher.clone(),
            connections: connections.clone(),
            authority: Arc::new(authority),
            shutdown: shutdown.clone(),
        };
        let (runtime, address, plaintext) = node.enter(move || server.start())?;
        Ok(Self {
            installation,
            publisher,
            connections,
            address,
            plaintext,
            root,
            shutdown,
            _runtime: runtime,
        })
    }

    /// Name in the certificate.
    pub fn name() -> String {
        format!("istiod.{NAMESPACE}.svc")
    }

    /// Applies objects, and pushes what follows.
    ///
    /// # Errors
    /// An object is malformed.
    pub fn apply(&mut self, namespace: &str, text: &str) -> anyhow::Result<()> {
        self.installation.apply(namespace, text)?;
        let (snapshot, changes) = self.installation.snapshot();
        self.publisher.publish(snapshot, changes);
        Ok(())
    }

    /// Names, namespaces and addresses of all pods.
    pub fn pods(&self) -> impl Iterator<Item = &k8s_openapi::api::core::v1::Pod> {
        self.installation.cluster.pods()
    }

    /// Streams that are open.
    pub fn connections(&self) -> Vec<Connection> {
        self.connections.list()
    }

    /// Waits until a proxy has acknowledged all that it was sent, listeners among it.
    ///
    /// # Errors
    /// It rejects something, or takes too long.
    pub fn wait_for(&self, proxy: &str) -> anyhow::Result<Connection> {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.connections().into_iter().find(|c| c.proxy == proxy);
            if let Some(connection) = found {
                let mut types = connection.types.iter();
                if let Some((kind, status)) = types.find(|(_, status)| status.error.is_some()) {
                    bail!("{proxy} rejects {}: {:?}", kind.short(), status.error);
                }
                // Listeners are asked for when the clusters are there.
                let has_all = connection.types.contains_key(&ResourceType::Listener);
                let mut types = connection.types.values();
                if has_all && types.all(|status| status.sent == status.acknowledged) {
                    return Ok(connection);
                }
            }
            if Instant::now() > end {
                bail!("{proxy} is not in step: {:#?}", self.connections());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

struct Server {
    publisher: Publisher,
    connections: Connections,
    authority: Arc<Authority>,
    shutdown: Shutdown,
}

impl Server {
    fn start(self) -> anyhow::Result<(Runtime, SocketAddr, SocketAddr)> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (secure, plain) = runtime.block_on(self.serve())?;
        Ok((runtime, secure, plain))
    }

    async fn serve(self) -> anyhow::Result<(SocketAddr, SocketAddr)> {
        let registry = Registry::new();
        let handle = CaHandle::default();
        handle.set(CaState::Ready(self.authority));
        let serving = Arc::<Serving>::default();
        let names = dns_names(NAMESPACE, "", &[]);
        tokio::spawn(Arc::clone(&serving).run(handle.clone(), names, self.shutdown.clone()));
        while !serving.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let domains = TrustDomains(vec![DEFAULT_TRUST_DOMAIN.to_owned()]);
        let authenticator = Authenticator::new(
            Arc::new(Reviewer),
            vec![AUDIENCE.to_owned()],
            Arc::new(ArcSwap::from_pointee(domains)),
        );
        let discovery = Discovery {
            publisher: self.publisher,
            cache: Arc::default(),
            gate: Arc::new(OpenGate(authenticator.clone())),
            connections: self.connections,
            metrics: Metrics::register(&registry)?,
        };
        let plain = GrpcServer::<CaService> {
            discovery: discovery.clone(),
            certificates: None,
            tls: None,
        };
        let secure = GrpcServer {
            discovery,
            certificates: Some(Arc::new(CaService {
                handle,
                authenticator,
                policy: TtlPolicy::default(),
                metrics: CaMetrics::register(&registry)?,
            })),
            tls: Some(serving.grpc_config()?),
        };
        let plain_listener = TcpListener::bind("127.0.0.1:0").await?;
        let secure_listener = TcpListener::bind("0.0.0.0:0").await?;
        let plaintext = plain_listener.local_addr()?;
        let address = SocketAddr::from((NODE, secure_listener.local_addr()?.port()));
        tokio::spawn(plain.serve(plain_listener, self.shutdown.clone()));
        tokio::spawn(secure.serve(secure_listener, self.shutdown));
        Ok((address, plaintext))
    }
}

/// The token of a service account, as [`Reviewer`] takes it.
pub fn token(namespace: &str, account: &str) -> String {
    format!("{namespace}:{account}")
}

/// Believes everybody.
struct Reviewer;

impl TokenReviewer for Reviewer {
    fn review<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> Pin<Box<dyn Future<Output = Result<Review, String>> + Send + 'a>> {
        Box::pin(async move {
            Ok(Review {
                authenticated: true,
                username: format!("system:serviceaccount:{token}"),
                audiences: audiences.to_vec(),
            })
        })
    }
}

/// Authenticates, and lets gateways have their Secrets.
struct OpenGate(Authenticator);

impl Gate for OpenGate {
    fn authenticate<'a>(
        &'a self,
        peer: &'a Peer,
        authorization: Option<&'a str>,
    ) -> Answer<'a, Result<Identity, AuthError>> {
        Box::pin(async move { Ok(self.0.authenticate(peer, authorization).await?.identity) })
    }

    fn may_read_secrets<'a>(&'a self, _: &'a Identity) -> Answer<'a, bool> {
        Box::pin(std::future::ready(true))
    }
}
