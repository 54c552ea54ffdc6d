//! Calls between pods, and from outside the mesh.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use anyhow::Context;
use serde::Deserialize;

use crate::kubectl;

/// What `apps load` prints.
#[derive(Debug, Deserialize)]
pub struct Load {
    pub sent: u32,
    pub ok: u32,
    pub failed: u32,
    pub by_status: BTreeMap<u16, u32>,
    pub by_header: BTreeMap<String, u32>,
    pub errors: BTreeMap<String, u32>,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// An answer that `apps get` printed.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// Runs `apps load` in a container; `arguments` follow the program's name.
///
/// # Errors
/// The program fails or prints no summary.
pub fn load(
    namespace: &str,
    target: &str,
    container: &str,
    arguments: &[&str],
) -> anyhow::Result<Load> {
    let mut command = vec!["/usr/local/bin/apps", "load"];
    command.extend(arguments);
    let text = kubectl::exec(namespace, target, container, &command)?;
    serde_json::from_str(text.trim()).with_context(|| format!("no summary: {text}"))
}

/// [`load`] in the background, from the container `app`.
pub fn load_in_background(
    namespace: &str,
    target: &str,
    arguments: &[&str],
) -> JoinHandle<anyhow::Result<Load>> {
    let (namespace, target) = (namespace.to_owned(), target.to_owned());
    let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
    std::thread::spawn(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        load(&namespace, &target, "app", &arguments)
    })
}

/// One request from the container `app`; `arguments` follow the URL.
///
/// # Errors
/// There is no answer.
pub fn get(namespace: &str, target: &str, url: &str, arguments: &[&str]) -> anyhow::Result<Answer> {
    let mut command = vec!["/usr/local/bin/apps", "get", url];
    command.extend(arguments);
    let text = kubectl::exec(namespace, target, "app", &command)?;
    let (head, body) = text.split_once("\n\n").context("no answer")?;
    let status = head.lines().next().context("no status")?.parse()?;
    Ok(Answer {
        status,
        body: body.trim().to_owned(),
    })
}
