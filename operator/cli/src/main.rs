//! The command line `ironsail`: the verbs, flags and exit codes of the peer's.
//!
//! Nothing is rendered, planned or applied here but by the operator's library, so that a command
//! and the operator in a cluster mean the same.

mod cluster;
mod cmd;
mod exit;
mod input;
mod meshes;
mod output;
mod pods;
mod set;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use cluster::ClusterFlags;
use exit::Code;

/// Installs, upgrades and looks into Ironsail service meshes.
#[derive(Parser)]
#[command(
    name = "ironsail",
    disable_version_flag = true,
    infer_subcommands = false
)]
struct Program {
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(subcommand)]
    command: cmd::Command,
}

fn main() -> ExitCode {
    ironsail_runtime::process::end_with_reader();
    let program = Program::command()
        .try_get_matches()
        .and_then(|matches| Program::from_arg_matches(&matches));
    let code = match program {
        Ok(program) => run(program),
        Err(error) => {
            // Where nobody reads, nothing can be reported either.
            let _ = error.print();
            match error.use_stderr() {
                true => Code::Usage,
                false => Code::Ok,
            }
        }
    };
    ExitCode::from(code as u8)
}

/// Runs a command and says what went wrong.
fn run(program: Program) -> Code {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(program.command.run(&program.cluster)),
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("Error: {}", exit::text(&error));
        exit::code(&error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_all_commands_fit_together() {
        Program::command().debug_assert();
    }
}
