//! Who must, may and must not speak mutual TLS.

use ironsail_proxy::testing::memory::DRAIN_TIME;
use ironsail_sim::{Answer, Call, Mesh};

use crate::support::{add_bookinfo, apply, call, demo, run, sample, shop};

/// A call from a pod with a proxy, and one from a pod without.
fn calls() -> [Call; 2] {
    let url = "http://web.shop/";
    [Call::get(url).from("client"), Call::get(url).from("bare")]
}

/// Answer and verified client of both calls: `200 mutual`, `200 plain`, `closed`, `503`.
async fn verdicts(mesh: &Mesh) -> [String; 2] {
    let mut verdicts = Vec::new();
    for description in calls() {
        let outcome = call(mesh, description).await;
        let received = outcome
            .hops
            .iter()
            .find(|hop| hop.listener == "virtualInbound");
        let is_mutual = received.is_some_and(|hop| !hop.downstream_peer.is_empty());
        verdicts.push(match (&outcome.answer, is_mutual) {
            (Answer::Response { status: 200, .. }, true) => "200 mutual".to_owned(),
            (Answer::Response { status: 200, .. }, false) => "200 plain".to_owned(),
            (Answer::Response { status, .. }, _) => {
                assert!(outcome.served.is_empty(), "{outcome}");
                status.to_string()
            }
            (Answer::Closed, _) => {
                assert!(outcome.served.is_empty(), "{outcome}");
                "closed".to_owned()
            }
            _ => outcome.to_string(),
        });
    }
    verdicts.try_into().expect("two calls")
}

fn policy(name: &str, spec: &str) -> String {
    format!("{{kind: PeerAuthentication, metadata: {{name: {name}}}, spec: {{{spec}}}}}")
}

#[test]
fn policies_decide_over_both_clients() {
    run(async {
        let mut mesh = shop();
        assert_eq!(
            verdicts(&mesh).await,
            ["200 mutual", "200 plain"],
            "no policy"
        );

        apply(
            &mut mesh,
            "shop",
            &policy("default", "mtls: {mode: STRICT}"),
        );
        assert_eq!(verdicts(&mesh).await, ["200 mutual", "closed"], "strict");

        apply(
            &mut mesh,
            "shop",
            &policy("default", "mtls: {mode: PERMISSIVE}"),
        );
        assert_eq!(
            verdicts(&mesh).await,
            ["200 mutual", "200 plain"],
            "permissive"
        );

        apply(
            &mut mesh,
            "shop",
            &policy("default", "mtls: {mode: DISABLE}"),
        );
        assert_eq!(
            verdicts(&mesh).await,
            ["200 plain", "200 plain"],
            "disabled"
        );
    });
}

#[test]
fn the_narrower_policy_wins() {
    run(async {
        let mut mesh = shop();
        apply(
            &mut mesh,
            "istio-system",
            &policy("default", "mtls: {mode: STRICT}"),
        );
        assert_eq!(verdicts(&mesh).await, ["200 mutual", "closed"], "mesh");

        apply(
            &mut mesh,
            "shop",
            &policy("default", "mtls: {mode: PERMISSIVE}"),
        );
        assert_eq!(
            verdicts(&mesh).await,
            ["200 mutual", "200 plain"],
            "namespace"
        );

        let spec = "selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}";
        apply(&mut mesh, "shop", &policy("web", spec));
        assert_eq!(verdicts(&mesh).await, ["200 mutual", "closed"], "workload");

        let spec = "selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}";
        apply(&mut mesh, "shop", &policy("web", spec));
        assert_eq!(verdicts(&mesh).await, ["200 plain", "200 plain"], "port");
    });
}

#[test]
fn the_clients_rule_decides_what_it_sends() {
    run(async {
        let mut mesh = shop();
        let rule = |mode: &str| {
            format!(
                "{{kind: DestinationRule, metadata: {{name: web}}, spec: {{host: web, trafficPolicy: {{tls: {{mode: {mode}}}}}}}}}"
            )
        };
        apply(&mut mesh, "shop", &rule("DISABLE"));
        assert_eq!(verdicts(&mesh).await, ["200 plain", "200 plain"]);
        apply(
            &mut mesh,
            "shop",
            &policy("default", "mtls: {mode: STRICT}"),
        );
        // The connection that was open before may go on for the drain time.
        tokio::time::sleep(DRAIN_TIME).await;
        assert_eq!(verdicts(&mesh).await, ["503", "closed"]);
        apply(&mut mesh, "shop", &rule("ISTIO_MUTUAL"));
        assert_eq!(verdicts(&mesh).await, ["200 mutual", "closed"]);
    });
}

#[test]
fn a_client_that_insists_fails_where_nobody_ends_tls() {
    run(async {
        let mut mesh = shop();
        apply(&mut mesh, "plain", crate::support::SHOP);
        let url = "http://web.plain/";
        let outcome = call(&mesh, Call::get(url).from("client")).await;
        assert_eq!(outcome.status(), 200, "{outcome}");
        assert_eq!(outcome.hop("client").upstream_tls, "");
        let rule = "{kind: DestinationRule, metadata: {name: plain}, spec: {host: web.plain.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}}";
        apply(&mut mesh, "shop", rule);
        let outcome = call(&mesh, Call::get(url).from("client")).await;
        assert_eq!(outcome.status(), 503, "{outcome}");
        assert_eq!(outcome.hop("client").flags, "UF,URX");
    });
}

#[test]
fn strict_bookinfo_serves_its_visitors_and_nobody_without_identity() {
    run(async {
        let mut mesh = demo();
        add_bookinfo(&mut mesh);
        apply(&mut mesh, "bookinfo", &sample("load.yaml"));
        let page = || Call::get("http://productpage.bookinfo:9080/productpage").from("load");
        assert_eq!(call(&mesh, page()).await.status(), 200);
        apply(
            &mut mesh,
            "bookinfo",
            &policy("default", "mtls: {mode: STRICT}"),
        );
        assert_eq!(call(&mesh, page()).await.answer, Answer::Closed);
        let visit = Call::get("http://bookinfo.example/productpage")
            .to("istio-ingressgateway.istio-system:80");
        assert_eq!(call(&mesh, visit).await.status(), 200);
    });
}
