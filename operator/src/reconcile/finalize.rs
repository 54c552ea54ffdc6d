//! The end of an IstioOperator: all that it owns is deleted, or left to others where the object
//! says so; definitions of kinds and the user's mesh configuration stay.

use std::time::Duration;

use ironsail_runtime::log::chain;
use kube::api::{Api, DynamicObject, ListParams};
use tracing::{info, warn};

use super::{Next, Owner, ReconcileError, Reconciler, annotations, api_error};
use crate::adopt::helm::{self, Finder};
use crate::adopt::release;
use crate::apply::{ApplyError, api};
use crate::count::counted;
use crate::delete::{self, Remaining};
use crate::events::operator_resource;
use crate::finalizer;
use crate::namespace;
use crate::object::KINDS;
use crate::observe::label_of;
use crate::share;

/// Keeps an IstioOperator until everything it owns is gone.
pub const FINALIZER: &str = "istio-finalizer.install.istio.io";
/// How long what is handed over may take to be applied by its new owner, before what it still
/// leads to is deleted.
const HAND_OVER: Duration = Duration::from_secs(15);
/// From when on the finalizer is dropped with a warning, whatever is left.
const LIMIT: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_secs(1);

impl Reconciler {
    /// Adds the finalizer, after what makes sure that it can be dropped again.
    pub(super) async fn secure_removal(
        &self,
        object: &DynamicObject,
        owner: &Owner,
    ) -> Result<(), ReconcileError> {
        let kept = self.keeper.keep().await;
        if let Some(error) = &kept.failure {
            warn!(error = %chain(error), "Rights for the removal can't be secured");
        }
        let api = Api::namespaced_with(self.client.clone(), &owner.namespace, &operator_resource());
        finalizer::add(&api, &object.metadata, FINALIZER)
            .await
            .map_err(api_error("the finalizer can't be written"))
    }

    /// Drops the finalizer, and with the last one the hold on the own rights.
    async fn release(&self, owner: &Owner) -> Result<(), ReconcileError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &owner.namespace, &operator_resource());
        finalizer::remove(&api, &owner.name, FINALIZER)
            .await
            .map_err(api_error("the finalizer can't be written"))
    }

    /// Gives the hold on the own rights up, unless an object still needs them.
    ///
    /// # Errors
    /// The API server doesn't answer; the hold stays.
    pub async fn loosen(&self) -> Result<(), ReconcileError> {
        let others = async {
            let objects = self.selected().await?;
            Ok(objects
                .iter()
                .any(|o| finalizer::holds(&o.metadata, FINALIZER)))
        };
        self.keeper
            .let_go_unless(others)
            .await
            .map_err(api_error("the own account can't be released"))
    }

    /// One step of deleting everything that an object owns; the last one drops the finalizer.
    pub(super) async fn finalize(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        waited: Duration,
    ) -> Result<Next, ReconcileError> {
        if !finalizer::holds(&object.metadata, FINALIZER) {
            self.forget(owner).await;
            return Ok(None);
        }
        let left = self.end_owned(object, owner, waited < HAND_OVER).await;
        match left {
            Ok(0) => {}
            Ok(_) if waited < LIMIT => return Ok(Some(POLL)),
            Err(error) if waited < LIMIT => return Err(error),
            Ok(left) => {
                let note = format!(
                    "left behind: {}; the deletion goes on by itself",
                    counted(left, "object")
                );
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
        if let Err(error) = self.loosen().await {
            warn!(error = %chain(&error), "The operator's account keeps its finalizer");
        }
        self.metrics.cr_deletions.inc();
        let orphans = release::orphans(&annotations(object));
        info!(object = %owner, orphans, "Finished the deletion of an object");
        self.forget(owner).await;
        Ok(None)
    }

    /// Deletes what an object owns, or lets it go; returns how much is still there.
    async fn end_owned(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        patient: bool,
    ) -> Result<usize, ReconcileError> {
        match release::orphans(&annotations(object)) {
            true => self.orphan_owned(object, owner).await,
            false => self.delete_owned(object, owner, patient).await,
        }
    }

    /// Leaves what an owner has to others.
    async fn orphan_owned(
        &self,
        object: &DynamicObject,
        owner: &Owner,
    ) -> Result<usize, ReconcileError> {
        let remains = delete::remains(&self.client, owner)
            .await
            .map_err(api_error("owned objects can't be listed"))?;
        self.withdraw_all(owner, &remains.shared).await;
        self.hand_over_all(&remains.kept).await;
        // First, while objects still name their releases.
        for release in release::former_releases(remains.held.iter()) {
            if let Err(error) = helm::set_finder(&self.client, &release, Finder::Helm).await {
                warn!(%release, error = %chain(&error), "Records of a Helm release stay hidden");
                let command = helm::command(&release, Finder::Helm);
                let note = format!("Helm does not list the release {release}; run: {command}");
                self.events.warning(object, "HelmRelease", note).await;
            }
        }
        for object in &remains.held {
            if self.heir(object).await?.is_none() {
                release::object(&self.client, object).await?;
            }
        }
        Ok(0)
    }

    /// Removes the hidden records of the Helm releases whose objects go away: Helm would refuse
    /// another release of their names.
    async fn forget_releases(&self, object: &DynamicObject, held: &[Remaining]) {
        // Only once: then its objects are being deleted.
        let first = held.iter().filter(|o| !o.is_ending());
        for release in release::former_releases(first) {
            if let Err(error) = helm::forget(&self.client, &release).await {
                warn!(%release, error = %chain(&error), "Records of a Helm release stay");
                let command = helm::removal(&release);
                let note = format!("Helm refuses a new release {release} until you run: {command}");
                self.events.warning(object, "HelmRelease", note).await;
            }
        }
    }

    /// Gives an object to somebody else who wants it.
    async fn heir(&self, object: &Remaining) -> Result<Option<Owner>, ApplyError> {
        let api = api(&self.client, object.kind, &object.key.namespace);
        let heir = share::hand_over(&self.client, &api, &object.metadata).await;
        let heir = heir.map_err(|error| ApplyError::new(&object.key, error))?;
        if let Some(heir) = &heir {
            info!(owned = %object.key, to = %heir, "Handed object over");
        }
        Ok(heir)
    }

    /// Deletes what an owner has, or hands it over; returns how much is still there.
    async fn delete_owned(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        patient: bool,
    ) -> Result<usize, ReconcileError> {
        let remains = delete::remains(&self.client, owner)
            .await
            .map_err(api_error("owned objects can't be listed"))?;
        self.withdraw_all(owner, &remains.shared).await;
        self.hand_over_all(&remains.kept).await;
        self.forget_releases(object, &remains.held).await;
        let mut failed = None;
        let mut left = 0;
        let mut callers = match patient {
            true => delete::callers(&self.client, &remains.held)
                .await
                .map_err(api_error("webhooks can't be listed"))?,
            false => 0,
        };
        for object in &remains.held {
            // What still calls this control plane comes first.
            if patient && callers > 0 && !object.is_webhook() {
                left += 1;
                continue;
            }
            match self.end(object).await {
                Ok(gone) => {
                    callers += usize::from(gone && object.is_webhook());
                    left += usize::from(!gone);
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            None => Ok(left),
            Some(error) => {
                let what = format!("{} can't be deleted", error.key);
                Err(ReconcileError::Api {
                    what,
                    source: error.source,
                })
            }
        }
    }

    /// One step of giving up an object; says whether it is somebody else's now.
    async fn end(&self, object: &Remaining) -> Result<bool, ApplyError> {
        if object.is_ending() {
            return Ok(false);
        }
        if self.heir(object).await?.is_some() {
            return Ok(true);
        }
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        if delete::one(&self.client, object.kind, &object.key, uid).await? {
            let revision = label_of(&object.metadata, ironsail_mesh::label::REVISION);
            let labels = [object.kind.kind, revision.unwrap_or_default()];
            self.metrics.deleted.with_label_values(&labels).inc();
        }
        Ok(false)
    }

    /// Lets what stays name an owner that is there. One that takes over later does the same.
    async fn hand_over_all(&self, kept: &[Remaining]) {
        for object in kept {
            let api = api(&self.client, object.kind, &object.key.namespace);
            if let Err(error) = share::hand_over(&self.client, &api, &object.metadata).await {
                warn!(owned = %object.key, error = %chain(&error), "Object keeps the name of an owner that goes away");
            }
        }
    }

    /// Takes the owner's name off objects that others hold. They look themselves whether it is
    /// still there before they hand something over, so that nothing waits for this.
    async fn withdraw_all(&self, owner: &Owner, shared: &[Remaining]) {
        for object in shared {
            let api = api(&self.client, object.kind, &object.key.namespace);
            if let Err(error) = share::withdraw(&api, &object.metadata, owner).await {
                warn!(owned = %object.key, error = %chain(&error), "Object keeps the name of an owner that goes away");
            }
        }
    }

    /// All objects that are this operator's; none when their definition is gone.
    async fn selected(&self) -> Result<Vec<DynamicObject>, kube::Error> {
        let resource = operator_resource();
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        let list = match api.list(&ListParams::default()).await {
            Ok(list) => list.items,
            Err(kube::Error::Api(answer)) if answer.code == 404 => Vec::new(),
            Err(error) => return Err(error),
        };
        let own = list.into_iter();
        Ok(own.filter(|object| self.is_selected(object)).collect())
    }

    /// Lets go of every IstioOperator if the operator itself is being removed: afterwards nobody
    /// is left who could finish their deletion. Says whether it was.
    ///
    /// Those that are being deleted, alone or with their namespace or definition, are finished;
    /// the others keep what they installed and only lose the finalizer.
    ///
    /// # Errors
    /// The API server doesn't answer.
    pub async fn let_go_if_removed(&self) -> Result<bool, ReconcileError> {
        let removed = self.keeper.is_removed().await;
        if !removed.map_err(api_error("the own account can't be read"))? {
            return Ok(false);
        }
        let objects = self.selected().await;
        let all_end = self.definition_ends().await;
        for object in &objects.map_err(api_error("objects can't be listed"))? {
            self.let_one_go(object, all_end).await?;
        }
        self.keeper
            .let_go()
            .await
            .map_err(api_error("the own account can't be released"))?;
        Ok(true)
    }

    /// Whether the definition of IstioOperator is being deleted, and all objects with it.
    pub(super) async fn definition_ends(&self) -> bool {
        let name = ironsail_crds::kind::ISTIO_OPERATOR.crd_name();
        let definitions = &KINDS[0];
        let api = crate::apply::api(&self.client, definitions, "");
        match api.get_metadata_opt(&name).await {
            Ok(found) => found.is_none_or(|d| d.metadata.deletion_timestamp.is_some()),
            Err(error) => {
                warn!(error = %chain(&error), "The definition of IstioOperator can't be read");
                false
            }
        }
    }

    async fn let_one_go(
        &self,
        object: &DynamicObject,
        all_end: bool,
    ) -> Result<(), ReconcileError> {
        let owner = Owner::of(object);
        let here = namespace::state(&self.client, &owner.namespace).await;
        let ending = all_end
            || object.metadata.deletion_timestamp.is_some()
            || matches!(here, Ok(namespace::State::Terminating(_)));
        if ending && let Err(error) = self.end_owned(object, &owner, false).await {
            warn!(object = %owner, error = %chain(&error), "Deleting failed while the operator is removed");
        }
        self.release(&owner).await?;
        info!(object = %owner, ending, "Dropped the finalizer, because the operator is removed");
        Ok(())
    }
}
