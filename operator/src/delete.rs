//! Deleting owned objects: those that are no longer wanted, and all of them with their owner.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Preconditions};

use serde_json::Value;

use crate::apply::{ApplyError, api};
use crate::object::{KINDS, Kind, ObjectKey};
use crate::observe::{self, SeenObject, selector};
use crate::plan::Owner;
use crate::share;
use crate::value::{get, text};

/// Deletes one object, if it still is the one with this uid.
///
/// # Errors
/// The API server refuses it or can't be reached.
pub async fn one(
    client: &Client,
    kind: &Kind,
    key: &ObjectKey,
    uid: &str,
) -> Result<bool, ApplyError> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            ..Preconditions::default()
        }),
        ..DeleteParams::background()
    };
    match api(client, kind, &key.namespace)
        .delete(&key.name, &params)
        .await
    {
        Ok(_) => Ok(true),
        // Gone already, or replaced by another object.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(false),
        Err(source) => Err(ApplyError {
            key: key.clone(),
            source: Box::new(source),
        }),
    }
}

/// What became of an object that its owner no longer wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenUp {
    Deleted,
    /// Another owner wanted it too, and has it now.
    HandedOver(Owner),
    /// It was gone already.
    Gone,
}

/// Deletes an object, unless others want it too: then one of them gets it.
///
/// # Errors
/// The API server refuses it or can't be reached.
pub async fn give_up(
    client: &Client,
    key: &ObjectKey,
    seen: &SeenObject,
) -> Result<GivenUp, ApplyError> {
    let fail = |error| ApplyError::new(key, error);
    if !seen.shared_with.is_empty() {
        let api = api(client, seen.kind, &key.namespace);
        let Some(live) = api.get_metadata_opt(&key.name).await.map_err(fail)? else {
            return Ok(GivenUp::Gone);
        };
        let heir = share::hand_over(client, &api, &live.metadata).await;
        if let Some(heir) = heir.map_err(fail)? {
            return Ok(GivenUp::HandedOver(heir));
        }
    }
    match one(client, seen.kind, key, &seen.uid).await? {
        true => Ok(GivenUp::Deleted),
        false => Ok(GivenUp::Gone),
    }
}

/// Records that an owner no longer wants an object that another one holds.
///
/// # Errors
/// The API server refuses it or can't be reached.
pub async fn withdraw(
    client: &Client,
    owner: &Owner,
    key: &ObjectKey,
    seen: &SeenObject,
) -> Result<(), ApplyError> {
    let fail = |error| ApplyError::new(key, error);
    let api = api(client, seen.kind, &key.namespace);
    match api.get_metadata_opt(&key.name).await.map_err(fail)? {
        Some(live) => share::withdraw(&api, &live.metadata, owner)
            .await
            .map_err(fail),
        None => Ok(()),
    }
}

/// An object that still exists.
#[derive(Clone, Debug)]
pub struct Remaining {
    pub kind: &'static Kind,
    pub key: ObjectKey,
    pub metadata: ObjectMeta,
}

impl Remaining {
    /// Whether it is being deleted already.
    pub fn is_ending(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether the API server calls somebody for it.
    pub fn is_webhook(&self) -> bool {
        self.kind.group == "admissionregistration.k8s.io"
    }
}

/// What an owner has to give up at its end.
#[derive(Clone, Debug, Default)]
pub struct Remains {
    /// What it holds, webhooks first: they would refuse pods of everybody while nobody answers them.
    pub held: Vec<Remaining>,
    /// What it holds and nobody deletes: definitions of kinds.
    pub kept: Vec<Remaining>,
    /// What others hold and it wanted too.
    pub shared: Vec<Remaining>,
}

/// Everything of an owner that may be deleted.
///
/// # Errors
/// The API server refuses a list or can't be reached.
pub async fn remains(client: &Client, owner: &Owner) -> Result<Remains, kube::Error> {
    list(client, owner, |kind| !kind.prune).await
}

/// As [`remains`], without kinds that may not be read: what is known of an owner before the first
/// object is applied. Nothing can be deleted among them either.
///
/// # Errors
/// The API server doesn't answer.
pub async fn readable(client: &Client, owner: &Owner) -> Result<Remains, kube::Error> {
    list(client, owner, |_| true).await
}

/// How many webhook configurations of other owners call Services among these objects: they were
/// handed over, and their new holder didn't apply its own yet.
///
/// # Errors
/// The API server refuses a list or can't be reached.
pub async fn callers(client: &Client, held: &[Remaining]) -> Result<usize, kube::Error> {
    let services: BTreeSet<(&str, &str)> = held
        .iter()
        .filter(|object| object.kind.kind == "Service")
        .map(|object| (&*object.key.namespace, &*object.key.name))
        .collect();
    if services.is_empty() {
        return Ok(0);
    }
    let mut count = 0;
    for kind in KINDS.iter().filter(|kind| calls(kind)) {
        let params = ListParams::default().labels(&selector());
        let all = api(client, kind, "").list(&params).await?.items;
        let others = all.iter().filter(|webhook| {
            let key = observe::key(kind, &webhook.metadata);
            !held.iter().any(|own| own.key == key)
        });
        let calling = others.filter(|o| called(&o.data).any(|to| services.contains(&to)));
        count += calling.count();
    }
    Ok(count)
}

/// Whether the API server calls somebody for objects of a kind.
fn calls(kind: &Kind) -> bool {
    kind.kind.ends_with("WebhookConfiguration")
}

/// Namespaces and names of the Services that webhooks call.
fn called(configuration: &Value) -> impl Iterator<Item = (&str, &str)> {
    let webhooks = get(configuration, &["webhooks"]).and_then(Value::as_array);
    let webhooks = webhooks.into_iter().flatten();
    webhooks.filter_map(|webhook| {
        let service = get(webhook, &["clientConfig", "service"])?;
        Some((text(service, &["namespace"])?, text(service, &["name"])?))
    })
}

/// Lists what an owner has; of kinds that are `dispensable` only where that is allowed.
async fn list(
    client: &Client,
    owner: &Owner,
    dispensable: impl Fn(&Kind) -> bool,
) -> Result<Remains, kube::Error> {
    let params = ListParams::default().labels(&selector());
    let mut remains = Remains::default();
    for kind in &KINDS {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
        let list = match api.list_metadata(&params).await {
            Ok(list) => list.items,
            // The cluster doesn't have the kind.
            Err(kube::Error::Api(answer)) if kind.optional && answer.code == 404 => continue,
            Err(kube::Error::Api(answer)) if dispensable(kind) && answer.code == 403 => continue,
            Err(error) => return Err(error),
        };
        for object in list {
            let metadata = object.metadata;
            let held = observe::owner_of(&metadata).as_ref() == Some(owner);
            let shared = share::sharers(&metadata).contains(owner);
            let key = observe::key(kind, &metadata);
            let remaining = Remaining {
                kind,
                key,
                metadata,
            };
            match (held, shared) {
                (true, _) if kind.prune => remains.held.push(remaining),
                (true, _) => remains.kept.push(remaining),
                (false, true) => remains.shared.push(remaining),
                _ => {}
            }
        }
    }
    remains
        .held
        .sort_by_key(|o| (!o.is_webhook(), std::cmp::Reverse(o.kind.rank())));
    Ok(remains)
}
