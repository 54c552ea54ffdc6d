//! Running a topic: servers, both proxies, all calls to both, judgement.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::StreamExt;
use ironsail_proxy::resource::Switches;
use serde_json::Value;
use socket2::Socket;
use tokio::net::TcpStream;

use crate::access_log::Log;
use crate::board::Board;
use crate::call::{Answers, Call};
use crate::certificate::Certificates;
use crate::client::{self, Noted};
use crate::compare::{Verdict, judge};
use crate::config::{Places, Resources};
use crate::outcome::{Found, Names, Outcome};
use crate::proxy::{self, Proxy};
use crate::server::{self, Servers, reserve};
use crate::topic::{Header, Topic};

/// Calls that are under way at a time, to each proxy.
const CONCURRENCY: usize = 8;
/// For servers to see what comes after the answer: mirrored requests, ends of connections.
const SETTLE: Duration = Duration::from_millis(150);
/// How long a request may take to reach a server.
const START: Duration = Duration::from_secs(5);

/// What came of a call.
#[derive(Debug)]
pub struct Judged<'a> {
    pub call: &'a Call,
    pub envoy: Outcome,
    pub ours: Outcome,
    pub verdict: Verdict,
}

/// Runs all calls of a topic.
///
/// # Errors
/// A proxy does not take the configuration, or a call cannot be made.
pub async fn run<'a>(topic: &'a Topic, directory: &Path) -> anyhow::Result<Vec<Judged<'a>>> {
    let certificates = Certificates::create(directory)?;
    let board = Arc::new(Board::default());
    let kinds = server_kinds(&topic.header);
    let servers = Servers::start(kinds, &certificates, &board).await?;
    let shared = Shared {
        topic,
        directory,
        certificates: &certificates,
        servers: &servers,
        board: &board,
    };
    let (envoy, ours) = (shared.side("e")?, shared.side("o")?);
    let switches = Switches {
        lenient_http1: topic.header.lenient_http1,
    };
    let running = [
        tokio::task::block_in_place(|| proxy::envoy(directory, &envoy.resources))?,
        proxy::ironsail(&ours.resources, switches).await?,
    ];
    let (envoy_noted, ours_noted) = futures::join!(shared.speak(&envoy), shared.speak(&ours));
    tokio::time::sleep(SETTLE).await;
    tokio::task::block_in_place(|| running.iter().for_each(|proxy| proxy.flush()));
    let envoys = shared.outcomes(&envoy, envoy_noted?)?;
    let ours = shared.outcomes(&ours, ours_noted?)?;
    tokio::task::block_in_place(|| running.into_iter().for_each(Proxy::stop));
    let outcomes = envoys.into_iter().zip(ours);
    let judged = topic.calls.iter().zip(outcomes);
    Ok(judged
        .map(|(call, (envoy, ours))| Judged {
            call,
            verdict: judge(call, &envoy, &ours),
            envoy,
            ours,
        })
        .collect())
}

/// What both sides of a topic have in common.
struct Shared<'a> {
    topic: &'a Topic,
    directory: &'a Path,
    certificates: &'a Certificates,
    servers: &'a Servers,
    board: &'a Board,
}

/// What one proxy is given.
struct Side {
    prefix: &'static str,
    ports: Vec<(String, u16)>,
    /// Nobody else gets the ports.
    _reserved: Vec<Socket>,
    access_log: std::path::PathBuf,
    resources: Resources,
}

impl Shared<'_> {
    fn side(&self, prefix: &'static str) -> anyhow::Result<Side> {
        let mut ports = Vec::new();
        let mut reserved = Vec::new();
        for name in self.topic.header.listeners.keys() {
            let name = name.as_str().context("a listener has a name")?;
            let (socket, port) = reserve()?;
            ports.push((name.to_owned(), port));
            reserved.push(socket);
        }
        let access_log = self.directory.join(format!("{prefix}.log"));
        let resources = Resources::build(
            &self.topic.header,
            &Places {
                servers: self.servers,
                certificates: self.certificates,
                ports: &ports,
                access_log: &access_log,
            },
        )?;
        Ok(Side {
            prefix,
            ports,
            _reserved: reserved,
            access_log,
            resources,
        })
    }

    async fn speak(&self, side: &Side) -> anyhow::Result<Vec<Noted>> {
        let concurrency = match self.topic.header.in_order {
            true => 1,
            false => CONCURRENCY,
        };
        let calls = self.topic.calls.iter().enumerate();
        let calls = calls.map(|(index, call)| async move {
            let id = side.id(call);
            self.board.plan(&id, call.answers.clone());
            let port = side.port(&call.listener)?;
            let beside = self.beside(call, &id, index, port).await?;
            let noted = client::speak(call, &id, source(index), port, self.certificates).await;
            end(beside).await;
            noted.with_context(|| format!("line {}: {}", call.line, call.text))
        });
        let noted: Vec<_> = futures::stream::iter(calls)
            .buffered(concurrency)
            .collect()
            .await;
        noted.into_iter().collect()
    }

    /// Connections with the requests that are to be under way beside a call, once servers have them.
    async fn beside(
        &self,
        call: &Call,
        id: &str,
        index: usize,
        port: u16,
    ) -> anyhow::Result<Vec<TcpStream>> {
        let mut held = Vec::new();
        let id = format!("{id}-beside");
        self.board.plan(&id, Answers::hang());
        let [_, _, high, low] = source(index).octets();
        let source = Ipv4Addr::new(127, 2, high, low);
        for number in 0..call.beside {
            held.push(client::begin(call, &id, source, port).await?);
            let begin = Instant::now();
            while self.board.attempts(&id) <= number {
                if begin.elapsed() > START {
                    bail!("line {}: a request beside it reaches no server", call.line);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Ok(held)
    }

    fn outcomes(&self, side: &Side, noted: Vec<Noted>) -> anyhow::Result<Vec<Outcome>> {
        let log = Log::read(&side.access_log);
        let names = Names::new(self.servers, &side.ports)?;
        let calls = self.topic.calls.iter().zip(noted).enumerate();
        let outcome = |(index, (call, noted)): (usize, (&Call, Noted))| {
            let id = side.id(call);
            let mut seen = self.board.take(&id);
            seen.retain(|seen| !call.is_chance(&seen.server));
            let found = Found {
                noted,
                seen,
                log: &log,
                source: source(index),
                is_opaque: call.tls.is_some(),
            };
            Outcome::new(found, &names, &id)
        };
        Ok(calls.map(outcome).collect())
    }
}

impl Side {
    fn id(&self, call: &Call) -> String {
        format!("{}{:05}", self.prefix, call.line)
    }

    /// Port of a listener; that of the first if the name is empty.
    fn port(&self, listener: &str) -> anyhow::Result<u16> {
        let mut ports = self.ports.iter();
        let found = ports.find(|(name, _)| listener.is_empty() || name == listener);
        let (_, port) = found.with_context(|| format!("no listener {listener:?}"))?;
        Ok(*port)
    }
}

/// Gives up requests; a proxy is told, and has let go of them, when it returns.
async fn end(held: Vec<TcpStream>) {
    if !held.is_empty() {
        drop(held);
        tokio::time::sleep(SETTLE).await;
    }
}

/// The address that a call comes from: one of loopback that no other call of the topic has.
fn source(index: usize) -> Ipv4Addr {
    let number = u16::try_from(index + 1).unwrap_or(u16::MAX);
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

/// Servers that the topic describes, and those that its clusters only name.
fn server_kinds(header: &Header) -> BTreeMap<String, server::Kind> {
    let mut kinds = header.servers.clone();
    for (cluster, fields) in &header.clusters {
        match fields.get("servers").and_then(Value::as_array) {
            Some(servers) => {
                for server in servers {
                    let name = server.as_str().or_else(|| server["server"].as_str());
                    kinds.entry(name.unwrap_or(cluster).to_owned()).or_default();
                }
            }
            None => {
                kinds.entry(cluster.clone()).or_default();
            }
        }
    }
    kinds
}
