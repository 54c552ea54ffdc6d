//! Rules of DestinationRule; those of its policies are in a file of their own.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::networking::destination_rule::DestinationRuleSpec;

use super::field::{Findings, child, items};
use super::{shared, traffic_policy};

/// Everything that is wrong with a DestinationRule.
#[must_use]
pub fn validate(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<DestinationRuleSpec>(object, &mut out) {
        check(&spec, super::namespace(object), &mut out);
    }
    out.into_vec()
}

fn check(spec: &DestinationRuleSpec, namespace: &str, out: &mut Findings) {
    // Missing is reported by the schema.
    if !spec.host.is_empty() {
        out.check("spec.host", shared::wildcard_host(&spec.host));
    }
    if let Some(policy) = &spec.traffic_policy {
        traffic_policy::check(policy, "spec.trafficPolicy", out);
    }
    check_subsets(spec, out);
    shared::export_to(&spec.export_to, out);
    let Some(selector) = &spec.workload_selector else {
        return;
    };
    shared::workload_selector(selector, "spec.workloadSelector", out);
    let own = |entry: &String| entry == "." || (!namespace.is_empty() && entry == namespace);
    if !spec.export_to.iter().all(own) {
        out.error(
            "spec.exportTo",
            "with a workloadSelector only . can be given",
        );
    }
}

fn check_subsets(spec: &DestinationRuleSpec, out: &mut Findings) {
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    for (path, subset) in items("spec", "subsets", &spec.subsets) {
        let name_path = child(&path, "name");
        // Missing is reported by the schema.
        if !subset.name.is_empty() {
            out.check(name_path.clone(), shared::dns_label(&subset.name));
            if let Some(first) = names.get(subset.name.as_str()) {
                out.error(
                    name_path,
                    format!("subset {:?} is already at {first}", subset.name),
                );
            } else {
                names.insert(&subset.name, path.clone());
            }
        }
        shared::labels(&subset.labels, &child(&path, "labels"), out);
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy::check(policy, &child(&path, "trafficPolicy"), out);
        }
    }
}
