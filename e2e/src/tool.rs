//! Programs of users beside kubectl: our command line, and Helm.

use std::process::Command;

use anyhow::{Context, ensure};

/// Runs a program that is in the path; returns what it prints.
///
/// # Errors
/// It is not there or exits non-zero: the error carries the command line and standard error.
pub fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("{program} does not start"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim(),
        String::from_utf8_lossy(&output.stdout).trim(),
    );
    Ok(String::from_utf8(output.stdout)?)
}
