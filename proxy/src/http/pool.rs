//! Connections to a host, kept for the next request.
//!
//! HTTP/1 connections carry one request at a time and are reused last in, first out, so that surplus ones grow idle
//! and close. HTTP/2 connections are shared; another one is opened when all streams of the others are taken.
//! Everything stays on its worker's thread, which must run a `LocalSet`.

mod connect;
mod h2;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::connect::Maker;
use self::h2::{H2Connection, H2Pool};
use super::codec::h1::{ClientConnection, HeadLimits};
use super::codec::h2::{ClientStream, OpenError};
use super::message::{RequestHead, Version};
use super::stream::Upstream;
use crate::cluster::{Cluster, ConnectOptions, ConnectionGuard, Host, HostPools};
use crate::conn::{Io, TlsInfo};
use crate::resource::cluster::{HttpOptions, UpstreamProtocol};
use crate::stats::ClusterStats;

pub use self::connect::{ConnectFailure, ConnectFailureKind};
pub use self::h2::{Lease, keep_alive};

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
