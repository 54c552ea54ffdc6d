use ironsail_xds::rpc::Status;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use super::*;
use crate::model::object::{Change, Object, ObjectKind};
use crate::model::snapshot::{Options, SnapshotBuilder};

fn service(name: &str, ip: &str) -> Change {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }))
    .expect("a Service");
    Change::Upsert(Object::Service(Box::new(service)))
}

struct Mesh {
    builder: SnapshotBuilder,
    session: Session,
}

fn mesh(is_delta: bool) -> Mesh {
    let mut builder = SnapshotBuilder::new(Options::default());
    builder.apply(service("a", "10.0.0.1"));
    let (snapshot, _) = builder.snapshot();
    let node = ironsail_xds::core::Node {
        id: "sidecar~10.1.0.1~pod.default~default.svc.cluster.local".to_owned(),
        ..Default::default()
    };
    let node = Arc::new(ProxyNode::from_node(Some(&node)).expect("a node"));
    let session = Session::new(
        is_delta,
        7,
        node,
        SecretAccess::Denied,
        snapshot,
        Arc::new(Cache::default()),
    );
    Mesh { builder, session }
}

impl Mesh {
    fn change(&mut self, change: Change) -> Vec<Response> {
        self.builder.apply(change);
        let (snapshot, changes) = self.builder.snapshot();
        self.session.push(snapshot, &changes)
    }

    fn request(
        &mut self,
        kind: ResourceType,
        nonce: &str,
        names: &[&str],
    ) -> (Event, Vec<Response>) {
        let request = DiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            response_nonce: nonce.to_owned(),
            resource_names: names.iter().map(|&name| name.to_owned()).collect(),
            ..Default::default()
        };
        self.session.on_request(kind, &request).expect("allowed")
    }

    fn delta(
        &mut self,
        kind: ResourceType,
        nonce: &str,
        add: &[&str],
        known: &[(&str, &str)],
    ) -> (Event, Vec<Response>) {
        let request = DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            response_nonce: nonce.to_owned(),
            resource_names_subscribe: add.iter().map(|&name| name.to_owned()).collect(),
            initial_resource_versions: known
                .iter()
                .map(|&(name, version)| (name.to_owned(), version.to_owned()))
                .collect(),
            ..Default::default()
        };
        self.session
            .on_delta_request(kind, &request)
            .expect("allowed")
    }
}

fn one(responses: &[Response]) -> &Response {
    let [response] = responses else {
        panic!("one response expected: {responses:?}");
    };
    response
}

const ENDPOINTS: &str = "outbound|80||a.default.svc.cluster.local";

#[test]
fn an_acknowledgement_is_not_answered() {
    let mut mesh = mesh(false);
    let (event, responses) = mesh.request(ResourceType::Cluster, "", &[]);
    assert_eq!(event, Event::Subscribed);
    let nonce = one(&responses).nonce.clone();
    let (event, responses) = mesh.request(ResourceType::Cluster, &nonce, &[]);
    assert_eq!((event, responses), (Event::Acknowledged, Vec::new()));
    let (event, responses) = mesh.request(ResourceType::Cluster, "other", &[]);
    assert_eq!((event, responses), (Event::Stale, Vec::new()));
}

#[test]
fn a_rejection_is_remembered_and_not_answered() {
    let mut mesh = mesh(false);
    let (_, responses) = mesh.request(ResourceType::Cluster, "", &[]);
    let request = DiscoveryRequest {
        response_nonce: one(&responses).nonce.clone(),
        error_detail: Some(Status {
            message: "bad cluster".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let (event, responses) = mesh
        .session
        .on_request(ResourceType::Cluster, &request)
        .expect("allowed");
    assert_eq!(event, Event::Rejected("bad cluster".to_owned()));
    assert!(responses.is_empty());
    let status = mesh.session.status();
    assert_eq!(
        status[&ResourceType::Cluster].error.as_deref(),
        Some("bad cluster")
    );
}

#[test]
fn a_change_is_pushed_once_and_whole_types_whole() {
    let mut mesh = mesh(false);
    let (_, responses) = mesh.request(ResourceType::Cluster, "", &[]);
    let before = one(&responses).resources.len();
    let pushed = mesh.change(service("b", "10.0.0.2"));
    assert_eq!(one(&pushed).resources.len(), before + 1);
    assert!(
        mesh.change(service("b", "10.0.0.2")).is_empty(),
        "nothing changed"
    );
}

#[test]
fn delta_sends_what_changed_and_what_went() {
    let mut mesh = mesh(true);
    mesh.delta(ResourceType::Cluster, "", &[], &[]);
    let pushed = mesh.change(service("b", "10.0.0.2"));
    let response = one(&pushed);
    assert_eq!(response.resources.len(), 1);
    assert!(response.resources[0].name.contains("b.default"));
    let pushed = mesh.change(Change::Delete {
        kind: ObjectKind::Service,
        namespace: "default".to_owned(),
        name: "b".to_owned(),
    });
    let response = one(&pushed);
    assert!(response.resources.is_empty());
    assert_eq!(response.removed.len(), 1);
}

#[test]
fn a_client_that_returns_is_sent_only_what_differs() {
    let mut first = mesh(true);
    let (_, responses) = first.delta(ResourceType::Cluster, "", &[], &[]);
    let versions: Vec<(String, String)> = one(&responses)
        .resources
        .iter()
        .map(|resource| (resource.name.to_string(), resource.version.to_string()))
        .collect();
    let mut known: Vec<(&str, &str)> = versions
        .iter()
        .map(|(name, version)| (name.as_str(), version.as_str()))
        .collect();
    let mut again = mesh(true);
    known.push(("gone", "0000000000000001"));
    let (_, responses) = again.delta(ResourceType::Cluster, "", &[], &known);
    let response = one(&responses);
    assert!(response.resources.is_empty(), "{response:?}");
    assert_eq!(response.removed, [Arc::from("gone")]);
}

#[test]
fn endpoints_follow_a_cluster_that_is_sent_again() {
    for is_delta in [false, true] {
        let mut mesh = mesh(is_delta);
        if is_delta {
            mesh.delta(ResourceType::Cluster, "", &[], &[]);
            mesh.delta(ResourceType::Endpoint, "", &[ENDPOINTS], &[]);
            let (_, responses) = mesh.delta(ResourceType::Cluster, "", &["*", ENDPOINTS], &[]);
            assert!(
                responses.iter().any(|r| r.kind == ResourceType::Endpoint),
                "{responses:?}"
            );
        } else {
            mesh.request(ResourceType::Cluster, "", &[]);
            mesh.request(ResourceType::Endpoint, "", &[ENDPOINTS]);
            let (_, responses) = mesh.request(ResourceType::Cluster, "", &[]);
            assert!(
                responses.iter().any(|r| r.kind == ResourceType::Endpoint),
                "{responses:?}"
            );
        }
    }
}

#[test]
fn what_is_asked_for_and_absent_is_said_to_be_absent() {
    let mut mesh = mesh(true);
    let (_, responses) = mesh.delta(ResourceType::Route, "", &["99999"], &[]);
    let response = one(&responses);
    assert!(response.resources.is_empty());
    assert_eq!(response.removed, [Arc::from("99999")]);
}

#[test]
fn state_of_the_world_and_delta_end_equal() {
    let mut whole = mesh(false);
    let mut delta = mesh(true);
    let mut seen_whole: BTreeMap<String, ContentHash> = BTreeMap::new();
    let mut seen_delta: BTreeMap<String, ContentHash> = BTreeMap::new();
    let take =
        |responses: Vec<Response>, into: &mut BTreeMap<String, ContentHash>, is_delta: bool| {
            for response in responses {
                if !is_delta {
                    into.clear();
                }
                for name in &response.removed {
                    into.remove(&**name);
                }
                for resource in &response.resources {
                    into.insert(resource.name.to_string(), resource.version);
                }
            }
        };
    take(
        whole.request(ResourceType::Cluster, "", &[]).1,
        &mut seen_whole,
        false,
    );
    take(
        delta.delta(ResourceType::Cluster, "", &[], &[]).1,
        &mut seen_delta,
        true,
    );
    let changes = || {
        let delete = Change::Delete {
            kind: ObjectKind::Service,
            namespace: "default".to_owned(),
            name: "a".to_owned(),
        };
        [
            service("b", "10.0.0.2"),
            service("c", "10.0.0.3"),
            delete,
            service("b", "10.0.0.4"),
            service("a", "10.0.0.1"),
        ]
    };
    for (one, other) in changes().into_iter().zip(changes()) {
        take(whole.change(one), &mut seen_whole, false);
        take(delta.change(other), &mut seen_delta, true);
        assert_eq!(seen_whole, seen_delta);
    }
}

#[test]
fn a_client_that_names_clusters_gets_those_and_may_add_some() {
    let mut mesh = mesh(false);
    mesh.change(service("b", "10.0.0.2"));
    let b = ENDPOINTS.replace("||a.", "||b.");
    let (_, responses) = mesh.request(ResourceType::Cluster, "", &[ENDPOINTS]);
    let response = one(&responses);
    assert_eq!(names(response), [ENDPOINTS]);
    let nonce = response.nonce.clone();
    let (event, responses) = mesh.request(ResourceType::Cluster, &nonce, &[ENDPOINTS, &b]);
    assert_eq!(event, Event::Subscribed);
    let mut both = names(one(&responses));
    both.sort();
    assert_eq!(both, [ENDPOINTS, &b]);
}

fn names(response: &Response) -> Vec<&str> {
    let all = response.resources.iter();
    all.map(|resource| &*resource.name).collect()
}

fn endpoint(service: &str, ip: &str) -> Change {
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": format!("{service}-x"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [ip]}],
    }))
    .expect("an EndpointSlice");
    Change::Upsert(Object::EndpointSlice(Box::new(slice)))
}

#[test]
fn endpoints_that_change_are_sent_alone() {
    const OTHER: &str = "outbound|80||b.default.svc.cluster.local";
    for is_delta in [false, true] {
        let mut mesh = mesh(is_delta);
        mesh.change(service("b", "10.0.0.2"));
        match is_delta {
            true => drop(mesh.delta(ResourceType::Endpoint, "", &[ENDPOINTS, OTHER], &[])),
            false => drop(mesh.request(ResourceType::Endpoint, "", &[ENDPOINTS, OTHER])),
        }
        let pushed = mesh.change(endpoint("b", "10.2.0.1"));
        let sent: Vec<&str> = one(&pushed).resources.iter().map(|r| &*r.name).collect();
        assert_eq!(sent, [OTHER]);
        let pushed = mesh.change(Change::Delete {
            kind: ObjectKind::Service,
            namespace: "default".to_owned(),
            name: "b".to_owned(),
        });
        // In state of the world the client unsubscribes by itself.
        let removed: Vec<&str> = pushed
            .iter()
            .flat_map(|r| &r.removed)
            .map(|n| &**n)
            .collect();
        assert_eq!(removed, if is_delta { vec![OTHER] } else { Vec::new() });
    }
}
