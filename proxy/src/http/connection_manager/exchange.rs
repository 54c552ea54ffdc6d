//! One request from its head to its log line.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;

use super::config::{HttpConnectionManager, Routes};
use super::local_reply::LocalReply;
use super::{request_headers, response_headers, upgrade};
use crate::access_log::{Flag, FormatContext, StreamInfo};
use crate::cluster::Cluster;
use crate::conn::ConnectionInfo;
use crate::http::codec::Piece;
use crate::http::codec::h1::{ProtocolError, StreamError};
use crate::http::filter::router::{self, Outcome};
use crate::http::filter::{ActiveFault, BufferedBody, CorsPolicy, MessageCounts, PeerAsks};
use crate::http::header_block::HeaderBlock;
use crate::http::header_name::Known;
use crate::http::message::{Method, RequestHead, ResponseHead, Version};
use crate::http::stream::Downstream;
use crate::resource::listener::TrafficDirection;
use crate::route::{
    Action, ClusterChoice, Forward, Found, RouteMatch, RouteTable, WeightedCluster,
};
use crate::stats::HttpStats;
use crate::worker::{Local, Worker};

/// What all requests of a connection share.
#[derive(Debug)]
pub struct Context {
    pub worker: Rc<Worker>,
    pub hcm: Arc<HttpConnectionManager>,
    pub connection: Rc<ConnectionInfo>,
    pub stats: Rc<HttpStats>,
    /// Stands for the name of the cluster of requests that go to none.
    pub no_cluster: Arc<str>,
    /// Requests begun on this connection.
    pub requests: Cell<u32>,
}

/// A request in progress, as filters see it.
pub struct Exchange {
    pub context: Rc<Context>,
    pub request: RequestHead,
    pub response: ResponseHead,
    /// Trailers of the response.
    pub trailers: Option<HeaderBlock>,
    pub info: StreamInfo,
    pub is_grpc: bool,
    /// The cluster that routing chose, if it exists.
    pub cluster: Option<Rc<Cluster>>,
    pub cluster_name: Option<Arc<str>>,
    /// ALPN to offer upstream instead of the cluster's.
    pub alpn: Option<Rc<[Arc<[u8]>]>>,
    /// The body, once a filter waited for it.
    pub buffered: Option<BufferedBody>,
    pub cors: Option<(Arc<CorsPolicy>, Box<[u8]>)>,
    pub fault: Option<ActiveFault>,
    pub messages: Option<MessageCounts>,
    pub peer_asks: PeerAsks,
    /// A cookie that the client is to keep, for load balancing.
    pub set_cookies: Vec<String>,
    /// Bytes sent on the client's connection before this request.
    sent_before: u64,
}

/// A route with the weighted cluster that was drawn.
#[derive(Clone, Copy)]
pub struct Chosen<'t> {
    pub found: RouteMatch<'t>,
    pub weighted: Option<&'t WeightedCluster>,
}

/// Either kind of handle on a route table, for the time of a request.
enum Table<'c> {
    Inline(&'c RouteTable),
    Rds(Local<RouteTable>),
}

impl Table<'_> {
    fn get(&self) -> &RouteTable {
        match self {
            Table::Inline(table) => table,
            Table::Rds(table) => table,
        }
    }
}

thread_local! {
    /// Heads of finished requests, for their memory.
    static HEADS: Cell<Vec<(RequestHead, ResponseHead)>> = const { Cell::new(Vec::new()) };
}

/// Heads that a thread keeps.
const KEPT_HEADS: usize = 64;
/// Memory of a head beyond which it is not kept.
const KEPT_MEMORY: usize = 16 * 1024;

/// Empty heads, with the memory of earlier ones where there are any.
pub fn fresh_heads() -> (RequestHead, ResponseHead) {
    let mut kept = HEADS.take();
    let heads = kept.pop().unwrap_or_default();
    HEADS.set(kept);
    heads
}

fn keep_heads(mut request: RequestHead, mut response: ResponseHead) {
    let mut kept = HEADS.take();
    let small = request.headers.memory() <= KEPT_MEMORY && response.headers.memory() <= KEPT_MEMORY;
    if small && kept.len() < KEPT_HEADS {
        request.reset();
        response.reset();
        kept.push((request, response));
    }
    HEADS.set(kept);
}

/// Why a head goes no further.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    Protocol(ProtocolError),
    /// The head has not arrived in the time for heads.
    LateHead,
    /// Nor has it in the time for whole requests.
    LateRequest,
}

/// Serves one request whose head was read, or refused with `refused`.
///
/// The response is queued and flushed when this completes; a client that went away is noticed in `downstream`.
/// Returns whether the client stayed for the answer.
pub async fn serve(
    context: Rc<Context>,
    downstream: &mut Downstream,
    heads: (RequestHead, ResponseHead),
    refused: Option<Refusal>,
) -> bool {
    let mut exchange = Exchange::new(context, downstream, heads);
    let reply = match refused {
        Some(refusal) => Some(exchange.refuse(refusal)),
        None => exchange.run(downstream).await,
    };
    if let Some(reply) = reply {
        exchange.reply(downstream, reply, None).await;
    }
    let stayed = exchange.info.response_code != 0;
    exchange.end(downstream);
    stayed
}

impl Exchange {
    fn new(
        context: Rc<Context>,
        downstream: &Downstream,
        (request, response): (RequestHead, ResponseHead),
    ) -> Self {
        let start = Instant::now();
        // One clock read per request: the date of the connection plus what has passed since.
        let since = start.saturating_duration_since(context.connection.start);
        let mut info = StreamInfo::new(start, context.connection.start_time + since);
        info.protocol = Some(request.version);
        info.wire_received = request.wire_size as u64;
        context
            .requests
            .set(context.requests.get().saturating_add(1));
        let stats = &context.stats;
        stats.downstream_rq_total.inc();
        stats.downstream_rq_active.inc();
        match request.version {
            Version::Http2 => stats.downstream_rq_http2_total.inc(),
            Version::Http10 | Version::Http11 => stats.downstream_rq_http1_total.inc(),
        }
        Self {
            is_grpc: request.is_grpc(),
            sent_before: downstream.traffic().1,
            context,
            request,
            response,
            trailers: None,
            info,
            cluster: None,
            cluster_name: None,
            alpn: None,
            buffered: None,
            cors: None,
            fault: None,
            messages: None,
            peer_asks: PeerAsks::default(),
            set_cookies: Vec::new(),
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> LocalReply {
        match refusal {
            Refusal::Protocol(error) => {
                self.context.stats.downstream_cx_protocol_error.inc();
                LocalReply::protocol_error(error.status, error.details)
            }
            Refusal::LateHead => {
                self.context.stats.downstream_rq_header_timeout.inc();
                LocalReply::late_head()
            }
            Refusal::LateRequest => LocalReply::late_request(),
        }
    }

    /// Routes the request and lets it be answered; returns an answer that is still to be given.
    async fn run(&mut self, downstream: &mut Downstream) -> Option<LocalReply> {
        let context = Rc::clone(&self.context);
        let prepared =
            request_headers::prepare(&mut self.request, &context.hcm, &context.connection);
        match prepared {
            Ok(remote) => self.info.remote = remote,
            Err(reply) => return Some(reply),
        }
        if self.request.expects_continue && !context.hcm.proxy_100_continue {
            downstream.send_informational(&ResponseHead::new(100));
            self.request.expects_continue = false;
        }
        let table = match &context.hcm.routes {
            Routes::Inline(table) => Table::Inline(table),
            Routes::Rds(name) => match context.worker.route(name) {
                Some(table) => Table::Rds(table),
                None => return self.end_here(downstream, Self::no_route).await,
            },
        };
        for name in &table.get().internal_only_headers {
            if !self.request.headers.contains(Known::EnvoyInternal) {
                self.request.headers.remove_named(name);
            }
        }
        let found = match table.get().find(&self.request, &context.connection) {
            Found::Route(found) => found,
            Found::NeedsTls => return self.end_here(downstream, Self::to_https).await,
            Found::Nothing => return self.end_here(downstream, Self::no_route).await,
        };
        self.follow(downstream, found).await
    }

    /// Answers a request that takes no route, after the filters had their say.
    async fn end_here(
        &mut self,
        downstream: &mut Downstream,
        answer: fn(&Self) -> LocalReply,
    ) -> Option<LocalReply> {
        match self.run_filters(downstream, None, None).await {
            Ok(()) => Some(answer(self)),
            Err(stop) => stop,
        }
    }

    /// Does what the route says, after the filters had their say.
    async fn follow(
        &mut self,
        downstream: &mut Downstream,
        found: RouteMatch<'_>,
    ) -> Option<LocalReply> {
        let chosen = self.choose(found);
        if !found.route.name.is_empty() {
            self.info.route_name = Some(Arc::clone(&found.route.name));
        }
        let filters = chosen.weighted.map(|weighted| &weighted.filters);
        let merged;
        let filters = match filters {
            Some(own) if !own.is_empty() => {
                merged = own.or(&found.route.filters);
                &merged
            }
            _ => &found.route.filters,
        };
        let forward = match &found.route.action {
            Action::Forward(forward) => Some(&**forward),
            Action::Redirect(_) | Action::Direct(_) => None,
        };
        let filtered = self.run_filters(downstream, forward, Some(filters)).await;
        if let Err(stop) = filtered {
            if let Some(reply) = stop {
                // Other routes change only their own answers.
                let chosen = forward.is_some().then_some(chosen);
                self.reply(downstream, reply, chosen).await;
            }
            return None;
        }
        match &found.route.action {
            Action::Forward(forward) => self.forward(downstream, chosen, forward).await,
            Action::Redirect(redirect) => {
                let location = redirect.location(found.route.path_matcher(), &self.request);
                let reply = LocalReply::redirect(redirect.status, &location);
                self.reply(downstream, reply, Some(chosen)).await;
                None
            }
            Action::Direct(direct) => {
                let mut reply =
                    LocalReply::new(direct.status, direct.body.clone(), "direct_response");
                if matches!(direct.status, 201 | 300..=399) {
                    // RFC 9110 section 15.3.2: what was created is what was asked for.
                    reply = reply.header(Known::Location, self.url().as_bytes());
                }
                self.reply(downstream, reply, Some(chosen)).await;
                None
            }
        }
    }

    fn choose<'t>(&mut self, found: RouteMatch<'t>) -> Chosen<'t> {
        let mut weighted = None;
        if let Action::Forward(forward) = &found.route.action {
            self.cluster_name = match &forward.cluster {
                ClusterChoice::One(name) => Some(Arc::clone(name)),
                ClusterChoice::Weighted(clusters) => {
                    weighted = clusters.pick();
                    weighted.map(|cluster| Arc::clone(&cluster.name))
                }
                ClusterChoice::Header(name) => {
                    let value = self.request.headers.get_named(name.as_bytes());
                    value
                        .and_then(|value| std::str::from_utf8(value).ok())
                        .map(Into::into)
                }
            };
            let name = self.cluster_name.as_deref();
            self.cluster = name.and_then(|name| self.context.worker.clusters.get(name));
            if let Some(cluster) = &self.cluster {
                let upstream = &mut self.info.upstream;
                upstream.cluster = Some(Arc::clone(&cluster.config.name));
                upstream.stat_name = Some(Arc::clone(&cluster.config.stat_name));
            }
        }
        Chosen { found, weighted }
    }

    async fn forward(
        &mut self,
        downstream: &mut Downstream,
        chosen: Chosen<'_>,
        forward: &Forward,
    ) -> Option<LocalReply> {
        if self.cluster.is_none() {
            self.context.stats.no_cluster.inc();
            let reply = LocalReply::no_cluster(forward.cluster_not_found);
            self.reply(downstream, reply, Some(chosen)).await;
            return None;
        }
        if !upgrade::is_allowed(&self.request, forward, &self.context.hcm.upgrades) {
            return Some(LocalReply {
                close: true,
                ..LocalReply::new(403, "", "upgrade_failed")
            });
        }
        match router::forward(self, downstream, chosen, forward).await {
            Outcome::Sent => None,
            Outcome::Reply(reply) => {
                self.reply(downstream, reply, Some(chosen)).await;
                None
            }
            Outcome::ClientGone => {
                self.client_gone(downstream);
                None
            }
            Outcome::Broken => {
                // A reset takes back what the connection's task has not written yet.
                tokio::task::yield_now().await;
                downstream.reset();
                None
            }
        }
    }

    fn no_route(&self) -> LocalReply {
        self.context.stats.no_route.inc();
        LocalReply::no_route()
    }

    /// What was asked for, in full.
    fn url(&self) -> String {
        let request = &self.request;
        let scheme = request.scheme.as_str();
        format!("{scheme}://{}{}", request.authority(), request.path())
    }

    fn to_https(&self) -> LocalReply {
        let authority = crate::route::split_port(self.request.authority()).0;
        let location = format!("https://{authority}{}", self.request.path());
        LocalReply::redirect(301, &location)
    }

    /// Notes that the client went away before it was answered, or left a tunnel.
    pub(super) fn client_gone(&mut self, downstream: &mut Downstream) {
        let (flag, details) = match downstream.was_reset() {
            true => (Flag::DownstreamRemoteReset, "http2.remote_reset"),
            false => (
                Flag::DownstreamConnectionTermination,
                "downstream_remote_disconnect",
            ),
        };
        self.info.set_flag(flag);
        self.info.details = Some(details.into());
    }

    /// Gives an answer of the proxy's own.
    async fn reply(
        &mut self,
        downstream: &mut Downstream,
        reply: LocalReply,
        chosen: Option<Chosen<'_>>,
    ) {
        if let Some(flag) = reply.flag {
            self.info.set_flag(flag);
        }
        self.info.details = Some(reply.details.clone());
        if reply.close {
            downstream.close_after_response();
        }
        reply.begin(&mut self.response);
        if let Some(chosen) = chosen {
            self.mutate_response(chosen);
        }
        let body = reply.into_body(self.is_grpc, &mut self.response);
        self.send_response(downstream, body).await;
    }

    /// Sends a response whose body is known.
    pub(super) async fn send_response(&mut self, downstream: &mut Downstream, body: Bytes) {
        if !downstream.is_request_done() {
            // Nobody will read the rest.
            downstream.close_after_response();
        }
        self.finish_head(downstream);
        if downstream.send_head(&self.response).is_err() {
            return self.client_gone(downstream);
        }
        let with_body = self.request.method != Method::Head;
        let mut rest = if with_body { body } else { Bytes::new() };
        let limit = self.context.hcm.timeouts.stream_idle;
        let mut late = None;
        let sent = poll_fn(|cx| {
            while !rest.is_empty() {
                let piece = Piece::Shared(&rest);
                match downstream.poll_send(cx, piece, true) {
                    Poll::Ready(Ok(count)) => {
                        self.info.bytes_sent += count as u64;
                        bytes::Buf::advance(&mut rest, count);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        if let Poll::Ready(Err(error)) = downstream.poll_flush(cx) {
                            return Poll::Ready(Err(error));
                        }
                        // A client that takes nothing keeps the stream no longer than others.
                        let Some(limit) = limit else {
                            return Poll::Pending;
                        };
                        let late = late.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                        return late.as_mut().poll(cx).map(|()| Err(StreamError::Closed));
                    }
                }
            }
            downstream.finish(None)?;
            Poll::Ready(Ok(()))
        });
        if sent.await.is_err() || poll_fn(|cx| downstream.poll_flush(cx)).await.is_err() {
            downstream.reset();
            self.client_gone(downstream);
        }
    }

    /// Applies the changes that the route makes to responses.
    pub fn mutate_response(&mut self, chosen: Chosen<'_>) {
        for mutations in chosen.found.response_mutations(chosen.weighted) {
            let context = FormatContext {
                info: &self.info,
                connection: Some(&self.context.connection),
                request: Some(&self.request),
                response: Some(&self.response),
                trailers: None,
            };
            mutations
                .evaluate(&context)
                .apply(&mut self.response.headers);
        }
        if chosen.found.host.include_attempt_count_in_response && self.info.attempts > 0 {
            let count = self.info.attempts.to_string();
            let headers = &mut self.response.headers;
            headers.set(Known::EnvoyAttemptCount, count.as_bytes());
        }
    }

    /// Runs the response through filters and into its final form.
    pub fn finish_head(&mut self, downstream: &mut Downstream) {
        let context = Rc::clone(&self.context);
        let hcm = &context.hcm;
        hcm.filters.on_response(self);
        let now = self.info.start_time + self.info.start.elapsed();
        response_headers::finalize(&mut self.response, &self.request, hcm, now);
        self.info.response_code = self.response.status;
        if self.must_close() {
            downstream.close_after_response();
        }
    }

    /// Whether the connection takes no further requests.
    fn must_close(&self) -> bool {
        let request = &self.request;
        if request.asks_for_tunnel() && !request.becomes_tunnel(self.response.status) {
            // What the client sends may not be meant as a request.
            return true;
        }
        let context = &self.context;
        let timeouts = &context.hcm.timeouts;
        let connection = &context.connection;
        connection.drain.is_draining()
            || context
                .hcm
                .max_requests_per_connection
                .is_some_and(|max| context.requests.get() >= max)
            || timeouts
                .max_connection
                .is_some_and(|max| connection.start.elapsed() >= max)
    }

    /// Names the operation for the other side, where traces are taken.
    pub fn set_decorator(&mut self, found: &RouteMatch<'_>) {
        let outbound = self.context.connection.listener.direction == TrafficDirection::Outbound;
        if self.context.hcm.tracing.is_none() {
            return;
        }
        let decorator = found.route.decorator.as_ref();
        if let Some(decorator) = decorator.filter(|d| d.propagate && outbound) {
            let operation = decorator.operation.as_bytes();
            self.request
                .headers
                .set(Known::EnvoyDecoratorOperation, operation);
        }
    }

    /// The same for responses: servers tell their clients, and clients keep it from applications.
    pub fn set_response_decorator(&mut self, found: &RouteMatch<'_>) {
        if self.context.hcm.tracing.is_none() {
            return;
        }
        if self.context.connection.listener.direction == TrafficDirection::Outbound {
            self.response.headers.remove(Known::EnvoyDecoratorOperation);
            return;
        }
        if let Some(decorator) = found.route.decorator.as_ref().filter(|d| d.propagate) {
            let operation = decorator.operation.as_bytes();
            self.response
                .headers
                .set(Known::EnvoyDecoratorOperation, operation);
        }
    }

    /// Counts and logs.
    fn end(mut self, downstream: &Downstream) {
        let context = Rc::clone(&self.context);
        self.info.finish();
        self.info.wire_received += self.info.bytes_received;
        self.info.wire_sent = downstream.traffic().1.saturating_sub(self.sent_before);
        context.hcm.filters.on_end(&mut self);
        let stats = &context.stats;
        stats.downstream_rq_active.dec();
        stats.response(self.info.response_code);
        let flags = &self.info.flags;
        if flags.contains(Flag::DownstreamConnectionTermination)
            || flags.contains(Flag::DownstreamRemoteReset)
        {
            stats.downstream_rq_rx_reset.inc();
        }
        for log in &context.hcm.access_logs {
            log.log(&FormatContext {
                info: &self.info,
                connection: Some(&context.connection),
                request: Some(&self.request),
                response: Some(&self.response),
                trailers: self.trailers.as_ref(),
            });
        }
        keep_heads(self.request, self.response);
    }
}
