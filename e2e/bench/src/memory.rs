//! Memory of idle proxies, and of idle connections to them.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ironsail_peer::http::Connection;
use ironsail_peer::{Process, free_port};
use ironsail_xds::bootstrap::{Bootstrap, bootstrap};
use ironsail_xds::cluster::Cluster;
use ironsail_xds::core::{TransportSocket, transport_socket};
use ironsail_xds::ext::transport_sockets::tls::v3::{CommonTlsContext, UpstreamTlsContext};
use ironsail_xds::pack;

use crate::bookinfo;
use crate::config::{self, Config, HOST, PATH};
use crate::http::{Field, start_backend};
use crate::machine::{self, Memory};
use crate::peer::{self, Agent, Programs};
use crate::plain_envoy;
use crate::report::{Bound, Figure, Report};
use crate::view::{Bindings, Client, ClustersOf, View};
use crate::world::World;

/// Time for a program to settle after its start or after load.
const SETTLE: Duration = Duration::from_secs(3);
/// Connections that are held open.
const CONNECTIONS: usize = 1000;
const MIB: f64 = 1024.0 * 1024.0;

/// Resident memory of a sidecar of Bookinfo, agent included, and of an Envoy with as many clusters.
pub fn sidecar(programs: &Programs, directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let view = bookinfo::view()?;
    let clusters = view.clusters();
    let agent = Agent::start(programs, view, directory)?;
    let same = Config {
        port: free_port()?,
        backend: free_port()?,
    };
    let envoy = peer::start_envoy(
        programs,
        &with_clusters(&same, clusters),
        same.port,
        directory,
    )?;
    std::thread::sleep(SETTLE);
    report.section("Idle sidecar of Bookinfo, agent included");
    let ours = show("ironsail", &agent.process, report)?;
    let theirs = show("envoy", &envoy.process, report)?;
    report.line(format!(
        "{clusters} clusters each; {:.2} of Envoy's, which has no agent here",
        ours.resident as f64 / theirs.resident as f64
    ));
    report.figure(Figure {
        name: "Idle sidecar of Bookinfo, resident".to_owned(),
        value: ours.resident as f64 / MIB,
        unit: "MiB",
        bound: Bound::AtMost(14.0),
    });
    Ok(())
}

fn show(name: &str, process: &Process, report: &mut Report) -> anyhow::Result<Memory> {
    let memory = machine::memory(process.id())?;
    report.line(format!(
        "{name:<9} {:>6.1} MiB resident, {:>5.1} MiB of it not pages of files",
        memory.resident as f64 / MIB,
        memory.anonymous as f64 / MIB,
    ));
    Ok(memory)
}

/// The configuration of the load, and clusters with TLS up to `count`.
fn with_clusters(config: &Config, count: usize) -> Bootstrap {
    let mut bootstrap = config.bootstrap();
    let resources: &mut bootstrap::StaticResources =
        bootstrap.static_resources.get_or_insert_default();
    for number in resources.clusters.len()..count {
        let name = format!("outbound|9080||service{number}.default.svc.cluster.local");
        resources.clusters.push(Cluster {
            transport_socket: Some(tls(&name)),
            ..config::cluster(&name, config.backend)
        });
    }
    bootstrap
}

fn tls(name: &str) -> TransportSocket {
    let context = UpstreamTlsContext {
        sni: format!("outbound_.9080_._.{name}"),
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: vec!["istio-peer-exchange".to_owned(), "istio".to_owned()],
            ..Default::default()
        }),
        ..Default::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack(&context))),
    }
}

/// Resident memory of a sidecar with connections that sees services it does not need, and of an Envoy that is told the same.
pub fn working_set(
    programs: &Programs,
    directory: &Path,
    report: &mut Report,
) -> anyhow::Result<()> {
    const SERVICE: &str = "service-0000.team-0.svc.cluster.local";
    std::fs::create_dir_all(directory)?;
    let world = World {
        services: 1000,
        endpoints: 10,
        is_one_port: false,
    };
    let bindings = Bindings {
        listener: "0.0.0.0_80",
        port: free_port()?,
        cluster: "outbound|80||service-0000.team-0.svc.cluster.local",
        backend: free_port()?,
        is_tls: false,
    };
    let same = Bindings {
        port: free_port()?,
        ..bindings
    };
    let view = |client| View::new(world.objects()?, &world.client(0).0, client);
    let _backend = start_backend(bindings.backend, None, directory)?;
    let agent = Agent::start(programs, view(Client::Ironsail)?.bound(bindings), directory)?;
    let credentials = agent
        .authority()
        .issue("spiffe://cluster.local/ns/team-0/sa/service-0000")?;
    let told = plain_envoy::bootstrap(&view(Client::Envoy)?.bound(same), &credentials)?;
    let envoy = peer::start_envoy(programs, &told, same.port, directory)?;
    report.section("Sidecar that sees 1,000 services of 10 endpoints and holds 1,000 connections");
    let mut all = Vec::new();
    let subjects = [
        (peer::IRONSAIL, &agent.process, bindings.port),
        (peer::ENVOY, &envoy.process, same.port),
    ];
    for (name, process, port) in subjects {
        let held = (0..CONNECTIONS)
            .map(|_| {
                let mut connection = Connection::open(port)?;
                connection.get(SERVICE, PATH)?;
                Ok(connection)
            })
            .collect::<anyhow::Result<Vec<_>>>()
            .with_context(|| format!("connections to {name}"))?;
        std::thread::sleep(SETTLE);
        all.push(show(name, process, report)?.resident as f64);
        drop(held);
    }
    report.figure(Figure {
        name: "Working set with 1,000 services and connections, ours / Envoy".to_owned(),
        value: all[0] / all[1],
        unit: "x",
        bound: Bound::AtMost(0.3),
    });
    Ok(())
}

/// What ten thousand clusters and their endpoints add to an idle sidecar.
pub fn clusters(programs: &Programs, directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)?;
    report.section("Sidecar with 10,000 clusters of mutual TLS, each with an endpoint");
    let config = Config {
        port: free_port()?,
        backend: free_port()?,
    };
    let idle = {
        let agent = Agent::start(programs, config.resources(), directory)?;
        std::thread::sleep(SETTLE);
        show("idle", &agent.process, report)?
    };
    let world = World {
        services: 10_000,
        endpoints: 1,
        is_one_port: false,
    };
    let view = View::new(world.objects()?, &world.client(0).0, Client::Ironsail)?;
    let resources = ClustersOf {
        view,
        rest: config.resources(),
    };
    let agent = Agent::start(programs, resources, directory)?;
    std::thread::sleep(SETTLE);
    let all = show("ironsail", &agent.process, report)?;
    report.line(format!(
        "{:.2} CPU-s from the start",
        machine::cpu_time(agent.process.id())?.as_secs_f64()
    ));
    report.figure(Figure {
        name: "10,000 clusters, over idle".to_owned(),
        value: all.resident.saturating_sub(idle.resident) as f64 / MIB,
        unit: "MiB",
        bound: Bound::AtMost(50.0),
    });
    Ok(())
}

/// Memory that a connection takes which has carried a request and waits for the next.
pub fn connections(field: &Field, report: &mut Report) -> anyhow::Result<()> {
    report.section("Idle HTTP/1.1 connections, after a request on each");
    let mut all = Vec::new();
    for subject in field.subjects() {
        let before = machine::memory(subject.pid)?;
        let held = (0..CONNECTIONS)
            .map(|_| used_connection(subject.http1))
            .collect::<anyhow::Result<Vec<_>>>()
            .with_context(|| format!("connections to {}", subject.name))?;
        std::thread::sleep(SETTLE);
        let after = machine::memory(subject.pid)?;
        drop(held);
        let growth = after.anonymous.saturating_sub(before.anonymous);
        all.push((subject.name, growth as f64 / CONNECTIONS as f64 / 1024.0));
    }
    let of = |name| {
        all.iter()
            .find(|(own, _)| *own == name)
            .map_or(f64::NAN, |(_, kib)| *kib)
    };
    for (name, kib) in &all {
        report.line(format!(
            "{name:<9} {kib:>6.1} KiB each, {:.2} of Envoy's",
            kib / of(peer::ENVOY)
        ));
    }
    report.figure(Figure {
        name: "Idle HTTP/1.1 connection".to_owned(),
        value: of(peer::IRONSAIL),
        unit: "KiB",
        bound: Bound::AtMost(6.0),
    });
    Ok(())
}

fn used_connection(port: u16) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(port)?;
    connection.get(HOST, PATH)?;
    Ok(connection)
}
