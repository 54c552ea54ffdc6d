//! Calls between pods with our proxy and pods with a stock Envoy, with mutual TLS only, in both directions.

use std::net::SocketAddr;

use http::Version;
use ironsail_clients::app::{App, Protocol};
use ironsail_clients::{Address, ControlPlane, Interception, Network, Pod, call, is_permitted};
use ironsail_peer::Envoy;

use crate::bootstrap::{Api, envoy};

const OPERATOR: &str = "
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: mesh, namespace: istio-system}
spec: {profile: default}
";

const OBJECTS: &str = "
{kind: PeerAuthentication, metadata: {name: default, namespace: istio-system}, spec: {mtls: {mode: STRICT}}}
---
{kind: Pod, apiVersion: v1, metadata: {name: ours-1, labels: {app: ours, security.istio.io/tlsMode: istio}}, spec: {serviceAccountName: ours, containers: [{name: app, image: app}]}}
---
{kind: Pod, apiVersion: v1, metadata: {name: stock-1, labels: {app: stock, security.istio.io/tlsMode: istio}}, spec: {serviceAccountName: stock, containers: [{name: app, image: app}]}}
---
{kind: Service, apiVersion: v1, metadata: {name: ours}, spec: {clusterIP: 10.96.1.1, selector: {app: ours}, ports: [{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 81, targetPort: 8081}, {name: tcp, port: 82, targetPort: 8082}, {name: any, port: 83, targetPort: 8083}]}}
---
{kind: Service, apiVersion: v1, metadata: {name: stock}, spec: {clusterIP: 10.96.1.2, selector: {app: stock}, ports: [{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 81, targetPort: 8081}, {name: tcp, port: 82, targetPort: 8082}, {name: any, port: 83, targetPort: 8083}]}}
---
{kind: Gateway, metadata: {name: door}, spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}}
---
{kind: VirtualService, metadata: {name: door}, spec: {hosts: ['*'], gateways: [door], http: [{match: [{headers: {to: {exact: stock}}}], route: [{destination: {host: stock, port: {number: 80}}}]}, {route: [{destination: {host: ours, port: {number: 80}}}]}]}}
";

const PORTS: [(u16, Protocol); 4] = [
    (8080, Protocol::Http),
    (8081, Protocol::Http),
    (8082, Protocol::Tcp),
    (8083, Protocol::Http),
];

/// Pods of both kinds, and a gateway that is a stock Envoy.
struct Mesh {
    network: Network,
    control_plane: ControlPlane,
    ours: Pod,
    stock: Pod,
    gateway: Pod,
    _apps: [App; 2],
}

impl Mesh {
    fn start() -> anyhow::Result<Self> {
        let network = Network::new()?;
        let mut control_plane = ControlPlane::start(&network.node, OPERATOR)?;
        control_plane.apply("shop", OBJECTS)?;
        let address = |namespace: &str, name| Address::find(&control_plane, namespace, name);
        let ours = Pod::with_proxy(&network, &control_plane, address("shop", "ours")?)?;
        let agent = |address, interception| {
            Pod::with_agent(&network, &control_plane, address, interception, &[])
        };
        let stock = agent(address("shop", "stock")?, Interception::Redirect)?;
        let gateway = address("istio-system", "istio-ingressgateway")?;
        let gateway = agent(gateway, Interception::None)?;
        let apps = [
            App::start(&ours.network, "ours", &PORTS)?,
            App::start(&stock.network, "stock", &PORTS)?,
        ];
        Ok(Self {
            network,
            control_plane,
            ours,
            stock,
            gateway,
            _apps: apps,
        })
    }

    fn envoy(&self, role: &str, pod: &Pod, api: Api) -> Envoy {
        let bootstrap = envoy(role, &pod.address, api);
        let mut envoy = pod.start_envoy(&bootstrap).expect("takes the bootstrap");
        let connection = self.control_plane.wait_for(&pod.address.proxy());
        connection.unwrap_or_else(|error| {
            panic!("{error:#}\n{}\n{}", envoy.process.output(), pod.log());
        });
        let live = pod.network.enter(|| envoy.wait_until_live());
        live.expect("is live");
        envoy
    }
}

fn service(number: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 96, 1, number], port))
}

/// Every protocol from one pod to another one's service.
///
/// An Envoy cannot say inside TLS that it is HTTP what comes: where nothing is declared, it arrives as TCP.
fn check_calls(from: &Pod, to: &str, number: u8) {
    let pod = &from.network;
    let client = format!("/sa/{}", from.address.account);
    let calls = [
        ("HTTP/1.1", 80, Version::HTTP_11, false),
        ("HTTP/2", 80, Version::HTTP_2, false),
        ("gRPC", 81, Version::HTTP_2, true),
        ("HTTP/1.1, undeclared", 83, Version::HTTP_11, false),
        ("HTTP/2, undeclared", 83, Version::HTTP_2, false),
    ];
    for (what, port, version, is_grpc) in calls {
        let host = format!("{to}.shop.svc.cluster.local:{port}");
        let answer = call::http(pod, version, is_grpc, service(number, port), &host);
        let answer = answer.unwrap_or_else(|error| panic!("{what} to {to}: {error:#}"));
        let seen = (answer.status, answer.told("app"));
        assert_eq!(seen, (200, to.to_owned()), "{what} to {to}: {answer:?}");
        let is_opaque = port == 83 && from.address.account == "stock";
        let told = answer.told("client");
        let is_as_expected = told.contains(&client) != is_opaque;
        assert!(is_as_expected, "{what} to {to}: {answer:?}");
        let status = answer.trailers.get("grpc-status");
        assert_eq!(
            status.is_some_and(|status| status == "0"),
            is_grpc,
            "{what} to {to}"
        );
    }
    let said = call::tcp(pod, service(number, 82), "hello").expect("TCP");
    assert_eq!(said, format!("{to}: hello"));
}

#[test]
fn calls_pass_in_both_directions() {
    if !is_permitted() {
        return;
    }
    let mesh = Mesh::start().expect("a mesh");
    for api in [Api::Delta, Api::StateOfTheWorld] {
        let _sidecar = mesh.envoy("sidecar", &mesh.stock, api);
        check_calls(&mesh.ours, "stock", 2);
        check_calls(&mesh.stock, "ours", 1);
        check_gateway(&mesh, api);
        // Nobody without a certificate is let in.
        let direct = SocketAddr::from((mesh.stock.address.ip, 8080));
        let refused = call::http(&mesh.network.node, Version::HTTP_11, false, direct, "stock");
        assert!(refused.is_err(), "plaintext is answered: {refused:?}");
    }
}

fn check_gateway(mesh: &Mesh, api: Api) {
    let _gateway = mesh.envoy("router", &mesh.gateway, api);
    // Port 80 of the gateway's Service leads to 8080 of its pods.
    let door = SocketAddr::from((mesh.gateway.address.ip, 8080));
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let answer = call::http(&mesh.network.node, version, false, door, "door.example");
        let answer = answer.expect("an answer of the gateway");
        assert_eq!(
            (answer.status, answer.told("app")),
            (200, "ours".to_owned()),
            "{answer:?}"
        );
        let client = answer.told("client");
        assert!(client.contains(&mesh.gateway.address.account), "{client}");
    }
}
