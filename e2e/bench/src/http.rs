//! CPU time per request, side by side: proxies take turns under the same load.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use ironsail_peer::{Envoy, Process, free_port};

use crate::backend;
use crate::config::{Config, HOST};
use crate::load::{Answered, Load};
use crate::machine::{self, OTHER_CORE, on_core};
use crate::peer::{self, Agent, NginxPorts, Programs};
use crate::report::{self, Bound, Figure, Report};
use crate::turns::take_turns;

/// Load before the first measurement, for caches and connection pools to fill.
const WARM_UP: Duration = Duration::from_secs(1);

/// How often and how long each proxy is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub rounds: usize,
    pub duration: Duration,
}

/// A proxy that runs, with the ports for each protocol.
pub struct Subject {
    pub name: &'static str,
    pub pid: u32,
    pub http1: u16,
    pub http2: u16,
    /// Name that is asked for.
    pub host: &'static str,
}

/// One proxy under load for a while.
struct Turn {
    requests: u64,
    /// CPU time per request.
    micros: f64,
    per_second: f64,
}

/// The turns of one proxy.
struct Turns<'a> {
    subject: &'a Subject,
    turns: Vec<Turn>,
}

/// The proxies and their backend; they end when this is dropped.
pub struct Field {
    subjects: Vec<Subject>,
    agent: Agent,
    _envoy: Envoy,
    _others: Vec<Process>,
}

impl Field {
    pub fn start(programs: &Programs, directory: &Path) -> anyhow::Result<Self> {
        let backend_port = free_port()?;
        let backend = start_backend(backend_port, None, directory)?;
        let config = Config {
            port: free_port()?,
            backend: backend_port,
        };
        let agent = Agent::start(programs, config.resources(), directory)?;
        let same = Config {
            port: free_port()?,
            ..config
        };
        let envoy = peer::start_envoy(programs, &same.bootstrap(), same.port, directory)?;
        let ports = NginxPorts {
            http1: free_port()?,
            http2: free_port()?,
            backend: backend_port,
        };
        let nginx = peer::start_nginx(programs, ports, directory)?;
        let subject = |name, process: &Process, http1, http2| Subject {
            name,
            pid: process.id(),
            http1,
            http2,
            host: HOST,
        };
        Ok(Self {
            subjects: vec![
                subject(peer::IRONSAIL, &agent.process, config.port, config.port),
                subject(peer::ENVOY, &envoy.process, same.port, same.port),
                subject(peer::NGINX, &nginx, ports.http1, ports.http2),
            ],
            agent,
            _envoy: envoy,
            _others: vec![backend, nginx],
        })
    }

    /// Proxies that run already; `agent` is ours, `others` are whatever else must live.
    pub fn new(subjects: Vec<Subject>, agent: Agent, envoy: Envoy, others: Vec<Process>) -> Self {
        Self {
            subjects,
            agent,
            _envoy: envoy,
            _others: others,
        }
    }

    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// Measures all under `load`; the bound is for ours in relation to Envoy.
    pub fn measure(
        &self,
        title: &str,
        load: Load,
        effort: Effort,
        bound: f64,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        for subject in &self.subjects {
            subject.turn(load, WARM_UP)?;
        }
        let counted = self.agent.counted_requests()?;
        let all = self.take_turns(load, effort)?;
        let counted = self.agent.counted_requests()? - counted;
        let of = |name| all.iter().find(|turns| turns.subject.name == name);
        let (Some(ours), Some(envoy)) = (of(peer::IRONSAIL), of(peer::ENVOY)) else {
            bail!("a proxy is missing");
        };
        let answered: u64 = ours.turns.iter().map(|turn| turn.requests).sum();
        if counted < answered {
            bail!("istio_requests_total counts {counted} of {answered} requests");
        }
        report.section(title);
        for turns in &all {
            report.line(turns.describe(envoy.micros()));
        }
        report.figure(Figure {
            name: format!("{title}, ours / Envoy"),
            value: ours.micros() / envoy.micros(),
            unit: "x",
            bound: Bound::AtMost(bound),
        });
        Ok(())
    }

    fn take_turns(&self, load: Load, effort: Effort) -> anyhow::Result<Vec<Turns<'_>>> {
        let all = take_turns(&self.subjects, effort.rounds, |subject| {
            subject.turn(load, effort.duration)
        })?;
        let all = self.subjects.iter().zip(all);
        Ok(all
            .map(|(subject, turns)| Turns { subject, turns })
            .collect())
    }
}

impl Turns<'_> {
    fn micros(&self) -> f64 {
        self.median(|turn| turn.micros)
    }

    fn median(&self, value: impl Fn(&Turn) -> f64) -> f64 {
        report::median(self.turns.iter().map(value))
    }

    fn describe(&self, envoy: f64) -> String {
        format!(
            "{:<9} {:>6.1} µs CPU per request, {:.2} of Envoy's; {:>6.0} requests per second",
            self.subject.name,
            self.micros(),
            self.micros() / envoy,
            self.median(|turn| turn.per_second),
        )
    }
}

impl Subject {
    fn turn(&self, load: Load, duration: Duration) -> anyhow::Result<Turn> {
        let port = match load {
            Load::Http1 { .. } => self.http1,
            Load::Http2 { .. } => self.http2,
        };
        let before = machine::cpu_time(self.pid)?;
        let Answered {
            requests,
            per_second,
        } = load
            .run(port, self.host, duration)
            .with_context(|| format!("load on {}", self.name))?;
        let used = machine::cpu_time(self.pid)?.saturating_sub(before);
        Ok(Turn {
            requests,
            micros: used.as_secs_f64() * 1e6 / requests as f64,
            per_second,
        })
    }
}

/// Starts this program as the backend.
pub fn start_backend(port: u16, tls: Option<&Path>, directory: &Path) -> anyhow::Result<Process> {
    let mut command = on_core(OTHER_CORE, std::env::current_exe()?);
    command.args([backend::COMMAND, "--port", &port.to_string()]);
    if let Some(tls) = tls {
        command.arg("--tls").arg(tls);
    }
    let mut process = Process::start("backend", command, directory)?;
    process.wait_for_port(port)?;
    Ok(process)
}
