//! The page for users about differences, written from the calls.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, bail};

use crate::call::{Call, Differs};
use crate::topic::Topic;

const HEAD: &str = "# Where answers differ from Envoy's

Ironsail's proxy is given the same configuration as a stock Envoy and has to answer the same calls alike, down to headers,
response flags and what upstream servers see. What it answers differently is listed here. This page is written from the
calls that show it, in `e2e/oracle/calls`: a call, statuses with the servers that saw it and response flags; or, where
those are the same, the lines that only Envoy (`-`) and only Ironsail (`+`) has.
";
const DECIDED: &str = "\n## On purpose\n";
const GAPS: &str = "\n## Not alike yet\n";

/// Rows of a table, by the decision that they show.
type Rows<'a> = BTreeMap<&'a str, Vec<String>>;

/// The page.
///
/// # Errors
/// A call names a decision that does not exist, or a decision is shown by no call.
pub fn render(topics: &[Topic], reasons: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let (mut decided, mut gaps) = (Rows::new(), Rows::new());
    for call in topics.iter().flat_map(|topic| &topic.calls) {
        if let Some(differs) = &call.differs {
            let rows = if differs.is_gap {
                &mut gaps
            } else {
                &mut decided
            };
            let rows = rows.entry(&differs.decision).or_default();
            rows.push(row(call, differs));
        }
    }
    let shown = |name: &str| decided.contains_key(name) || gaps.contains_key(name);
    if let Some(unused) = reasons.keys().find(|name| !shown(name)) {
        bail!("no call shows the decision {unused:?}");
    }
    let mut text = HEAD.to_owned();
    let sections = [(DECIDED, decided), (GAPS, gaps)].into_iter();
    for (title, rows) in sections.filter(|(_, rows)| !rows.is_empty()) {
        text.push_str(title);
        for (name, rows) in rows {
            let reason = reasons.get(name);
            let reason = reason.with_context(|| format!("no decision is named {name:?}"))?;
            section(&mut text, name, reason.trim(), &rows)?;
        }
    }
    Ok(text)
}

fn section(text: &mut String, name: &str, reason: &str, rows: &[String]) -> anyhow::Result<()> {
    let title = name.replace('-', " ");
    let rows = rows.join("\n");
    writeln!(text, "\n### {title}\n\n{reason}\n\n{TABLE}\n{rows}")?;
    Ok(())
}

const TABLE: &str = "| Call | Envoy | Ironsail |\n|---|---|---|";

fn row(call: &Call, differs: &Differs) -> String {
    let ours = match &differs.summary {
        Some(summary) => code(summary),
        None => {
            let lines: Vec<String> = differs.lines.iter().map(|line| code(line)).collect();
            lines.join(" ")
        }
    };
    format!(
        "| {} | {} | {ours} |",
        code(&call.text),
        code(&call.expected)
    )
}

fn code(text: &str) -> String {
    format!("`` {} ``", text.replace('|', "\\|"))
}
