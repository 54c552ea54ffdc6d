use ironsail_crds::kind::DESTINATION_RULE;

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    crate::check(&DESTINATION_RULE, spec, expected);
}

/// A traffic policy; paths are relative to it.
#[track_caller]
fn policy(policy: &str, expected: &[&str]) {
    let spec = format!("host: reviews\ntrafficPolicy: {policy}");
    crate::check_below(&DESTINATION_RULE, &spec, "spec.trafficPolicy", expected);
}

#[test]
fn accepts() {
    check("host: reviews", &[]);
    check("host: \"*.example.com\"", &[]);
    check(
        r#"
        host: reviews.shop.svc.cluster.local
        exportTo: ["."]
        workloadSelector: {matchLabels: {app: a}}
        trafficPolicy:
          tls: {mode: ISTIO_MUTUAL}
          loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s}}
          connectionPool: {tcp: {maxConnections: 1, idleTimeout: 0s}, http: {http2KeepAlive: {interval: 1s}}}
          outlierDetection: {consecutive5xxErrors: 0, interval: 1s, maxEjectionPercent: 100}
          retryBudget: {percent: 20, minRetryConcurrency: 3}
          portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]
        subsets:
        - {name: v1, labels: {version: v1}}
        - {name: v2, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: a, ttl: 0s}}}}}
        "#,
        &[],
    );
    policy(
        "{loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}}}",
        &[],
    );
    policy("{tls: {mode: SIMPLE, credentialName: a}}", &[]);
    policy(
        "{tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k}}",
        &[],
    );
    policy(
        "{tunnel: {protocol: POST, targetHost: 10.0.0.1, targetPort: 1}}",
        &[],
    );
    policy(
        "{loadBalancer: {localityLbSetting: {distribute: [{from: \"a/*\", to: {\"a/b\": 80, \"c/*\": 20}}]}}}",
        &[],
    );
}

#[test]
fn host_and_subsets() {
    check("{}", &["error spec.host: is required"]);
    check(
        "host: a_b",
        &["error spec.host: host \"a_b\" is no DNS name: \"a_b\" is no label of one"],
    );
    check(
        "{host: a, subsets: [{name: v1}, {name: v1}, {labels: {a: b}}, {name: \"v.2\"}]}",
        &[
            "error spec.subsets[2].name: is required",
            "error spec.subsets[1].name: subset \"v1\" is already at spec.subsets[0]",
            "error spec.subsets[3].name: \"v.2\" must be a DNS label: at most 63 of a-z, 0-9 and - with a letter or digit at both ends",
        ],
    );
}

#[test]
fn export_to() {
    check(
        "{host: a, exportTo: [\".\", \".\", \"*\", \"~\", A]}",
        &[
            "error spec.exportTo[1]: \".\" is given twice",
            "error spec.exportTo[3]: ~ is supported by ServiceEntry only",
            "error spec.exportTo[4]: \"A\" must be a DNS label: at most 63 of a-z, 0-9 and - with a letter or digit at both ends",
            "error spec.exportTo: * and other entries can't be given together",
        ],
    );
    let selector = "workloadSelector: {matchLabels: {app: a}}";
    check(
        &format!("{{host: a, {selector}, exportTo: [\".\", shop]}}"),
        &[],
    );
    check(
        &format!("{{host: a, {selector}, exportTo: [other]}}"),
        &["error spec.exportTo: with a workloadSelector only . can be given"],
    );
}

#[test]
fn policies_have_fields() {
    policy("{}", &["error : must have at least one field"]);
    policy(
        "{connectionPool: {}}",
        &["error connectionPool: must have tcp or http"],
    );
    policy(
        "{proxyProtocol: {version: V2}, tunnel: {targetHost: a, targetPort: 1}}",
        &["error : only one of tunnel, proxyProtocol can be set"],
    );
    policy(
        "{portLevelSettings: [{tls: {}}, {port: {number: 80}}, {port: {number: 80}, tls: {}}]}",
        &[
            "error portLevelSettings[0].port: is required",
            "error portLevelSettings[1]: must have a policy beside the port",
            "error portLevelSettings[2]: has the same port as spec.trafficPolicy.portLevelSettings[1]",
        ],
    );
}

#[test]
fn load_balancers() {
    policy(
        "{loadBalancer: {simple: LEAST_CONN}}",
        &["warning loadBalancer.simple: LEAST_CONN is deprecated, use LEAST_REQUEST"],
    );
    policy(
        "{loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}",
        &["error loadBalancer: only one of simple, consistentHash can be set"],
    );
    policy(
        "{loadBalancer: {consistentHash: {}}}",
        &[
            "error loadBalancer.consistentHash: must have httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName",
        ],
    );
    policy(
        "{loadBalancer: {consistentHash: {httpHeaderName: \"\", useSourceIp: true, ringHash: {}, maglev: {}}}}",
        &[
            "error loadBalancer.consistentHash: only one of httpHeaderName, useSourceIp can be set",
            "error loadBalancer.consistentHash: only one of ringHash, maglev can be set",
            "error loadBalancer.consistentHash.httpHeaderName: must not be empty",
        ],
    );
    for size in ["4", "5000012", "5000077"] {
        policy(
            &format!(
                "{{loadBalancer: {{consistentHash: {{useSourceIp: true, maglev: {{tableSize: {size}}}}}}}}}"
            ),
            &[&format!(
                "error loadBalancer.consistentHash.maglev.tableSize: {size} must be a prime number up to 5000011"
            )],
        );
    }
    policy(
        "{loadBalancer: {consistentHash: {minimumRingSize: 7, httpCookie: {name: a, ttl: x}}}}",
        &[
            "error loadBalancer.consistentHash.httpCookie.ttl: \"x\" is not a duration such as 1.5s, 300ms or 1h30m",
            "warning loadBalancer.consistentHash.minimumRingSize: is deprecated, use ringHash",
        ],
    );
}

#[test]
fn warmup() {
    policy(
        "{loadBalancer: {warmup: {}}}",
        &["error loadBalancer.warmup.duration: is required"],
    );
    policy(
        "{loadBalancer: {simple: RANDOM, warmup: {duration: 1s, aggression: 0.5, minimumPercent: 101}}}",
        &[
            "error loadBalancer.warmup.minimumPercent: 101 is more than 100",
            "error loadBalancer.warmup.aggression: must be at least 1",
            "warning loadBalancer.warmup: works with ROUND_ROBIN and LEAST_REQUEST only",
        ],
    );
    policy(
        "{loadBalancer: {warmupDurationSecs: 1s, warmup: {duration: 1s}}}",
        &[
            "warning loadBalancer.warmupDurationSecs: is deprecated, use warmup",
            "error loadBalancer: only one of warmup, warmupDurationSecs can be set",
        ],
    );
}

#[test]
fn localities() {
    policy(
        "{loadBalancer: {localityLbSetting: {}, zoneAwareLbSetting: {}}}",
        &["error loadBalancer: only one of localityLbSetting, zoneAwareLbSetting can be set"],
    );
    policy(
        "{outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [a], distribute: [{from: a, to: {b: 100}}]}}}",
        &[
            "error loadBalancer.localityLbSetting: only one of distribute, failover, failoverPriority can be set",
        ],
    );
    policy(
        "{loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}, {from: a/b, to: \"*\"}]}}}",
        &[
            "warning loadBalancer.localityLbSetting: failover works with outlierDetection only",
            "error loadBalancer.localityLbSetting.failover[0]: from and to are both \"a\"",
            "error loadBalancer.localityLbSetting.failover[1].from: \"a/b\" must be a region alone",
            "error loadBalancer.localityLbSetting.failover[1].to: \"*\" must be a region alone",
        ],
    );
    policy(
        "{loadBalancer: {localityLbSetting: {distribute: [{from: \"*/b\", to: {a: 0, b: 99}}, {from: \"*/b\", to: {a: 100}}]}}}",
        &[
            "error loadBalancer.localityLbSetting.distribute[0].from: \"*/b\" must be region/zone/sub-zone, with * at the end only",
            "error loadBalancer.localityLbSetting.distribute[0].to.a: weight 0 must be 1 to 100",
            "error loadBalancer.localityLbSetting.distribute[0].to: weights must sum to 100, not 99",
            "error loadBalancer.localityLbSetting.distribute[1].from: \"*/b\" must be region/zone/sub-zone, with * at the end only",
            "error loadBalancer.localityLbSetting.distribute[1].from: \"*/b\" is given twice",
        ],
    );
}

#[test]
fn pools_and_outliers() {
    policy(
        "{connectionPool: {tcp: {maxConnections: -1, connectTimeout: 0s, tcpKeepalive: {time: 1us}}, http: {maxRetries: -1, h2UpgradePolicy: UPGRADE, useClientProtocol: true}}}",
        &[
            "error connectionPool.tcp.maxConnections: must not be negative",
            "error connectionPool.tcp.connectTimeout: must be at least 1ms",
            "error connectionPool.tcp.tcpKeepalive.time: must be at least 1ms",
            "error connectionPool.http.maxRetries: must not be negative",
            "error connectionPool.http.useClientProtocol: can't be set with h2UpgradePolicy UPGRADE",
        ],
    );
    policy(
        "{outlierDetection: {consecutiveErrors: 1, consecutiveLocalOriginFailures: 1, interval: -1s, maxEjectionPercent: 101, outlierDetectionHttpErrorCodes: [99]}}",
        &[
            "error outlierDetection.outlierDetectionHttpErrorCodes[0]: 99 is less than 100",
            "warning outlierDetection.consecutiveErrors: is deprecated, use consecutive5xxErrors",
            "error outlierDetection.consecutiveLocalOriginFailures: needs splitExternalLocalOriginErrors",
            "error outlierDetection.interval: duration \"-1s\" is negative",
            "error outlierDetection.maxEjectionPercent: 101 must be 0 to 100 percent",
        ],
    );
    policy(
        "{retryBudget: {percent: 101}}",
        &["error retryBudget.percent: 101 is more than 100"],
    );
}

#[test]
fn tls() {
    policy(
        "{tls: {mode: MUTUAL}}",
        &[
            "error tls.clientCertificate: is required for mode MUTUAL without credentialName",
            "error tls.privateKey: is required for mode MUTUAL without credentialName",
        ],
    );
    policy(
        "{tls: {mode: SIMPLE, credentialName: a, caCertificates: /ca, caCrl: /crl}}",
        &[
            "error tls.caCertificates: can't be set with credentialName",
            "error tls.caCrl: can't be set with credentialName",
        ],
    );
    policy(
        "{tls: {mode: ISTIO_MUTUAL, clientCertificate: /c, credentialName: a}}",
        &[
            "warning tls.clientCertificate: has no effect with mode ISTIO_MUTUAL",
            "warning tls.credentialName: has no effect with mode ISTIO_MUTUAL",
        ],
    );
    policy(
        "{tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: /ca, subjectAltNames: [a]}}",
        &[
            "error tls.caCertificates: can't be set with insecureSkipVerify",
            "error tls.subjectAltNames: can't be set with insecureSkipVerify",
        ],
    );
}

#[test]
fn tunnels() {
    policy(
        "{tunnel: {protocol: GET, targetHost: a_b, targetPort: 0}}",
        &[
            "error tunnel.protocol: \"GET\" must be CONNECT or POST",
            "error tunnel.targetHost: host \"a_b\" is no DNS name: \"a_b\" is no label of one",
            "error tunnel.targetPort: port 0 must be 1 to 65535",
        ],
    );
}
