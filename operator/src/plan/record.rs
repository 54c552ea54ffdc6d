//! What the command line has installed: plans whose owners are no objects.
//!
//! One installation takes the place of another one of the same control plane. Which ones it
//! replaces is noted on its own record, so that a later run finishes what an interrupted one began.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::store::{self, StoreError};
use super::{Owner, Plan};
use crate::apply::MANAGER;
use crate::component::Component;
use crate::share;

/// Installations that this one replaces, as `namespace/name` separated by commas.
const REPLACES: &str = "operator.ironsail.dev/replaces";

/// One installation.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub owner: Owner,
    pub plan: Plan,
    replaces: BTreeSet<Owner>,
}

impl Plan {
    /// Whether both plans have the control plane of one revision of one mesh.
    pub fn is_same_control_plane(&self, other: &Self) -> bool {
        let has = |plan: &Self| plan.components.contains(&Component::Pilot);
        let of = |plan: &Self| (plan.revision.clone(), plan.istio_namespace.clone());
        has(self) && has(other) && of(self) == of(other)
    }
}

/// All installations of a namespace.
///
/// # Errors
/// The API server doesn't answer.
pub async fn list(client: &Client, namespace: &str) -> Result<Vec<Record>, StoreError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}"));
    let maps = api.list(&params).await.map_err(|source| StoreError::Api {
        name: "of any name".to_owned(),
        source: Box::new(source),
    })?;
    Ok(maps.into_iter().filter_map(|map| record(&map)).collect())
}

fn record(map: &ConfigMap) -> Option<Record> {
    if !store::is_unowned(&map.metadata) {
        return None;
    }
    let owner = Owner {
        namespace: map.namespace()?,
        name: map.name_any().strip_prefix(store::PREFIX)?.to_owned(),
    };
    let replaces = map.annotations().get(REPLACES);
    Some(Record {
        owner,
        plan: store::decode(map)?.plan,
        replaces: share::owners(replaces.map(String::as_str).unwrap_or_default()),
    })
}

/// Installations whose place a plan takes when its owner installs it.
///
/// # Errors
/// The API server doesn't answer.
pub async fn replaced(
    client: &Client,
    owner: &Owner,
    plan: &Plan,
) -> Result<BTreeSet<Owner>, StoreError> {
    let mut found = BTreeSet::new();
    for record in list(client, &owner.namespace).await? {
        if record.owner == *owner {
            found.extend(record.replaces);
        } else if record.plan.is_same_control_plane(plan) {
            found.extend(record.replaces);
            found.insert(record.owner);
        }
    }
    found.remove(owner);
    Ok(found)
}

/// Forgets installations; what they have is their successor's to keep or to delete.
///
/// # Errors
/// The API server refuses it.
pub async fn supersede(
    client: &Client,
    owner: &Owner,
    replaced: &BTreeSet<Owner>,
) -> Result<(), StoreError> {
    if replaced.is_empty() {
        return Ok(());
    }
    note(client, owner, replaced).await?;
    for former in replaced {
        let forgotten = store::forget(client, former).await;
        forgotten.map_err(|source| StoreError::Api {
            name: store::name(former),
            source: Box::new(source),
        })?;
    }
    Ok(())
}

/// Notes that nothing is left of installations that [`supersede`] forgot.
///
/// # Errors
/// The API server refuses it.
pub async fn finish(
    client: &Client,
    owner: &Owner,
    replaced: &BTreeSet<Owner>,
) -> Result<(), StoreError> {
    match replaced.is_empty() {
        true => Ok(()),
        false => note(client, owner, &BTreeSet::new()).await,
    }
}

async fn note(
    client: &Client,
    owner: &Owner,
    replaced: &BTreeSet<Owner>,
) -> Result<(), StoreError> {
    let names: Vec<String> = replaced.iter().map(ToString::to_string).collect();
    let text = (!names.is_empty()).then(|| names.join(","));
    let patch = json!({"metadata": {"annotations": {REPLACES: text}}});
    let name = store::name(owner);
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &owner.namespace);
    // Beside the manager of the record, whose writing again would drop it.
    let params = PatchParams {
        field_manager: Some(share::MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let noted = api.patch(&name, &params, &Patch::Merge(&patch)).await;
    noted.map(drop).map_err(|source| StoreError::Api {
        name,
        source: Box::new(source),
    })
}
