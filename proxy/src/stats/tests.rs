use std::sync::Arc;
use std::time::{Duration, Instant};

use super::labels::LabelText;
use super::{
    Call, CallRef, DEFAULT_BOUNDS, Dropped, Filter, Registry, Reporter, RequestProtocol,
    RequestReport, Service, StatsSettings, prometheus_name,
};
use crate::access_log::{Flag, ResponseFlags};
use crate::peer::PeerMetadata;
use crate::resource::cluster::IstioService;

fn workload(name: &str, namespace: &str) -> PeerMetadata {
    PeerMetadata {
        workload: format!("{name}-v1").into(),
        namespace: namespace.into(),
        cluster: "Kubernetes".into(),
        app: name.into(),
        version: "v1".into(),
        canonical_name: name.into(),
        canonical_revision: "v1".into(),
        ..PeerMetadata::default()
    }
}

struct Fixture {
    registry: Arc<Registry>,
    settings: Arc<StatsSettings>,
    peer: Arc<PeerMetadata>,
    cluster: Arc<str>,
    service: IstioService,
    source: Arc<str>,
    destination: Arc<str>,
}

impl Fixture {
    fn new(settings: StatsSettings) -> Self {
        Self {
            registry: Registry::new(workload("reviews", "shop"), "1.32.0", &[1.0, 10.0, 1000.0]),
            settings: Arc::new(settings),
            peer: Arc::new(workload("productpage", "front")),
            cluster: "inbound|9080||".into(),
            service: IstioService {
                host: "reviews.shop.svc.cluster.local".into(),
                name: "reviews".into(),
                namespace: "shop".into(),
            },
            source: "spiffe://cluster.local/ns/front/sa/productpage".into(),
            destination: "spiffe://cluster.local/ns/shop/sa/reviews".into(),
        }
    }

    fn call(&self) -> CallRef<'_> {
        CallRef {
            settings: &self.settings,
            reporter: Reporter::Destination,
            peer: Some(&self.peer),
            service: Some(&self.service),
            cluster: &self.cluster,
            host: None,
            source_principal: Some(&self.source),
            destination_principal: Some(&self.destination),
            mutual_tls: true,
        }
    }

    fn report<'a>(&self, call: CallRef<'a>) -> RequestReport<'a> {
        RequestReport {
            call,
            protocol: RequestProtocol::Http,
            response_code: 200,
            response_flags: ResponseFlags::default(),
            grpc_status: None,
            duration: Duration::from_millis(5),
            request_bytes: 100,
            response_bytes: 2000,
            request_messages: 0,
            response_messages: 0,
        }
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = self.registry.prometheus(&Filter::default());
        let wanted = |line: &&str| line.starts_with(&format!("{name}{{"));
        text.lines().filter(wanted).map(str::to_owned).collect()
    }
}

#[test]
fn prometheus_text() {
    let fixture = Fixture::new(StatsSettings::default());
    let shard = fixture.registry.shard();
    shard.report_request(&fixture.report(fixture.call()), Instant::now());
    let grpc = RequestReport {
        protocol: RequestProtocol::Grpc,
        grpc_status: Some(14),
        response_flags: [Flag::UpstreamConnectionFailure].into_iter().collect(),
        request_messages: 2,
        response_messages: 1,
        ..fixture.report(fixture.call())
    };
    shard.report_request(&grpc, Instant::now());
    let tcp = Call {
        reporter: Reporter::Destination,
        peer: Some(&fixture.peer),
        service: Service {
            service: Some(&fixture.service),
            cluster: &fixture.cluster,
            host: None,
        },
        source_principal: Some(&fixture.source),
        destination_principal: Some(&fixture.destination),
        mutual_tls: true,
    };
    let series = shard
        .reports
        .tcp(&fixture.settings, &tcp, ResponseFlags::default());
    series.opened();
    series.bytes(10, 20);
    shard
        .cluster(&"inbound|9080||".into())
        .upstream_rq_total
        .inc();
    shard.cluster(&"inbound|9080||".into()).response(503);
    shard
        .http(&"inbound_0.0.0.0_9080;".into())
        .downstream_cx_active
        .inc();
    fixture.registry.shared("server.live").set(1);
    let filter = Filter {
        used_only: true,
        ..Filter::default()
    };
    insta::assert_snapshot!(fixture.registry.prometheus(&filter));
    insta::assert_snapshot!("plain_text", fixture.registry.text(&filter));
}

#[test]
fn workers_are_added_up() {
    let fixture = Fixture::new(StatsSettings::default());
    for _ in 0..2 {
        // Another worker has its own copies of the same facts.
        let other = Fixture::new(StatsSettings::default());
        let shard = fixture.registry.shard();
        shard.report_request(&other.report(other.call()), Instant::now());
        shard.report_request(&fixture.report(fixture.call()), Instant::now());
        shard.counter("x.y").inc();
    }
    let lines = fixture.lines("istio_requests_total");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines.iter().all(|line| line.ends_with(" 4")), "{lines:?}");
    assert_eq!(fixture.registry.sum(|name| name == "x.y"), 2);
}

#[test]
fn what_is_not_known_is_unknown() {
    let fixture = Fixture::new(StatsSettings {
        disable_host_header_fallback: true,
        ..StatsSettings::default()
    });
    let call = CallRef {
        reporter: Reporter::Source,
        peer: None,
        service: None,
        cluster: &"PassthroughCluster".into(),
        host: Some("chosen.example"),
        source_principal: None,
        destination_principal: None,
        ..fixture.call()
    };
    fixture
        .registry
        .shard()
        .report_request(&fixture.report(call), Instant::now());
    let line = fixture.lines("istio_requests_total").join("");
    for label in [
        "reporter=\"source\"",
        "source_workload=\"reviews-v1\"",
        "source_principal=\"unknown\"",
        "destination_workload=\"unknown\"",
        "destination_canonical_revision=\"unknown\"",
        "destination_service=\"unknown\"",
        "destination_service_name=\"PassthroughCluster\"",
        "destination_service_namespace=\"unknown\"",
        "connection_security_policy=\"unknown\"",
        "grpc_response_status=\"\"",
        "response_flags=\"-\"",
    ] {
        assert!(line.contains(label), "{label} not in {line}");
    }
}

#[test]
fn hosts_of_clients_are_bounded() {
    let fixture = Fixture::new(StatsSettings::default());
    let shard = fixture.registry.shard();
    for number in 0..2000 {
        let host = format!("h{number}.example");
        let call = CallRef {
            service: None,
            host: Some(&host),
            ..fixture.call()
        };
        shard.report_request(&fixture.report(call), Instant::now());
    }
    let lines = fixture.lines("istio_requests_total");
    assert_eq!(lines.len(), 1001);
    let first = lines.iter().find(|line| line.contains("\"h0.example\""));
    assert!(first.is_some_and(|line| line.contains("destination_service_name=\"h0.example\"")));
}

#[test]
fn removed_tags_and_dropped_metrics_are_absent() {
    let fixture = Fixture::new(StatsSettings {
        removed_tags: vec!["source_principal".into(), "response_code".into()],
        dropped: Dropped {
            request_bytes: true,
            ..Dropped::default()
        },
        ..StatsSettings::default()
    });
    let shard = fixture.registry.shard();
    shard.report_request(&fixture.report(fixture.call()), Instant::now());
    let line = fixture.lines("istio_requests_total").join("");
    assert!(!line.contains("source_principal") && !line.contains("response_code="));
    assert!(line.contains("response_flags="));
    assert!(fixture.lines("istio_request_bytes_count").is_empty());
    assert_eq!(fixture.lines("istio_response_bytes_count").len(), 1);
}

#[test]
fn unused_series_expire() {
    let fixture = Fixture::new(StatsSettings {
        expiry: Some(Duration::from_secs(60)),
        ..StatsSettings::default()
    });
    let shard = fixture.registry.shard();
    let start = Instant::now();
    shard.report_request(&fixture.report(fixture.call()), start);
    let failed = RequestReport {
        response_code: 500,
        ..fixture.report(fixture.call())
    };
    shard.report_request(&failed, start + Duration::from_secs(50));
    assert_eq!(fixture.lines("istio_requests_total").len(), 2);
    shard.report_request(&failed, start + Duration::from_secs(90));
    let lines = fixture.lines("istio_requests_total");
    assert_eq!(lines.len(), 1);
    assert!(
        lines
            .iter()
            .all(|line| line.contains("response_code=\"500\"") && line.ends_with(" 2"))
    );
}

#[test]
fn label_values_are_escaped_and_cut() {
    let mut labels = super::labels::LabelWriter::new(&[]);
    labels.add("a", "x\"y\\z\n");
    labels.add("b", &"é".repeat(1000));
    let text: LabelText = labels.finish();
    assert!(text.as_str().starts_with(r#"a="x\"y\\z\n",b=""#));
    assert_eq!(text.as_str().matches('é').count(), 256);
}

#[test]
fn names_become_labels() {
    let check = |name: &str, family: &str, labels: &str| {
        assert_eq!(
            prometheus_name(name),
            (family.to_owned(), labels.to_owned())
        );
    };
    check("server.live", "envoy_server_live", "");
    check(
        "cluster.outbound|80|v1|a.b.svc.cluster.local;.upstream_cx_total",
        "envoy_cluster_upstream_cx_total",
        r#"cluster_name="outbound|80|v1|a.b.svc.cluster.local""#,
    );
    check(
        "cluster.xds-grpc.upstream_rq_2xx",
        "envoy_cluster_upstream_rq_xx",
        r#"response_code_class="2",cluster_name="xds-grpc""#,
    );
    check(
        "listener.0.0.0.0_15006.downstream_cx_active",
        "envoy_listener_downstream_cx_active",
        r#"listener_address="0.0.0.0_15006""#,
    );
    check(
        "listener.[__]_15006.ssl.connection_error",
        "envoy_listener_ssl_connection_error",
        r#"listener_address="[__]_15006""#,
    );
}

#[test]
fn default_bounds_are_ascending() {
    assert_eq!(
        super::Bounds::new(DEFAULT_BOUNDS).texts().len(),
        DEFAULT_BOUNDS.len()
    );
}
