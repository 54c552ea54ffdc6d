use ironsail_crds::kind::{WORKLOAD_ENTRY, WORKLOAD_GROUP};

#[track_caller]
fn entry(spec: &str, expected: &[&str]) {
    crate::check(&WORKLOAD_ENTRY, spec, expected);
}

#[track_caller]
fn group(spec: &str, expected: &[&str]) {
    crate::check(&WORKLOAD_GROUP, spec, expected);
}

#[test]
fn accepts_entries() {
    for address in [
        "10.0.0.1",
        "\"2001:db8::1\"",
        "vm.example.com",
        "unix:///run/a.sock",
        "unix://@a",
    ] {
        entry(&format!("address: {address}"), &[]);
    }
    entry(
        "{address: 10.0.0.1, ports: {http: 8080}, labels: {app: a}, network: vm, locality: a/b/c, weight: 3, serviceAccount: a}",
        &[],
    );
}

#[test]
fn entries() {
    entry(
        "{}",
        &["error spec.address: is required, unless network is set"],
    );
    entry(
        "network: a",
        &[
            "warning spec.address: without an address it is reached through the gateways of its network only",
        ],
    );
    entry(
        "{address: a_b, ports: {\"-\": 1, b: 65536}, labels: {\"a b\": c}}",
        &[
            "error spec.address: host \"a_b\" is no DNS name: \"a_b\" is no label of one",
            "error spec.ports.-: port name \"-\" must be at most 63 of letters, digits and -, with a letter or digit at both ends",
            "error spec.ports.b: port 65536 must be 1 to 65535",
            "error spec.labels[a b]: \"a b\" is no valid label key",
        ],
    );
    entry(
        "{address: \"unix://run/\", ports: {a: 1}}",
        &[
            "error spec.address: \"run/\" must be the absolute path of a socket, or @ and a name",
            "error spec.ports: can't be set: a socket in the file system has no ports",
        ],
    );
    entry(
        "{address: 10.0.0.1, weight: -1}",
        &["error spec.weight: -1 is less than 0"],
    );
}

#[test]
fn accepts_groups() {
    group("template: {}", &[]);
    group(
        "{metadata: {labels: {app: a}, annotations: {b: c}}, template: {ports: {http: 80}, serviceAccount: a}, probe: {httpGet: {path: /, port: 80, scheme: HTTPS, httpHeaders: [{name: a, value: b}]}, periodSeconds: 5}}",
        &[],
    );
    group("{template: {}, probe: {tcpSocket: {port: 80}}}", &[]);
    group("{template: {}, probe: {exec: {command: [a]}}}", &[]);
    group("{template: {}, probe: {grpc: {}}}", &[]);
}

#[test]
fn groups() {
    group("{}", &["error spec.template: is required"]);
    group(
        "{metadata: {labels: {\"a b\": c}}, template: {address: 10.0.0.1, ports: {a: 0}}}",
        &[
            "error spec.metadata.labels[a b]: \"a b\" is no valid label key",
            "warning spec.template.address: has no effect: every workload brings its own",
            "error spec.template.ports.a: port 0 must be 1 to 65535",
        ],
    );
    group(
        "{template: {address: \"unix:///a\", ports: {a: 1}}}",
        &[
            "warning spec.template.address: has no effect: every workload brings its own",
            "error spec.template.ports: can't be set: a socket in the file system has no ports",
        ],
    );
}

#[test]
fn probes() {
    let probe = |probe: &str, expected: &[&str]| {
        group(&format!("{{template: {{}}, probe: {probe}}}"), expected);
    };
    probe(
        "{}",
        &["error spec.probe: must have httpGet, tcpSocket, exec or grpc"],
    );
    probe(
        "{periodSeconds: -1, tcpSocket: {port: 0}}",
        &[
            "error spec.probe.periodSeconds: -1 is less than 0",
            "error spec.probe.tcpSocket.port: port 0 must be 1 to 65535",
        ],
    );
    probe(
        "{tcpSocket: {port: 1}, exec: {command: []}}",
        &[
            "error spec.probe: only one of tcpSocket, exec can be set",
            "error spec.probe.exec.command: must have at least one word",
        ],
    );
    probe(
        "{httpGet: {scheme: ftp, httpHeaders: [{value: a}, {name: \"a b\"}]}}",
        &[
            "error spec.probe.httpGet.httpHeaders[1].name: \"a b\" does not match ^[-_A-Za-z0-9]+$",
            "error spec.probe.httpGet.port: is required",
            "error spec.probe.httpGet.port: port 0 must be 1 to 65535",
            "error spec.probe.httpGet.scheme: \"ftp\" must be HTTP or HTTPS",
            "error spec.probe.httpGet.httpHeaders[0].name: must not be empty",
        ],
    );
    probe(
        "{grpc: {port: 70000}}",
        &["error spec.probe.grpc.port: port 70000 must be 1 to 65535"],
    );
    probe(
        "{exec: {command: [\"\"]}}",
        &["error spec.probe.exec.command[0]: must not be empty"],
    );
}
