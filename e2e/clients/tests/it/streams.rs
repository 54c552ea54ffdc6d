//! Many clients, and a slow one, over sockets.

use std::time::Duration;

use ironsail_clients::{ControlPlane, Network, is_permitted};
use ironsail_xds::core::Node;
use ironsail_xds::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use ironsail_xds::discovery::{DiscoveryRequest, DiscoveryResponse};
use ironsail_xds::type_url;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

const OPERATOR: &str = "
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: mesh, namespace: istio-system}
spec: {profile: minimal}
";

/// Time after which something hangs; it is no measure.
const PATIENCE: Duration = Duration::from_secs(60);
/// Clients that come at once.
const STORM: usize = 300;
/// So many that a response fills a client's window.
const SERVICES: usize = 150;

/// A client with a connection of its own.
struct Client {
    requests: mpsc::UnboundedSender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl Client {
    async fn connect(control_plane: &str, number: usize) -> Self {
        let endpoint = Endpoint::from_shared(control_plane.to_owned()).expect("an address");
        let endpoint = endpoint
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(65_535);
        let channel = endpoint.connect().await.expect("connects");
        let (requests, outgoing) = mpsc::unbounded_channel();
        let first = DiscoveryRequest {
            type_url: type_url::CLUSTER.to_owned(),
            node: Some(Node {
                id: format!("sidecar~10.9.0.1~pod-{number}.shop~shop.svc.cluster.local"),
                ..Default::default()
            }),
            ..Default::default()
        };
        requests.send(first).expect("open");
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let responses = client.stream_aggregated_resources(UnboundedReceiverStream::new(outgoing));
        Self {
            requests,
            responses: responses.await.expect("is not refused").into_inner(),
        }
    }

    /// The next clusters, acknowledged.
    async fn next(&mut self) -> DiscoveryResponse {
        let response = tokio::time::timeout(PATIENCE, self.responses.message());
        let response = response.await.expect("comes in time");
        let response = response.expect("is not refused").expect("stays open");
        let accepted = DiscoveryRequest {
            type_url: response.type_url.clone(),
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        self.requests.send(accepted).expect("open");
        response
    }
}

fn service(number: usize) -> String {
    format!(
        "{{kind: Service, apiVersion: v1, metadata: {{name: s{number}}}, spec: {{clusterIP: 10.97.{}.{}, ports: [{{name: http, port: 80}}]}}}}\n---\n",
        number / 250,
        number % 250 + 1
    )
}

fn start(network: &Network) -> ControlPlane {
    let mut control_plane = ControlPlane::start(&network.node, OPERATOR).expect("starts");
    let services: String = (0..SERVICES).map(service).collect();
    control_plane.apply("shop", &services).expect("valid");
    control_plane
}

/// Runs clients where the control plane is.
fn inside<T: Send>(network: &Network, work: impl Future<Output = T> + Send) -> T {
    network.node.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(work)
    })
}

#[test]
fn a_storm_of_clients_is_served() {
    if !is_permitted() {
        return;
    }
    let network = Network::new().expect("a network");
    let control_plane = start(&network);
    let address = format!("http://{}", control_plane.plaintext);
    let served = inside(&network, async {
        let clients: Vec<_> = (0..STORM)
            .map(|number| {
                let address = address.clone();
                tokio::spawn(async move {
                    let mut client = Client::connect(&address, number).await;
                    client.next().await.resources.len()
                })
            })
            .collect();
        let mut served = Vec::new();
        for client in clients {
            served.push(client.await.expect("is served"));
        }
        served
    });
    assert_eq!(served.len(), STORM);
    assert!(
        served
            .iter()
            .all(|count| *count == served[0] && *count > SERVICES),
        "{served:?}"
    );
}

#[test]
fn a_slow_client_harms_no_other_and_catches_up() {
    const CHANGES: usize = 40;
    if !is_permitted() {
        return;
    }
    let network = Network::new().expect("a network");
    let mut control_plane = start(&network);
    let address = format!("http://{}", control_plane.plaintext);
    let network = &network;
    inside(network, async {
        let mut slow = Client::connect(&address, 1).await;
        let mut quick = Client::connect(&address, 2).await;
        let mut expected = quick.next().await.resources.len();
        for number in 0..CHANGES {
            control_plane
                .apply("shop", &service(SERVICES + number))
                .expect("valid");
            expected += 1;
            // Every change arrives, although the slow one has not read its first response.
            assert_eq!(quick.next().await.resources.len(), expected);
        }
        let mut read = 0;
        while slow.next().await.resources.len() < expected {
            read += 1;
        }
        // What it missed came together.
        assert!(read < CHANGES / 2, "{read} responses before the last");
    });
}
