//! Installing without a running operator: the operator's own rollout, once, until everything is
//! ready.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, DynamicObject};
use tokio::time::sleep;

use crate::apply::memory::Memory;
use crate::apply::{ApplyError, reason};
use crate::events::operator_resource;
use crate::object::{Manifest, ObjectKey};
use crate::observe::Seen;
use crate::observe::look::look;
use crate::plan::{Fresh, Owner};
use crate::rollout::{Patience, Rolling, Rollout};
use crate::status::ComponentState;
use crate::{delete, namespace};

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
    #[error("no longer wanted, but not deleted: {0}")]
    Prune(#[source] ApplyError),
}

/// Whether there is an IstioOperator of this name, whose objects are a running operator's.
///
/// # Errors
/// The API server doesn't answer.
pub async fn is_reconciled(client: &Client, owner: &Owner) -> Result<bool, kube::Error> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &owner.namespace, &operator_resource());
    match api.get_metadata_opt(&owner.name).await {
        Ok(found) => Ok(found.is_some()),
        // The cluster doesn't have the kind.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// One installation.
pub struct Install<'a> {
    pub client: &'a Client,
    pub owner: &'a Owner,
    pub fresh: &'a Fresh,
    /// How long a component may take to become ready.
    pub limit: Duration,
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
        self.ensure_namespace().await?;
        let (mut memory, mut patience) = (Memory::default(), Patience::default());
        let recreate = BTreeSet::new();
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
                recreate: &recreate,
            };
            let rollout = rolling.run(&plan.components, &desired).await;
            tell(&rollout);
            if rollout.is_healthy() {
                return self.prune(&desired).await;
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

    async fn ensure_namespace(&self) -> Result<(), InstallError> {
        let (name, network) = (&self.fresh.plan.istio_namespace, &self.fresh.plan.network);
        let failed = |source| InstallError::Namespace {
            name: name.clone(),
            source: Box::new(source),
        };
        let state = namespace::state(self.client, name).await.map_err(failed)?;
        namespace::ensure(self.client, name, network, &state)
            .await
            .map_err(failed)
    }

    async fn look(&self) -> Result<Seen, InstallError> {
        let seen = look(self.client).await;
        seen.map_err(|error| InstallError::Look(Box::new(error)))
    }

    async fn prune(&self, desired: &[Manifest]) -> Result<Vec<ObjectKey>, InstallError> {
        let seen = self.look().await?;
        let mut deleted = Vec::new();
        for (key, object) in seen.owned(self.owner) {
            if object.deleting || desired.iter().any(|wanted| wanted.key() == key) {
                continue;
            }
            let gone = delete::one(self.client, object.kind, key, &object.uid).await;
            if gone.map_err(InstallError::Prune)? {
                deleted.push(key.clone());
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
        .any(|component| component.held || component.waiting.is_some())
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
