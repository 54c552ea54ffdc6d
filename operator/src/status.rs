//! What the operator says about an IstioOperator: pure, from what was observed.

use std::collections::BTreeMap;

use ironsail_crds::Diagnostic;
use ironsail_crds::operator::{ComponentStatus, IstioOperatorStatus, PlanStatus, Status};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::component::Component;
use crate::plan::accept::Decision;
use crate::plan::diff::Diff;
use crate::revision::in_use::Usage;

/// Condition of a revision beside the default one.
pub const IN_USE: &str = "InUse";
/// Condition of an object that is left alone on request; there only as long as it is.
const PAUSED: &str = "Paused";
/// Characters of a message; the rest is cut, because status is read by people.
const MAX_MESSAGE: usize = 4096;

/// State of one component after a reconciliation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentState {
    pub component: Component,
    /// Why objects could not be applied.
    pub errors: Vec<String>,
    /// What is not ready yet.
    pub waiting: Option<String>,
    /// Not ready, and not by waiting longer.
    pub failed: Option<String>,
    /// Whether an earlier wave has to be ready first.
    pub held: bool,
    /// Whether some of its objects wait for others.
    pub incomplete: bool,
    /// Objects that another IstioOperator holds and wants otherwise.
    pub taken: Vec<String>,
    /// Workloads that somebody has to allow to be made anew.
    pub immutable: Vec<String>,
}

impl ComponentState {
    /// Applied and ready.
    pub fn healthy(component: Component) -> Self {
        Self {
            component,
            errors: Vec::new(),
            waiting: None,
            failed: None,
            held: false,
            incomplete: false,
            taken: Vec::new(),
            immutable: Vec::new(),
        }
    }

    fn status(&self, upgrading: bool) -> Status {
        let undecided = !self.taken.is_empty() || !self.immutable.is_empty();
        if !self.errors.is_empty() || self.failed.is_some() || undecided {
            Status::Error
        } else if upgrading && (self.waiting.is_some() || self.held) {
            Status::Updating
        } else if self.waiting.is_some() || self.held {
            Status::Reconciling
        } else {
            Status::Healthy
        }
    }

    fn message(&self) -> String {
        let errors = self.errors.iter().map(String::as_str);
        let texts: Vec<&str> = errors
            .chain(self.failed.as_deref())
            .chain(self.waiting.as_deref())
            .chain(self.taken.iter().chain(&self.immutable).map(String::as_str))
            .collect();
        cut(&texts.join("; "))
    }
}

/// Everything that a status is derived from.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub generation: Option<i64>,
    /// Errors and warnings of the spec; errors mean that nothing new was accepted.
    pub findings: Vec<Diagnostic>,
    /// What became of the fresh rendering, and its hash.
    pub decision: Option<(Decision, String)>,
    /// How the fresh rendering differs from the accepted plan, while it waits.
    pub diff: Option<Diff>,
    /// Hash of the accepted plan; empty if there is none.
    pub accepted: String,
    /// Version of the accepted plan's renderer; empty if there is none.
    pub version: String,
    /// Whether the accepted plan replaces an older one that is not rolled out everywhere yet.
    pub upgrading: bool,
    pub components: Vec<ComponentState>,
    /// What keeps the operator from working on the object at all.
    pub failure: Option<String>,
    /// Objects that somebody else changes again and again.
    pub contested: Vec<String>,
    /// Whether the approval of the fresh rendering is void.
    pub void: bool,
    /// Who uses the revision, if it was asked.
    pub usage: Option<Usage>,
    /// Why an object that is being deleted is not removed yet.
    pub kept: Option<String>,
}

impl Observed {
    fn invalid(&self) -> Option<String> {
        let errors: Vec<String> = self
            .findings
            .iter()
            .filter(|f| f.is_error())
            .map(Diagnostic::to_string)
            .collect();
        (!errors.is_empty()).then(|| cut(&errors.join("; ")))
    }

    fn awaiting_approval(&self) -> Option<&str> {
        match &self.decision {
            Some((Decision::AwaitApproval, hash)) => Some(hash),
            _ => None,
        }
    }

    /// The worst of everything.
    fn overall(&self) -> Status {
        let states: Vec<Status> = self
            .components
            .iter()
            .map(|component| component.status(self.upgrading))
            .collect();
        let any = |status: Status| states.contains(&status);
        if self.kept.is_some() {
            Status::ActionRequired
        } else if self.invalid().is_some() || self.failure.is_some() || any(Status::Error) {
            Status::Error
        } else if self.awaiting_approval().is_some() {
            Status::ActionRequired
        } else if any(Status::Updating) {
            Status::Updating
        } else if any(Status::Reconciling) {
            Status::Reconciling
        } else {
            Status::Healthy
        }
    }

    /// Reason for what waits for a person.
    pub fn action(&self) -> &'static str {
        match self.kept {
            Some(_) => "RevisionInUse",
            None if self.void => "ApprovalVoid",
            None => "ApprovalRequired",
        }
    }

    fn message(&self) -> String {
        if let Some(text) = &self.kept {
            return cut(text);
        }
        if let Some(text) = self.invalid() {
            return text;
        }
        if let Some(text) = &self.failure {
            return cut(text);
        }
        let texts: Vec<String> = self
            .components
            .iter()
            .map(|component| (component, component.message()))
            .filter(|(_, message)| !message.is_empty())
            .map(|(component, message)| format!("{}: {message}", component.component))
            .collect();
        match (texts.is_empty(), self.awaiting_approval()) {
            (true, Some(hash)) => awaited(self, hash),
            _ => cut(&texts.join("; ")),
        }
    }
}

/// What a waiting plan waits for.
fn awaited(observed: &Observed, hash: &str) -> String {
    if !observed.void {
        return approval(hash);
    }
    let approve = crate::plan::accept::APPROVE;
    format!(
        "the approval of plan {hash} is void, because what it would delete or make anew changed: \
         look at status.plan.destructive, then remove the annotation {approve} and set it again"
    )
}

fn approval(hash: &str) -> String {
    format!(
        "plan {hash} waits for the annotation {}={hash}",
        crate::plan::accept::APPROVE
    )
}

/// The status after an observation. Conditions that did not change keep their time.
pub fn derive(
    previous: Option<&IstioOperatorStatus>,
    observed: &Observed,
    now: Timestamp,
) -> IstioOperatorStatus {
    let old = previous
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let conditions = conditions(observed)
        .into_iter()
        .map(|new| {
            let same = old
                .iter()
                .find(|old| old.type_ == new.name && old.status == new.status());
            Condition {
                type_: new.name.to_owned(),
                status: new.status().to_owned(),
                reason: new.reason.to_owned(),
                message: new.message,
                observed_generation: observed.generation,
                last_transition_time: same
                    .map_or(Time(now), |old| old.last_transition_time.clone()),
            }
        })
        .collect();
    let component_status = observed
        .components
        .iter()
        .map(|state| {
            let status = ComponentStatus {
                status: state.status(observed.upgrading),
                version: observed.version.clone(),
                error: state.message(),
            };
            (state.component.as_str().to_owned(), status)
        })
        .collect::<BTreeMap<_, _>>();
    IstioOperatorStatus {
        status: observed.overall(),
        message: observed.message(),
        version: observed.version.clone(),
        component_status,
        observed_generation: observed.generation,
        plan: plan(observed),
        conditions,
    }
}

/// The status of an object that is left alone on request: what was said before, and `Paused`.
pub fn paused(
    previous: Option<&IstioOperatorStatus>,
    generation: Option<i64>,
    request: &str,
    now: Timestamp,
) -> IstioOperatorStatus {
    let mut status = previous.cloned().unwrap_or_default();
    let old = status.conditions.iter().position(|c| c.type_ == PAUSED);
    let old = old.map(|at| status.conditions.remove(at));
    let since = old.filter(|old| old.status == "True");
    status.conditions.push(Condition {
        type_: PAUSED.to_owned(),
        status: "True".to_owned(),
        reason: "Requested".to_owned(),
        message: format!("nothing is changed or repaired while the annotation {request} is there"),
        observed_generation: generation,
        last_transition_time: since.map_or(Time(now), |old| old.last_transition_time),
    });
    status
}

/// The plan of the current spec beside the one in force.
fn plan(observed: &Observed) -> Option<PlanStatus> {
    let (_, hash) = observed.decision.as_ref()?;
    let diff = observed.diff.as_ref();
    Some(PlanStatus {
        hash: hash.clone(),
        accepted: observed.accepted.clone(),
        summary: diff.map(Diff::to_string).unwrap_or_default(),
        destructive: diff.map(Diff::destructive).unwrap_or_default(),
        void: observed.void,
    })
}

/// A condition before it has a time.
struct New {
    name: &'static str,
    /// `None` if it isn't known.
    holds: Option<bool>,
    reason: &'static str,
    message: String,
}

impl New {
    fn status(&self) -> &'static str {
        match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

fn new(
    name: &'static str,
    holds: impl Into<Option<bool>>,
    reason: &'static str,
    message: impl Into<String>,
) -> New {
    New {
        name,
        holds: holds.into(),
        reason,
        message: message.into(),
    }
}

/// All conditions, always in the same order. `Ready`, `Reconciling` and `Stalled` are those of
/// kstatus, which GitOps tools wait for.
fn conditions(observed: &Observed) -> Vec<New> {
    let mut conditions = vec![
        ready(observed),
        reconciling(observed),
        stalled(observed),
        valid(observed),
        applied(observed),
        conflict(observed),
        upgrade(observed),
    ];
    conditions.extend(observed.usage.as_ref().map(in_use));
    conditions
}

/// Whether somebody uses the revision.
fn in_use(usage: &Usage) -> New {
    match usage {
        Usage::Used(uses) => new(IN_USE, true, "ReferencedByWorkloads", uses.to_string()),
        Usage::Unused => new(IN_USE, false, "NotReferencedByAnything", ""),
        Usage::Unknown(why) => new(IN_USE, None, "UsageCheckFailed", cut(why)),
    }
}

fn ready(observed: &Observed) -> New {
    let (holds, reason) = match observed.overall() {
        Status::Healthy => (true, "Healthy"),
        Status::ActionRequired => (false, observed.action()),
        Status::Error if observed.invalid().is_some() => (false, "InvalidSpec"),
        Status::Error => (false, "Error"),
        Status::Updating => (false, "Updating"),
        _ => (false, "Reconciling"),
    };
    let message = match holds {
        true => "everything is installed and ready".to_owned(),
        false => observed.message(),
    };
    new("Ready", holds, reason, message)
}

/// Work goes on by itself, errors that are retried included.
fn reconciling(observed: &Observed) -> New {
    match observed.overall() {
        Status::Healthy => new("Reconciling", false, "Done", ""),
        Status::ActionRequired => new("Reconciling", false, observed.action(), ""),
        Status::Error if observed.invalid().is_some() => {
            new("Reconciling", false, "InvalidSpec", "")
        }
        Status::Error => new("Reconciling", true, "Retrying", observed.message()),
        _ => new("Reconciling", true, "Progressing", observed.message()),
    }
}

/// Nothing happens until somebody changes the object.
fn stalled(observed: &Observed) -> New {
    if let Some(text) = &observed.kept {
        return new("Stalled", true, observed.action(), cut(text));
    }
    if let Some(text) = observed.invalid() {
        return new("Stalled", true, "InvalidSpec", text);
    }
    match observed.awaiting_approval() {
        Some(hash) => {
            let text = awaited(observed, hash);
            new("Stalled", true, observed.action(), text)
        }
        None => new("Stalled", false, "Working", ""),
    }
}

fn valid(observed: &Observed) -> New {
    if let Some(text) = observed.invalid() {
        return new("Valid", false, "InvalidSpec", text);
    }
    let warnings: Vec<String> = observed
        .findings
        .iter()
        .map(Diagnostic::to_string)
        .collect();
    match warnings.is_empty() {
        true => new("Valid", true, "Valid", ""),
        false => new("Valid", true, "Warnings", cut(&warnings.join("; "))),
    }
}

fn applied(observed: &Observed) -> New {
    let errors: Vec<String> = observed
        .components
        .iter()
        .flat_map(|component| component.errors.iter().cloned())
        .chain(observed.failure.clone())
        .collect();
    if !errors.is_empty() {
        return new("Applied", false, "ApplyFailed", cut(&errors.join("; ")));
    }
    if observed.version.is_empty() {
        return new("Applied", false, "NothingAccepted", "");
    }
    if let Some(held) = observed.components.iter().find(|component| component.held) {
        let message = format!("{} waits for an earlier component", held.component);
        return new("Applied", false, "Waiting", message);
    }
    match contested(observed) {
        None => new("Applied", true, "AsPlanned", ""),
        Some((reason, text)) => new("Applied", false, reason, text),
    }
}

/// Somebody else writes what is ours, and won't stop, or another IstioOperator holds it.
fn conflict(observed: &Observed) -> New {
    match contested(observed) {
        None => new("Conflict", false, "NoConflict", ""),
        Some((reason, text)) => new("Conflict", true, reason, text),
    }
}

/// Objects that others claim, and the reason for a condition.
fn contested(observed: &Observed) -> Option<(&'static str, String)> {
    let taken = observed.components.iter().flat_map(|c| &c.taken);
    let all: Vec<&str> = taken
        .chain(&observed.contested)
        .map(String::as_str)
        .collect();
    let reason = match observed.contested.is_empty() {
        true => "SharedObject",
        false => "OwnershipConflict",
    };
    (!all.is_empty()).then(|| (reason, cut(&all.join("; "))))
}

fn upgrade(observed: &Observed) -> New {
    match &observed.decision {
        Some((Decision::UpgradeAvailable, hash)) => {
            let version = ironsail_mesh::VERSION;
            let message = format!(
                "version {version} renders this spec otherwise; {}",
                approval(hash)
            );
            new("UpgradeAvailable", true, "NewRendering", message)
        }
        _ => new("UpgradeAvailable", false, "UpToDate", ""),
    }
}

/// A message of bounded length.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((at, _)) => format!("{} …", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
