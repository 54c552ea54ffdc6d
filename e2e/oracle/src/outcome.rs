//! What came of a call, as text that is the same for the same behaviour: what is random or of one run is replaced.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::OnceLock;

use regex::Regex;

use crate::access_log::Log;
use crate::board::Seen;
use crate::client::Noted;
use crate::server::Servers;

/// What came of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Statuses, servers that saw it, response flags: `200,200 a,a`, `503 - UH`, `404`.
    pub summary: String,
    /// All that was noted: the answer, what servers saw, what was logged.
    pub lines: Vec<String>,
}

/// Ports and addresses of a run, to be replaced by names.
#[derive(Clone, Debug)]
pub struct Names {
    ports: Vec<(Regex, String)>,
    /// Envoy takes the machine's address for that of a client on loopback.
    machine: Option<String>,
}

/// What is known of a call after it was made.
#[derive(Debug)]
pub struct Found<'a> {
    pub noted: Noted,
    pub seen: Vec<Seen>,
    pub log: &'a Log,
    /// The client's address.
    pub source: Ipv4Addr,
    /// Numbers of bytes depend on the handshake.
    pub is_opaque: bool,
}

impl Names {
    /// # Errors
    /// Never for ports.
    pub fn new(servers: &Servers, listeners: &[(String, u16)]) -> anyhow::Result<Self> {
        let servers = servers.ports().map(|(name, port)| (port, name.to_owned()));
        let listeners = listeners
            .iter()
            .map(|(name, port)| (*port, format!("PORT-{name}")));
        let replace =
            |(port, name): (u16, String)| anyhow::Ok((Regex::new(&format!(r"\b{port}\b"))?, name));
        let all = servers.chain(listeners).map(replace);
        Ok(Self {
            ports: all.collect::<anyhow::Result<_>>()?,
            machine: machine().map(|address| address.to_string()),
        })
    }

    fn replace(&self, line: &str, id: &str, source: &str) -> String {
        let mut line = line.replace(id, "ID").replace(source, "CLIENT");
        if let Some(machine) = &self.machine {
            line = line.replace(machine, "CLIENT");
        }
        for (port, name) in &self.ports {
            line = port.replace_all(&line, name.as_str()).into_owned();
        }
        mask(&line)
    }
}

impl Outcome {
    pub fn new(found: Found<'_>, names: &Names, id: &str) -> Self {
        let Found {
            noted,
            mut seen,
            log,
            source,
            is_opaque,
        } = found;
        // Servers of different names have no order between them.
        seen.sort_by(|a, b| a.server.cmp(&b.server));
        let servers: Vec<&str> = seen.iter().map(|seen| seen.server.as_str()).collect();
        let flags = log.flags(source);
        let statuses = noted.statuses.join(",");
        let summary = match (servers.join(","), flags.join(",")) {
            (servers, flags) if servers.is_empty() && flags.is_empty() => statuses,
            (servers, flags) if flags.is_empty() => format!("{statuses} {servers}"),
            (servers, flags) if servers.is_empty() => format!("{statuses} - {flags}"),
            (servers, flags) => format!("{statuses} {servers} {flags}"),
        };
        let mut lines = noted.lines;
        for seen in &seen {
            let mut rest = seen.lines.iter();
            let first = rest.next().map(String::as_str).unwrap_or_default();
            lines.push(format!("{} saw: {first}", seen.server));
            lines.extend(rest.cloned());
        }
        for line in log.lines(source) {
            let hidden = is_opaque && line.contains("protocol=- ");
            let counts = |word: &&str| word.starts_with("received=") || word.starts_with("sent=");
            let words = line.split(' ').filter(|word| !(hidden && counts(word)));
            lines.extend(words.map(|word| format!("log {word}")));
        }
        let source = source.to_string();
        let lines = lines.iter().map(|line| names.replace(line, id, &source));
        Self {
            summary,
            lines: lines.collect(),
        }
    }
}

/// The address by which this machine is seen from outside, if it has one.
fn machine() -> Option<IpAddr> {
    // Nothing is sent: connecting a datagram socket only picks a route.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

/// What is left of a timeout after a try, in whole seconds.
fn round_timeout(line: &str) -> String {
    const NAME: &str = "  x-envoy-expected-rq-timeout-ms: ";
    let millis: Option<u64> = line.strip_prefix(NAME).and_then(|text| text.parse().ok());
    match millis {
        Some(millis) if millis > 1000 => format!("{NAME}{}", millis.div_ceil(1000) * 1000),
        _ => line.to_owned(),
    }
}

/// Replaces what no two answers have in common.
fn mask(line: &str) -> String {
    static MASKS: OnceLock<Vec<(Regex, &str)>> = OnceLock::new();
    let masks = MASKS.get_or_init(|| {
        let mask = |pattern: &str, with: &'static str| {
            (Regex::new(pattern).expect("patterns are valid"), with)
        };
        vec![
            mask(r"(?i)^(\s*date: ).*", "$1<date>"),
            mask(
                r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                "<uuid>",
            ),
            mask(r"(?i)^(\s*x-envoy-upstream-service-time: )\d+$", "$1<ms>"),
            mask(r"Hash=[0-9a-f]{64}", "Hash=<hash>"),
            mask(r#"(?i)^(\s*set-cookie: \w+)="[0-9a-f]{16}""#, "$1=<hash>"),
            mask(r"TLS_error:[^}]*", "TLS_error:<text>"),
        ]
    });
    let mut line = round_timeout(line);
    for (pattern, with) in masks {
        line = pattern.replace_all(&line, *with).into_owned();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_random_is_replaced() {
        assert_eq!(mask("  date: Sat, 21 Nov 2026"), "  date: <date>");
        assert_eq!(
            mask("  x-request-id: 01234567-89ab-4def-8123-456789abcdef"),
            "  x-request-id: <uuid>"
        );
        assert_eq!(mask("  x-a: 1"), "  x-a: 1");
    }
}
