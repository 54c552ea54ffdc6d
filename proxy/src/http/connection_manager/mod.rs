//! The HTTP connection manager: reads requests off a connection, routes each, and keeps the connection's rules.

mod client_cert;
mod config;
mod date;
pub mod exchange;
mod filtering;
pub mod local_reply;
pub mod path;
mod request_headers;
mod request_id;
mod response_headers;
mod streams;
#[cfg(test)]
mod tests;
mod upgrade;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

pub use config::{Codec, EscapedSlashes, HttpConnectionManager, PathPolicy, Routes};

use super::codec::h1::{ServerConnection, StreamError};
use super::codec::h2::{Heads, ServerStream, read_request, watch_heads};
use super::message::{Method, RequestHead};
use super::pool::keep_alive;
use super::stream::Downstream;
use crate::conn::{Connection, Io, Prefixed};
use crate::worker::Worker;
use exchange::{Context, Refusal, fresh_heads};
use streams::{StreamGuard, Streams};

/// ALPN protocols of connections that carry HTTP/2; `istio-h2` is how proxies of the mesh say so.
const ALPN_H2: &[&[u8]] = &[b"h2", b"istio-h2"];
/// ALPN protocols that rule HTTP/2 out.
const ALPN_H1: &[&[u8]] = &[
    b"http/1.1",
    b"http/1.0",
    b"istio-http/1.1",
    b"istio-http/1.0",
];

/// How long a client of HTTP/2 may take to notice that the connection ends: Envoy's default of `drain_timeout`.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves a connection until it ends. Dropping the future ends the connection.
///
/// Must run inside a `LocalSet`: streams of HTTP/2 are tasks of the same thread.
pub async fn serve(connection: Connection, hcm: Arc<HttpConnectionManager>, worker: Rc<Worker>) {
    let Connection { io, info } = connection;
    let stats = worker.stats.http(&hcm.stat_prefix);
    stats.downstream_cx_total.inc();
    stats.downstream_cx_active.inc();
    let context = Rc::new(Context {
        worker,
        hcm,
        connection: Rc::clone(&info),
        stats: Rc::clone(&stats),
        no_cluster: Arc::default(),
        requests: Cell::new(0),
    });
    tokio::select! {
        biased;
        () = serve_any(io, &context) => {}
        () = info.drain.expired() => {}
    }
    stats.downstream_cx_active.dec();
    stats.downstream_cx_destroy.inc();
}

async fn serve_any(io: Io, context: &Rc<Context>) {
    let hcm = &context.hcm;
    let alpn = context.connection.alpn();
    let speaks = |list: &[&[u8]]| alpn.is_some_and(|alpn| list.contains(&alpn));
    let mut server = Box::new(ServerConnection::new(io, Arc::clone(&hcm.h1)));
    let h2 = match hcm.codec {
        Codec::Http2 => true,
        Codec::Http1 => false,
        Codec::Auto if speaks(ALPN_H2) => true,
        Codec::Auto if speaks(ALPN_H1) => false,
        Codec::Auto => match sniff(&mut server, context).await {
            Some(h2) => h2,
            None => return,
        },
    };
    if h2 {
        let (io, read) = server.into_parts();
        Box::pin(serve_h2(Prefixed::with_prefix(io, read), context)).await;
    } else {
        serve_h1(Downstream::H1(server), context).await;
    }
}

/// Waits for the first bytes; `None` when the client sent none in time.
async fn sniff(server: &mut ServerConnection<Io>, context: &Context) -> Option<bool> {
    let mut idle = IdleTimer::new(context);
    poll_fn(|cx| {
        if let Poll::Ready(seen) = server.poll_preface(cx) {
            return Poll::Ready(seen.ok());
        }
        idle.poll(cx).map(|()| None)
    })
    .await
}

async fn serve_h1(mut downstream: Downstream, context: &Rc<Context>) {
    context.stats.downstream_cx_http1_total.inc();
    let mut idle = IdleTimer::new(context);
    loop {
        if !wait_for_input(&mut downstream, &mut idle, context).await {
            return;
        }
        // The state of a request lives on the heap, so that an idle connection does not carry it.
        if !Box::pin(serve_request(&mut downstream, context)).await {
            return;
        }
        idle.touch();
        let Downstream::H1(server) = &downstream else {
            return;
        };
        if server.is_closing() {
            break;
        }
    }
    if let Downstream::H1(server) = downstream {
        Box::pin(server.close(context.hcm.timeouts.delayed_close)).await;
    }
}

/// Waits until a request begins to arrive; `false` when none will.
async fn wait_for_input(
    downstream: &mut Downstream,
    idle: &mut IdleTimer,
    context: &Context,
) -> bool {
    let Downstream::H1(server) = downstream else {
        return false;
    };
    poll_fn(|cx| {
        if let Poll::Ready(has_input) = server.poll_input(cx) {
            return Poll::Ready(has_input);
        }
        idle.poll(cx).map(|()| {
            context.stats.downstream_cx_idle_timeout.inc();
            false
        })
    })
    .await
}

/// Reads a request and serves it; `false` when the client left in the middle of the head.
async fn serve_request(downstream: &mut Downstream, context: &Rc<Context>) -> bool {
    let mut heads = fresh_heads();
    let Some(read) = read_head(downstream, &mut heads.0, context).await else {
        return false;
    };
    exchange::serve(Rc::clone(context), downstream, heads, read.err()).await;
    true
}

/// Reads a request's head; `None` when the client is gone.
async fn read_head(
    downstream: &mut Downstream,
    head: &mut RequestHead,
    context: &Context,
) -> Option<Result<(), Refusal>> {
    let Downstream::H1(server) = downstream else {
        return None;
    };
    let timeouts = &context.hcm.timeouts;
    let limits = [
        timeouts
            .request_headers
            .map(|limit| (limit, Refusal::LateHead)),
        timeouts.request.map(|limit| (limit, Refusal::LateRequest)),
    ];
    let limit = limits.into_iter().flatten().min_by_key(|(limit, _)| *limit);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        match server.poll_head(cx, head) {
            Poll::Ready(Ok(true)) => return Poll::Ready(Some(Ok(()))),
            Poll::Ready(Err(StreamError::Protocol(error))) => {
                return Poll::Ready(Some(Err(Refusal::Protocol(error))));
            }
            Poll::Ready(_) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        let Some((limit, late)) = limit else {
            return Poll::Pending;
        };
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Some(Err(late)))
    })
    .await
}

/// Ends connections without requests; moved only when it fires, because requests are frequent and timers are not free.
struct IdleTimer {
    limit: Option<Duration>,
    /// When the connection has to end even if it is used, if there is such a time.
    end: Option<Instant>,
    last: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    fn new(context: &Context) -> Self {
        let timeouts = &context.hcm.timeouts;
        let now = Instant::now();
        Self {
            limit: timeouts.idle,
            end: timeouts.max_connection.map(|max| now + max),
            last: now,
            sleep: None,
        }
    }

    fn touch(&mut self) {
        self.last = Instant::now();
    }

    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let idle_end = self.limit.map(|limit| self.last + limit);
            let Some(end) = [idle_end, self.end].into_iter().flatten().min() else {
                return Poll::Pending;
            };
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(end);
        }
    }
}

/// Completes when the head of a request takes longer than it may.
async fn late_head(heads: Rc<Heads>, context: &Context) {
    let timeouts = &context.hcm.timeouts;
    let limits = [
        timeouts.request_headers,
        timeouts.request,
        timeouts.stream_idle,
    ];
    match limits.into_iter().flatten().min() {
        Some(limit) => heads.late(limit).await,
        None => std::future::pending().await,
    }
}

async fn serve_h2(io: Prefixed<Io>, context: &Rc<Context>) {
    context.stats.downstream_cx_http2_total.inc();
    let settings = context.hcm.h2;
    let (io, heads) = watch_heads(io);
    let handshake = settings.server().handshake::<_, Bytes>(io);
    let limit = context.hcm.timeouts.idle.unwrap_or(Duration::MAX);
    let Ok(Ok(mut connection)) = tokio::time::timeout(limit, handshake).await else {
        context.stats.downstream_cx_protocol_error.inc();
        return;
    };
    let pings = settings.keepalive.zip(connection.ping_pong());
    let mut alive = Box::pin(async move {
        match pings {
            Some(((interval, timeout), pings)) => keep_alive(pings, interval, timeout).await,
            None => std::future::pending().await,
        }
    });
    let streams = Rc::<Streams>::default();
    let mut idle = IdleTimer::new(context);
    let max_age = context.hcm.timeouts.max_connection;
    let mut aged = Box::pin(async move {
        match max_age {
            Some(max) => tokio::time::sleep(max).await,
            None => std::future::pending().await,
        }
    });
    let mut late = Box::pin(late_head(heads, context));
    let mut goodbye = false;
    loop {
        let busy = streams.are_active();
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = context.connection.drain.draining(), if !goodbye => {
                goodbye = true;
                connection.graceful_shutdown();
                continue;
            }
            () = poll_fn(|cx| idle.poll(cx)), if !busy && !goodbye => {
                goodbye = true;
                context.stats.downstream_cx_idle_timeout.inc();
                connection.graceful_shutdown();
                continue;
            }
            // However busy it is.
            () = &mut aged, if !goodbye => {
                goodbye = true;
                context.stats.downstream_cx_max_duration_reached.inc();
                connection.graceful_shutdown();
                continue;
            }
            // Until it is complete no other frame can come, so that there is nothing to go on with.
            () = &mut late, if !goodbye => {
                goodbye = true;
                context.stats.downstream_rq_header_timeout.inc();
                connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            () = streams.changed() => {
                idle.touch();
                if streams.are_wasted() && !goodbye {
                    goodbye = true;
                    context.stats.downstream_rq_too_many_premature_resets.inc();
                    connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                }
                continue;
            }
            // Nothing is left to be said, and the client does not end the connection, or does not read.
            () = async { tokio::time::sleep(FAREWELL).await }, if goodbye && !busy => return,
            () = &mut alive => return,
        };
        match accepted {
            Some(Ok((request, respond))) => {
                let guard = StreamGuard::new(&streams);
                accept_stream(request, respond, context, guard);
                let spent = context
                    .hcm
                    .max_requests_per_connection
                    .is_some_and(|max| context.requests.get() >= max);
                if spent && !goodbye {
                    goodbye = true;
                    connection.graceful_shutdown();
                }
            }
            Some(Err(error)) => {
                if !error.is_io() {
                    context.stats.downstream_cx_protocol_error.inc();
                }
                return;
            }
            None => return,
        }
    }
}

fn accept_stream(
    request: http::Request<h2::RecvStream>,
    respond: h2::server::SendResponse<Bytes>,
    context: &Rc<Context>,
    guard: StreamGuard,
) {
    let (parts, body) = request.into_parts();
    let mut heads = fresh_heads();
    let refused = read_request(
        &parts,
        body.is_end_stream(),
        &context.hcm.h2_rules,
        &mut heads.0,
    );
    let refused = refused.err().map(Refusal::Protocol);
    let to_head = heads.0.method == Method::Head;
    let max_fields = context.hcm.h2_rules.limits.max_headers;
    let stream = ServerStream::new(body, respond, to_head, max_fields);
    let context = Rc::clone(context);
    tokio::task::spawn_local(async move {
        let mut downstream = Downstream::H2(Box::new(stream));
        let stayed = exchange::serve(context, &mut downstream, heads, refused).await;
        guard.end(stayed);
    });
}
