//! Virtual services, seen from a client with a proxy.

use std::time::Duration;

use ironsail_sim::{Call, Mesh, Reply, Served};
use tokio::time::Instant;

use crate::support::{apply, call, check, run, served, shop};

/// A mesh whose service `web` has these routes, a YAML list.
fn routed(routes: &str) -> Mesh {
    let mut mesh = shop();
    route(&mut mesh, routes);
    mesh
}

fn route(mesh: &mut Mesh, routes: &str) {
    let text = format!(
        "kind: VirtualService\nmetadata: {{name: web}}\nspec:\n  hosts: [web]\n  http:\n{routes}"
    );
    apply(mesh, "shop", &text);
}

fn get(path: &str) -> Call {
    Call::get(&format!("http://web{path}")).from("client")
}

#[test]
fn matches_choose_the_version() {
    run(async {
        let mesh = routed(
            "
  - match:
    - {headers: {end-user: {exact: jason}}}
    - {headers: {x-beta: {regex: 'y.*s'}}, method: {exact: GET}}
    - {uri: {prefix: /beta/}}
    - {uri: {regex: '/v[2-9]/.*'}}
    - {queryParams: {version: {exact: v2}}}
    - {uri: {exact: /Exact}, ignoreUriCase: true}
    route: [{destination: {host: web, subset: v2}}]
  - match:
    - {uri: {prefix: /nobody}, sourceLabels: {app: nobody}}
    route: [{destination: {host: nobody}}]
  - match:
    - {uri: {prefix: /}, withoutHeaders: {x-none: {}}}
    route: [{destination: {host: web, subset: v1}}]
",
        );
        let table = vec![
            (get("/"), "web-v1 200"),
            (get("/").header("end-user", "jason"), "web-v2 200"),
            (get("/").header("end-user", "Jason"), "web-v1 200"),
            (get("/").header("x-beta", "yes"), "web-v2 200"),
            (get("/").header("x-beta", "oh yes"), "web-v1 200"),
            (
                Call::request("PUT", "http://web/")
                    .header("x-beta", "yes")
                    .from("client"),
                "web-v1 200",
            ),
            (get("/beta/1"), "web-v2 200"),
            (get("/beta"), "web-v1 200"),
            (get("/v3/x"), "web-v2 200"),
            (get("/v1/x"), "web-v1 200"),
            (get("/?version=v2"), "web-v2 200"),
            (get("/?version=v20"), "web-v1 200"),
            (get("/EXACT"), "web-v2 200"),
            (get("/nobody"), "web-v1 200"),
            (get("/").header("x-none", "1"), "- 404"),
            (get("/").http2(), "web-v1 200"),
        ];
        check(&mesh, table).await;
    });
}

#[test]
fn paths_and_authorities_are_rewritten() {
    run(async {
        let mesh = routed(
            "
  - match: [{uri: {prefix: /old/}}]
    rewrite: {uri: /new/}
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /user/}}]
    rewrite: {uriRegexRewrite: {match: '^/user/([0-9]+)/(.*)$', rewrite: '/\\2?id=\\1'}}
    route: [{destination: {host: web}}]
  - route: [{destination: {host: web}}]
    rewrite: {authority: inner.example}
",
        );
        for (path, authority, expected) in [
            ("/old/a?b=c", "web", "/new/a?b=c"),
            ("/user/7/cart", "web", "/cart?id=7"),
            ("/other", "inner.example", "/other"),
        ] {
            let outcome = call(&mesh, get(path)).await;
            let seen = &outcome.served[0];
            assert_eq!(
                (seen.path.as_str(), seen.authority.as_str()),
                (expected, authority)
            );
        }
    });
}

#[test]
fn the_proxy_answers_itself() {
    run(async {
        let mesh = routed(
            "
  - match: [{uri: {prefix: /moved}}]
    redirect: {uri: /here, authority: elsewhere.example, redirectCode: 308}
  - match: [{uri: {prefix: /prefix/}}]
    redirect: {scheme: https, port: 8443}
  - match: [{uri: {prefix: /teapot}}]
    directResponse: {status: 418, body: {string: short and stout}}
  - match: [{uri: {prefix: /broken}}]
    fault: {abort: {httpStatus: 555, percentage: {value: 100}}}
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /absent}}]
    route: [{destination: {host: absent}}]
",
        );
        let location = |url: &'static str| Some(url);
        for (path, status, to, flags) in [
            ("/moved", 308, location("http://elsewhere.example/here"), ""),
            (
                "/prefix/x?y",
                301,
                location("https://web:8443/prefix/x?y"),
                "",
            ),
            ("/teapot", 418, None, ""),
            ("/broken", 555, None, "FI"),
            ("/absent", 503, None, "NC"),
            ("/none", 404, None, "NR"),
        ] {
            let outcome = call(&mesh, get(path)).await;
            assert_eq!(outcome.status(), status, "{path}: {outcome}");
            assert_eq!(outcome.header("location"), to, "{path}");
            assert_eq!(outcome.hop("client").flags, flags, "{path}");
            assert!(outcome.served.is_empty(), "{path}");
        }
        assert_eq!(call(&mesh, get("/teapot")).await.text(), "short and stout");
    });
}

#[test]
fn failures_are_retried() {
    run(async {
        let mesh = routed(
            "
  - retries: {attempts: 3, retryOn: 5xx}
    route: [{destination: {host: web}}]
",
        );
        let failing = |_: &Served| Reply {
            status: 503,
            ..Reply::default()
        };
        mesh.answer("web-v2", failing);
        let mut retried = 0;
        for _ in 0..40 {
            let outcome = call(&mesh, get("/")).await;
            assert_eq!(outcome.status(), 200, "{outcome}");
            let attempts = outcome.served.len();
            assert_eq!(usize::from(outcome.hop("client").attempts), attempts);
            if let [first, second] = &outcome.served[..] {
                assert_eq!(first.workload, "web-v2");
                assert_eq!(second.workload, "web-v1", "another host is tried");
                assert_eq!(second.header("x-envoy-attempt-count"), Some("2"));
                retried += 1;
            }
        }
        assert!(retried > 0);

        mesh.answer("web-v1", failing);
        let outcome = call(&mesh, get("/")).await;
        assert_eq!(served(&outcome).split(' ').count(), 5, "{outcome}");
        assert_eq!(
            (outcome.status(), outcome.hop("client").flags.as_str()),
            (503, "URX")
        );
    });
}

#[test]
fn time_is_limited() {
    run(async {
        let mesh = routed(
            "
  - match: [{uri: {prefix: /slow}}]
    timeout: 2s
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /delayed}}]
    fault: {delay: {fixedDelay: 7s, percentage: {value: 100}}}
    route: [{destination: {host: web}}]
  - match: [{uri: {prefix: /tries}}]
    retries: {attempts: 2, perTryTimeout: 3s, retryOn: 'gateway-error'}
    route: [{destination: {host: web}}]
  - route: [{destination: {host: web}}]
",
        );
        for workload in ["web-v1", "web-v2"] {
            mesh.answer(workload, |request| Reply {
                delay: Duration::from_secs(if request.path == "/delayed" { 0 } else { 60 }),
                ..Reply::default()
            });
        }
        for (path, status, flags, seconds) in [
            ("/slow", 504, "UT", 2),
            ("/delayed", 200, "DI", 7),
            ("/tries", 504, "UT,URX", 9),
            ("/", 200, "", 60),
        ] {
            let start = Instant::now();
            let outcome = call(&mesh, get(path)).await;
            assert_eq!(outcome.status(), status, "{path}: {outcome}");
            assert_eq!(outcome.hop("client").flags, flags, "{path}");
            assert_eq!(start.elapsed().as_secs(), seconds, "{path}");
        }
    });
}

#[test]
fn headers_are_changed_on_both_ways() {
    run(async {
        let mesh = routed(
            "
  - headers:
      request: {set: {x-set: new}, add: {x-add: more}, remove: [x-remove]}
      response: {set: {x-mark: routed}, remove: [x-internal]}
    route:
    - destination: {host: web, subset: v1}
      headers: {request: {set: {x-subset: v1}}}
",
        );
        mesh.answer("web-v1", |_| Reply {
            headers: vec![("x-internal".to_owned(), "secret".to_owned())],
            ..Reply::default()
        });
        let request = get("/")
            .header("x-set", "old")
            .header("x-add", "one")
            .header("x-remove", "gone");
        let outcome = call(&mesh, request).await;
        let seen = &outcome.served[0];
        assert_eq!(seen.header("x-set"), Some("new"));
        let added = seen.headers.iter().filter(|(name, _)| name == "x-add");
        let added: Vec<&str> = added.map(|(_, value)| value.as_str()).collect();
        assert_eq!(added, ["one", "more"]);
        assert_eq!(seen.header("x-remove"), None);
        assert_eq!(seen.header("x-subset"), Some("v1"));
        assert_eq!(outcome.header("x-mark"), Some("routed"));
        assert_eq!(outcome.header("x-internal"), None);
    });
}

#[test]
fn requests_are_mirrored() {
    run(async {
        let mesh = routed(
            "
  - route: [{destination: {host: web, subset: v1}}]
    mirror: {host: web, subset: v2}
",
        );
        let outcome = call(&mesh, get("/")).await;
        assert_eq!(outcome.text(), "web-v1");
        let mut seen: Vec<_> = outcome
            .served
            .iter()
            .map(|served| (served.workload.as_str(), served.authority.as_str()))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [("web-v1", "web"), ("web-v2", "web")]);
    });
}
