//! Retries in proportion to the requests of a cluster, in place of a fixed number.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/circuit_breaker.proto#config-cluster-v3-circuitbreakers-thresholds-retrybudget>.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ironsail_xds::cluster::circuit_breakers::thresholds::RetryBudget as Proto;
use tokio::time::Instant;

use crate::resource::parse::{duration_or, u32_or};

const DEFAULT_PERCENT: f64 = 20.0;
const DEFAULT_MIN: u32 = 3;

/// How many retries may be under way at a time.
#[derive(Debug)]
pub(super) struct RetryBudget {
    /// From 0 to 100.
    percent: f64,
    /// Retries that are always allowed.
    min: u32,
    /// Set where the requests of an interval count, not those that are under way.
    recent: Option<Mutex<Recent>>,
}

impl RetryBudget {
    pub(super) fn compile(config: &Proto) -> Self {
        let percent = config.budget_percent.map_or(DEFAULT_PERCENT, |p| p.value);
        let interval = duration_or(config.budget_interval.as_ref(), Duration::ZERO);
        let recent = (!interval.is_zero()).then(|| Mutex::new(Recent::new(interval)));
        Self {
            percent: match percent.is_finite() {
                true => percent.clamp(0.0, 100.0),
                false => 0.0,
            },
            min: u32_or(config.min_retry_concurrency.as_ref(), DEFAULT_MIN),
            recent,
        }
    }

    pub(super) fn note_request(&self) {
        if let Some(recent) = &self.recent {
            lock(recent).note(Instant::now());
        }
    }

    /// With `active` requests under way; at least the minimum.
    pub(super) fn allows(&self, active: u32) -> u32 {
        let requests = match &self.recent {
            Some(recent) => lock(recent).count(Instant::now()),
            None => active,
        };
        let share = (f64::from(requests) * self.percent / 100.0).floor() as u32;
        share.max(self.min)
    }
}

fn lock(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    // Counts are complete after each step.
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Parts of an interval that are forgotten at once. Requests count up to this share of the interval too long.
const PARTS: usize = 16;

/// Requests of the last interval.
#[derive(Debug)]
struct Recent {
    part: Duration,
    /// The newest comes first.
    counts: [u32; PARTS],
    /// Of the newest count.
    begin: Instant,
}

impl Recent {
    fn new(interval: Duration) -> Self {
        let parts = u32::try_from(PARTS).unwrap_or(u32::MAX);
        Self {
            part: (interval / parts).max(Duration::from_nanos(1)),
            counts: [0; PARTS],
            begin: Instant::now(),
        }
    }

    fn note(&mut self, now: Instant) {
        self.forget(now);
        if let Some(newest) = self.counts.first_mut() {
            *newest = newest.saturating_add(1);
        }
    }

    fn count(&mut self, now: Instant) -> u32 {
        self.forget(now);
        let counts = self.counts.iter();
        counts.fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn forget(&mut self, now: Instant) {
        let passed = now.duration_since(self.begin).as_nanos() / self.part.as_nanos();
        let passed = usize::try_from(passed).unwrap_or(PARTS);
        if passed >= PARTS {
            self.counts = [0; PARTS];
            self.begin = now;
            return;
        }
        for _ in 0..passed {
            self.counts.rotate_right(1);
            self.begin += self.part;
            if let Some(newest) = self.counts.first_mut() {
                *newest = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ironsail_xds::duration;
    use ironsail_xds::kind::Percent;
    use ironsail_xds::protobuf::UInt32Value;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_count_for_an_interval() {
        let budget = RetryBudget::compile(&Proto {
            budget_percent: Some(Percent { value: 50.0 }),
            min_retry_concurrency: Some(UInt32Value { value: 0 }),
            budget_interval: Some(duration(Duration::from_secs(16))),
        });
        (0..6).for_each(|_| budget.note_request());
        assert_eq!(budget.allows(100), 3, "what is under way says nothing");
        tokio::time::advance(Duration::from_secs(10)).await;
        (0..4).for_each(|_| budget.note_request());
        assert_eq!(budget.allows(0), 5);
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(budget.allows(0), 2, "the first ones are too old");
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(budget.allows(0), 0);
    }
}
