//! Latency under a load that is given, not found: requests come at a fixed rate, half of what Envoy bears.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::config::PATH;
use crate::http::{Effort, Field, Subject};
use crate::load::{Load, generator, output};
use crate::peer;
use crate::report::{Bound, Figure, Report, median};
use crate::turns::take_turns;

const CONNECTIONS: u32 = 64;
/// Load that finds out what Envoy bears.
const PROBE: Duration = Duration::from_secs(3);

/// The 99th percentile of ours against Envoy's; proxies take turns.
pub fn half_load(field: &Field, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let subject = |name| field.subjects().iter().find(|subject| subject.name == name);
    let (Some(ours), Some(envoy)) = (subject(peer::IRONSAIL), subject(peer::ENVOY)) else {
        bail!("a proxy is missing");
    };
    let load = Load::Http1 {
        connections: CONNECTIONS,
    };
    let most = load.run(envoy.http1, envoy.host, PROBE)?.per_second;
    let each = (most / 2.0 / f64::from(CONNECTIONS)).round() as u32;
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("requests");
    let all = take_turns(&[ours, envoy], effort.rounds, |subject| {
        p99(subject, each, effort.duration, &log)
    })?;
    let [ours, envoy] = [0, 1].map(|which| median(all[which].iter().copied()));
    report.section("Latency of HTTP/1.1 at half of Envoy's load");
    report.line(format!(
        "{} requests per second: 99 of 100 within {ours:.0} µs, Envoy's within {envoy:.0} µs",
        each * CONNECTIONS
    ));
    report.figure(Figure {
        name: "p99 at half load, ours / Envoy".to_owned(),
        value: ours / envoy,
        unit: "x",
        bound: Bound::AtMost(1.0),
    });
    Ok(())
}

fn p99(subject: &Subject, each: u32, duration: Duration, log: &Path) -> anyhow::Result<f64> {
    let mut command = generator("h2load", duration);
    command
        .args([
            "--h1",
            "--threads",
            "1",
            "--clients",
            &CONNECTIONS.to_string(),
        ])
        .args(["--rps", &each.to_string()])
        .args(["--duration", &duration.as_secs().to_string()])
        .arg("--log-file")
        .arg(log)
        .args(["--header", &format!(":authority: {}", subject.host)])
        .arg(format!("http://127.0.0.1:{}{PATH}", subject.http1));
    output("h2load", command)?;
    let text = std::fs::read_to_string(log).context("h2load wrote no log")?;
    std::fs::remove_file(log)?;
    percentile(&text)
}

/// Of lines `<start> <status> <microseconds>`; any answer but 200 is an error.
fn percentile(log: &str) -> anyhow::Result<f64> {
    let mut micros = Vec::new();
    for line in log.lines() {
        let mut fields = line.split('\t');
        match (fields.nth(1), fields.next().map(str::parse::<u64>)) {
            (Some("200"), Some(Ok(time))) => micros.push(time),
            _ => bail!("h2load logs {line:?}"),
        }
    }
    micros.sort_unstable();
    let at = micros.len() * 99 / 100;
    micros
        .get(at)
        .map(|micros| *micros as f64)
        .context("h2load logs nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_hundredth_begins_there() {
        let log: String = (0..200).map(|time| format!("1\t200\t{time}\n")).collect();
        assert_eq!(percentile(&log).expect("a log"), 198.0);
        assert!(percentile("1\t503\t7\n").is_err());
        assert!(percentile("").is_err());
    }
}
