use ironsail_crds::kind::ENVOY_FILTER;

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    crate::check(&ENVOY_FILTER, spec, expected);
}

/// One patch; paths are relative to it.
#[track_caller]
fn patch(patch: &str, expected: &[&str]) {
    let spec = format!("configPatches: [{patch}]");
    crate::check_below(&ENVOY_FILTER, &spec, "spec.configPatches[0]", expected);
}

#[test]
fn accepts() {
    check("{}", &[]);
    check(
        r#"
        workloadSelector: {labels: {app: a}}
        priority: -5
        configPatches:
        - applyTo: HTTP_FILTER
          match:
            context: SIDECAR_INBOUND
            proxy: {proxyVersion: '^1\.2.*', metadata: {a: b}}
            listener: {portNumber: 80, filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}
          patch: {operation: INSERT_BEFORE, value: {name: a, typed_config: {"@type": type.example.com/a}}}
        - applyTo: CLUSTER
          match: {cluster: {service: a.example.com}}
          patch: {operation: REMOVE}
        - applyTo: BOOTSTRAP
          patch: {operation: MERGE_AND_REPLACE_LIST, value: {}}
        - applyTo: HTTP_FILTER
          match: {context: WAYPOINT, waypoint: {portNumber: 80}}
          patch: {operation: INSERT_FIRST, value: {name: a, config_discovery: {}}}
        "#,
        &[],
    );
    check(
        "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]",
        &[],
    );
}

#[test]
fn patches_are_complete() {
    patch(
        "{}",
        &["error applyTo: is required", "error patch: is required"],
    );
    patch(
        "{applyTo: CLUSTER, patch: {}}",
        &["error patch.operation: is required"],
    );
    patch(
        "{applyTo: CLUSTER, patch: {operation: ADD}}",
        &["error patch.value: is required unless REMOVE"],
    );
    patch(
        "{applyTo: CLUSTERS, patch: {operation: REMOVE}}",
        &[
            "error applyTo: \"CLUSTERS\" must be one of INVALID, LISTENER, FILTER_CHAIN, NETWORK_FILTER, HTTP_FILTER, ROUTE_CONFIGURATION, VIRTUAL_HOST, HTTP_ROUTE, CLUSTER, EXTENSION_CONFIG, BOOTSTRAP, LISTENER_FILTER; did you mean CLUSTER?",
        ],
    );
}

#[test]
fn places_are_named() {
    patch(
        "{applyTo: HTTP_FILTER, patch: {operation: INSERT_BEFORE, value: {typed_config: {\"@type\": a}}}}",
        &[
            "warning patch.operation: INSERT_BEFORE without a filter or route to stand beside: the place depends on what else is there",
        ],
    );
    patch(
        "{applyTo: CLUSTER, patch: {operation: MERGE, value: {}}}",
        &[
            "warning patch.operation: MERGE relies on what the control plane generates, which may change with its version; match.proxy.proxyVersion limits it",
        ],
    );
}

#[test]
fn values() {
    patch(
        "{applyTo: HTTP_FILTER, patch: {operation: ADD, value: {name: a}}}",
        &[
            "warning patch.value: a filter without typed_config is found by its name only, which newer proxies don't do",
        ],
    );
    patch(
        "{applyTo: HTTP_FILTER, patch: {operation: ADD, value: {typedConfig: {a: b}}}}",
        &["error patch.value.typed_config: must have @type"],
    );
    patch(
        "{applyTo: HTTP_FILTER, patch: {operation: ADD, value: {typed_config: a}}}",
        &["error patch.value.typed_config: must be an object"],
    );
    patch(
        "{applyTo: HTTP_FILTER, patch: {operation: ADD, value: [a]}}",
        &["error patch.value: must be an object, is a list"],
    );
}

#[test]
fn matches_fit() {
    patch(
        "{applyTo: CLUSTER, match: {listener: {}}, patch: {operation: REMOVE}}",
        &["error match.listener: does not fit applyTo CLUSTER, which is matched by cluster"],
    );
    patch(
        "{applyTo: HTTP_ROUTE, match: {cluster: {}, listener: {}}, patch: {operation: REMOVE}}",
        &[
            "error match: only one of listener, cluster can be set",
            "error match.listener: does not fit applyTo HTTP_ROUTE, which is matched by routeConfiguration",
            "error match.cluster: does not fit applyTo HTTP_ROUTE, which is matched by routeConfiguration",
        ],
    );
    patch(
        "{applyTo: LISTENER, match: {routeConfiguration: {}, proxy: {proxyVersion: \"(\"}}, patch: {operation: REMOVE}}",
        &[
            "error match.proxy.proxyVersion: \"(\" is no valid regular expression: unclosed group",
            "error match.routeConfiguration: does not fit applyTo LISTENER, which is matched by listener",
        ],
    );
    patch(
        "{applyTo: HTTP_FILTER, match: {context: WAYPOINT}, patch: {operation: REMOVE}}",
        &["error match: waypoint and context WAYPOINT need each other"],
    );
    patch(
        "{applyTo: HTTP_FILTER, match: {waypoint: {portNumber: 0}}, patch: {operation: REMOVE}}",
        &[
            "error match: waypoint and context WAYPOINT need each other",
            "error match.waypoint.portNumber: port 0 must be 1 to 65535",
        ],
    );
}

#[test]
fn filters_fit() {
    let listener = |apply_to: &str, filter: &str, expected: &[&str]| {
        let text = format!(
            "{{applyTo: {apply_to}, match: {{listener: {{filterChain: {{filter: {filter}}}}}}}, patch: {{operation: REMOVE}}}}"
        );
        patch(&text, expected);
    };
    listener(
        "LISTENER",
        "{}",
        &[
            "error match.listener.filterChain.filter: has no effect with applyTo LISTENER",
            "error match.listener.filterChain.filter.name: is required",
        ],
    );
    listener(
        "NETWORK_FILTER",
        "{name: a, subFilter: {}}",
        &[
            "error match.listener.filterChain.filter.subFilter: can be set with applyTo HTTP_FILTER only",
            "error match.listener.filterChain.filter.subFilter: needs the filter envoy.filters.network.http_connection_manager",
            "error match.listener.filterChain.filter.subFilter.name: is required",
        ],
    );
}

#[test]
fn targets() {
    check(
        "{workloadSelector: {labels: {app: a}}, targetRefs: [{kind: Pod, name: a, namespace: b}, {name: \"\"}]}",
        &[
            "error spec.targetRefs[1].name: must not be empty",
            "error spec.targetRefs[1].kind: is required",
            "error spec: only one of workloadSelector, targetRefs can be set",
            "error spec.targetRefs[0].namespace: must be empty: other namespaces can't be referred to",
            "error spec.targetRefs[0]: Pod of group \"\" can't be referred to, only Service, ServiceEntry of networking.istio.io, Gateway and GatewayClass of gateway.networking.k8s.io",
        ],
    );
}
