//! The operator itself: away, back, and restarted.

use anyhow::Context;

use crate::{kubectl, mesh};

const DEPLOYMENT: &str = "deployment/istio-operator";

/// The operator is away until this is dropped.
pub struct Away;

impl Away {
    /// Returns when no operator runs.
    ///
    /// # Errors
    /// It doesn't go.
    pub fn begin() -> anyhow::Result<Self> {
        run(&["scale", DEPLOYMENT, "--replicas=0"])?;
        run(&["wait", "pod", "--all", "--for=delete", "--timeout=60s"])?;
        Ok(Self)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        if let Err(error) = mesh::apply_operator() {
            eprintln!("the operator stays away: {error:#}");
        }
    }
}

/// Waits until the newest operator runs alone.
///
/// # Errors
/// It does not in time.
pub fn rolled_out() -> anyhow::Result<()> {
    run(&["rollout", "status", DEPLOYMENT, "--timeout=90s"]).with_context(mesh::scene)
}

fn run(arguments: &[&str]) -> anyhow::Result<()> {
    kubectl::run(&[&["-n", mesh::OPERATOR][..], arguments].concat()).map(drop)
}
