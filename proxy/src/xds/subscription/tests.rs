use std::collections::BTreeSet;

use ironsail_xds::core::Node;
use ironsail_xds::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use ironsail_xds::ext::transport_sockets::tls::v3 as tls;
use ironsail_xds::{Any, cluster, pack};

use super::*;

const NONE: &[(&str, &str)] = &[];

/// The short name of a type: `CDS`, `EDS`, …
fn short(type_url: &str) -> &'static str {
    match type_url {
        type_url::CLUSTER => "CDS",
        type_url::ENDPOINT => "EDS",
        type_url::LISTENER => "LDS",
        type_url::ROUTE => "RDS",
        type_url::SECRET => "SDS",
        _ => "?",
    }
}

/// A request in one line; what is empty is left out.
fn show(request: &Request) -> String {
    let mut text = String::new();
    let mut part = |label: &str, value: String| {
        if !value.is_empty() {
            text.push_str(label);
            text.push_str(&value);
        }
    };
    match request {
        Request::Delta(request) => {
            let mut versions: Vec<String> = request
                .initial_resource_versions
                .iter()
                .map(|(name, version)| format!("{name}={version}"))
                .collect();
            versions.sort();
            part("", short(&request.type_url).to_owned());
            part(" +", request.resource_names_subscribe.join(","));
            part(" -", request.resource_names_unsubscribe.join(","));
            part(" has ", versions.join(","));
            part(" nonce ", request.response_nonce.clone());
            part(" node ", node_id(request.node.as_ref()));
            part(" error ", error_text(request.error_detail.as_ref()));
        }
        Request::StateOfTheWorld(request) => {
            part("", short(&request.type_url).to_owned());
            part(" ", request.resource_names.join(","));
            part(" version ", request.version_info.clone());
            part(" nonce ", request.response_nonce.clone());
            part(" node ", node_id(request.node.as_ref()));
            part(" error ", error_text(request.error_detail.as_ref()));
        }
    }
    text
}

fn node_id(node: Option<&Node>) -> String {
    node.map(|node| node.id.clone()).unwrap_or_default()
}

fn error_text(status: Option<&rpc::Status>) -> String {
    status
        .map(|status| format!("{} {}", status.code, status.message))
        .unwrap_or_default()
}

fn show_all(requests: &[Request]) -> Vec<String> {
    requests.iter().map(show).collect()
}

fn subscriptions(protocol: Protocol) -> Subscriptions {
    let node = Node {
        id: "me".to_owned(),
        ..Default::default()
    };
    Subscriptions::new(protocol, node)
}

fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn endpoints(wanted: &[&str]) -> Wanted {
    Wanted {
        endpoints: names(wanted),
        ..Default::default()
    }
}

/// A cluster's shape fits every type: all that is read here is the name.
fn body(type_url: &str, name: &str) -> Any {
    Any {
        type_url: type_url.to_owned(),
        ..pack(&cluster::Cluster {
            name: name.to_owned(),
            ..Default::default()
        })
    }
}

fn delta(type_url: &str, nonce: &str, added: &[(&str, &str)], removed: &[&str]) -> Response {
    Response::Delta(DeltaDiscoveryResponse {
        type_url: type_url.to_owned(),
        nonce: nonce.to_owned(),
        resources: added
            .iter()
            .map(|(name, version)| Resource {
                name: (*name).to_owned(),
                version: (*version).to_owned(),
                resource: Some(body(type_url, name)),
                ..Default::default()
            })
            .collect(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    })
}

fn full(type_url: &str, version: &str, nonce: &str, all: &[&str]) -> Response {
    Response::StateOfTheWorld(DiscoveryResponse {
        type_url: type_url.to_owned(),
        version_info: version.to_owned(),
        nonce: nonce.to_owned(),
        resources: all.iter().map(|name| body(type_url, name)).collect(),
        ..Default::default()
    })
}

/// Hands over a response, rejects `rejected` with the error `bad`, and gives the update and all requests.
fn apply(
    subscriptions: &mut Subscriptions,
    response: Response,
    rejected: &[&str],
    wanted: &Wanted,
) -> (Update, Vec<String>) {
    let (update, pending) = subscriptions
        .on_response(response)
        .expect("the type is subscribed to");
    let rejected: Vec<Rejected> = rejected
        .iter()
        .map(|name| Rejected {
            name: (*name).to_owned(),
            error: "bad".to_owned(),
        })
        .collect();
    let wanted = pending.kind().refers().then_some(wanted);
    let requests = subscriptions.on_applied(pending, &rejected, wanted);
    (update, show_all(&requests))
}

fn added(update: &Update) -> Vec<&str> {
    update.added.iter().map(|one| one.name.as_str()).collect()
}

#[test]
fn a_stream_begins_with_the_wildcards_and_the_node_goes_once() {
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let mut state = subscriptions(protocol);
        let first = state.on_connect(&Wanted::default());
        assert_eq!(show_all(&first), ["CDS node me", "LDS"], "{protocol:?}");
    }
}

#[test]
fn what_is_wanted_before_the_first_stream_is_asked_for_in_order() {
    let wanted = Wanted {
        endpoints: names(&["e2", "e1"]),
        routes: names(&["80"]),
        secrets: names(&["kubernetes://cert"]),
    };
    let cases = [
        (
            Protocol::Delta,
            [
                "CDS node me",
                "EDS +e1,e2",
                "LDS",
                "RDS +80",
                "SDS +kubernetes://cert",
            ],
        ),
        (
            Protocol::StateOfTheWorld,
            [
                "CDS node me",
                "EDS e1,e2",
                "LDS",
                "RDS 80",
                "SDS kubernetes://cert",
            ],
        ),
    ];
    for (protocol, expected) in cases {
        let mut state = subscriptions(protocol);
        assert!(state.on_wanted(&wanted).is_empty(), "there is no stream");
        assert_eq!(show_all(&state.on_connect(&wanted)), expected);
    }
}

#[test]
fn delta_acknowledges_and_subscribes_to_what_clusters_refer_to() {
    let mut state = subscriptions(Protocol::Delta);
    state.on_connect(&Wanted::default());
    let response = delta(type_url::CLUSTER, "n1", &[("a", "1"), ("b", "1")], &[]);
    let (update, requests) = apply(&mut state, response, &[], &endpoints(&["a", "b"]));
    assert!(!update.full);
    assert_eq!(added(&update), ["a", "b"]);
    assert_eq!(requests, ["CDS nonce n1", "EDS +a,b"]);

    let response = delta(type_url::CLUSTER, "n2", &[("c", "1")], &["a"]);
    let (update, requests) = apply(&mut state, response, &[], &endpoints(&["b", "c"]));
    assert_eq!(update.removed, ["a"]);
    assert_eq!(requests, ["CDS nonce n2", "EDS +c -a"]);

    // A changed cluster keeps its endpoints.
    let response = delta(type_url::CLUSTER, "n3", &[("b", "2")], &[]);
    let (_, requests) = apply(&mut state, response, &[], &endpoints(&["b", "c"]));
    assert_eq!(requests, ["CDS nonce n3"]);
}

#[test]
fn full_state_asks_for_endpoints_after_each_update_of_clusters() {
    let mut state = subscriptions(Protocol::StateOfTheWorld);
    state.on_connect(&Wanted::default());
    let wanted = endpoints(&["a"]);
    let response = full(type_url::CLUSTER, "v1", "n1", &["a"]);
    let (update, requests) = apply(&mut state, response, &[], &wanted);
    assert!(update.full);
    assert_eq!(added(&update), ["a"]);
    assert_eq!(requests, ["CDS version v1 nonce n1", "EDS a"]);

    let response = full(type_url::ENDPOINT, "v1", "n2", &["a"]);
    let (update, requests) = apply(&mut state, response, &[], &wanted);
    assert!(!update.full, "endpoints that are not repeated stay");
    assert_eq!(requests, ["EDS a version v1 nonce n2"]);

    let response = full(type_url::CLUSTER, "v2", "n3", &["a"]);
    let (_, requests) = apply(&mut state, response, &[], &wanted);
    assert_eq!(
        requests,
        ["CDS version v2 nonce n3", "EDS a version v1 nonce n2"]
    );

    // Listeners do not make clusters wait.
    let response = full(type_url::LISTENER, "v2", "n4", &["l"]);
    let (_, requests) = apply(&mut state, response, &[], &wanted);
    assert_eq!(requests, ["LDS version v2 nonce n4"]);
}

#[test]
fn names_that_are_wanted_no_more_are_unsubscribed() {
    let cases = [
        (Protocol::Delta, ["EDS +b", "EDS -a,b", "EDS +a"]),
        (Protocol::StateOfTheWorld, ["EDS a,b", "EDS", "EDS a"]),
    ];
    for (protocol, expected) in cases {
        let mut state = subscriptions(protocol);
        state.on_connect(&endpoints(&["a"]));
        assert!(state.on_wanted(&endpoints(&["a"])).is_empty());
        let steps: Vec<String> = [endpoints(&["a", "b"]), endpoints(&[]), endpoints(&["a"])]
            .iter()
            .flat_map(|wanted| show_all(&state.on_wanted(wanted)))
            .collect();
        assert_eq!(steps, expected, "{protocol:?}");
    }
}

#[test]
fn nothing_is_never_asked_for_first() {
    // An empty first request would mean everything.
    for protocol in [Protocol::Delta, Protocol::StateOfTheWorld] {
        let mut state = subscriptions(protocol);
        state.on_wanted(&endpoints(&["a"]));
        state.on_connect(&endpoints(&["a"]));
        state.on_disconnect();
        let first = state.on_connect(&endpoints(&[]));
        assert_eq!(show_all(&first).len(), 2, "{protocol:?}");
        assert!(state.on_wanted(&endpoints(&[])).is_empty());
    }
}

#[test]
fn a_rejection_names_the_resource_and_the_rest_is_taken() {
    let mut state = subscriptions(Protocol::Delta);
    state.on_connect(&Wanted::default());
    let wanted = Wanted::default();
    let first = delta(type_url::CLUSTER, "n1", &[("a", "1"), ("b", "1")], &[]);
    apply(&mut state, first, &[], &wanted);
    let second = delta(
        type_url::CLUSTER,
        "n2",
        &[("a", "2"), ("b", "2"), ("c", "2")],
        &[],
    );
    let (_, requests) = apply(&mut state, second, &["a", "c"], &wanted);
    assert_eq!(requests, ["CDS nonce n2 error 3 a: bad; c: bad"]);
    state.on_disconnect();
    // The old version of what was rejected is what is there.
    let again = state.on_connect(&wanted);
    assert_eq!(show_all(&again), ["CDS has a=1,b=2 node me", "LDS"]);
}

#[test]
fn a_rejection_of_the_full_state_keeps_the_version() {
    let mut state = subscriptions(Protocol::StateOfTheWorld);
    state.on_connect(&Wanted::default());
    let wanted = Wanted::default();
    apply(
        &mut state,
        full(type_url::CLUSTER, "v1", "n1", &["a"]),
        &[],
        &wanted,
    );
    let second = full(type_url::CLUSTER, "v2", "n2", &["a", "b"]);
    let (_, requests) = apply(&mut state, second, &["b"], &wanted);
    assert_eq!(requests, ["CDS version v1 nonce n2 error 3 b: bad"]);
    state.on_disconnect();
    // Nonces belong to a stream, versions don't.
    let again = state.on_connect(&wanted);
    assert_eq!(show_all(&again), ["CDS version v1 node me", "LDS"]);
    apply(
        &mut state,
        full(type_url::CLUSTER, "v3", "n1", &["a"]),
        &[],
        &wanted,
    );
    state.on_disconnect();
    let again = state.on_connect(&wanted);
    assert_eq!(show_all(&again), ["CDS version v3 node me", "LDS"]);
}

#[test]
fn a_reconnect_tells_what_is_there_and_wanted() {
    let mut state = subscriptions(Protocol::Delta);
    let wanted = endpoints(&["a", "b", "c"]);
    state.on_connect(&wanted);
    let all = [("a", "1"), ("b", "1"), ("c", "1")];
    apply(
        &mut state,
        delta(type_url::ENDPOINT, "n1", &all, &[]),
        &[],
        &wanted,
    );
    apply(
        &mut state,
        delta(type_url::ENDPOINT, "n2", NONE, &["b"]),
        &[],
        &wanted,
    );
    apply(
        &mut state,
        delta(type_url::LISTENER, "n3", &[("l", "7")], &[]),
        &[],
        &wanted,
    );
    state.on_disconnect();
    assert!(state.on_wanted(&endpoints(&["a", "b"])).is_empty());
    let again = state.on_connect(&endpoints(&["a", "b"]));
    assert_eq!(
        show_all(&again),
        ["CDS node me", "EDS +a,b has a=1", "LDS has l=7"]
    );
}

#[test]
fn a_name_that_returns_is_asked_for_anew() {
    let mut state = subscriptions(Protocol::Delta);
    state.on_connect(&endpoints(&["a"]));
    let response = delta(type_url::ENDPOINT, "n1", &[("a", "1")], &[]);
    apply(&mut state, response, &[], &endpoints(&["a"]));
    state.on_wanted(&endpoints(&[]));
    assert_eq!(show_all(&state.on_wanted(&endpoints(&["a"]))), ["EDS +a"]);
    state.on_disconnect();
    let again = state.on_connect(&endpoints(&["a"]));
    assert_eq!(show_all(&again), ["CDS node me", "EDS +a", "LDS"]);
}

#[test]
fn late_resources_are_acknowledged_but_not_handed_on() {
    let mut state = subscriptions(Protocol::Delta);
    let wanted = endpoints(&["a"]);
    state.on_connect(&wanted);
    let late = delta(
        type_url::ENDPOINT,
        "n1",
        &[("a", "1"), ("gone", "1")],
        &["older"],
    );
    let (update, requests) = apply(&mut state, late, &[], &wanted);
    assert_eq!(added(&update), ["a"]);
    assert!(update.removed.is_empty());
    assert_eq!(requests, ["EDS nonce n1"]);
}

#[test]
fn responses_nobody_asked_for_are_not_answered() {
    let mut state = subscriptions(Protocol::StateOfTheWorld);
    state.on_connect(&Wanted::default());
    for type_url in [type_url::ENDPOINT, type_url::NAME_TABLE] {
        assert!(
            state
                .on_response(full(type_url, "v1", "n1", &["a"]))
                .is_none()
        );
    }
}

#[test]
fn malformed_resources_are_rejected_one_by_one() {
    let resource = |name: &str, any: Option<Any>| Resource {
        name: name.to_owned(),
        version: "1".to_owned(),
        resource: any,
        ..Default::default()
    };
    let good = body(type_url::CLUSTER, "good");
    let secret = pack(&tls::Secret::default());
    let response = Response::Delta(DeltaDiscoveryResponse {
        type_url: type_url::CLUSTER.to_owned(),
        nonce: "n1".to_owned(),
        resources: vec![
            resource("empty", None),
            resource("other", Some(secret)),
            resource("", Some(good.clone())),
            resource("good", Some(good.clone())),
            resource("good", Some(good)),
        ],
        ..Default::default()
    });
    let mut state = subscriptions(Protocol::Delta);
    state.on_connect(&Wanted::default());
    let (update, requests) = apply(&mut state, response, &[], &Wanted::default());
    assert_eq!(added(&update), ["good"]);
    let expected = format!(
        "CDS nonce n1 error 3 empty: resource has no body; other: type is {}, expected {}; : resource has no name; \
         good: name occurs more than once",
        type_url::SECRET,
        type_url::CLUSTER
    );
    assert_eq!(requests, [expected]);
}

#[test]
fn a_heartbeat_changes_nothing() {
    let mut state = subscriptions(Protocol::Delta);
    state.on_connect(&Wanted::default());
    let first = delta(type_url::CLUSTER, "n1", &[("a", "1")], &[]);
    apply(&mut state, first, &[], &Wanted::default());
    let heartbeat = Response::Delta(DeltaDiscoveryResponse {
        type_url: type_url::CLUSTER.to_owned(),
        nonce: "n2".to_owned(),
        resources: vec![Resource {
            name: "a".to_owned(),
            version: "1".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    });
    let (update, requests) = apply(&mut state, heartbeat, &[], &Wanted::default());
    assert!(update.added.is_empty());
    assert_eq!(requests, ["CDS nonce n2"]);
}

#[test]
fn an_unreadable_resource_removes_nothing() {
    let mut state = subscriptions(Protocol::StateOfTheWorld);
    state.on_connect(&Wanted::default());
    let response = Response::StateOfTheWorld(DiscoveryResponse {
        type_url: type_url::CLUSTER.to_owned(),
        version_info: "v1".to_owned(),
        nonce: "n1".to_owned(),
        resources: vec![
            body(type_url::CLUSTER, "good"),
            Any {
                type_url: type_url::CLUSTER.to_owned(),
                value: vec![0xff],
            },
        ],
        ..Default::default()
    });
    let (update, requests) = apply(&mut state, response, &[], &Wanted::default());
    assert!(!update.full);
    assert_eq!(added(&update), ["good"]);
    assert!(
        requests
            .iter()
            .any(|request| request.contains("does not decode"))
    );
}

#[test]
fn a_wrapped_resource_is_opened() {
    let inner = body(type_url::CLUSTER, "a");
    let wrapped = pack(&Resource {
        name: "a".to_owned(),
        resource: Some(inner.clone()),
        ..Default::default()
    });
    let response = Response::StateOfTheWorld(DiscoveryResponse {
        type_url: type_url::CLUSTER.to_owned(),
        version_info: "v1".to_owned(),
        resources: vec![wrapped],
        ..Default::default()
    });
    let mut state = subscriptions(Protocol::StateOfTheWorld);
    state.on_connect(&Wanted::default());
    let (update, _) = apply(&mut state, response, &[], &Wanted::default());
    let resource = update.added.first().expect("one resource");
    assert_eq!(
        (resource.name.as_str(), resource.version.as_str()),
        ("a", "v1")
    );
    assert_eq!(resource.body, inner.value);
    assert_eq!(resource.type_url, type_url::CLUSTER);
}

#[test]
fn first_requests_carry_no_nonce_or_error() {
    let mut state = subscriptions(Protocol::Delta);
    let first = state.on_connect(&Wanted::default());
    let expected = DeltaDiscoveryRequest {
        node: Some(Node {
            id: "me".to_owned(),
            ..Default::default()
        }),
        type_url: type_url::CLUSTER.to_owned(),
        ..Default::default()
    };
    assert_eq!(first.first(), Some(&Request::Delta(expected)));
    let mut state = subscriptions(Protocol::StateOfTheWorld);
    let first = state.on_connect(&Wanted::default());
    let expected = DiscoveryRequest {
        type_url: type_url::LISTENER.to_owned(),
        ..Default::default()
    };
    assert_eq!(first.last(), Some(&Request::StateOfTheWorld(expected)));
}
