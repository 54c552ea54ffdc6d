use ironsail_crds::kind::PEER_AUTHENTICATION;

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    crate::check(&PEER_AUTHENTICATION, spec, expected);
}

#[test]
fn accepts() {
    check("{}", &[]);
    check("mtls: {mode: STRICT}", &[]);
    check("mtls: null", &[]);
    check(
        "{selector: {matchLabels: {app: a}}, portLevelMtls: {8080: {mode: DISABLE}}}",
        &[],
    );
}

#[test]
fn ports_need_a_selector() {
    let message = "error spec.portLevelMtls: needs a selector with labels";
    check("portLevelMtls: {8080: {mode: DISABLE}}", &[message]);
    check(
        "{selector: {}, portLevelMtls: {8080: {mode: DISABLE}}}",
        &[
            "warning spec.selector.matchLabels: an empty selector selects every workload",
            message,
        ],
    );
}

#[test]
fn port_numbers() {
    check(
        "{selector: {matchLabels: {app: a}}, portLevelMtls: {0: {}, 65536: {}, http: {}}}",
        &[
            "error spec.portLevelMtls.0: port 0 must be 1 to 65535",
            "error spec.portLevelMtls.65536: port 65536 must be 1 to 65535",
            "error spec.portLevelMtls.http: \"http\" is no port number",
        ],
    );
    check(
        "{selector: {matchLabels: {app: a}}, portLevelMtls: {}}",
        &["error spec.portLevelMtls: must have at least 1 entries"],
    );
}

#[test]
fn selectors_have_no_wildcards() {
    check(
        "selector: {matchLabels: {\"app*\": a, b: \"*\"}}",
        &[
            "error spec.selector.matchLabels[app*]: wildcards are not supported in selectors",
            "error spec.selector.matchLabels.b: wildcards are not supported in selectors",
        ],
    );
}

#[test]
fn shapes() {
    check(
        "{mtls: {mode: strict}, selector: {matchLabels: {app: 1}}}",
        &[
            "error spec.mtls.mode: \"strict\" must be one of UNSET, DISABLE, PERMISSIVE, STRICT; did you mean STRICT?",
            "error spec.selector.matchLabels.app: must be text, is a number; put it in quotes",
        ],
    );
    check(
        "{mTLS: {mode: STRICT}}",
        &["warning spec.mTLS: unknown field has no effect; did you mean mtls?"],
    );
}
