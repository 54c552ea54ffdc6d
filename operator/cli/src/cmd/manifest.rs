//! `manifest`: what would be applied, without a cluster.

mod diff;
mod generate;
mod translate;

use clap::Subcommand;

use crate::cluster::ClusterFlags;
use crate::exit::Code;

#[derive(Subcommand)]
pub enum Command {
    /// Print the objects of a mesh.
    Generate(generate::Flags),
    /// Compare two manifests, object by object.
    Diff(diff::Flags),
    /// Translate an IstioOperator into values of Helm charts.
    Translate(translate::Flags),
}

impl Command {
    pub async fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        match self {
            Self::Generate(flags) => flags.run(cluster).await,
            Self::Diff(flags) => flags.run(),
            Self::Translate(flags) => flags.run(),
        }
    }
}
