//! Tests against a real Kubernetes and what they need.
//!
//! The tests do what a person would: they call `kubectl`, look at objects, and send requests from pods. The cluster is
//! the one of `$KUBECONFIG`; `make e2e` boots one where there is none.

pub mod audit;
pub mod health;
pub mod image;
pub mod kubectl;
pub mod mesh;
pub mod namespace;
pub mod operator;
pub mod resource;
pub mod sbom;
pub mod tool;
pub mod traffic;
pub mod wait;

use std::path::PathBuf;

use anyhow::Context;

/// Where this crate lies. Read when tests run: a target directory that several checkouts share holds binaries of any of them.
///
/// # Errors
/// The test was not started by cargo.
pub(crate) fn directory() -> anyhow::Result<PathBuf> {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .context("CARGO_MANIFEST_DIR is not set: run the tests with cargo")
}

/// Standard base64, as `caBundle` wants it.
pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
