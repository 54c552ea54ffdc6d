//! Leader election on Kubernetes Leases: <https://kubernetes.io/docs/concepts/architecture/leases/>.
//!
//! One holder at a time leads; it renews, and gives the Lease up when it ends, so that a successor need not wait. A
//! candidate does not trust the clock of the holder: it measures with its own how long the Lease has not changed.

mod candidate;

use std::future::Future;
use std::time::{Duration, Instant};

use ironsail_runtime::log::chain;
use ironsail_runtime::signal::Shutdown;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use tracing::{debug, info, warn};

use candidate::{Candidate, Step};

/// How long a Lease holds and how often it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Without renewal for this long, others may take over. Default 15 s.
    pub lease: Duration,
    /// A leader that could not renew for this long stops leading. Default 10 s.
    pub renew_deadline: Duration,
    /// Time between renewals. Default 2 s. Who waits looks twice as often, so that a Lease that was given up is
    /// soon held again.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// An election that this process takes part in.
#[derive(Clone)]
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
}

impl Election {
    /// `identity` must differ between candidates: usually the pod's name.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        timing: Timing,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            timing,
        }
    }

    /// Runs `lead` whenever this process holds the Lease, until `shutdown`.
    ///
    /// The future of `lead` gets a token that is triggered when leadership is lost or the process ends, and should
    /// return then; it is dropped when it does not within the renew deadline. When it returns by itself, leadership
    /// is kept and nothing is run.
    pub async fn run<L, F>(&self, shutdown: Shutdown, mut lead: L)
    where
        L: FnMut(Shutdown) -> F,
        F: Future<Output = ()>,
    {
        let mut candidate = Candidate::new(&self.identity, self.timing.lease);
        while !shutdown.is_triggered() {
            if self.acquire(&mut candidate, &shutdown).await.is_none() {
                break;
            }
            info!(lease = %self.name, identity = %self.identity, "Leading");
            let term = shutdown.child();
            let work = lead(term.clone());
            self.hold(&mut candidate, &shutdown, &term, work).await;
            info!(lease = %self.name, identity = %self.identity, "No longer leading");
        }
        self.release(&mut candidate).await;
    }

    /// Tries until the Lease is held; nothing when the process ends first.
    async fn acquire(&self, candidate: &mut Candidate, shutdown: &Shutdown) -> Option<()> {
        loop {
            match shutdown.guard(self.attempt(candidate)).await? {
                Ok(true) => return Some(()),
                Ok(false) => {}
                Err(error) => {
                    debug!(lease = %self.name, error = %chain(&error), "Lease cannot be taken")
                }
            }
            shutdown
                .guard(tokio::time::sleep(self.timing.retry / 2))
                .await?;
        }
    }

    /// Works and renews until one of them ends.
    async fn hold<F: Future<Output = ()>>(
        &self,
        candidate: &mut Candidate,
        shutdown: &Shutdown,
        term: &Shutdown,
        work: F,
    ) {
        tokio::pin!(work);
        let renewal = self.renew(candidate, shutdown);
        tokio::pin!(renewal);
        let mut done = false;
        loop {
            tokio::select! {
                () = &mut renewal => break,
                () = &mut work, if !done => done = true,
            }
        }
        term.trigger();
        if !done
            && tokio::time::timeout(self.timing.renew_deadline, work)
                .await
                .is_err()
        {
            warn!(lease = %self.name, "Work of the lost term did not end and was dropped");
        }
    }

    /// Returns when the Lease is lost or the process ends.
    async fn renew(&self, candidate: &mut Candidate, shutdown: &Shutdown) {
        let mut renewed = Instant::now();
        loop {
            if shutdown
                .guard(tokio::time::sleep(self.timing.retry))
                .await
                .is_none()
            {
                return;
            }
            let limit = self.timing.renew_deadline.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(limit, self.attempt(candidate)).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    warn!(lease = %self.name, error = %chain(&error), "Lease cannot be renewed")
                }
                Err(_) => {}
            }
            if renewed.elapsed() >= self.timing.renew_deadline {
                warn!(lease = %self.name, "Lease was not renewed in time");
                return;
            }
        }
    }

    /// One look and, where possible, one write. Says whether the Lease is held.
    async fn attempt(&self, candidate: &mut Candidate) -> Result<bool, Error> {
        let current = self.api.get_opt(&self.name).await?;
        let step = candidate.step(current, Instant::now());
        let written = match step {
            Step::Wait => return Ok(false),
            Step::Create(lease) => {
                let lease = named(lease, &self.name);
                self.api.create(&PostParams::default(), &lease).await
            }
            Step::Replace(lease) => {
                self.api
                    .replace(&self.name, &PostParams::default(), &lease)
                    .await
            }
        };
        match written {
            Ok(_) => Ok(true),
            // Somebody else was faster.
            Err(Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Empties the Lease if it is held, so that the next leader need not wait.
    async fn release(&self, candidate: &mut Candidate) {
        let limit = self.timing.renew_deadline;
        let released = tokio::time::timeout(limit, async {
            let Some(current) = self.api.get_opt(&self.name).await? else {
                return Ok(());
            };
            if let Some(lease) = candidate.released(current) {
                self.api
                    .replace(&self.name, &PostParams::default(), &lease)
                    .await?;
            }
            Ok::<_, Error>(())
        });
        match released.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                debug!(lease = %self.name, error = %chain(&error), "Lease was not released")
            }
            Err(_) => debug!(lease = %self.name, "Lease was not released in time"),
        }
    }
}

fn named(mut lease: Lease, name: &str) -> Lease {
    lease.metadata.name = Some(name.to_owned());
    lease
}
