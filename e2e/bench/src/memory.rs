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

use crate::bookinfo::Bookinfo;
use crate::config::{self, Config, HOST, PATH};
use crate::http::Field;
use crate::machine::{self, Memory};
use crate::peer::{self, Agent, Programs};
use crate::report::{Bound, Figure, Report};

/// Time for a program to settle after its start or after load.
const SETTLE: Duration = Duration::from_secs(3);
/// Connections that are held open.
const CONNECTIONS: usize = 1000;
const MIB: f64 = 1024.0 * 1024.0;

/// Resident memory of a sidecar of Bookinfo, agent included, and of an Envoy with as many clusters.
pub fn sidecar(programs: &Programs, directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let bookinfo = Bookinfo::new()?;
    let clusters = bookinfo.clusters();
    let agent = Agent::start(programs, bookinfo, directory)?;
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
        bound: Bound::AtMost(16.0),
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
