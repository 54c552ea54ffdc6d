//! When a request has taken too long, in whichever way.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::RequestTimeouts;
use super::request::stream_limit;
use crate::http::connection_manager::exchange::Exchange;
use crate::route::Forward;

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// The route's timeout.
    Whole,
    PerTry,
    /// Nothing of the response moved for too long.
    PerTryIdle,
    /// The stream to the server is open for too long.
    UpstreamStream,
    /// Nothing moved for too long.
    Idle,
    /// The stream is open for too long.
    Stream,
    /// The request did not arrive in time.
    Request,
}

/// The limits of one request. Without limits nothing is ever scheduled.
#[derive(Debug, Default)]
pub struct Deadlines {
    whole_limit: Option<Duration>,
    per_try_limit: Option<Duration>,
    per_try_idle_limit: Option<Duration>,
    upstream_stream_limit: Option<Duration>,
    idle_limit: Option<Duration>,
    whole: Option<Instant>,
    per_try: Option<Instant>,
    per_try_idle: Option<Instant>,
    upstream_stream: Option<Instant>,
    stream: Option<Instant>,
    request: Option<Instant>,
    progress: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadlines {
    /// Those that count while a request arrives that goes nowhere yet.
    pub(in crate::http::filter) fn of_arrival(
        exchange: &Exchange,
        forward: Option<&Forward>,
    ) -> Self {
        let timeouts = RequestTimeouts {
            stream: stream_limit(exchange, forward),
            ..RequestTimeouts::default()
        };
        Self::new(exchange, forward, &timeouts)
    }

    pub(super) fn new(
        exchange: &Exchange,
        forward: Option<&Forward>,
        timeouts: &RequestTimeouts,
    ) -> Self {
        let general = &exchange.context.hcm.timeouts;
        let idle = forward.and_then(|forward| forward.idle_timeout);
        let idle = idle.unwrap_or(general.stream_idle);
        let any = [
            idle,
            general.request,
            timeouts.whole,
            timeouts.per_try,
            timeouts.per_try_idle,
            timeouts.stream,
            timeouts.upstream_stream,
        ];
        if any.iter().all(Option::is_none) {
            return Self::default();
        }
        let now = Instant::now();
        let used = exchange.info.elapsed();
        Self {
            whole_limit: timeouts.whole,
            per_try_limit: timeouts.per_try,
            per_try_idle_limit: timeouts.per_try_idle,
            upstream_stream_limit: timeouts.upstream_stream,
            idle_limit: idle,
            stream: timeouts
                .stream
                .map(|limit| now + limit.saturating_sub(used)),
            request: general
                .request
                .map(|limit| now + limit.saturating_sub(used)),
            progress: Some(now),
            ..Self::default()
        }
    }

    /// An attempt is over, and its own limits with it. Those of the next one count once it has a connection.
    pub fn end_attempt(&mut self) {
        self.per_try = None;
        self.per_try_idle = None;
        self.upstream_stream = None;
    }

    /// The request goes out on a connection.
    pub fn begin_stream(&mut self) {
        self.upstream_stream = self.upstream_stream_limit.map(from_now);
    }

    /// The whole request has arrived: the time for the response runs.
    pub fn request_received(&mut self) {
        self.request = None;
        if self.whole.is_none() {
            self.whole = self.whole_limit.map(from_now);
        }
    }

    /// The whole request has arrived and was sent: the time of this attempt runs.
    pub fn request_sent(&mut self) {
        self.request_received();
        if self.per_try.is_none() {
            self.per_try = self.per_try_limit.map(from_now);
        }
        if self.per_try_idle.is_none() {
            self.per_try_idle = self.per_try_idle_limit.map(from_now);
        }
    }

    /// What is left of the time for the response, once it runs.
    pub fn left(&self) -> Option<Duration> {
        let end = self.whole?;
        Some(end.saturating_duration_since(Instant::now()))
    }

    /// The response's head has arrived: attempts no longer count.
    pub fn head_received(&mut self) {
        self.per_try = None;
        self.per_try_limit = None;
        if self.per_try_idle.is_some() {
            self.per_try_idle = self.per_try_idle_limit.map(from_now);
        }
    }

    /// Something moved.
    pub fn touch(&mut self) {
        if self.idle_limit.is_some() {
            self.progress = Some(Instant::now());
        }
        if self.per_try_idle.is_some() {
            self.per_try_idle = self.per_try_idle_limit.map(from_now);
        }
    }

    /// A tunnel has no end that could be late; only its silence counts.
    pub fn become_tunnel(&mut self) {
        self.whole = None;
        self.whole_limit = None;
        self.request = None;
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        loop {
            let idle = self
                .idle_limit
                .zip(self.progress)
                .map(|(limit, progress)| progress + limit);
            let limits = [
                (self.whole, Expired::Whole),
                (self.per_try, Expired::PerTry),
                (self.per_try_idle, Expired::PerTryIdle),
                (self.upstream_stream, Expired::UpstreamStream),
                (idle, Expired::Idle),
                (self.stream, Expired::Stream),
                (self.request, Expired::Request),
            ];
            let next = limits
                .into_iter()
                .filter_map(|(at, expired)| Some((at?, expired)))
                .min_by_key(|(at, _)| *at);
            let Some((at, expired)) = next else {
                return Poll::Pending;
            };
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            // A timer that fires too early is moved then; one that would fire too late is moved now.
            if sleep.deadline() > at {
                sleep.as_mut().reset(at);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= at {
                return Poll::Ready(expired);
            }
            sleep.as_mut().reset(at);
        }
    }
}

fn from_now(limit: Duration) -> Instant {
    Instant::now() + limit
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn the_first_limit_counts_and_progress_moves_it() {
        let start = Instant::now();
        let mut deadlines = Deadlines {
            idle_limit: Some(Duration::from_secs(10)),
            progress: Some(start),
            stream: Some(start + Duration::from_secs(25)),
            ..Deadlines::default()
        };
        tokio::time::sleep(Duration::from_secs(8)).await;
        let pending = poll_fn(|cx| Poll::Ready(deadlines.poll(cx).is_pending())).await;
        assert!(pending);
        deadlines.touch();
        assert_eq!(poll_fn(|cx| deadlines.poll(cx)).await, Expired::Idle);
        assert_eq!(start.elapsed().as_secs(), 18);
        deadlines.touch();
        assert_eq!(poll_fn(|cx| deadlines.poll(cx)).await, Expired::Stream);
        assert_eq!(start.elapsed().as_secs(), 25);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_have_their_own_time() {
        let start = Instant::now();
        let mut deadlines = Deadlines {
            whole_limit: Some(Duration::from_secs(5)),
            per_try_limit: Some(Duration::from_secs(2)),
            ..Deadlines::default()
        };
        for _ in 0..2 {
            deadlines.request_sent();
            assert_eq!(poll_fn(|cx| deadlines.poll(cx)).await, Expired::PerTry);
            deadlines.end_attempt();
        }
        assert_eq!(deadlines.left(), Some(Duration::from_secs(1)));
        // While it connects only the time for the response runs.
        assert_eq!(poll_fn(|cx| deadlines.poll(cx)).await, Expired::Whole);
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_is_idle_from_when_its_request_was_sent() {
        let start = Instant::now();
        let mut deadlines = Deadlines {
            per_try_idle_limit: Some(Duration::from_secs(2)),
            upstream_stream_limit: Some(Duration::from_secs(9)),
            ..Deadlines::default()
        };
        deadlines.begin_stream();
        tokio::time::sleep(Duration::from_secs(3)).await;
        deadlines.touch();
        deadlines.request_sent();
        assert_eq!(poll_fn(|cx| deadlines.poll(cx)).await, Expired::PerTryIdle);
        assert_eq!(start.elapsed().as_secs(), 5);
        deadlines.head_received();
        assert_eq!(poll_fn(|cx| deadlines.poll(cx)).await, Expired::PerTryIdle);
        assert_eq!(start.elapsed().as_secs(), 7);
        deadlines.touch();
        tokio::time::sleep(Duration::from_secs(1)).await;
        deadlines.touch();
        assert_eq!(
            poll_fn(|cx| deadlines.poll(cx)).await,
            Expired::UpstreamStream
        );
        assert_eq!(start.elapsed().as_secs(), 9);
    }
}
