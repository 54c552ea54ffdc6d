use ironsail_crds::kind::SERVICE_ENTRY;
use serde_json::json;

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    crate::check(&SERVICE_ENTRY, spec, expected);
}

#[test]
fn accepts() {
    check(
        r#"
        hosts: [api.example.com, "*.cdn.example.com"]
        location: MESH_EXTERNAL
        ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP, targetPort: 8080}]
        exportTo: ["."]
        "#,
        &[],
    );
    check(
        r#"
        hosts: [db.example.com]
        addresses: [240.1.1.1, 10.1.0.0/16, "2001:db8::/64"]
        ports: [{number: 5432, name: tcp, protocol: TCP}]
        resolution: STATIC
        location: MESH_INTERNAL
        endpoints:
        - {address: 10.1.0.1, ports: {tcp: 15432}, labels: {version: v1}, locality: a/b, weight: 5, serviceAccount: db}
        - {network: other}
        "#,
        &[
            "warning spec.endpoints[1].address: without an address it is reached through the gateways of its network only",
        ],
    );
    check(
        "{hosts: [a.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS, endpoints: [{address: b.example.com}, {address: 10.0.0.1}], exportTo: [\"~\"]}",
        &[],
    );
    check(
        "{hosts: [a.example.com], ports: [{number: 80, name: http}], resolution: STATIC, workloadSelector: {labels: {app: a}}}",
        &[],
    );
    check(
        "{hosts: [a.example.com], ports: [{number: 80, name: http}], resolution: STATIC, endpoints: [{address: \"unix:///a\"}]}",
        &[],
    );
    check(
        "{hosts: [\"*.example.com\"], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DYNAMIC_DNS}",
        &[],
    );
}

#[test]
fn hosts() {
    check("{}", &["error spec.hosts: is required"]);
    check(
        "hosts: []",
        &["error spec.hosts: must have at least 1 items"],
    );
    check(
        "hosts: [\"*\", \"a_b\", \"*-a.example.com\"]",
        &[
            "error spec.hosts[0]: wildcard host * is not allowed",
            "error spec.hosts[1]: host \"a_b\" is no DNS name: \"a_b\" is no label of one",
            "warning spec.hosts[2]: \"*-a.example.com\": a wildcard for a part of a label matches no TLS traffic",
        ],
    );
}

#[test]
fn addresses() {
    check(
        "{hosts: [a.example.com], addresses: [a, 10.0.0.0/33, \"*\"]}",
        &[
            "error spec.addresses[0]: \"a\" is no IP address or range such as 10.0.0.0/8",
            "error spec.addresses[1]: \"10.0.0.0/33\" must have a prefix length of 0 to 32",
            "error spec.addresses[2]: \"*\" is no IP address or range such as 10.0.0.0/8",
        ],
    );
    check(
        "{hosts: [a.example.com], addresses: [10.0.0.0/8], resolution: DNS}",
        &["error spec.addresses: ranges are allowed with resolution NONE or STATIC only"],
    );
    let message = "warning spec.ports[0]: takes the port's traffic to every address: TCP needs spec.addresses to tell services apart";
    let tcp = "ports: [{number: 1, name: a, protocol: TCP}, {number: 2, name: b, protocol: HTTP}]";
    check(&format!("{{hosts: [a.example.com], {tcp}}}"), &[message]);
    check(
        &format!("{{hosts: [a.example.com], {tcp}, resolution: DNS}}"),
        &[],
    );
    let mut object = crate::object(
        &SERVICE_ENTRY,
        &format!("{{hosts: [a.example.com], {tcp}, resolution: DNS}}"),
    );
    object["metadata"]["labels"] = json!({"networking.istio.io/enable-autoallocate-ip": "false"});
    assert_eq!(SERVICE_ENTRY.validate(&object).len(), 1);
}

#[test]
fn ports() {
    check(
        r#"
        hosts: [a.example.com]
        addresses: [10.0.0.1]
        ports:
        - {number: 0, name: a}
        - {number: 80, name: "b_"}
        - {number: 80, name: c, protocol: SPDY, targetPort: 70000}
        - {number: 81, name: c}
        - {number: 82}
        - {number: 83, name: UPPER-ok, protocol: tcp}
        "#,
        &[
            "error spec.ports[3]: has the same name as spec.ports[2]",
            "error spec.ports[4].name: is required",
            "error spec.ports[0].number: port 0 must be 1 to 65535",
            "error spec.ports[1].name: port name \"b_\" must be at most 63 of letters, digits and -, with a letter or digit at both ends",
            "error spec.ports[2].number: port 80 is already at spec.ports[1]",
            "error spec.ports[2].protocol: \"SPDY\" must be one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, MYSQL, REDIS, TCP, TLS",
            "error spec.ports[2].targetPort: port 70000 must be 1 to 65535",
        ],
    );
}

#[test]
fn resolution_and_endpoints() {
    let with = |rest: &str| {
        format!(
            "{{hosts: [a.example.com], ports: [{{number: 80, name: http, protocol: HTTP}}], {rest}}}"
        )
    };
    check(
        &with("endpoints: [{address: 10.0.0.1}]"),
        &["error spec.endpoints: can't be set with resolution NONE"],
    );
    check(
        &with("resolution: DYNAMIC_DNS, endpoints: [{address: 10.0.0.1}]"),
        &["error spec.endpoints: can't be set with resolution DYNAMIC_DNS"],
    );
    check(
        &with(
            "resolution: STATIC, endpoints: [{address: b.example.com}, {address: 10.0.0.1, ports: {other: 0}}, {}]",
        ),
        &[
            "error spec.endpoints[0].address: \"b.example.com\" must be an IP address",
            "error spec.endpoints[1].ports.other: port 0 must be 1 to 65535",
            "error spec.endpoints[1].ports.other: the service has no port \"other\"",
            "error spec.endpoints[2].address: is required, unless network is set",
        ],
    );
    check(
        &with(
            "resolution: STATIC, endpoints: [{address: \"unix://a/\", ports: {http: 1}}, {address: \"unix://@\"}]",
        ),
        &[
            "error spec.endpoints[0].address: \"a/\" must be the absolute path of a socket, or @ and a name",
            "error spec.endpoints[0].ports: can't be set: a socket in the file system has no ports",
            "error spec.endpoints[1].address: \"@\" must be the absolute path of a socket, or @ and a name",
        ],
    );
    check(
        "{hosts: [a.example.com], ports: [{number: 80, name: a}, {number: 81, name: b}], resolution: STATIC, endpoints: [{address: \"unix:///a\"}]}",
        &[
            "error spec.endpoints[0].address: a socket in the file system needs a service with exactly one port",
        ],
    );
    check(
        &with("resolution: DNS, endpoints: [{address: \"unix:///a\"}, {address: a_b}]"),
        &[
            "error spec.endpoints[0].address: \"unix:///a\" can't be looked up by name",
            "error spec.endpoints[1].address: host \"a_b\" is no DNS name: \"a_b\" is no label of one",
        ],
    );
    check(
        &with("resolution: DNS_ROUND_ROBIN, endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2}]"),
        &["error spec.endpoints: must have at most one endpoint with resolution DNS_ROUND_ROBIN"],
    );
    check(
        "{hosts: [\"*.example.com\"], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}",
        &[
            "error spec.hosts[0]: \"*.example.com\" can't be looked up: resolution DNS needs endpoints or a whole name",
        ],
    );
    check(
        &with("resolution: MAGIC"),
        &[
            "error spec.resolution: \"MAGIC\" must be one of NONE, STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS",
        ],
    );
}

#[test]
fn selectors() {
    let with = |rest: &str| {
        format!(
            "{{hosts: [a.example.com], ports: [{{number: 80, name: http, protocol: HTTP}}], {rest}}}"
        )
    };
    check(
        &with(
            "resolution: STATIC, workloadSelector: {labels: {app: a}}, endpoints: [{address: 10.0.0.1}]",
        ),
        &["error spec: only one of workloadSelector, endpoints can be set"],
    );
    check(
        &with("resolution: DNS, workloadSelector: {labels: {}}"),
        &[
            "warning spec.workloadSelector.labels: an empty selector selects every workload",
            "warning spec.workloadSelector: has no effect with resolution DNS, only with STATIC",
        ],
    );
    check(
        &with("resolution: STATIC, workloadSelector: {labels: {app: \"a*\"}}"),
        &["error spec.workloadSelector.labels.app: wildcards are not supported in selectors"],
    );
}

#[test]
fn several_hosts() {
    check(
        "{hosts: [a.example.com, b.example.com], addresses: [10.0.0.1], resolution: DNS, ports: [{number: 80, name: a, protocol: HTTP}, {number: 1, name: b, protocol: MONGO}]}",
        &[
            "error spec.ports[1]: several hosts need protocols that name the host: HTTP, HTTPS, HTTP2, GRPC or TLS",
        ],
    );
}

#[test]
fn export_to() {
    check(
        "{hosts: [a.example.com], exportTo: [\"~\", shop]}",
        &["error spec.exportTo: ~ and other entries can't be given together"],
    );
    check(
        "{hosts: [a.example.com], exportTo: [shop, shop]}",
        &["error spec.exportTo[1]: \"shop\" is given twice"],
    );
}

#[test]
fn a_spec_is_required() {
    let found = SERVICE_ENTRY.validate(&json!({"kind": "ServiceEntry"}));
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["spec: is required"]);
}
