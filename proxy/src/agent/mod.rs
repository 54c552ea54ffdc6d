//! The agent: the workload's key and certificate, from the first request to every renewal.
//!
//! One task owns the certificate. It asks the mesh's certificate authority, publishes what it got on watch channels and
//! replaces it in time; what was published stays until something better is there. Other programs of the pod get it over
//! a socket ([`sds`]), and discovery with it ([`discovery_proxy`]); where another agent owns the socket, the certificate
//! comes from that one. Keys are written to files only where the pod asks for it ([`files`]).

pub mod authority;
pub mod credential;
pub mod csr;
pub mod discovery_proxy;
pub mod files;
pub mod grpc_bootstrap;
mod rotation;
pub mod sds;
mod socket;
pub mod stats;
pub mod token;

use std::path::PathBuf;
use std::sync::Arc;

use ironsail_mesh::identity::Identity;
use ironsail_runtime::net::Resolver;
use ironsail_runtime::signal::Shutdown;
use ironsail_xds::core::Node;
use tokio::sync::watch;
use tracing::{info, warn};

pub use credential::Credential;
pub use stats::AgentStats;

use crate::bootstrap::{Address, CertificateSettings};
use crate::transport_socket::secret::WorkloadCertificate;
use authority::AuthorityClient;
use csr::KeyType;
use rotation::Rotation;

/// Token of the workload's service account.
pub const TOKEN: &str = "./var/run/secrets/tokens/istio-token";

/// Where programs of the pod get the certificate; the name of the file is `WORKLOAD_IDENTITY_SOCKET_FILE`.
pub const SOCKET_FOLDER: &str = "./var/run/secrets/workload-spiffe-uds";

/// Where programs of the pod get discovery.
pub const DISCOVERY_SOCKET: &str = "./etc/istio/proxy/XDS";

/// Roots that the control plane's certificate is verified with.
pub const ROOTS: &str = "./var/run/secrets/istio/root-cert.pem";

/// Where certificates come from, and how they are renewed.
#[derive(Clone, Debug)]
pub struct Config {
    pub address: Address,
    /// Name in the authority's certificate.
    pub server_name: String,
    pub identity: Identity,
    pub key_type: KeyType,
    /// Sent with requests, so that the authority knows whose tokens to review.
    pub cluster_id: String,
    pub settings: CertificateSettings,
    pub token: PathBuf,
    pub roots: PathBuf,
    /// Where the certificate is served to the pod; when somebody else serves there, it comes from them.
    pub socket: PathBuf,
    /// Shown to another agent.
    pub node: Node,
}

/// Certificates as they come.
pub type Credentials = watch::Receiver<Option<Arc<Credential>>>;

/// The running agent. Channels hold nothing until the first certificate is there.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Everything about the certificate in force, with the PEM texts.
    pub credential: Credentials,
    /// The same, ready for handshakes.
    pub certificate: watch::Receiver<Option<WorkloadCertificate>>,
    pub stats: Arc<AgentStats>,
}

/// Starts the agent's task; it ends when `shutdown` is triggered.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn start(config: Config, resolver: Resolver, shutdown: Shutdown) -> Agent {
    let stats = Arc::new(AgentStats::default());
    let (publisher, credential, certificate) = Publisher::channel();
    let agent = Agent {
        credential,
        certificate,
        stats: Arc::clone(&stats),
    };
    let credentials = agent.credential.clone();
    tokio::spawn(async move {
        if sds::client::is_served(&config.socket).await {
            info!(path = %config.socket.display(), "Certificates come from another agent");
            let foreign = sds::client::ForeignAgent {
                path: config.socket,
                node: config.node,
                publisher,
                stats,
            };
            shutdown.guard(foreign.run()).await;
            return;
        }
        if let Err(error) = sds::serve(&config.socket, credentials, shutdown.clone()) {
            warn!(%error, "Other programs of the pod cannot have the certificate");
        }
        let rotation = Rotation {
            client: AuthorityClient::new(config.clone(), resolver),
            config,
            publisher,
            stats,
        };
        shutdown.guard(rotation.run()).await;
    });
    agent
}

/// Where certificates are published, in both forms.
struct Publisher {
    credential: watch::Sender<Option<Arc<Credential>>>,
    certificate: watch::Sender<Option<WorkloadCertificate>>,
}

impl Publisher {
    /// Both receivers hold nothing yet.
    fn channel() -> (
        Self,
        Credentials,
        watch::Receiver<Option<WorkloadCertificate>>,
    ) {
        let (credential, credentials) = watch::channel(None);
        let (certificate, certificates) = watch::channel(None);
        let publisher = Self {
            credential,
            certificate,
        };
        (publisher, credentials, certificates)
    }

    fn publish(&self, credential: Credential) {
        self.certificate
            .send_replace(Some(credential.certificate().clone()));
        self.credential.send_replace(Some(Arc::new(credential)));
    }
}
