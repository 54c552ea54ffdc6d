//! Benchmarks side by side with peers: everything runs on this machine, on loopback, and each run prints ratios.
//!
//! Proxies take turns on one core; load generators and the backend have the other one.

mod backend;
mod bookinfo;
mod config;
mod http;
mod load;
mod machine;
mod memory;
mod mesh;
mod peer;
mod pods;
mod render;
mod report;

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
    /// Answers on a port of loopback.
    #[command(hide = true)]
    Backend {
        #[arg(long)]
        port: u16,
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
    if let Some(Command::Backend { port }) = arguments.command {
        backend::serve(port)?;
        return Ok(true);
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
    // Memory of connections first: load leaves buffers behind that would hide them.
    let on_field = [Benchmark::Connections, Benchmark::Http1, Benchmark::Http2];
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

fn measure(
    benchmark: Benchmark,
    field: &Field,
    effort: Effort,
    report: &mut Report,
) -> anyhow::Result<()> {
    match benchmark {
        Benchmark::Http1 => {
            let load = Load::Http1 { connections: 64 };
            field.measure("HTTP/1.1, 1 KiB, 64 connections", load, effort, 0.5, report)
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
        Benchmark::Sidecar | Benchmark::Pods | Benchmark::Render => Ok(()),
    }
}
