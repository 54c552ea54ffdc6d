//! A control plane that says what another one said.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ironsail_runtime::net::Resolver;
use ironsail_runtime::signal::Shutdown;
use ironsail_xds::core::Node;
use ironsail_xds::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use ironsail_xds::{Any, rpc, type_url};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::snapshot::{Store, StoreOptions};
use crate::testing::capture::Capture;
use crate::xds::testing::{DeltaStream, FakeServer, FullStream};
use crate::xds::{ClientConfig, ClientStatus, Credentials, Protocol, Transport, run};

/// No test waits longer for its configuration.
const LIMIT: Duration = Duration::from_secs(20);

/// Types of a capture.
const TYPES: [&str; 4] = [
    type_url::CLUSTER,
    type_url::ENDPOINT,
    type_url::LISTENER,
    type_url::ROUTE,
];

/// Runs a test where tasks of the same thread can be spawned.
pub(super) fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, test);
}

struct Nobody;

impl Credentials for Nobody {
    fn client_config(&self) -> Option<Arc<rustls::ClientConfig>> {
        None
    }

    fn token(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(std::future::ready(None))
    }
}

/// Fetches a capture through a client; all of it must be acknowledged, and nothing else wanted.
pub(super) async fn load(capture: &Capture, protocol: Protocol) -> Store {
    let mut server = FakeServer::start(None).await;
    let store = Store::new(StoreOptions::default());
    let config = ClientConfig {
        address: server.address.to_string(),
        transport: Transport::Plaintext,
        protocol,
        node: Node::default(),
        cluster_id: String::new(),
        headers: Vec::new(),
        credentials: Arc::new(Nobody),
        resolver: Resolver::from_texts("", "").expect("valid texts"),
        wanted_changed: Arc::default(),
    };
    let (status, _) = watch::channel(ClientStatus::default());
    let shutdown = Shutdown::new();
    let client = tokio::task::spawn_local(run(config, store.clone(), status, shutdown.clone()));
    let verdicts = timeout(LIMIT, serve(&mut server, capture, protocol));
    let rejections = verdicts.await.expect("in time");
    assert!(rejections.is_empty(), "{rejections:#?}");
    shutdown.trigger();
    client
        .await
        .expect("no panic")
        .expect("a valid configuration");
    let warming = store.warming();
    assert!(warming.initialized, "{warming:?}");
    store
}

/// Answers requests until all types are sent and acknowledged. Returns what the client rejected.
async fn serve(server: &mut FakeServer, capture: &Capture, protocol: Protocol) -> Vec<String> {
    let mut progress = Progress::default();
    match protocol {
        Protocol::Delta => {
            let mut stream = server.delta_stream().await;
            while !progress.is_done() {
                let request = stream.request().await;
                progress.take(&request.response_nonce, request.error_detail.as_ref());
                answer_delta(&stream, capture, &request, &mut progress);
            }
        }
        Protocol::StateOfTheWorld => {
            let mut stream = server.full_stream().await;
            while !progress.is_done() {
                let request = stream.request().await;
                progress.take(&request.response_nonce, request.error_detail.as_ref());
                answer_full(&stream, capture, &request, &mut progress);
            }
        }
    }
    progress.rejections
}

/// What was sent and what the client said to it.
#[derive(Default)]
struct Progress {
    types: BTreeSet<String>,
    names: BTreeSet<(String, String)>,
    unanswered: BTreeSet<String>,
    responses: usize,
    rejections: Vec<String>,
}

impl Progress {
    fn is_done(&self) -> bool {
        self.types.len() == TYPES.len() && self.unanswered.is_empty()
    }

    fn take(&mut self, nonce: &str, error: Option<&rpc::Status>) {
        self.unanswered.remove(nonce);
        self.rejections
            .extend(error.map(|error| error.message.clone()));
    }

    /// The nonce of a response with these resources.
    fn sent(&mut self, type_url: &str, resources: &[(String, &Any)]) -> String {
        self.types.insert(type_url.to_owned());
        for (name, _) in resources {
            self.names.insert((type_url.to_owned(), name.clone()));
        }
        self.responses += 1;
        let nonce = self.responses.to_string();
        self.unanswered.insert(nonce.clone());
        nonce
    }
}

/// What a capture holds of `names`; all of a type that is not asked for by name.
fn wanted<'a>(capture: &'a Capture, type_url: &str, names: &[String]) -> Vec<(String, &'a Any)> {
    let is_whole = [type_url::CLUSTER, type_url::LISTENER].contains(&type_url);
    let resources = capture.resources(type_url);
    let found: Vec<_> = resources
        .filter(|(name, _)| is_whole || names.contains(name))
        .collect();
    assert!(
        is_whole || found.len() == names.len(),
        "{type_url} without {names:?} in the capture"
    );
    found
}

fn answer_delta(
    stream: &DeltaStream,
    capture: &Capture,
    request: &DeltaDiscoveryRequest,
    progress: &mut Progress,
) {
    let type_url = &request.type_url;
    let names = &request.resource_names_subscribe;
    if names.is_empty() && progress.types.contains(type_url) {
        return;
    }
    let resources = wanted(capture, type_url, names);
    let nonce = progress.sent(type_url, &resources);
    let version = capture.version(type_url);
    let resources = resources.into_iter().map(|(name, any)| Resource {
        name,
        version: version.to_owned(),
        resource: Some(any.clone()),
        ..Default::default()
    });
    stream.send(DeltaDiscoveryResponse {
        type_url: type_url.clone(),
        nonce,
        resources: resources.collect(),
        ..Default::default()
    });
}

fn answer_full(
    stream: &FullStream,
    capture: &Capture,
    request: &DiscoveryRequest,
    progress: &mut Progress,
) {
    let type_url = &request.type_url;
    let key = |name: &String| (type_url.clone(), name.clone());
    let is_new = |name: &String| !progress.names.contains(&key(name));
    if progress.types.contains(type_url) && !request.resource_names.iter().any(is_new) {
        return;
    }
    let resources = wanted(capture, type_url, &request.resource_names);
    let nonce = progress.sent(type_url, &resources);
    stream.send(DiscoveryResponse {
        type_url: type_url.clone(),
        version_info: capture.version(type_url).to_owned(),
        nonce,
        resources: resources.into_iter().map(|(_, any)| any.clone()).collect(),
        ..Default::default()
    });
}
