//! Bodies on their way: the request's upstream, kept for repetition where needed, and the response's back.

use std::borrow::Cow;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use super::deadline::{Deadlines, Expired};
use crate::access_log::Flag;
use crate::http::codec::h1::StreamError;
use crate::http::codec::{BodyEvent, Piece};
use crate::http::connection_manager::exchange::Exchange;
use crate::http::filter::BufferedBody;
use crate::http::header_block::HeaderBlock;
use crate::http::message::RequestHead;
use crate::http::stream::{Downstream, Upstream};

/// The body of a request.
pub struct RequestBody {
    /// What was sent so far, while it may have to be sent again.
    kept: Vec<u8>,
    /// Largest body that is kept; `None`: none is.
    limit: Option<usize>,
    /// Bytes of `kept` that the current attempt has sent.
    resent: usize,
    /// The client's side has been read to its end.
    read: bool,
    /// The current attempt has sent everything.
    sent: bool,
    trailers: Option<HeaderBlock>,
    /// Some of the body was sent that was not kept.
    lost: bool,
    /// The request asks for an upgrade: what the client says waits until it is accepted.
    upgrade: bool,
    tunnel: bool,
}

/// Whose fault it was.
pub enum Side {
    Client(StreamError),
    Upstream(StreamError),
}

impl RequestBody {
    /// `limit` is given when the body may have to be sent again; what was `buffered` already can be in any case.
    pub fn new(head: &RequestHead, buffered: Option<BufferedBody>, limit: Option<usize>) -> Self {
        let read = buffered.is_some() || !head.has_body();
        let BufferedBody { bytes, trailers } = buffered.unwrap_or_default();
        Self {
            kept: bytes,
            limit,
            resent: 0,
            read,
            sent: false,
            trailers,
            lost: false,
            upgrade: head.asks_for_tunnel(),
            tunnel: false,
        }
    }

    /// A new attempt begins from the first byte.
    pub fn rewind(&mut self) {
        self.resent = 0;
        self.sent = false;
    }

    /// Whether everything that was sent is still there.
    pub fn can_repeat(&self) -> bool {
        !self.lost && !self.tunnel
    }

    /// Whether the client has said everything. What may become a tunnel has no end in HTTP/1.
    pub fn is_complete(&self, downstream: &Downstream) -> bool {
        match downstream {
            Downstream::H1(_) => self.is_received(),
            Downstream::H2(stream) => stream.is_request_done(),
        }
    }

    /// Whether the request has no more to come, as far as it is one and not a tunnel.
    pub fn is_received(&self) -> bool {
        self.read && !self.upgrade
    }

    pub fn is_sent(&self) -> bool {
        self.sent
    }

    /// There will be no other attempt: what comes from now on need not be kept, nor what was sent.
    pub fn forget(&mut self) {
        self.limit = None;
        if self.sent {
            self.lost = true;
            self.kept = Vec::new();
        }
    }

    /// The body as far as it was kept; `None` when it is not complete.
    pub fn complete(&self) -> Option<&[u8]> {
        (self.read && !self.lost && !self.tunnel).then_some(&self.kept)
    }

    /// The upgrade was accepted: whatever the client sends now goes upstream.
    pub fn become_tunnel(&mut self) {
        self.tunnel = true;
        self.read = false;
        self.sent = false;
        self.lost = true;
        self.kept = Vec::new();
    }

    /// Sends what there is to send. Ready when the whole request is queued.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        upstream: &mut Upstream,
        deadlines: &mut Deadlines,
    ) -> Poll<Result<(), Side>> {
        while let Some(rest) = self.kept.get(self.resent..).filter(|rest| !rest.is_empty()) {
            let piece = Piece::Slice(rest);
            let last = self.read && self.trailers.is_none();
            let count = ready!(upstream.poll_send(cx, piece, last)).map_err(Side::Upstream)?;
            self.resent += count;
        }
        while !self.read {
            let event = ready!(downstream.poll_body(cx)).map_err(Side::Client)?;
            let BodyEvent::Data { last } = event else {
                deadlines.touch();
                self.trailers = downstream.take_trailers();
                self.read = true;
                break;
            };
            let piece = downstream.piece();
            let count = ready!(upstream.poll_send(cx, piece, last)).map_err(Side::Upstream)?;
            deadlines.touch();
            let whole = count == piece.len();
            let sent = piece.as_slice().get(..count).unwrap_or_default();
            if let Some(messages) = &mut exchange.messages {
                messages.request.feed(sent);
            }
            exchange.info.bytes_received += count as u64;
            self.keep(sent);
            downstream.consume(count);
            if last && whole {
                self.read = true;
            }
        }
        // A stream that may become a tunnel stays open.
        let stays_open = self.upgrade && !self.tunnel && matches!(upstream, Upstream::H2(..));
        if !self.sent && stays_open {
            self.sent = true;
        }
        if !self.sent {
            upstream
                .finish(self.trailers.as_ref())
                .map_err(Side::Upstream)?;
            self.sent = true;
        }
        Poll::Ready(Ok(()))
    }

    fn keep(&mut self, sent: &[u8]) {
        match self.limit {
            Some(limit) if !self.lost && self.kept.len() + sent.len() <= limit => {
                self.kept.extend_from_slice(sent);
                self.resent = self.kept.len();
            }
            _ => {
                self.lost = true;
                self.kept = Vec::new();
                self.resent = 0;
            }
        }
    }
}

/// How passing a response on ended.
pub enum Passed {
    /// Everything is queued for the client.
    Complete,
    ClientGone,
    UpstreamFailed(Flag, Cow<'static, str>),
    TimedOut(Flag, &'static str),
}

/// Passes the response's body on, and what is left of the request's.
pub async fn pass(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    upstream: &mut Upstream,
    request: &mut RequestBody,
    deadlines: &mut Deadlines,
) -> Passed {
    deadlines.head_received();
    if request.tunnel {
        deadlines.become_tunnel();
    }
    poll_fn(|cx| {
        let passed = step(cx, exchange, downstream, upstream, request, deadlines);
        if passed.is_pending() {
            // What came together goes out in one call.
            if let Poll::Ready(Err(_)) = upstream.poll_flush(cx) {
                request.sent = true;
                request.read = true;
            }
            if let Poll::Ready(Err(_)) = downstream.poll_flush(cx) {
                return Poll::Ready(Passed::ClientGone);
            }
        }
        passed
    })
    .await
}

fn step(
    cx: &mut Context<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    upstream: &mut Upstream,
    request: &mut RequestBody,
    deadlines: &mut Deadlines,
) -> Poll<Passed> {
    if !request.sent {
        match request.poll(cx, exchange, downstream, upstream, deadlines) {
            Poll::Ready(Err(Side::Client(_))) => return Poll::Ready(Passed::ClientGone),
            // The server has answered and may not want the rest; its response decides.
            Poll::Ready(Err(Side::Upstream(_))) => {
                request.sent = true;
                request.read = true;
            }
            Poll::Ready(Ok(())) => deadlines.request_sent(),
            Poll::Pending => {}
        }
    }
    match poll_response(cx, exchange, downstream, upstream, deadlines) {
        Poll::Ready(passed) => return Poll::Ready(passed),
        Poll::Pending => {}
    }
    // The last words of a tunnel are delivered.
    let delivered = !request.tunnel || upstream.poll_flush(cx).is_ready();
    if delivered && downstream.is_request_done() && downstream.poll_closed(cx).is_ready() {
        return Poll::Ready(Passed::ClientGone);
    }
    deadlines.poll(cx).map(|expired| {
        let (flag, details) = match expired {
            Expired::Whole | Expired::PerTry => (Flag::UpstreamRequestTimeout, "response_timeout"),
            Expired::PerTryIdle => (
                Flag::UpstreamRequestTimeout,
                "upstream_per_try_idle_timeout",
            ),
            Expired::Idle => (Flag::StreamIdleTimeout, "stream_idle_timeout"),
            Expired::Stream | Expired::UpstreamStream => (
                Flag::UpstreamMaxStreamDurationReached,
                "upstream_max_stream_duration_reached",
            ),
            Expired::Request => (Flag::DurationTimeout, "request_overall_timeout"),
        };
        Passed::TimedOut(flag, details)
    })
}

fn poll_response(
    cx: &mut Context<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    upstream: &mut Upstream,
    deadlines: &mut Deadlines,
) -> Poll<Passed> {
    loop {
        let event = match ready!(upstream.poll_body(cx)) {
            Ok(event) => event,
            Err(error) => {
                let (flag, details) = broken(&error);
                return Poll::Ready(Passed::UpstreamFailed(flag, details));
            }
        };
        let BodyEvent::Data { last } = event else {
            let trailers = upstream.take_trailers();
            let finished = downstream.finish(trailers.as_ref());
            exchange.trailers = trailers;
            return Poll::Ready(match finished {
                Ok(()) => Passed::Complete,
                Err(_) => Passed::ClientGone,
            });
        };
        let piece = upstream.piece();
        let count = match ready!(downstream.poll_send(cx, piece, last)) {
            Ok(count) => count,
            Err(_) => return Poll::Ready(Passed::ClientGone),
        };
        // What waits for a client that does not read is no progress.
        deadlines.touch();
        if let Some(messages) = &mut exchange.messages {
            let sent = piece.as_slice().get(..count).unwrap_or_default();
            messages.response.feed(sent);
        }
        exchange.info.bytes_sent += count as u64;
        upstream.consume(count);
    }
}

/// What a stream that broke off in the middle of its response is called.
fn broken(error: &StreamError) -> (Flag, Cow<'static, str>) {
    let (flag, reason) = match error {
        StreamError::Protocol(_) => (Flag::UpstreamProtocolError, "protocol_error"),
        StreamError::H2(error) if error.is_reset() => (Flag::UpstreamRemoteReset, "remote_reset"),
        StreamError::Io(_) | StreamError::Closed | StreamError::H2(_) => (
            Flag::UpstreamConnectionTermination,
            "connection_termination",
        ),
    };
    (
        flag,
        format!("upstream_reset_after_response_started{{{reason}}}").into(),
    )
}
