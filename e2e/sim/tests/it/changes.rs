//! Changes of objects, while proxies run.

use ironsail_sim::Call;

use crate::support::{apply, bookinfo, call, check, demo, injected, run, shop};

#[test]
fn routes_change_and_their_removal_is_noticed() {
    run(async {
        let mut mesh = shop();
        let get = || Call::get("http://web/").from("client");
        for version in ["v1", "v2", "v1"] {
            let text = format!(
                "{{kind: VirtualService, metadata: {{name: web}}, spec: {{hosts: [web], http: [{{route: [{{destination: {{host: web, subset: {version}}}}}]}}]}}}}"
            );
            apply(&mut mesh, "shop", &text);
            let expected = format!("web-{version} 200");
            check(&mesh, vec![(get(), expected.as_str())]).await;
        }
        mesh.delete("VirtualService", "shop", "web")
            .expect("a known kind");
        let mut versions = std::collections::BTreeSet::new();
        for _ in 0..40 {
            versions.insert(call(&mesh, get()).await.text().to_owned());
        }
        assert_eq!(versions.len(), 2, "{versions:?}");
    });
}

#[test]
fn new_pods_take_their_share() {
    run(async {
        let mut mesh = bookinfo();
        let text = crate::support::sample("bookinfo.yaml").replace("details-v1", "details-v2");
        let documents = text.split("---").filter(|text| text.contains("details-v2"));
        for document in documents {
            apply(&mut mesh, "bookinfo", document);
        }
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let get = Call::get("http://details:9080/details/0").from("productpage-v1");
            seen.insert(call(&mesh, get).await.text().to_owned());
        }
        let seen: Vec<_> = seen.into_iter().collect();
        assert_eq!(seen, ["details-v1", "details-v2"]);
    });
}

#[test]
fn services_may_come_after_their_clients() {
    run(async {
        let mut mesh = demo();
        apply(&mut mesh, "shop", &injected("shop"));
        let (service, rest) = crate::support::SHOP
            .split_once("---")
            .expect("several documents");
        apply(&mut mesh, "shop", rest);
        apply(&mut mesh, "shop", service);
        let outcome = call(&mesh, Call::get("http://web/").from("client")).await;
        assert_eq!(outcome.status(), 200, "{outcome}");
        assert_eq!(outcome.hop("client").upstream_tls, "TLSv1.3");
    });
}

#[test]
fn what_validation_refuses_changes_nothing() {
    run(async {
        let mut mesh = shop();
        let rule = |subset: &str| {
            format!(
                "{{kind: VirtualService, metadata: {{name: web}}, spec: {{hosts: [web], http: [{{route: [{{destination: {{{subset}}}}}]}}]}}}}"
            )
        };
        apply(&mut mesh, "shop", &rule("host: web, subset: v2"));
        let refused = mesh.apply("shop", &rule("subset: v1"));
        let error = format!("{:#}", refused.expect_err("a destination without host"));
        assert!(
            error.contains("VirtualService web: configuration is invalid"),
            "{error}"
        );
        let get = Call::get("http://web/").from("client");
        check(&mesh, vec![(get, "web-v2 200")]).await;
    });
}
