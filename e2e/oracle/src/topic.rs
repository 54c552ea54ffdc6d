//! A topic: what both proxies are given, and the calls that both must answer alike.
//!
//! A file begins with YAML (see [`Header`]), then a line `---`, then one call per line (see [`crate::call`]). Lines that
//! begin with `#` and empty lines are for readers. Lines under a call that begin with `- ` or `+ `, indented, are the
//! parts of the answer that only Envoy and only we give, as the call's decision explains them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use crate::call::Call;
use crate::server;

/// A topic as it is read.
#[derive(Debug)]
pub struct Topic {
    pub name: String,
    pub header: Header,
    pub calls: Vec<Call>,
}

/// Configuration of a topic.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Header {
    /// One after the other, because calls change what the next one meets.
    pub in_order: bool,
    /// Our proxy is started with `IRONSAIL_HTTP1_LENIENT`.
    pub lenient_http1: bool,
    /// Servers that are not plain HTTP.
    pub servers: BTreeMap<String, server::Kind>,
    /// Fields of `Cluster` in Envoy's YAML over the defaults; beside them `servers` (default: that of the cluster's
    /// name), `http2`, `fresh` and `tls` (see [`crate::config`]).
    pub clusters: BTreeMap<String, Value>,
    /// The first is where calls go that name none.
    pub listeners: serde_yaml_ng::Mapping,
}

impl Topic {
    /// Reads a file.
    ///
    /// # Errors
    /// It does not parse; the error names the line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).with_context(|| path.display().to_string())
    }

    fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let (header, calls) = text.split_once("\n---\n").context("lacks a line ---")?;
        let first = header.lines().count() + 2;
        let mut topic = Self {
            name: name.to_owned(),
            header: serde_yaml_ng::from_str(header)?,
            calls: Vec::new(),
        };
        for (index, line) in calls.lines().enumerate() {
            let number = first + index;
            topic
                .line(number, line)
                .with_context(|| format!("line {number}"))?;
        }
        Ok(topic)
    }

    fn line(&mut self, number: usize, line: &str) -> anyhow::Result<()> {
        let is_for_readers = line.trim().is_empty() || line.starts_with('#');
        if is_for_readers {
            return Ok(());
        }
        if !line.starts_with(' ') {
            self.calls.push(Call::parse(number, line)?);
            return Ok(());
        }
        let last = self.calls.last_mut().and_then(|call| call.differs.as_mut());
        let differs = last.context("belongs to no call with a decision")?;
        differs.lines.push(line.trim().to_owned());
        Ok(())
    }
}

/// Why we differ from Envoy, by the names that calls use, from `decisions.yaml`.
///
/// # Errors
/// The file cannot be read.
pub fn decisions(directory: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(directory.join("decisions.yaml"))?;
    Ok(serde_yaml_ng::from_str(&text)?)
}

/// Files of all topics below a directory, in order of their names.
///
/// # Errors
/// The directory cannot be read.
pub fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    let mut files = paths.collect::<anyhow::Result<Vec<_>>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "calls")
    });
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "in_order: true\nlisteners: {main: {}}\n---\n# plain\nGET a / => 200\n\nGET b / => 200 !why\n  - x\n  + y\n";

    #[test]
    fn calls_know_their_lines() {
        let topic = Topic::parse("t", TEXT).expect("valid");
        let lines: Vec<usize> = topic.calls.iter().map(|call| call.line).collect();
        assert_eq!(lines, [5, 7]);
        let differs = topic.calls[1].differs.as_ref().expect("differs");
        assert_eq!(differs.lines, ["- x", "+ y"]);
    }

    #[test]
    fn lines_that_differ_belong_to_a_decision() {
        assert!(Topic::parse("t", &TEXT.replace("=> 200 !why", "=> 200")).is_err());
    }
}
