//! Load generators: `wrk` for HTTP/1.1, `h2load` for HTTP/2.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::config::PATH;
use crate::machine::{OTHER_CORE, on_core};

/// How a proxy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    Http1 { connections: u32 },
    Http2 { connections: u32, streams: u32 },
}

/// What came of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answered {
    pub requests: u64,
    pub per_second: f64,
}

impl Load {
    /// Asks for `duration`. Any answer but 200 is an error.
    pub fn run(self, port: u16, host: &str, duration: Duration) -> anyhow::Result<Answered> {
        match self {
            Load::Http1 { connections } => wrk(port, host, connections, duration),
            Load::Http2 {
                connections,
                streams,
            } => h2load(port, host, connections, streams, duration),
        }
    }
}

fn wrk(port: u16, host: &str, connections: u32, duration: Duration) -> anyhow::Result<Answered> {
    let mut command = generator("wrk", duration);
    command
        .args(["--threads", "1", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{}s", duration.as_secs())])
        .args(["--header", &format!("Host: {host}")])
        .arg(format!("http://127.0.0.1:{port}{PATH}"));
    parse_wrk(&output("wrk", command)?)
}

fn h2load(
    port: u16,
    host: &str,
    connections: u32,
    streams: u32,
    duration: Duration,
) -> anyhow::Result<Answered> {
    let mut command = generator("h2load", duration);
    command
        .args(["--threads", "1", "--clients", &connections.to_string()])
        .args(["--max-concurrent-streams", &streams.to_string()])
        .args(["--duration", &duration.as_secs().to_string()])
        .args(["--header", &format!(":authority: {host}")])
        .arg(format!("http://127.0.0.1:{port}{PATH}"));
    parse_h2load(&output("h2load", command)?)
}

/// A program that makes load for `duration`, on its core; it is ended when it does not end by itself.
pub fn generator(name: &str, duration: Duration) -> Command {
    let limit = duration + Duration::from_secs(20);
    let mut command = on_core(OTHER_CORE, "timeout");
    command.arg(limit.as_secs().to_string()).arg(name);
    command
}

pub fn output(name: &str, mut command: Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{name} does not start"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{name} ended with {}:\n{text}", output.status);
    }
    Ok(text)
}

/// `123456 requests in 5.00s, …` and `Requests/sec:  24690.12`.
fn parse_wrk(text: &str) -> anyhow::Result<Answered> {
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("wrk met errors:\n{text}");
    }
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse().ok());
    let per_second = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .and_then(|rate| rate.trim().parse().ok());
    match (requests, per_second) {
        (Some(requests), Some(per_second)) if requests > 0 => Ok(Answered {
            requests,
            per_second,
        }),
        _ => bail!("wrk prints no count:\n{text}"),
    }
}

/// `finished in 5.00s, 24690.12 req/s, …` and `status codes: 123456 2xx, 0 3xx, 0 4xx, 0 5xx`.
fn parse_h2load(text: &str) -> anyhow::Result<Answered> {
    let codes = text
        .lines()
        .find_map(|line| line.strip_prefix("status codes: "))
        .with_context(|| format!("h2load prints no status codes:\n{text}"))?;
    let count = |class: &str| -> Option<u64> {
        let mut counts = codes.split(", ").filter_map(|part| part.split_once(' '));
        counts.find(|(_, name)| *name == class)?.0.parse().ok()
    };
    let per_second = text
        .lines()
        .filter(|line| line.starts_with("finished in"))
        .flat_map(|line| line.split(", "))
        .find_map(|part| part.strip_suffix(" req/s")?.parse().ok());
    match (count("2xx"), count("4xx"), count("5xx"), per_second) {
        (Some(requests), Some(0), Some(0), Some(per_second)) if requests > 0 => Ok(Answered {
            requests,
            per_second,
        }),
        _ => bail!("h2load met errors:\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_read() {
        let wrk = "Running 5s test\n  Thread Stats\n  123456 requests in 5.00s, 100MB read\nRequests/sec:  24690.12\n";
        let answered = parse_wrk(wrk).expect("a summary");
        assert_eq!(answered.requests, 123_456);
        let h2load = "finished in 5.00s, 200.40 req/s, 1.2MB/s\nrequests: 1002 total\nstatus codes: 1002 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        let answered = parse_h2load(h2load).expect("a summary");
        assert_eq!((answered.requests, answered.per_second), (1002, 200.40));
    }

    #[test]
    fn errors_are_not_counted_as_answers() {
        let refused = "  10 requests in 1s\n  Non-2xx or 3xx responses: 10\nRequests/sec: 10\n";
        assert!(parse_wrk(refused).is_err());
        let failed = "finished in 1s, 10 req/s\nstatus codes: 5 2xx, 0 3xx, 0 4xx, 5 5xx\n";
        assert!(parse_h2load(failed).is_err());
    }
}
