//! How long to wait before a request is tried again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ironsail_xds::route::retry_policy as proto;
use ironsail_xds::to_std;

use crate::http::message::ResponseHead;
use crate::resource::CompileError;

const DEFAULT_BASE: Duration = Duration::from_millis(25);
const DEFAULT_LONGEST: Duration = Duration::from_secs(300);

/// Compiled `RetryBackOff`: random waits below a bound that grows.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackOff {
    base: Duration,
    max: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self {
            base: DEFAULT_BASE,
            max: DEFAULT_BASE * 10,
        }
    }
}

impl BackOff {
    pub(super) fn compile(config: Option<&proto::RetryBackOff>) -> Result<Self, CompileError> {
        let base = config.and_then(|config| config.base_interval.as_ref());
        let base = base.map_or(DEFAULT_BASE, to_std);
        let max = config.and_then(|config| config.max_interval.as_ref());
        let max = max.map_or(base * 10, to_std);
        if base.is_zero() || max < base {
            return Err(CompileError::new(
                "max_interval is below base_interval, or that is zero",
            ));
        }
        Ok(Self { base, max })
    }

    /// The wait before the attempt after `retries` retries: random, below a bound that doubles.
    pub(super) fn wait(self, retries: u32) -> Duration {
        let factor = 1u32
            .checked_shl(retries.saturating_add(1))
            .map_or(u32::MAX, |f| f - 1);
        let bound = self.base.saturating_mul(factor.max(1)).min(self.max);
        random_below(bound)
    }
}

fn random_below(bound: Duration) -> Duration {
    let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(fastrand::u64(..micros))
}

/// Compiled `RateLimitedRetryBackOff`: servers say when to come back.
#[derive(Clone, Debug)]
pub(super) struct AskedBackOff {
    headers: Vec<(Box<[u8]>, proto::ResetHeaderFormat)>,
    /// What asks for more is not heeded; default 300 s.
    longest: Duration,
}

impl AskedBackOff {
    pub(super) fn compile(config: &proto::RateLimitedRetryBackOff) -> Result<Self, CompileError> {
        let longest = config.max_interval.as_ref().map(to_std);
        if longest.is_some_and(|longest| longest.is_zero()) {
            return Err(CompileError::new("is not above 0").at("max_interval"));
        }
        if config.reset_headers.is_empty() {
            return Err(CompileError::new("is empty").at("reset_headers"));
        }
        let headers = config.reset_headers.iter();
        Ok(Self {
            headers: headers
                .map(|header| (header.name.as_bytes().into(), header.format()))
                .collect(),
            longest: longest.unwrap_or(DEFAULT_LONGEST),
        })
    }

    /// The wait that a response asks for, prolonged by up to half at random: those that were sent away together do not
    /// come back together.
    pub(super) fn wait(&self, head: &ResponseHead, now: SystemTime) -> Option<Duration> {
        let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let asked = self.headers.iter().find_map(|(name, format)| {
            let value = head.headers.get_named(name)?;
            let number: u64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
            let seconds = match format {
                proto::ResetHeaderFormat::Seconds => number,
                proto::ResetHeaderFormat::UnixTimestamp => number.checked_sub(now)?,
            };
            Some(Duration::from_secs(seconds)).filter(|asked| *asked <= self.longest)
        })?;
        (!asked.is_zero()).then(|| asked + random_below(asked / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(value: &str) -> ResponseHead {
        let mut head = ResponseHead::new(503);
        head.headers.append_named(b"retry-after", b"next week");
        head.headers.append_named(b"x-reset", value.as_bytes());
        head
    }

    fn asked(format: proto::ResetHeaderFormat) -> AskedBackOff {
        let header = |name: &str| proto::ResetHeader {
            name: name.to_owned(),
            format: format.into(),
        };
        AskedBackOff::compile(&proto::RateLimitedRetryBackOff {
            reset_headers: vec![header("retry-after"), header("x-reset")],
            max_interval: Some(ironsail_xds::protobuf::Duration {
                seconds: 10,
                nanos: 0,
            }),
        })
        .expect("valid")
    }

    #[test]
    fn the_first_header_that_makes_sense_counts() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let seconds = asked(proto::ResetHeaderFormat::Seconds);
        let wait = seconds.wait(&head("4"), now).expect("a wait");
        assert!((4..6).contains(&wait.as_secs()), "{wait:?}");
        for ignored in ["0", "11", "-1", "soon"] {
            assert_eq!(seconds.wait(&head(ignored), now), None, "{ignored}");
        }
        let timestamp = asked(proto::ResetHeaderFormat::UnixTimestamp);
        let wait = timestamp.wait(&head("1008"), now).expect("a wait");
        assert!((8..12).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(timestamp.wait(&head("999"), now), None, "the past");
    }

    #[test]
    fn waits_grow_to_the_maximum() {
        let back_off = BackOff::compile(None).expect("valid");
        for retries in 0..40 {
            assert!(back_off.wait(retries) < Duration::from_millis(250));
        }
        assert!(back_off.wait(0) < Duration::from_millis(25));
    }
}
