//! Certificates for programs on the node.

use std::path::Path;
use std::time::Duration;

use ironsail_mesh::identity::{DEFAULT_TRUST_DOMAIN, Identity};
use ironsail_proxy::agent::csr::KeyType;
use ironsail_proxy::agent::{self, Config};
use ironsail_proxy::bootstrap::{Address, CertificateSettings};
use ironsail_runtime::net::Resolver;
use ironsail_runtime::signal::Shutdown;
use tokio::runtime::Runtime;

use crate::control_plane::{ControlPlane, token};
use crate::namespace::Namespace;

/// Serves a certificate of the mesh on `socket` until dropped.
pub struct Secrets(#[expect(dead_code, reason = "runs as long as it is held")] Runtime);

impl Secrets {
    /// # Errors
    /// Files beside the socket cannot be written, or no certificate comes in time.
    pub fn serve(
        node: &Namespace,
        control_plane: &ControlPlane,
        socket: &Path,
    ) -> anyhow::Result<Self> {
        let file = |suffix: &str| socket.with_extension(suffix);
        std::fs::write(file("token"), token("default", "default"))?;
        std::fs::write(file("roots"), &control_plane.root)?;
        let config = Config {
            address: Address {
                host: control_plane.address.ip().to_string(),
                port: control_plane.address.port(),
            },
            server_name: ControlPlane::name(),
            identity: Identity::new(DEFAULT_TRUST_DOMAIN, "default", "default"),
            key_type: KeyType::default(),
            cluster_id: "Kubernetes".to_owned(),
            settings: CertificateSettings {
                ttl: Duration::ZERO,
                grace_ratio: 0.5,
                jitter: 0.0,
            },
            token: file("token"),
            roots: file("roots"),
            socket: socket.to_owned(),
            node: Default::default(),
        };
        node.enter(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let resolver = Resolver::from_texts("", "")?;
                let mut agent = agent::start(config, resolver, Shutdown::new());
                let issued = agent.credential.wait_for(Option::is_some);
                tokio::time::timeout(Duration::from_secs(20), issued).await??;
                anyhow::Ok(())
            })?;
            Ok(Self(runtime))
        })
    }
}
