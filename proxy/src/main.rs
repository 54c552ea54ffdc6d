//! `pilot-agent`: proxy and agent in one program.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use ironsail_proxy::admin;
use ironsail_proxy::bootstrap::{Bootstrap, Environment, Flags};
use ironsail_proxy::capture;
use ironsail_proxy::command::{self, Command};
use ironsail_proxy::run;
use ironsail_runtime::log::{self, LogConfig};
use ironsail_runtime::{tls, version};
use tracing::{info, warn};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match command::parse(std::env::args()) {
        Ok(command) => run(command),
        Err(usage) => Err(usage.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Proxy {
            flags,
            log_output_level,
            log_as_json,
            unknown,
        } => proxy(&flags, &log_output_level, log_as_json, &unknown),
        Command::Request { method, path, port } => {
            block_on(command::request::run(&method, &path, port))
        }
        Command::Wait {
            timeout_seconds,
            period_ms,
            url,
        } => block_on(command::wait::run(
            &url,
            Duration::from_secs(timeout_seconds),
            Duration::from_millis(period_ms),
        )),
        Command::Version { short, output } => {
            let format = version::Format::from_flags(short, &output).map_err(anyhow::Error::msg)?;
            version::print("pilot-agent", format);
            Ok(())
        }
        Command::Iptables(arguments) => iptables(arguments),
        Command::PrintConfigDump => Ok(admin::print_dump(
            std::io::stdin().lock(),
            std::io::stdout().lock(),
        )?),
        Command::Help => {
            print!("{}", command::HELP);
            Ok(())
        }
    }
}

fn iptables(arguments: Vec<String>) -> anyhow::Result<()> {
    match capture::Options::parse(arguments) {
        Ok(options) => Ok(capture::run(&options)?),
        Err(capture::OptionsError::Flags(error)) => error.exit(),
        Err(error) => Err(error.into()),
    }
}

fn proxy(
    flags: &Flags,
    log_output_level: &str,
    log_as_json: bool,
    unknown: &[String],
) -> anyhow::Result<()> {
    let log = log::install(LogConfig::from_flags(log_output_level, log_as_json)?)?;
    for flag in unknown {
        warn!(%flag, "Flag has no meaning here");
    }
    tls::install_provider();
    let environment = Environment::of_process();
    let bootstrap = Bootstrap::new(flags, &environment)?;
    info!(node = %bootstrap.node, identity = %bootstrap.identity, workers = bootstrap.concurrency, "Starting");
    runtime()?.block_on(run::run(bootstrap, &environment, log))
}

fn block_on(work: impl Future<Output = std::io::Result<()>>) -> anyhow::Result<()> {
    Ok(runtime()?.block_on(work)?)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .context("the runtime does not start")
}
