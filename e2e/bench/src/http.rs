//! CPU time per request, side by side: proxies take turns under the same load.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::backend;
use crate::config::Config;
use crate::load::{Answered, Load};
use crate::machine::{self, OTHER_CORE};
use crate::peer::{self, Agent, NginxPorts, Programs};
use crate::process::{Process, free_port, on_core};
use crate::report::{Bound, Figure, Report};

/// Load before the first measurement, for caches and connection pools to fill.
const WARM_UP: Duration = Duration::from_secs(1);

/// How often and how long each proxy is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub rounds: usize,
    pub duration: Duration,
}

/// A proxy that runs, with the ports for each protocol.
struct Subject {
    name: &'static str,
    pid: u32,
    http1: u16,
    http2: u16,
}

/// CPU time per request of one turn.
struct Turn {
    micros: f64,
    per_second: f64,
}

/// The proxies and their backend; they end when this is dropped.
pub struct Field {
    subjects: Vec<Subject>,
    _agent: Agent,
    _others: [Process; 3],
}

impl Field {
    pub fn start(programs: &Programs, directory: &Path) -> anyhow::Result<Self> {
        let backend_port = free_port()?;
        let backend = start_backend(backend_port, directory)?;
        let config = Config {
            port: free_port()?,
            backend: backend_port,
        };
        let agent = Agent::start(programs, config.resources(), config.port, directory)?;
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
        };
        Ok(Self {
            subjects: vec![
                subject("ironsail", &agent.process, config.port, config.port),
                subject("envoy", &envoy, same.port, same.port),
                subject("nginx", &nginx, ports.http1, ports.http2),
            ],
            _agent: agent,
            _others: [backend, envoy, nginx],
        })
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
        let mut turns: Vec<Vec<Turn>> = self.subjects.iter().map(|_| Vec::new()).collect();
        for round in 0..effort.rounds {
            let mut order: Vec<usize> = (0..self.subjects.len()).collect();
            // Whoever came first comes last in the next round, so that drift of the machine hits all alike.
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                if let (Some(subject), Some(turns)) =
                    (self.subjects.get(index), turns.get_mut(index))
                {
                    turns.push(subject.turn(load, effort.duration)?);
                }
            }
        }
        report.section(title);
        let mut medians = turns.iter().map(|turns| median(turns, |turn| turn.micros));
        let ours = medians.next().unwrap_or(f64::NAN);
        let envoy = medians.next().unwrap_or(f64::NAN);
        for (subject, turns) in self.subjects.iter().zip(&turns) {
            let micros = median(turns, |turn| turn.micros);
            report.line(format!(
                "{:<9} {:>6.1} µs CPU per request, {:.2} of Envoy's; {:>6.0} requests per second",
                subject.name,
                micros,
                micros / envoy,
                median(turns, |turn| turn.per_second),
            ));
        }
        report.figure(Figure {
            name: format!("{title}, ours / Envoy"),
            value: ours / envoy,
            unit: "x",
            bound: Bound::AtMost(bound),
        });
        Ok(())
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
            .run(port, duration)
            .with_context(|| format!("load on {}", self.name))?;
        let used = machine::cpu_time(self.pid)?.saturating_sub(before);
        Ok(Turn {
            micros: used.as_secs_f64() * 1e6 / requests as f64,
            per_second,
        })
    }
}

/// Starts this program as the backend.
pub fn start_backend(port: u16, directory: &Path) -> anyhow::Result<Process> {
    let mut command = on_core(OTHER_CORE, std::env::current_exe()?);
    command.args([backend::COMMAND, "--port", &port.to_string()]);
    let mut process = Process::start("backend", command, directory)?;
    process.wait_for_port(port)?;
    Ok(process)
}

fn median(turns: &[Turn], value: impl Fn(&Turn) -> f64) -> f64 {
    let mut values: Vec<f64> = turns.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
