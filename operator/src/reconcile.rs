//! One reconciliation of one IstioOperator: a thin shell around pure decisions.

mod accept;
mod contact;
mod finalize;
mod prune;
mod report;
mod usage;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ironsail_crds::operator::{IstioOperatorStatus, legacy};
use ironsail_runtime::log::chain;
use ironsail_runtime::retry::Backoff;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use tracing::warn;

use crate::apply::memory::Memory;
use crate::apply::selector::{RECREATE, consents};
use crate::apply::{Outcome, reason};
use crate::events::Events;
use crate::keep::Keeper;
use crate::list_merge::ListMerge;
use crate::metrics::Metrics;
use crate::namespace;
use crate::network;
use crate::object::Manifest;
use crate::observe::{Seen, annotation_of};
use crate::plan::store::{self, Accepted, StoreError};
use crate::plan::{Fresh, Owner};
use crate::render::{Context, render_object};
use crate::revision::in_use::Usage;
use crate::revision::proxies::Probe;
use crate::rollout::{Patience, Rolling, Rollout};
use crate::status::{ComponentState, Observed};

pub use finalize::FINALIZER;
use report::contested;

/// `true`: the operator leaves the object alone, until it is deleted.
pub const IGNORE: &str = "install.istio.io/ignoreReconcile";
/// Where findings about merging are.
const PROFILE: &str = "spec.profile";
/// Wake-up while something is not ready, for what no watch tells.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Wake-up while somebody has to decide: about what another IstioOperator holds, or what would have
/// to be made anew.
const TAKEN: Duration = Duration::from_secs(30);
/// Wake-up when everything is as desired.
const RESYNC: Duration = Duration::from_secs(600);
/// Bound of one reconciliation, so that a silent API server can't hold it forever.
const LONGEST: Duration = Duration::from_secs(120);

/// How the operator works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub render: Context,
    /// How long a component may take until the next wave no longer waits for it; default 300 s.
    pub wait: Duration,
    /// Only objects of this `spec.revision`; empty means all.
    pub revision: String,
    /// Only objects of these namespaces; empty means all.
    pub namespaces: Vec<String>,
}

/// Reconciles IstioOperators.
pub struct Reconciler {
    client: Client,
    config: Config,
    keeper: Keeper,
    metrics: Metrics,
    events: Events,
    probe: Probe,
    /// Version of the cluster, read once: a change of what depends on it is none of one cluster.
    kubernetes_version: OnceCell<String>,
    owners: Mutex<HashMap<Owner, Arc<Mutex<OwnerState>>>>,
}

/// What is remembered of one IstioOperator.
#[derive(Default)]
struct OwnerState {
    memory: Memory,
    patience: Patience,
    backoff: Backoff,
    /// Whether the era of lists was written, and the watch did not show it yet.
    dated: bool,
    /// Loaded once; afterwards this is the truth.
    accepted: Option<Accepted>,
    /// Last written status.
    reported: Option<IstioOperatorStatus>,
    /// Who uses the revision, and since when that is known.
    usage: Option<(Instant, Usage)>,
    /// Whether it was asked who uses it, for a removal.
    removal_asked: bool,
    /// What the cluster's network plugins were warned of.
    network: network::Memo,
    /// When the removal of a revision was decided.
    removal_began: Option<Instant>,
}

impl OwnerState {
    /// How long the removal of an object has been going on.
    fn removal_waited(&self, since: Timestamp) -> Duration {
        let began = self.removal_began.map(|began| began.elapsed());
        began.unwrap_or_else(|| waited(since))
    }
}

fn waited(since: Timestamp) -> Duration {
    Timestamp::now().duration_since(since).unsigned_abs()
}

/// What keeps a reconciliation from its end.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Object(#[from] crate::apply::ApplyError),
    #[error("{what}: {}", reason(source))]
    Api {
        what: String,
        source: Box<kube::Error>,
    },
    #[error("the API server did not answer within {} s", LONGEST.as_secs())]
    Timeout,
}

fn api_error(what: impl Into<String>) -> impl FnOnce(kube::Error) -> ReconcileError {
    let what = what.into();
    move |source| ReconcileError::Api {
        what,
        source: Box::new(source),
    }
}

/// When to look again without being woken; `None` means never.
pub type Next = Option<Duration>;

impl Owner {
    /// The owner that an IstioOperator is.
    pub fn of(object: &DynamicObject) -> Self {
        Self {
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            name: object.metadata.name.clone().unwrap_or_default(),
        }
    }
}

/// Whether the operator leaves an object alone.
pub fn is_ignored(object: &DynamicObject) -> bool {
    annotation_of(&object.metadata, IGNORE) == Some("true")
}

fn annotations(object: &DynamicObject) -> BTreeMap<String, String> {
    object.metadata.annotations.clone().unwrap_or_default()
}

fn spec(object: &DynamicObject) -> Value {
    match object.data.get("spec") {
        None | Some(Value::Null) => json!({}),
        Some(spec) => spec.clone(),
    }
}

impl Reconciler {
    pub fn new(
        client: Client,
        config: Config,
        keeper: Keeper,
        metrics: Metrics,
        events: Events,
    ) -> Self {
        Self {
            client,
            config,
            keeper,
            metrics,
            events,
            probe: Probe::default(),
            kubernetes_version: OnceCell::new(),
            owners: Mutex::default(),
        }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Namespaces of IstioOperators; empty means all.
    pub fn namespaces(&self) -> &[String] {
        &self.config.namespaces
    }

    /// Whether the object is this operator's, by its namespace and revision.
    pub fn is_selected(&self, object: &DynamicObject) -> bool {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let namespaces = self.namespaces();
        if !namespaces.is_empty() && !namespaces.iter().any(|own| own == namespace) {
            return false;
        }
        if self.config.revision.is_empty() {
            return true;
        }
        let revision = object
            .data
            .pointer("/spec/revision")
            .and_then(Value::as_str);
        revision.unwrap_or_default() == self.config.revision
    }

    async fn state(&self, owner: &Owner) -> Arc<Mutex<OwnerState>> {
        Arc::clone(self.owners.lock().await.entry(owner.clone()).or_default())
    }

    async fn forget(&self, owner: &Owner) {
        if self.owners.lock().await.remove(owner).is_some() {
            self.metrics.cache_flushes.inc();
        }
        self.metrics.hide(owner);
    }

    /// Brings everything of one object closer to what it asks for, and reports.
    ///
    /// Cancel safe: the next call continues from what the cluster shows.
    pub async fn reconcile(&self, object: &DynamicObject, seen: &Seen) -> Next {
        if !self.is_selected(object) {
            return None;
        }
        let owner = Owner::of(object);
        self.metrics.reconcile_requests.inc();
        let state = self.state(&owner).await;
        let mut state = state.lock().await;
        let outcome =
            tokio::time::timeout(LONGEST, self.attempt(object, &owner, seen, &mut state)).await;
        match outcome.unwrap_or(Err(ReconcileError::Timeout)) {
            Ok(next) => next,
            Err(error) => {
                self.metrics.reconcile_errors.inc();
                let delay = state.backoff.next_delay();
                warn!(object = %owner, error = %chain(&error), retry_after = ?delay, "Reconciliation failed");
                Some(delay)
            }
        }
    }

    async fn attempt(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        seen: &Seen,
        state: &mut OwnerState,
    ) -> Result<Next, ReconcileError> {
        let mut kept = None;
        if let Some(since) = &object.metadata.deletion_timestamp {
            kept = self.keeps(object, owner, since.0, state).await?;
            if kept.is_none() {
                let waited = state.removal_waited(since.0);
                return self.finalize(object, owner, waited).await;
            }
        }
        if let namespace::State::Terminating(since) = seen.namespace(&owner.namespace) {
            return self.finalize(object, owner, waited(since.0)).await;
        }
        if is_ignored(object) {
            let next = self.pause(object, owner, state).await?;
            // Who uses the revision is told by nothing.
            return Ok(kept.map(|_| usage::FRESH).or(next));
        }
        let object = &*self.dated(object, owner, state).await?;
        self.secure_removal(object, owner).await?;
        let mut observed = Observed {
            generation: object.metadata.generation,
            kept,
            ..Observed::default()
        };
        let context = self.context().await?;
        let fresh = self.render(object, &context, &mut observed);
        if let Some(fresh) = &fresh {
            let warnings = state.network.warnings(&self.client, &fresh.plan).await;
            observed.findings.extend_from_slice(warnings);
        }
        let rollout = match self
            .accept(object, owner, fresh.as_ref(), seen, state, &mut observed)
            .await
        {
            Ok(()) => {
                self.roll_out(object, owner, fresh, seen, state, &mut observed)
                    .await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &rollout {
            observed.failure = Some(error.to_string());
        }
        self.observe_usage(object, owner, state, &mut observed)
            .await;
        self.report(object, owner, &observed, state).await?;
        let next = self.next(rollout?.as_ref(), &observed, state);
        let collected = self.collect(object, owner, &observed, state).await?;
        Ok([Some(next), collected].into_iter().flatten().min())
    }

    /// What is rendered with, for this cluster.
    async fn context(&self) -> Result<Context, ReconcileError> {
        let version = self.kubernetes_version.get_or_try_init(|| async {
            let version = self.client.apiserver_version().await;
            version.map(|version| version.git_version)
        });
        let version = version
            .await
            .map_err(api_error("the version of the cluster can't be read"))?;
        Ok(Context {
            kubernetes_version: version.clone(),
            ..self.config.render.clone()
        })
    }

    /// Renders the spec; what is wrong with it goes to the observation.
    fn render(
        &self,
        object: &DynamicObject,
        context: &Context,
        observed: &mut Observed,
    ) -> Option<Fresh> {
        let document = serde_json::to_value(object).expect("an object becomes JSON");
        match render_object(&document, context) {
            Ok(rendered) => {
                for component in &rendered.components {
                    self.metrics
                        .rendered
                        .with_label_values(&[component.as_str()])
                        .inc();
                }
                let ineffective = rendered
                    .warnings
                    .iter()
                    .filter(|w| w.path.contains(".k8s."));
                self.metrics.patch_errors.inc_by(ineffective.count() as u64);
                let legacy = rendered.warnings.iter().filter(|w| legacy::is_about(w));
                self.metrics.legacy_paths.inc_by(legacy.count() as u64);
                let era = ListMerge::of(&annotations(object)).ok().flatten();
                let asked = era.unwrap_or_default().asked(&spec(object));
                let fresh = Fresh::new(rendered, &asked);
                observed.findings = fresh.warnings.clone();
                Some(fresh)
            }
            Err(findings) => {
                self.metrics.cr_validation_errors.inc();
                self.metrics.render_errors.inc();
                if findings.iter().any(|found| found.path == PROFILE) {
                    self.metrics.cr_merge_failures.inc();
                }
                observed.findings = findings;
                None
            }
        }
    }

    /// Applies the accepted plan, if there is one.
    async fn roll_out(
        &self,
        object: &DynamicObject,
        owner: &Owner,
        fresh: Option<Fresh>,
        seen: &Seen,
        state: &mut OwnerState,
        observed: &mut Observed,
    ) -> Result<Option<Rollout>, ReconcileError> {
        let Some(accepted) = &mut state.accepted else {
            return Ok(None);
        };
        let plan = &accepted.plan;
        self.ensure_namespace(&plan.istio_namespace, &plan.network, seen)
            .await?;
        // Definitions follow the operator, not the plan; without a valid spec they stay as they are.
        let definitions = fresh.map(|fresh| fresh.definitions).unwrap_or_default();
        let desired = plan.desired(owner, &definitions);
        observed.version = plan.renderer.clone();
        observed.accepted = plan.hash.clone();
        observed.adopted = contact::describe(plan);
        self.prune_autoscalers(object, owner, &plan.revision, &desired, seen)
            .await?;
        let recreate = recreate(object);
        let mut rolling = Rolling {
            client: &self.client,
            seen,
            memory: &mut state.memory,
            patience: &mut state.patience,
            limit: self.config.wait,
            // What was adopted runs already.
            in_order: !accepted.rolled_out && plan.adopted.is_none(),
            recreate: &recreate,
        };
        let rollout = rolling.run(&plan.components, &desired).await;
        observed.components = rollout.components.clone();
        observed.contested = contested(&rollout.changes);
        self.tell(object, &plan.revision, &rollout.changes).await;
        if rollout.is_applied() {
            let pruned = self.prune(object, owner, plan, &desired, seen).await;
            if let Err(error) = pruned
                && let Some(last) = observed.components.last_mut()
            {
                last.errors.push(error.to_string());
            }
            let wanted: HashSet<_> = desired.iter().map(Manifest::key).collect();
            state.memory.retain(|key| wanted.contains(key));
            self.count_owned(&plan.revision, &desired);
        }
        let mut is_done = rollout.is_healthy();
        if let Some(adopted) = &plan.adopted
            && rollout.is_applied()
            && !accepted.rolled_out
        {
            self.take_from_former(object, owner, &desired, adopted)
                .await?;
            is_done = true;
        }
        if is_done && !accepted.rolled_out {
            let done = Accepted {
                rolled_out: true,
                ..accepted.clone()
            };
            store::save(&self.client, owner, &object.metadata, &done).await?;
            *accepted = done;
        }
        observed.upgrading = accepted.replaced && !accepted.rolled_out;
        Ok(Some(rollout))
    }

    async fn ensure_namespace(
        &self,
        name: &str,
        network: &str,
        seen: &Seen,
    ) -> Result<(), ReconcileError> {
        let failed = || format!("namespace {name} can't be prepared");
        namespace::ensure(&self.client, name, network, &seen.namespace(name))
            .await
            .map_err(api_error(failed()))
    }

    fn count_owned(&self, revision: &str, desired: &[Manifest]) {
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for object in desired {
            *counts.entry(object.kind().kind).or_default() += 1;
        }
        for (kind, count) in counts {
            self.metrics
                .owned
                .with_label_values(&[kind, revision])
                .set(count);
        }
    }

    fn next(
        &self,
        rollout: Option<&Rollout>,
        observed: &Observed,
        state: &mut OwnerState,
    ) -> Duration {
        let Some(rollout) = rollout else {
            return RESYNC;
        };
        let pruning_failed = observed
            .components
            .iter()
            .any(|component| !component.errors.is_empty());
        if pruning_failed
            || !rollout
                .components
                .iter()
                .all(|component| component.errors.is_empty())
        {
            return state.backoff.next_delay();
        }
        state.backoff.reset();
        let postponed = rollout
            .changes
            .iter()
            .filter_map(|change| match change.outcome {
                Outcome::Postponed { seconds, .. } => Some(Duration::from_secs(seconds)),
                _ => None,
            });
        let soon = if rollout.is_healthy() {
            RESYNC
        } else {
            LOOK_AGAIN
        };
        let undecided = |c: &ComponentState| !c.taken.is_empty() || !c.immutable.is_empty();
        let taken = observed.components.iter().any(undecided).then_some(TAKEN);
        let held = observed.kept.is_some().then_some(usage::FRESH);
        // Who begins to use a revision is told by nothing.
        let unused = matches!(observed.usage, Some(Usage::Unused | Usage::Unknown(_)));
        postponed
            .chain(held)
            .chain(unused.then_some(usage::FRESH))
            .chain(taken)
            .chain([soon])
            .min()
            .unwrap_or(soon)
    }
}

/// Workloads that may be deleted and made anew.
fn recreate(object: &DynamicObject) -> BTreeSet<String> {
    consents(&annotations(object).remove(RECREATE).unwrap_or_default())
}

impl std::fmt::Display for Owner {
    /// `namespace/name`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod revision_tests;
#[cfg(test)]
mod tests;
