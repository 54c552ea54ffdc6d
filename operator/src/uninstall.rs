//! Uninstalling without a running operator: what goes, found by its labels.

use ironsail_mesh::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;

use crate::apply::ApplyError;
use crate::component::Component;
use crate::delete;
use crate::object::{Kind, ObjectKey};
use crate::observe;
use crate::observe::look::labelled;
use crate::plan::{MANAGED, Owner};

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
        let labels = self.metadata.labels.as_ref();
        labels
            .and_then(|labels| labels.get(key))
            .map_or("", String::as_str)
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
            Self::Owner(owner) => format!(
                "{component},{}={MANAGED},{}={},{}={}",
                label::MANAGED,
                label::OWNING_RESOURCE,
                owner.name,
                label::OWNING_RESOURCE_NAMESPACE,
                owner.namespace
            ),
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
            .filter(|(_, metadata)| !is_controlled(metadata));
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

/// Whether a controller of the cluster made it, with copied labels, and collects it.
fn is_controlled(metadata: &ObjectMeta) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true))
}

/// Deletes an object, unless it became another one.
///
/// # Errors
/// The API server refuses it or can't be reached.
pub async fn delete(client: &Client, victim: &Victim) -> Result<bool, ApplyError> {
    let uid = victim.metadata.uid.as_deref().unwrap_or_default();
    delete::one(client, victim.kind, &victim.key, uid).await
}
