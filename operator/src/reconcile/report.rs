//! What is told: status, events, counters and the log.

use ironsail_crds::Diagnostic;
use ironsail_crds::operator::{IstioOperatorStatus, Status};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube_runtime::events::EventType;
use serde_json::json;
use tracing::{info, warn};

use super::{IGNORE, Next, Owner, OwnerState, ReconcileError, Reconciler, api_error};
use crate::apply::Outcome;
use crate::count::counted;
use crate::events::operator_resource;
use crate::rollout::Change;
use crate::status::{Observed, derive, paused};

/// Field manager of the status.
const STATUS_MANAGER: &str = "istio-operator-status";

impl Reconciler {
    /// Says that the object is left alone, and does nothing else.
    pub(super) async fn pause(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        state: &mut OwnerState,
    ) -> Result<Next, ReconcileError> {
        let previous = reported(object, state);
        let request = format!("{IGNORE}=true");
        let generation = object.metadata.generation;
        let status = paused(previous.as_ref(), generation, &request, Timestamp::now());
        if self.write_status(object, owner, previous, &status).await? {
            info!(object = %owner, "Paused");
        }
        state.reported = Some(status);
        Ok(None)
    }

    /// Writes the status, if it differs from what was written before, and tells the user.
    pub(super) async fn report(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        observed: &Observed,
        state: &mut OwnerState,
    ) -> Result<(), ReconcileError> {
        let previous = reported(object, state);
        let status = derive(previous.as_ref(), observed, Timestamp::now());
        self.metrics.show(owner, &status);
        let written = self.write_status(object, owner, previous.clone(), &status);
        if written.await? {
            self.tell_status(object, previous.as_ref(), &status, observed)
                .await;
        }
        state.reported = Some(status);
        Ok(())
    }

    /// Whether the status differed from the previous one and was written.
    async fn write_status(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        previous: Option<IstioOperatorStatus>,
        status: &IstioOperatorStatus,
    ) -> Result<bool, ReconcileError> {
        if previous.as_ref() == Some(status) {
            return Ok(false);
        }
        let resource = operator_resource();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &owner.namespace, &resource);
        let body = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": owner.name, "uid": object.metadata.uid},
            "status": status,
        });
        let params = PatchParams::apply(STATUS_MANAGER).force();
        match api
            .patch_status(&owner.name, &params, &Patch::Apply(&body))
            .await
        {
            Ok(_) => Ok(true),
            // The object is gone or was made anew: nobody waits for this status.
            Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => Ok(false),
            Err(error) => Err(api_error("the status can't be written")(error)),
        }
    }

    /// Events of what changed for the user.
    async fn tell_status(
        &self,
        object: &DynamicObject,
        previous: Option<&IstioOperatorStatus>,
        status: &IstioOperatorStatus,
        observed: &Observed,
    ) {
        let before = previous.map(|status| (&status.status, status.message.as_str()));
        if before == Some((&status.status, status.message.as_str())) {
            return;
        }
        let changed = before.is_none_or(|(before, _)| *before != status.status);
        info!(object = %Owner::of(object), status = %status.status, detail = %status.message, "Status");
        match &status.status {
            Status::Healthy if changed => {
                self.events
                    .normal(object, "Healthy", "everything is installed and ready")
                    .await;
            }
            Status::Error if observed.findings.iter().any(Diagnostic::is_error) => {
                self.events
                    .warning(object, "InvalidSpec", status.message.clone())
                    .await;
            }
            Status::Error => {
                self.events
                    .warning(object, "Error", status.message.clone())
                    .await
            }
            Status::ActionRequired if changed => {
                self.events
                    .warning(object, observed.action(), status.message.clone())
                    .await;
            }
            _ => {}
        }
    }

    /// Logs, events and counters of what was written.
    pub(super) async fn tell(&self, object: &DynamicObject, revision: &str, changes: &[Change]) {
        for change in changes {
            let key = change.object.key();
            let labels = [change.object.kind().kind, revision];
            match &change.outcome {
                // Told by the status, as long as it lasts.
                Outcome::Unchanged
                | Outcome::Taken { .. }
                | Outcome::Immutable { .. }
                | Outcome::Overlaps { .. } => {}
                Outcome::Created => self.metrics.created.with_label_values(&labels).inc(),
                Outcome::Updated { by } => {
                    self.metrics.updated.with_label_values(&labels).inc();
                    if !by.is_empty() {
                        let by = by.join(", ");
                        info!(owned = %key, changed_by = %by, "Repaired object");
                        let note = format!("repaired {key}, which was changed by {by}");
                        let normal = EventType::Normal;
                        self.events
                            .object(object, normal, "Repaired", note, &change.object)
                            .await;
                    }
                }
                Outcome::Postponed { by, seconds } => {
                    let by = by.join(", ");
                    warn!(owned = %key, changed_by = %by, seconds, "Somebody else owns the object too");
                    let note =
                        format!("{key} is changed by {by} again and again; repaired more slowly");
                    let warning = EventType::Warning;
                    self.events
                        .object(object, warning, "OwnershipConflict", note, &change.object)
                        .await;
                }
            }
        }
        let created = changes
            .iter()
            .filter(|change| change.outcome == Outcome::Created)
            .count();
        if created > 0 {
            self.events
                .normal(
                    object,
                    "Created",
                    format!("created {}", counted(created, "object")),
                )
                .await;
        }
    }
}

/// What was reported last: remembered, or as the object shows it.
pub(super) fn reported(object: &DynamicObject, state: &OwnerState) -> Option<IstioOperatorStatus> {
    let shown = || {
        let status = object.data.get("status")?;
        serde_json::from_value::<IstioOperatorStatus>(status.clone()).ok()
    };
    state.reported.clone().or_else(shown)
}

/// What somebody else changes again and again, for the status.
pub(super) fn contested(changes: &[Change]) -> Vec<String> {
    let postponed = changes.iter().filter_map(|change| match &change.outcome {
        Outcome::Postponed { by, .. } => Some(format!(
            "{} is also changed by {}",
            change.object.key(),
            by.join(", ")
        )),
        _ => None,
    });
    postponed.collect()
}
