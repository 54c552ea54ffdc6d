//! Waiting for work that is under way before a program ends.

use std::time::Duration;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Counts work that is under way; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    tracker: TaskTracker,
}

/// Work that is under way until this is dropped.
#[derive(Debug)]
pub struct Guard {
    _token: TaskTrackerToken,
}

impl Drain {
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that work begins; it ends when the guard is dropped.
    pub fn guard(&self) -> Guard {
        Guard {
            _token: self.tracker.token(),
        }
    }

    /// Work that is under way now.
    pub fn active(&self) -> usize {
        self.tracker.len()
    }

    /// Waits until no work is under way, at most `limit`; returns whether it came to that.
    ///
    /// New work may still begin while this waits; it is waited for as well. Cancel safe.
    pub async fn wait_idle(&self, limit: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait())
            .await
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_last_guard() {
        let drain = Drain::new();
        let guard = drain.guard();
        assert_eq!(drain.active(), 1);
        assert!(!drain.wait_idle(Duration::from_secs(1)).await);
        let waiting = drain.clone();
        let waited = tokio::spawn(async move { waiting.wait_idle(Duration::from_secs(60)).await });
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(guard);
        assert!(waited.await.expect("no panic"));
        assert_eq!(drain.active(), 0);
    }
}
