//! Programs of users beside kubectl: our command line, and Helm.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    /// What it printed.
    pub text: String,
    /// What it printed on standard error.
    pub error: String,
}

/// Runs a program that is in the path, with nothing on standard input.
///
/// # Errors
/// It is not there or is killed.
pub fn call(program: &str, arguments: &[&str]) -> anyhow::Result<Ended> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} does not start"))?;
    Ok(Ended {
        code: output.status.code().context("killed by a signal")?,
        text: String::from_utf8(output.stdout)?,
        error: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a program that is in the path; returns what it prints.
///
/// # Errors
/// It is not there or exits non-zero: the error carries the command line and standard error.
pub fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let ended = call(program, arguments)?;
    ensure!(
        ended.code == 0,
        "{program} {}: {}{}",
        arguments.join(" "),
        ended.error.trim(),
        ended.text.trim(),
    );
    Ok(ended.text)
}
