//! Benchmarks side by side with peers: everything runs on this machine, on loopback, and each run prints ratios.
//!
//! Proxies take turns on one core; load generators and the backend have the other one.

mod backend;
mod config;
mod http;
mod load;
mod machine;
mod mesh;
mod peer;
mod process;
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
    Http1,
    Http2,
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
    let field = Field::start(&programs, directory.path())?;
    if is_wanted(Benchmark::Http1) {
        let load = Load::Http1 { connections: 64 };
        field.measure(
            "HTTP/1.1, 1 KiB, 64 connections",
            load,
            effort,
            0.5,
            &mut report,
        )?;
    }
    if is_wanted(Benchmark::Http2) {
        let load = Load::Http2 {
            connections: 100,
            streams: 10,
        };
        field.measure(
            "HTTP/2, 1 KiB, 100 connections of 10 streams",
            load,
            effort,
            0.55,
            &mut report,
        )?;
    }
    Ok(report.summary())
}
