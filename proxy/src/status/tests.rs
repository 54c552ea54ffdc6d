use super::probe::Probes;
use super::*;

const PROBERS: &str = r#"{
    "/app-health/app/readyz": {"httpGet": {"path": "/ready", "port": 8080, "httpHeaders": [{"name": "X-A", "value": "b"}]}, "timeoutSeconds": 2},
    "/app-health/app/livez": {"tcpSocket": {"port": 9000}},
    "/app-health/app/startupz": {"grpc": {"port": 9090, "service": null}, "timeoutSeconds": 1}
}"#;

#[test]
fn the_injectors_probes_are_read() {
    Probes::parse(PROBERS).expect("valid");
    Probes::parse("").expect("no probes");
    assert!(Probes::parse("{\"/x\": 1}").is_err());
}

#[tokio::test]
async fn an_unknown_probe_is_not_found() {
    let probes = Probes::parse(PROBERS).expect("valid");
    let ip = IpAddr::from([127, 0, 0, 1]);
    let response = probes.answer("/app-health/other/readyz", ip).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[test]
fn only_scraped_applications_have_a_target() {
    let parse = |json| ScrapeTarget::parse(json).expect("valid JSON");
    assert!(parse(r#"{"scrape":"true","path":"/m","port":"9"}"#).is_some());
    assert!(parse(r#"{"scrape":"false"}"#).is_none());
    assert!(parse("{}").is_none());
}

#[test]
fn only_this_pod_may_end_the_proxy() {
    let request = |method: Method, peer: &str| {
        let mut request = http::Request::new(bytes::Bytes::new());
        *request.method_mut() = method;
        request
            .extensions_mut()
            .insert(Peer(peer.parse().expect("an address")));
        request
    };
    let status = |request| local_post(&request, || ()).status();
    assert_eq!(status(request(Method::POST, "127.0.0.1:1")), StatusCode::OK);
    assert_eq!(
        status(request(Method::POST, "[::ffff:127.0.0.1]:1")),
        StatusCode::OK
    );
    assert_eq!(
        status(request(Method::POST, "10.0.0.1:1")),
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        status(request(Method::GET, "127.0.0.1:1")),
        StatusCode::METHOD_NOT_ALLOWED
    );
}
