//! The router: sends a request to a host of its cluster, again where the route's retry policy says so, and passes the
//! response on.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter>.

mod attempt;
mod body;
mod deadline;
mod failure;
mod mirror;
mod request;

use std::rc::Rc;
use std::time::Duration;

use ironsail_xds::ext::filters::http::router::v3 as proto;
use smallvec::SmallVec;

use crate::access_log::Flag;
use crate::cluster::{Cluster, Host, HostResult, PickContext, PickError};
use crate::http::connection_manager::exchange::{Chosen, Exchange};
use crate::http::connection_manager::local_reply::LocalReply;
use crate::http::grpc;
use crate::http::header_name::Known;
use crate::http::message::{BodyLength, RequestHead};
use crate::http::stream::{Downstream, Upstream};
use crate::resource::CompileError;
use crate::resource::cluster::Permit;
use crate::route::{Failure, Forward, RetryPolicy};
use crate::stats::ClusterStats;
use attempt::{Attempt, Ended};
use body::RequestBody;
pub(super) use deadline::Deadlines;
pub(super) use failure::late_reply;

/// Hosts that are asked for another one when the policy wants hosts not tried before.
const HOST_PICKS: usize = 5;
/// Attempts on kept connections that turn out to be closed, beside those of the retry policy.
const MAX_STALE: u32 = 3;

/// Compiled `Router`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouterConfig {
    /// Do not add `x-envoy-…` headers.
    pub suppress_envoy_headers: bool,
}

impl RouterConfig {
    /// # Errors
    /// Filters on the upstream side, which this proxy does not have.
    pub fn compile(config: &proto::Router) -> Result<Self, CompileError> {
        if let Some(filter) = config.upstream_http_filters.first() {
            let known = filter.name == "envoy.filters.http.upstream_codec";
            if !known || config.upstream_http_filters.len() > 1 {
                return Err(
                    CompileError::unknown_extension("upstream filter", &filter.name, "")
                        .at("upstream_http_filters[0]"),
                );
            }
        }
        Ok(Self {
            suppress_envoy_headers: config.suppress_envoy_headers,
        })
    }
}

/// How forwarding ended.
#[derive(Debug)]
pub enum Outcome {
    /// The response went out completely.
    Sent,
    /// Nothing went out yet; this is to be answered.
    Reply(LocalReply),
    ClientGone,
    /// The response broke off.
    Broken,
}

/// What attempts of one request have in common.
struct Forwarding<'r> {
    chosen: Chosen<'r>,
    forward: &'r Forward,
    cluster: Rc<Cluster>,
    stats: Rc<ClusterStats>,
    retry: Option<&'r RetryPolicy>,
    retries_left: u32,
    retries: u32,
    stale: u32,
    hash: Option<u64>,
    tried: SmallVec<[Rc<Host>; 3]>,
    body: RequestBody,
    deadlines: Deadlines,
    timeouts: RequestTimeouts,
    config: RouterConfig,
    /// What the last response asks to be waited before the next attempt.
    asked_wait: Option<Duration>,
    /// Held from when an attempt has its connection.
    request_permit: Option<Permit>,
    /// Held while a retry is under way.
    retry_permit: Option<Permit>,
}

/// Forwards a request whose filters have run.
pub async fn forward(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    chosen: Chosen<'_>,
    forward: &Forward,
) -> Outcome {
    let Some(cluster) = exchange.cluster.clone() else {
        return Outcome::Reply(LocalReply::no_cluster(forward.cluster_not_found));
    };
    let stats = exchange
        .context
        .worker
        .stats
        .cluster(&cluster.config.stat_name);
    let timeouts = request::timeouts(exchange, forward);
    let asked = RetryPolicy::asked_for(forward.retry.as_ref(), &exchange.request.headers);
    let config = exchange.context.hcm.filters.router;
    let hash = request::prepare(exchange, chosen, forward, &timeouts, &config);
    let retry = asked
        .as_ref()
        .or(forward.retry.as_ref())
        .filter(|retry| retry.applies_to(&exchange.request));
    let limit = chosen
        .found
        .route
        .buffer_limit
        .unwrap_or(exchange.context.connection.listener.buffer_limit);
    let retries_left = retry.map_or(0, |retry| retry.retries);
    let keep_body = retries_left > 0 || !forward.mirrors.is_empty();
    let buffered = exchange.buffered.take();
    if let (Some(messages), Some(body)) = (&mut exchange.messages, &buffered) {
        messages.request.feed(&body.bytes);
    }
    let mut forwarding = Forwarding {
        chosen,
        forward,
        stats: Rc::clone(&stats),
        cluster: Rc::clone(&cluster),
        retry,
        retries_left,
        retries: 0,
        stale: 0,
        hash,
        tried: SmallVec::new(),
        body: RequestBody::new(&exchange.request, buffered, keep_body.then_some(limit)),
        deadlines: Deadlines::new(exchange, Some(forward), &timeouts),
        timeouts,
        config,
        asked_wait: None,
        request_permit: None,
        retry_permit: None,
    };
    if forwarding.body.is_received() {
        forwarding.deadlines.request_received();
    }
    stats.upstream_rq_active.inc();
    let outcome = forwarding.run(exchange, downstream).await;
    stats.upstream_rq_active.dec();
    mirror::send(exchange, &forwarding);
    outcome
}

fn overflow() -> LocalReply {
    let body = "upstream connect error or disconnect/reset before headers. reset reason: overflow";
    LocalReply::new(
        503,
        body,
        "upstream_reset_before_response_started{overflow}",
    )
    .flag(Flag::UpstreamOverflow)
    .header(Known::EnvoyOverloaded, b"true")
}

impl Forwarding<'_> {
    async fn run(&mut self, exchange: &mut Exchange, downstream: &mut Downstream) -> Outcome {
        loop {
            let host = match self.pick(exchange) {
                Ok(host) => host,
                Err(PickError::NoHealthyUpstream) => {
                    self.stats.upstream_cx_none_healthy.inc();
                    return Outcome::Reply(LocalReply::no_healthy_upstream());
                }
                Err(PickError::Overflow(_)) => return Outcome::Reply(overflow()),
            };
            exchange.info.attempts += 1;
            self.note_host(exchange, &host);
            let active = host.begin();
            let mut attempt = Attempt::new(self, &host);
            let ended = attempt.run(exchange, downstream).await;
            let attempted = attempt.finish();
            match ended {
                Ended::Head(upstream) => {
                    let passed = self.response(exchange, downstream, upstream, &host).await;
                    if let Some(outcome) = passed {
                        return outcome;
                    }
                }
                Ended::ClientGone => return Outcome::ClientGone,
                Ended::Refused(reply) => return Outcome::Reply(reply),
                Ended::Failed { failure, reply } => {
                    self.cluster.report(&host, result_of(failure));
                    host.stats
                        .rq_error
                        .set(host.stats.rq_error.get().wrapping_add(1));
                    let stale = attempted.was_stale(failure, &exchange.request);
                    if !self.may_repeat(exchange, failure, stale) {
                        return Outcome::Reply(self.explain(reply));
                    }
                }
                Ended::TimedOut(reply) => {
                    // Waiting for a connection says nothing about the host.
                    if attempted.connected {
                        self.cluster.report(&host, HostResult::Timeout);
                    }
                    let timeouts = &host.stats.rq_timeout;
                    timeouts.set(timeouts.get().wrapping_add(1));
                    self.stats.upstream_rq_timeout.inc();
                    return Outcome::Reply(reply);
                }
            }
            drop(active);
            self.request_permit = None;
            self.deadlines.end_attempt();
            self.tried.push(host);
            if let Some(wait) = self.pause()
                && let Some(outcome) = self.sleep(downstream, wait).await
            {
                return outcome;
            }
            let left = self.deadlines.left();
            request::tell_timeouts(exchange, &self.timeouts, left, &self.config);
        }
    }

    fn pick(&self, exchange: &Exchange) -> Result<Rc<Host>, PickError> {
        let avoid: &[Rc<Host>] = match self.retry {
            Some(retry) if retry.avoid_previous_hosts => &self.tried,
            _ => &[],
        };
        let context = PickContext {
            original_dst: Some(exchange.context.connection.local),
            hash: self.hash,
            avoid,
            avoid_canaries: self.retry.is_some_and(|retry| retry.omit_canary_hosts)
                && !self.tried.is_empty(),
            avoid_priorities: &self.tried_priorities(),
        };
        let mut host = self.cluster.pick(&context)?;
        for _ in 1..HOST_PICKS {
            if !context.avoids(&host) {
                break;
            }
            host = self.cluster.pick(&context)?;
        }
        Ok(host)
    }

    /// Priorities that the policy wants to be left for others by now.
    fn tried_priorities(&self) -> SmallVec<[usize; 4]> {
        let frequency = self.retry.and_then(|retry| retry.priority_update_frequency);
        let Some(frequency) = frequency.filter(|_| !self.tried.is_empty()) else {
            return SmallVec::new();
        };
        let settled = self.tried.len() / frequency * frequency;
        let settled = self.tried.iter().take(settled);
        settled.map(|host| host.priority.get()).collect()
    }

    fn note_host(&self, exchange: &mut Exchange, host: &Host) {
        let upstream = &mut exchange.info.upstream;
        upstream.remote = Some(host.address());
        upstream.local = None;
        upstream.tls = None;
        upstream.failure = None;
        exchange.info.upstream_peer = host.endpoint.workload.clone();
        if self.chosen.found.host.include_attempt_count && !self.config.suppress_envoy_headers {
            let count = exchange.info.attempts.to_string();
            exchange
                .request
                .headers
                .set(Known::EnvoyAttemptCount, count.as_bytes());
        }
    }

    /// Whether a failed attempt is to be followed by another one.
    fn may_repeat(&mut self, exchange: &mut Exchange, failure: Failure, stale: bool) -> bool {
        if stale && self.stale < MAX_STALE && self.body.can_repeat() {
            self.stale += 1;
            return true;
        }
        let covered = self.retry.is_some_and(|retry| retry.covers(failure));
        covered && self.may_retry(exchange)
    }

    /// Takes a retry if the request can be sent again, and notes why there is none left.
    fn may_retry(&mut self, exchange: &mut Exchange) -> bool {
        // What will not be sent again was not kept either.
        if self.retries_left > 0 && !self.body.can_repeat() {
            return false;
        }
        let taken = self.take_retry();
        if let Err(flag) = taken {
            exchange.info.set_flag(flag);
        }
        taken.is_ok()
    }

    /// Whether the request is a CONNECT that ends here, whose bytes go to the host as they are.
    fn terminates(&self, request: &RequestHead) -> bool {
        self.forward.terminates_connect && request.is_plain_connect()
    }

    /// Takes one of the requests that the cluster allows at a time.
    fn take_request(&mut self) -> bool {
        let thresholds = self.cluster.config.breakers.of(self.forward.priority);
        self.request_permit = thresholds.acquire_request().ok();
        if self.request_permit.is_none() {
            self.stats.upstream_rq_pending_overflow.inc();
        }
        self.request_permit.is_some()
    }

    /// Takes one of the retries that are left, and one of those that the cluster allows at a time.
    fn take_retry(&mut self) -> Result<(), Flag> {
        if self.retries_left == 0 {
            self.stats.upstream_rq_retry_limit_exceeded.inc();
            return Err(Flag::UpstreamRetryLimitExceeded);
        }
        self.retry_permit = None;
        let thresholds = self.cluster.config.breakers.of(self.forward.priority);
        if self.request_permit.is_none() {
            // It is under way for a budget, also when no connection came about.
            self.request_permit = Some(thresholds.requests.exceed());
        }
        let Ok(permit) = thresholds.acquire_retry() else {
            self.stats.upstream_rq_retry_overflow.inc();
            return Err(Flag::UpstreamOverflow);
        };
        self.retry_permit = Some(permit);
        self.retries_left -= 1;
        self.retries += 1;
        self.stats.upstream_rq_retry.inc();
        Ok(())
    }

    /// The wait before the next attempt; none before one that the policy did not ask for.
    fn pause(&mut self) -> Option<Duration> {
        let retry = self.retry?;
        let asked = self.asked_wait.take();
        (self.retries > 0).then(|| asked.unwrap_or_else(|| retry.wait(self.retries - 1)))
    }

    /// Waits, unless that is in vain.
    async fn sleep(&mut self, downstream: &mut Downstream, wait: Duration) -> Option<Outcome> {
        let mut sleep = std::pin::pin!(tokio::time::sleep(wait));
        let deadlines = &mut self.deadlines;
        std::future::poll_fn(|cx| {
            use std::task::Poll;
            if std::future::Future::poll(sleep.as_mut(), cx).is_ready() {
                return Poll::Ready(None);
            }
            if downstream.is_request_done() && downstream.poll_closed(cx).is_ready() {
                return Poll::Ready(Some(Outcome::ClientGone));
            }
            let expired = deadlines.poll(cx);
            expired.map(|expired| Some(Outcome::Reply(failure::late_reply(expired, downstream))))
        })
        .await
    }

    /// The last failure, with what the retries add to it.
    fn explain(&self, reply: LocalReply) -> LocalReply {
        if self.retries == 0 {
            return reply;
        }
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let text = text.replacen("reset reason:", "retried and the latest reset reason:", 1);
        LocalReply {
            body: text.into(),
            ..reply
        }
    }

    /// Passes a response on; `None` when the request is to be tried again instead.
    async fn response(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        upstream: Upstream,
        host: &Rc<Host>,
    ) -> Option<Outcome> {
        let status = exchange.response.status;
        self.report_status(exchange, host);
        self.stats.response(status);
        self.stats.upstream_rq_completed.inc();
        let counter = if status >= 500 {
            &host.stats.rq_error
        } else {
            &host.stats.rq_success
        };
        counter.set(counter.get().wrapping_add(1));
        let retry = self.retry;
        match retry.filter(|retry| retry.covers_response(&exchange.response)) {
            Some(retry) if self.may_retry(exchange) => {
                self.asked_wait = retry.asked_wait(&exchange.response);
                attempt::abandon(upstream);
                exchange.response.reset();
                return None;
            }
            Some(_) => {}
            None if self.retries > 0 => self.stats.upstream_rq_retry_success.inc(),
            None => {}
        }
        self.retry_permit = None;
        if self.forward.mirrors.is_empty() {
            self.body.forget();
        }
        Some(self.pass_on(exchange, downstream, upstream, host).await)
    }

    /// A gRPC call that failed counts as the status that its own stands for.
    fn report_status(&self, exchange: &Exchange, host: &Host) {
        let response = &exchange.response;
        let grpc = exchange
            .is_grpc
            .then(|| response.headers.get_str(Known::GrpcStatus));
        let grpc = grpc.flatten().and_then(|text| text.parse().ok());
        let status = grpc.map_or(response.status, grpc::status_to_http);
        self.cluster.report(host, HostResult::Status(status));
    }

    async fn pass_on(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        mut upstream: Upstream,
        host: &Rc<Host>,
    ) -> Outcome {
        let accepted = exchange.request.becomes_tunnel(exchange.response.status);
        if accepted {
            exchange.response.body = BodyLength::Unknown;
            exchange.response.headers.remove(Known::ContentLength);
        }
        self.finish_response_head(exchange, downstream);
        if downstream.send_head(&exchange.response).is_err() {
            return Outcome::ClientGone;
        }
        if accepted {
            self.body.become_tunnel();
        }
        let passed = body::pass(
            exchange,
            downstream,
            &mut upstream,
            &mut self.body,
            &mut self.deadlines,
        )
        .await;
        attempt::note_traffic(exchange, &upstream);
        exchange.info.timing.upstream_last_received = Some(exchange.info.elapsed());
        attempt::give_back(upstream, host, &self.cluster);
        match passed {
            body::Passed::Complete => {
                match std::future::poll_fn(|cx| downstream.poll_flush(cx)).await {
                    Ok(()) => Outcome::Sent,
                    Err(_) => Outcome::ClientGone,
                }
            }
            body::Passed::ClientGone => Outcome::ClientGone,
            body::Passed::UpstreamFailed(flag, details) => {
                self.cluster.report(host, HostResult::ConnectFailed);
                exchange.info.set_flag(flag);
                exchange.info.details = Some(details);
                self.stats.upstream_rq_rx_reset.inc();
                Outcome::Broken
            }
            body::Passed::TimedOut(flag, details) => {
                exchange.info.set_flag(flag);
                exchange.info.details = Some(details.into());
                self.stats.upstream_rq_timeout.inc();
                Outcome::Broken
            }
        }
    }

    fn finish_response_head(&self, exchange: &mut Exchange, downstream: &mut Downstream) {
        let info = &mut exchange.info;
        let arrived = info.elapsed();
        info.timing.upstream_first_received = Some(arrived);
        info.details.get_or_insert("via_upstream".into());
        // After an early answer it would tell nothing about the service.
        if !self.config.suppress_envoy_headers && self.body.is_complete(downstream) {
            let sent = info.timing.upstream_last_sent.unwrap_or_default();
            let millis = arrived.saturating_sub(sent).as_millis();
            let mut text = SmallVec::<[u8; 20]>::new();
            write_millis(u64::try_from(millis).unwrap_or(u64::MAX), &mut text);
            let headers = &mut exchange.response.headers;
            headers.set(Known::EnvoyUpstreamServiceTime, &text);
        }
        for cookie in std::mem::take(&mut exchange.set_cookies) {
            exchange
                .response
                .headers
                .append(Known::SetCookie, cookie.as_bytes());
        }
        // What the route adds may name it.
        exchange.info.response_code = exchange.response.status;
        exchange.mutate_response(self.chosen);
        exchange.set_response_decorator(&self.chosen.found);
        exchange.finish_head(downstream);
        exchange.info.timing.downstream_first_sent = Some(exchange.info.elapsed());
    }
}

/// What a failure says about the host.
fn result_of(failure: Failure) -> HostResult {
    match failure {
        Failure::PerTryTimeout => HostResult::Timeout,
        Failure::Connect | Failure::Reset { .. } | Failure::RefusedStream => {
            HostResult::ConnectFailed
        }
    }
}

fn write_millis(number: u64, out: &mut SmallVec<[u8; 20]>) {
    let start = out.len();
    let mut rest = number;
    loop {
        out.push(b'0' + u8::try_from(rest % 10).unwrap_or(0));
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// Timeouts of a request; `None`: no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestTimeouts {
    /// From the end of the request to the end of the response.
    pub(super) whole: Option<Duration>,
    pub(super) per_try: Option<Duration>,
    pub(super) per_try_idle: Option<Duration>,
    /// Of the client's stream.
    pub(super) stream: Option<Duration>,
    /// Of the stream of each attempt.
    pub(super) upstream_stream: Option<Duration>,
    /// `grpc-timeout` tells servers of gRPC what time they have.
    pub(super) tells_grpc: bool,
}
