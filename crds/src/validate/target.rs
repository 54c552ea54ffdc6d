//! What a policy is for: pods by labels, or objects by name.

use crate::security::peer_authentication::WorkloadSelector;
use crate::target_ref::PolicyTargetReference;

use super::field::{Findings, child, items};
use super::shared;

/// Kinds that can be referred to, with their groups.
const KINDS: [(&str, &str); 4] = [
    ("", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
];

/// The ways in which a policy says what it is for; at most one is used.
pub(super) struct Target<'a> {
    pub selector: Option<&'a WorkloadSelector>,
    pub target_ref: Option<&'a PolicyTargetReference>,
    pub target_refs: &'a [PolicyTargetReference],
}

impl Target<'_> {
    pub(super) fn check(&self, out: &mut Findings) {
        let ways = [
            ("selector", self.selector.is_some()),
            ("targetRef", self.target_ref.is_some()),
            ("targetRefs", !self.target_refs.is_empty()),
        ];
        let set: Vec<&str> = ways.iter().filter(|way| way.1).map(|way| way.0).collect();
        if set.len() > 1 {
            out.error("spec", format!("only one of {} can be set", set.join(", ")));
        }
        if let Some(selector) = self.selector {
            shared::workload_selector(selector, "spec.selector", out);
        }
        if let Some(reference) = self.target_ref {
            out.warn("spec.targetRef", "is deprecated, use targetRefs");
            check_reference(reference, "spec.targetRef", out);
        }
        references(self.target_refs, out);
    }
}

/// The list of references alone.
pub(super) fn references(list: &[PolicyTargetReference], out: &mut Findings) {
    for (path, reference) in items("spec", "targetRefs", list) {
        check_reference(reference, &path, out);
    }
}

fn check_reference(reference: &PolicyTargetReference, path: &str, out: &mut Findings) {
    if !reference.namespace.is_empty() {
        out.error(
            child(path, "namespace"),
            "must be empty: other namespaces can't be referred to",
        );
    }
    let (group, kind) = (reference.group.as_str(), reference.kind.as_str());
    let group = match group {
        "core" => "",
        group => group,
    };
    // Missing is reported by the schema.
    if !kind.is_empty() && !KINDS.contains(&(group, kind)) {
        out.error(
            path,
            format!(
                "{kind} of group {group:?} can't be referred to, only Service, ServiceEntry of \
                 networking.istio.io, Gateway and GatewayClass of gateway.networking.k8s.io"
            ),
        );
    }
}
