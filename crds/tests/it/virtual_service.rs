use ironsail_crds::kind::VIRTUAL_SERVICE;

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    crate::check(&VIRTUAL_SERVICE, spec, expected);
}

/// One HTTP route; paths are relative to it.
#[track_caller]
fn http(route: &str, expected: &[&str]) {
    let expected: Vec<String> = expected
        .iter()
        .map(|line| match line.split_once(' ') {
            Some((severity, rest)) if rest.starts_with(':') => {
                format!("{severity} spec.http[0]{rest}")
            }
            Some((severity, rest)) => format!("{severity} spec.http[0].{rest}"),
            None => (*line).to_owned(),
        })
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(&format!("hosts: [reviews]\nhttp: [{route}]"), &expected);
}

const TO: &str = "route: [{destination: {host: a}}]";

/// An HTTP route to one destination and more.
#[track_caller]
fn routed(more: &str, expected: &[&str]) {
    http(&format!("{{{TO}, {more}}}"), expected);
}

#[test]
fn accepts() {
    check(
        r#"
        hosts: [reviews, "*.example.com", 10.0.0.1]
        gateways: [mesh, bookinfo, shop/bookinfo]
        exportTo: ["*"]
        http:
        - name: tests
          match:
          - uri: {prefix: /a}
            headers: {x-user: {exact: jason}, x-present: {}}
            sourceLabels: {app: productpage}
            gateways: [mesh]
            port: 9080
          route:
          - destination: {host: reviews, subset: v1, port: {number: 9080}}
            weight: 75
            headers: {request: {set: {":authority": a, host: b}, add: {x-a: b}, remove: [x-c]}}
          - {destination: {host: reviews, subset: v2}, weight: 25}
          timeout: 1.5s
          retries: {attempts: 3, perTryTimeout: 2s, retryOn: "5xx, reset,503"}
          fault: {delay: {fixedDelay: 5s, percentage: {value: 0.1}}, abort: {httpStatus: 503}}
          mirror: {host: shadow}
          mirrorPercentage: {value: 50}
          corsPolicy: {allowOrigins: [{exact: "*"}], allowMethods: [GET], maxAge: 24h}
        - match: [{uri: {exact: /old}}]
          redirect: {uri: /new, redirectCode: 308}
        - match: [{uri: {exact: /gone}}]
          directResponse: {status: 503, body: {string: gone}}
        - match: [{uri: {exact: /other}}]
          delegate: {name: other, namespace: shop}
        - rewrite: {uriRegexRewrite: {match: "^/a/(.*)$", rewrite: "/\\1"}}
          route: [{destination: {host: a}}]
        tls:
        - match: [{sniHosts: [a.example.com, "*.b.example.com"], port: 443}]
          route: [{destination: {host: a}}]
        tcp:
        - match: [{destinationSubnets: [10.0.0.0/8, "::1"]}]
          route: [{destination: {host: a}, weight: 0}]
        "#,
        &[],
    );
    check("http: [{route: [{destination: {host: a}}]}]", &[]);
    check(
        "{hosts: [\"*\"], gateways: [a], http: [{match: [{headers: {\"@request.auth.claims.sub\": {exact: a}}}], route: [{destination: {host: a}}]}]}",
        &[],
    );
}

#[test]
fn hosts() {
    check(
        "{hosts: [\"*\"], http: [{route: [{destination: {host: a}}]}]}",
        &["error spec.hosts[0]: wildcard host * is not allowed for the gateway mesh"],
    );
    check(
        "{hosts: [a.example.com, a.example.com, \"*.example.com\", -a], http: [{route: [{destination: {host: a}}]}]}",
        &["error spec.hosts[3]: host \"-a\" is no DNS name: \"-a\" is no label of one"],
    );
    check(
        "{hosts: [a.example.com, a.example.com, \"*.com\"], http: [{route: [{destination: {host: a}}]}]}",
        &[
            "error spec.hosts[1]: duplicate host: \"a.example.com\" and \"a.example.com\" have names in common",
            "error spec.hosts[2]: duplicate host: \"*.com\" and \"a.example.com\" have names in common",
        ],
    );
    check(
        "hosts: [a]",
        &["error spec: must have http, tls or tcp routes"],
    );
    check(
        "{hosts: [a], gateways: [a/b/c], http: [{route: [{destination: {host: a}}]}]}",
        &["error spec.gateways[0]: host \"b/c\" is no DNS name: \"b/c\" is no label of one"],
    );
}

#[test]
fn delegates() {
    check(
        "{gateways: [a], tcp: [{route: [{destination: {host: a}}]}], http: [{delegate: {name: a}}]}",
        &[
            "error spec.gateways: can't be set without hosts: a delegate has http routes only",
            "error spec.tcp: can't be set without hosts: a delegate has http routes only",
            "error spec.http[0].delegate: a delegate can't delegate",
        ],
    );
    routed(
        "delegate: {name: a}",
        &["error : only one of route, delegate can be set"],
    );
    http(
        "{delegate: {namespace: A}}",
        &[
            "error delegate.name: must not be empty",
            "error delegate.namespace: \"A\" must be a DNS label: at most 63 of a-z, 0-9 and - with a letter or digit at both ends",
        ],
    );
}

#[test]
fn actions() {
    http(
        "{name: a}",
        &["error : must have route, redirect, directResponse or delegate"],
    );
    routed(
        "redirect: {uri: /a}",
        &["error : only one of route, redirect can be set"],
    );
    http(
        "{redirect: {uri: /a}, fault: {abort: {httpStatus: 500}}, rewrite: {uri: /b}}",
        &[
            "error fault: can't be set with redirect or directResponse",
            "error rewrite: can't be set with redirect or directResponse",
        ],
    );
    http(
        "{redirect: {}}",
        &["error redirect: must have uri, prefixRewrite, authority, scheme, port or redirectCode"],
    );
    http(
        "{redirect: {redirectCode: 304, scheme: ftp, port: 0, derivePort: FROM_REQUEST_PORT}}",
        &[
            "error redirect: only one of port, derivePort can be set",
            "error redirect.redirectCode: 304 must be 301, 302, 303, 307 or 308",
            "error redirect.scheme: \"ftp\" must be http or https",
            "error redirect.port: port 0 must be 1 to 65535",
        ],
    );
    http(
        "{directResponse: {status: 100, body: {}}}",
        &[
            "error directResponse.status: 100 must be 200 to 599",
            "error directResponse.body: must have string or bytes",
        ],
    );
}

#[test]
fn bodies_have_a_size() {
    let body = |size: usize| {
        let text = "a".repeat(size);
        format!("{{directResponse: {{status: 200, body: {{string: {text}}}}}}}")
    };
    http(&body(1000), &[]);
    http(
        &body(200_000),
        &["warning directResponse.body: has 200000 bytes, which every proxy keeps in memory"],
    );
    http(
        &body(1_048_577),
        &["error directResponse.body: has 1048577 bytes, at most 1048576 are allowed"],
    );
}

#[test]
fn destinations() {
    http(
        "{route: [{}]}",
        &["error route[0].destination: is required"],
    );
    http(
        "{route: [{destination: {host: \"*\", subset: A_, port: {number: 0}}}]}",
        &[
            "error route[0].destination.host: wildcard host * is no destination",
            "error route[0].destination.subset: \"A_\" must be a DNS label: at most 63 of a-z, 0-9 and - with a letter or digit at both ends",
            "error route[0].destination.port.number: port 0 must be 1 to 65535",
        ],
    );
    http(
        "{route: [{destination: {host: a}, weight: -1}, {destination: {host: b}, weight: 1}]}",
        &["error route[0].weight: must not be negative"],
    );
    http(
        "{route: [{destination: {host: a}}, {destination: {host: b}}]}",
        &["error route: the weights of several destinations must not all be 0"],
    );
}

#[test]
fn matches() {
    routed(
        "match: [{uri: {regex: \"a(\"}, method: {prefix: \"\"}, authority: {exact: a, prefix: b}}]",
        &[
            "error match[0].authority: only one of exact, prefix can be set",
            "error match[0].uri.regex: \"a(\" is no valid regular expression: unclosed group",
            "error match[0].method.prefix: must not be empty",
        ],
    );
    let long = "a".repeat(1025);
    routed(
        &format!("match: [{{uri: {{regex: \"{long}\"}}}}, {{uri: {{regex: \"\"}}}}]"),
        &[
            "error match[0].uri.regex: regular expression has 1025 bytes, at most 1024 are allowed",
            "error match[1].uri.regex: regular expression must not be empty",
        ],
    );
    routed(
        "match: [{headers: {\"a b\": {}}, withoutHeaders: {\"\": {}}, queryParams: {q: {regex: \"(?=a)\"}}}]",
        &[
            "error match[0].headers[a b]: \"a b\" is no valid header name",
            "error match[0].withoutHeaders[]: header name must not be empty",
            "error match[0].queryParams.q.regex: \"(?=a)\" is no valid regular expression: look-around, including look-ahead and look-behind, is not supported",
        ],
    );
    routed(
        "match: [{port: 70000, sourceLabels: {a: \"b c\"}, sourceNamespace: \"*\", gateways: [\"\"]}]",
        &[
            "error match[0].port: port 70000 must be 1 to 65535",
            "error match[0].sourceLabels.a: \"b c\" is no valid label value",
            "error match[0].sourceNamespace: \"*\" must be a DNS label: at most 63 of a-z, 0-9 and - with a letter or digit at both ends",
            "error match[0].gateways[0]: must not be empty",
        ],
    );
    routed(
        "match: [{headers: {\"@request.auth.claims.sub\": {exact: a}}}]",
        &[
            "error match[0].headers[@request.auth.claims.sub]: claims of tokens can be matched by gateways only",
        ],
    );
    routed(
        "match: [{uri: {regex: a}, ignoreUriCase: true}]",
        &["warning match[0].ignoreUriCase: has no effect on a regular expression"],
    );
}

#[test]
fn rewrites() {
    routed(
        "rewrite: {}",
        &["error rewrite: must have uri, uriRegexRewrite or authority"],
    );
    routed(
        "rewrite: {uri: /a, uriRegexRewrite: {match: \"[\"}}",
        &[
            "error rewrite: only one of uri, uriRegexRewrite can be set",
            "error rewrite.uriRegexRewrite.match: \"[\" is no valid regular expression: unclosed character class",
            "error rewrite.uriRegexRewrite.rewrite: must not be empty",
        ],
    );
}

#[test]
fn times_and_retries() {
    routed("timeout: 0s", &["error timeout: must be at least 1ms"]);
    routed(
        "timeout: 1500us",
        &["error timeout: must be a whole number of milliseconds"],
    );
    routed(
        "timeout: 5",
        &["error timeout: must be text, is a number; put it in quotes"],
    );
    routed(
        "timeout: \"5\"",
        &["error timeout: duration \"5\" lacks a unit (ns, us, ms, s, m or h)"],
    );
    routed(
        "retries: {retryOn: 5xx}",
        &["error retries: has settings but attempts is 0, which turns retries off"],
    );
    routed("retries: {attempts: 0}", &[]);
    routed(
        "retries: {attempts: -1, perTryTimeout: x, backoff: 0s, retryOn: \"5xx,sometimes,900\"}",
        &[
            "error retries.attempts: must not be negative",
            "error retries.perTryTimeout: \"x\" is not a duration such as 1.5s, 300ms or 1h30m",
            "error retries.backoff: must be at least 1ms",
            "error retries.retryOn: \"sometimes\" is no retry condition and no status code",
            "error retries.retryOn: \"900\" is no retry condition and no status code",
        ],
    );
}

#[test]
fn faults() {
    routed("fault: {}", &["error fault: must have delay or abort"]);
    routed(
        "fault: {delay: {percent: 101}, abort: {percentage: {value: -1}}}",
        &[
            "warning fault.delay.percent: is deprecated, use percentage",
            "error fault.delay.percent: 101 must be 0 to 100 percent",
            "error fault.delay.fixedDelay: is required",
            "error fault.abort.percentage: -1 must be 0 to 100 percent",
            "error fault.abort: must have httpStatus or grpcStatus",
        ],
    );
    routed(
        "fault: {delay: {exponentialDelay: 1s}, abort: {httpStatus: 99}}",
        &[
            "error fault.delay.exponentialDelay: is not supported, use fixedDelay",
            "error fault.abort.httpStatus: 99 must be 200 to 599",
        ],
    );
    routed(
        "fault: {abort: {grpcStatus: BROKEN}}",
        &["error fault.abort.grpcStatus: \"BROKEN\" is no gRPC status"],
    );
    routed(
        "fault: {abort: {http2Error: a}}",
        &["error fault.abort.http2Error: is not supported, use httpStatus or grpcStatus"],
    );
}

#[test]
fn mirrors() {
    routed(
        "mirror: {host: \"\"}, mirrors: [{destination: {host: \"*\"}, percentage: {value: 101}}]",
        &[
            "error : only one of mirror, mirrors can be set",
            "error mirrors[0].destination.host: wildcard host * is no destination",
            "error mirrors[0].percentage: 101 must be 0 to 100 percent",
        ],
    );
    routed(
        "mirror: {host: a}, mirrorPercent: 101, mirrorPercentage: {value: 101}",
        &[
            "warning mirrorPercent: is deprecated, use mirrorPercentage",
            "error mirrorPercent: 101 must be 0 to 100 percent",
            "error mirrorPercentage: 101 must be 0 to 100 percent",
        ],
    );
}

#[test]
fn cors() {
    routed(
        "corsPolicy: {allowOrigin: [a], allowOrigins: [{regex: \"*\"}], allowMethods: [get], allowHeaders: [\"a b\"], maxAge: 1.5s}",
        &[
            "warning corsPolicy.allowOrigin: is deprecated, use allowOrigins",
            "error corsPolicy.allowOrigins[0].regex: \"*\" is no valid regular expression: repetition operator missing expression",
            "error corsPolicy.allowMethods[0]: \"get\" is no HTTP method",
            "error corsPolicy.allowHeaders[0]: \"a b\" is no valid header name",
            "error corsPolicy.maxAge: must be a whole number of seconds",
        ],
    );
}

#[test]
fn header_operations() {
    routed(
        "headers: {request: {set: {\":path\": a, x: \"a\\nb\"}, remove: [Host]}, response: {add: {\":authority\": a}}}",
        &[
            "error headers.request.set[:path]: header \":path\" can't be changed",
            "error headers.request.set.x: value must not have control characters",
            "error headers.request.remove[0]: the host can't be removed",
            "error headers.response.add[:authority]: header \":authority\" can't be changed",
        ],
    );
}

#[test]
fn unreachable_routes() {
    check(
        &format!("{{hosts: [a], http: [{{{TO}}}, {{match: [{{uri: {{exact: /a}}}}], {TO}}}]}}"),
        &["warning spec.http[1]: is never used: spec.http[0] matches everything"],
    );
    check(
        &format!(
            "{{hosts: [a], http: [{{match: [{{name: x, uri: {{prefix: /a}}}}], {TO}}}, {{match: [{{name: y, uri: {{prefix: /a}}}}, {{uri: {{exact: /ab}}}}, {{uri: {{prefix: /ab}}, port: 80}}], {TO}}}]}}"
        ),
        &[
            "warning spec.http[1].match[0]: is never used: the same match is at spec.http[0].match[0]",
            "warning spec.http[1].match[1].uri: is never used: spec.http[0].match[0] has a shorter prefix",
        ],
    );
}

#[test]
fn tls_and_tcp() {
    check(
        "{hosts: [a.example.com], tls: [{}, {match: [{}], route: []}]}",
        &[
            "error spec.tls[0].match: is required",
            "error spec.tls[1].match[0].sniHosts: is required",
            "error spec.tls[0].match: must have at least one match",
            "error spec.tls[0].route: must have at least one destination",
            "error spec.tls[1].match[0].sniHosts: must have at least one name",
            "error spec.tls[1].route: must have at least one destination",
        ],
    );
    check(
        &format!(
            "{{hosts: [a.example.com], tls: [{{match: [{{sniHosts: [b.example.com, \"*.example.com\", \"b*\"], destinationSubnets: [10.0.0.0/33, a]}}], {TO}}}]}}"
        ),
        &[
            "error spec.tls[0].match[0].sniHosts[0]: \"b.example.com\" is in none of the hosts a.example.com",
            "error spec.tls[0].match[0].sniHosts[1]: \"*.example.com\" is in none of the hosts a.example.com",
            "error spec.tls[0].match[0].sniHosts[2]: host \"b*\" is no DNS name: \"b*\" is no label of one",
            "error spec.tls[0].match[0].destinationSubnets[0]: \"10.0.0.0/33\" must have a prefix length of 0 to 32",
            "error spec.tls[0].match[0].destinationSubnets[1]: \"a\" is no IP address or range such as 10.0.0.0/8",
        ],
    );
    check(
        &format!("{{hosts: [a], tcp: [{{match: [{{sourceSubnet: a, port: 65536}}]}}, {{{TO}}}]}}"),
        &[
            "warning spec.tcp[0].match[0].sourceSubnet: has no effect: not implemented by any version",
            "error spec.tcp[0].match[0].port: port 65536 must be 1 to 65535",
            "error spec.tcp[0].route: must have at least one destination",
        ],
    );
}

#[test]
fn shapes() {
    check(
        "{hosts: a, http: [{rout: []}], tcp: [null], exportTo: [1]}",
        &[
            "error spec.hosts: must be a list, is text",
            "warning spec.http[0].rout: unknown field has no effect; did you mean route?",
            "error spec.tcp[0]: must not be null",
            "error spec.exportTo[0]: must be text, is a number; put it in quotes",
        ],
    );
}
