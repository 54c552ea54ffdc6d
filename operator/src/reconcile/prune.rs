//! The end of objects that an IstioOperator no longer wants: deleted, or left to others that want
//! them.

use std::collections::HashSet;

use kube::api::DynamicObject;
use tracing::info;

use super::{Owner, Reconciler};
use crate::apply::ApplyError;
use crate::delete::{self, GivenUp};
use crate::object::{Manifest, ObjectKey};
use crate::observe::{Seen, SeenObject};
use crate::plan::Plan;
use crate::value::get;

impl Reconciler {
    /// Gives up what carries the owner's labels, or is shared with it, and is no longer wanted.
    pub(super) async fn prune(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        plan: &Plan,
        desired: &[Manifest],
        seen: &Seen,
    ) -> Result<(), ApplyError> {
        let revision = &plan.revision;
        let left = plan.adopted.iter().flat_map(|adopted| &adopted.left);
        let wanted: HashSet<_> = desired.iter().map(Manifest::key).chain(left).collect();
        let unwanted = |key: &ObjectKey| !wanted.contains(key);
        let mut owned: Vec<_> = seen.owned(owner).collect();
        // Webhooks first: they would refuse pods of everybody while nobody answers them.
        owned.sort_by_key(|(key, _)| key.group != "admissionregistration.k8s.io");
        for (key, seen) in owned {
            if unwanted(key) && !seen.deleting {
                self.give_up(object, revision, key, seen).await?;
            }
        }
        for (key, seen) in seen.shared(owner) {
            if unwanted(key) {
                delete::withdraw(self.client(), owner, key, seen).await?;
            }
        }
        Ok(())
    }

    /// Deletes autoscalers of workloads that have a number of their own from now on: they would
    /// change it back until everything else is applied.
    pub(super) async fn prune_autoscalers(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        revision: &str,
        desired: &[Manifest],
        seen: &Seen,
    ) -> Result<(), ApplyError> {
        let is_numbered = |scaler: &ObjectKey| {
            desired.iter().any(|wanted| {
                wanted.kind().kind == "Deployment"
                    && (wanted.namespace(), wanted.name()) == (&*scaler.namespace, &*scaler.name)
                    && get(&wanted.body(), &["spec", "replicas"]).is_some()
            })
        };
        let scalers = seen.owned(owner);
        for (key, seen) in scalers.filter(|(key, _)| key.kind == "HorizontalPodAutoscaler") {
            let unwanted = !desired.iter().any(|wanted| wanted.key() == key);
            if unwanted && !seen.deleting && is_numbered(key) {
                self.give_up(object, revision, key, seen).await?;
            }
        }
        Ok(())
    }

    async fn give_up(
        &self,
        object: &DynamicObject,
        revision: &str,
        key: &ObjectKey,
        seen: &SeenObject,
    ) -> Result<(), ApplyError> {
        match delete::give_up(self.client(), key, seen).await? {
            GivenUp::HandedOver(heir) => {
                info!(owned = %key, to = %heir, "Handed object over");
                let note = format!("gave {key} to the IstioOperator {heir}, which wants it too");
                self.events.normal(object, "HandedOver", note).await;
            }
            GivenUp::Deleted => {
                info!(owned = %key, "Pruned object");
                let labels = [seen.kind.kind, revision];
                self.metrics.pruned.with_label_values(&labels).inc();
                let note = format!("deleted {key}, no longer wanted");
                self.events.normal(object, "Pruned", note).await;
            }
            GivenUp::Gone => {}
        }
        Ok(())
    }
}
