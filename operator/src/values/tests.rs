use super::*;

fn resolved(spec: Value) -> Resolved {
    resolve(&spec, &Context::default()).expect("valid")
}

#[track_caller]
fn refused(spec: Value) -> String {
    let findings = resolve(&spec, &Context::default()).expect_err("invalid");
    findings
        .iter()
        .map(Diagnostic::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn every_built_in_document_parses() {
    for document in [
        &GLOBAL,
        &ISTIOD,
        &INGRESS,
        &EGRESS,
        &CNI,
        &ZTUNNEL,
        &COMPATIBILITY,
        &PLATFORM,
    ] {
        assert!(document.is_object());
    }
}

/// Later sources win over earlier ones; each case sets the same value twice.
#[test]
fn precedence() {
    let cases = [
        (
            "built in",
            json!({}),
            &["global", "tag"][..],
            json!(ironsail_mesh::VERSION),
        ),
        ("spec", json!({"tag": "1"}), &["global", "tag"], json!("1")),
        (
            "number",
            json!({"tag": 1.1}),
            &["global", "tag"],
            json!("1.1"),
        ),
        (
            "values over spec",
            json!({"tag": "1", "values": {"global": {"tag": "2"}}}),
            &["global", "tag"],
            json!("2"),
        ),
        (
            "unvalidated over values",
            json!({"values": {"global": {"tag": "2"}}, "unvalidatedValues": {"global": {"tag": "3"}}}),
            &["global", "tag"],
            json!("3"),
        ),
        (
            "meshConfig of values over that of the spec",
            json!({"meshConfig": {"a": 1, "b": 1}, "values": {"meshConfig": {"b": 2}}}),
            &["meshConfig"],
            json!({"a": 1, "b": 2}),
        ),
    ];
    for (name, spec, path, expected) in cases {
        assert_eq!(get(&resolved(spec).values, path), Some(&expected), "{name}");
    }
}

/// A block without anything in it, such as `components:` on a line of its own, takes nothing away.
#[test]
fn empty_blocks_say_nothing() {
    let plain = resolved(json!({"profile": "demo"}));
    for empty in [
        json!({"components": null}),
        json!({"values": null}),
        json!({"values": {"global": null}}),
        json!({"unvalidatedValues": {"global": null}}),
        json!({"meshConfig": null, "hub": null, "revision": null}),
    ] {
        let mut spec = json!({"profile": "demo"});
        merge(&mut spec, &empty);
        let found = resolved(spec);
        assert_eq!(found.values, plain.values, "{empty}");
        assert_eq!(found.components, plain.components, "{empty}");
    }
}

/// A profile's `pilot.x` beats the user's root `x`, the user's `pilot.x` beats both.
#[test]
fn the_pilot_block_wins_over_the_root() {
    let sampling = |spec: Value| {
        let layers = resolved(spec).istiod_values(&ComponentSpec::default());
        layers.merged["traceSampling"].clone()
    };
    assert_eq!(sampling(json!({})), 1);
    assert_eq!(sampling(json!({"values": {"traceSampling": 5}})), 5);
    assert_eq!(
        sampling(json!({"profile": "demo", "values": {"traceSampling": 5}})),
        100
    );
    let own = json!({"profile": "demo", "values": {"pilot": {"traceSampling": 7}}});
    assert_eq!(sampling(own), 7);
}

#[test]
fn the_profile_file_can_be_chosen_by_values_alone() {
    let spec = resolved(json!({"values": {"profile": "demo"}}));
    assert_eq!(
        spec.istiod_values(&ComponentSpec::default()).merged["autoscaleEnabled"],
        false
    );
    assert!(spec.gateways(GatewayKind::Egress).is_empty());
}

#[test]
fn components_that_are_on() {
    let count = |spec: Value, kind| resolved(spec).gateways(kind).len();
    use GatewayKind::{Egress, Ingress};
    assert_eq!(count(json!({}), Ingress), 1);
    assert_eq!(count(json!({}), Egress), 0);
    assert_eq!(count(json!({"profile": "demo"}), Egress), 1);
    assert_eq!(count(json!({"profile": "minimal"}), Ingress), 0);
    assert_eq!(
        count(json!({"components": {"ingressGateways": []}}), Ingress),
        0
    );
    assert_eq!(
        count(json!({"components": {"ingressGateways": null}}), Ingress),
        0
    );
    let listed = json!({"components": {"ingressGateways": [{"name": "a"}, {"name": "b", "enabled": false}]}});
    assert_eq!(count(listed.clone(), Ingress), 1);
    let mut all = listed;
    set(
        &mut all,
        &["values", "gateways", "istio-ingressgateway", "enabled"],
        json!(true),
    );
    assert_eq!(count(all, Ingress), 2);
    assert!(resolved(json!({"profile": "empty"})).pilot().is_none());
    assert!(!resolved(json!({"profile": "empty"})).base());
    let cni = resolved(json!({"components": {"cni": {}}}));
    assert_eq!(cni.values["pilot"]["cni"]["enabled"], true);
}

#[test]
fn settings_of_the_component_reach_the_values() {
    let spec = resolved(json!({"components": {"pilot": {"tag": 1.5, "k8s": {
        "replicaCount": 2, "hpaSpec": {"minReplicas": 2, "maxReplicas": 7},
    }}}}));
    let merged = spec.istiod_values(&spec.pilot().expect("on")).merged;
    assert_eq!(
        (&merged["tag"], &merged["replicaCount"]),
        (&json!("1.5"), &json!(2))
    );
    assert_eq!(
        (&merged["autoscaleMin"], &merged["autoscaleMax"]),
        (&json!(2), &json!(7))
    );
}

#[test]
fn compatibility_lies_under_the_users_values() {
    let spec = resolved(json!({
        "compatibilityVersion": "1.28",
        "values": {"pilot": {"env": {"DISABLE_TRACK_REMAINING_CB_METRICS": "true"}}},
    }));
    let env = &spec.istiod_values(&ComponentSpec::default()).merged["env"];
    assert_eq!(env["PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS"], "false");
    assert_eq!(env["DISABLE_TRACK_REMAINING_CB_METRICS"], "true");
}

#[test]
fn names_that_are_not_there() {
    assert_eq!(
        refused(json!({"profile": "sds"})),
        "spec.profile: profile \"sds\" is not available in this version, which has default, \
         ambient, demo, empty, minimal, openshift, openshift-ambient, preview, remote, stable"
    );
    assert_eq!(
        refused(json!({"profile": "/etc/profile.yaml"})),
        "spec.profile: \"/etc/profile.yaml\" is a file, which an operator in a cluster can't read"
    );
    assert!(refused(json!({"values": {"profile": "x"}})).starts_with("spec.values.profile: "));
    assert!(
        refused(json!({"compatibilityVersion": "1.2"})).starts_with("spec.compatibilityVersion: ")
    );
    let platform = json!({"values": {"global": {"platform": "mainframe"}}});
    assert!(refused(platform).starts_with("spec.values.global.platform: platform \"mainframe\""));
    assert!(refused(json!({"revision": "A"})).starts_with("spec.revision: "));
    let typed = refused(json!({"components": {"pilot": {"enabled": "yes"}}}));
    assert!(
        typed.starts_with("spec.components.pilot.enabled: invalid type"),
        "{typed}"
    );
}

#[test]
fn values_are_located_where_the_user_wrote_them() {
    let spec = resolved(json!({
        "values": {"pilot": {"autoscaleMin": 1}, "global": {"tag": "1"}},
        "unvalidatedValues": {"pilot": {"pdb": {}}},
        "meshConfig": {"trustDomain": "x"},
    }));
    let roots = ["pilot", ""];
    assert_eq!(
        spec.locate("autoscaleMin", &roots),
        "spec.values.pilot.autoscaleMin"
    );
    assert_eq!(spec.locate("global.tag", &roots), "spec.values.global.tag");
    assert_eq!(
        spec.locate("pdb", &roots),
        "spec.unvalidatedValues.pilot.pdb"
    );
    assert_eq!(
        spec.locate("meshConfig.trustDomain", &roots),
        "spec.meshConfig.trustDomain"
    );
    assert_eq!(
        spec.locate("replicaCount", &roots),
        "spec.values.replicaCount"
    );
}
