//! What applying a plan would change in a cluster: asked of the API server by dry runs, nothing is
//! written.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::{Value, json};

use super::Owner;
use super::fields::{FieldChange, differences};
use crate::apply::selector::forbidden;
use crate::apply::step::Claimant;
use crate::apply::{api, content, dry_run, reason};
use crate::conflict;
use crate::namespace;
use crate::object::{Manifest, ObjectKey};
use crate::observe::look::look;
use crate::revision::claim::{Claim, Standing};
use crate::share;
use crate::value::get;

/// The effect of applying objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    pub created: Vec<ObjectKey>,
    pub changed: Vec<Changed>,
    /// What the owner has and no longer wants, and nobody else does.
    pub deleted: Vec<ObjectKey>,
    /// What the API server would not take.
    pub refused: Vec<Refused>,
}

/// An object that is there and would differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    pub object: ObjectKey,
    pub fields: Vec<FieldChange>,
    /// Whether its pods are replaced.
    pub restarts: bool,
    /// Whether its selector changes, which an API server refuses: it has to be made anew.
    pub anew: bool,
}

/// An object that can't be applied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refused {
    pub object: ObjectKey,
    pub reason: String,
}

impl Effect {
    /// Whether nothing would be written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Workloads whose pods would be replaced.
    pub fn restarts(&self) -> impl Iterator<Item = &ObjectKey> {
        let changed = self.changed.iter().filter(|changed| changed.restarts);
        changed.map(|changed| &changed.object)
    }

    /// What could be missed or has to be made anew.
    pub fn destructive(&self) -> Vec<String> {
        let anew = self.changed.iter().filter(|changed| changed.anew);
        let anew = anew.map(|changed| {
            format!(
                "changes the selector of {}, which must be made anew",
                changed.object
            )
        });
        let deleted = self.deleted.iter().map(|key| format!("deletes {key}"));
        anew.chain(deleted).collect()
    }
}

/// Asks what applying `desired` for its owner would change, where it takes the place of
/// installations that are `replaced`.
///
/// # Errors
/// The API server doesn't answer.
pub async fn effect(
    client: &Client,
    owner: &Owner,
    replaced: &BTreeSet<Owner>,
    desired: &[Manifest],
) -> Result<Effect, kube::Error> {
    let mut effect = Effect::default();
    let mut namespaces = Namespaces::default();
    for object in desired {
        let there = namespaces.has(client, object.namespace()).await?;
        conflict::retry(async || add(client, owner, object, there, &mut effect).await).await?;
    }
    let seen = look(client).await?;
    let owners = replaced.iter().chain([owner]);
    let unwanted = owners
        .flat_map(|owner| seen.owned(owner))
        .filter(|(key, object)| {
            let shared = !object.shared_with.is_empty();
            !object.deleting && !shared && !desired.iter().any(|wanted| wanted.key() == *key)
        });
    effect.deleted = unwanted.map(|(key, _)| key.clone()).collect();
    Ok(effect)
}

/// Namespaces that were looked for.
#[derive(Default)]
struct Namespaces {
    known: BTreeMap<String, bool>,
}

impl Namespaces {
    /// Whether objects can be tried in a namespace; the empty name stands for the cluster.
    async fn has(&mut self, client: &Client, name: &str) -> Result<bool, kube::Error> {
        if let Some(known) = self.known.get(name) {
            return Ok(*known);
        }
        let there = match name {
            "" => true,
            name => namespace::state(client, name).await? != namespace::State::Absent,
        };
        self.known.insert(name.to_owned(), there);
        Ok(there)
    }
}

async fn add(
    client: &Client,
    owner: &Owner,
    desired: &Manifest,
    there: bool,
    effect: &mut Effect,
) -> Result<(), kube::Error> {
    let key = desired.key().clone();
    let kind = desired.kind();
    let live = match there {
        true => {
            api(client, kind, desired.namespace())
                .get_opt(desired.name())
                .await?
        }
        false => None,
    };
    if let Some(live) = &live
        && let Some(left) = left_alone(client, owner, desired, live).await?
    {
        effect.refused.extend(left.map(|reason| Refused {
            object: key,
            reason,
        }));
        return Ok(());
    }
    if let Some(live) = &live
        && let Some(fields) = reselected(desired, live)
    {
        effect.changed.push(Changed {
            object: key,
            fields,
            restarts: true,
            anew: true,
        });
        return Ok(());
    }
    // Without its namespace nothing can be tried; a kind that the cluster lacks is not tried either.
    if live.is_none() && (!there || kind.optional) {
        effect.created.push(key);
        return Ok(());
    }
    match (dry_run(client, desired, live.as_ref()).await, live) {
        (Ok(_), None) => effect.created.push(key),
        (Ok(would), Some(live)) => effect.changed.extend(changed(key, &live, &would)),
        (Err(kube::Error::Api(answer)), _) if answer.code < 500 => {
            let reason = reason(&kube::Error::Api(answer));
            effect.refused.push(Refused {
                object: key,
                reason,
            });
        }
        (Err(error), _) => return Err(error),
    }
    Ok(())
}

/// Whether an object is another owner's or the user's and stays as it is, and why that is not what
/// is wanted, if it isn't.
async fn left_alone(
    client: &Client,
    owner: &Owner,
    desired: &Manifest,
    live: &DynamicObject,
) -> Result<Option<Option<String>>, kube::Error> {
    let theirs = |by: Owner| {
        Some(Some(format!(
            "it belongs to {by}, which wants it otherwise"
        )))
    };
    if let Some(claim) = Claim::of(desired) {
        return Ok(match claim.stand(client, owner, &live.metadata).await? {
            Standing::Holds | Standing::Outranks(_) => None,
            Standing::Users | Standing::Yields(_) => Some(None),
            Standing::Disputes(by) => theirs(by),
        });
    }
    let claimant = Claimant {
        client,
        desired,
        serves: false,
    };
    if claimant.is_of_later_version(live) {
        return Ok(Some(None));
    }
    let Some(by) = share::other_holder(client, owner, &live.metadata).await? else {
        return Ok(None);
    };
    Ok(match claimant.agrees(live).await? {
        true => Some(None),
        false => theirs(by),
    })
}

/// How the selector of a workload differs, where no apply can change it.
fn reselected(desired: &Manifest, live: &DynamicObject) -> Option<Vec<FieldChange>> {
    forbidden(desired, &live.data)?;
    let path = ["spec", "selector"];
    let body = desired.body();
    let (before, after) = (get(&live.data, &path)?, get(&body, &path)?);
    let whole = |selector: &Value| json!({"spec": {"selector": selector}});
    Some(differences(&whole(before), &whole(after)))
}

fn changed(key: ObjectKey, live: &DynamicObject, would: &DynamicObject) -> Option<Changed> {
    let document = |object: &DynamicObject| {
        let (metadata, mut data) = content(object);
        if let Some(data) = data.as_object_mut() {
            data.insert("metadata".to_owned(), json!(metadata));
        }
        data
    };
    let (before, after) = (document(live), document(would));
    let fields = differences(&before, &after);
    let template = |data: &Value| get(data, &["spec", "template"]).cloned();
    let is_workload = ["Deployment", "DaemonSet"].contains(&key.kind.as_str());
    (!fields.is_empty()).then(|| Changed {
        restarts: is_workload && template(&before) != template(&after),
        anew: false,
        object: key,
        fields,
    })
}
