//! How one plan differs from another: pure, from what they say about objects.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value, json};

use super::{Owner, Plan, hash};
use crate::apply::selector;
use crate::object::{Manifest, ObjectKey};
use crate::observe::Seen;
use crate::value::{get, text};

/// Entries of a list for people; the rest is counted, and named by a digest.
const MAX_LISTED: usize = 20;

/// What accepting a plan changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    pub created: Vec<ObjectKey>,
    pub changed: Vec<ObjectKey>,
    pub deleted: Vec<ObjectKey>,
    /// Workloads whose selector changes so that they have to be made anew.
    pub reselected: Vec<ObjectKey>,
    /// Services that lose a port, their type or their pods; they are among `changed` too.
    pub narrowed: Vec<ObjectKey>,
}

/// Compares the plan in force, if there is one, with another.
pub fn diff(accepted: Option<&Plan>, fresh: &Plan) -> Diff {
    let by_key = |plan: Option<&Plan>| -> BTreeMap<ObjectKey, Manifest> {
        let objects = plan.into_iter().flat_map(|plan| plan.objects.iter());
        objects.map(|o| (o.key().clone(), o.clone())).collect()
    };
    let (old, new) = (by_key(accepted), by_key(Some(fresh)));
    let mut diff = Diff::default();
    for (key, object) in &new {
        match old.get(key) {
            None => diff.created.push(key.clone()),
            Some(before) if before.hash() == object.hash() => {}
            Some(before) if selector::forbidden(object, &before.body()).is_some() => {
                diff.reselected.push(key.clone());
            }
            Some(before) => {
                diff.changed.push(key.clone());
                if is_narrowed(before, object) {
                    diff.narrowed.push(key.clone());
                }
            }
        }
    }
    let gone = old.keys().filter(|key| !new.contains_key(key));
    diff.deleted = gone.cloned().collect();
    diff
}

/// Whether clients of a Service may lose it.
fn is_narrowed(before: &Manifest, after: &Manifest) -> bool {
    if before.kind().kind != "Service" {
        return false;
    }
    let (before, after) = (before.body(), after.body());
    if before.get("spec").is_none() {
        return false;
    }
    let type_of = |body: &Value| text(body, &["spec", "type"]).map(str::to_owned);
    let is_plain = |type_: &Option<String>| type_.as_deref().is_none_or(|t| t == "ClusterIP");
    let pods = |body: &Value| get(body, &["spec", "selector"]).cloned();
    let kept = ports(&after);
    let old_type = type_of(&before);
    (!is_plain(&old_type) && old_type != type_of(&after))
        || pods(&before) != pods(&after)
        || ports(&before).iter().any(|port| !kept.contains(port))
}

/// Numbers and protocols of a Service's ports.
fn ports(body: &Value) -> Vec<(Option<i64>, String)> {
    let ports = get(body, &["spec", "ports"]).and_then(Value::as_array);
    let ports = ports.into_iter().flatten();
    ports
        .map(|port| {
            let protocol = text(port, &["protocol"]).unwrap_or("TCP");
            (
                port.get("port").and_then(Value::as_i64),
                protocol.to_owned(),
            )
        })
        .collect()
}

impl Diff {
    /// What accepting would take away from what is there, instead of from what was accepted.
    #[must_use]
    pub fn from_live(mut self, fresh: &Plan, owner: &Owner, seen: &Seen) -> Self {
        let wanted: BTreeSet<&ObjectKey> = fresh.objects.iter().map(Manifest::key).collect();
        let owned = seen.owned(owner);
        let lost = owned.filter(|(key, object)| {
            // What others want too is handed over.
            !object.deleting && object.shared_with.is_empty() && !wanted.contains(key)
        });
        self.deleted = lost.map(|(key, _)| key.clone()).collect();
        let reselected = fresh.objects.iter().filter(|object| {
            let live = seen.selector(object.key());
            live.is_some_and(|live| selector::forbidden(object, &live).is_some())
        });
        self.reselected = reselected.map(|object| object.key().clone()).collect();
        self.changed.retain(|key| !self.reselected.contains(key));
        self
    }

    /// Whether somebody could miss what accepting takes: a Service or a part of it, a workload.
    pub fn takes_away(&self) -> bool {
        let missed = |key: &ObjectKey| ["Service", "Deployment", "DaemonSet"].contains(&&*key.kind);
        !self.reselected.is_empty() || !self.narrowed.is_empty() || self.deleted.iter().any(missed)
    }

    /// What accepting deletes, makes anew or takes from clients, for people.
    pub fn destructive(&self) -> Vec<String> {
        let narrowed = self.narrowed.iter();
        let narrowed = narrowed.map(|key| format!("takes ports, type or pods from {key}"));
        let deleted = self.deleted.iter().map(|key| format!("deletes {key}"));
        let deleted = narrowed.chain(deleted);
        let anew = self.reselected.iter();
        let anew =
            anew.map(|key| format!("changes the selector of {key}, which must be made anew"));
        let mut all: Vec<String> = anew.chain(deleted).collect();
        if all.len() > MAX_LISTED {
            let rest = all.split_off(MAX_LISTED);
            let digest = hash(&json!(rest));
            all.push(format!("and {} more ({digest})", rest.len()));
        }
        all
    }
}

impl fmt::Display for Diff {
    /// `1 created, 2 changed, 3 deleted`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed = self.changed.len() + self.reselected.len();
        let (created, deleted) = (self.created.len(), self.deleted.len());
        write!(f, "{created} created, {changed} changed, {deleted} deleted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Fresh;
    use crate::render::{Context, render};

    fn plan(spec: Value) -> Plan {
        let rendered = render(&spec, &Context::default()).expect("valid");
        Fresh::new(rendered, &spec).plan
    }

    #[test]
    fn the_first_plan_creates_everything() {
        let plan = plan(json!({}));
        let diff = diff(None, &plan);
        assert_eq!(diff.created.len(), plan.objects.len());
        assert_eq!(diff.destructive(), Vec::<String>::new());
    }

    #[test]
    fn the_same_plan_changes_nothing() {
        assert_eq!(
            diff(Some(&plan(json!({}))), &plan(json!({}))),
            Diff::default()
        );
    }

    #[test]
    fn what_is_lost_is_listed() {
        let labelled = |label: &str| {
            plan(
                json!({"components": {"ingressGateways": [{"name": "in", "label": {"istio": label}}]}}),
            )
        };
        let relabelled = diff(Some(&labelled("a")), &labelled("b"));
        assert_eq!(
            relabelled.destructive(),
            [
                "changes the selector of Deployment istio-system/in, which must be made anew",
                "takes ports, type or pods from Service istio-system/in",
            ]
        );
        assert!(relabelled.takes_away());
        assert!(relabelled.deleted.is_empty() && !relabelled.changed.is_empty());
        let minimal = diff(Some(&labelled("a")), &plan(json!({"profile": "minimal"})));
        assert!(
            minimal
                .destructive()
                .contains(&"deletes Deployment istio-system/in".to_owned())
        );
        assert!(minimal.to_string().starts_with("0 created, "), "{minimal}");
        let empty = diff(
            Some(&plan(json!({"profile": "demo"}))),
            &plan(json!({"profile": "empty"})),
        );
        let listed = empty.destructive();
        assert_eq!(listed.len(), MAX_LISTED + 1);
        let last = listed.last().expect("there");
        assert!(last.starts_with("and ") && last.ends_with(')'), "{last}");
    }
}
