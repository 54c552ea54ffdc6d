//! Who is the default revision.
//!
//! What speaks for the default (injection of namespaces and pods that name no revision, validation
//! of objects that name none, a Service) has the same names whatever revision it leads to. Every
//! plan contains it with the rank of its claim, and the cluster decides: the highest claim holds
//! the objects, the others wait. So the default moves with one update of one object, and no pod is
//! between two injectors or without any.

use std::fmt;
use std::str::FromStr;

use ironsail_mesh::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{DynamicObject, ListParams};
use serde_json::Value;

use crate::apply::api;
use crate::object::Manifest;
use crate::observe::owner_of;
use crate::plan::Owner;
use crate::share;
use crate::value::get;

/// Rank of the claim that an object of the default revision is made by. Empty while it is handed
/// over to somebody who didn't apply it yet.
pub const CLAIM: &str = "operator.ironsail.dev/default-claim";
/// Name of the webhook configuration without which this one must not be deactivated.
pub const DEACTIVATED_BY: &str = "operator.ironsail.dev/deactivated-by";

/// Why a revision would be the default; a later one outranks an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// No other revision is.
    Vacancy,
    /// It is the revision without a name.
    Unnamed,
    /// The user asks for it.
    Explicit,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vacancy => "Vacancy",
            Self::Unnamed => "Unnamed",
            Self::Explicit => "Explicit",
        })
    }
}

impl FromStr for Claim {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Vacancy, Self::Unnamed, Self::Explicit];
        all.into_iter()
            .find(|claim| claim.to_string() == text)
            .ok_or(())
    }
}

/// What becomes of an object of the default revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is applied.
    Holds,
    /// It is applied instead of what another IstioOperator with a lower claim has.
    Outranks(Owner),
    /// Another IstioOperator has it.
    Yields(Owner),
    /// Another IstioOperator has it, and its user asks for that too.
    Disputes(Owner),
    /// The user made it, by hand or without a resource, and it stays as it is.
    Users,
}

impl Claim {
    /// The claim that an object is rendered with.
    pub fn of(object: &Manifest) -> Option<Self> {
        object.annotation(CLAIM)?.parse().ok()
    }

    /// Decides by what is there.
    ///
    /// # Errors
    /// The API server doesn't answer.
    pub async fn stand(
        self,
        client: &Client,
        owner: &Owner,
        live: &ObjectMeta,
    ) -> Result<Standing, kube::Error> {
        let Some(named) = owner_of(live) else {
            return Ok(Standing::Users);
        };
        let annotations = live.annotations.as_ref();
        let theirs: Option<Self> = annotations.and_then(|all| all.get(CLAIM)?.parse().ok());
        let Some(holder) = share::other_holder(client, owner, live).await? else {
            // What an installation without a resource left is no vacancy.
            let occupied = self == Self::Vacancy && theirs.is_some() && named != *owner;
            return Ok(if occupied {
                Standing::Users
            } else {
                Standing::Holds
            });
        };
        Ok(match theirs.unwrap_or(Self::Explicit) {
            theirs if theirs < self => Standing::Outranks(holder),
            Self::Explicit if self == Self::Explicit => Standing::Disputes(holder),
            _ => Standing::Yields(holder),
        })
    }
}

/// What else injects pods, beside a configuration that is not there yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// A configuration that injects the same pods by another control plane.
    pub overlap: Option<String>,
    /// Base64 of what the same control plane is trusted by.
    pub ca_bundle: Option<Value>,
}

/// Looks for what injects pods that name no revision.
///
/// # Errors
/// The API server doesn't answer.
pub async fn neighbours(client: &Client, desired: &Manifest) -> Result<Neighbours, kube::Error> {
    let api = api(client, desired.kind(), "");
    let params = ListParams::default().labels("app=sidecar-injector");
    let all = api.list(&params).await?.items;
    let others = all
        .iter()
        .filter(|o| o.metadata.name.as_deref() != Some(desired.name()));
    let body = desired.body();
    let target = body.pointer("/webhooks/0/clientConfig").map(address);
    let mut found = Neighbours::default();
    for other in others {
        for webhook in webhooks(other) {
            let client = &webhook["clientConfig"];
            if Some(address(client)) == target {
                let bundle = client.get("caBundle").filter(|bundle| !bundle.is_null());
                found.ca_bundle = found.ca_bundle.or_else(|| bundle.cloned());
            } else if injects_by_default(webhook) {
                found.overlap = other.metadata.name.clone();
            }
        }
    }
    Ok(found)
}

fn webhooks(object: &DynamicObject) -> &[Value] {
    let webhooks = get(&object.data, &["webhooks"]).and_then(Value::as_array);
    webhooks.map_or(&[], Vec::as_slice)
}

/// Whom a webhook calls.
fn address(client: &Value) -> (Value, Value, Value) {
    let service = &client["service"];
    let part = |value: &Value| value.clone();
    (
        part(&service["namespace"]),
        part(&service["name"]),
        part(&client["url"]),
    )
}

/// Whether a webhook is called for namespaces with the old label.
fn injects_by_default(webhook: &Value) -> bool {
    let expressions = webhook.pointer("/namespaceSelector/matchExpressions");
    let expressions = expressions.and_then(Value::as_array).into_iter().flatten();
    expressions
        .into_iter()
        .any(|e| e["key"] == label::INJECTION && e["operator"] == "In")
}
