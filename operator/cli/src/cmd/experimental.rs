//! `experimental`: commands of the peer that are there.

mod precheck;

use clap::Subcommand;

use super::{historic, version};
use crate::cluster::ClusterFlags;
use crate::exit::Code;

#[derive(Subcommand)]
pub enum Command {
    /// Check whether a mesh can be installed or upgraded.
    Precheck(precheck::Flags),
    /// The same as ironsail version.
    Version(version::Flags),
    #[command(external_subcommand)]
    Historic(Vec<String>),
}

impl Command {
    pub async fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        match self {
            Self::Precheck(flags) => flags.run(cluster).await,
            Self::Version(flags) => flags.run(cluster).await,
            Self::Historic(words) => {
                let words: Vec<String> = std::iter::once("experimental".to_owned())
                    .chain(words)
                    .collect();
                Err(historic::refuse(&words))
            }
        }
    }
}
