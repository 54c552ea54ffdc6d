//! What travels: versions that survive a restart, bytes that proxies share, only what changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironsail_controlplane::generate::{Cache, Resource, SecretAccess};
use ironsail_controlplane::model::object::{Change, Object};
use ironsail_controlplane::model::proxy::ProxyNode;
use ironsail_controlplane::model::snapshot::{Options, Snapshot, SnapshotBuilder};
use ironsail_controlplane::xds::resource_type::ResourceType;
use ironsail_controlplane::xds::session::{Response, Session};
use ironsail_xds::core::Node;
use ironsail_xds::discovery::DeltaDiscoveryRequest;
use serde_json::{Value, json};

const SIDECAR: &str = "sidecar~10.1.0.9~client-1.shop~shop.svc.cluster.local";
const OTHER: &str = "sidecar~10.1.0.8~other-1.shop~shop.svc.cluster.local";
const ROUTER: &str = "router~10.1.0.7~door-1.shop~shop.svc.cluster.local";

/// What clients name, by type.
fn names(kind: ResourceType) -> &'static [&'static str] {
    match kind {
        ResourceType::Endpoint => &[
            "outbound|80||a.shop.svc.cluster.local",
            "outbound|80||b.shop.svc.cluster.local",
        ],
        ResourceType::Route => &["80", "81", "http.8080"],
        ResourceType::Secret => &["kubernetes://a", "kubernetes://b"],
        _ => &[],
    }
}

fn service(name: &str, address: u8, port: u16) -> Value {
    json!({"kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": {
        "clusterIP": format!("10.0.0.{address}"), "clusterIPs": [format!("10.0.0.{address}")],
        "selector": {"app": name}, "ports": [{"name": "http", "port": port, "targetPort": 8080}]}})
}

fn slice(name: &str, address: u8) -> Value {
    json!({"kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [format!("10.1.0.{address}")], "conditions": {"ready": true}}]})
}

fn secret(name: &str, text: &str) -> Value {
    json!({"kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name, "namespace": "shop"},
        "data": {"tls.crt": text, "tls.key": text}})
}

fn gateway(port: u16) -> Value {
    json!({"kind": "Gateway", "metadata": {"name": format!("g{port}"), "namespace": "shop"}, "spec": {
        "selector": {"app": "door"},
        "servers": [{"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}})
}

fn world() -> Vec<Value> {
    let door = json!({"kind": "Pod", "metadata": {"name": "door-1", "namespace": "shop", "labels": {"app": "door"}},
        "spec": {"containers": []}, "status": {"podIP": "10.1.0.7"}});
    vec![
        service("a", 1, 80),
        service("b", 2, 80),
        service("c", 3, 81),
        slice("a", 1),
        slice("b", 2),
        secret("a", "QQ=="),
        secret("b", "Qg=="),
        gateway(8080),
        gateway(8081),
        door,
    ]
}

fn object(value: Value) -> Object {
    fn read<T: serde::de::DeserializeOwned>(value: Value) -> Box<T> {
        Box::new(serde_json::from_value(value).expect("an object"))
    }
    match value["kind"].as_str().expect("a kind") {
        "Service" => Object::Service(read(value)),
        "EndpointSlice" => Object::EndpointSlice(read(value)),
        "Pod" => Object::Pod(read(value)),
        "Secret" => Object::Secret(read(value)),
        "Gateway" => Object::Gateway(read(value)),
        other => panic!("{other}"),
    }
}

/// A control plane with these objects, started anew.
struct ControlPlane {
    builder: SnapshotBuilder,
    snapshot: Arc<Snapshot>,
    cache: Arc<Cache>,
}

impl ControlPlane {
    fn start(objects: impl IntoIterator<Item = Value>) -> Self {
        let mut builder = SnapshotBuilder::new(Options::default());
        for value in objects {
            builder.apply(Change::Upsert(object(value)));
        }
        let (snapshot, _) = builder.snapshot();
        Self {
            builder,
            snapshot,
            cache: Arc::default(),
        }
    }

    fn connect(&self, id: &str) -> Session {
        let node = Node {
            id: id.to_owned(),
            ..Default::default()
        };
        Session::new(
            true,
            1,
            Arc::new(ProxyNode::from_node(Some(&node)).expect("a node")),
            SecretAccess::OwnNamespace,
            Arc::clone(&self.snapshot),
            Arc::clone(&self.cache),
        )
    }
}

/// Subscribes to a type with what the client has.
fn subscribe(
    session: &mut Session,
    kind: ResourceType,
    known: &BTreeMap<String, String>,
) -> Vec<Resource> {
    let request = DeltaDiscoveryRequest {
        resource_names_subscribe: names(kind).iter().map(|&name| name.to_owned()).collect(),
        initial_resource_versions: known.clone().into_iter().collect(),
        ..Default::default()
    };
    let (_, responses) = session.on_delta_request(kind, &request).expect("allowed");
    let own = responses
        .into_iter()
        .filter(|response| response.kind == kind);
    own.flat_map(|response| response.resources).collect()
}

fn versions(resources: &[Resource]) -> BTreeMap<String, String> {
    let all = resources.iter();
    all.map(|resource| (resource.name.to_string(), resource.version.to_string()))
        .collect()
}

#[test]
fn after_a_restart_a_client_is_sent_nothing_that_it_has() {
    let first = ControlPlane::start(world());
    // Another process lists the same objects in another order.
    let second = ControlPlane::start(world().into_iter().rev());
    for id in [SIDECAR, ROUTER] {
        let (mut before, mut after) = (first.connect(id), second.connect(id));
        for kind in ResourceType::ALL {
            let known = versions(&subscribe(&mut before, kind, &BTreeMap::new()));
            let is_for_routers = kind == ResourceType::Secret;
            assert!(
                !known.is_empty() || (is_for_routers && id == SIDECAR),
                "{kind:?} of {id}"
            );
            let sent = versions(&subscribe(&mut after, kind, &known));
            assert_eq!(sent, BTreeMap::new(), "{kind:?} of {id}");
        }
    }
}

#[test]
fn proxies_share_the_bytes_of_what_they_get_alike() {
    let control_plane = ControlPlane::start(world());
    let (mut one, mut other) = (control_plane.connect(SIDECAR), control_plane.connect(OTHER));
    let shared = [
        ResourceType::Cluster,
        ResourceType::Endpoint,
        ResourceType::Listener,
        ResourceType::Route,
        ResourceType::NameTable,
    ];
    for kind in shared {
        let ours = subscribe(&mut one, kind, &BTreeMap::new());
        let theirs = subscribe(&mut other, kind, &BTreeMap::new());
        assert_eq!(versions(&ours), versions(&theirs), "{kind:?}");
        // Listeners for HTTP are a workload's own and not kept.
        let kept = (kind != ResourceType::Listener).then(|| ours.iter().zip(&theirs));
        for (ours, theirs) in kept.into_iter().flatten() {
            assert_eq!(
                ours.body.as_ptr(),
                theirs.body.as_ptr(),
                "{kind:?} {}",
                ours.name
            );
        }
    }
}

/// Makes a change, and tells what of each type is sent for it.
fn sent_for(id: &str, change: Value) -> BTreeMap<ResourceType, Vec<String>> {
    let mut control_plane = ControlPlane::start(world());
    let mut session = control_plane.connect(id);
    for kind in ResourceType::ALL {
        subscribe(&mut session, kind, &BTreeMap::new());
    }
    control_plane.builder.apply(Change::Upsert(object(change)));
    let (snapshot, changes) = control_plane.builder.snapshot();
    let name = |resource: &Resource| resource.name.to_string();
    let names = |response: Response| (response.kind, response.resources.iter().map(name).collect());
    session
        .push(snapshot, &changes)
        .into_iter()
        .map(names)
        .collect()
}

#[track_caller]
fn check(id: &str, change: Value, expected: &[(ResourceType, &[&str])]) {
    let expected: BTreeMap<_, Vec<String>> = expected
        .iter()
        .map(|(kind, names)| (*kind, names.iter().map(|&name| name.to_owned()).collect()))
        .collect();
    assert_eq!(sent_for(id, change), expected);
}

#[test]
fn only_what_changed_is_sent_of_every_type() {
    use ResourceType::{Cluster, Endpoint, Listener, NameTable, Route, Secret};
    let a = "outbound|80||a.shop.svc.cluster.local";
    check(SIDECAR, slice("a", 5), &[(Endpoint, &[a])]);
    // The table of port 80 and the listeners of other ports stay as they are.
    check(
        SIDECAR,
        service("d", 4, 82),
        &[
            (Cluster, &["outbound|82||d.shop.svc.cluster.local"]),
            (Listener, &["0.0.0.0_82"]),
            (NameTable, &[""]),
        ],
    );
    check(
        SIDECAR,
        service("d", 4, 81),
        &[
            (Cluster, &["outbound|81||d.shop.svc.cluster.local"]),
            (Route, &["81"]),
            (NameTable, &[""]),
        ],
    );
    check(
        ROUTER,
        secret("a", "Qw=="),
        &[(Secret, &["kubernetes://a"])],
    );
    check(ROUTER, gateway(8082), &[(Listener, &["0.0.0.0_8082"])]);
    check(SIDECAR, gateway(8082), &[]);
    // What is the same is no change.
    check(SIDECAR, service("a", 1, 80), &[]);
    check(ROUTER, secret("a", "QQ=="), &[]);
}
