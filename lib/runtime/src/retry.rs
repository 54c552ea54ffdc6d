//! Waiting longer after each failure.

use std::fmt;
use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use tracing::warn;

/// How delays grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackoffConfig {
    /// First delay; default 1 s.
    pub initial: Duration,
    /// Longest delay; default 5 min.
    pub max: Duration,
    /// Factor from one delay to the next; default 2.
    pub multiplier: f64,
    /// Part of a delay by which it is varied in both directions; default 0.2.
    pub jitter: f64,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(300),
            multiplier: 2.0,
            jitter: 0.2,
        }
    }
}

/// Delays that double with each failure until [`reset`](Backoff::reset); they never end.
pub struct Backoff {
    inner: ExponentialBackoff,
}

impl Backoff {
    pub fn new(config: BackoffConfig) -> Self {
        Self {
            inner: ExponentialBackoff {
                current_interval: config.initial,
                initial_interval: config.initial,
                randomization_factor: config.jitter,
                multiplier: config.multiplier,
                max_interval: config.max,
                max_elapsed_time: None,
                ..ExponentialBackoff::default()
            },
        }
    }

    /// How long to wait before the next attempt; at most the configured maximum.
    pub fn next_delay(&mut self) -> Duration {
        let max = self.inner.max_interval;
        self.inner
            .next_backoff()
            .map_or(max, |delay| delay.min(max))
    }

    /// The next delay is the first again.
    pub fn reset(&mut self) {
        self.inner.reset();
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(BackoffConfig::default())
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff")
            .field("current", &self.inner.current_interval)
            .finish_non_exhaustive()
    }
}

/// Calls `attempt` until it succeeds; each failure is logged with `what` and waited out.
///
/// Cancel safe if the attempt is.
pub async fn forever<T, E, F, Fut>(config: BackoffConfig, what: &'static str, mut attempt: F) -> T
where
    E: fmt::Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut backoff = Backoff::new(config);
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => {
                let delay = backoff.next_delay();
                warn!(what, %error, ?delay, "Attempt failed, trying again later");
                tokio::time::sleep(delay).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn delays_double_up_to_the_maximum() {
        let mut backoff = Backoff::new(BackoffConfig {
            jitter: 0.0,
            max: Duration::from_secs(5),
            ..BackoffConfig::default()
        });
        let seconds: Vec<u64> = (0..5).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.next_delay().as_secs(), 1);
    }

    #[test]
    fn jitter_stays_in_its_range() {
        let mut backoff = Backoff::default();
        for _ in 0..50 {
            let delay = backoff.next_delay();
            assert!(delay >= Duration::from_millis(800), "{delay:?}");
            assert!(delay <= Duration::from_secs(300), "{delay:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tries_until_it_succeeds() {
        let attempts = Cell::new(0);
        let value = forever(BackoffConfig::default(), "test", || {
            attempts.set(attempts.get() + 1);
            let attempt = attempts.get();
            async move {
                if attempt < 4 {
                    Err("not yet")
                } else {
                    Ok(attempt)
                }
            }
        })
        .await;
        assert_eq!(value, 4);
    }
}
