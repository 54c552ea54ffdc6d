//! A thousand services with ten endpoints each: generation shares what proxies get alike.
//!
//! Times are printed, and only bounded where a slow build of a busy machine would still keep them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ironsail_controlplane::generate::Cache;
use ironsail_controlplane::model::object::{Change, Object};
use ironsail_controlplane::model::proxy::ProxyNode;
use ironsail_controlplane::model::snapshot::{Options, SnapshotBuilder};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use crate::support::input::{self, Answers};

const SERVICES: usize = 1_000;
const ENDPOINTS: usize = 10;

fn world() -> SnapshotBuilder {
    let mut builder = SnapshotBuilder::new(Options::default());
    for number in 0..SERVICES {
        let namespace = format!("ns{}", number % 10);
        let name = format!("svc{number}");
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": format!("10.{}.{}.1", 96 + number / 250, number % 250),
                "selector": {"app": name},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "tcp", "port": 9000}]},
        }))
        .expect("a Service");
        builder.apply(Change::Upsert(Object::Service(Box::new(service))));
        builder.apply(Change::Upsert(Object::EndpointSlice(Box::new(slice(
            number, ENDPOINTS,
        )))));
        for pod in 0..ENDPOINTS {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": format!("{name}-{pod}"), "namespace": namespace,
                    "labels": {"app": name, "security.istio.io/tlsMode": "istio"}},
                "spec": {"serviceAccountName": name, "containers": []},
                "status": {"podIP": address(number, pod)},
            }))
            .expect("a Pod");
            builder.apply(Change::Upsert(Object::Pod(Box::new(pod))));
        }
    }
    builder
}

fn address(service: usize, pod: usize) -> String {
    format!("10.{}.{}.{}", 200 + service / 250, service % 250, pod + 1)
}

fn slice(number: usize, endpoints: usize) -> EndpointSlice {
    let name = format!("svc{number}");
    let endpoints: Vec<_> = (0..endpoints)
        .map(|pod| {
            json!({"addresses": [address(number, pod)],
                "targetRef": {"kind": "Pod", "name": format!("{name}-{pod}")}})
        })
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": format!("{name}-x"), "namespace": format!("ns{}", number % 10),
            "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}, {"name": "tcp", "port": 9000}],
        "endpoints": endpoints,
    }))
    .expect("an EndpointSlice")
}

fn node(service: usize) -> Arc<ProxyNode> {
    let namespace = format!("ns{}", service % 10);
    let id = format!(
        "sidecar~{}~svc{service}-0.{namespace}~{namespace}.svc.cluster.local",
        address(service, 0)
    );
    input::node(&json!({"id": id}))
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    let took = start.elapsed();
    println!("{what}: {took:?}");
    (result, took)
}

#[test]
fn proxies_share_bytes_and_changes_are_small() {
    let mut builder = timed("apply 1,000 services, 1,000 slices, 10,000 pods", world).0;
    let (snapshot, _) = timed("first snapshot", || builder.snapshot().0);
    let cache = Cache::default();
    let (first, cold) = timed("first proxy", || Answers::new(&snapshot, &node(0), &cache));
    // svc10 is in the namespace of svc0, svc1 is not.
    let (near, _) = timed("second proxy, same namespace", || {
        Answers::new(&snapshot, &node(10), &cache)
    });
    let (far, _) = timed("third proxy, other namespace", || {
        Answers::new(&snapshot, &node(1), &cache)
    });
    let (again, warm) = timed("first proxy again", || {
        Answers::new(&snapshot, &node(0), &cache)
    });
    assert_eq!(first.clusters.len(), 2 * SERVICES + 5);
    assert_eq!(first.endpoints.len(), 2 * SERVICES);
    for (ours, theirs) in [(&first, &near), (&first, &far), (&first, &again)] {
        let shared = ours.endpoints.iter().zip(&theirs.endpoints);
        assert!(
            shared
                .clone()
                .all(|(a, b)| a.body.as_ptr() == b.body.as_ptr())
        );
        let outbound = ours
            .clusters
            .iter()
            .zip(&theirs.clusters)
            .take(2 * SERVICES);
        assert!(
            outbound
                .clone()
                .all(|(a, b)| a.body.as_ptr() == b.body.as_ptr())
        );
    }
    let tables = first.routes.iter().zip(&near.routes);
    assert!(
        tables
            .clone()
            .all(|(a, b)| a.body.as_ptr() == b.body.as_ptr())
    );
    assert!(warm < cold);

    builder.apply(Change::Upsert(Object::EndpointSlice(Box::new(slice(7, 9)))));
    let ((next, changes), _) = timed("snapshot after one endpoint left", || builder.snapshot());
    assert_eq!(changes.endpoints.len(), 1);
    let (changed, took) = timed("first proxy after it", || {
        Answers::new(&next, &node(0), &cache)
    });
    let different = changed
        .endpoints
        .iter()
        .zip(&first.endpoints)
        .filter(|(a, b)| a.version != b.version);
    assert_eq!(different.count(), 2, "one service with two ports");
    assert!(took < cold);
}
