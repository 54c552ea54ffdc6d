use ironsail_crds::kind::AUTHORIZATION_POLICY;
use serde_json::json;

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    crate::check(&AUTHORIZATION_POLICY, spec, expected);
}

/// One rule of an ALLOW policy; paths are relative to it.
#[track_caller]
fn rule(rule: &str, expected: &[&str]) {
    let spec = format!("rules: [{rule}]");
    crate::check_below(&AUTHORIZATION_POLICY, &spec, "spec.rules[0]", expected);
}

#[test]
fn accepts() {
    // Nothing is allowed; everything is allowed.
    check("{}", &[]);
    check("rules: [{}]", &[]);
    check("{action: DENY, rules: [{}]}", &[]);
    check("{action: AUDIT, rules: [{}]}", &[]);
    check(
        r#"
        selector: {matchLabels: {app: a}}
        action: ALLOW
        rules:
        - from:
          - source: {principals: ["cluster.local/ns/a/sa/*"], notNamespaces: [b], ipBlocks: [10.0.0.0/8, "::1"]}
          - source: {serviceAccounts: [shop/a, b], notTrustDomains: ["*.example.com"]}
          to:
          - operation: {hosts: ["*.example.com"], methods: [GET], paths: ["/a*", "/b/{*}/c/{**}", "/"], notPorts: ["80"]}
          when:
          - {key: "request.headers[x-a]", values: [b]}
          - {key: source.ip, notValues: [10.1.0.0/16]}
          - {key: "request.auth.claims[a][b]", values: [c]}
          - {key: destination.port, values: ["80"]}
          - {key: source.serviceAccount, values: [a/b]}
          - {key: "experimental.envoy.filters.a.b[c]", values: [d]}
        "#,
        &[],
    );
    check(
        "{action: CUSTOM, provider: {name: a}, rules: [{to: [{operation: {paths: [/a]}}]}]}",
        &[],
    );
    check("targetRefs: [{kind: Service, name: a}]", &[]);
}

#[test]
fn actions_and_providers() {
    check(
        "action: DENY",
        &[
            "error spec.rules: DENY without rules never matches; an empty rule {} matches every request",
        ],
    );
    check(
        "action: CUSTOM",
        &[
            "error spec.provider: is required for action CUSTOM",
            "error spec.rules: CUSTOM without rules never matches; an empty rule {} matches every request",
        ],
    );
    check(
        "{action: CUSTOM, provider: {}, rules: [{}]}",
        &["error spec.provider.name: must not be empty"],
    );
    check(
        "{provider: {name: a}}",
        &["error spec.provider: can be set for action CUSTOM only"],
    );
    check(
        "action: FORBID",
        &["error spec.action: \"FORBID\" must be one of ALLOW, DENY, AUDIT, CUSTOM"],
    );
}

#[test]
fn members_are_not_empty() {
    rule(
        "{from: [], to: []}",
        &[
            "error from: must not be an empty list; leave it out to match everything",
            "error to: must not be an empty list; leave it out to match everything",
        ],
    );
    rule(
        "{from: [{}, {source: {}}], to: [{}, {operation: {}}]}",
        &[
            "error from[0].source: is required",
            "error from[1].source: must have at least one field",
            "error to[0].operation: is required",
            "error to[1].operation: must have at least one field",
        ],
    );
    rule("{from: [null]}", &["error from[0]: must not be null"]);
}

#[test]
fn sources() {
    rule(
        "{from: [{source: {principals: [\"\"], ipBlocks: [a, 10.0.0.0/40], remoteIpBlocks: [\"\"]}}]}",
        &[
            "error from[0].source.principals[0]: must not be empty",
            "error from[0].source.ipBlocks[0]: \"a\" is no IP address or range such as 10.0.0.0/8",
            "error from[0].source.ipBlocks[1]: \"10.0.0.0/40\" must have a prefix length of 0 to 32",
            "error from[0].source.remoteIpBlocks[0]: \"\" is no IP address or range such as 10.0.0.0/8",
        ],
    );
    rule(
        "{from: [{source: {serviceAccounts: [\"a/*\", a/b/c, \"/b\"], namespaces: [c]}}]}",
        &[
            "error from[0].source.serviceAccounts[0]: \"a/*\" must be a service account or namespace/account, without wildcards",
            "error from[0].source.serviceAccounts[1]: \"a/b/c\" must be a service account or namespace/account, without wildcards",
            "error from[0].source.serviceAccounts[2]: \"/b\" must be a service account or namespace/account, without wildcards",
            "error from[0].source: service accounts can't be given together with principals or namespaces",
        ],
    );
}

#[test]
fn operations() {
    rule(
        "{to: [{operation: {hosts: [\"\"], ports: [a, \"65536\"], methods: [\"\"]}}]}",
        &[
            "error to[0].operation.hosts[0]: must not be empty",
            "error to[0].operation.ports[0]: \"a\" is no port number",
            "error to[0].operation.ports[1]: \"65536\" is no port number",
            "error to[0].operation.methods[0]: must not be empty",
        ],
    );
    rule(
        "{to: [{operation: {paths: [\"/{**}/a/{*}\", \"/a{*}\", \"/{a}\", \"/{*}/a*\"]}}]}",
        &[
            "error to[0].operation.paths[0]: \"/{**}/a/{*}\": {**} must be the last segment",
            "error to[0].operation.paths[1]: \"/a{*}\": braces are allowed as whole segments {*} and {**} only",
            "error to[0].operation.paths[2]: \"/{a}\": braces are allowed as whole segments {*} and {**} only",
            "error to[0].operation.paths[3]: \"/{*}/a*\": \"a*\" can't stand in a path with {*} or {**}",
        ],
    );
    rule(
        "{to: [{operation: {ports: [80]}}]}",
        &["error to[0].operation.ports[0]: must be text, is a number; put it in quotes"],
    );
}

#[test]
fn conditions() {
    rule(
        "{when: [{}, {key: \"\", values: [a]}, {key: source.principal}, {key: source.port, values: [a]}]}",
        &[
            "error when[0].key: is required",
            "error when[1].key: must not be empty",
            "error when[2]: must have values or notValues",
            "error when[3].key: \"source.port\" is no known attribute",
        ],
    );
    rule(
        "{when: [{key: request.headers, values: [a]}, {key: source.ip, values: [a]}, {key: destination.port, notValues: [a]}, {key: \"request.headers[]\", values: [a]}]}",
        &[
            "error when[0].key: \"request.headers\" must have the form name[key]",
            "error when[1].values[0]: \"a\" is no IP address or range such as 10.0.0.0/8",
            "error when[2].notValues[0]: \"a\" is no port number",
            "error when[3].key: \"request.headers[]\" must have the form name[key]",
        ],
    );
    rule(
        "{when: [{key: destination.namespace, values: [a]}, {key: destination.user, values: [a]}, {key: \"destination.labels[a]\", values: [b]}]}",
        &[
            "error when[0].key: \"destination.namespace\": a policy is for its own namespace",
            "error when[1].key: \"destination.user\": use the selector of the policy",
            "error when[2].key: \"destination.labels[a]\": use the selector of the policy",
        ],
    );
}

#[test]
fn custom_knows_no_identities() {
    check(
        "{action: CUSTOM, provider: {name: a}, rules: [{from: [{source: {principals: [b], ipBlocks: [10.0.0.1]}}], when: [{key: source.namespace, values: [c]}, {key: \"request.auth.claims[a]\", values: [d]}]}]}",
        &[
            "error spec.rules[0].from[0].source.principals: is not supported with action CUSTOM",
            "error spec.rules[0].when[0].key: source.namespace is not supported with action CUSTOM",
            "error spec.rules[0].when[1].key: request.auth.claims[a] is not supported with action CUSTOM",
        ],
    );
}

#[test]
fn deny_rules_on_tcp() {
    let message = "warning spec.rules[0]: has only HTTP conditions: on TCP ports it denies everything; name ports to limit it";
    let deny = |rule: &str, expected: &[&str]| {
        check(&format!("{{action: DENY, rules: [{rule}]}}"), expected);
    };
    deny("{to: [{operation: {methods: [GET]}}]}", &[message]);
    deny("{from: [{source: {requestPrincipals: [a]}}]}", &[message]);
    deny(
        "{from: [{source: {namespaces: [a]}}], to: [{operation: {paths: [/a]}}]}",
        &[message],
    );
    deny(
        "{to: [{operation: {methods: [GET], ports: [\"80\"]}}]}",
        &[],
    );
    deny("{from: [{source: {namespaces: [a]}}]}", &[]);
}

#[test]
fn targets() {
    check(
        "{selector: {matchLabels: {app: a}}, targetRef: {kind: Gateway, group: gateway.networking.k8s.io, name: b}}",
        &[
            "error spec: only one of selector, targetRef can be set",
            "warning spec.targetRef: is deprecated, use targetRefs",
        ],
    );
    check(
        "targetRefs: [{kind: Gateway, name: b}]",
        &[
            "error spec.targetRefs[0]: Gateway of group \"\" can't be referred to, only Service, ServiceEntry of networking.istio.io, Gateway and GatewayClass of gateway.networking.k8s.io",
        ],
    );
}

#[test]
fn dry_run() {
    let found = |action: &str, value: &str| -> Vec<String> {
        let spec = format!("{{action: {action}, rules: [{{}}], provider: {{name: a}}}}");
        let mut object = crate::object(&AUTHORIZATION_POLICY, &spec);
        if action != "CUSTOM" {
            object["spec"]["provider"] = json!(null);
        }
        object["metadata"]["annotations"] = json!({"istio.io/dry-run": value});
        let found = AUTHORIZATION_POLICY.validate(&object);
        found.iter().map(ToString::to_string).collect()
    };
    assert!(found("ALLOW", "true").is_empty());
    assert!(found("DENY", "false").is_empty());
    assert_eq!(
        found("DENY", "yes"),
        ["metadata.annotations[istio.io/dry-run]: \"yes\" must be true or false"]
    );
    for action in ["CUSTOM", "AUDIT"] {
        assert_eq!(
            found(action, "true"),
            [
                "metadata.annotations[istio.io/dry-run]: is supported for actions ALLOW and DENY only"
            ]
        );
    }
}
