//! What a proxy waits for before it is ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ironsail_runtime::readiness::Condition;
use ironsail_xds::type_url;
use tokio::sync::watch;
use tracing::info;

use crate::agent::Credential;
use crate::snapshot::Store;
use crate::xds::ClientStatus;

/// Time between looks at workers that take over the first configuration.
const CHECK: Duration = Duration::from_millis(20);

/// Sets the conditions as they come to hold. Ready once, ready for good: what was configured keeps serving without the
/// control plane.
pub(super) struct Following {
    /// The workload has a certificate.
    pub(super) certificate: Condition,
    /// Clusters and listeners were accepted and all workers use them.
    pub(super) configuration: Condition,
    pub(super) store: Store,
    /// Newest version of the store's snapshots that all workers use.
    pub(super) applied_version: Box<dyn Fn() -> u64 + Send>,
}

impl Following {
    pub(super) async fn run(
        self,
        mut credential: watch::Receiver<Option<Arc<Credential>>>,
        mut status: watch::Receiver<ClientStatus>,
    ) {
        if credential.wait_for(Option::is_some).await.is_ok() {
            self.certificate.set(true);
        }
        let accepted = |status: &ClientStatus| {
            status.has_accepted(type_url::CLUSTER) && status.has_accepted(type_url::LISTENER)
        };
        if status.wait_for(accepted).await.is_err() {
            return;
        }
        let start = Instant::now();
        while !self.is_in_use() {
            tokio::time::sleep(CHECK).await;
        }
        let waited_ms = start.elapsed().as_millis() as u64;
        info!(waited_ms, "Configuration in use");
        self.configuration.set(true);
    }

    fn is_in_use(&self) -> bool {
        self.store.warming().initialized
            && (self.applied_version)() >= self.store.snapshot().version
    }
}

#[cfg(test)]
mod tests {
    use ironsail_runtime::readiness::Readiness;

    use super::*;
    use crate::snapshot::StoreOptions;
    use crate::testing::{listener, static_cluster, tcp_chain, update};
    use crate::xds::{Sink, Updates};

    fn received(status: &watch::Sender<ClientStatus>, type_url: &str, accepted: bool) {
        status.send_modify(|status| {
            let updates: &mut Updates = status.received.entry(type_url.to_owned()).or_default();
            updates.accepted += u64::from(accepted);
            updates.rejected += u64::from(!accepted);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn clusters_and_listeners_have_to_be_accepted() {
        let mut store = Store::new(StoreOptions::default());
        store.apply(update(&[("a", static_cluster("a", &[]))]));
        let config = listener("l", "0.0.0.0:80", vec![tcp_chain("a")]);
        store.apply(update(&[("l", config)]));
        let readiness = Readiness::new();
        let (version, applied) = watch::channel(0);
        let following = Following {
            certificate: readiness.condition("certificate"),
            configuration: readiness.condition("configuration"),
            store: store.clone(),
            applied_version: Box::new(move || *applied.borrow()),
        };
        let (status, receiver) = watch::channel(ClientStatus::default());
        // An agent that went away before it had a certificate.
        let (_, credential) = watch::channel(None);
        tokio::spawn(following.run(credential, receiver));
        let is_configured = async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            !readiness.missing().contains(&"configuration")
        };

        received(&status, type_url::CLUSTER, false);
        received(&status, type_url::LISTENER, true);
        version.send_replace(store.snapshot().version);
        assert!(!is_configured().await, "clusters were rejected");
        version.send_replace(0);
        received(&status, type_url::CLUSTER, true);
        assert!(!is_configured().await, "workers have not taken over");
        version.send_replace(store.snapshot().version);
        assert!(is_configured().await);
        received(&status, type_url::LISTENER, false);
        assert!(is_configured().await, "what was accepted keeps serving");
        assert_eq!(readiness.missing(), ["certificate"]);
    }
}
