//! A stock Envoy in the place of every proxy of every sample takes all that it is served.

use std::fs;
use std::path::{Path, PathBuf};

use ironsail_clients::{Address, ControlPlane, Network, Secrets, is_permitted};
use ironsail_peer::{Envoy, Launch};

use crate::bootstrap::{Api, envoy};

fn samples() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate"))
        .join("../../deploy/samples")
}

fn sample(name: &str) -> String {
    fs::read_to_string(samples().join(name)).expect("a sample")
}

/// All samples but the operators' resources.
fn objects() -> Vec<String> {
    let entries = fs::read_dir(samples()).expect("the folder");
    let texts = entries.map(|entry| fs::read_to_string(entry.expect("an entry").path()));
    let texts = texts.map(|text| text.expect("text"));
    texts
        .filter(|text| !text.contains("kind: IstioOperator"))
        .collect()
}

/// An Envoy on the plaintext port, where nobody asks who it is.
fn acknowledges(world: &World<'_>, role: &str, pod: &Address, api: Api) {
    let World {
        network,
        control_plane,
        directory,
    } = world;
    let plaintext = format!(
        "socket_address: {{address: {}, port_value: {}}}",
        control_plane.plaintext.ip(),
        control_plane.plaintext.port()
    );
    let secrets = directory.join("socket");
    let bootstrap = envoy(role, pod, api)
        .replace("pipe: {path: ./etc/istio/proxy/XDS}", &plaintext)
        .replace(
            "./var/run/secrets/workload-spiffe-uds/socket",
            &secrets.display().to_string(),
        );
    let mut launch = Launch::new(directory).expect("make peer-tools");
    launch.command = network.node.command(launch.command.get_program());
    let started = network.node.enter(|| Envoy::start_yaml(launch, &bootstrap));
    let mut envoy = started.unwrap_or_else(|error| panic!("{}: {error:#}", pod.name));
    let live = network.node.enter(|| envoy.wait_until_live());
    live.unwrap_or_else(|error| panic!("{}: {error:#}", pod.name));
    let connection = control_plane.wait_for(&pod.proxy());
    connection.unwrap_or_else(|error| panic!("{api:?}: {error:#}\n{}", envoy.process.output()));
    // What it could not use it would tell, and count.
    let rejected = |name: &str| {
        let count = network.node.enter(|| envoy.admin.stat(name));
        count.expect("statistics")
    };
    for name in [
        "cluster_manager.cds.update_rejected",
        "listener_manager.lds.update_rejected",
        "listener_manager.listener_create_failure",
    ] {
        assert_eq!(
            rejected(name),
            0,
            "{name} of {}:\n{}",
            pod.name,
            envoy.process.output()
        );
    }
    assert!(rejected("listener_manager.lds.update_success") > 0);
}

/// Where Envoys are started.
struct World<'a> {
    network: &'a Network,
    control_plane: &'a ControlPlane,
    directory: &'a Path,
}

#[test]
fn every_sample_is_acknowledged() {
    if !is_permitted() {
        return;
    }
    let network = Network::new().expect("a network");
    for operator in ["iop-default.yaml", "iop-demo.yaml"] {
        let mut control_plane =
            ControlPlane::start(&network.node, &sample(operator)).expect("starts");
        for text in objects() {
            control_plane
                .apply("samples", &text)
                .expect("a valid sample");
        }
        let pods: Vec<(String, String)> = control_plane
            .pods()
            .map(|pod| {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                (text(&pod.metadata.namespace), text(&pod.metadata.name))
            })
            .collect();
        assert!(pods.len() >= 7, "{pods:?}");
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("socket");
        let _secrets =
            Secrets::serve(&network.node, &control_plane, &socket).expect("a certificate");
        let world = World {
            network: &network,
            control_plane: &control_plane,
            directory: directory.path(),
        };
        for (number, (namespace, name)) in pods.iter().enumerate() {
            let pod = Address::find(&control_plane, namespace, name).expect("is there");
            let role = match name.contains("gateway") {
                true => "router",
                false => "sidecar",
            };
            let api = match number % 2 {
                0 => Api::Delta,
                _ => Api::StateOfTheWorld,
            };
            acknowledges(&world, role, &pod, api);
        }
    }
}
