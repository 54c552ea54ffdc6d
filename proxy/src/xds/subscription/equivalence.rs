//! Whatever a control plane pushes, both protocols lead to the same state.

use std::collections::{BTreeMap, BTreeSet};

use ironsail_xds::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use ironsail_xds::{Any, cluster, core::Node, endpoint, pack, type_url};
use proptest::prelude::*;

use super::*;
use crate::xds::Sink;

/// What can happen to a control plane and its client.
#[derive(Clone, Debug)]
enum Step {
    Cluster {
        name: &'static str,
        revision: u8,
        /// Whether the cluster has endpoints of its own.
        dynamic: bool,
        bad: bool,
    },
    Remove(&'static str),
    Endpoints {
        name: &'static str,
        revision: u8,
        bad: bool,
    },
    Push,
    Reconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let step = prop_oneof![
        4 => (name(), 0..4u8, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
            |(name, revision, dynamic, bad)| Step::Cluster { name, revision, dynamic, bad }
        ),
        2 => name().prop_map(Step::Remove),
        4 => (name(), 0..4u8, prop::bool::weighted(0.2))
            .prop_map(|(name, revision, bad)| Step::Endpoints { name, revision, bad }),
        5 => Just(Step::Push),
        1 => Just(Step::Reconnect),
    ];
    prop::collection::vec(step, 0..40)
}

/// Text in which a body says what it is: `dynamic` refers to endpoints, `bad` is rejected.
type Content = String;

#[derive(Default)]
struct Model {
    clusters: BTreeMap<String, Content>,
    endpoints: BTreeMap<String, Content>,
}

impl Model {
    fn of(&self, type_url: &str) -> Option<&BTreeMap<String, Content>> {
        match type_url {
            type_url::CLUSTER => Some(&self.clusters),
            type_url::ENDPOINT => Some(&self.endpoints),
            _ => None,
        }
    }

    fn of_mut(&mut self, type_url: &str) -> Option<&mut BTreeMap<String, Content>> {
        match type_url {
            type_url::CLUSTER => Some(&mut self.clusters),
            type_url::ENDPOINT => Some(&mut self.endpoints),
            _ => None,
        }
    }

    /// Endpoints of clusters that use them.
    fn names(&self) -> BTreeSet<Arc<str>> {
        let dynamic = self
            .clusters
            .iter()
            .filter(|(_, content)| content.contains("dynamic"));
        dynamic.map(|(name, _)| name.as_str().into()).collect()
    }
}

impl Sink for Model {
    fn apply(&mut self, update: Update) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        if let Some(held) = self.of_mut(&update.type_url) {
            if update.full {
                let repeated: BTreeSet<&str> =
                    update.added.iter().map(|one| one.name.as_str()).collect();
                held.retain(|name, _| repeated.contains(name.as_str()));
            }
            for name in update.removed {
                held.remove(&name);
            }
            for resource in update.added {
                let content = content_of(&resource.type_url, &resource.body);
                if content.contains("bad") {
                    let (name, error) = (resource.name, "bad".to_owned());
                    rejected.push(Rejected { name, error });
                } else {
                    held.insert(resource.name, content);
                }
            }
        }
        let names = self.names();
        self.endpoints
            .retain(|name, _| names.contains(name.as_str()));
        rejected
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            endpoints: self.names(),
            ..Default::default()
        }
    }
}

/// Content travels as the statistics name of a cluster and as the only key of named endpoints.
fn encode(type_url: &str, name: &str, content: &str) -> Any {
    if type_url == type_url::CLUSTER {
        return pack(&cluster::Cluster {
            name: name.to_owned(),
            alt_stat_name: content.to_owned(),
            ..Default::default()
        });
    }
    let mut assignment = endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        ..Default::default()
    };
    assignment
        .named_endpoints
        .insert(content.to_owned(), endpoint::Endpoint::default());
    pack(&assignment)
}

fn content_of(type_url: &str, body: &[u8]) -> Content {
    use prost::Message as _;
    if type_url == type_url::CLUSTER {
        return cluster::Cluster::decode(body)
            .expect("encoded above")
            .alt_stat_name;
    }
    let assignment = endpoint::ClusterLoadAssignment::decode(body).expect("encoded above");
    assignment
        .named_endpoints
        .into_keys()
        .next()
        .expect("encoded above")
}

/// What a control plane remembers of one type on a stream.
#[derive(Default)]
struct Watch {
    names: BTreeSet<String>,
    /// Delta: what the client was told.
    sent: BTreeMap<String, Content>,
    nonce: String,
}

/// A control plane with one client; the version of a resource is its content.
#[derive(Default)]
struct Server {
    model: Model,
    watches: BTreeMap<String, Watch>,
    pushes: u32,
}

impl Server {
    fn push(&mut self) -> Vec<Response> {
        let types: Vec<String> = self.watches.keys().cloned().collect();
        types
            .iter()
            .filter_map(|type_url| self.delta(type_url))
            .collect()
    }

    /// Differences to what was sent, if there are any.
    fn delta(&mut self, type_url: &str) -> Option<Response> {
        let now = self.model.of(type_url)?;
        let watch = self.watches.get_mut(type_url)?;
        let covered = |name: &String| type_url == type_url::CLUSTER || watch.names.contains(name);
        let now: BTreeMap<&String, &Content> =
            now.iter().filter(|(name, _)| covered(name)).collect();
        let changed = now
            .iter()
            .filter(|(name, content)| watch.sent.get(**name) != Some(**content));
        let resources: Vec<Resource> = changed
            .map(|(name, content)| Resource {
                name: (*name).clone(),
                version: (*content).clone(),
                resource: Some(encode(type_url, name, content)),
                ..Default::default()
            })
            .collect();
        let gone = watch.sent.keys().filter(|name| !now.contains_key(name));
        let removed: Vec<String> = gone.cloned().collect();
        if resources.is_empty() && removed.is_empty() {
            return None;
        }
        watch.sent = now
            .into_iter()
            .map(|(name, content)| (name.clone(), content.clone()))
            .collect();
        self.pushes += 1;
        Some(Response::Delta(DeltaDiscoveryResponse {
            type_url: type_url.to_owned(),
            nonce: self.pushes.to_string(),
            resources,
            removed_resources: removed,
            ..Default::default()
        }))
    }

    fn on_delta(&mut self, request: DeltaDiscoveryRequest) -> Option<Response> {
        if !request.response_nonce.is_empty() {
            return None;
        }
        let watch = self.watches.entry(request.type_url.clone()).or_default();
        watch.sent.extend(request.initial_resource_versions);
        for name in request.resource_names_unsubscribe {
            watch.names.remove(&name);
            watch.sent.remove(&name);
        }
        watch.names.extend(request.resource_names_subscribe);
        self.delta(&request.type_url)
    }

    fn push_full(&mut self) -> Vec<Response> {
        let types: Vec<String> = self.watches.keys().cloned().collect();
        types
            .iter()
            .filter_map(|type_url| self.full(type_url))
            .collect()
    }

    fn full(&mut self, type_url: &str) -> Option<Response> {
        let now = self.model.of(type_url)?;
        let watch = self.watches.get_mut(type_url)?;
        let covered = |name: &String| type_url == type_url::CLUSTER || watch.names.contains(name);
        let resources = now
            .iter()
            .filter(|(name, _)| covered(name))
            .map(|(name, content)| encode(type_url, name, content))
            .collect();
        self.pushes += 1;
        watch.nonce = self.pushes.to_string();
        Some(Response::StateOfTheWorld(DiscoveryResponse {
            type_url: type_url.to_owned(),
            version_info: self.pushes.to_string(),
            nonce: watch.nonce.clone(),
            resources,
            ..Default::default()
        }))
    }

    fn on_full(&mut self, request: DiscoveryRequest) -> Option<Response> {
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        let known = self.watches.contains_key(&request.type_url);
        let watch = self.watches.entry(request.type_url.clone()).or_default();
        if known && request.response_nonce != watch.nonce {
            // Stale: the answer to the response that is on its way repeats the names.
            return None;
        }
        let more = names.difference(&watch.names).next().is_some();
        watch.names = names;
        (!known || more)
            .then(|| self.full(&request.type_url))
            .flatten()
    }
}

/// A client and its control plane.
struct Pair {
    protocol: Protocol,
    client: Subscriptions,
    sink: Model,
    server: Server,
}

impl Pair {
    fn new(protocol: Protocol) -> Self {
        let mut pair = Self {
            protocol,
            client: Subscriptions::new(protocol, Node::default()),
            sink: Model::default(),
            server: Server::default(),
        };
        pair.connect();
        pair
    }

    fn connect(&mut self) {
        self.client.on_disconnect();
        self.server.watches.clear();
        let requests = self.client.on_connect(&self.sink.wanted());
        let responses = self.ask(requests);
        self.settle(responses);
    }

    fn ask(&mut self, requests: Vec<Request>) -> Vec<Response> {
        let answer = |request| match request {
            Request::Delta(request) => self.server.on_delta(request),
            Request::StateOfTheWorld(request) => self.server.on_full(request),
        };
        requests.into_iter().filter_map(answer).collect()
    }

    /// Moves messages until there are none.
    fn settle(&mut self, mut responses: Vec<Response>) {
        let mut rounds = 0;
        while !responses.is_empty() {
            rounds += 1;
            assert!(rounds < 20, "client and control plane don't come to rest");
            let mut requests = Vec::new();
            for response in responses {
                let taken = self.client.on_response(response);
                let (update, pending) = taken.expect("only what was asked for is sent");
                let rejected = self.sink.apply(update);
                let wanted = pending.kind().refers().then(|| self.sink.wanted());
                requests.extend(self.client.on_applied(pending, &rejected, wanted.as_ref()));
            }
            responses = self.ask(requests);
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Cluster {
                name,
                revision,
                dynamic,
                bad,
            } => {
                let (dynamic, bad) = (mark(dynamic, "dynamic"), mark(bad, "bad"));
                let content = format!("{revision}{dynamic}{bad}");
                self.server.model.clusters.insert(name.to_owned(), content);
            }
            Step::Remove(name) => {
                self.server.model.clusters.remove(name);
            }
            Step::Endpoints {
                name,
                revision,
                bad,
            } => {
                let content = format!("{revision}{}", mark(bad, "bad"));
                self.server.model.endpoints.insert(name.to_owned(), content);
            }
            Step::Push => {
                let responses = match self.protocol {
                    Protocol::Delta => self.server.push(),
                    Protocol::StateOfTheWorld => self.server.push_full(),
                };
                self.settle(responses);
            }
            Step::Reconnect => self.connect(),
        }
    }
}

fn mark(set: bool, word: &'static str) -> &'static str {
    if set { word } else { "" }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_protocols_lead_to_the_same_state(steps in steps()) {
        let mut delta = Pair::new(Protocol::Delta);
        let mut full = Pair::new(Protocol::StateOfTheWorld);
        for step in steps.iter().chain([&Step::Push]) {
            delta.step(step);
            full.step(step);
            prop_assert_eq!(&delta.sink.clusters, &full.sink.clusters);
            prop_assert_eq!(&delta.sink.endpoints, &full.sink.endpoints);
        }
        // What is good on the server is what the client holds.
        let good = delta.server.model.clusters.iter().filter(|(_, content)| !content.contains("bad"));
        for (name, content) in good {
            prop_assert_eq!(delta.sink.clusters.get(name), Some(content));
        }
        let gone = delta.sink.clusters.keys().find(|name| !delta.server.model.clusters.contains_key(*name));
        prop_assert_eq!(gone, None);
    }
}
