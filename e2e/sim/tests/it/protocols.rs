//! Ports of every protocol, and destinations that nobody knows.

use ironsail_sim::{Answer, Call, Mesh};

use crate::support::{apply, call, run, served, shop};

/// Services of all kinds in front of one deployment.
const STORE: &str = "
{kind: Deployment, metadata: {name: store}, spec: {template: {metadata: {labels: {app: store}}, spec: {containers: [{name: store, image: store, ports: [{containerPort: 6379}, {containerPort: 3306}, {containerPort: 9000}, {containerPort: 7000}, {containerPort: 8443}, {containerPort: 5000}]}]}}}}
---
{kind: Service, metadata: {name: store}, spec: {selector: {app: store}, ports: [
  {name: tcp-redis, port: 6379}, {name: mysql, port: 3306}, {name: grpc, port: 9000}, {name: auto, port: 7000}, {name: https, port: 8443}]}}
---
{kind: Service, metadata: {name: direct}, spec: {clusterIP: None, selector: {app: store}, ports: [{name: tcp, port: 6379}]}}
";

fn mesh() -> Mesh {
    let mut mesh = shop();
    apply(&mut mesh, "shop", STORE);
    mesh.add_server("203.0.113.9:80", "example")
        .expect("an address");
    mesh.add_server("203.0.113.9:5432", "database")
        .expect("an address");
    mesh
}

#[test]
fn bytes_reach_their_service() {
    run(async {
        let mesh = mesh();
        for (description, cluster, text, secured) in [
            (
                Call::tcp("store:6379", "PING"),
                "outbound|6379||store.shop.svc.cluster.local",
                "store PING",
                true,
            ),
            (
                Call::silent("store:3306"),
                "outbound|3306||store.shop.svc.cluster.local",
                "store greets",
                true,
            ),
            (
                Call::tcp("store:7000", "no HTTP"),
                "outbound|7000||store.shop.svc.cluster.local",
                "store no HTTP",
                true,
            ),
            (
                Call::silent("store:7000"),
                "outbound|7000||store.shop.svc.cluster.local",
                "store greets",
                true,
            ),
            (
                Call::tcp("store:8443", "opaque"),
                "outbound|8443||store.shop.svc.cluster.local",
                "store opaque",
                true,
            ),
            (
                Call::tcp("direct:6379", "PING"),
                "outbound|6379||direct.shop.svc.cluster.local",
                "store PING",
                true,
            ),
            (
                Call::tcp("203.0.113.9:5432", "SELECT"),
                "PassthroughCluster",
                "database SELECT",
                false,
            ),
            (
                Call::silent("203.0.113.9:5432"),
                "PassthroughCluster",
                "database greets",
                false,
            ),
        ] {
            let outcome = call(&mesh, description.clone().from("client")).await;
            assert_eq!(
                outcome.answer,
                Answer::Text(text.to_owned()),
                "{description:?}: {outcome}"
            );
            let hop = outcome.hop("client");
            assert_eq!(hop.cluster, cluster, "{description:?}");
            assert_eq!(
                !hop.upstream_tls.is_empty(),
                secured,
                "{description:?}: {outcome}"
            );
        }
    });
}

#[test]
fn requests_keep_their_protocol() {
    run(async {
        let mesh = mesh();
        for (description, protocol) in [
            (Call::get("http://store:7000/").from("client"), "HTTP/1.1"),
            (
                Call::get("http://store:7000/").http2().from("client"),
                "HTTP/2",
            ),
            (
                Call::get("http://store:9000/").http2().from("client"),
                "HTTP/2",
            ),
            (Call::get("http://web/").from("client"), "HTTP/1.1"),
            (Call::get("http://web/").http2().from("client"), "HTTP/1.1"),
            (Call::get("http://store:7000/").from("bare"), "HTTP/1.1"),
        ] {
            let outcome = call(&mesh, description.clone()).await;
            assert_eq!(outcome.status(), 200, "{description:?}: {outcome}");
            assert_eq!(
                outcome.served[0].protocol, protocol,
                "{description:?}: {outcome}"
            );
        }
    });
}

#[test]
fn unknown_destinations_are_passed_through_or_refused() {
    run(async {
        let mut mesh = mesh();
        let named = |name: &str| {
            let url = format!("http://{name}/");
            Call::get(&url).to("203.0.113.9:80").from("client")
        };
        let outcome = call(&mesh, named("example.org")).await;
        assert_eq!(served(&outcome), "example 200");
        assert_eq!(outcome.hop("client").cluster, "PassthroughCluster");
        // The name counts, not the address.
        let outcome = call(&mesh, named("web")).await;
        let hop = outcome.hop("client");
        assert_eq!(hop.cluster, "outbound|80||web.shop.svc.cluster.local");

        let config = "{kind: ConfigMap, metadata: {name: istio}, data: {mesh: '{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}'}}";
        apply(&mut mesh, "istio-system", config);
        let outcome = call(&mesh, named("example.org")).await;
        assert_eq!(served(&outcome), "- 502");
        let outcome = call(&mesh, named("web")).await;
        assert_eq!(outcome.status(), 200, "{outcome}");
        let outcome = call(&mesh, Call::tcp("203.0.113.9:5432", "x").from("client")).await;
        assert_eq!(outcome.answer, Answer::Closed, "{outcome}");
        assert!(outcome.served.is_empty());
    });
}

#[test]
fn an_application_that_does_not_listen_is_reported() {
    run(async {
        let mut mesh = mesh();
        let service = "{kind: Service, metadata: {name: idle}, spec: {selector: {app: store}, ports: [{name: http, port: 80, targetPort: 5001}, {name: tcp, port: 81, targetPort: 5002}]}}";
        apply(&mut mesh, "shop", service);
        let outcome = call(&mesh, Call::get("http://idle/").from("client")).await;
        assert_eq!(outcome.status(), 503, "{outcome}");
        assert_eq!(outcome.hop("store").flags, "UF,URX");
        let outcome = call(&mesh, Call::tcp("idle:81", "x").from("client")).await;
        assert_eq!(outcome.answer, Answer::Closed, "{outcome}");
        assert_eq!(outcome.hop("store").flags, "UF,URX");
    });
}
