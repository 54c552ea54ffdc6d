use ironsail_crds::kind::GATEWAY;

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    crate::check(&GATEWAY, spec, expected);
}

/// A server with a port, hosts and more.
#[track_caller]
fn server(port: &str, more: &str, expected: &[&str]) {
    let spec = format!("servers: [{{port: {port}, hosts: [\"*.example.com\"], {more}}}]");
    check(&spec, expected);
}

/// TLS settings of an HTTPS port.
#[track_caller]
fn tls(settings: &str, expected: &[&str]) {
    let more = format!("tls: {{{settings}}}");
    server(
        "{number: 443, name: https, protocol: HTTPS}",
        &more,
        expected,
    );
}

#[test]
fn accepts() {
    server("{number: 80, name: http, protocol: HTTP}", "", &[]);
    server(
        "{number: 80, name: http, protocol: http2, targetPort: 8080}",
        "bind: 0.0.0.0",
        &[],
    );
    server(
        "{number: 80, name: http, protocol: HTTP}",
        "tls: {httpsRedirect: true}",
        &[],
    );
    server(
        "{number: 9080, name: a, protocol: TCP}",
        "bind: \"unix:///var/run/a.sock\"",
        &[],
    );
    server(
        "{number: 443, name: a, protocol: TLS}",
        "tls: {mode: PASSTHROUGH}",
        &[],
    );
    server(
        "{number: 443, name: a, protocol: TLS}",
        "tls: {mode: AUTO_PASSTHROUGH}",
        &[],
    );
    tls("mode: SIMPLE, credentialName: a", &[]);
    tls("mode: MUTUAL, credentialName: a", &[]);
    tls("mode: SIMPLE, credentialNames: [a, b]", &[]);
    tls("mode: SIMPLE, serverCertificate: /c, privateKey: /k", &[]);
    tls(
        "mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca",
        &[],
    );
    tls(
        "mode: SIMPLE, tlsCertificates: [{serverCertificate: /c, privateKey: /k}]",
        &[],
    );
    tls("mode: ISTIO_MUTUAL", &[]);
    check(
        r#"
        selector: {istio: ingressgateway}
        servers:
        - {port: {number: 80, name: a, protocol: HTTP}, hosts: ["*", "shop/a.example.com", "./*.example.com", "*/b.example.com"]}
        - {port: {number: 81, name: b, protocol: GRPC-WEB}, hosts: ["a.example.com"]}
        "#,
        &[],
    );
}

#[test]
fn servers() {
    check(
        "selector: {app: a}",
        &["error spec.servers: must have at least one server"],
    );
    check(
        "selector: {\"a b\": \"c d\"}\nservers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [\"*\"]}]",
        &[
            "error spec.selector[a b]: \"a b\" is no valid label key",
            "error spec.selector[a b]: \"c d\" is no valid label value",
        ],
    );
    check(
        r#"
        servers:
        - {port: {number: 80, name: a, protocol: HTTP}, hosts: ["a.example.com"]}
        - {port: {number: 81, name: a, protocol: HTTP}, hosts: ["a.example.com"]}
        "#,
        &[
            "error spec.servers[1].port.name: \"a\" is already the name at spec.servers[0].port.name",
        ],
    );
    check(
        "servers: [{}]",
        &[
            "error spec.servers[0].port: is required",
            "error spec.servers[0].hosts: is required",
            "error spec.servers[0].port.number: port 0 must be 1 to 65535",
            "error spec.servers[0].port.name: must not be empty",
            "error spec.servers[0].port.protocol: \"\" must be one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS",
            "error spec.servers[0].hosts: must have at least one host",
        ],
    );
}

#[test]
fn ports() {
    server(
        "{number: 70000, name: a, protocol: HTTP, targetPort: 70000}",
        "",
        &[
            "error spec.servers[0].port.number: port 70000 must be 1 to 65535",
            "error spec.servers[0].port.targetPort: port 70000 must be 1 to 65535",
        ],
    );
    server(
        "{number: 80, name: a, protocol: SPDY}",
        "bind: here",
        &[
            "error spec.servers[0].port.protocol: \"SPDY\" must be one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS",
            "error spec.servers[0].bind: \"here\" must be an IP address, or unix:// and an absolute path",
        ],
    );
}

#[test]
fn hosts() {
    check(
        r#"servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ["reviews", "A_B/c.example.com", "a/", "a.*.com", "*.", "1.2.3.4"]}]"#,
        &[
            "error spec.servers[0].hosts[0]: short name \"reviews\" is not allowed, write the whole DNS name",
            "error spec.servers[0].hosts[1]: \"A_B\" must be a DNS label: at most 63 of a-z, 0-9 and - with a letter or digit at both ends",
            "error spec.servers[0].hosts[2]: \"a/\" must have a host",
            "error spec.servers[0].hosts[3]: host \"a.*.com\" is no DNS name: \"*\" is no label of one",
            "error spec.servers[0].hosts[4]: host \"*.\" must have a name after the wildcard",
            "error spec.servers[0].hosts[5]: host \"1.2.3.4\" is no DNS name: the last label has only digits",
        ],
    );
}

#[test]
fn where_tls_belongs() {
    server(
        "{number: 443, name: a, protocol: HTTPS}",
        "",
        &["error spec.servers[0].tls: is required for protocol HTTPS"],
    );
    server(
        "{number: 80, name: a, protocol: HTTP}",
        "tls: {mode: SIMPLE, credentialName: a}",
        &["error spec.servers[0].tls: only httpsRedirect can be set for plaintext HTTP"],
    );
    server(
        "{number: 80, name: a, protocol: TCP}",
        "tls: {mode: SIMPLE, credentialName: a}",
        &["error spec.servers[0].tls: can't be set for protocol TCP"],
    );
    server(
        "{number: 443, name: a, protocol: TLS}",
        "tls: {httpsRedirect: true}",
        &["error spec.servers[0].tls.httpsRedirect: can be set for protocol HTTP only"],
    );
    tls(
        "mode: SIMPLE, credentialName: a, httpsRedirect: true",
        &["warning spec.servers[0].tls.httpsRedirect: has no effect for protocol HTTPS"],
    );
}

#[test]
fn certificates() {
    tls(
        "mode: SIMPLE",
        &[
            "error spec.servers[0].tls.serverCertificate: is required for mode SIMPLE without credentialName",
            "error spec.servers[0].tls.privateKey: is required for mode SIMPLE without credentialName",
        ],
    );
    tls(
        "mode: MUTUAL, serverCertificate: /c, privateKey: /k",
        &[
            "error spec.servers[0].tls.caCertificates: is required for mode MUTUAL without credentialName",
        ],
    );
    tls(
        "mode: OPTIONAL_MUTUAL, tlsCertificates: [{serverCertificate: /c}]",
        &[
            "error spec.servers[0].tls.tlsCertificates[0].privateKey: is required for mode OPTIONAL_MUTUAL without credentialName",
            "error spec.servers[0].tls.caCertificates: is required for mode OPTIONAL_MUTUAL without credentialName",
        ],
    );
    tls(
        "mode: SIMPLE, credentialName: a, credentialNames: [a, b]",
        &["error spec.servers[0].tls: only one of credentialName, credentialNames can be set"],
    );
    tls(
        "mode: SIMPLE, credentialNames: [a, b, c]",
        &["error spec.servers[0].tls.credentialNames: must have at most 2 items"],
    );
    tls(
        "mode: SIMPLE, credentialName: a, serverCertificate: /c",
        &["warning spec.servers[0].tls.serverCertificate: has no effect beside credentialName"],
    );
    tls(
        "mode: ISTIO_MUTUAL, credentialName: a",
        &["error spec.servers[0].tls.credentialName: can't be set with mode ISTIO_MUTUAL"],
    );
    tls(
        "mode: PASSTHROUGH, credentialName: a",
        &["warning spec.servers[0].tls.credentialName: has no effect with mode PASSTHROUGH"],
    );
}

#[test]
fn parameters() {
    tls(
        "mode: ISTIO_MUTUAL, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2",
        &["error spec.servers[0].tls.minProtocolVersion: is above maxProtocolVersion TLSV1_2"],
    );
    tls(
        "mode: ISTIO_MUTUAL, cipherSuites: [AES128-SHA, AES128-SHA, ROT13], ecdhCurves: [P-256, P-1]",
        &[
            "warning spec.servers[0].tls.cipherSuites[1]: \"AES128-SHA\" is given twice",
            "warning spec.servers[0].tls.cipherSuites[2]: \"ROT13\" is not known and left out",
            "warning spec.servers[0].tls.ecdhCurves[1]: \"P-1\" is not known and left out",
        ],
    );
    tls(
        "mode: SIMPEL, credentialName: a",
        &[
            "error spec.servers[0].tls.mode: \"SIMPEL\" must be one of PASSTHROUGH, SIMPLE, MUTUAL, AUTO_PASSTHROUGH, ISTIO_MUTUAL, OPTIONAL_MUTUAL; did you mean SIMPLE?",
        ],
    );
}
