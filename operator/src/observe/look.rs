//! One look at the cluster: what the watches of a running operator show.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};

use super::{Seen, key, selector};
use crate::apply::api;
use crate::apply::fingerprint::Fingerprint;
use crate::object::{KINDS, Kind, Manifest, ObjectKey};

/// Everything with owner labels.
///
/// # Errors
/// The API server refuses a list or can't be reached.
pub async fn look(client: &Client) -> Result<Seen, kube::Error> {
    let mut seen = Seen::default();
    for (kind, metadata) in labelled(client, &selector()).await? {
        seen.add(kind, &metadata, Fingerprint::of(&metadata));
    }
    let params = ListParams::default().labels(&selector());
    let deployments: Api<Deployment> = Api::all(client.clone());
    for deployment in deployments.list(&params).await? {
        if let Some(kind) = Kind::find("apps", "Deployment") {
            let key = key(kind, &deployment.metadata);
            seen.deployments.insert(key, deployment);
        }
    }
    let sets: Api<DaemonSet> = Api::all(client.clone());
    for set in sets.list(&params).await? {
        if let Some(kind) = Kind::find("apps", "DaemonSet") {
            seen.daemon_sets.insert(key(kind, &set.metadata), set);
        }
    }
    Ok(seen)
}

/// Metadata of all objects of the operator's kinds that a selector chooses.
///
/// # Errors
/// The API server refuses a list or can't be reached.
pub async fn labelled(
    client: &Client,
    selector: &str,
) -> Result<Vec<(&'static Kind, ObjectMeta)>, kube::Error> {
    let params = ListParams::default().labels(selector);
    let mut found = Vec::new();
    for kind in &KINDS {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
        match api.list_metadata(&params).await {
            Ok(list) => found.extend(list.items.into_iter().map(|object| (kind, object.metadata))),
            // The cluster doesn't have the kind.
            Err(kube::Error::Api(answer)) if kind.optional && answer.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What is there of some objects, whoever made them, and what is not there.
///
/// # Errors
/// The API server doesn't answer.
pub async fn look_at(
    client: &Client,
    objects: &[Manifest],
) -> Result<(Seen, Vec<ObjectKey>), kube::Error> {
    let mut seen = Seen::default();
    let mut absent = Vec::new();
    for object in objects {
        let api = api(client, object.kind(), object.namespace());
        let Some(live) = api.get_opt(object.name()).await? else {
            absent.push(object.key().clone());
            continue;
        };
        seen.add(
            object.kind(),
            &live.metadata,
            Fingerprint::of(&live.metadata),
        );
        let key = object.key().clone();
        match object.kind().kind {
            "Deployment" => drop(
                live.try_parse()
                    .map(|live| seen.deployments.insert(key, live)),
            ),
            "DaemonSet" => drop(
                live.try_parse()
                    .map(|live| seen.daemon_sets.insert(key, live)),
            ),
            _ => {}
        }
    }
    Ok((seen, absent))
}
