//! What to do about one object, by who holds it.

use kube::Client;
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};
use tracing::info;

use super::newer::is_newer;
use super::{Outcome, api, content, selector, send_body};
use crate::conflict;
use crate::object::Manifest;
use crate::plan::Owner;
use crate::revision::claim::{self, Claim, DEACTIVATED_BY, Standing};
use crate::share;
use crate::value::set;

/// The next step.
pub enum Step {
    /// It is not there. What its webhooks are trusted by is known, if something else calls the
    /// same control plane.
    Create { ca_bundle: Option<Value> },
    /// It is there and this owner's.
    Apply(Box<DynamicObject>),
    /// Somebody else has it; nothing changes until it is changed.
    Leave(Outcome, Box<DynamicObject>),
    /// Nothing is to be done now, and it has to be looked at again.
    Later(Outcome),
}

/// One object, and whose it should be.
pub struct Claimant<'a> {
    pub client: &'a Client,
    pub desired: &'a Manifest,
    /// Whether the control plane serves: only then may it replace another one.
    pub serves: bool,
}

impl Claimant<'_> {
    /// Decides by what is there; by what is there then, if that changes meanwhile.
    ///
    /// # Errors
    /// The API server doesn't answer, or others write the object all the time.
    pub async fn step(&self, live: Option<DynamicObject>) -> Result<Step, kube::Error> {
        let mut read = Some(live);
        conflict::retry(async || {
            let live = match read.take() {
                Some(live) => live,
                None => self.api().get_opt(self.desired.name()).await?,
            };
            self.decide(live).await
        })
        .await
    }

    async fn decide(&self, live: Option<DynamicObject>) -> Result<Step, kube::Error> {
        if !self.is_due().await? {
            return Ok(Step::Later(Outcome::Unchanged));
        }
        let live = match live {
            Some(live) if self.is_of_later_version(&live) => {
                info!(owned = %self.desired.key(), "Definition of a later version stays");
                return Ok(Step::Leave(Outcome::Unchanged, Box::new(live)));
            }
            live => live,
        };
        let claim = Claim::of(self.desired);
        match (share::rendered_for(self.desired), live, claim) {
            (_, None, Some(claim)) => self.create(claim).await,
            (_, None, None) => Ok(Step::Create { ca_bundle: None }),
            (Some(owner), Some(live), Some(claim)) => self.claimed(claim, &owner, live).await,
            (Some(owner), Some(live), None) => self.shared(&owner, live).await,
            (None, Some(live), _) => Ok(Step::Apply(Box::new(live))),
        }
    }

    fn api(&self) -> Api<DynamicObject> {
        api(self.client, self.desired.kind(), self.desired.namespace())
    }

    pub(crate) fn is_of_later_version(&self, live: &DynamicObject) -> bool {
        self.desired.is_definition() && is_newer(live, &self.desired.body())
    }

    /// What is deactivated for another configuration waits for that one.
    async fn is_due(&self) -> Result<bool, kube::Error> {
        match self.desired.annotation(DEACTIVATED_BY) {
            Some(other) => Ok(self.api().get_metadata_opt(other).await?.is_some()),
            None => Ok(true),
        }
    }

    async fn create(&self, claim: Claim) -> Result<Step, kube::Error> {
        if self.desired.kind().kind != "MutatingWebhookConfiguration" {
            return Ok(Step::Create { ca_bundle: None });
        }
        let found = claim::neighbours(self.client, self.desired).await?;
        Ok(match found.overlap {
            Some(_) if claim == Claim::Vacancy => Step::Later(Outcome::Unchanged),
            Some(with) => Step::Later(Outcome::Overlaps { with }),
            None => Step::Create {
                ca_bundle: found.ca_bundle,
            },
        })
    }

    async fn claimed(
        &self,
        claim: Claim,
        owner: &Owner,
        mut live: DynamicObject,
    ) -> Result<Step, kube::Error> {
        let outcome = match claim.stand(self.client, owner, &live.metadata).await? {
            Standing::Holds => return Ok(Step::Apply(Box::new(live))),
            Standing::Users => Outcome::Unchanged,
            Standing::Outranks(_) if !self.serves => return Ok(Step::Later(Outcome::Unchanged)),
            Standing::Outranks(from) => {
                share::replace(&self.api(), &live.metadata, owner, &from).await?;
                return Ok(Step::Apply(Box::new(live)));
            }
            Standing::Yields(_) => {
                live.metadata = share::join(&self.api(), &live.metadata, owner).await?;
                Outcome::Unchanged
            }
            Standing::Disputes(by) => {
                live.metadata = share::join(&self.api(), &live.metadata, owner).await?;
                Outcome::Taken { by }
            }
        };
        Ok(Step::Leave(outcome, Box::new(live)))
    }

    /// What another IstioOperator holds is left to it, and that it is wanted here too is noted.
    async fn shared(&self, owner: &Owner, mut live: DynamicObject) -> Result<Step, kube::Error> {
        let holder = share::other_holder(self.client, owner, &live.metadata).await?;
        let Some(by) = holder else {
            return Ok(Step::Apply(Box::new(live)));
        };
        let outcome = match self.agrees(&live).await? {
            true => Outcome::Unchanged,
            false => Outcome::Taken { by },
        };
        // Also what is wanted otherwise is handed over rather than deleted.
        live.metadata = share::join(&self.api(), &live.metadata, owner).await?;
        Ok(Step::Leave(outcome, Box::new(live)))
    }

    /// Whether applying would change nothing but who holds the object.
    ///
    /// # Errors
    /// The API server refuses it; a conflict means that the object changed since it was read: what
    /// others changed must not be taken for what is wanted otherwise.
    pub(crate) async fn agrees(&self, live: &DynamicObject) -> Result<bool, kube::Error> {
        if selector::forbidden(self.desired, &live.data).is_some() {
            return Ok(false);
        }
        let mut body = share::anonymous(self.desired.body().into_owned());
        set(
            &mut body,
            &["metadata", "resourceVersion"],
            json!(live.metadata.resource_version),
        );
        let would = send_body(&self.api(), self.desired.name(), body, Some(live), true).await?;
        let shared = |object: &DynamicObject| {
            let (metadata, data) = content(object);
            (share::without_holder(metadata), data)
        };
        Ok(shared(&would) == shared(live))
    }
}
