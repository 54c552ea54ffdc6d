//! Deleting owned objects: those that are no longer wanted, and all of them with their owner.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Preconditions};

use crate::apply::{ApplyError, api};
use crate::object::{KINDS, Kind, ObjectKey};
use crate::observe::{self, selector_of};
use crate::plan::Owner;

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

/// An object that still exists.
#[derive(Clone, Debug)]
pub struct Remaining {
    pub kind: &'static Kind,
    pub key: ObjectKey,
    pub metadata: ObjectMeta,
}

/// Everything of an owner that may be deleted, webhooks first: they would refuse pods of everybody
/// while nobody answers them.
///
/// # Errors
/// The API server refuses a list or can't be reached.
pub async fn remaining(client: &Client, owner: &Owner) -> Result<Vec<Remaining>, kube::Error> {
    let params = ListParams::default().labels(&selector_of(owner));
    let mut found = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.prune) {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
        let list = match api.list_metadata(&params).await {
            Ok(list) => list.items,
            // The cluster doesn't have the kind.
            Err(kube::Error::Api(answer)) if kind.optional && answer.code == 404 => continue,
            Err(error) => return Err(error),
        };
        let own = list
            .into_iter()
            .filter(|object| observe::owner_of(&object.metadata).is_some());
        for object in own {
            let key = observe::key(kind, &object.metadata);
            found.push(Remaining {
                kind,
                key,
                metadata: object.metadata,
            });
        }
    }
    found.sort_by_key(|object| {
        let webhook = object.kind.group == "admissionregistration.k8s.io";
        (!webhook, std::cmp::Reverse(object.kind.rank()))
    });
    Ok(found)
}
