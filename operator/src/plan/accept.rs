//! Which plan is in force: pure.

use std::collections::BTreeMap;

use ironsail_crds::operator::PlanStatus;

use super::Plan;

/// `Manual`: a changed spec waits for [`APPROVE`].
pub const APPLY: &str = "operator.ironsail.dev/apply";
/// Hash of a plan that may be applied.
pub const APPROVE: &str = "operator.ironsail.dev/approve";

/// `Follow`: what a new operator renders of the same spec is accepted by itself.
pub const UPGRADE_POLICY: &str = "operator.ironsail.dev/upgrade-policy";

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
    let says = |name: &str, text: &str| annotations.get(name).is_some_and(|own| own == text);
    let approved = says(APPROVE, &fresh.hash);
    let manual = says(APPLY, "Manual");
    let follows = says(UPGRADE_POLICY, "Follow");
    match accepted {
        Some(accepted) if accepted.hash == fresh.hash && accepted.spec_hash == fresh.spec_hash => {
            Decision::Same
        }
        _ if approved => Decision::Accept,
        _ if manual => Decision::AwaitApproval,
        Some(accepted) if accepted.spec_hash == fresh.spec_hash && !follows => {
            Decision::UpgradeAvailable
        }
        _ => Decision::Accept,
    }
}

/// Whether a plan needs no approval.
pub fn is_accepted_unasked(
    accepted: Option<&Plan>,
    fresh: &Plan,
    annotations: &BTreeMap<String, String>,
) -> bool {
    let mut annotations = annotations.clone();
    annotations.remove(APPROVE);
    decide(accepted, fresh, &annotations) == Decision::Accept
}

/// Whether the approval of a plan doesn't count, because what was shown for it, and what it would
/// delete or make anew, is no longer the same. It counts again once it was taken away.
pub fn is_void(
    shown: Option<&PlanStatus>,
    fresh: &Plan,
    destructive: &[String],
    annotations: &BTreeMap<String, String>,
) -> bool {
    let approved = annotations.get(APPROVE) == Some(&fresh.hash);
    let Some(shown) = shown.filter(|shown| approved && shown.hash == fresh.hash) else {
        return false;
    };
    // A plan in force shows no difference.
    let was_shown = !shown.summary.is_empty();
    shown.void || (was_shown && shown.destructive != destructive)
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
            (
                "new operator, followed",
                Some(plan("a", "s")),
                plan("b", "s"),
                &[(UPGRADE_POLICY, "Follow")],
                Decision::Accept,
            ),
            (
                "new operator, followed, but manual",
                Some(plan("a", "s")),
                plan("b", "s"),
                &[(UPGRADE_POLICY, "Follow"), (APPLY, "Manual")],
                Decision::AwaitApproval,
            ),
            (
                "new operator, another policy",
                Some(plan("a", "s")),
                plan("b", "s"),
                &[(UPGRADE_POLICY, "Never")],
                Decision::UpgradeAvailable,
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

    #[test]
    fn approvals_of_something_else_are_void() {
        let shown = |destructive: &str, void: bool| PlanStatus {
            hash: "b".into(),
            summary: "0 created, 0 changed, 1 deleted".into(),
            destructive: vec![destructive.into()],
            void,
            ..PlanStatus::default()
        };
        let other = PlanStatus {
            hash: "a".into(),
            ..shown("deletes x", false)
        };
        let in_force = PlanStatus {
            hash: "b".into(),
            ..PlanStatus::default()
        };
        for (name, shown, approved, expected) in [
            ("never shown", None, "b", false),
            ("as shown", Some(shown("deletes x", false)), "b", false),
            ("changed", Some(shown("deletes y", false)), "b", true),
            ("not approved", Some(shown("deletes y", false)), "a", false),
            ("void before", Some(shown("deletes x", true)), "b", true),
            ("taken away", Some(shown("deletes x", true)), "", false),
            ("another plan was shown", Some(other), "b", false),
            ("in force", Some(in_force), "b", false),
        ] {
            let annotations = [(APPROVE.to_owned(), approved.to_owned())].into();
            let now = ["deletes x".to_owned()];
            let void = is_void(shown.as_ref(), &plan("b", "t"), &now, &annotations);
            assert_eq!(void, expected, "{name}");
        }
    }
}
