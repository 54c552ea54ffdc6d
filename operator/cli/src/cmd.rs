//! One module per command.

mod completion;
mod historic;
mod manifest;
mod profile;
mod version;

use clap::Subcommand;

use crate::cluster::ClusterFlags;
use crate::exit::Code;

/// What is to be done.
#[derive(Subcommand)]
pub enum Command {
    /// Print and compare manifests.
    #[command(subcommand)]
    Manifest(manifest::Command),
    /// Print and compare profiles.
    #[command(subcommand)]
    Profile(profile::Command),
    /// Print the versions of this program, the control plane and the proxies.
    Version(version::Flags),
    /// Print a completion script for a shell.
    Completion(completion::Flags),
    #[command(external_subcommand)]
    Historic(Vec<String>),
}

impl Command {
    /// # Errors
    /// What kept the command from its end, with the exit code of [`crate::exit::code`].
    pub async fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        let cluster = &cluster.with_defaults()?;
        match self {
            Self::Manifest(command) => command.run(cluster).await,
            Self::Profile(command) => command.run(),
            Self::Version(flags) => flags.run(cluster).await,
            Self::Completion(flags) => flags.run(),
            Self::Historic(words) => Err(historic::refuse(&words)),
        }
    }
}
