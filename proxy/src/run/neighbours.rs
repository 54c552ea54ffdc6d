//! What other programs of the pod get: discovery, the certificate in files, the bootstrap of gRPC libraries.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use futures::future::BoxFuture;
use ironsail_runtime::net::Resolver;
use ironsail_runtime::signal::Shutdown;
use ironsail_runtime::tls;
use tracing::warn;

use crate::agent::discovery_proxy::{self, ControlPlane};
use crate::agent::token::Token;
use crate::agent::{self, Agent, files, grpc_bootstrap};
use crate::bootstrap::Bootstrap;
use crate::xds::Credentials;

/// The control plane, reached as the workload.
pub(super) fn control_plane(
    bootstrap: &Bootstrap,
    agent: &Agent,
    resolver: Resolver,
) -> ControlPlane {
    ControlPlane {
        address: bootstrap.discovery.to_string(),
        server_name: bootstrap.discovery_name.clone(),
        cluster_id: bootstrap.cluster_id.clone(),
        credentials: Arc::new(AgentCredentials(agent.clone())),
        resolver,
    }
}

/// Starts what the pod asks for.
///
/// # Errors
/// Discovery or the bootstrap cannot be had where there is nothing but an agent. Beside a proxy, that is a warning: a
/// folder that is read-only harms nobody who does not look there.
pub(super) fn start(
    bootstrap: &Bootstrap,
    agent: &Agent,
    control_plane: ControlPlane,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let neighbours = &bootstrap.neighbours;
    if let Some(folder) = neighbours.certificates.clone() {
        let writing = files::write_all(folder, agent.credential.clone());
        let shutdown = shutdown.clone();
        tokio::spawn(async move { shutdown.guard(writing).await });
    }
    match offer_discovery(bootstrap, control_plane, shutdown) {
        Err(error) if !neighbours.is_agent_only => {
            warn!(
                error = format!("{error:#}"),
                "Other programs of the pod cannot have discovery"
            );
            Ok(())
        }
        offered => offered,
    }
}

fn offer_discovery(
    bootstrap: &Bootstrap,
    control_plane: ControlPlane,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let neighbours = &bootstrap.neighbours;
    let socket = Path::new(agent::DISCOVERY_SOCKET);
    discovery_proxy::serve(socket, control_plane, shutdown.clone())?;
    let path = &neighbours.grpc_bootstrap;
    grpc_bootstrap::write(path, bootstrap, socket, neighbours.certificates.as_deref())
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// The workload's certificate and token, for the stream to the control plane.
pub(super) struct AgentCredentials(pub(super) Agent);

impl Credentials for AgentCredentials {
    fn client_config(&self) -> Option<Arc<rustls::ClientConfig>> {
        let credential = self.0.credential.borrow().clone()?;
        let roots = std::fs::read(agent::ROOTS).ok()?;
        let roots = tls::roots_from_pem(&roots).ok()?;
        let chain = tls::certificates(credential.chain_pem().as_bytes()).ok()?;
        let key = tls::private_key(credential.key_pem().as_bytes()).ok()?;
        let mut config = tls::client_config(roots, Some((chain, key))).ok()?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Some(Arc::new(config))
    }

    fn token(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async {
            match Token::read(agent::TOKEN.as_ref()) {
                Ok(token) => Some(token.bearer().trim_start_matches("Bearer ").to_owned()),
                Err(error) => {
                    warn!(%error, "Token cannot be read");
                    None
                }
            }
        })
    }
}
