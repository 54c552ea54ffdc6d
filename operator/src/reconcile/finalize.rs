//! The end of an IstioOperator: all that it owns is deleted, definitions of kinds and the user's
//! mesh configuration stay.

use ironsail_runtime::log::chain;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::json;
use tracing::{info, warn};

use super::{Next, Owner, ReconcileError, Reconciler, api_error};
use crate::delete;
use crate::events::operator_resource;
use crate::namespace;

/// Keeps an IstioOperator until everything it owns is gone.
pub const FINALIZER: &str = "istio-finalizer.install.istio.io";
/// From when on the finalizer is dropped with a warning, whatever is left.
const LIMIT: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_secs(1);

impl Reconciler {
    /// Adds the finalizer.
    pub(super) async fn ensure_finalizer(
        &self,
        object: &DynamicObject,
        owner: &Owner,
    ) -> Result<(), ReconcileError> {
        let current = object.metadata.finalizers.clone().unwrap_or_default();
        if current.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(());
        }
        let finalizers = [current, vec![FINALIZER.to_owned()]].concat();
        self.set_finalizers(object, owner, &finalizers).await
    }

    /// Writes the list of finalizers, if nobody changed the object since it was read.
    async fn set_finalizers(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        finalizers: &[String],
    ) -> Result<(), ReconcileError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &owner.namespace, &operator_resource());
        let body = json!({"metadata": {
            "finalizers": finalizers,
            "resourceVersion": object.metadata.resource_version,
        }});
        let params = PatchParams {
            field_manager: Some(crate::apply::MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match api.patch(&owner.name, &params, &Patch::Merge(&body)).await {
            Ok(_) => Ok(()),
            // Gone, or changed since: then another reconciliation follows.
            Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
            Err(error) => Err(api_error("the finalizer can't be written")(error)),
        }
    }

    /// Drops the finalizer. The object is read anew, so that a change meanwhile does no harm.
    async fn release(&self, owner: &Owner) -> Result<(), ReconcileError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &owner.namespace, &operator_resource());
        let object = api.get_opt(&owner.name).await;
        let Some(object) = object.map_err(api_error("the object can't be read"))? else {
            return Ok(());
        };
        let current = object.metadata.finalizers.clone().unwrap_or_default();
        if !current.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(());
        }
        let rest: Vec<String> = current.into_iter().filter(|f| f != FINALIZER).collect();
        self.set_finalizers(&object, owner, &rest).await
    }

    /// One step of deleting everything that an object owns; the last one drops the finalizer.
    pub(super) async fn finalize(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        since: Timestamp,
    ) -> Result<Next, ReconcileError> {
        let held = object
            .metadata
            .finalizers
            .iter()
            .flatten()
            .any(|f| f == FINALIZER);
        if !held {
            self.forget(owner).await;
            return Ok(None);
        }
        let left = self.delete_owned(owner).await;
        let waited = Timestamp::now().duration_since(since).unsigned_abs();
        match left {
            Ok(0) => {}
            Ok(_) if waited < LIMIT => return Ok(Some(POLL)),
            Err(error) if waited < LIMIT => return Err(error),
            Ok(left) => {
                let note =
                    format!("{left} objects are still there; their deletion goes on by itself");
                warn!(object = %owner, left, "Finalizer is dropped although objects are left");
                self.events.warning(object, "Incomplete", note).await;
            }
            Err(error) => {
                warn!(object = %owner, error = %chain(&error), "Finalizer is dropped although deleting failed");
                self.events
                    .warning(object, "Incomplete", error.to_string())
                    .await;
            }
        }
        self.release(owner).await?;
        self.metrics.cr_deletions.inc();
        info!(object = %owner, "Deleted everything that the object owned");
        self.forget(owner).await;
        Ok(None)
    }

    /// Deletes what an owner has; returns how much is still there.
    async fn delete_owned(&self, owner: &Owner) -> Result<usize, ReconcileError> {
        let remaining = delete::remaining(&self.client, owner)
            .await
            .map_err(api_error("owned objects can't be listed"))?;
        let mut failed = None;
        for object in &remaining {
            if object.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let uid = object.metadata.uid.as_deref().unwrap_or_default();
            match delete::one(&self.client, object.kind, &object.key, uid).await {
                Ok(deleted) => {
                    if deleted {
                        let labels = object.metadata.labels.as_ref();
                        let revision = labels.and_then(|l| l.get(ironsail_mesh::label::REVISION));
                        let revision = revision.map_or("", String::as_str);
                        let labels = [object.kind.kind, revision];
                        self.metrics.deleted.with_label_values(&labels).inc();
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            None => Ok(remaining.len()),
            Some(error) => {
                let what = format!("{} can't be deleted", error.key);
                Err(ReconcileError::Api {
                    what,
                    source: error.source,
                })
            }
        }
    }

    /// Lets go of every IstioOperator when the operator itself is being removed: afterwards nobody
    /// is left who could finish their deletion.
    ///
    /// Those that are being deleted, alone or with their namespace, are finished; the others keep
    /// what they installed and only lose the finalizer.
    pub async fn let_go(&self, namespaces: &[String]) -> Result<(), ReconcileError> {
        let resource = operator_resource();
        let apis: Vec<Api<DynamicObject>> = match namespaces {
            [] => vec![Api::all_with(self.client.clone(), &resource)],
            names => {
                let one =
                    |name: &String| Api::namespaced_with(self.client.clone(), name, &resource);
                names.iter().map(one).collect()
            }
        };
        for api in apis {
            let list = api.list(&ListParams::default()).await;
            let list = list.map_err(api_error("objects can't be listed"))?;
            for object in list.items.iter().filter(|object| self.is_selected(object)) {
                self.let_one_go(object).await?;
            }
        }
        Ok(())
    }

    async fn let_one_go(&self, object: &DynamicObject) -> Result<(), ReconcileError> {
        let owner = Owner::of(object);
        let here = namespace::state(&self.client, &owner.namespace).await;
        let ending = object.metadata.deletion_timestamp.is_some()
            || matches!(here, Ok(namespace::State::Terminating(_)));
        if ending && let Err(error) = self.delete_owned(&owner).await {
            warn!(object = %owner, error = %chain(&error), "Deleting failed while the operator is removed");
        }
        self.release(&owner).await?;
        info!(object = %owner, ending, "Dropped the finalizer, because the operator is removed");
        Ok(())
    }
}
