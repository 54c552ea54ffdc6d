//! Bringing one object to its desired state with server-side apply.
//!
//! An object is left alone as long as it looks as our last apply left it. When its metadata says
//! that somebody changed it, a dry run tells whether applying would change anything; only then is
//! it applied. So admission webhooks of the cluster that rewrite objects cause no loop, and a
//! steady state writes nothing.

pub mod fingerprint;
pub mod follow;
pub mod memory;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::Value;

use crate::object::{Kind, Manifest, ObjectKey};
use fingerprint::{Fingerprint, changed_by, is_applied_by};
use memory::{Left, Memory};

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
    fn new(key: &ObjectKey, source: kube::Error) -> Self {
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

/// Brings an object to its desired state.
///
/// `seen` is its metadata as the watch shows it, if the watch shows it. `memory` remembers what
/// the last apply left.
///
/// # Errors
/// The API server refuses the object or can't be reached.
pub async fn ensure(
    client: &Client,
    desired: &Manifest,
    seen: Option<&Fingerprint>,
    memory: &mut Memory,
) -> Result<Outcome, ApplyError> {
    let key = desired.key().clone();
    let desired_hash = desired.hash();
    if let Some(left) = memory.left(&key)
        && left.desired == desired_hash
        && Some(&left.fingerprint) == seen
    {
        return Ok(Outcome::Unchanged);
    }
    let api = api(client, desired.kind(), desired.namespace());
    let fail = |error| ApplyError::new(&key, error);
    let live = api.get_opt(desired.name()).await.map_err(fail)?;
    let (outcome, applied) = match live {
        None => (
            Outcome::Created,
            send(&api, desired, None, false).await.map_err(fail)?,
        ),
        Some(live) => {
            let by = match memory.left(&key) {
                Some(left) if left.desired == desired_hash => changed_by(&live.metadata, MANAGER),
                _ => Vec::new(),
            };
            let would = send(&api, desired, Some(&live), true).await.map_err(fail)?;
            if is_applied_by(&live.metadata, MANAGER) && content(&would) == content(&live) {
                (Outcome::Unchanged, live)
            } else if let Some(seconds) = memory.postpone(&key, !by.is_empty()) {
                return Ok(Outcome::Postponed { by, seconds });
            } else {
                let applied = send(&api, desired, Some(&live), false)
                    .await
                    .map_err(fail)?;
                (Outcome::Updated { by }, applied)
            }
        }
    };
    memory.remember(
        key,
        Left {
            desired: desired_hash,
            fingerprint: Fingerprint::of(&applied.metadata),
        },
    );
    Ok(outcome)
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
    send(&api, desired, live, true).await
}

async fn send(
    api: &Api<DynamicObject>,
    desired: &Manifest,
    live: Option<&DynamicObject>,
    dry_run: bool,
) -> Result<DynamicObject, kube::Error> {
    let mut body = desired.body().into_owned();
    if let Some(live) = live {
        follow::adopt(&mut body, live);
    }
    let mut params = PatchParams::apply(MANAGER).force();
    if dry_run {
        params = params.dry_run();
    }
    api.patch(desired.name(), &params, &Patch::Apply(&body))
        .await
}

/// What of an object is compared: everything that a writer decides.
fn content(object: &DynamicObject) -> (ObjectMeta, Value) {
    let metadata = ObjectMeta {
        managed_fields: None,
        resource_version: None,
        generation: None,
        ..object.metadata.clone()
    };
    let mut data = object.data.clone();
    if let Some(data) = data.as_object_mut() {
        data.shift_remove("status");
    }
    (metadata, data)
}
