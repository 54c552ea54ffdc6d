//! One attempt: a connection, the request on it, and the wait for the response's head.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use h2::Reason;

use super::Forwarding;
use super::body::Side;
use super::deadline::Expired;
use super::failure::{
    ResetText, connect_failed, failed, is_end_of_connection, late_reply, reset_reply, timed_out,
};
use crate::access_log::Flag;
use crate::cluster::{Cluster, ConnectOptions, Host};
use crate::http::codec::h1::{HeadLimits, ProtocolError, StreamError};
use crate::http::codec::h2::OpenError;
use crate::http::connection_manager::exchange::Exchange;
use crate::http::connection_manager::local_reply::LocalReply;
use crate::http::message::{BodyLength, Method, RequestHead, Version};
use crate::http::pool::{Channel, Pools};
use crate::http::stream::{Downstream, Upstream};
use crate::route::Failure;

/// How an attempt ended.
pub enum Ended {
    /// The response's head is in the exchange.
    Head(Upstream),
    /// Nothing of a response arrived; `reply` is for the case that there is no other attempt.
    Failed {
        failure: Failure,
        reply: LocalReply,
    },
    /// There is no time for another attempt.
    TimedOut(LocalReply),
    /// The request itself is wrong, or the host has nothing to do with it: another attempt would not help.
    Refused(LocalReply),
    ClientGone,
}

/// One attempt in progress.
pub(super) struct Attempt<'a, 'r> {
    forwarding: &'a mut Forwarding<'r>,
    host: &'a Rc<Host>,
    facts: Attempted,
}

/// What is remembered of an attempt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempted {
    /// On a connection that had carried a request before.
    reused: bool,
    /// Bytes of the request went out.
    sent: bool,
    /// It was the connection that ended, not only the request's stream on it.
    closed: bool,
    /// There was a connection to the host.
    pub(super) connected: bool,
}

impl Attempted {
    /// Whether a kept connection turned out to be closed, and the request can go out on another one without the risk
    /// that it is done twice.
    pub fn was_stale(self, failure: Failure, head: &RequestHead) -> bool {
        let unsent = !self.sent;
        self.reused
            && self.closed
            && matches!(failure, Failure::Reset { .. } | Failure::RefusedStream)
            && (unsent || head.method.is_safe() || failure == Failure::RefusedStream)
    }
}

impl<'a, 'r> Attempt<'a, 'r> {
    pub(super) fn new(forwarding: &'a mut Forwarding<'r>, host: &'a Rc<Host>) -> Self {
        Self {
            forwarding,
            host,
            facts: Attempted::default(),
        }
    }

    pub(super) fn finish(self) -> Attempted {
        self.facts
    }

    pub(super) async fn run(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
    ) -> Ended {
        let raw = self.forwarding.terminates(&exchange.request);
        let options = ConnectOptions {
            alpn: exchange.alpn.clone().filter(|_| !raw),
            server_name: self.server_name(exchange),
            priority: self.forwarding.forward.priority,
            ..ConnectOptions::default()
        };
        let connection = &exchange.context.connection;
        let options = options.of_client(connection, &self.forwarding.cluster);
        self.forwarding.body.rewind();
        let Some(pools) = self.host.pools::<Pools>() else {
            return Ended::Refused(LocalReply::new(500, "", "internal_error"));
        };
        let version = exchange.request.version;
        let kept = match raw {
            true => None,
            false => pools.take(&self.forwarding.cluster, &options, version),
        };
        let channel = match kept {
            Some(channel) => channel,
            None => match self.connect(exchange, downstream, pools, &options).await {
                Ok(channel) => channel,
                Err(ended) => return ended,
            },
        };
        self.facts.reused = channel.is_reused();
        self.facts.connected = true;
        if !self.forwarding.take_request() {
            pools.return_unused(channel, &self.forwarding.cluster.config.http);
            return Ended::Refused(super::overflow());
        }
        self.forwarding.deadlines.begin_stream();
        self.note_channel(exchange, &channel);
        let channel = match channel {
            Channel::H1(pooled) if raw => {
                exchange.response.status = 200;
                return Ended::Head(Upstream::H1(pooled));
            }
            channel => channel,
        };
        let upstream = match self.send_head(exchange, channel) {
            Ok(upstream) => upstream,
            Err(ended) => return ended,
        };
        self.await_head(exchange, downstream, upstream).await
    }

    fn server_name(&self, exchange: &Exchange) -> Option<std::sync::Arc<str>> {
        let auto = self.forwarding.cluster.config.http.auto_sni;
        auto.then(|| {
            crate::route::split_port(exchange.request.authority())
                .0
                .into()
        })
    }

    /// Connects while the client stays and there is time.
    async fn connect(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        pools: &Pools,
        options: &ConnectOptions,
    ) -> Result<Channel, Ended> {
        let cluster = Rc::clone(&self.forwarding.cluster);
        let stats = Rc::clone(&self.forwarding.stats);
        let version = exchange.request.version;
        let raw = self.forwarding.terminates(&exchange.request);
        // On the heap, because most requests find a connection and should not carry the state of making one.
        let mut connecting: Pin<Box<_>> = Box::pin(async {
            match raw {
                true => {
                    pools
                        .connect_raw(&cluster, self.host, options, &stats)
                        .await
                }
                false => {
                    let connecting = pools.connect(&cluster, self.host, options, version, &stats);
                    connecting.await
                }
            }
        });
        let deadlines = &mut self.forwarding.deadlines;
        let result = poll_fn(|cx| {
            if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
                return Poll::Ready(Ok(result));
            }
            if downstream.is_request_done() && downstream.poll_closed(cx).is_ready() {
                return Poll::Ready(Err(Ended::ClientGone));
            }
            deadlines
                .poll(cx)
                .map(|expired| Err(timed_out(expired, downstream)))
        })
        .await;
        match result? {
            Ok(channel) => Ok(channel),
            Err(failure) => Err(connect_failed(exchange, failure)),
        }
    }

    fn note_channel(&self, exchange: &mut Exchange, channel: &Channel) {
        let facts = channel.facts();
        let upstream = &mut exchange.info.upstream;
        upstream.local = Some(facts.local);
        upstream.remote = Some(facts.remote);
        upstream.tls = facts.tls.clone();
        self.forwarding.stats.upstream_rq_total.inc();
    }

    fn send_head(&mut self, exchange: &mut Exchange, channel: Channel) -> Result<Upstream, Ended> {
        let (method, body) = (exchange.request.method.clone(), exchange.request.body);
        if exchange.request.method == Method::Connect && channel.version() != Version::Http2 {
            // The stream of a CONNECT is no body in HTTP/1.
            exchange.request.body = BodyLength::Empty;
            if exchange.request.upgrade.is_some() {
                // RFC 8441 section 5: what asks for an upgrade is a GET there.
                exchange.request.method = Method::Get;
            }
        }
        let sent = channel.send(&exchange.request, HeadLimits::default());
        (exchange.request.method, exchange.request.body) = (method, body);
        exchange.info.timing.upstream_first_sent = Some(exchange.info.elapsed());
        // The connection that takes no stream is at its end.
        self.facts.closed = matches!(sent, Err(OpenError::H2(_)));
        sent.map_err(|error| match error {
            OpenError::NotExpressible(_) => {
                let reply = LocalReply::new(400, "", "http2.invalid_header_field");
                Ended::Refused(reply)
            }
            OpenError::H2(_) => Ended::Failed {
                failure: Failure::RefusedStream,
                reply: reset_reply(
                    503,
                    &ResetText {
                        reason: "remote refused stream reset",
                        details: "remote_refused_stream_reset",
                    },
                    None,
                    Flag::UpstreamRemoteReset,
                ),
            },
        })
    }

    async fn await_head(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        mut upstream: Upstream,
    ) -> Ended {
        let sent_before = upstream.traffic().1;
        let result = poll_fn(|cx| self.poll_head(cx, exchange, downstream, &mut upstream)).await;
        self.facts.sent =
            upstream.traffic().1 > sent_before || matches!(upstream, Upstream::H2(..));
        match result {
            Ok(()) => Ended::Head(upstream),
            Err(Stop::ClientGone) => {
                self.forwarding.stats.upstream_rq_tx_reset.inc();
                Ended::ClientGone
            }
            Err(Stop::Refused(error)) => {
                self.forwarding.stats.upstream_rq_tx_reset.inc();
                Ended::Refused(LocalReply::protocol_error(error.status, error.details))
            }
            Err(Stop::Expired(
                expired @ (Expired::PerTry | Expired::PerTryIdle | Expired::UpstreamStream),
            )) => {
                if expired == Expired::PerTry {
                    self.forwarding.stats.upstream_rq_per_try_timeout.inc();
                }
                Ended::Failed {
                    failure: Failure::PerTryTimeout,
                    reply: late_reply(expired, downstream),
                }
            }
            Err(Stop::Expired(expired)) => timed_out(expired, downstream),
            Err(Stop::Stream(error)) => {
                note_traffic(exchange, &upstream);
                self.forwarding.stats.upstream_rq_rx_reset.inc();
                exchange.response.reset();
                self.facts.closed = is_end_of_connection(&error);
                failed(&error, self.facts.sent)
            }
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), Stop>> {
        let Forwarding {
            body, deadlines, ..
        } = &mut *self.forwarding;
        let mut broken = None;
        if !body.is_sent() {
            match body.poll(cx, exchange, downstream, upstream, deadlines) {
                Poll::Ready(Ok(())) => {
                    deadlines.request_sent();
                    let now = exchange.info.elapsed();
                    exchange.info.timing.request_received.get_or_insert(now);
                    exchange.info.timing.upstream_last_sent = Some(now);
                }
                Poll::Ready(Err(Side::Client(StreamError::Protocol(error)))) => {
                    return Poll::Ready(Err(Stop::Refused(error)));
                }
                Poll::Ready(Err(Side::Client(_))) => return Poll::Ready(Err(Stop::ClientGone)),
                Poll::Ready(Err(Side::Upstream(error))) => broken = Some(error),
                Poll::Pending => {}
            }
        }
        if broken.is_none()
            && let Poll::Ready(Err(error)) = upstream.poll_flush(cx)
        {
            broken = Some(error);
        }
        // A server that answers before it has read everything is heard, also when it takes no more.
        loop {
            match upstream.poll_head(cx, &mut exchange.response) {
                Poll::Ready(Ok(())) => {
                    let informational =
                        exchange.response.is_informational() && exchange.response.status != 101;
                    if !informational {
                        return Poll::Ready(Ok(()));
                    }
                    pass_informational(exchange, downstream);
                    if let Poll::Ready(Err(_)) = downstream.poll_flush(cx) {
                        return Poll::Ready(Err(Stop::ClientGone));
                    }
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(Stop::Stream(broken.unwrap_or(error))));
                }
                Poll::Pending => break,
            }
        }
        if let Some(error) = broken {
            return Poll::Ready(Err(Stop::Stream(error)));
        }
        if downstream.is_request_done() && downstream.poll_closed(cx).is_ready() {
            return Poll::Ready(Err(Stop::ClientGone));
        }
        deadlines
            .poll(cx)
            .map(|expired| Err(Stop::Expired(expired)))
    }
}

/// Why the wait for a head stopped.
enum Stop {
    ClientGone,
    /// The rest of the request breaks the protocol.
    Refused(ProtocolError),
    Expired(Expired),
    Stream(StreamError),
}

fn pass_informational(exchange: &mut Exchange, downstream: &mut Downstream) {
    if exchange.context.hcm.proxy_100_continue {
        let response = &mut exchange.response;
        response
            .headers
            .remove(crate::http::header_name::Known::Connection);
        downstream.send_informational(response);
    }
    exchange.response.reset();
}

/// Notes what went over the wire.
pub(super) fn note_traffic(exchange: &mut Exchange, upstream: &Upstream) {
    let (received, sent) = upstream.traffic();
    exchange.info.upstream.wire_received = received;
    exchange.info.upstream.wire_sent = sent;
}

/// Ends a response that is not wanted.
pub(super) fn abandon(upstream: Upstream) {
    if let Upstream::H2(mut stream, _lease) = upstream {
        stream.reset(Reason::CANCEL);
    }
}

/// Keeps a connection for the next request, if it can be.
pub(super) fn give_back(upstream: Upstream, host: &Rc<Host>, cluster: &Cluster) {
    match upstream {
        Upstream::H1(pooled) => {
            if let Some(pools) = host.pools::<Pools>().filter(|_| !host.is_removed()) {
                pools.give_back(pooled, &cluster.config.http);
            }
        }
        Upstream::H2(mut stream, _lease) => {
            if !stream.is_response_done() {
                stream.reset(Reason::CANCEL);
            }
        }
    }
}
