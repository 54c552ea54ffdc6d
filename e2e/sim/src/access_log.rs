//! The access log that all proxies write, which tells what each decided.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What one proxy did with a request or a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// The workload of the proxy.
    pub proxy: String,
    /// Name of the listener.
    pub listener: String,
    /// Name of the filter chain; empty when it has none.
    pub chain: String,
    /// Empty without.
    pub route: String,
    /// Empty when none was chosen.
    pub cluster: String,
    /// Address of the host; empty when none was chosen.
    pub endpoint: String,
    /// 0 for TCP.
    pub status: u16,
    /// `UF`, `NR`; empty without.
    pub flags: String,
    /// Why the answer is what it is.
    pub details: String,
    /// Attempts, 0 for TCP.
    pub attempts: u16,
    /// Server name that the client asked for; empty without TLS.
    pub server_name: String,
    /// Version of the TLS that the proxy ended; empty without.
    pub downstream_tls: String,
    /// URI of the client's certificate; empty without mutual TLS.
    pub downstream_peer: String,
    /// Version of the TLS to the host; empty without.
    pub upstream_tls: String,
    /// URI of the host's certificate.
    pub upstream_peer: String,
}

/// A line as it is written: texts and numbers, null for what is absent.
#[derive(Deserialize)]
struct Line {
    /// Nanoseconds since 1970, all of the same length.
    time: String,
    client: SocketAddr,
    chain: Option<String>,
    route: Option<String>,
    cluster: Option<String>,
    endpoint: Option<String>,
    status: u16,
    flags: Option<String>,
    details: Option<String>,
    attempts: u16,
    server_name: Option<String>,
    downstream_tls: Option<String>,
    downstream_peer: Option<String>,
    upstream_tls: Option<String>,
    upstream_peer: Option<String>,
}

/// One file for all proxies.
pub struct AccessLog {
    folder: TempDir,
    read: Cell<usize>,
}

impl AccessLog {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            read: Cell::new(0),
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// Settings of the mesh that make proxies write it.
    pub fn settings(&self) -> [(&'static str, Value); 3] {
        let format = json!({
            "time": "%START_TIME(%s%9f)%",
            "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
            "chain": "%FILTER_CHAIN_NAME%",
            "route": "%ROUTE_NAME%",
            "cluster": "%UPSTREAM_CLUSTER_RAW%",
            "endpoint": "%UPSTREAM_HOST%",
            "status": "%RESPONSE_CODE%",
            "flags": "%RESPONSE_FLAGS%",
            "details": "%RESPONSE_CODE_DETAILS%",
            "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
            "server_name": "%REQUESTED_SERVER_NAME%",
            "downstream_tls": "%DOWNSTREAM_TLS_VERSION%",
            "downstream_peer": "%DOWNSTREAM_PEER_URI_SAN%",
            "upstream_tls": "%UPSTREAM_TLS_VERSION%",
            "upstream_peer": "%UPSTREAM_PEER_URI_SAN%",
        });
        [
            ("accessLogFile", self.path().to_string_lossy().into()),
            ("accessLogEncoding", "JSON".into()),
            ("accessLogFormat", format.to_string().into()),
        ]
    }

    /// Lines since the last time, in the order in which what they tell began; `entry` names proxy and listener of a
    /// client.
    ///
    /// # Errors
    /// The file holds something else.
    pub fn take(
        &self,
        entry: impl Fn(SocketAddr) -> Option<(String, String)>,
    ) -> anyhow::Result<Vec<Hop>> {
        ironsail_proxy::access_log::flush_all();
        let text = fs::read_to_string(self.path()).unwrap_or_default();
        let new = text.get(self.read.get()..).unwrap_or_default();
        self.read.set(text.len());
        let lines = new.lines().map(|line| {
            serde_json::from_str::<Line>(line).with_context(|| format!("access log line {line}"))
        });
        let mut lines = lines.collect::<anyhow::Result<Vec<_>>>()?;
        lines.sort_by(|a, b| a.time.cmp(&b.time));
        let hop = |line: Line| {
            let (proxy, listener) = entry(line.client)?;
            Some(line.hop(proxy, listener))
        };
        Ok(lines.into_iter().filter_map(hop).collect())
    }
}

impl Line {
    fn hop(self, proxy: String, listener: String) -> Hop {
        let text = |text: Option<String>| text.filter(|text| text != "-").unwrap_or_default();
        Hop {
            proxy,
            listener,
            chain: text(self.chain),
            route: text(self.route),
            cluster: text(self.cluster),
            endpoint: text(self.endpoint),
            status: self.status,
            flags: text(self.flags),
            details: text(self.details),
            attempts: self.attempts,
            server_name: text(self.server_name),
            downstream_tls: text(self.downstream_tls),
            downstream_peer: text(self.downstream_peer),
            upstream_tls: text(self.upstream_tls),
            upstream_peer: text(self.upstream_peer),
        }
    }
}
