//! What the operator may do: what it does itself, and what the roles that it renders grant, because
//! nobody may grant what he doesn't hold.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use crate::component::rule;
use crate::object::KINDS;
use crate::render::{Context, render};

/// Group, resource, verb.
pub(super) type Right = (String, String, String);

pub(super) fn rights(rule: &PolicyRule) -> impl Iterator<Item = Right> + '_ {
    let groups = rule.api_groups.iter().flatten();
    groups.flat_map(move |group| {
        let resources = rule.resources.iter().flatten();
        resources.flat_map(move |resource| {
            let verbs = rule.verbs.iter();
            verbs.map(move |verb| (group.clone(), resource.clone(), verb.clone()))
        })
    })
}

/// Specs whose renderings contain every role that the operator grants.
pub(super) fn specs() -> [Value; 4] {
    [
        json!({}),
        json!({"profile": "demo"}),
        json!({"profile": "ambient", "hub": "docker.io/istio", "tag": "1.32.0"}),
        json!({"values": {"global": {"istiod": {"enableAnalysis": true}}, "pilot": {"taint": {"enabled": true}}}}),
    ]
}

/// Rights that rendered roles of a kind grant.
pub(super) fn granted(context: &Context, kind: &str) -> BTreeSet<Right> {
    let rules = specs().into_iter().flat_map(|spec| {
        let rendered = render(&spec, context).expect("a test renders these");
        let roles = rendered
            .objects
            .into_iter()
            .filter(|object| object.kind().kind == kind);
        roles
            .flat_map(|role| {
                let rules = role.body().get("rules").cloned().unwrap_or(json!([]));
                serde_json::from_value::<Vec<PolicyRule>>(rules).expect("rendered from rules")
            })
            .collect::<Vec<_>>()
    });
    rules
        .flat_map(|rule| rights(&rule).collect::<Vec<_>>())
        .collect()
}

/// What the operator does itself.
fn own_rules() -> Vec<PolicyRule> {
    let mut rules = vec![
        rule(
            &["install.istio.io"],
            &["istiooperators"],
            // Unused revisions are deleted when that was asked for.
            &["get", "list", "watch", "patch", "delete"],
        ),
        rule(
            &["install.istio.io"],
            &["istiooperators/status"],
            &["patch"],
        ),
        rule(
            &[""],
            &["namespaces"],
            &["get", "list", "watch", "create", "patch"],
        ),
        rule(&[""], &["pods"], &["list"]),
        rule(&["events.k8s.io"], &["events"], &["create", "patch"]),
    ];
    for kind in &KINDS {
        let mut verbs = vec!["get", "list", "watch", "create", "patch"];
        if kind.prune {
            verbs.push("delete");
        }
        rules.push(rule(&[kind.group], &[kind.plural], &verbs));
    }
    rules
}

/// What the operator needs for its own work, whatever it renders.
pub(super) fn work_rules() -> BTreeSet<Right> {
    own_rules().iter().flat_map(rights).collect()
}

/// What it needs only to grant it to what is rendered for the cluster.
pub(super) fn cluster_rules(context: &Context) -> BTreeSet<Right> {
    beyond_work(granted(context, "ClusterRole"))
}

/// What it needs only to grant it in the control plane's namespace.
pub(super) fn namespace_rules(context: &Context) -> BTreeSet<Right> {
    beyond_work(granted(context, "Role"))
}

fn beyond_work(granted: BTreeSet<Right>) -> BTreeSet<Right> {
    let work = work_rules();
    granted.difference(&work).cloned().collect()
}

/// Rules with one group each; resources with the same verbs stand together.
pub(super) fn grouped(rights: &BTreeSet<Right>) -> Vec<PolicyRule> {
    let mut verbs: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (group, resource, verb) in rights {
        verbs.entry((group, resource)).or_default().insert(verb);
    }
    let mut resources: BTreeMap<(&str, Vec<&str>), Vec<&str>> = BTreeMap::new();
    for ((group, resource), verbs) in verbs {
        resources
            .entry((group, in_order(&verbs)))
            .or_default()
            .push(resource);
    }
    resources
        .into_iter()
        .map(|((group, verbs), resources)| rule(&[group], &resources, &verbs))
        .collect()
}

/// Reading verbs first, as people write them.
fn in_order<'a>(verbs: &BTreeSet<&'a str>) -> Vec<&'a str> {
    const ORDER: [&str; 7] = [
        "get", "list", "watch", "create", "update", "patch", "delete",
    ];
    let mut verbs: Vec<&str> = verbs.iter().copied().collect();
    verbs.sort_by_key(|verb| {
        ORDER
            .iter()
            .position(|known| known == verb)
            .unwrap_or(ORDER.len())
    });
    verbs
}

/// What is done in the operator's own namespace: leading, and keeping the webhook's key.
pub(super) fn home_rules() -> Vec<PolicyRule> {
    let secret = format!("{}-webhook", super::NAME);
    vec![
        rule(
            &["coordination.k8s.io"],
            &["leases"],
            &["get", "create", "update"],
        ),
        // Kubernetes can't limit creating to a name.
        rule(&[""], &["secrets"], &["create"]),
        PolicyRule {
            resource_names: Some(vec![secret]),
            ..rule(&[""], &["secrets"], &["get", "patch"])
        },
    ]
}
