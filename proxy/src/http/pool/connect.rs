//! Making connections to a host, for requests that wait for one.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::{Channel, Counted, Facts, Inner, Key, Pooled};
use crate::cluster::{Cluster, ConnectError, ConnectOptions, Host, HostResult, Upstream};
use crate::http::codec::h1::{ClientConnection, H1Settings};
use crate::resource::cluster::{HttpOptions, Permit, Thresholds, UpstreamProtocol};
use crate::stats::ClusterStats;

/// Why no connection came about, in a form that can be told to many.
#[derive(Clone, Debug)]
pub struct ConnectFailure {
    pub kind: ConnectFailureKind,
    /// For `%UPSTREAM_TRANSPORT_FAILURE_REASON%`; empty when there is nothing to say.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailureKind {
    Refused,
    Timeout,
    Tls,
    Overflow,
}

impl From<ConnectError> for ConnectFailure {
    fn from(error: ConnectError) -> Self {
        let (kind, reason) = match error {
            ConnectError::Timeout => (ConnectFailureKind::Timeout, String::new()),
            ConnectError::Io(error) => (
                ConnectFailureKind::Refused,
                format!("delayed connect error: {}", describe(&error)),
            ),
            ConnectError::Tls(reason) => (ConnectFailureKind::Tls, format!("TLS_error: {reason}")),
            ConnectError::Overflow(_) => (ConnectFailureKind::Overflow, String::new()),
        };
        Self { kind, reason }
    }
}

/// The system's words without Rust's suffix `(os error 111)`.
fn describe(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// A request that has no connection yet: counted until dropped.
struct Pending<'a> {
    stats: &'a ClusterStats,
    _permit: Permit,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.stats.upstream_rq_pending_active.dec();
    }
}

/// Everything that making a connection needs, for a request that waits for it.
pub(super) struct Maker<'a> {
    pub(super) cluster: &'a Cluster,
    host: &'a Rc<Host>,
    pub(super) options: &'a ConnectOptions,
    pub(super) stats: &'a Rc<ClusterStats>,
    thresholds: &'a Thresholds,
    _pending: Pending<'a>,
}

impl<'a> Maker<'a> {
    /// Counts the request among those that have no connection.
    ///
    /// # Errors
    /// There are as many of them as may be.
    pub(super) fn begin(
        cluster: &'a Cluster,
        host: &'a Rc<Host>,
        options: &'a ConnectOptions,
        stats: &'a Rc<ClusterStats>,
    ) -> Result<Self, ConnectFailure> {
        let thresholds = cluster.config.breakers.of(options.priority);
        let permit = thresholds.pending_requests.acquire();
        let permit = permit.map_err(|overflow| {
            stats.upstream_rq_pending_overflow.inc();
            ConnectFailure::from(ConnectError::from(overflow))
        })?;
        stats.upstream_rq_pending_total.inc();
        stats.upstream_rq_pending_active.inc();
        Ok(Self {
            cluster,
            host,
            options,
            stats,
            thresholds,
            _pending: Pending {
                stats,
                _permit: permit,
            },
        })
    }

    /// A permit for a connection. A host without any gets one beyond the limit, so that it is not starved by others.
    pub(super) fn permit(&self) -> Option<Permit> {
        let connections = &self.thresholds.connections;
        match connections.acquire() {
            Ok(permit) => Some(permit),
            Err(_) => {
                self.stats.upstream_cx_overflow.inc();
                (self.host.stats.cx_active.get() == 0).then(|| connections.exceed())
            }
        }
    }

    /// A permit for a connection, or else one that somebody gave back.
    pub(super) async fn own_or_freed(
        &self,
        inner: &Inner,
        protocol: UpstreamProtocol,
    ) -> Result<Permit, Channel> {
        loop {
            if let Some(permit) = self.permit() {
                return Ok(permit);
            }
            inner.wait().await;
            if let Some(freed) = inner.take(protocol, self.options) {
                return Err(freed);
            }
        }
    }

    pub(super) async fn dial(&self, permit: Permit) -> Result<Upstream, ConnectFailure> {
        let result = self
            .cluster
            .connect_with(self.host, self.options, permit)
            .await;
        let result = result.map_err(ConnectFailure::from);
        match &result {
            Ok(_) => self.cluster.report(self.host, HostResult::Connected),
            Err(failure) => {
                self.stats.upstream_cx_connect_fail.inc();
                if failure.kind == ConnectFailureKind::Timeout {
                    self.stats.upstream_cx_connect_timeout.inc();
                }
            }
        }
        result
    }

    pub(super) fn pooled(&self, upstream: Upstream) -> Box<Pooled> {
        let now = Instant::now();
        let settings = client_settings(&self.cluster.config.http);
        Box::new(Pooled {
            connection: ClientConnection::new(upstream.io, settings),
            facts: Rc::new(Facts {
                local: upstream.local,
                remote: upstream.remote,
                tls: upstream.tls.map(Rc::new),
            }),
            reused: false,
            key: Key(self.options.clone()),
            created: now,
            idle_since: now,
            _counted: Counted::new(self.stats, upstream.guard),
        })
    }
}

/// Settings for responses, shared by all connections of a thread.
fn client_settings(options: &HttpOptions) -> Arc<H1Settings> {
    thread_local! {
        static SETTINGS: [[Arc<H1Settings>; 2]; 2] = [false, true].map(|preserve_case| {
            [false, true].map(|lenient| {
                Arc::new(H1Settings {
                    preserve_case,
                    lenient,
                    accept_http_10: true,
                    enable_trailers: true,
                    ..H1Settings::default()
                })
            })
        });
    }
    SETTINGS.with(|[lower, kept]| {
        let [strict, lenient] = if options.preserve_header_case {
            kept
        } else {
            lower
        };
        Arc::clone(if options.lenient_http1 {
            lenient
        } else {
            strict
        })
    })
}
