//! `pilot-discovery`: the control plane's program.

use std::process::ExitCode;

use anyhow::Context;
use ironsail_controlplane::bootstrap::{Bootstrap, BootstrapError};
use ironsail_controlplane::run;
use ironsail_runtime::log::LogConfig;
use ironsail_runtime::{log, tls, version};
use tracing::warn;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HELP: &str = "\
Ironsail control plane

usage: pilot-discovery <command>

  discovery    serve discovery, certificates and webhooks (--help)
  version      print the version (--short, --output json)
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next().as_deref() {
        Some("discovery") => discovery(arguments),
        Some("version") => print_version(arguments),
        Some("help" | "--help" | "-h") | None => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => Err(anyhow::anyhow!(
            "{other:?} is no command; see pilot-discovery help"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn discovery(arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let (bootstrap, unknown) = match Bootstrap::new(arguments, |name| std::env::var(name).ok()) {
        Err(BootstrapError::Flags(error)) => error.exit(),
        other => other?,
    };
    let config = LogConfig::from_flags(&bootstrap.log_output_level, bootstrap.log_as_json)?;
    log::install(config)?;
    for flag in unknown {
        warn!(%flag, "Flag has no meaning here");
    }
    tls::install_provider();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(
            std::thread::available_parallelism()
                .map_or(2, usize::from)
                .min(4),
        )
        .enable_all()
        .build()
        .context("the runtime does not start")?
        .block_on(run::run(bootstrap))
}

fn print_version(arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let arguments: Vec<String> = arguments.collect();
    let short = arguments
        .iter()
        .any(|argument| argument == "--short" || argument == "-s");
    let output = arguments
        .iter()
        .zip(arguments.iter().skip(1))
        .find(|(flag, _)| matches!(flag.as_str(), "-o" | "--output"))
        .map_or("", |(_, value)| value.as_str());
    let format = version::Format::from_flags(short, output).map_err(anyhow::Error::msg)?;
    version::print("pilot-discovery", format);
    Ok(())
}
