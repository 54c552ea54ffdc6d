//! Writes the image archives: `images build --from <release directory> --out <directory> --tag <tag>`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use ironsail_e2e::image::IMAGES;

/// Hub when none is given: what the manifests in `deploy` name.
const LOCAL_HUB: &str = "ironsail";

#[derive(Parser)]
#[command(name = "images", about = "Image archives of all programs")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes one archive per image and prints its path and reference.
    Build {
        /// Directory of the release binaries.
        #[arg(long)]
        from: PathBuf,
        #[arg(long)]
        out: PathBuf,
        #[arg(long, env = "HUB", default_value = LOCAL_HUB)]
        hub: String,
        #[arg(long, env = "TAG")]
        tag: String,
    },
}

fn main() -> anyhow::Result<()> {
    let Command::Build {
        from,
        out,
        hub,
        tag,
    } = Cli::parse().command;
    let hub = if hub.is_empty() { LOCAL_HUB } else { &hub };
    std::fs::create_dir_all(&out)?;
    for image in IMAGES {
        let reference = image.reference(hub, &tag);
        let path = image.write(&from, &out, &reference)?;
        println!("{} {reference}", path.display());
    }
    Ok(())
}
