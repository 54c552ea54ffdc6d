//! `kubectl`, as a person calls it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// Runs `kubectl` with these arguments and returns its standard output.
///
/// # Errors
/// It exits non-zero: the error carries the command line and standard error.
pub fn run(arguments: &[&str]) -> anyhow::Result<String> {
    finish(arguments, output(arguments, None)?)
}

/// Like [`run`], with `input` on standard input.
pub fn run_with_input(arguments: &[&str], input: &str) -> anyhow::Result<String> {
    finish(arguments, output(arguments, Some(input))?)
}

/// Runs `kubectl`, expects it to fail, and returns its standard error.
///
/// # Errors
/// It succeeds.
pub fn expect_failure(arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let output = output(arguments, Some(input))?;
    ensure!(
        !output.status.success(),
        "kubectl {} succeeded: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Server-side application of a manifest's text as a person does it: `kubectl apply -f -`.
///
/// # Errors
/// The API server or a webhook refuses.
pub fn apply(namespace: &str, manifest: &str) -> anyhow::Result<String> {
    run_with_input(&["-n", namespace, "apply", "-f", "-"], manifest)
}

/// An object or list as JSON.
///
/// # Errors
/// It does not exist, or the call fails.
pub fn get(namespace: &str, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut all = vec!["-n", namespace, "get", "-o", "json"];
    all.extend(arguments);
    Ok(serde_json::from_str(&run(&all)?)?)
}

/// Whether an object exists.
///
/// # Errors
/// The call fails for another reason than absence.
pub fn exists(namespace: &str, kind: &str, name: &str) -> anyhow::Result<bool> {
    let found = run(&[
        "-n",
        namespace,
        "get",
        kind,
        name,
        "--ignore-not-found",
        "-o",
        "name",
    ])?;
    Ok(!found.trim().is_empty())
}

/// Runs a program in a container.
///
/// # Errors
/// It exits non-zero.
pub fn exec(
    namespace: &str,
    target: &str,
    container: &str,
    command: &[&str],
) -> anyhow::Result<String> {
    let mut all = vec!["-n", namespace, "exec", target, "-c", container, "--"];
    all.extend(command);
    run(&all)
}

fn output(arguments: &[&str], input: Option<&str>) -> anyhow::Result<Output> {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(match input {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("kubectl does not start")?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // Beside reading: a program that prints while it reads would wait for us, and we for it.
        let written = scope.spawn(move || match (input, stdin) {
            (Some(input), Some(mut stdin)) => stdin.write_all(input.as_bytes()),
            _ => Ok(()),
        });
        let output = child.wait_with_output()?;
        // One that ends early says why itself.
        let _ = written.join();
        Ok(output)
    })
}

fn finish(arguments: &[&str], output: Output) -> anyhow::Result<String> {
    if !output.status.success() {
        bail!(
            "kubectl {}: {}{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim(),
            String::from_utf8_lossy(&output.stdout).trim(),
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}
