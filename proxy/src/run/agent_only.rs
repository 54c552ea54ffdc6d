//! `DISABLE_ENVOY`: an agent for a proxy that is not ours, or for applications that need none.

use std::net::{IpAddr, Ipv6Addr};

use ironsail_runtime::readiness::Readiness;
use ironsail_runtime::signal::Shutdown;

use crate::agent::Agent;
use crate::bootstrap::{Bootstrap, Environment};
use crate::status;

/// Opens the ports of the agent: it is ready as soon as the workload has a certificate.
///
/// # Errors
/// A port is taken.
pub(super) async fn serve(
    bootstrap: &Bootstrap,
    environment: &Environment,
    agent: &Agent,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let readiness = Readiness::new();
    let has_certificate = readiness.condition("certificate");
    let mut credential = agent.credential.clone();
    tokio::spawn(async move {
        if credential.wait_for(Option::is_some).await.is_ok() {
            has_certificate.set(true);
        }
    });
    let ready = status::readiness_router(readiness.clone());
    let config = super::status_config(bootstrap, environment, agent, readiness, None)?;
    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let servers = [
        (any, bootstrap.ports.status, status::router(config)),
        (any, bootstrap.ports.readiness, ready),
    ];
    super::serve_all(servers, shutdown).await
}
