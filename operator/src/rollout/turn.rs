//! Gateways change last and one at a time: each carries traffic of the whole mesh.

use ironsail_mesh::label;

use super::service;
use crate::apply::{Applier, ApplyError, Outcome};
use crate::component::Component;
use crate::health::{self, Health};
use crate::object::Manifest;
use crate::observe::{Seen, label_of};
use crate::status::ComponentState;

/// Whose turn it is. Gateways that are not there yet need none: they carry nothing.
pub struct Turn<'a> {
    seen: &'a Seen,
    /// What has to be ready before the next gateway may change.
    awaited: Option<String>,
    /// Whether there are turns at all; not once everything was ready.
    in_order: bool,
}

/// Whether an object is a gateway's workload.
fn is_gateway(object: &Manifest) -> bool {
    let component = object.component;
    object.kind().kind == "Deployment"
        && matches!(
            component,
            Component::IngressGateways | Component::EgressGateways
        )
}

impl<'a> Turn<'a> {
    pub fn new(seen: &'a Seen, in_order: bool) -> Self {
        Self {
            seen,
            awaited: None,
            in_order,
        }
    }

    /// Takes note of a component that came before the gateways.
    pub fn after(&mut self, state: &ComponentState, ready: bool) {
        if state.component == Component::Pilot && !ready {
            self.awaited = Some("the control plane".to_owned());
        }
    }

    /// What an object has to wait for before it may be changed.
    ///
    /// # Errors
    /// The API server doesn't answer.
    pub async fn awaits(
        &self,
        object: &Manifest,
        desired: &[Manifest],
        applier: &Applier<'_>,
    ) -> Result<Option<String>, ApplyError> {
        if applier.is_as_left(object, self.seen.fingerprint(object.key())) {
            return Ok(None);
        }
        match self.turn_of(object) {
            Some(awaited) => Ok(Some(awaited)),
            None => service::awaits(object, desired, self.seen, applier).await,
        }
    }

    fn turn_of(&self, object: &Manifest) -> Option<String> {
        let carries = self.seen.deployments.contains_key(object.key());
        if !self.in_order || !carries || !is_gateway(object) {
            return None;
        }
        self.awaited.clone().or_else(|| self.control_plane(object))
    }

    /// The control plane of the gateway's revision, of whatever owner, while it is not ready.
    fn control_plane(&self, object: &Manifest) -> Option<String> {
        let revision = object.label(label::REVISION)?;
        let mut all = self.seen.deployments.values();
        let found = all.find(|deployment| {
            let is = |key: &str, value: &str| label_of(&deployment.metadata, key) == Some(value);
            is("app", "istiod")
                && is(label::REVISION, &revision)
                && health::deployment(deployment) != Health::Ready
        });
        let name = found?.metadata.name.clone().unwrap_or_default();
        Some(format!("Deployment {name}"))
    }

    /// Takes note of a gateway; says whether it begins to change.
    pub fn took(&mut self, object: &Manifest, outcome: &Outcome, applier: &Applier<'_>) -> bool {
        let live = self.seen.deployments.get(object.key());
        // One that can't change is nobody's turn.
        let fixed = matches!(outcome, Outcome::Immutable { .. });
        let Some(live) = live.filter(|_| is_gateway(object) && !fixed) else {
            return false;
        };
        // What the watch shows may be of before the change.
        let current = applier.is_as_left(object, self.seen.fingerprint(object.key()));
        if !current || health::deployment(live) != Health::Ready {
            self.awaited = Some(format!("Deployment {}", object.name()));
        }
        matches!(outcome, Outcome::Updated { .. })
    }
}
