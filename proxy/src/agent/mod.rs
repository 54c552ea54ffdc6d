//! The agent: the workload's key and certificate, from the first request to every renewal.
//!
//! One task owns the certificate. It asks the mesh's certificate authority, publishes what it got on watch channels and
//! replaces it in time; what was published stays until something better is there. Keys never leave memory.

pub mod authority;
pub mod credential;
pub mod csr;
mod rotation;
pub mod stats;
pub mod token;

use std::path::PathBuf;
use std::sync::Arc;

use ironsail_mesh::identity::Identity;
use ironsail_runtime::net::Resolver;
use ironsail_runtime::signal::Shutdown;
use tokio::sync::watch;

pub use credential::Credential;
pub use stats::AgentStats;

use crate::bootstrap::{Address, CertificateSettings};
use crate::transport_socket::secret::WorkloadCertificate;
use authority::AuthorityClient;
use csr::KeyType;
use rotation::Rotation;

/// Token of the workload's service account.
pub const TOKEN: &str = "./var/run/secrets/tokens/istio-token";

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
}

/// The running agent. Channels hold nothing until the first certificate is there.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Everything about the certificate in force, with the PEM texts.
    pub credential: watch::Receiver<Option<Arc<Credential>>>,
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
    let (credential, credentials) = watch::channel(None);
    let (certificate, certificates) = watch::channel(None);
    let rotation = Rotation {
        client: AuthorityClient::new(config.clone(), resolver),
        config,
        publisher: Publisher {
            credential,
            certificate,
        },
        stats: Arc::clone(&stats),
    };
    tokio::spawn(async move { shutdown.guard(rotation.run()).await });
    Agent {
        credential: credentials,
        certificate: certificates,
        stats,
    }
}

/// Where certificates are published, in both forms.
struct Publisher {
    credential: watch::Sender<Option<Arc<Credential>>>,
    certificate: watch::Sender<Option<WorkloadCertificate>>,
}

impl Publisher {
    fn publish(&self, credential: Credential) {
        self.certificate
            .send_replace(Some(credential.certificate().clone()));
        self.credential.send_replace(Some(Arc::new(credential)));
    }
}
