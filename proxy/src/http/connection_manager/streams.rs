//! The streams of one HTTP/2 connection, counted.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A stream that its client reset this early, without an answer, was not worth opening.
const EARLY: Duration = Duration::from_secs(1);
/// Streams from which on more early resets than answers end the connection; both numbers are Envoy's,
/// `overload.premature_reset_total_stream_count` and `overload.premature_reset_min_stream_lifetime_seconds`.
const JUDGED_FROM: u32 = 500;

/// Streams that are being served, and how others ended.
#[derive(Debug, Default)]
pub(super) struct Streams {
    active: Cell<usize>,
    ended: Cell<u32>,
    reset_early: Cell<u32>,
    changed: Notify,
}

impl Streams {
    pub(super) fn are_active(&self) -> bool {
        self.active.get() > 0
    }

    /// Completes when a stream has ended.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether the client opens streams mostly to reset them.
    pub(super) fn are_wasted(&self) -> bool {
        self.ended.get() >= JUDGED_FROM && self.reset_early.get() > self.ended.get() / 2
    }
}

/// One stream, until dropped.
#[derive(Debug)]
pub(super) struct StreamGuard {
    streams: Rc<Streams>,
    start: Instant,
}

impl StreamGuard {
    pub(super) fn new(streams: &Rc<Streams>) -> Self {
        streams.active.set(streams.active.get() + 1);
        Self {
            streams: Rc::clone(streams),
            start: Instant::now(),
        }
    }

    /// The stream was served; `stayed`: its client waited for the answer.
    pub(super) fn end(self, stayed: bool) {
        if !stayed && self.start.elapsed() < EARLY {
            let count = &self.streams.reset_early;
            count.set(count.get().saturating_add(1));
        }
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let Streams { active, ended, .. } = &*self.streams;
        active.set(active.get().saturating_sub(1));
        ended.set(ended.get().saturating_add(1));
        self.streams.changed.notify_one();
    }
}
