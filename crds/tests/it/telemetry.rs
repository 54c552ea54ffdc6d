use ironsail_crds::kind::TELEMETRY;

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    crate::check(&TELEMETRY, spec, expected);
}

#[test]
fn accepts() {
    check("{}", &[]);
    check(
        r#"
        selector: {matchLabels: {app: a}}
        tracing:
        - match: {mode: SERVER}
          providers: [{name: zipkin}]
          randomSamplingPercentage: 0.5
          disableSpanReporting: false
          customTags:
            a: {literal: {value: b}}
            c: {environment: {name: D, defaultValue: e}}
            f: {header: {name: x-f}}
            g: {formatter: {value: "%REQ(x)%"}}
        metrics:
        - providers: [{name: prometheus}]
          reportingInterval: 5s
          overrides:
          - {match: {metric: REQUEST_COUNT, mode: CLIENT}, tagOverrides: {a: {value: "request.host"}, b: {operation: REMOVE}}}
          - {match: {customMetric: own}, disabled: true}
        accessLogging:
        - {providers: [{name: envoy}], filter: {expression: "response.code >= 400"}}
        - {disabled: true}
        "#,
        &[],
    );
}

#[test]
fn tracing() {
    check(
        "tracing: [{randomSamplingPercentage: 101}, {}]",
        &[
            "error spec.tracing[0].randomSamplingPercentage: 101 is more than 100",
            "warning spec.tracing: only one entry has an effect",
        ],
    );
    check(
        "tracing: [{providers: [{name: a}, {name: \"\"}, {}], customTags: {a: {}, b: {literal: {value: \"\"}}, c: {header: {}}, d: {literal: {value: a}, header: {name: b}}}}]",
        &[
            "error spec.tracing[0].providers[1].name: must not be empty",
            "error spec.tracing[0].providers[2].name: is required",
            "error spec.tracing[0].customTags.b.literal.value: must not be empty",
            "error spec.tracing[0].customTags.c.header.name: is required",
            "error spec.tracing[0].customTags.d: only one of literal, header can be set",
            "warning spec.tracing[0].providers: only one provider has an effect",
            "error spec.tracing[0].customTags.a: must have literal, environment, header or formatter",
        ],
    );
}

#[test]
fn metrics() {
    check(
        "metrics: [{reportingInterval: 1us, overrides: [{match: {metric: REQUESTS}, tagOverrides: {a: {}, b: {operation: REMOVE, value: c}, d: {value: \"e ==\"}}}, {match: {metric: REQUEST_SIZE, customMetric: f}}]}]",
        &[
            "error spec.metrics[0].overrides[0].match.metric: \"REQUESTS\" must be one of ALL_METRICS, REQUEST_COUNT, REQUEST_DURATION, REQUEST_SIZE, RESPONSE_SIZE, TCP_OPENED_CONNECTIONS, TCP_CLOSED_CONNECTIONS, TCP_SENT_BYTES, TCP_RECEIVED_BYTES, GRPC_REQUEST_MESSAGES, GRPC_RESPONSE_MESSAGES",
            "error spec.metrics[0].overrides[1].match: only one of metric, customMetric can be set",
            "error spec.metrics[0].overrides[0].tagOverrides.a.value: is required for UPSERT",
            "error spec.metrics[0].overrides[0].tagOverrides.b.value: can't be set for REMOVE",
            "error spec.metrics[0].overrides[0].tagOverrides.d.value: is no CEL expression: a value expected, found the end",
            "error spec.metrics[0].reportingInterval: must be at least 1ms",
        ],
    );
}

#[test]
fn access_logs() {
    check(
        "accessLogging: [{filter: {}}, {filter: {expression: \"response.code = 4\"}}]",
        &[
            "error spec.accessLogging[0].filter.expression: must not be empty",
            "error spec.accessLogging[1].filter.expression: is no CEL expression: unexpected '=' at character 15",
        ],
    );
}

#[test]
fn targets() {
    check(
        "{selector: {matchLabels: {}}, targetRefs: [{kind: Service, name: a}]}",
        &[
            "error spec: only one of selector, targetRefs can be set",
            "warning spec.selector.matchLabels: an empty selector selects every workload",
        ],
    );
}
