//! Properties: the same input gives the same bytes, in whatever order it came.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironsail_controlplane::generate::{self, Cache, Resource, affects};
use ironsail_controlplane::model::object::{Change, Object, ObjectKind};
use ironsail_controlplane::model::proxy::{Proxy, ProxyNode};
use ironsail_controlplane::model::snapshot::{Options, Snapshot, SnapshotBuilder};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use serde_json::{Value, json};

use crate::support::input::{self, Answers};

const NAMESPACES: [&str; 3] = ["shop", "edge", "istio-system"];

/// A small world in which objects refer to each other often.
fn document() -> impl Strategy<Value = Value> {
    let namespace = prop::sample::select(&NAMESPACES[..]);
    let number = 0..3_u8;
    (namespace, number, 0..8_u8, 0..4_u8).prop_map(|(namespace, number, kind, variant)| {
        let name = format!("a{number}");
        let metadata = json!({"name": name, "namespace": namespace});
        let mode = ["STRICT", "DISABLE", "PERMISSIVE", "UNSET"][usize::from(variant)];
        match kind {
            0 => service(metadata, number, variant),
            1 => slice(namespace, number, variant),
            2 => pod(namespace, number, variant),
            3 => json!({"kind": "VirtualService", "metadata": metadata, "spec": {
                "hosts": [name, "*.edge.svc.cluster.local"],
                "gateways": if variant == 0 { json!(["edge/a0"]) } else { json!(["mesh", "a0"]) },
                "http": [{"match": [{"uri": {"prefix": format!("/{variant}")}}],
                    "fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 1}}},
                    "corsPolicy": {"allowOrigins": [{"exact": "a"}]},
                    "route": [{"destination": {"host": name, "subset": "v1"}, "weight": 1},
                        {"destination": {"host": "a1"}, "weight": variant}]}],
            }}),
            4 => json!({"kind": "DestinationRule", "metadata": metadata, "spec": {
                "host": if variant == 0 { "*.svc.cluster.local".to_owned() } else { name },
                "exportTo": if variant == 1 { json!(["."]) } else { json!([]) },
                "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}, "outlierDetection": {"interval": "1s"}},
                "subsets": [{"name": "v1", "labels": {"version": format!("v{variant}")}}],
            }}),
            5 => json!({"kind": "Gateway", "metadata": metadata, "spec": {
                "selector": {"app": format!("a{variant}")},
                "servers": [{"port": {"number": 80 + u32::from(variant), "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
            }}),
            6 => json!({"kind": "PeerAuthentication", "metadata": metadata, "spec": {
                "selector": if variant < 2 { json!({"matchLabels": {"app": name}}) } else { Value::Null },
                "mtls": {"mode": mode},
            }}),
            _ => json!({"kind": "Node", "metadata": {"name": format!("n{number}"),
                "labels": {"topology.kubernetes.io/region": format!("r{variant}")}}}),
        }
    })
}

fn service(metadata: Value, number: u8, variant: u8) -> Value {
    let address = if variant == 0 {
        "None".to_owned()
    } else {
        format!("10.96.{variant}.{number}")
    };
    json!({"kind": "Service", "metadata": metadata, "spec": {
        "clusterIP": address,
        "selector": {"app": format!("a{number}")},
        "ports": [
            {"name": "http", "port": 80, "targetPort": "web"},
            {"name": "tcp", "port": 9000 + u32::from(variant)},
            {"name": "other", "port": 7000},
        ],
    }})
}

fn slice(namespace: &str, number: u8, variant: u8) -> Value {
    let pod = format!("a{variant}");
    json!({"kind": "EndpointSlice",
        "metadata": {"name": format!("s{number}{}", variant % 2), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": format!("a{number}")}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}, {"name": "tcp", "port": 9000}, {"name": "other", "port": 7000}],
        "endpoints": [
            {"addresses": [format!("10.0.{number}.{variant}")], "nodeName": format!("n{number}"),
                "conditions": {"ready": variant != 3},
                "targetRef": {"kind": "Pod", "name": pod, "namespace": namespace}},
            {"addresses": ["10.0.9.9"]},
        ],
    })
}

fn pod(namespace: &str, number: u8, variant: u8) -> Value {
    let mode = if variant == 1 { "istio" } else { "" };
    json!({"kind": "Pod",
        "metadata": {"name": format!("a{number}"), "namespace": namespace, "labels": {
            "app": format!("a{variant}"), "version": format!("v{number}"), "security.istio.io/tlsMode": mode}},
        "spec": {"serviceAccountName": format!("sa{variant}"), "nodeName": format!("n{variant}"),
            "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"podIP": format!("10.0.{number}.{variant}")},
    })
}

#[derive(Clone, Debug)]
enum Step {
    Put(Value),
    Delete(Value),
    /// A push happens here.
    Snapshot,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => document().prop_map(Step::Put),
        2 => document().prop_map(Step::Delete),
        2 => Just(Step::Snapshot),
    ];
    prop::collection::vec(step, 1..60)
}

fn key(value: &Value) -> (ObjectKind, String, String) {
    let text = |name: &str| {
        value["metadata"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let kind = match value["kind"].as_str().expect("a kind") {
        "Service" => ObjectKind::Service,
        "EndpointSlice" => ObjectKind::EndpointSlice,
        "Pod" => ObjectKind::Pod,
        "Node" => ObjectKind::Node,
        "VirtualService" => ObjectKind::VirtualService,
        "DestinationRule" => ObjectKind::DestinationRule,
        "Gateway" => ObjectKind::Gateway,
        _ => ObjectKind::PeerAuthentication,
    };
    (kind, text("namespace"), text("name"))
}

fn object(value: &Value) -> Object {
    input::object(value).expect("a kind of the model")
}

fn nodes() -> Vec<Arc<ProxyNode>> {
    [
        "sidecar~10.0.0.1~a0.shop",
        "sidecar~10.0.1.1~a1.edge",
        "router~10.0.2.1~a2.edge",
    ]
    .into_iter()
    .map(|id| input::node(&json!({"id": format!("{id}~shop.svc.cluster.local")})))
    .collect()
}

/// Everything that every proxy gets, by type and name.
fn everything(
    snapshot: &Snapshot,
    cache: &Cache,
) -> BTreeMap<(usize, &'static str, String), Resource> {
    let mut all = BTreeMap::new();
    for (position, node) in nodes().iter().enumerate() {
        let answers = Answers::new(snapshot, node, cache);
        let names = generate::name_table(snapshot, &Proxy::new(node.clone(), snapshot), cache);
        let types = [
            ("clusters", answers.clusters),
            ("endpoints", answers.endpoints),
            ("listeners", answers.listeners),
            ("routes", answers.routes),
            ("names", names),
        ];
        for (kind, resources) in types {
            for resource in resources {
                let double = all.insert((position, kind, resource.name.to_string()), resource);
                assert!(double.is_none(), "a name twice among the {kind}");
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Changes one after the other, with pushes in between and one cache, end as if all objects had
    /// been there from the start; what a push leaves out as not affected is the same as before.
    #[test]
    fn incremental_equals_rebuilt(steps in steps()) {
        let mut builder = SnapshotBuilder::new(Options::default());
        let cache = Cache::default();
        let mut objects = BTreeMap::new();
        let mut before = BTreeMap::new();
        for step in steps.into_iter().chain([Step::Snapshot]) {
            match step {
                Step::Put(value) => {
                    builder.apply(Change::Upsert(object(&value)));
                    objects.insert(key(&value), value);
                }
                Step::Delete(value) => {
                    let (kind, namespace, name) = key(&value);
                    objects.remove(&(kind, namespace.clone(), name.clone()));
                    builder.apply(Change::Delete { kind, namespace, name });
                }
                Step::Snapshot => {
                    let (snapshot, changes) = builder.snapshot();
                    let now = everything(&snapshot, &cache);
                    for (position, node) in nodes().into_iter().enumerate() {
                        let affected = affects(&changes, &Proxy::new(node, &snapshot));
                        let keys: std::collections::BTreeSet<_> = before.keys().chain(now.keys()).collect();
                        for key in keys.into_iter().filter(|key| key.0 == position) {
                            let may_differ = match key.1 {
                                "clusters" => affected.clusters,
                                "endpoints" => affected.clusters || affected.endpoints.has_cluster(&key.2),
                                "listeners" => affected.listeners,
                                "routes" => affected.routes || affected.listeners,
                                _ => affected.names,
                            };
                            let is_same = before.get(key) == now.get(key);
                            prop_assert!(is_same || may_differ, "{key:?} changed with {changes:?}");
                        }
                    }
                    before = now;
                }
            }
        }
        let mut rebuilt = SnapshotBuilder::new(Options::default());
        for value in objects.values().rev() {
            rebuilt.apply(Change::Upsert(object(value)));
        }
        let rebuilt = everything(&rebuilt.snapshot().0, &Cache::default());
        prop_assert_eq!(before, rebuilt);
    }
}

#[test]
fn nothing_new_is_the_same_snapshot() {
    let documents = [
        service(json!({"name": "a0", "namespace": "shop"}), 0, 1),
        pod("shop", 0, 1),
    ];
    let mut builder = input::builder(&documents);
    let (first, changes) = builder.snapshot();
    assert!(changes.full);
    for document in &documents {
        builder.apply(Change::Upsert(object(document)));
    }
    let (second, changes) = builder.snapshot();
    assert!(Arc::ptr_eq(&first, &second) && changes.is_empty());
}
