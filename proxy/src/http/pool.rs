//! Connections to a host, kept for the next request.
//!
//! HTTP/1 connections carry one request at a time and are reused last in, first out, so that surplus ones grow idle
//! and close. HTTP/2 connections are shared; another one is opened when all streams of the others are taken.
//! Everything stays on its worker's thread, which must run a `LocalSet`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;

use super::codec::h1::{ClientConnection, H1Settings, HeadLimits};
use super::codec::h2::{ClientStream, H2Settings, OpenError};
use super::message::{RequestHead, Version};
use super::stream::Upstream;
use crate::cluster::{
    Cluster, ConnectError, ConnectOptions, ConnectionGuard, Host, HostPools, HostResult,
};
use crate::conn::{Io, TlsInfo};
use crate::resource::cluster::{Http2Options, HttpOptions, Permit, Thresholds, UpstreamProtocol};
use crate::stats::ClusterStats;

/// How often idle connections are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
const ALPN_H2: &[u8] = b"h2";

/// The pools of one host on one worker.
#[derive(Default)]
pub struct Pools(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// Requests that wait for a connection because no other one is allowed.
    waiting: Cell<usize>,
    /// A connection may be free, or another one allowed.
    freed: Notify,
    // Boxes move between the pool and requests as they are.
    #[allow(clippy::vec_box)]
    h1: RefCell<Vec<(Key, Vec<Box<Pooled>>)>>,
    h2: RefCell<Vec<(Key, H2Pool)>>,
    closed: Cell<bool>,
    sweeping: Cell<bool>,
}

/// What connections must agree in to be interchangeable.
#[derive(Clone, Default)]
struct Key(ConnectOptions);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Key {
    fn is(&self, options: &ConnectOptions) -> bool {
        let alpn = match (&self.0.alpn, &options.alpn) {
            (None, None) => true,
            (Some(a), Some(b)) => Rc::ptr_eq(a, b) || a == b,
            _ => false,
        };
        let (own, other) = (&self.0, options);
        let client = own.proxied == other.proxied && own.source == other.source;
        alpn && own.server_name == other.server_name && own.priority == other.priority && client
    }
}

/// Both ends of an upstream connection.
#[derive(Debug)]
pub struct Facts {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub tls: Option<Rc<TlsInfo>>,
}

/// An HTTP/1 connection that is lent to a request.
pub struct Pooled {
    pub connection: ClientConnection<Io>,
    pub facts: Rc<Facts>,
    /// Carried a request before this one.
    pub reused: bool,
    key: Key,
    created: Instant,
    idle_since: Instant,
    _counted: Counted,
}

/// Counts as an open connection until dropped.
struct Counted {
    stats: Rc<ClusterStats>,
    _guard: ConnectionGuard,
}

impl Counted {
    fn new(stats: &Rc<ClusterStats>, guard: ConnectionGuard) -> Self {
        stats.upstream_cx_total.inc();
        stats.upstream_cx_active.inc();
        Self {
            stats: Rc::clone(stats),
            _guard: guard,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.stats.upstream_cx_active.dec();
        self.stats.upstream_cx_destroy.inc();
    }
}

#[derive(Default)]
struct H2Pool {
    connections: Vec<Rc<H2Connection>>,
    connecting: Option<Rc<Connecting>>,
}

/// A shared HTTP/2 connection.
pub struct H2Connection {
    pools: Weak<Inner>,
    send: RefCell<SendRequest<Bytes>>,
    facts: Rc<Facts>,
    active: Cell<usize>,
    requests: Cell<u32>,
    max_requests: u32,
    created: Instant,
    idle_since: Cell<Instant>,
    /// Takes no more streams; ends with the last of them.
    draining: Cell<bool>,
    ended: Notify,
}

/// A connection attempt that several requests wait for.
#[derive(Default)]
struct Connecting {
    done: Notify,
    failure: RefCell<Option<ConnectFailure>>,
}

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

/// A stream on a shared connection; the connection learns when it ends.
pub struct Lease {
    connection: Rc<H2Connection>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection
            .active
            .set(connection.active.get().saturating_sub(1));
        connection.idle_since.set(Instant::now());
        if connection.draining.get() && connection.active.get() == 0 {
            connection.ended.notify_one();
        }
        if let Some(pools) = connection.pools.upgrade() {
            pools.wake();
        }
    }
}

/// What a request is sent on.
pub enum Channel {
    H1(Box<Pooled>),
    H2(Lease),
}

impl Channel {
    pub fn facts(&self) -> &Rc<Facts> {
        match self {
            Channel::H1(pooled) => &pooled.facts,
            Channel::H2(lease) => &lease.connection.facts,
        }
    }

    pub fn version(&self) -> Version {
        match self {
            Channel::H1(_) => Version::Http11,
            Channel::H2(_) => Version::Http2,
        }
    }

    /// Carried a request before this one.
    pub fn is_reused(&self) -> bool {
        match self {
            Channel::H1(pooled) => pooled.reused,
            Channel::H2(lease) => lease.connection.requests.get() > 1,
        }
    }

    /// Sends the head.
    ///
    /// # Errors
    /// HTTP/2 cannot carry it, or the connection takes no more streams.
    pub fn send(self, head: &RequestHead, limits: HeadLimits) -> Result<Upstream, OpenError> {
        match self {
            Channel::H1(mut pooled) => {
                pooled.connection.send_head(head);
                Ok(Upstream::H1(pooled))
            }
            Channel::H2(lease) => {
                let opened =
                    ClientStream::open(&mut lease.connection.send.borrow_mut(), head, limits);
                if matches!(opened, Err(OpenError::H2(_))) {
                    lease.connection.drain();
                }
                Ok(Upstream::H2(Box::new(opened?), lease))
            }
        }
    }
}

impl HostPools for Pools {
    fn close(&self) {
        self.0.closed.set(true);
        self.0.h1.take();
        for (_, pool) in self.0.h2.take() {
            pool.connections
                .iter()
                .for_each(|connection| connection.drain());
        }
    }

    fn released(&self) {
        self.0.wake();
    }
}

/// Which of both protocols a request goes out in.
fn protocol(options: &HttpOptions, downstream: Version) -> UpstreamProtocol {
    match (options.protocol, downstream) {
        (UpstreamProtocol::UseDownstream, Version::Http2) => UpstreamProtocol::Http2,
        (UpstreamProtocol::UseDownstream, _) => UpstreamProtocol::Http1,
        (protocol, _) => protocol,
    }
}

impl Pools {
    /// A connection that is ready to be reused; never waits, and is for nobody while others wait.
    pub fn take(
        &self,
        cluster: &Cluster,
        options: &ConnectOptions,
        downstream: Version,
    ) -> Option<Channel> {
        if self.0.waiting.get() > 0 {
            return None;
        }
        self.0
            .take(protocol(&cluster.config.http, downstream), options)
    }

    /// A new connection, or a stream on one that another request is opening. Where the cluster allows no other
    /// connection, one that becomes free; but a host is never left without any.
    ///
    /// Cancel safe: when the request that connects goes away, one of those that wait takes over.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(
        &self,
        cluster: &Cluster,
        host: &Rc<Host>,
        options: &ConnectOptions,
        downstream: Version,
        stats: &Rc<ClusterStats>,
    ) -> Result<Channel, ConnectFailure> {
        let maker = Maker::begin(cluster, host, options, stats)?;
        let protocol = protocol(&cluster.config.http, downstream);
        if protocol == UpstreamProtocol::Http2 {
            return maker.shared(&self.0).await.map(Channel::H2);
        }
        let permit = match maker.own_or_freed(&self.0, protocol).await {
            Ok(permit) => permit,
            Err(freed) => return Ok(freed),
        };
        let upstream = maker.dial(permit).await?;
        let is_h2 = protocol != UpstreamProtocol::Http1 && upstream.alpn() == Some(ALPN_H2);
        if !is_h2 {
            stats.upstream_cx_http1_total.inc();
            return Ok(Channel::H1(maker.pooled(upstream)));
        }
        let connection = maker.handshake(&self.0, upstream).await?;
        Ok(Channel::H2(self.0.add_h2(options, connection)))
    }

    /// A connection for bytes that are not HTTP, whatever the cluster speaks. It is not for anything else afterwards.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect_raw(
        &self,
        cluster: &Cluster,
        host: &Rc<Host>,
        options: &ConnectOptions,
        stats: &Rc<ClusterStats>,
    ) -> Result<Channel, ConnectFailure> {
        let maker = Maker::begin(cluster, host, options, stats)?;
        let permit = loop {
            match maker.permit() {
                Some(permit) => break permit,
                None => self.0.wait().await,
            }
        };
        let mut pooled = maker.pooled(maker.dial(permit).await?);
        pooled.connection.become_tunnel();
        Ok(Channel::H1(pooled))
    }

    /// Takes back what no request was sent on.
    pub fn return_unused(&self, channel: Channel, options: &HttpOptions) {
        match channel {
            Channel::H1(pooled) => self.give_back(pooled, options),
            Channel::H2(lease) => drop(lease),
        }
    }

    /// Takes an HTTP/1 connection back, if it can be used again.
    pub fn give_back(&self, mut pooled: Box<Pooled>, options: &HttpOptions) {
        let now = Instant::now();
        let spent = options
            .max_requests_per_connection
            .is_some_and(|max| pooled.connection.requests() >= max);
        let old = options
            .max_connection_duration
            .is_some_and(|max| now.duration_since(pooled.created) >= max);
        if self.0.closed.get() || spent || old || !pooled.connection.is_reusable() {
            return;
        }
        pooled.reused = pooled.connection.requests() > 0;
        pooled.idle_since = now;
        let mut pools = self.0.h1.borrow_mut();
        match pools.iter_mut().find(|(key, _)| *key == pooled.key) {
            Some((_, idle)) => idle.push(pooled),
            None => pools.push((pooled.key.clone(), vec![pooled])),
        }
        drop(pools);
        self.0.wake();
        self.0.start_sweeping(options.idle_timeout);
    }
}

impl Inner {
    fn take(&self, protocol: UpstreamProtocol, options: &ConnectOptions) -> Option<Channel> {
        let h2 = || self.take_h2(options).map(Channel::H2);
        let h1 = || self.take_h1(options).map(Channel::H1);
        match protocol {
            UpstreamProtocol::Http1 => h1(),
            UpstreamProtocol::Http2 => h2(),
            UpstreamProtocol::Auto | UpstreamProtocol::UseDownstream => h2().or_else(h1),
        }
    }

    /// Has those who wait look again, in the order in which they came.
    fn wake(&self) {
        if self.waiting.get() > 0 {
            self.freed.notify_waiters();
        }
    }

    /// Waits for a connection that is free or allowed; whether there is one shows by looking.
    async fn wait(&self) {
        let _waiting = Counting::new(&self.waiting);
        self.freed.notified().await;
    }

    fn take_h1(&self, options: &ConnectOptions) -> Option<Box<Pooled>> {
        let mut pools = self.h1.borrow_mut();
        let (_, idle) = pools.iter_mut().find(|(key, _)| key.is(options))?;
        let mut cx = Context::from_waker(Waker::noop());
        while let Some(mut pooled) = idle.pop() {
            if pooled.connection.poll_idle(&mut cx) {
                return Some(pooled);
            }
        }
        None
    }

    fn take_h2(&self, options: &ConnectOptions) -> Option<Lease> {
        let pools = self.h2.borrow();
        let (_, pool) = pools.iter().find(|(key, _)| key.is(options))?;
        pool.connections.iter().find_map(H2Connection::lease)
    }

    fn with_h2<T>(&self, options: &ConnectOptions, change: impl FnOnce(&mut H2Pool) -> T) -> T {
        let mut pools = self.h2.borrow_mut();
        let index = match pools.iter().position(|(key, _)| key.is(options)) {
            Some(index) => index,
            None => {
                pools.push((Key(options.clone()), H2Pool::default()));
                pools.len() - 1
            }
        };
        match pools.get_mut(index) {
            Some((_, pool)) => change(pool),
            None => change(&mut H2Pool::default()),
        }
    }

    fn add_h2(&self, options: &ConnectOptions, connection: Rc<H2Connection>) -> Lease {
        let lease = connection.force_lease();
        if self.closed.get() {
            connection.drain();
            return lease;
        }
        self.with_h2(options, |pool| pool.connections.push(connection));
        lease
    }

    fn start_sweeping(self: &Rc<Self>, idle_timeout: Option<Duration>) {
        if !self.sweeping.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(self), idle_timeout));
        }
    }

    /// Drops connections that ended or were idle for too long; whether any are left.
    fn sweep(&self, cx: &mut Context<'_>, idle_timeout: Option<Duration>) -> bool {
        let now = Instant::now();
        let expired =
            |since: Instant| idle_timeout.is_some_and(|limit| now.duration_since(since) >= limit);
        let mut left = false;
        let mut h1 = self.h1.borrow_mut();
        for (_, idle) in h1.iter_mut() {
            idle.retain_mut(|pooled| {
                pooled.connection.poll_idle(cx) && !expired(pooled.idle_since)
            });
            left |= !idle.is_empty();
        }
        h1.retain(|(_, idle)| !idle.is_empty());
        let mut h2 = self.h2.borrow_mut();
        for (_, pool) in h2.iter_mut() {
            for connection in &pool.connections {
                if connection.active.get() == 0 && expired(connection.idle_since.get()) {
                    connection.drain();
                }
            }
            pool.connections
                .retain(|connection| !connection.draining.get());
            left |= !pool.connections.is_empty();
        }
        h2.retain(|(_, pool)| !pool.connections.is_empty() || pool.connecting.is_some());
        left
    }
}

async fn sweep(inner: Weak<Inner>, idle_timeout: Option<Duration>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let left = poll_fn(|cx| Poll::Ready(inner.sweep(cx, idle_timeout))).await;
        if !left {
            inner.sweeping.set(false);
            return;
        }
    }
}

/// Counts one more until dropped.
struct Counting<'a>(&'a Cell<usize>);

impl<'a> Counting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
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
struct Maker<'a> {
    cluster: &'a Cluster,
    host: &'a Rc<Host>,
    options: &'a ConnectOptions,
    stats: &'a Rc<ClusterStats>,
    thresholds: &'a Thresholds,
    _pending: Pending<'a>,
}

impl<'a> Maker<'a> {
    /// Counts the request among those that have no connection.
    ///
    /// # Errors
    /// There are as many of them as may be.
    fn begin(
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
    fn permit(&self) -> Option<Permit> {
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
    async fn own_or_freed(
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

    async fn dial(&self, permit: Permit) -> Result<crate::cluster::Upstream, ConnectFailure> {
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

    fn pooled(&self, upstream: crate::cluster::Upstream) -> Box<Pooled> {
        let now = Instant::now();
        let settings = client_settings(self.cluster.config.http.preserve_header_case);
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

    /// A stream on a connection that is opened once for all who wait.
    async fn shared(&self, inner: &Rc<Inner>) -> Result<Lease, ConnectFailure> {
        loop {
            if let Some(lease) = inner.take_h2(self.options) {
                return Ok(lease);
            }
            let running = inner.with_h2(self.options, |pool| pool.connecting.clone());
            if let Some(running) = running {
                running.done.notified().await;
                if let Some(failure) = running.failure.borrow().clone() {
                    return Err(failure);
                }
                continue;
            }
            match self.permit() {
                Some(permit) => return self.open_shared(inner, permit).await,
                None => inner.wait().await,
            }
        }
    }

    async fn open_shared(
        &self,
        inner: &Rc<Inner>,
        permit: Permit,
    ) -> Result<Lease, ConnectFailure> {
        let attempt = Attempt::begin(inner, self.options);
        let connected = async {
            let upstream = self.dial(permit).await?;
            self.handshake(inner, upstream).await
        };
        match connected.await {
            Ok(connection) => {
                let lease = inner.add_h2(self.options, connection);
                inner.start_sweeping(self.cluster.config.http.idle_timeout);
                drop(attempt);
                Ok(lease)
            }
            Err(failure) => {
                *attempt.shared.failure.borrow_mut() = Some(failure.clone());
                Err(failure)
            }
        }
    }

    async fn handshake(
        &self,
        inner: &Rc<Inner>,
        upstream: crate::cluster::Upstream,
    ) -> Result<Rc<H2Connection>, ConnectFailure> {
        let options = &self.cluster.config.http;
        let settings = h2_settings(&options.http2);
        let handshake = settings.client().handshake(upstream.io);
        let limit = self.cluster.config.connect_timeout;
        let result = tokio::time::timeout(limit, handshake).await;
        let failed = |kind, reason: String| ConnectFailure { kind, reason };
        let (send, driver) = match result {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return Err(failed(ConnectFailureKind::Refused, error.to_string())),
            Err(_) => return Err(failed(ConnectFailureKind::Timeout, String::new())),
        };
        self.stats.upstream_cx_http2_total.inc();
        let now = Instant::now();
        let connection = Rc::new(H2Connection {
            pools: Rc::downgrade(inner),
            send: RefCell::new(send),
            facts: Rc::new(Facts {
                local: upstream.local,
                remote: upstream.remote,
                tls: upstream.tls.map(Rc::new),
            }),
            active: Cell::new(0),
            requests: Cell::new(0),
            max_requests: options.max_requests_per_connection.unwrap_or(u32::MAX),
            created: now,
            idle_since: Cell::new(now),
            draining: Cell::new(false),
            ended: Notify::new(),
        });
        let counted = Counted::new(self.stats, upstream.guard);
        let max_age = options.max_connection_duration;
        tokio::task::spawn_local(drive(
            driver,
            Rc::clone(&connection),
            counted,
            settings.keepalive,
            max_age,
        ));
        Ok(connection)
    }
}

/// Marks a pool as connecting; those who wait are woken when it ends in whatever way.
struct Attempt {
    inner: Rc<Inner>,
    options: ConnectOptions,
    shared: Rc<Connecting>,
}

impl Attempt {
    fn begin(inner: &Rc<Inner>, options: &ConnectOptions) -> Self {
        let shared = Rc::new(Connecting::default());
        inner.with_h2(options, |pool| pool.connecting = Some(Rc::clone(&shared)));
        Self {
            inner: Rc::clone(inner),
            options: options.clone(),
            shared,
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.inner
            .with_h2(&self.options, |pool| pool.connecting = None);
        self.shared.done.notify_waiters();
    }
}

impl H2Connection {
    fn lease(self: &Rc<Self>) -> Option<Lease> {
        let room = self.send.borrow().current_max_send_streams();
        let free = !self.draining.get() && self.active.get() < room;
        free.then(|| self.force_lease())
    }

    fn force_lease(self: &Rc<Self>) -> Lease {
        self.active.set(self.active.get() + 1);
        self.requests.set(self.requests.get().saturating_add(1));
        if self.requests.get() >= self.max_requests {
            self.draining.set(true);
        }
        Lease {
            connection: Rc::clone(self),
        }
    }

    fn drain(&self) {
        self.draining.set(true);
        if self.active.get() == 0 {
            self.ended.notify_one();
        }
    }
}

/// Moves frames until the connection ends, or is drained and has no streams left.
async fn drive(
    mut driver: h2::client::Connection<Io, Bytes>,
    connection: Rc<H2Connection>,
    counted: Counted,
    keepalive: Option<(Duration, Duration)>,
    max_age: Option<Duration>,
) {
    let pings = keepalive.zip(driver.ping_pong());
    let alive = async {
        match pings {
            Some(((interval, timeout), pings)) => keep_alive(pings, interval, timeout).await,
            None => std::future::pending().await,
        }
    };
    let aged = async {
        match max_age {
            Some(age) => tokio::time::sleep(age.saturating_sub(connection.created.elapsed())).await,
            None => std::future::pending().await,
        }
        connection.drain();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = &mut driver => {}
        () = alive => {}
        () = aged => {}
        () = connection.ended.notified() => {}
    }
    connection.draining.set(true);
    drop(counted);
}

/// Pings until one goes unanswered.
pub async fn keep_alive(mut pings: h2::PingPong, interval: Duration, timeout: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let pong = tokio::time::timeout(timeout, pings.ping(h2::Ping::opaque())).await;
        if !matches!(pong, Ok(Ok(_))) {
            return;
        }
    }
}

fn h2_settings(options: &Http2Options) -> H2Settings {
    let default = H2Settings::default();
    H2Settings {
        max_concurrent_streams: options
            .max_concurrent_streams
            .unwrap_or(default.max_concurrent_streams),
        stream_window: options
            .initial_stream_window
            .unwrap_or(default.stream_window),
        connection_window: options
            .initial_connection_window
            .unwrap_or(default.connection_window),
        keepalive: options.keepalive,
        ..default
    }
}

/// Settings for responses, shared by all connections of a thread.
fn client_settings(preserve_case: bool) -> Arc<H1Settings> {
    thread_local! {
        static SETTINGS: [Arc<H1Settings>; 2] = [false, true].map(|preserve_case| {
            Arc::new(H1Settings {
                preserve_case,
                accept_http_10: true,
                enable_trailers: true,
                ..H1Settings::default()
            })
        });
    }
    SETTINGS.with(|[lower, kept]| Arc::clone(if preserve_case { kept } else { lower }))
}
