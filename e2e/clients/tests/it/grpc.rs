//! gRPC without a proxy: client and server are gRPC's own library, which our control plane configures.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use http::Version;
use ironsail_clients::app::{App, Protocol};
use ironsail_clients::{Address, ControlPlane, Interception, Network, Pod, call, is_permitted};
use ironsail_peer::{Process, Program, find};

const OPERATOR: &str = "
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: mesh, namespace: istio-system}
spec: {profile: minimal}
";

const OBJECTS: &str = "
{kind: PeerAuthentication, metadata: {name: default, namespace: istio-system}, spec: {mtls: {mode: STRICT}}}
---
{kind: Pod, apiVersion: v1, metadata: {name: v1-0, labels: {app: greeter, version: v1, security.istio.io/tlsMode: istio}}, spec: {serviceAccountName: greeter, containers: [{name: app, image: app}]}}
---
{kind: Pod, apiVersion: v1, metadata: {name: v2-0, labels: {app: greeter, version: v2, security.istio.io/tlsMode: istio}}, spec: {serviceAccountName: greeter, containers: [{name: app, image: app}]}}
---
{kind: Pod, apiVersion: v1, metadata: {name: ours-0, labels: {app: ours, security.istio.io/tlsMode: istio}}, spec: {serviceAccountName: ours, containers: [{name: app, image: app}]}}
---
{kind: Pod, apiVersion: v1, metadata: {name: caller-0, labels: {app: caller}}, spec: {serviceAccountName: caller, containers: [{name: app, image: app}]}}
---
{kind: Service, apiVersion: v1, metadata: {name: greeter}, spec: {clusterIP: 10.96.2.1, selector: {app: greeter}, ports: [{name: grpc, port: 9000, targetPort: 50051}]}}
---
{kind: Service, apiVersion: v1, metadata: {name: ours}, spec: {clusterIP: 10.96.2.2, selector: {app: ours}, ports: [{name: grpc, port: 9000, targetPort: 50051}]}}
---
{kind: DestinationRule, metadata: {name: all}, spec: {host: '*.shop.svc.cluster.local', trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}}
---
{kind: DestinationRule, metadata: {name: greeter}, spec: {host: greeter, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}}
";

const PORT: u16 = 50051;
const SERVER: &str = "0.0.0.0:50051";
const GREETER: &str = "xds:///greeter.shop.svc.cluster.local:9000";

/// Weights of the two versions, and a rule that comes first.
fn weights(v1: u32, v2: u32) -> String {
    format!(
        "{{kind: VirtualService, metadata: {{name: greeter}}, spec: {{hosts: [greeter], http: [
          {{match: [{{headers: {{user: {{exact: early}}}}}}], route: [{{destination: {{host: greeter, subset: v2}}}}]}},
          {{route: [{{destination: {{host: greeter, subset: v1}}, weight: {v1}}},
                    {{destination: {{host: greeter, subset: v2}}, weight: {v2}}}]}}]}}}}"
    )
}

struct Mesh {
    control_plane: ControlPlane,
    caller: Pod,
    ours: Pod,
    _app: App,
    /// Servers, with their agents.
    greeters: Vec<(Pod, Process)>,
}

impl Mesh {
    fn start() -> anyhow::Result<Self> {
        let network = Network::new()?;
        let mut control_plane = ControlPlane::start(&network.node, OPERATOR)?;
        control_plane.apply("shop", OBJECTS)?;
        control_plane.apply("shop", &weights(75, 25))?;
        let pod = |name: &str| -> anyhow::Result<Pod> {
            let address = Address::find(&control_plane, "shop", name)?;
            let files = [("OUTPUT_CERTS", "./var/lib/istio/data")];
            Pod::with_agent(
                &network,
                &control_plane,
                address,
                Interception::None,
                &files,
            )
        };
        let greeters = ["v1", "v2"].map(|name| {
            let pod = pod(name)?;
            let mut command = python(&pod, "greeter.py")?;
            command.args([name, SERVER]);
            let mut server = Process::start("greeter", command, pod.home.path())?;
            let address = SocketAddr::from((pod.address.ip, PORT));
            server.wait_until(|| pod.network.enter(|| TcpStream::connect(address).is_ok()))?;
            Ok((pod, server))
        });
        let greeters = greeters.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let address = Address::find(&control_plane, "shop", "ours")?;
        let ours = Pod::with_proxy(&network, &control_plane, address)?;
        let app = App::start(&ours.network, "ours", &[(PORT, Protocol::Http)])?;
        let caller = pod("caller")?;
        Ok(Self {
            control_plane,
            caller,
            ours,
            _app: app,
            greeters,
        })
    }

    /// Answers and how often they came.
    fn call(&self, target: &str, count: u32, headers: &[&str]) -> BTreeMap<String, u32> {
        let mut command = python(&self.caller, "caller.py").expect("make peer-tools");
        command.arg(target).arg(count.to_string()).args(headers);
        let output = command.output().expect("python3 runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {errors}\n{}", self.caller.log()))
    }
}

/// A program of ours in gRPC's library, in a pod.
fn python(pod: &Pod, program: &str) -> anyhow::Result<Command> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate");
    let programs = Path::new(&here).join("python");
    let mut command = pod.network.command("timeout");
    command
        .args(["120", "python3"])
        .arg(programs.join(program))
        .env("PYTHONPATH", find(Program::Grpc)?)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env(
            "GRPC_XDS_BOOTSTRAP",
            pod.home.path().join("etc/istio/proxy/grpc-bootstrap.json"),
        )
        .current_dir(pod.home.path());
    Ok(command)
}

#[test]
fn library_and_library_by_weights_with_mutual_tls() {
    if !is_permitted() {
        return;
    }
    let mut mesh = Mesh::start().expect("a mesh");
    let seen = |version: &str| format!("{version} spiffe://cluster.local/ns/shop/sa/caller");

    let answers = mesh.call(GREETER, 400, &[]);
    assert_eq!(answers.values().sum::<u32>(), 400);
    // 300 are expected; this is more than four standard deviations.
    let first = answers.get(&seen("v1")).copied().unwrap_or(0);
    assert!(
        (260..=340).contains(&first) && answers.len() == 2,
        "{answers:?}"
    );

    let answers = mesh.call(GREETER, 20, &["user=early"]);
    assert_eq!(answers, BTreeMap::from([(seen("v2"), 20)]));

    mesh.control_plane
        .apply("shop", &weights(100, 0))
        .expect("valid");
    let answers = mesh.call(GREETER, 20, &[]);
    assert_eq!(answers, BTreeMap::from([(seen("v1"), 20)]));

    plaintext_is_refused(&mesh);
    library_and_proxy(&mesh);
}

/// A server of the library has mutual TLS only.
fn plaintext_is_refused(mesh: &Mesh) {
    let (greeter, _) = &mesh.greeters[0];
    let address = SocketAddr::from((greeter.address.ip, PORT));
    let refused = call::http(
        &mesh.caller.network,
        Version::HTTP_2,
        true,
        address,
        "greeter",
    );
    assert!(refused.is_err(), "{refused:?}");
}

/// Between the library and a pod with our proxy, both ways.
fn library_and_proxy(mesh: &Mesh) {
    let answers = mesh.call("xds:///ours.shop.svc.cluster.local:9000", 5, &[]);
    let [(answer, 5)] = answers
        .iter()
        .map(|(a, n)| (a.as_str(), *n))
        .collect::<Vec<_>>()[..]
    else {
        panic!("{answers:?}");
    };
    assert!(answer.contains("\"app\":\"ours\""), "{answer}");
    assert!(
        answer.contains("URI=spiffe://cluster.local/ns/shop/sa/caller"),
        "{answer}"
    );

    let service = SocketAddr::from(([10, 96, 2, 1], 9000));
    let host = "greeter.shop.svc.cluster.local:9000";
    for _ in 0..20 {
        let answer = call::http(&mesh.ours.network, Version::HTTP_2, true, service, host);
        let answer = answer.expect("an answer");
        let seen = "v1 spiffe://cluster.local/ns/shop/sa/ours";
        assert!(answer.body.ends_with(seen), "{answer:?}");
    }
}
