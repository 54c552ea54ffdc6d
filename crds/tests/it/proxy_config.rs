use ironsail_crds::kind::PROXY_CONFIG;
use serde_json::json;

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    crate::check(&PROXY_CONFIG, spec, expected);
}

#[test]
fn accepts() {
    check("{}", &[]);
    check(
        "{selector: {matchLabels: {app: a}}, concurrency: 0, environmentVariables: {A: b}, image: {imageType: distroless}}",
        &[],
    );
    check("concurrency: null", &[]);
}

#[test]
fn refuses() {
    check(
        "{selector: {matchLabels: {app: \"*\"}}, concurrency: -1, environmentVariables: {\"A=B\": c, D: 5}}",
        &[
            "error spec.concurrency: -1 is less than 0",
            "error spec.environmentVariables.D: must be text, is a number; put it in quotes",
        ],
    );
    check(
        "{selector: {matchLabels: {app: \"*\"}}, environmentVariables: {\"A=B\": c}}",
        &[
            "error spec.selector.matchLabels.app: wildcards are not supported in selectors",
            "error spec.environmentVariables[A=B]: \"A=B\" is no name of an environment variable",
        ],
    );
}

/// The annotation promises that nothing is enforced, which only one kind can keep.
#[test]
fn dry_run_is_for_policies() {
    let mut object = crate::object(&PROXY_CONFIG, "{}");
    object["metadata"]["annotations"] = json!({"istio.io/dry-run": "true"});
    let found: Vec<String> = PROXY_CONFIG
        .validate(&object)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        ["metadata.annotations[istio.io/dry-run]: is supported by AuthorizationPolicy only"]
    );
}
