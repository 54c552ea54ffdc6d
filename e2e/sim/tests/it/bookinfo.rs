//! The samples of Bookinfo.

use ironsail_proxy::xds::Protocol;
use ironsail_sim::{Call, Mesh};

use crate::support::{add_bookinfo, bookinfo, call, check, run, sample};

const INGRESS: &str = "istio-ingressgateway.istio-system:80";

fn visit(path: &str) -> Call {
    Call::get(&format!("http://bookinfo.example{path}")).to(INGRESS)
}

fn from(workload: &str, url: &str) -> Call {
    Call::get(url).from(workload)
}

fn account(name: &str) -> String {
    format!("spiffe://cluster.local/ns/bookinfo/sa/bookinfo-{name}")
}

#[test]
fn the_gateway_lets_in_what_it_routes() {
    run(async {
        let mesh = bookinfo();
        let table = vec![
            (visit("/productpage"), "productpage-v1 200"),
            (visit("/productpage?u=normal"), "productpage-v1 200"),
            (visit("/productpage").http2(), "productpage-v1 200"),
            (visit("/static/../productpage"), "productpage-v1 200"),
            (visit("/productpage/"), "- 404"),
            (visit("/PRODUCTPAGE"), "- 404"),
            (visit("/"), "- 404"),
        ];
        check(&mesh, table).await;
        let outcome = call(&mesh, visit("/productpage")).await;
        let hop = outcome.hop("istio-ingressgateway");
        assert_eq!(hop.listener, "0.0.0.0_8080");
        assert_eq!(
            hop.cluster,
            "outbound|9080||productpage.bookinfo.svc.cluster.local"
        );
        assert_eq!(outcome.header("server"), Some("istio-envoy"));
        let outcome = call(&mesh, visit("/")).await;
        assert_eq!(outcome.hop("istio-ingressgateway").flags, "NR");
    });
}

#[test]
fn ports_that_no_gateway_opens_are_closed() {
    run(async {
        let mesh = bookinfo();
        let call = Call::get("http://bookinfo.example/productpage")
            .to("istio-ingressgateway.istio-system:443");
        let outcome = mesh.call(call).await.expect("a possible call");
        assert_eq!(outcome.answer, ironsail_sim::Answer::Refused);
    });
}

#[test]
fn reviews_are_split_75_to_25() {
    run(async {
        let mesh = bookinfo();
        let (mut first, mut third) = (0, 0);
        for _ in 0..400 {
            let outcome = call(
                &mesh,
                from("productpage-v1", "http://reviews:9080/reviews/0"),
            );
            match outcome.await.text() {
                "reviews-v1" => first += 1,
                "reviews-v3" => third += 1,
                other => panic!("answered by {other:?}"),
            }
        }
        // Six standard deviations.
        assert!((300 - 52..=300 + 52).contains(&first), "{first} to {third}");
    });
}

#[test]
fn every_hop_is_mutual_tls() {
    run(async {
        let mesh = bookinfo();
        let gateway =
            "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account";
        let hops = [
            (
                visit("/productpage"),
                "istio-ingressgateway",
                gateway.to_owned(),
                "productpage",
            ),
            (
                from("productpage-v1", "http://details:9080/details/0"),
                "productpage-v1",
                account("productpage"),
                "details",
            ),
            (
                from("productpage-v1", "http://reviews:9080/reviews/0"),
                "productpage-v1",
                account("productpage"),
                "reviews",
            ),
            (
                from("reviews-v2", "http://ratings:9080/ratings/0"),
                "reviews-v2",
                account("reviews"),
                "ratings",
            ),
            (
                from("reviews-v3", "http://ratings.bookinfo:9080/ratings/0"),
                "reviews-v3",
                account("reviews"),
                "ratings",
            ),
        ];
        for (description, client, identity, service) in hops {
            let outcome = call(&mesh, description).await;
            let sent = outcome.hop(client);
            assert_eq!(
                (sent.status, sent.upstream_tls.as_str()),
                (200, "TLSv1.3"),
                "{outcome}"
            );
            assert_eq!(sent.upstream_peer, account(service), "{outcome}");
            let server = outcome.text().to_owned();
            let received = outcome.hop(&server);
            assert_eq!(received.listener, "virtualInbound");
            assert_eq!(received.chain, "0.0.0.0_9080");
            assert_eq!(received.cluster, "inbound|9080||");
            assert_eq!(received.downstream_peer, identity, "{outcome}");
            let name = format!("{service}.bookinfo.svc.cluster.local");
            assert!(received.server_name.ends_with(&name), "{outcome}");
            let forwarded = outcome.served[0].header("x-forwarded-client-cert");
            let forwarded = forwarded.expect("the application learns who calls");
            assert!(
                forwarded.ends_with(&format!("URI={identity}")),
                "{forwarded}"
            );
        }
    });
}

#[test]
fn both_sides_count_a_call() {
    run(async {
        let mesh = bookinfo();
        call(
            &mesh,
            from("productpage-v1", "http://details:9080/details/0"),
        )
        .await;
        for (workload, reporter, policy) in [
            ("productpage-v1", "source", "unknown"),
            ("details-v1", "destination", "mutual_tls"),
        ] {
            let lines = mesh.metrics(workload, "istio_requests_total");
            let [line] = &lines[..] else {
                panic!("{lines:#?}");
            };
            for label in [
                format!("reporter=\"{reporter}\""),
                format!("connection_security_policy=\"{policy}\""),
                "source_workload=\"productpage-v1\"".to_owned(),
                "destination_workload=\"details-v1\"".to_owned(),
                "destination_service=\"details.bookinfo.svc.cluster.local\"".to_owned(),
                "response_code=\"200\"".to_owned(),
            ] {
                assert!(line.contains(&label), "{label} is not in {line}");
            }
            assert!(line.ends_with(" 1"), "{line}");
        }
    });
}

#[test]
fn both_protocols_end_in_the_same() {
    run(async {
        let mut hops = Vec::new();
        for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
            let mut mesh =
                Mesh::install_with(&sample("iop-demo.yaml"), protocol).expect("installs");
            add_bookinfo(&mut mesh);
            let mut seen = Vec::new();
            for description in [
                visit("/productpage"),
                from("productpage-v1", "http://details:9080/details/0"),
                from("reviews-v1", "http://ratings:9080/ratings/0"),
                from("ratings-v1", "http://nobody.example/").to("10.96.0.99:9080"),
            ] {
                seen.push(call(&mesh, description).await.hops);
            }
            hops.push(seen);
        }
        assert_eq!(hops[0], hops[1]);
    });
}
