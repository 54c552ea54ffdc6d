//! Which plan is in force after a rendering, and what is said about the one that is not.

use kube::api::DynamicObject;
use tracing::info;

use super::report::reported;
use super::{OwnerState, ReconcileError, Reconciler, annotations, contact};
use crate::component::Component;
use crate::observe::Seen;
use crate::plan::accept::{
    Decision, Former, decide, guard, is_accepted_unasked, is_approved, is_void,
};
use crate::plan::diff::diff;
use crate::plan::store::{self, Accepted};
use crate::plan::{Fresh, Owner, Plan};
use crate::status::{ComponentState, Observed};

/// A fresh plan for an object.
struct Offer<'a> {
    object: &'a DynamicObject,
    owner: &'a Owner,
    plan: &'a Plan,
}

impl Offer<'_> {
    /// What becomes of the plan; how it differs from what is in force, or was `found` there, goes to
    /// the observation.
    fn weigh(
        &self,
        found: Option<&Plan>,
        seen: &Seen,
        state: &OwnerState,
        observed: &mut Observed,
    ) -> Decision {
        let old = state.accepted.as_ref().map(|accepted| &accepted.plan);
        let (annotations, plan) = (annotations(self.object), self.plan);
        let decision = decide(old, plan, &annotations);
        if decision == Decision::Same {
            return decision;
        }
        let former = contact::former(state.accepted.as_ref(), found);
        let diff = match former {
            Former::Absent => diff(old, plan).from_live(plan, self.owner, seen),
            Former::Kept | Former::InTransit => diff(old.or(found), plan),
        };
        let unasked = is_accepted_unasked(old, plan, &annotations)
            && guard(Decision::Accept, former, &diff, false) == Decision::Accept;
        let shown = reported(self.object, state).and_then(|status| status.plan);
        let destructive = diff.destructive();
        observed.void = is_void(shown.as_ref(), plan, &destructive, &annotations) && !unasked;
        let guarded = guard(decision, former, &diff, is_approved(plan, &annotations));
        observed.diff = Some(diff);
        match observed.void {
            true => Decision::AwaitApproval,
            false => guarded,
        }
    }
}

impl Reconciler {
    /// Finds the accepted plan, and makes the fresh rendering the accepted one where it may be.
    pub(super) async fn accept(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        fresh: Option<&Fresh>,
        seen: &Seen,
        state: &mut OwnerState,
        observed: &mut Observed,
    ) -> Result<(), ReconcileError> {
        if state.accepted.is_none() {
            state.accepted = store::load(&self.client, owner).await?;
        }
        let Some(fresh) = fresh else { return Ok(()) };
        let found = self.meet(object, owner, fresh, state).await?;
        let offer = Offer {
            object,
            owner,
            plan: &fresh.plan,
        };
        let decision = offer.weigh(found.as_ref(), seen, state, observed);
        observed.decision = Some((decision, fresh.plan.hash.clone()));
        if decision == Decision::Accept {
            self.take(&offer, state, observed).await?;
        }
        Ok(())
    }

    /// Makes a plan the accepted one.
    async fn take(
        &self,
        offer: &Offer<'_>,
        state: &mut OwnerState,
        observed: &mut Observed,
    ) -> Result<(), ReconcileError> {
        let Offer {
            object,
            owner,
            plan,
        } = *offer;
        let old = state.accepted.as_ref();
        let same_objects = old.is_some_and(|old| old.plan.hash == plan.hash);
        let accepted = Accepted {
            rolled_out: same_objects && old.is_some_and(|old| old.rolled_out),
            replaced: old.is_some(),
            plan: plan.clone(),
        };
        store::save(&self.client, owner, &object.metadata, &accepted).await?;
        info!(object = %owner, plan = %plan.hash, "Accepted plan");
        let note = format!("accepted plan {} of version {}", plan.hash, plan.renderer);
        self.events.normal(object, "PlanAccepted", note).await;
        if !same_objects {
            state.patience.reset();
            self.announce(object, owner, &accepted, observed, state)
                .await?;
        }
        state.accepted = Some(accepted);
        observed.diff = None;
        Ok(())
    }

    /// Says that work begins, before the first object is written.
    async fn announce(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        accepted: &Accepted,
        observed: &Observed,
        state: &mut OwnerState,
    ) -> Result<(), ReconcileError> {
        let begun = |component: &Component| ComponentState {
            held: true,
            ..ComponentState::healthy(*component)
        };
        let begun = Observed {
            version: accepted.plan.renderer.clone(),
            accepted: accepted.plan.hash.clone(),
            diff: None,
            upgrading: accepted.replaced,
            components: accepted.plan.components.iter().map(begun).collect(),
            ..observed.clone()
        };
        self.report(object, owner, &begun, state).await
    }
}
