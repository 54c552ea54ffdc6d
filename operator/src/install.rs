//! Installing without a running operator: the operator's own rollout, once, until everything is
//! ready.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::Client;
use tokio::time::sleep;

use crate::apply::memory::Memory;
use crate::apply::{ApplyError, reason};
use crate::delete::GivenUp;
use crate::object::{Manifest, ObjectKey};
use crate::observe::Seen;
use crate::observe::look::look;
use crate::plan::record;
use crate::plan::store::{self, Accepted, StoreError};
use crate::plan::{Fresh, Owner};
use crate::rollout::{Patience, Rolling, Rollout};
use crate::status::ComponentState;
use crate::{delete, namespace, share};

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// Rounds in a row that may fail to apply something, because a webhook or a definition is not up yet.
const TRIES: usize = 5;

/// What keeps an installation from its end.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("namespace {name} can't be prepared: {}", reason(source))]
    Namespace {
        name: String,
        source: Box<kube::Error>,
    },
    #[error("the objects of the cluster can't be read: {}", reason(_0))]
    Look(#[source] Box<kube::Error>),
    #[error("{0}")]
    Apply(String),
    #[error("not ready: {0}")]
    NotReady(String),
    #[error(transparent)]
    Record(#[from] StoreError),
    #[error("everything else is installed: {0}")]
    Kept(String),
    #[error("no longer wanted, but not deleted: {0}")]
    Prune(#[source] ApplyError),
}

/// One installation.
pub struct Install<'a> {
    pub client: &'a Client,
    pub owner: &'a Owner,
    pub fresh: &'a Fresh,
    /// How long a component may take to become ready.
    pub limit: Duration,
    /// Workloads that may be deleted and made anew, as `Kind/name`.
    pub recreate: &'a BTreeSet<String>,
}

impl Install<'_> {
    /// Applies everything in waves, waits until it is ready, and deletes what the owner no longer
    /// wants; that is returned. `tell` is called after every round.
    ///
    /// Cancel safe: what was applied stays, and another run continues.
    ///
    /// # Errors
    /// The API server refuses something, or a component is not ready in time.
    pub async fn run(
        &self,
        mut tell: impl FnMut(&Rollout),
    ) -> Result<Vec<ObjectKey>, InstallError> {
        let plan = &self.fresh.plan;
        let desired = plan.desired(self.owner, &self.fresh.definitions);
        self.ensure_namespace(&plan.istio_namespace, &plan.network)
            .await?;
        let replaced = record::replaced(self.client, self.owner, plan).await?;
        self.record().await?;
        record::supersede(self.client, self.owner, &replaced).await?;
        // They would change back the numbers of workloads that have some of their own now.
        self.prune(&desired, &replaced, Some("HorizontalPodAutoscaler"))
            .await?;
        let (mut memory, mut patience) = (Memory::default(), Patience::default());
        let mut failures = 0;
        loop {
            let seen = self.look().await?;
            let mut rolling = Rolling {
                client: self.client,
                seen: &seen,
                memory: &mut memory,
                patience: &mut patience,
                limit: self.limit,
                in_order: true,
                recreate: self.recreate,
            };
            let rollout = rolling.run(&plan.components, &desired).await;
            tell(&rollout);
            if rollout.is_healthy() {
                let kept = texts(&rollout, |component| {
                    [&component.taken[..], &component.immutable].concat()
                });
                if !kept.is_empty() {
                    return Err(InstallError::Kept(kept.join("\n")));
                }
                let deleted = self.prune(&desired, &replaced, None).await?;
                record::finish(self.client, self.owner, &replaced).await?;
                return Ok(deleted);
            }
            let errors = texts(&rollout, |component| component.errors.clone());
            failures = if errors.is_empty() { 0 } else { failures + 1 };
            if failures == TRIES || rollout.terminating {
                return Err(InstallError::Apply(errors.join("\n")));
            }
            if failures == 0 && !is_pending(&rollout) {
                let failed = texts(&rollout, |component| {
                    component.failed.iter().cloned().collect()
                });
                return Err(InstallError::NotReady(failed.join("\n")));
            }
            sleep(PAUSE).await;
        }
    }

    async fn ensure_namespace(&self, name: &str, network: &str) -> Result<(), InstallError> {
        let failed = |source| InstallError::Namespace {
            name: name.to_owned(),
            source: Box::new(source),
        };
        let state = namespace::state(self.client, name).await.map_err(failed)?;
        namespace::ensure(self.client, name, network, &state)
            .await
            .map_err(failed)
    }

    /// Keeps what is installed, beside the plans of IstioOperators. One of the same name has its own.
    async fn record(&self) -> Result<(), InstallError> {
        let failed = |error| InstallError::Look(Box::new(error));
        let owner = self.owner;
        if share::is_reconciled(self.client, owner)
            .await
            .map_err(failed)?
        {
            return Ok(());
        }
        let before = store::load(self.client, owner).await?;
        if before.is_some_and(|before| before.plan == self.fresh.plan) {
            return Ok(());
        }
        if owner.namespace != self.fresh.plan.istio_namespace {
            self.ensure_namespace(&owner.namespace, "").await?;
        }
        let accepted = Accepted {
            plan: self.fresh.plan.clone(),
            // An operator that takes it over looks itself.
            rolled_out: false,
            replaced: false,
        };
        Ok(store::record(self.client, owner, &accepted).await?)
    }

    async fn look(&self) -> Result<Seen, InstallError> {
        let seen = look(self.client).await;
        seen.map_err(|error| InstallError::Look(Box::new(error)))
    }

    /// Gives up what is no longer wanted, by this installation or by those that it replaces, of all
    /// kinds or of one; returns what was deleted.
    async fn prune(
        &self,
        desired: &[Manifest],
        replaced: &BTreeSet<Owner>,
        only: Option<&str>,
    ) -> Result<Vec<ObjectKey>, InstallError> {
        let seen = self.look().await?;
        let unwanted = |key: &ObjectKey| {
            only.is_none_or(|kind| kind == key.kind)
                && !desired.iter().any(|wanted| wanted.key() == key)
        };
        let mut deleted = Vec::new();
        let owners = || replaced.iter().chain([self.owner]);
        for (key, object) in owners().flat_map(|owner| seen.owned(owner)) {
            if object.deleting || !unwanted(key) {
                continue;
            }
            let given_up = delete::give_up(self.client, key, object).await;
            if given_up.map_err(InstallError::Prune)? == GivenUp::Deleted {
                deleted.push(key.clone());
            }
        }
        for owner in owners() {
            let is_own = owner == self.owner;
            let shared = seen.shared(owner);
            for (key, object) in shared.filter(|(key, _)| !is_own || unwanted(key)) {
                let withdrawn = delete::withdraw(self.client, owner, key, object).await;
                withdrawn.map_err(InstallError::Prune)?;
            }
        }
        Ok(deleted)
    }
}

/// Whether waiting can help.
fn is_pending(rollout: &Rollout) -> bool {
    rollout
        .components
        .iter()
        .any(|component| component.held || component.incomplete || component.waiting.is_some())
}

fn texts(rollout: &Rollout, of: impl Fn(&ComponentState) -> Vec<String>) -> Vec<String> {
    let components = rollout.components.iter();
    let texts = components.flat_map(|component| {
        let name = component.component;
        of(component)
            .into_iter()
            .map(move |text| format!("{name}: {text}"))
    });
    texts.collect()
}

#[cfg(test)]
mod tests;
