//! Applying a plan in waves: definitions and accounts, then the control plane, then gateways, one
//! at a time.
//!
//! Nothing waits here: a wave whose predecessors are not ready is held, and the next
//! reconciliation looks again.

mod service;
mod turn;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use crate::apply::memory::Memory;
use crate::apply::selector::{self, RECREATE, Reselection};
use crate::apply::{Applier, Outcome};
use crate::component::Component;
use crate::health::{self, Health};
use crate::judge::Judge;
use crate::object::Manifest;
use crate::observe::Seen;
use crate::plan::Owner;
use crate::share;
use crate::status::ComponentState;
use turn::Turn;

/// What happened to one object.
#[derive(Clone, Debug)]
pub struct Change {
    pub object: Manifest,
    pub outcome: Outcome,
}

/// Result of applying a plan once.
#[derive(Debug, Default)]
pub struct Rollout {
    pub components: Vec<ComponentState>,
    /// Objects that were written or postponed.
    pub changes: Vec<Change>,
    /// Whether a namespace is being deleted, so that nothing can be applied there.
    pub terminating: bool,
}

impl Rollout {
    /// Whether every object was applied.
    pub fn is_applied(&self) -> bool {
        self.components
            .iter()
            .all(|c| c.errors.is_empty() && !c.held && !c.incomplete)
    }

    /// Whether every component is ready.
    pub fn is_healthy(&self) -> bool {
        let ready = |c: &ComponentState| c.waiting.is_none() && c.failed.is_none();
        self.is_applied() && self.components.iter().all(ready)
    }
}

/// Since when components are not ready.
#[derive(Debug, Default)]
pub struct Patience {
    since: HashMap<Component, Instant>,
}

impl Patience {
    /// How long a component has not been ready.
    fn waited(&mut self, component: Component, ready: bool) -> Duration {
        if ready {
            self.since.remove(&component);
            return Duration::ZERO;
        }
        self.since
            .entry(component)
            .or_insert_with(Instant::now)
            .elapsed()
    }

    /// Starts anew, for another plan.
    pub fn reset(&mut self) {
        self.since.clear();
    }
}

/// What a rollout works with.
pub struct Rolling<'a> {
    pub client: &'a Client,
    pub seen: &'a Seen,
    pub memory: &'a mut Memory,
    pub patience: &'a mut Patience,
    /// How long a component may take before the next wave no longer waits for it.
    pub limit: Duration,
    /// Whether waves wait for each other; not when everything was ready once.
    pub in_order: bool,
    /// Workloads that may be deleted and made anew.
    pub recreate: &'a BTreeSet<String>,
}

/// Whether an object was written in this run.
fn was_written(object: &Manifest, changes: &[Change]) -> bool {
    changes.iter().any(|change| {
        let written = matches!(change.outcome, Outcome::Created | Outcome::Updated { .. });
        written && change.object.key() == object.key()
    })
}

/// Whether all control planes of a plan serve.
fn serves(seen: &Seen, desired: &[Manifest]) -> bool {
    let control_plane = |object: &&Manifest| {
        object.component == Component::Pilot && object.kind().kind == "Deployment"
    };
    desired.iter().filter(control_plane).all(|object| {
        let live = seen.deployments.get(object.key());
        live.is_some_and(|live| health::deployment(live) == Health::Ready)
    })
}

/// Says who has what this owner wants otherwise.
fn taken(object: &Manifest, by: &Owner) -> String {
    let key = object.key();
    let own = share::rendered_for(object).map(|own| own.to_string());
    let own = own.unwrap_or_default();
    format!("{key} belongs to the IstioOperator {by}, and {own} wants it otherwise")
}

/// Says what nobody allowed.
fn immutable(object: &Manifest, change: &Reselection) -> String {
    let consent = selector::consent(object);
    format!(
        "the selector of {} can't be changed {change}; with the annotation {RECREATE}={consent} it \
         is deleted and made anew",
        object.key()
    )
}

impl Rolling<'_> {
    /// Applies all objects of the components that are on.
    pub async fn run(&mut self, components: &[Component], desired: &[Manifest]) -> Rollout {
        let mut rollout = Rollout::default();
        let mut held = false;
        let mut wave = 0;
        let mut blocked = false;
        let mut turn = Turn::new(self.seen, self.in_order);
        for component in components {
            if component.wave() != wave {
                wave = component.wave();
                held = self.in_order && blocked;
            }
            let mut state = ComponentState::healthy(*component);
            if held {
                state.held = true;
                rollout.components.push(state);
                continue;
            }
            let later = self
                .apply(&mut state, desired, &mut rollout, &mut turn)
                .await;
            if state.errors.is_empty() {
                self.judge(&mut state, desired, &rollout.changes).await;
            }
            state.incomplete = !later.is_empty();
            if state.incomplete {
                let waiting = state.waiting.take();
                state.waiting = Some(
                    waiting
                        .into_iter()
                        .chain(later)
                        .collect::<Vec<_>>()
                        .join("; "),
                );
            }
            let ready =
                state.errors.is_empty() && state.waiting.is_none() && state.failed.is_none();
            let waited = self.patience.waited(*component, ready);
            if waited > self.limit
                && let Some(waiting) = state.waiting.take()
            {
                state.failed = Some(format!("{waiting}; not ready after {}s", waited.as_secs()));
            }
            blocked |= !ready && waited <= self.limit;
            turn.after(&state, ready);
            rollout.components.push(state);
        }
        rollout
    }

    /// Applies what may be applied now; says what waits for its turn.
    async fn apply(
        &mut self,
        state: &mut ComponentState,
        desired: &[Manifest],
        rollout: &mut Rollout,
        turn: &mut Turn<'_>,
    ) -> Vec<String> {
        let mut later = Vec::new();
        let mut fixed = BTreeSet::new();
        let mut applier = Applier {
            client: self.client,
            memory: self.memory,
            serves: serves(self.seen, desired),
            recreate: self.recreate,
        };
        for object in desired
            .iter()
            .filter(|object| object.component == state.component)
        {
            let seen = self
                .seen
                .objects
                .get(object.key())
                .map(|seen| &seen.fingerprint);
            if let Some(awaited) = turn.awaits(object)
                && !applier.is_as_left(object, seen)
            {
                later.push(format!("{} waits for {awaited}", object.key()));
                continue;
            }
            // The pods that it would select will not come.
            if fixed.contains(&(object.namespace(), object.name())) {
                continue;
            }
            match service::awaits(object, desired, self.seen, &applier).await {
                Ok(None) => {}
                Ok(Some(awaited)) => {
                    later.push(format!("{} waits for {awaited}", object.key()));
                    continue;
                }
                Err(error) => {
                    state.errors.push(error.to_string());
                    continue;
                }
            }
            let outcome = applier.ensure(object, seen).await;
            if let Ok(outcome) = &outcome
                && turn.took(object, outcome)
            {
                self.patience.waited(state.component, true);
            }
            match outcome {
                Ok(Outcome::Unchanged) => {}
                Ok(Outcome::Taken { by }) => state.taken.push(taken(object, &by)),
                Ok(Outcome::Immutable { change }) => {
                    fixed.insert((object.namespace(), object.name()));
                    state.immutable.push(immutable(object, &change));
                }
                Ok(Outcome::Overlaps { with }) => {
                    state.taken.push(format!(
                        "{} would inject pods that {with} injects already",
                        object.key()
                    ));
                }
                Ok(outcome) => rollout.changes.push(Change {
                    object: object.clone(),
                    outcome,
                }),
                Err(error) => {
                    rollout.terminating |= error.is_namespace_terminating();
                    state.errors.push(error.to_string());
                }
            }
        }
        later
    }

    /// Whether what was applied works.
    async fn judge(&self, state: &mut ComponentState, desired: &[Manifest], changes: &[Change]) {
        let own = desired
            .iter()
            .filter(|object| object.component == state.component);
        let judge = Judge {
            client: self.client,
            seen: self.seen,
        };
        let mut waiting = Vec::new();
        let mut failed = Vec::new();
        for object in own {
            let kind = object.kind().kind;
            let health = match kind {
                // What the watch shows is of before.
                "Deployment" | "DaemonSet" if was_written(object, changes) => {
                    Health::Waiting(format!("{kind} {} was changed just now", object.name()))
                }
                "CustomResourceDefinition" if !self.in_order => Health::Ready,
                _ => judge.health(object).await,
            };
            match health {
                Health::Ready => {}
                Health::Waiting(text) => waiting.push(text),
                Health::Failed(text) => failed.push(text),
            }
        }
        state.waiting = (!waiting.is_empty()).then(|| waiting.join("; "));
        state.failed = (!failed.is_empty()).then(|| failed.join("; "));
    }
}
