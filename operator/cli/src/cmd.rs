//! One module per command.

mod adopt;
mod completion;
mod experimental;
mod historic;
mod install;
mod manifest;
mod operator;
mod plan;
mod profile;
mod tag;
mod uninstall;
mod validate;
mod verify_install;
mod version;

use clap::Subcommand;

use crate::cluster::ClusterFlags;
use crate::exit::Code;

/// What is to be done.
#[derive(Subcommand)]
pub enum Command {
    /// Install a mesh, or change it.
    #[command(visible_alias = "apply")]
    Install(install::Flags),
    /// Upgrade a mesh: the same as install.
    Upgrade(install::Flags),
    /// Remove a mesh.
    Uninstall(uninstall::Flags),
    /// Say what applying an IstioOperator would change; exit code 2 if it would change something.
    Plan(plan::Flags),
    /// Take over what istioctl, Helm or the operator of Istio installed.
    Adopt(adopt::Flags),
    /// Check that everything is installed and ready.
    VerifyInstall(verify_install::Flags),
    /// Check files with configuration, without a cluster.
    #[command(visible_alias = "v")]
    Validate(validate::Flags),
    /// Install, print and remove the operator.
    #[command(subcommand)]
    Operator(operator::Command),
    /// Print and compare manifests.
    #[command(subcommand)]
    Manifest(manifest::Command),
    /// Print and compare profiles.
    #[command(subcommand)]
    Profile(profile::Command),
    /// Names that stand for revisions.
    #[command(subcommand)]
    Tag(tag::Command),
    /// Commands that may change.
    #[command(subcommand, visible_aliases = ["x", "exp"])]
    Experimental(experimental::Command),
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
            Self::Install(flags) | Self::Upgrade(flags) => flags.run(cluster).await,
            Self::Uninstall(flags) => flags.run(cluster).await,
            Self::Plan(flags) => flags.run(cluster).await,
            Self::Adopt(flags) => flags.run(cluster).await,
            Self::VerifyInstall(flags) => flags.run(cluster).await,
            Self::Validate(flags) => flags.run(cluster),
            Self::Operator(command) => command.run(cluster).await,
            Self::Manifest(command) => command.run(cluster).await,
            Self::Profile(command) => command.run(),
            Self::Tag(command) => command.run(cluster).await,
            Self::Experimental(command) => command.run(cluster).await,
            Self::Version(flags) => flags.run(cluster).await,
            Self::Completion(flags) => flags.run(),
            Self::Historic(words) => Err(historic::refuse(&words)),
        }
    }
}
