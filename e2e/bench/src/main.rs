//! Benchmarks side by side with peers: everything runs on this machine, on loopback, and each run prints ratios.
//!
//! Proxies take turns on one core; load generators and the backend have the other one.

mod backend;
mod bookinfo;
mod bulk;
mod chain;
mod config;
mod control_plane;
mod http;
mod latency;
mod load;
mod machine;
mod memory;
mod mesh;
mod peer;
mod plain_envoy;
mod plot;
mod pods;
mod render;
mod report;
mod tcp;
mod turns;
mod view;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use http::{Effort, Field};
use load::Load;
use peer::Programs;
use report::Report;

#[derive(Parser)]
#[command(about = "Benchmarks side by side with peers")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// What to measure; everything by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Benchmark>,
    /// Turns of each proxy under each load.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one turn.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// pilot-agent; default is the one beside this program.
    #[arg(long)]
    agent: Option<PathBuf>,
    #[arg(long, default_value = "envoy")]
    envoy: PathBuf,
    #[arg(long, default_value = "nginx")]
    nginx: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// The control plane under many clients.
    ControlPlane {
        /// pilot-discovery; default is the one beside this program.
        #[arg(long)]
        discovery: Option<PathBuf>,
        /// Measures growth instead, and writes the plot to this file.
        #[arg(long)]
        growth: Option<PathBuf>,
    },
    /// Answers on a port of loopback.
    #[command(hide = true)]
    Backend {
        #[arg(long)]
        port: u16,
        /// Directory of its certificate, its key and the root; with it, clients must have certificates.
        #[arg(long)]
        tls: Option<PathBuf>,
    },
    /// Reads from a port of loopback.
    #[command(hide = true)]
    Sink {
        #[arg(long)]
        port: u16,
    },
    /// Writes to a port of loopback.
    #[command(hide = true)]
    Source {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        connections: usize,
        #[arg(long)]
        seconds: u64,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// CPU time per HTTP/1.1 request.
    Http1,
    /// CPU time per HTTP/2 stream.
    Http2,
    /// Memory of idle connections.
    Connections,
    /// Memory of an idle sidecar.
    Sidecar,
    /// Memory of a sidecar that sees a thousand services and holds a thousand connections.
    WorkingSet,
    /// Memory of ten thousand clusters.
    Clusters,
    /// CPU time per request through all filters of a sidecar, with mutual TLS and an access log.
    Chain,
    /// Throughput of bulk bytes through two sidecars with mutual TLS.
    Tcp,
    /// Latency at half of the load that Envoy can bear.
    Latency,
    /// Memory of operator and control plane in a cluster.
    Pods,
    /// Time to render a profile.
    Render,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all figures are reached.
fn run(arguments: Arguments) -> anyhow::Result<bool> {
    match arguments.command {
        Some(Command::Backend { port, tls }) => {
            ironsail_runtime::tls::install_provider();
            backend::serve(port, tls.as_deref())?;
            return Ok(true);
        }
        Some(Command::Sink { port }) => {
            bulk::serve_sink(port)?;
            return Ok(true);
        }
        Some(Command::Source {
            port,
            connections,
            seconds,
        }) => {
            bulk::run_source(port, connections, Duration::from_secs(seconds))?;
            return Ok(true);
        }
        Some(Command::ControlPlane { discovery, growth }) => {
            return control_plane(discovery, growth, arguments.rounds);
        }
        None => {}
    }
    ironsail_runtime::tls::install_provider();
    let beside = std::env::current_exe()?;
    let programs = Programs {
        agent: match arguments.agent {
            Some(path) => path.canonicalize().context("--agent")?,
            None => beside.with_file_name("pilot-agent"),
        },
        envoy: arguments.envoy,
        nginx: arguments.nginx,
    };
    let effort = Effort {
        rounds: arguments.rounds,
        duration: Duration::from_secs(arguments.seconds),
    };
    let is_wanted = |benchmark| arguments.only.is_empty() || arguments.only.contains(&benchmark);
    let directory = tempfile::tempdir()?;
    let mut report = Report::default();
    if is_wanted(Benchmark::Render) {
        render::demo_profile(&mut report)?;
    }
    if is_wanted(Benchmark::Pods) {
        pods::memory(&mut report)?;
    }
    if is_wanted(Benchmark::Sidecar) {
        memory::sidecar(&programs, directory.path(), &mut report)?;
    }
    if is_wanted(Benchmark::WorkingSet) {
        memory::working_set(
            &programs,
            &directory.path().join("working-set"),
            &mut report,
        )?;
    }
    if is_wanted(Benchmark::Clusters) {
        memory::clusters(&programs, &directory.path().join("clusters"), &mut report)?;
    }
    if is_wanted(Benchmark::Chain) {
        let field = chain::start(&programs, &directory.path().join("chain"))?;
        let load = Load::Http1 { connections: 64 };
        let title = "Whole outbound chain with mutual TLS, metrics and access log, HTTP/1.1, 1 KiB";
        field.measure(title, load, effort, 0.5, &mut report)?;
    }
    if is_wanted(Benchmark::Tcp) {
        tcp::throughput(
            &programs,
            &directory.path().join("tcp"),
            effort,
            &mut report,
        )?;
    }
    // Memory of connections first: load leaves buffers behind that would hide them.
    let on_field = [
        Benchmark::Connections,
        Benchmark::Http1,
        Benchmark::Http2,
        Benchmark::Latency,
    ];
    if on_field.into_iter().any(is_wanted) {
        let field = Field::start(&programs, directory.path())?;
        for benchmark in on_field
            .into_iter()
            .filter(|benchmark| is_wanted(*benchmark))
        {
            measure(benchmark, &field, effort, &mut report)?;
        }
    }
    Ok(report.summary())
}

fn control_plane(
    discovery: Option<PathBuf>,
    growth: Option<PathBuf>,
    rounds: usize,
) -> anyhow::Result<bool> {
    let program = control_plane::program(discovery)?;
    let directory = tempfile::tempdir()?;
    let mut report = Report::default();
    control_plane::step_aside()?;
    match growth {
        Some(plot) => control_plane::growth(&program, directory.path(), &plot, &mut report)?,
        None => control_plane::measure(&program, rounds, directory.path(), &mut report)?,
    }
    Ok(report.summary())
}

fn measure(
    benchmark: Benchmark,
    field: &Field,
    effort: Effort,
    report: &mut Report,
) -> anyhow::Result<()> {
    match benchmark {
        Benchmark::Http1 => {
            let load = Load::Http1 { connections: 64 };
            field.measure(
                "HTTP/1.1, 1 KiB, 64 connections",
                load,
                effort,
                0.42,
                report,
            )
        }
        Benchmark::Http2 => {
            let load = Load::Http2 {
                connections: 100,
                streams: 10,
            };
            let title = "HTTP/2, 1 KiB, 100 connections of 10 streams";
            field.measure(title, load, effort, 0.55, report)
        }
        Benchmark::Connections => memory::connections(field, report),
        Benchmark::Latency => latency::half_load(field, effort, report),
        // On no field.
        _ => Ok(()),
    }
}
