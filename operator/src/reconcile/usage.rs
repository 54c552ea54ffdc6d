//! Revisions in use: they are not removed under those who use them, and collected when nobody
//! does any more.

use std::time::Duration;

use ironsail_crds::Diagnostic;
use ironsail_mesh::duration;
use ironsail_runtime::log::chain;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, DynamicObject, Preconditions};
use serde_json::Value;
use tokio::time::Instant;
use tracing::{info, warn};

use super::finalize::FINALIZER;
use super::{Next, Owner, OwnerState, ReconcileError, Reconciler, annotations, api_error, waited};
use crate::adopt::release;
use crate::component::Component;
use crate::events::operator_resource;
use crate::finalizer;
use crate::namespace;
use crate::plan::store;
use crate::revision::in_use::{Question, Usage};
use crate::status::{IN_USE, Observed};

/// `true`: a revision is removed even if it is in use.
pub const FORCE: &str = "operator.ironsail.dev/force-removal";
/// How long the removal of a revision waits for those who use it; default [`GRACE`].
pub const REMOVAL_GRACE: &str = "operator.ironsail.dev/removal-grace";
/// The resource is deleted when nobody has used its revision for this long.
pub const COLLECT: &str = "operator.ironsail.dev/collect-when-unused";
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// How long a removal waits for an answer that doesn't come: a control plane that is broken must
/// not hold it.
const UNKNOWN_GRACE: Duration = Duration::from_secs(60);
/// An answer is used for this long.
pub(super) const FRESH: Duration = Duration::from_secs(60);

/// Whether a resource asks for a revision of its own.
fn has_revision(object: &DynamicObject) -> bool {
    let revision = object.data.pointer("/spec/revision");
    match revision {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}

/// A duration of an annotation.
fn annotated(object: &DynamicObject, name: &str) -> Option<Result<Duration, Diagnostic>> {
    let text = annotations(object).remove(name)?;
    let parsed = duration::parse(&text);
    let path = format!("metadata.annotations[{name}]");
    Some(parsed.map_err(|error| Diagnostic::warning(path, format!("ignored: {error}"))))
}

impl Reconciler {
    /// Who uses the revision of an object, asked at most once a minute; `None` if it is the
    /// default one, or its control plane is not this object's.
    async fn usage(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        state: &mut OwnerState,
    ) -> Option<Usage> {
        let accepted = state.accepted.as_ref().filter(|_| has_revision(object))?;
        if !accepted.plan.components.contains(&Component::Pilot) {
            return None;
        }
        if let Some((at, usage)) = &state.usage
            && at.elapsed() < FRESH
        {
            return Some(usage.clone());
        }
        let question = Question {
            client: &self.client,
            owner,
            plan: &accepted.plan,
            probe: &self.probe,
        };
        let usage = question.ask().await;
        state.usage = Some((Instant::now(), usage.clone()));
        Some(usage)
    }

    /// As [`Self::usage`], but asked anew when a removal begins, and before it goes on because
    /// nobody uses it: what follows can't be undone.
    async fn usage_now(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        state: &mut OwnerState,
    ) -> Option<Usage> {
        let first = !std::mem::replace(&mut state.removal_asked, true);
        if first || matches!(state.usage, Some((_, Usage::Unused))) {
            state.usage = None;
        }
        self.usage(object, owner, state).await
    }

    /// Notes who uses the revision.
    pub(super) async fn observe_usage(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        state: &mut OwnerState,
        observed: &mut Observed,
    ) {
        observed.usage = self.usage(object, owner, state).await;
        for name in [COLLECT, REMOVAL_GRACE] {
            observed
                .findings
                .extend(annotated(object, name).and_then(Result::err));
        }
    }

    /// Why a resource that is being deleted keeps what it installed for now: its revision is in
    /// use. Never together with its namespace, its definition or the operator.
    pub(super) async fn keeps(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        since: Timestamp,
        state: &mut OwnerState,
    ) -> Result<Option<String>, ReconcileError> {
        let stays = release::orphans(&annotations(object));
        let decided = state.removal_began.is_some() || !has_revision(object) || stays;
        if decided || !finalizer::holds(&object.metadata, FINALIZER) {
            return Ok(None);
        }
        let forced = annotations(object)
            .get(FORCE)
            .is_some_and(|text| text == "true");
        if !forced && !self.ends_with_others(owner).await? {
            if state.accepted.is_none() {
                state.accepted = store::load(&self.client, owner).await?;
            }
            let usage = self.usage_now(object, owner, state).await;
            if let Some(reason) = self.objection(object, usage, since).await {
                return Ok(Some(reason));
            }
        }
        state.removal_began = Some(Instant::now());
        Ok(None)
    }

    /// What speaks against the removal that was asked for at some time.
    async fn objection(
        &self,
        object: &DynamicObject,
        usage: Option<Usage>,
        since: Timestamp,
    ) -> Option<String> {
        let waited = waited(since);
        let (why, grace) = match usage? {
            Usage::Unused => return None,
            Usage::Used(uses) => {
                let asked = annotated(object, REMOVAL_GRACE).and_then(Result::ok);
                (format!("is used by {uses}"), asked.unwrap_or(GRACE))
            }
            Usage::Unknown(why) => (format!("may be in use: {why}"), UNKNOWN_GRACE),
        };
        if waited >= grace {
            let note = format!("removed although the revision {why}");
            warn!(object = %Owner::of(object), why, "Revision is removed although it may be in use");
            self.events.warning(object, "RemovedInUse", note).await;
            return None;
        }
        let limit = Timestamp::from_second(since.as_second()).unwrap_or(since) + grace;
        Some(format!(
            "the revision {why}; it is removed when nobody uses it, at {limit} at the latest, or \
             at once with the annotation {FORCE}=true"
        ))
    }

    /// Whether more goes away than the resource.
    async fn ends_with_others(&self, owner: &Owner) -> Result<bool, ReconcileError> {
        let home = namespace::state(&self.client, &owner.namespace).await;
        let home = home.map_err(api_error("the namespace can't be read"))?;
        let removed = self.keeper.is_removed().await;
        Ok(matches!(home, namespace::State::Terminating(_))
            || removed.map_err(api_error("the own account can't be read"))?
            || self.definition_ends().await)
    }

    /// Deletes a resource whose revision nobody has used for long enough, if that was asked for;
    /// says when to look again.
    pub(super) async fn collect(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        observed: &Observed,
        state: &mut OwnerState,
    ) -> Result<Next, ReconcileError> {
        let asked = annotated(object, COLLECT).and_then(Result::ok);
        let (Some(after), Some(usage)) = (asked, &observed.usage) else {
            return Ok(None);
        };
        if object.metadata.deletion_timestamp.is_some() || *usage != Usage::Unused {
            return Ok(Some(FRESH));
        }
        let conditions = state.reported.iter().flat_map(|status| &status.conditions);
        let since = conditions
            .filter(|condition| condition.type_ == IN_USE && condition.status == "False")
            .map(|condition| condition.last_transition_time.0)
            .next();
        let unused = since.map(waited);
        match unused {
            Some(unused) if unused >= after => match self.usage_now(object, owner, state).await {
                Some(Usage::Unused) => self.delete_unused(object, owner, unused).await,
                _ => Ok(Some(FRESH)),
            },
            Some(unused) => Ok(Some(FRESH.min(after - unused))),
            None => Ok(Some(FRESH)),
        }
    }

    async fn delete_unused(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        unused: Duration,
    ) -> Result<Next, ReconcileError> {
        let note = format!(
            "nobody has used the revision for {} s; it is removed",
            unused.as_secs()
        );
        info!(object = %owner, unused = ?unused, "Collecting unused revision");
        self.events.normal(object, "Collected", note).await;
        let resource = operator_resource();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &owner.namespace, &resource);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: object.metadata.uid.clone(),
                ..Preconditions::default()
            }),
            ..DeleteParams::background()
        };
        match api.delete(&owner.name, &params).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => Ok(None),
            Err(error) => {
                warn!(object = %owner, error = %chain(&error), "Unused revision can't be deleted");
                Err(api_error("the unused resource can't be deleted")(error))
            }
        }
    }
}
