//! HTTP/2 connections, which requests share.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;

use super::connect::{ConnectFailure, ConnectFailureKind, Maker};
use super::{Counted, Facts, Inner};
use crate::cluster::{ConnectOptions, Upstream};
use crate::conn::Io;
use crate::http::codec::h2::H2Settings;
use crate::resource::cluster::{Http2Options, Permit};

#[derive(Default)]
pub(super) struct H2Pool {
    pub(super) connections: Vec<Rc<H2Connection>>,
    pub(super) connecting: Option<Rc<Connecting>>,
}

/// A shared HTTP/2 connection.
pub struct H2Connection {
    pools: Weak<Inner>,
    pub(super) send: RefCell<SendRequest<Bytes>>,
    pub(super) facts: Rc<Facts>,
    pub(super) active: Cell<usize>,
    pub(super) requests: Cell<u32>,
    max_requests: u32,
    created: Instant,
    pub(super) idle_since: Cell<Instant>,
    /// Takes no more streams; ends with the last of them.
    pub(super) draining: Cell<bool>,
    ended: Notify,
}

/// A connection attempt that several requests wait for.
#[derive(Default)]
pub(super) struct Connecting {
    done: Notify,
    failure: RefCell<Option<ConnectFailure>>,
}

/// A stream on a shared connection; the connection learns when it ends.
pub struct Lease {
    pub(super) connection: Rc<H2Connection>,
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

impl Maker<'_> {
    /// A stream on a connection that is opened once for all who wait.
    pub(super) async fn shared(&self, inner: &Rc<Inner>) -> Result<Lease, ConnectFailure> {
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

    pub(super) async fn handshake(
        &self,
        inner: &Rc<Inner>,
        upstream: Upstream,
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
    pub(super) fn lease(self: &Rc<Self>) -> Option<Lease> {
        let room = self.send.borrow().current_max_send_streams();
        let free = !self.draining.get() && self.active.get() < room;
        free.then(|| self.force_lease())
    }

    pub(super) fn force_lease(self: &Rc<Self>) -> Lease {
        self.active.set(self.active.get() + 1);
        self.requests.set(self.requests.get().saturating_add(1));
        if self.requests.get() >= self.max_requests {
            self.draining.set(true);
        }
        Lease {
            connection: Rc::clone(self),
        }
    }

    pub(super) fn drain(&self) {
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
