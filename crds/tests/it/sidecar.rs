use ironsail_crds::kind::SIDECAR;

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    crate::check(&SIDECAR, spec, expected);
}

/// One inbound listener; paths are relative to it.
#[track_caller]
fn ingress(listener: &str, expected: &[&str]) {
    let spec = format!("ingress: [{listener}]");
    crate::check_below(&SIDECAR, &spec, "spec.ingress[0]", expected);
}

#[test]
fn accepts() {
    check("egress: [{hosts: [\"./*\", \"istio-system/*\"]}]", &[]);
    check(
        r#"
        workloadSelector: {labels: {app: a}}
        ingress:
        - {port: {number: 9080, protocol: HTTP, name: http}, defaultEndpoint: "127.0.0.1:8080", connectionPool: {http: {http2MaxRequests: 5}}}
        - {port: {number: 9081, protocol: TCP}, bind: 10.0.0.1, captureMode: NONE, defaultEndpoint: "unix:///a", tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}
        egress:
        - {port: {number: 3306, protocol: MYSQL, name: egress}, bind: 127.0.0.2, hosts: ["*/db.example.com"]}
        - {port: {number: 0, protocol: HTTP}, bind: "unix:///b", captureMode: NONE, hosts: ["~/*"]}
        - {hosts: ["shop/*.example.com"]}
        inboundConnectionPool: {tcp: {maxConnections: 5}}
        outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: egress.example.com, port: {number: 80}}}
        "#,
        &[],
    );
    check("outboundTrafficPolicy: {}", &[]);
}

#[test]
fn something_is_needed() {
    check(
        "workloadSelector: {labels: {}}",
        &[
            "warning spec.workloadSelector.labels: an empty selector selects every workload",
            "error spec: must have ingress, egress, inboundConnectionPool or outboundTrafficPolicy",
        ],
    );
}

#[test]
fn inbound_listeners() {
    ingress("{}", &["error port: is required"]);
    ingress(
        "{port: {number: 0, name: a_, protocol: SPDY, targetPort: 1}, bind: \"unix:///a\"}",
        &[
            "error port.name: port name \"a_\" must be at most 63 of letters, digits and -, with a letter or digit at both ends",
            "error port.protocol: \"SPDY\" must be one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, MYSQL, REDIS, TCP, TLS",
            "error port.targetPort: can't be set in a Sidecar",
            "error port.number: port 0 must be 1 to 65535",
            "error bind: \"unix:///a\" must be an IP address",
        ],
    );
    for (endpoint, message) in [
        (
            "10.0.0.1:80",
            "must be 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix:// and a path",
        ),
        (
            "127.0.0.1",
            "must be 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix:// and a path",
        ),
    ] {
        ingress(
            &format!("{{port: {{number: 80}}, defaultEndpoint: \"{endpoint}\"}}"),
            &[&format!("error defaultEndpoint: \"{endpoint}\" {message}")],
        );
    }
    ingress(
        "{port: {number: 80}, defaultEndpoint: \"[::1]:0\"}",
        &["error defaultEndpoint: port 0 must be 1 to 65535"],
    );
    ingress(
        "{port: {number: 80}, defaultEndpoint: \"unix://a\"}",
        &["error defaultEndpoint: \"a\" must be the absolute path of a socket, or @ and a name"],
    );
    check(
        "ingress: [{port: {number: 80}}, {port: {number: 80}}]",
        &["error spec.ingress[1].port.number: port 80 is already at spec.ingress[0].port"],
    );
    ingress(
        "{port: {number: 80, protocol: TCP}, connectionPool: {http: {maxRetries: -1}}}",
        &[
            "warning connectionPool.http: has no effect: the port's protocol \"TCP\" is not HTTP",
            "error connectionPool.http.maxRetries: must not be negative",
        ],
    );
}

#[test]
fn inbound_tls() {
    ingress(
        "{port: {number: 80}, tls: {mode: ISTIO_MUTUAL, httpsRedirect: true, subjectAltNames: [a]}}",
        &[
            "error tls.subjectAltNames: is not supported in a Sidecar",
            "error tls.httpsRedirect: is not supported in a Sidecar",
            "error tls.mode: ISTIO_MUTUAL is not supported in a Sidecar",
        ],
    );
    ingress(
        "{port: {number: 80}, tls: {mode: SIMPLE, credentialName: a}}",
        &["error tls.credentialName: is not supported in a Sidecar"],
    );
    ingress(
        "{port: {number: 80}, tls: {mode: SIMPLE}}",
        &[
            "error tls.serverCertificate: is required for mode SIMPLE without credentialName",
            "error tls.privateKey: is required for mode SIMPLE without credentialName",
        ],
    );
}

#[test]
fn outbound_listeners() {
    check("egress: [{}]", &["error spec.egress[0].hosts: is required"]);
    check(
        "egress: [{hosts: []}]",
        &["error spec.egress[0].hosts: must have at least one host"],
    );
    check(
        "egress: [{hosts: [\"*/*\"]}, {hosts: [\"*/*\"]}]",
        &[
            "error spec.egress[0]: a listener without port takes what is left, so it must be the last",
        ],
    );
    check(
        "egress: [{port: {number: 80}, hosts: [\"*/*\"]}, {port: {number: 80}, bind: a, hosts: [\"*/*\"]}]",
        &[
            "error spec.egress[1].port.number: port 80 is already at spec.egress[0].port",
            "error spec.egress[1].bind: \"a\" must be an IP address",
        ],
    );
    check(
        "egress: [{port: {number: 0}, bind: 10.0.0.1, hosts: [\"*/*\"]}, {port: {number: 0}, bind: \"unix:///a\", captureMode: IPTABLES, hosts: [\"*/*\"]}, {port: {}, bind: \"unix:///a\", hosts: [\"*/*\"]}]",
        &[
            "error spec.egress[0].bind: must be unix:// and a path, because the port is 0",
            "error spec.egress[1].captureMode: must be DEFAULT or NONE for a socket in the file system",
            "error spec.egress[2].bind: \"/a\" is given twice",
        ],
    );
}

#[test]
fn outbound_hosts() {
    check(
        "egress: [{hosts: [a.example.com, \"A/b\", \"a/b_c\", \"~/*\"]}]",
        &[
            "error spec.egress[0].hosts[0]: \"a.example.com\" must be namespace/host, */host, ./host or ~/host",
            "error spec.egress[0].hosts[1]: \"A\" must be a DNS label: at most 63 of a-z, 0-9 and - with a letter or digit at both ends",
            "error spec.egress[0].hosts[2]: host \"b_c\" is no DNS name: \"b_c\" is no label of one",
        ],
    );
    check(
        "egress: [{hosts: [\"a/*\", \"a/b.example.com\", \"./c\", \"shop/*\"]}]",
        &[
            "warning spec.egress[0].hosts[1]: \"a/b.example.com\" repeats hosts of this list",
            "warning spec.egress[0].hosts[3]: \"shop/*\" repeats hosts of this list",
        ],
    );
    check(
        "egress: [{hosts: [\"*/*\", \"a/*\"]}]",
        &["warning spec.egress[0].hosts: */* has every host, the others have no effect"],
    );
}

#[test]
fn outbound_policy() {
    check(
        "outboundTrafficPolicy: {egressProxy: {host: \"*.example.com\"}}",
        &[
            "error spec.outboundTrafficPolicy.egressProxy: needs mode ALLOW_ANY",
            "error spec.outboundTrafficPolicy.egressProxy.port: is required",
            "error spec.outboundTrafficPolicy.egressProxy.host: must be a whole name",
        ],
    );
    check(
        "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a, port: {number: 0}, subset: A}}",
        &[
            "error spec.outboundTrafficPolicy.egressProxy.subset: \"A\" must be a DNS label: at most 63 of a-z, 0-9 and - with a letter or digit at both ends",
            "error spec.outboundTrafficPolicy.egressProxy.port.number: port 0 must be 1 to 65535",
        ],
    );
}
