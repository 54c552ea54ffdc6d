//! First contact with an IstioOperator: who kept it before, and what is there already.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ironsail_runtime::log::chain;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::json;
use tracing::{info, warn};

use super::{Fresh, Owner, OwnerState, ReconcileError, Reconciler, annotations, api_error};
use crate::adopt::contact::{Contact, Stranger};
use crate::adopt::helm::{self, Finder};
use crate::adopt::live::Release;
use crate::adopt::{hand_over, marks};
use crate::count::counted;
use crate::events::operator_resource;
use crate::list_merge::{self, ListMerge};
use crate::object::Manifest;
use crate::plan::accept::Former;
use crate::plan::store::{self, Accepted};
use crate::plan::{Adopted, Plan};
use crate::revision::claim::Claim;

impl Reconciler {
    fn stranger<'a>(
        &'a self,
        owner: &'a Owner,
        annotations: &'a BTreeMap<String, String>,
    ) -> Stranger<'a> {
        Stranger {
            client: &self.client,
            owner,
            annotations,
        }
    }

    fn operators(&self, owner: &Owner) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &owner.namespace, &operator_resource())
    }

    /// The object with its era, which is written to it once if the old operator kept it.
    ///
    /// This comes before our finalizer and status, so that its marks are told from ours.
    pub(super) async fn dated<'a>(
        &self,
        object: &'a DynamicObject,
        owner: &Owner,
        state: &mut OwnerState,
    ) -> Result<Cow<'a, DynamicObject>, ReconcileError> {
        let annotations = annotations(object);
        if annotations.contains_key(list_merge::ANNOTATION) {
            state.dated = false;
            return Ok(Cow::Borrowed(object));
        }
        if state.dated {
            return self.seen_late(object, owner, state).await;
        }
        if marks::is_reported(object) || self.has_plan(owner, state).await? {
            return Ok(Cow::Borrowed(object));
        }
        let is_old = self.stranger(owner, &annotations).is_old().await;
        if !is_old.map_err(api_error("who kept the object can't be read"))? {
            return Ok(Cow::Borrowed(object));
        }
        let era = ListMerge::ByName.as_str();
        let body = json!({"metadata": {"annotations": {list_merge::ANNOTATION: era}}});
        let params = PatchParams {
            field_manager: Some(crate::apply::MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.operators(owner);
        let dated = api.patch(&owner.name, &params, &Patch::Merge(&body)).await;
        let dated = dated.map_err(api_error("the era of lists can't be written"))?;
        state.dated = true;
        info!(object = %owner, "The operator of Istio kept the object; lists merge by name");
        let note = "the operator of Istio kept this object: lists merge by name, as they did";
        self.events.normal(object, "ListMerge", note).await;
        Ok(Cow::Owned(dated))
    }

    /// The object as it is, where the watch does not show yet that its era was written: without
    /// it the object would ask for something else.
    async fn seen_late<'a>(
        &self,
        object: &'a DynamicObject,
        owner: &Owner,
        state: &mut OwnerState,
    ) -> Result<Cow<'a, DynamicObject>, ReconcileError> {
        let found = self.operators(owner).get_opt(&owner.name).await;
        let found = found.map_err(api_error("the object can't be read"))?;
        // Otherwise somebody took it off again.
        state.dated = found
            .as_ref()
            .is_some_and(|found| annotations(found).contains_key(list_merge::ANNOTATION));
        Ok(found.map_or(Cow::Borrowed(object), Cow::Owned))
    }

    async fn has_plan(
        &self,
        owner: &Owner,
        state: &mut OwnerState,
    ) -> Result<bool, ReconcileError> {
        if state.accepted.is_none() {
            state.accepted = store::load(&self.client, owner).await?;
        }
        Ok(state.accepted.is_some())
    }

    /// Looks at what is there before the first plan is accepted: adopts it, or returns it.
    pub(super) async fn meet(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        fresh: &Fresh,
        state: &mut OwnerState,
    ) -> Result<Option<Plan>, ReconcileError> {
        if self.has_plan(owner, state).await? {
            return Ok(None);
        }
        let annotations = annotations(object);
        let contact = self.stranger(owner, &annotations).meet(&fresh.plan).await;
        let plan = match contact.map_err(api_error("what is installed can't be read"))? {
            Contact::Nothing => return Ok(None),
            Contact::Found(plan) => return Ok(Some(plan)),
            Contact::Adopted(plan) => plan,
        };
        let accepted = Accepted {
            plan,
            rolled_out: false,
            replaced: false,
        };
        for desired in accepted.plan.desired(owner, &[]) {
            if Claim::of(&desired).is_some() {
                hand_over::claim(&self.client, &desired).await?;
            }
        }
        store::save(&self.client, owner, &object.metadata, &accepted).await?;
        let objects = accepted.plan.objects.len();
        info!(object = %owner, plan = %accepted.plan.hash, objects, "Adopts what is there");
        state.patience.reset();
        state.accepted = Some(accepted);
        Ok(None)
    }

    /// Takes what was adopted from its former owners, once all of it carries our labels.
    pub(super) async fn take_from_former(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        desired: &[Manifest],
        adopted: &Adopted,
    ) -> Result<(), ReconcileError> {
        for manifest in desired {
            hand_over::object(&self.client, manifest).await?;
        }
        // Records go last: until here Helm can still be asked what it installed.
        let releases = adopted
            .releases
            .iter()
            .filter_map(|text| Release::parse(text));
        for release in releases {
            if let Err(error) = helm::set_finder(&self.client, &release, Finder::Nobody).await {
                warn!(%release, error = %chain(&error), "Records of a Helm release stay");
                let command = helm::command(&release, Finder::Nobody);
                let note = format!("Helm still lists the release {release}; run: {command}");
                self.events.warning(object, "HelmRelease", note).await;
            }
        }
        info!(object = %owner, "Adopted what was there");
        let note = format!("took {} over as found", counted(desired.len(), "object"));
        self.events.normal(object, "Adopted", note).await;
        Ok(())
    }
}

/// What the condition says about an adopted plan.
pub(super) fn describe(plan: &Plan) -> Option<String> {
    let adopted = plan.adopted.as_ref()?;
    let from = match adopted.releases.is_empty() {
        true => String::new(),
        false => format!(", from the Helm releases {}", adopted.releases.join(", ")),
    };
    let left: Vec<String> = adopted.left.iter().map(ToString::to_string).collect();
    let left = match left.is_empty() {
        true => String::new(),
        false => format!(
            "; left alone, because the operator does not have the rights that they grant: {}",
            left.join(", ")
        ),
    };
    Some(format!(
        "{} kept as found{from}{left}",
        counted(plan.objects.len(), "object")
    ))
}

/// What was there before us.
pub(super) fn former(accepted: Option<&Accepted>, found: Option<&Plan>) -> Former {
    match accepted {
        Some(accepted) if accepted.plan.adopted.is_some() => match accepted.rolled_out {
            true => Former::Kept,
            false => Former::InTransit,
        },
        None if found.is_some() => Former::Kept,
        _ => Former::Absent,
    }
}
