//! The filter `tcp_proxy`: a connection goes to a host of a cluster.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ironsail_xds::ext::filters::network::tcp_proxy::v3 as proto;
use proto::tcp_proxy::ClusterSpecifier;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};

use crate::access_log::AccessLog;
use crate::cluster::{
    ActiveRequest, Cluster, ConnectError, ConnectOptions, Host, HostResult, PickContext, PickError,
    Upstream,
};
use crate::conn::{Connection, ConnectionInfo, Io};
use crate::network::TcpSession;
use crate::network::metadata_exchange;
use crate::network::relay::{Activity, Event, Preamble, Relay, Side};
use crate::peer::PeerMetadata;
use crate::resource::listener::FilterChain;
use crate::resource::parse::timeout_or;
use crate::resource::{At, CompileError};
use crate::worker::Worker;

const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// For the end of a connection to go out.
const FAREWELL: Duration = Duration::from_secs(1);
/// Interval of reports to statistics while a connection is open.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
const MAX_REPORT_INTERVAL: Duration = Duration::from_secs(40);

/// Compiled `TcpProxy`.
#[derive(Debug)]
pub struct TcpProxyConfig {
    pub stat_prefix: Arc<str>,
    /// Names with running sums of weights.
    clusters: Vec<(Arc<str>, u64)>,
    /// Without bytes in either direction; default 1 h, `None`: no limit.
    pub idle_timeout: Option<Duration>,
    pub max_duration: Option<Duration>,
    /// Hosts to try, at least 1.
    pub connect_attempts: u32,
    /// Hash policy `source_ip`.
    pub hash_source_ip: bool,
    pub access_log: Vec<AccessLog>,
}

impl TcpProxyConfig {
    /// # Errors
    /// No cluster, tunnelling and other options that are not supported.
    pub fn compile(config: &proto::TcpProxy) -> Result<Self, CompileError> {
        let unsupported = [
            ("tunneling_config", config.tunneling_config.is_some()),
            ("on_demand", config.on_demand.is_some()),
            ("metadata_match", config.metadata_match.is_some()),
        ];
        if let Some((field, _)) = unsupported.iter().find(|(_, present)| *present) {
            return Err(CompileError::new("is not supported").at(field));
        }
        let attempts = config
            .max_connect_attempts
            .map_or(1, |attempts| attempts.value);
        Ok(Self {
            stat_prefix: config.stat_prefix.as_str().into(),
            clusters: clusters(config)?,
            idle_timeout: timeout_or(config.idle_timeout.as_ref(), DEFAULT_IDLE_TIMEOUT),
            max_duration: timeout_or(
                config.max_downstream_connection_duration.as_ref(),
                Duration::ZERO,
            ),
            connect_attempts: attempts.max(1),
            hash_source_ip: hash_policy(config)?,
            access_log: crate::resource::listener::compile::access_logs(&config.access_log)
                .at("access_log")?,
        })
    }

    /// The cluster for a new connection, by weight.
    pub fn cluster(&self) -> Option<&Arc<str>> {
        let (last, total) = self.clusters.last()?;
        if self.clusters.len() == 1 {
            return Some(last);
        }
        let ticket = fastrand::u64(..(*total).max(1));
        let mut clusters = self.clusters.iter();
        clusters
            .find(|(_, sum)| ticket < *sum)
            .map(|(name, _)| name)
    }
}

fn clusters(config: &proto::TcpProxy) -> Result<Vec<(Arc<str>, u64)>, CompileError> {
    match &config.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) if !name.is_empty() => {
            Ok(vec![(name.as_str().into(), 1)])
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let mut sum = 0_u64;
            let weighted: Vec<(Arc<str>, u64)> = weighted
                .clusters
                .iter()
                .map(|cluster| {
                    sum = sum.saturating_add(u64::from(cluster.weight));
                    (cluster.name.as_str().into(), sum)
                })
                .collect();
            if sum == 0 {
                return Err(CompileError::new("weights add up to zero").at("weighted_clusters"));
            }
            Ok(weighted)
        }
        _ => Err(CompileError::new("is missing").at("cluster")),
    }
}

fn hash_policy(config: &proto::TcpProxy) -> Result<bool, CompileError> {
    use ironsail_xds::kind::hash_policy::PolicySpecifier;
    match config.hash_policy.as_slice() {
        [] => Ok(false),
        [policy] if matches!(policy.policy_specifier, Some(PolicySpecifier::SourceIp(_))) => {
            Ok(true)
        }
        _ => Err(CompileError::new("only one policy source_ip is supported").at("hash_policy")),
    }
}

/// A host that was dialled, and its connection.
#[derive(Debug)]
pub struct Dialled {
    pub cluster: Rc<Cluster>,
    pub upstream: Upstream,
    pub active: ActiveRequest,
}

/// Why no host was reached.
#[derive(Debug)]
pub struct DialError {
    /// Response flags.
    pub flags: &'static str,
    pub failure: Option<String>,
    pub cluster: Option<Rc<Cluster>>,
    pub host: Option<Rc<Host>>,
}

/// Chooses a host and connects to it, as often as configured. Cancel safe.
///
/// # Errors
/// Unknown cluster, no healthy host, or every attempt failed.
pub async fn dial(
    config: &TcpProxyConfig,
    info: &ConnectionInfo,
    worker: &Worker,
) -> Result<Dialled, DialError> {
    let error = |flags| DialError {
        flags,
        failure: None,
        cluster: None,
        host: None,
    };
    let cluster = config.cluster().and_then(|name| worker.clusters.get(name));
    let cluster = cluster.ok_or_else(|| error("NC"))?;
    let hash = config
        .hash_source_ip
        .then(|| xxhash_rust::xxh64::xxh64(info.remote.ip().to_string().as_bytes(), 0));
    let options = ConnectOptions {
        server_name: info.server_name.clone(),
        ..ConnectOptions::default()
    }
    .of_client(info, &cluster);
    let mut tried: Vec<Rc<Host>> = Vec::new();
    let mut last = error("UH");
    for _ in 0..config.connect_attempts {
        let context = PickContext {
            original_dst: Some(info.local),
            hash,
            avoid: &tried,
            ..PickContext::default()
        };
        let host = match cluster.pick(&context) {
            Ok(host) => host,
            Err(PickError::Overflow(_)) => return Err(dial_error("UO", None, &cluster, None)),
            Err(PickError::NoHealthyUpstream) => {
                let failed = !tried.is_empty();
                let none = dial_error("UH", None, &cluster, None);
                return Err(if failed { last } else { none });
            }
        };
        let active = host.begin();
        match cluster.connect(&host, &options).await {
            Ok(upstream) => {
                cluster.report(&host, HostResult::ConnectedFinally);
                return Ok(Dialled {
                    cluster,
                    upstream,
                    active,
                });
            }
            // Not even tried.
            Err(ConnectError::Overflow(_)) => return Err(dial_error("UO", None, &cluster, None)),
            Err(failure) => {
                let result = match failure {
                    ConnectError::Timeout => HostResult::Timeout,
                    _ => HostResult::ConnectFailed,
                };
                cluster.report(&host, result);
                let text = failure.to_string();
                last = dial_error("UF,URX", Some(text), &cluster, Some(Rc::clone(&host)));
                tried.push(host);
            }
        }
    }
    Err(last)
}

fn dial_error(
    flags: &'static str,
    failure: Option<String>,
    cluster: &Rc<Cluster>,
    host: Option<Rc<Host>>,
) -> DialError {
    DialError {
        flags,
        failure,
        cluster: Some(Rc::clone(cluster)),
        host,
    }
}

/// Proxies a connection until it ends. Dropping the future closes both sides.
///
/// `early` is a connection that was made while the client had not spoken yet.
pub async fn serve(
    connection: Connection,
    chain: &FilterChain,
    config: &TcpProxyConfig,
    worker: &Worker,
    early: Option<Dialled>,
) {
    let Connection { io, info } = connection;
    let mut report = Report::new(chain, config, worker, TcpSession::new(Rc::clone(&info)));
    let dialled = match early {
        Some(dialled) => Ok(dialled),
        // On the heap as long as it lasts: the relay after it is what connections are for.
        None => Box::pin(dial(config, &info, worker)).await,
    };
    match dialled {
        Ok(dialled) => {
            let upstream = report.connected(dialled);
            run(io, config, upstream, &mut report).await;
        }
        Err(error) => {
            report.failed(error);
            end(io).await;
        }
    }
}

/// Ends a connection of which nothing came, as one that is over.
async fn end(mut io: Io) {
    // Who does not read that it ends is cut off.
    let _ = tokio::time::timeout(FAREWELL, io.shutdown()).await;
}

async fn run(io: Io, config: &TcpProxyConfig, upstream: Upstream, report: &mut Report<'_>) {
    let session = &report.session;
    let exchange_down =
        report.chain.metadata_exchange && session.info.alpn() == Some(metadata_exchange::ALPN);
    let cluster = session.cluster.as_ref();
    let exchange_up = cluster.is_some_and(|cluster| cluster.config.metadata_exchange)
        && upstream.alpn() == Some(metadata_exchange::ALPN);
    let preamble = |active: bool| Preamble {
        send: active.then(|| metadata_exchange::encode(&report.worker.node)),
        expect: active,
    };
    let activity = Activity::new(Rc::clone(&session.received), Rc::clone(&session.sent));
    let mut relay = Relay::new(
        (io, preamble(exchange_down)),
        (upstream.io, preamble(exchange_up)),
        &activity,
    );
    let mut waiting = u8::from(exchange_down) + u8::from(exchange_up);
    let mut clock = Clock::new(config);
    if waiting == 0 {
        report.open();
    }
    loop {
        let event = tokio::select! {
            biased;
            event = relay.next() => event,
            tick = clock.next(&activity) => match tick {
                Tick::Report => {
                    report.open();
                    report.bytes();
                    continue;
                }
                Tick::Idle => {
                    report.session.termination = Some("idle_timeout");
                    return;
                }
                Tick::TooLong => {
                    report.session.flags = "DT";
                    report.session.termination = Some("max_connection_duration_reached");
                    return;
                }
            },
        };
        match event {
            Event::Peer(side, peer) => {
                report.peer(side, peer);
                waiting = waiting.saturating_sub(1);
                if waiting == 0 {
                    report.open();
                }
            }
            Event::Ended => return,
            Event::Failed(side, error) => {
                if side == Side::Upstream {
                    report.session.flags = "UC";
                    report.session.upstream_failure = Some(error.to_string());
                }
                relay.reset();
                return;
            }
        }
    }
}

/// Tells statistics and access log of a session, also when it is cut off.
struct Report<'a> {
    chain: &'a FilterChain,
    config: &'a TcpProxyConfig,
    worker: &'a Worker,
    session: TcpSession,
    active: Option<ActiveRequest>,
    opened: bool,
    reported: (u64, u64),
}

impl<'a> Report<'a> {
    fn new(
        chain: &'a FilterChain,
        config: &'a TcpProxyConfig,
        worker: &'a Worker,
        session: TcpSession,
    ) -> Self {
        Self {
            chain,
            config,
            worker,
            session,
            active: None,
            opened: false,
            reported: (0, 0),
        }
    }

    fn connected(&mut self, dialled: Dialled) -> Upstream {
        let host = dialled.active.host();
        let session = &mut self.session;
        session.cluster = Some(dialled.cluster);
        session.upstream_peer = host.endpoint.workload.clone();
        session.host = Some(Rc::clone(host));
        session.upstream_local = Some(dialled.upstream.local);
        session.upstream_tls.clone_from(&dialled.upstream.tls);
        self.active = Some(dialled.active);
        dialled.upstream
    }

    fn failed(&mut self, error: DialError) {
        let session = &mut self.session;
        session.flags = error.flags;
        session.upstream_failure = error.failure;
        session.cluster = error.cluster;
        if let Some(host) = &error.host {
            session.upstream_peer = host.endpoint.workload.clone();
        }
        session.host = error.host;
    }

    fn peer(&mut self, side: Side, peer: Option<Box<PeerMetadata>>) {
        let Some(peer) = peer else {
            return;
        };
        let peer = Some(Arc::from(peer));
        match side {
            Side::Downstream => self.session.downstream_peer = peer,
            Side::Upstream => self.session.upstream_peer = peer,
        }
    }

    fn open(&mut self) {
        if !std::mem::replace(&mut self.opened, true) {
            for stats in &self.chain.stats {
                stats.tcp_opened(&self.session, self.worker);
            }
        }
    }

    fn bytes(&mut self) {
        let now = (self.session.received.get(), self.session.sent.get());
        let received = now.0.wrapping_sub(self.reported.0);
        let sent = now.1.wrapping_sub(self.reported.1);
        if received == 0 && sent == 0 {
            return;
        }
        self.reported = now;
        for stats in &self.chain.stats {
            stats.tcp_bytes(&self.session, received, sent, self.worker);
        }
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        self.open();
        self.bytes();
        for stats in &self.chain.stats {
            stats.tcp_closed(&self.session, self.worker);
        }
        for log in &self.config.access_log {
            log.log_tcp(&self.session, self.worker);
        }
    }
}

/// Timers of a session.
struct Clock {
    idle: Option<Duration>,
    end: Option<Instant>,
    report: Instant,
    interval: Duration,
    reported: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tick {
    Report,
    Idle,
    TooLong,
}

impl Clock {
    fn new(config: &TcpProxyConfig) -> Self {
        let now = Instant::now();
        Self {
            idle: config.idle_timeout,
            end: config.max_duration.map(|limit| now + limit),
            report: now + REPORT_INTERVAL,
            interval: REPORT_INTERVAL,
            reported: 0,
        }
    }

    /// Completes at the next report or limit; cancel safe.
    async fn next(&mut self, activity: &Activity) -> Tick {
        loop {
            let idle_end = self.idle.map(|idle| activity.last() + idle);
            let limits = [Some(self.report), self.end, idle_end];
            let deadline = limits.into_iter().flatten().min();
            sleep_until(deadline.unwrap_or(self.report)).await;
            let now = Instant::now();
            if self.end.is_some_and(|end| now >= end) {
                return Tick::TooLong;
            }
            if self.idle.is_some_and(|idle| now >= activity.last() + idle) {
                return Tick::Idle;
            }
            if now >= self.report {
                let total = activity.total();
                self.interval = if total == self.reported {
                    // Silent connections are looked at less and less often.
                    (self.interval * 2).min(MAX_REPORT_INTERVAL)
                } else {
                    REPORT_INTERVAL
                };
                self.reported = total;
                self.report = now + self.interval;
                return Tick::Report;
            }
        }
    }
}
