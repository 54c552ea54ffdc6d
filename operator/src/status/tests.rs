use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("in range")
}

fn observed(components: Vec<ComponentState>) -> Observed {
    Observed {
        generation: Some(3),
        version: "1".into(),
        decision: Some((Decision::Same, "abc".into())),
        components,
        ..Observed::default()
    }
}

fn base() -> ComponentState {
    ComponentState::healthy(Component::Base)
}

fn waiting() -> ComponentState {
    ComponentState {
        waiting: Some("0 of 1 pods".into()),
        ..ComponentState::healthy(Component::Pilot)
    }
}

fn held() -> ComponentState {
    ComponentState {
        held: true,
        ..ComponentState::healthy(Component::IngressGateways)
    }
}

fn failing() -> ComponentState {
    ComponentState {
        errors: vec!["Service a/b: forbidden".into()],
        ..ComponentState::healthy(Component::Pilot)
    }
}

/// Status, and the conditions as `Type=Status(Reason)`.
fn summary(status: &IstioOperatorStatus) -> String {
    let conditions = status
        .conditions
        .iter()
        .map(|c| format!("{}={}({})", c.type_, c.status, c.reason));
    let conditions: Vec<String> = conditions.collect();
    format!(
        "{} {} [{}]",
        status.status,
        conditions.join(" "),
        status.message
    )
}

#[track_caller]
fn check(name: &str, observed: &Observed, expected: &str) {
    assert_eq!(summary(&derive(None, observed, at(0))), expected, "{name}");
}

#[test]
fn states() {
    check(
        "healthy",
        &observed(vec![base()]),
        "HEALTHY Ready=True(Healthy) Reconciling=False(Done) Stalled=False(Working) \
         Valid=True(Valid) Applied=True(AsPlanned) Conflict=False(NoConflict) UpgradeAvailable=False(UpToDate) []",
    );
    check(
        "waiting",
        &observed(vec![base(), waiting(), held()]),
        "RECONCILING Ready=False(Reconciling) Reconciling=True(Progressing) Stalled=False(Working) \
         Valid=True(Valid) Applied=False(Waiting) Conflict=False(NoConflict) UpgradeAvailable=False(UpToDate) \
         [Pilot: 0 of 1 pods]",
    );
    let upgrading = Observed {
        upgrading: true,
        ..observed(vec![waiting()])
    };
    check(
        "upgrading",
        &upgrading,
        "UPDATING Ready=False(Updating) Reconciling=True(Progressing) Stalled=False(Working) \
         Valid=True(Valid) Applied=True(AsPlanned) Conflict=False(NoConflict) UpgradeAvailable=False(UpToDate) \
         [Pilot: 0 of 1 pods]",
    );
    check(
        "an error is worse than waiting",
        &observed(vec![failing(), held()]),
        "ERROR Ready=False(Error) Reconciling=True(Retrying) Stalled=False(Working) \
         Valid=True(Valid) Applied=False(ApplyFailed) Conflict=False(NoConflict) UpgradeAvailable=False(UpToDate) \
         [Pilot: Service a/b: forbidden]",
    );
    let invalid = Observed {
        findings: vec![Diagnostic::error("spec.profile", "no such profile")],
        decision: None,
        ..observed(vec![base()])
    };
    check(
        "an invalid spec waits for a change",
        &invalid,
        "ERROR Ready=False(InvalidSpec) Reconciling=False(InvalidSpec) Stalled=True(InvalidSpec) \
         Valid=False(InvalidSpec) Applied=True(AsPlanned) Conflict=False(NoConflict) UpgradeAvailable=False(UpToDate) \
         [spec.profile: no such profile]",
    );
    let approval = Observed {
        decision: Some((Decision::AwaitApproval, "abc".into())),
        ..observed(vec![base()])
    };
    check(
        "approval",
        &approval,
        "ACTION_REQUIRED Ready=False(ApprovalRequired) Reconciling=False(ApprovalRequired) \
         Stalled=True(ApprovalRequired) Valid=True(Valid) Applied=True(AsPlanned) Conflict=False(NoConflict) \
         UpgradeAvailable=False(UpToDate) [plan abc waits for the annotation \
         operator.ironsail.dev/approve=abc]",
    );
    let upgrade = Observed {
        decision: Some((Decision::UpgradeAvailable, "abc".into())),
        findings: vec![Diagnostic::warning("spec.x", "no effect")],
        contested: vec!["Service a/b is changed by x".into()],
        ..observed(vec![base()])
    };
    check(
        "warnings, conflicts and upgrades leave a mesh healthy",
        &upgrade,
        "HEALTHY Ready=True(Healthy) Reconciling=False(Done) Stalled=False(Working) \
         Valid=True(Warnings) Applied=False(OwnershipConflict) Conflict=True(OwnershipConflict) UpgradeAvailable=True(NewRendering) []",
    );
}

#[test]
fn components_have_their_own_status() {
    let status = derive(None, &observed(vec![base(), failing(), held()]), at(0));
    let states: Vec<(&str, &str)> = status
        .component_status
        .iter()
        .map(|(name, c)| (name.as_str(), c.status.as_str()))
        .collect();
    assert_eq!(
        states,
        [
            ("Base", "HEALTHY"),
            ("IngressGateways", "RECONCILING"),
            ("Pilot", "ERROR")
        ]
    );
    assert_eq!(
        status.component_status["Pilot"].error,
        "Service a/b: forbidden"
    );
    assert_eq!(status.observed_generation, Some(3));
}

#[test]
fn times_change_only_with_the_status() {
    let first = derive(None, &observed(vec![waiting()]), at(1));
    let same = derive(Some(&first), &observed(vec![waiting()]), at(2));
    assert_eq!(first, same);
    let later = derive(Some(&first), &observed(vec![base()]), at(3));
    let time = |status: &IstioOperatorStatus, name: &str| {
        let condition = status
            .conditions
            .iter()
            .find(|c| c.type_ == name)
            .expect("there");
        condition.last_transition_time.0.as_second()
    };
    assert_eq!((time(&later, "Ready"), time(&later, "Valid")), (3, 1));
}

#[test]
fn messages_are_bounded() {
    let long = Observed {
        failure: Some("é".repeat(10_000)),
        ..observed(Vec::new())
    };
    let message = derive(None, &long, at(0)).message;
    assert_eq!(message.chars().count(), MAX_MESSAGE + 2);
}
