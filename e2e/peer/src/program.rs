//! Where the programs are.

use std::path::PathBuf;

use anyhow::{Context, bail};

/// A program that `make peer-tools` fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Envoy as its project releases it.
    Envoy,
    Nginx,
    /// Its libraries are beside it, in `haproxy-lib`.
    Haproxy,
    /// Conformance tests of HTTP/2.
    H2spec,
    /// A folder: gRPC's library for `python3`.
    Grpc,
}

impl Program {
    fn file(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::H2spec => "h2spec",
            Self::Grpc => "grpc",
        }
    }
}

/// Path of a peer in the cache: `$IRONSAIL_PEERS`, else `$CACHE/peers`, else `~/.cache/ironsail/peers`.
///
/// # Errors
/// It was not fetched. Tests fail then: one that passes without its peer shows nothing.
pub fn find(program: Program) -> anyhow::Result<PathBuf> {
    let path = directory()?.join(program.file());
    if !path.exists() {
        bail!(
            "{} is missing; `make peer-tools` fetches it",
            path.display()
        );
    }
    Ok(path)
}

fn directory() -> anyhow::Result<PathBuf> {
    if let Some(peers) = std::env::var_os("IRONSAIL_PEERS") {
        return Ok(peers.into());
    }
    let cache = match std::env::var_os("CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => std::env::home_dir()
            .context("there is no home directory")?
            .join(".cache/ironsail"),
    };
    Ok(cache.join("peers"))
}
