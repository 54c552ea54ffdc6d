//! Writes the image archives and what is in them, at the root of the workspace: `images build --from <release directory> --out <directory> --tag <tag>`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use ironsail_e2e::image::IMAGES;
use ironsail_e2e::sbom::Packages;

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
    /// Writes one archive and one bill of materials per image, and prints path and reference.
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
    let packages = Packages::of_workspace(&std::env::current_dir()?)?;
    for image in IMAGES {
        let reference = image.reference(hub, &tag);
        let path = image.write(&from, &out, &reference)?;
        let bill = packages.document(image.binary, &reference, &image.digest(&from)?)?;
        let bill = format!("{}\n", serde_json::to_string_pretty(&bill)?);
        std::fs::write(out.join(format!("{}.cdx.json", image.name)), bill)?;
        println!("{} {reference}", path.display());
    }
    Ok(())
}
