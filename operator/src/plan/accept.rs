//! Which plan is in force: pure.

use std::collections::BTreeMap;

use super::Plan;

/// `Manual`: a changed spec waits for [`APPROVE`].
pub const APPLY: &str = "operator.ironsail.dev/apply";
/// Hash of a plan that may be applied.
pub const APPROVE: &str = "operator.ironsail.dev/approve";

/// What becomes of a fresh rendering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is what is accepted already.
    Same,
    /// It becomes the accepted plan.
    Accept,
    /// The spec changed, but somebody wants to look at the plan first.
    AwaitApproval,
    /// The spec is the same, but this operator renders it otherwise.
    UpgradeAvailable,
}

/// Decides by the accepted plan, the fresh one and the annotations of the object.
pub fn decide(
    accepted: Option<&Plan>,
    fresh: &Plan,
    annotations: &BTreeMap<String, String>,
) -> Decision {
    let approved = annotations
        .get(APPROVE)
        .is_some_and(|hash| *hash == fresh.hash);
    let manual = annotations.get(APPLY).is_some_and(|mode| mode == "Manual");
    match accepted {
        Some(accepted) if accepted.hash == fresh.hash && accepted.spec_hash == fresh.spec_hash => {
            Decision::Same
        }
        _ if approved => Decision::Accept,
        _ if manual => Decision::AwaitApproval,
        Some(accepted) if accepted.spec_hash == fresh.spec_hash => Decision::UpgradeAvailable,
        _ => Decision::Accept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(hash: &str, spec: &str) -> Plan {
        Plan {
            hash: hash.into(),
            spec_hash: spec.into(),
            renderer: "1".into(),
            revision: "default".into(),
            istio_namespace: "istio-system".into(),
            network: String::new(),
            components: Vec::new(),
            objects: Vec::new(),
        }
    }

    #[test]
    fn decisions() {
        let manual: &[(&str, &str)] = &[(APPLY, "Manual")];
        type Case<'a> = (
            &'a str,
            Option<Plan>,
            Plan,
            &'a [(&'a str, &'a str)],
            Decision,
        );
        let cases: &[Case<'_>] = &[
            ("first", None, plan("a", "s"), &[], Decision::Accept),
            (
                "first, manual",
                None,
                plan("a", "s"),
                manual,
                Decision::AwaitApproval,
            ),
            (
                "nothing new",
                Some(plan("a", "s")),
                plan("a", "s"),
                &[],
                Decision::Same,
            ),
            (
                "nothing new, manual",
                Some(plan("a", "s")),
                plan("a", "s"),
                manual,
                Decision::Same,
            ),
            (
                "new spec",
                Some(plan("a", "s")),
                plan("b", "t"),
                &[],
                Decision::Accept,
            ),
            (
                "new spec, same objects",
                Some(plan("a", "s")),
                plan("a", "t"),
                &[],
                Decision::Accept,
            ),
            (
                "new spec, manual",
                Some(plan("a", "s")),
                plan("b", "t"),
                manual,
                Decision::AwaitApproval,
            ),
            (
                "new spec, manual, approved",
                Some(plan("a", "s")),
                plan("b", "t"),
                &[(APPLY, "Manual"), (APPROVE, "b")],
                Decision::Accept,
            ),
            (
                "new spec, manual, another plan approved",
                Some(plan("a", "s")),
                plan("c", "t"),
                &[(APPLY, "Manual"), (APPROVE, "b")],
                Decision::AwaitApproval,
            ),
            (
                "new operator",
                Some(plan("a", "s")),
                plan("b", "s"),
                &[],
                Decision::UpgradeAvailable,
            ),
            (
                "new operator, approved",
                Some(plan("a", "s")),
                plan("b", "s"),
                &[(APPROVE, "b")],
                Decision::Accept,
            ),
        ];
        for (name, accepted, fresh, annotations, expected) in cases {
            let annotations = annotations
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect();
            assert_eq!(
                decide(accepted.as_ref(), fresh, &annotations),
                *expected,
                "{name}"
            );
        }
    }
}
