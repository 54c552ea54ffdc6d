//! A sidecar's whole outbound side: every filter that the control plane configures, metrics, access log, mutual TLS to the
//! backend. Envoy is told the same but for the filters that only Istio's builds have.

use std::path::Path;

use ironsail_controlplane::model::object::Object;
use ironsail_peer::free_port;
use serde_json::json;

use crate::http::{Field, Subject, start_backend};
use crate::peer::{self, Agent, Programs};
use crate::plain_envoy;
use crate::view::{Bindings, Client, View};
use crate::world::World;

const WORLD: World = World {
    services: 20,
    endpoints: 1,
    is_one_port: true,
};
const HOST: &str = "service-0001.team-1.svc.cluster.local";
const CLUSTER: &str = "outbound|80||service-0001.team-1.svc.cluster.local";
const BACKEND: &str = "spiffe://cluster.local/ns/team-1/sa/service-0001";
const CLIENT: &str = "spiffe://cluster.local/ns/team-0/sa/service-0000";

/// Starts both proxies and the backend.
pub fn start(programs: &Programs, directory: &Path) -> anyhow::Result<Field> {
    std::fs::create_dir_all(directory)?;
    let bindings = Bindings {
        listener: "0.0.0.0_80",
        port: free_port()?,
        cluster: CLUSTER,
        backend: free_port()?,
        is_tls: true,
    };
    let same = Bindings {
        port: free_port()?,
        ..bindings
    };
    let agent = Agent::start(programs, view(Client::Ironsail)?.bound(bindings), directory)?;
    let tls = directory.join("tls");
    agent.authority().issue(BACKEND)?.write(&tls)?;
    let backend = start_backend(bindings.backend, Some(&tls), directory)?;
    let credentials = agent.authority().issue(CLIENT)?;
    let told = plain_envoy::bootstrap(&view(Client::Envoy)?.bound(same), &credentials)?;
    let envoy = peer::start_envoy(programs, &told, same.port, directory)?;
    let subject = |name, pid, port| Subject {
        name,
        pid,
        http1: port,
        http2: port,
        host: HOST,
    };
    let subjects = vec![
        subject(peer::IRONSAIL, agent.process.id(), bindings.port),
        subject(peer::ENVOY, envoy.process.id(), same.port),
    ];
    Ok(Field::new(subjects, agent, envoy, vec![backend]))
}

/// With an access log, as the demo profile has it.
fn view(client: Client) -> anyhow::Result<View> {
    let mut objects = WORLD.objects()?;
    let mesh = serde_json::from_value(json!({"accessLogFile": "/dev/stdout"}))?;
    objects.push(Object::MeshConfig(Box::new(mesh)));
    View::new(objects, &WORLD.client(0).0, client)
}
