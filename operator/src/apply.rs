//! Bringing one object to its desired state with server-side apply.
//!
//! An object is left alone as long as it looks as our last apply left it. When its metadata says
//! that somebody changed it, a dry run tells whether applying would change anything; only then is
//! it applied. So admission webhooks of the cluster that rewrite objects cause no loop, and a
//! steady state writes nothing.

pub mod fingerprint;
pub mod follow;
pub mod memory;
mod newer;
pub mod selector;
pub(crate) mod step;

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::Value;

use crate::delete;
use crate::object::{Kind, Manifest, ObjectKey};
use crate::plan::Owner;
use crate::share;
use crate::value::{remove, set};
use fingerprint::{Fingerprint, changed_by, is_applied_by};
use memory::{Left, Memory};
use selector::Reselection;
use step::{Claimant, Step};

/// Field manager of everything the operator applies.
pub const MANAGER: &str = "istio-operator";

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was as desired; nothing was written.
    Unchanged,
    Created,
    /// It was changed; `by` names who had changed it before, if somebody had.
    Updated {
        by: Vec<String>,
    },
    /// It is changed by somebody again and again; the next repair is postponed.
    Postponed {
        by: Vec<String>,
        seconds: u64,
    },
    /// Another IstioOperator holds it and wants it otherwise; nothing was written.
    Taken {
        by: Owner,
    },
    /// It would have to be deleted and made anew, which nobody allowed; nothing was written.
    Immutable {
        change: Reselection,
    },
    /// Something that is not an IstioOperator's does the same already; nothing was written.
    Overlaps {
        with: String,
    },
}

/// Why an object is not as desired.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {}", reason(source))]
pub struct ApplyError {
    pub key: ObjectKey,
    pub source: Box<kube::Error>,
}

/// The text of an API server's answer, or of what kept it from answering.
pub fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl ApplyError {
    pub(crate) fn new(key: &ObjectKey, source: kube::Error) -> Self {
        Self {
            key: key.clone(),
            source: Box::new(source),
        }
    }

    /// Whether the namespace of the object is being deleted.
    pub fn is_namespace_terminating(&self) -> bool {
        match &*self.source {
            kube::Error::Api(status) => {
                status.code == 403 && status.message.contains("because it is being terminated")
            }
            _ => false,
        }
    }
}

/// The API of objects of a kind.
pub fn api(client: &Client, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
    let resource = kind.resource();
    match kind.namespaced {
        true => Api::namespaced_with(client.clone(), namespace, &resource),
        false => Api::all_with(client.clone(), &resource),
    }
}

/// What applying an object works with.
pub struct Applier<'a> {
    pub client: &'a Client,
    /// What the last apply left.
    pub memory: &'a mut Memory,
    /// Whether the control plane serves, so that it may take over from another one.
    pub serves: bool,
    /// Workloads that may be deleted and made anew, as [`selector::consent`] names them.
    pub recreate: &'a BTreeSet<String>,
}

impl Applier<'_> {
    /// Brings an object to its desired state.
    ///
    /// `seen` is its metadata as the watch shows it, if the watch shows it.
    ///
    /// # Errors
    /// The API server refuses the object or can't be reached.
    pub async fn ensure(
        &mut self,
        desired: &Manifest,
        seen: Option<&Fingerprint>,
    ) -> Result<Outcome, ApplyError> {
        let key = desired.key().clone();
        let desired_hash = desired.hash();
        if let Some(left) = self.left(desired, &desired_hash, seen) {
            return Ok(left.outcome());
        }
        let fail = |error| ApplyError::new(&key, error);
        let api = api(self.client, desired.kind(), desired.namespace());
        let live = api.get_opt(desired.name()).await.map_err(fail)?;
        let claimant = Claimant {
            client: self.client,
            desired,
            serves: self.serves,
        };
        let (outcome, applied) = match claimant.step(live).await.map_err(fail)? {
            Step::Later(outcome) => return Ok(outcome),
            Step::Leave(outcome, live) => (outcome, *live),
            Step::Create { ca_bundle } => {
                let created = create(&api, desired, ca_bundle).await;
                (Outcome::Created, created.map_err(fail)?)
            }
            Step::Apply(live) if let Some(change) = forbidden(desired, &live) => {
                if !self.recreate.contains(&selector::consent(desired)) {
                    return Ok(Outcome::Immutable { change });
                }
                let uid = live.metadata.uid.as_deref().unwrap_or_default();
                delete::one(self.client, desired.kind(), &key, uid).await?;
                let created = create(&api, desired, None).await;
                (Outcome::Created, created.map_err(fail)?)
            }
            Step::Apply(live) => {
                let updated = self.update(&api, desired, &desired_hash, *live).await;
                match updated.map_err(fail)? {
                    (outcome, Some(applied)) => (outcome, applied),
                    (outcome, None) => return Ok(outcome),
                }
            }
        };
        let left = Left {
            desired: desired_hash,
            fingerprint: Fingerprint::of(&applied.metadata),
            taken: match &outcome {
                Outcome::Taken { by } => Some(by.clone()),
                _ => None,
            },
        };
        self.memory.remember(key, left);
        Ok(outcome)
    }

    /// Whether an object is known to be as the last apply of the same content left it.
    pub fn is_as_left(&self, desired: &Manifest, seen: Option<&Fingerprint>) -> bool {
        self.left(desired, &desired.hash(), seen).is_some()
    }

    fn left(&self, desired: &Manifest, hash: &str, seen: Option<&Fingerprint>) -> Option<&Left> {
        let left = self.memory.left(desired.key());
        left.filter(|left| left.desired == hash && Some(&left.fingerprint) == seen)
    }

    /// Applies to what is there, if that would change something and nobody fights; returns the
    /// object as it is then.
    async fn update(
        &mut self,
        api: &Api<DynamicObject>,
        desired: &Manifest,
        desired_hash: &str,
        live: DynamicObject,
    ) -> Result<(Outcome, Option<DynamicObject>), kube::Error> {
        let key = desired.key();
        let mut by = match self.memory.left(key) {
            Some(left) if left.desired == desired_hash => changed_by(&live.metadata, MANAGER),
            _ => Vec::new(),
        };
        by.retain(|manager| manager != share::MANAGER);
        let would = send(api, desired, &live, true).await?;
        if is_applied_by(&live.metadata, MANAGER) && content(&would) == content(&live) {
            return Ok((Outcome::Unchanged, Some(live)));
        }
        if let Some(seconds) = self.memory.postpone(key, !by.is_empty()) {
            return Ok((Outcome::Postponed { by, seconds }, None));
        }
        let applied = send(api, desired, &live, false).await?;
        Ok((Outcome::Updated { by }, Some(applied)))
    }
}

/// A change of a selector that the API server would refuse.
fn forbidden(desired: &Manifest, live: &DynamicObject) -> Option<Reselection> {
    selector::forbidden(desired, &live.data)
}

/// Applies what is not there yet. Webhooks that would be refused until their control plane has
/// written what it is trusted by begin with what is known of it.
async fn create(
    api: &Api<DynamicObject>,
    desired: &Manifest,
    ca_bundle: Option<Value>,
) -> Result<DynamicObject, kube::Error> {
    let mut body = desired.body().into_owned();
    let webhooks = body.get_mut("webhooks").and_then(Value::as_array_mut);
    if let (Some(webhooks), Some(bundle)) = (webhooks, ca_bundle) {
        for webhook in webhooks {
            set(webhook, &["clientConfig", "caBundle"], bundle.clone());
        }
    }
    send_body(api, desired.name(), body, None, false).await
}

/// What the API server would make of an object; `live` is what is there, if something is.
///
/// # Errors
/// The API server refuses the object or can't be reached.
pub async fn dry_run(
    client: &Client,
    desired: &Manifest,
    live: Option<&DynamicObject>,
) -> Result<DynamicObject, kube::Error> {
    let api = api(client, desired.kind(), desired.namespace());
    let body = desired.body().into_owned();
    send_body(&api, desired.name(), body, live, true).await
}

async fn send(
    api: &Api<DynamicObject>,
    desired: &Manifest,
    live: &DynamicObject,
    dry_run: bool,
) -> Result<DynamicObject, kube::Error> {
    let body = desired.body().into_owned();
    send_body(api, desired.name(), body, Some(live), dry_run).await
}

async fn send_body(
    api: &Api<DynamicObject>,
    name: &str,
    mut body: Value,
    live: Option<&DynamicObject>,
    dry_run: bool,
) -> Result<DynamicObject, kube::Error> {
    if let Some(live) = live {
        follow::adopt(&mut body, live);
    }
    let mut params = PatchParams::apply(MANAGER).force();
    if dry_run {
        params = params.dry_run();
    }
    api.patch(name, &params, &Patch::Apply(&body)).await
}

/// What of an object is compared: everything that a writer decides.
pub(crate) fn content(object: &DynamicObject) -> (ObjectMeta, Value) {
    let metadata = ObjectMeta {
        managed_fields: None,
        resource_version: None,
        generation: None,
        ..object.metadata.clone()
    };
    (metadata, data(object))
}

/// Everything of an object but metadata and status.
pub(crate) fn data(object: &DynamicObject) -> Value {
    let mut data = object.data.clone();
    remove(&mut data, &["status"]);
    data
}
