//! What a stock control plane sent, through the client into a proxy: nothing is rejected, and calls go where the
//! tables say.

mod call;
mod serve;
mod server;

use std::rc::Rc;

use ironsail_xds::type_url;

use self::call::{
    Answer, Entry, OWN, Says, destination, get, get_h2, goes, mesh, mesh_h2, mesh_tcp, passes,
    secured, stranger, tcp, tls,
};
use super::{Protocol, Sink as _};
use crate::snapshot::Store;
use crate::testing::Authority;
use crate::testing::capture::Capture;

const SIDECAR: &str = "bookinfo-productpage-sidecar";
const GATEWAY: &str = "bookinfo-ingress-gateway";

/// Destination, what the client says, where it goes. The address that is dialled is checked against the endpoints.
type Row = (&'static str, Says, Answer);

/// Calls of the application of productpage.
#[rustfmt::skip] // One line per call.
fn outbound() -> Vec<Row> {
    let details = secured("outbound|9080||details.default.svc.cluster.local");
    let ratings = secured("outbound|9080||ratings.default.svc.cluster.local");
    let productpage = secured("outbound|9080||productpage.default.svc.cluster.local");
    let web = goes("outbound|80||web.default.svc.cluster.local");
    let ingress = goes("outbound|80||istio-ingressgateway.istio-system.svc.cluster.local");
    let status = goes("outbound|15021||istio-ingressgateway.istio-system.svc.cluster.local");
    let secure = goes("outbound|443||istio-ingressgateway.istio-system.svc.cluster.local");
    let kubernetes = goes("outbound|443||kubernetes.default.svc.cluster.local");
    let anywhere = goes("PassthroughCluster");
    vec![
        ("10.96.178.221:9080", get("details", "/details/0"), details),
        ("10.96.178.221:9080", get("details:9080", "/"), details),
        ("10.96.178.221:9080", get("DETAILS.default", "/"), details),
        ("10.96.178.221:9080", get("details.default.svc", "/"), details),
        ("10.96.178.221:9080", get("details.default.svc.cluster.local.", "/"), details),
        ("10.96.178.221:9080", get_h2("details", "/details/0"), details),
        ("10.96.70.101:9080", get("10.96.70.101:9080", "/ratings/0"), ratings),
        ("10.96.178.221:9080", get("ratings", "/"), ratings),
        ("10.96.164.241:9080", get("productpage", "/"), productpage),
        ("10.96.178.221:9080", get("elsewhere.example", "/"), anywhere),
        ("10.244.0.36:9080", get("10.244.0.36:9080", "/"), anywhere),
        ("10.96.178.221:9080", tcp("no HTTP"), anywhere),
        ("10.96.178.221:9080", tcp("GET / HTTP/1.0\r\nhost: details\r\n\r\n"), anywhere),
        ("10.96.178.221:9080", tcp("GET / HTTP/1.1\r\nhost: details\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"), details),
        ("10.96.178.221:9080", tcp("GET http://ratings/0 HTTP/1.1\r\nhost: details\r\n\r\n"), ratings),
        ("10.96.178.221:9080", tcp("GET / HTTP/1.1\r\n\r\n"), Answer::Status(400)),
        ("10.96.118.104:80", get("web", "/"), web),
        ("10.96.118.104:80", get("anything", "/"), web),
        ("10.96.118.104:80", tcp("SSH-2.0-x\r\n"), web),
        ("10.96.118.104:80", Says::Nothing, web),
        ("203.0.113.9:80", get("web.default", "/"), web),
        ("203.0.113.9:80", get("example.org", "/"), anywhere),
        ("10.96.206.163:80", get("istio-ingressgateway.istio-system", "/"), ingress),
        ("203.0.113.9:80", get("reviews.default.svc.cluster.local", "/"), Answer::Status(503)),
        ("10.96.206.163:15021", get("x", "/healthz/ready"), status),
        ("10.96.206.163:443", tls("bookinfo.example"), secure),
        ("10.96.0.1:443", tls("kubernetes.default.svc"), kubernetes),
        ("10.96.39.136:443", tls("istiod.istio-system.svc"), Answer::Closed),
        ("10.96.39.136:15012", tls("istiod.istio-system.svc"), Answer::Closed),
        ("10.96.39.136:15010", get("istiod.istio-system.svc", "/"), Answer::Status(503)),
        ("10.96.39.136:15014", get("istiod.istio-system", "/metrics"), Answer::Status(503)),
        ("203.0.113.9:443", tls("example.org"), anywhere),
        ("203.0.113.9:6379", tcp("PING\r\n"), anywhere),
        ("10.244.0.41:15001", tcp("loop"), Answer::Closed),
    ]
}

/// Calls of others to productpage.
#[rustfmt::skip] // One line per call.
fn inbound() -> Vec<Row> {
    let app = goes("inbound|9080||");
    let other = goes("InboundPassthroughCluster");
    vec![
        ("10.244.0.41:9080", get("productpage", "/productpage"), app),
        ("10.244.0.41:9080", get_h2("productpage", "/"), app),
        ("10.244.0.41:9080", mesh(&["istio-http/1.1"], "productpage", "/"), app),
        ("10.244.0.41:9080", mesh(&["istio"], "productpage", "/"), app),
        ("10.244.0.41:9080", mesh_h2("productpage", "/"), app),
        ("10.244.0.41:9080", stranger("productpage", "/"), Answer::Closed),
        ("10.244.0.41:9080", tls("productpage"), Answer::Closed),
        ("10.244.0.41:9080", tcp("no HTTP\r\n\r\n"), Answer::Status(400)),
        ("10.244.0.41:9080", tcp("GET / HTTP/1.0\r\n\r\n"), Answer::Status(426)),
        ("10.244.0.41:8000", get("anything", "/"), other),
        ("10.244.0.41:8000", mesh(&["istio-http/1.1"], "anything", "/"), other),
        ("10.244.0.41:8000", mesh_tcp(&["istio"], "no HTTP"), other),
        ("10.244.0.41:8000", tcp("no HTTP"), other),
        ("10.244.0.41:8000", Says::Nothing, other),
        ("10.244.0.41:8443", tls("productpage"), other),
        ("10.244.0.41:15006", tcp("loop"), Answer::Closed),
    ]
}

/// Calls from outside to the gateway.
fn ingress() -> Vec<Row> {
    let productpage = secured("outbound|9080||productpage.default.svc.cluster.local");
    let none = Answer::Status(404);
    let paths = [
        ("/productpage", productpage),
        ("/productpage?u=normal", productpage),
        ("/productpage/", none),
        ("/PRODUCTPAGE", none),
        ("/login", productpage),
        ("/logout", productpage),
        ("/logout/now", none),
        ("/static/bootstrap/css/bootstrap.min.css", productpage),
        ("/statically", productpage),
        ("/api/v1/products/0/reviews", productpage),
        ("/api/v1", none),
        ("/static/../login", productpage),
        ("/anything/../login", productpage),
        ("/", none),
    ];
    let row = |(path, answer)| ("10.244.0.42:8080", get("bookinfo.example", path), answer);
    let mut rows: Vec<Row> = paths.into_iter().map(row).collect();
    rows.push((
        "10.244.0.42:8080",
        get_h2("bookinfo.example", "/login"),
        productpage,
    ));
    rows.push((
        "10.244.0.42:8080",
        tcp("no HTTP\r\n\r\n"),
        Answer::Status(400),
    ));
    rows
}

/// The store of a proxy that received a capture; `None` without captures.
async fn load(proxy: &str, protocol: Protocol) -> Option<(Capture, Store)> {
    let capture = Capture::read(proxy)?;
    let store = serve::load(&capture, protocol).await;
    Some((capture, store))
}

/// Loads a capture, calls, and tells all rows that went elsewhere.
async fn check(proxy: &str, protocol: Protocol, tables: &[(Entry, Vec<Row>)]) {
    let Some((capture, store)) = load(proxy, protocol).await else {
        return;
    };
    let authority = Rc::new(Authority::new());
    store.set_workload(Some(authority.workload(OWN)));
    // The rest happens in memory.
    tokio::time::pause();
    let mut wrong = Vec::new();
    for (entry, rows) in tables {
        for (to, says, expected) in rows {
            let call = call::Call {
                entry: *entry,
                to: destination(to),
                says: says.clone(),
            };
            let outcome = call::run(&call, &store, &authority).await;
            if let Err(error) = passes(&outcome, *expected, &call, &capture) {
                wrong.push(format!("{entry:?} {to} {says:?}: {error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sidecar_by_delta() {
    serve::local(check(
        SIDECAR,
        Protocol::Delta,
        &[(Entry::Outbound, outbound()), (Entry::Inbound, inbound())],
    ));
}

#[test]
fn sidecar_by_state_of_the_world() {
    serve::local(check(
        SIDECAR,
        Protocol::StateOfTheWorld,
        &[(Entry::Outbound, outbound()), (Entry::Inbound, inbound())],
    ));
}

#[test]
fn gateway_by_delta() {
    serve::local(check(
        GATEWAY,
        Protocol::Delta,
        &[(Entry::Gateway, ingress())],
    ));
}

#[test]
fn gateway_by_state_of_the_world() {
    let tables = [(Entry::Gateway, ingress())];
    serve::local(check(GATEWAY, Protocol::StateOfTheWorld, &tables));
}

#[test]
fn versions_get_their_share() {
    serve::local(async {
        let Some((_, store)) = load(SIDECAR, Protocol::Delta).await else {
            return;
        };
        tokio::time::pause();
        let authority = Rc::new(Authority::new());
        store.set_workload(Some(authority.workload(OWN)));
        let call = call::Call {
            entry: Entry::Outbound,
            to: destination("10.96.194.13:9080"),
            says: get("reviews", "/reviews/0"),
        };
        let (mut first, mut second) = (0, 0);
        for _ in 0..400 {
            let outcome = call::run(&call, &store, &authority).await;
            match outcome.cluster.as_deref() {
                Some("outbound|9080|v1|reviews.default.svc.cluster.local") => first += 1,
                Some("outbound|9080|v2|reviews.default.svc.cluster.local") => second += 1,
                other => panic!("went to {other:?}"),
            }
        }
        // 80 to 20; seven standard deviations are 56.
        assert!(
            (320 - 56..=320 + 56).contains(&first),
            "{first} to {second}"
        );
    });
}

#[test]
fn secrets_are_the_agents() {
    for proxy in [SIDECAR, GATEWAY] {
        serve::local(async {
            let Some((capture, store)) = load(proxy, Protocol::Delta).await else {
                return;
            };
            assert_eq!(capture.resources(type_url::SECRET).count(), 0);
            assert!(store.wanted().secrets.is_empty());
        });
    }
}
