//! How one plan differs from another: pure, from what they say about objects.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::json;

use super::{Owner, Plan, hash};
use crate::apply::selector;
use crate::object::{Manifest, ObjectKey};
use crate::observe::Seen;

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
            Some(_) => diff.changed.push(key.clone()),
        }
    }
    let gone = old.keys().filter(|key| !new.contains_key(key));
    diff.deleted = gone.cloned().collect();
    diff
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

    /// What accepting deletes or makes anew, for people.
    pub fn destructive(&self) -> Vec<String> {
        let deleted = self.deleted.iter().map(|key| format!("deletes {key}"));
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
    use serde_json::Value;

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
            ["changes the selector of Deployment istio-system/in, which must be made anew"]
        );
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
