//! Uninstalling without a running operator: what goes, found by its labels.

use std::collections::BTreeSet;

use ironsail_mesh::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;

use crate::apply::ApplyError;
use crate::apply::fingerprint::Fingerprint;
use crate::component::Component;
use crate::delete::{self, GivenUp};
use crate::object::{Kind, ObjectKey};
use crate::observe::look::labelled;
use crate::observe::{self, Seen};
use crate::plan::Owner;
use crate::plan::store::{self, StoreError};

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A control plane and the gateways of its revision. What revisions share stays.
    Revision(String),
    /// What one IstioOperator or one installation has.
    Owner(Owner),
    /// Everything, definitions of kinds and with them all resources of users.
    Everything,
}

/// An object that would go.
#[derive(Clone, Debug)]
pub struct Victim {
    pub kind: &'static Kind,
    pub key: ObjectKey,
    pub metadata: ObjectMeta,
}

impl Victim {
    fn label(&self, key: &str) -> &str {
        observe::label_of(&self.metadata, key).unwrap_or_default()
    }

    /// Whether traffic enters or leaves the mesh through it.
    pub fn is_gateway(&self) -> bool {
        let component = self.label(label::COMPONENT);
        let gateways = [Component::IngressGateways, Component::EgressGateways];
        self.kind.kind == "Deployment" && gateways.iter().any(|own| own.as_str() == component)
    }

    /// The owner that its labels name.
    pub fn owner(&self) -> Option<Owner> {
        observe::owner_of(&self.metadata)
    }
}

impl Scope {
    fn selector(&self) -> String {
        let component = label::COMPONENT;
        match self {
            Self::Revision(revision) => format!("{component},{}={revision}", label::REVISION),
            Self::Owner(owner) => format!("{component},{}", observe::selector_of(owner)),
            Self::Everything => component.to_owned(),
        }
    }

    fn includes(&self, victim: &Victim) -> bool {
        match self {
            Self::Revision(_) => {
                victim.kind.prune && victim.label(label::COMPONENT) != Component::Base.as_str()
            }
            Self::Owner(_) => victim.kind.prune,
            Self::Everything => true,
        }
    }

    /// Everything that would go, webhooks first: they would refuse pods of everybody while nobody
    /// answers them.
    ///
    /// # Errors
    /// The API server refuses a list or can't be reached.
    pub async fn victims(&self, client: &Client) -> Result<Vec<Victim>, kube::Error> {
        let found = labelled(client, &self.selector()).await?;
        let own = found
            .into_iter()
            .filter(|(_, metadata)| !observe::is_controlled(metadata));
        let mut victims: Vec<Victim> = own
            .map(|(kind, metadata)| Victim {
                kind,
                key: observe::key(kind, &metadata),
                metadata,
            })
            .filter(|victim| self.includes(victim))
            .collect();
        victims.sort_by_key(|victim| {
            let webhook = victim.kind.group == "admissionregistration.k8s.io";
            (!webhook, std::cmp::Reverse(victim.kind.rank()))
        });
        Ok(victims)
    }
}

/// Deletes an object, unless it became another one. Unless everything goes, an object that others
/// want too is handed over to them.
///
/// # Errors
/// The API server refuses it or can't be reached.
pub async fn delete(
    client: &Client,
    scope: &Scope,
    victim: &Victim,
) -> Result<GivenUp, ApplyError> {
    let mut seen = Seen::default();
    let metadata = match scope {
        Scope::Everything => ObjectMeta {
            annotations: None,
            ..victim.metadata.clone()
        },
        Scope::Revision(_) | Scope::Owner(_) => victim.metadata.clone(),
    };
    seen.add(victim.kind, &metadata, Fingerprint::of(&metadata));
    match seen.objects.get(&victim.key) {
        Some(seen) => delete::give_up(client, &victim.key, seen).await,
        None => Ok(GivenUp::Gone),
    }
}

/// Forgets the installations that the objects were of, as far as they are gone.
///
/// # Errors
/// The API server refuses it or can't be reached.
pub async fn forget(client: &Client, scope: &Scope, victims: &[Victim]) -> Result<(), StoreError> {
    let owners: BTreeSet<Owner> = victims.iter().filter_map(Victim::owner).collect();
    for owner in owners {
        let gone = match scope {
            Scope::Revision(revision) => {
                let accepted = store::load(client, &owner).await?;
                accepted.is_some_and(|accepted| accepted.plan.revision == *revision)
            }
            Scope::Owner(_) | Scope::Everything => true,
        };
        if gone {
            let forgotten = store::forget(client, &owner).await;
            forgotten.map_err(|source| StoreError::Api {
                name: store::name(&owner),
                source: Box::new(source),
            })?;
        }
    }
    Ok(())
}
