//! Limits of a cluster, for all workers together.
//!
//! They are counted in atomics, and only where a limit is set: Istio sets none unless a DestinationRule does. As in
//! Envoy the limits of one cluster and priority hold for the process, and reaching them is approximate.
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/circuit_breaking>.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use ironsail_xds::cluster::circuit_breakers as proto;
use ironsail_xds::cluster::{CircuitBreakers as BreakersProto, Cluster};
use ironsail_xds::core::RoutingPriority as PriorityProto;

use super::RoutingPriority;
use super::retry_budget::RetryBudget;
use crate::resource::parse::u32_or;

/// What Envoy allows when no limit is configured.
const DEFAULT_MAX: u32 = 1024;
const DEFAULT_MAX_RETRIES: u32 = 3;

/// Limits by routing priority.
#[derive(Debug)]
pub struct CircuitBreakers {
    default: Limits,
    high: Limits,
}

/// Limits of one routing priority, in as little memory as they need: most clusters of a mesh have none for the default
/// priority and never use the other one.
#[derive(Debug)]
enum Limits {
    /// Nothing is limited, and so nothing is counted.
    Unlimited,
    /// The configuration does not speak of them; made on first use.
    Unset(OnceLock<Box<Thresholds>>),
    Set(Box<Thresholds>),
}

/// What all clusters without limits have.
static UNLIMITED: LazyLock<Thresholds> = LazyLock::new(Thresholds::default);

/// Limits of one routing priority.
#[derive(Debug, Default)]
pub struct Thresholds {
    pub connections: Breaker,
    pub pending_requests: Breaker,
    pub requests: Breaker,
    retries: Breaker,
    budget: Option<RetryBudget>,
}

/// A limit, counted if it is one.
#[derive(Debug)]
pub struct Breaker {
    max: u32,
    used: Option<Arc<AtomicU32>>,
}

/// One unit of a [`Breaker`], given back on drop.
#[derive(Debug, Default)]
pub struct Permit(Option<Arc<AtomicU32>>);

/// A limit of a circuit breaker is reached: response flag `UO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker limit reached")]
pub struct Overflow;

impl CircuitBreakers {
    pub(super) fn compile(cluster: &Cluster) -> Self {
        let config = cluster.circuit_breakers.as_ref();
        Self {
            default: Limits::compile(config, PriorityProto::Default),
            high: Limits::compile(config, PriorityProto::High),
        }
    }

    pub fn of(&self, priority: RoutingPriority) -> &Thresholds {
        match priority {
            RoutingPriority::Default => self.default.get(),
            RoutingPriority::High => self.high.get(),
        }
    }

    /// Whether each limit is reached: priority, name of the gauge. Limits that nobody set are left out.
    pub fn open(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        [("default", &self.default), ("high", &self.high)]
            .into_iter()
            .filter_map(|(priority, limits)| match limits {
                Limits::Set(thresholds) => Some((priority, thresholds)),
                Limits::Unlimited | Limits::Unset(_) => None,
            })
            .flat_map(|(priority, thresholds)| {
                let open = thresholds.open();
                open.map(move |(name, open)| (priority, name, open))
            })
    }
}

impl Limits {
    fn compile(config: Option<&BreakersProto>, priority: PriorityProto) -> Self {
        let mut all = config.iter().flat_map(|config| &config.thresholds);
        let found = all.find(|thresholds| thresholds.priority == priority as i32);
        let Some(found) = found else {
            return Self::default();
        };
        let thresholds = Thresholds::compile(found);
        match thresholds.is_limited() {
            true => Self::Set(Box::new(thresholds)),
            false => Self::Unlimited,
        }
    }

    fn get(&self) -> &Thresholds {
        match self {
            Self::Unlimited => &UNLIMITED,
            Self::Unset(made) => {
                made.get_or_init(|| Box::new(Thresholds::compile(&proto::Thresholds::default())))
            }
            Self::Set(thresholds) => thresholds,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::Unset(OnceLock::new())
    }
}

impl Thresholds {
    fn compile(found: &proto::Thresholds) -> Self {
        let budget = found.retry_budget.as_ref().map(RetryBudget::compile);
        let breaker = |max: Option<_>, default, counted| {
            let max = u32_or(max, default);
            Breaker::new(max, counted || max != u32::MAX)
        };
        // A budget is a share of what is counted here.
        let counted = budget.is_some();
        Self {
            connections: breaker(found.max_connections.as_ref(), DEFAULT_MAX, false),
            pending_requests: breaker(found.max_pending_requests.as_ref(), DEFAULT_MAX, counted),
            requests: breaker(found.max_requests.as_ref(), DEFAULT_MAX, counted),
            retries: breaker(found.max_retries.as_ref(), DEFAULT_MAX_RETRIES, counted),
            budget,
        }
    }

    fn is_limited(&self) -> bool {
        let breakers = [
            &self.connections,
            &self.pending_requests,
            &self.requests,
            &self.retries,
        ];
        breakers.into_iter().any(|breaker| breaker.used.is_some())
    }

    /// Whether each limit is reached, by the name of its gauge in Envoy; only of limits that are set.
    fn open(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let limits = [
            ("cx_open", &self.connections, self.connections.max),
            (
                "rq_pending_open",
                &self.pending_requests,
                self.pending_requests.max,
            ),
            ("rq_open", &self.requests, self.requests.max),
            ("rq_retry_open", &self.retries, self.max_retries()),
        ];
        limits
            .into_iter()
            .filter(|(_, _, max)| *max != u32::MAX)
            .map(|(name, breaker, max)| (name, breaker.used() >= max))
    }

    /// A request to a host.
    ///
    /// # Errors
    /// As many requests as allowed are under way.
    pub fn acquire_request(&self) -> Result<Permit, Overflow> {
        let permit = self.requests.acquire()?;
        if let Some(budget) = &self.budget {
            budget.note_request();
        }
        Ok(permit)
    }

    /// # Errors
    /// As many retries as allowed are under way.
    pub fn acquire_retry(&self) -> Result<Permit, Overflow> {
        self.retries.acquire_below(self.max_retries())
    }

    /// Retries that may be under way at a time, as things are now.
    pub fn max_retries(&self) -> u32 {
        let Some(budget) = &self.budget else {
            return self.retries.max;
        };
        let active = self
            .requests
            .used()
            .saturating_add(self.pending_requests.used());
        budget.allows(active)
    }
}

impl Breaker {
    fn new(max: u32, counted: bool) -> Self {
        Self {
            max,
            used: counted.then(Arc::default),
        }
    }

    /// # Errors
    /// All units are in use.
    pub fn acquire(&self) -> Result<Permit, Overflow> {
        self.acquire_below(self.max)
    }

    /// A unit even if there is none left.
    pub fn exceed(&self) -> Permit {
        self.acquire_below(u32::MAX).unwrap_or_default()
    }

    fn acquire_below(&self, max: u32) -> Result<Permit, Overflow> {
        let Some(used) = &self.used else {
            return Ok(Permit(None));
        };
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            (used < max).then_some(used.saturating_add(1))
        })
        .map_err(|_| Overflow)?;
        Ok(Permit(Some(Arc::clone(used))))
    }

    /// `u32::MAX` without a limit.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// Units in use, as far as they are counted.
    fn used(&self) -> u32 {
        let used = self.used.as_ref();
        used.map_or(0, |used| used.load(Ordering::Relaxed))
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new(u32::MAX, false)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(used) = &self.0 {
            used.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use ironsail_xds::protobuf::UInt32Value;

    use super::*;

    fn number(value: u32) -> Option<UInt32Value> {
        Some(UInt32Value { value })
    }

    fn compile(thresholds: proto::Thresholds) -> CircuitBreakers {
        CircuitBreakers::compile(&Cluster {
            circuit_breakers: Some(BreakersProto {
                thresholds: vec![thresholds],
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    #[test]
    fn permits_are_given_back() {
        let breakers = compile(proto::Thresholds {
            max_requests: number(1),
            max_connections: number(u32::MAX),
            ..Default::default()
        });
        let default = breakers.of(RoutingPriority::Default);
        let permit = default.requests.acquire().expect("one is free");
        assert!(default.requests.acquire().is_err());
        drop(permit);
        assert!(default.requests.acquire().is_ok());
        assert!(
            default.connections.used.is_none(),
            "counted without a limit"
        );
        let high = breakers.of(RoutingPriority::High);
        assert_eq!(high.requests.max(), 1024, "priorities are apart");
    }

    #[test]
    fn what_exceeds_a_limit_counts() {
        let breaker = Breaker::new(1, true);
        let first = breaker.exceed();
        let second = breaker.exceed();
        drop(first);
        assert!(breaker.acquire().is_err());
        drop(second);
        assert!(breaker.acquire().is_ok());
    }

    #[test]
    fn limits_that_are_set_show_whether_they_are_reached() {
        let breakers = compile(proto::Thresholds {
            max_requests: number(1),
            max_connections: number(0),
            max_pending_requests: number(u32::MAX),
            max_retries: number(u32::MAX),
            ..Default::default()
        });
        let open = || breakers.open().collect::<Vec<_>>();
        let expected = |requests| {
            [
                ("default", "cx_open", true),
                ("default", "rq_open", requests),
            ]
        };
        assert_eq!(open(), expected(false));
        let permit = breakers.of(RoutingPriority::Default).requests.acquire();
        assert_eq!(open(), expected(true));
        drop(permit);
        assert_eq!(open(), expected(false));
    }

    #[test]
    fn a_budget_grows_with_the_requests() {
        let breakers = compile(proto::Thresholds {
            max_requests: number(u32::MAX),
            retry_budget: Some(proto::thresholds::RetryBudget::default()),
            ..Default::default()
        });
        let thresholds = breakers.of(RoutingPriority::Default);
        assert_eq!(thresholds.max_retries(), 3, "the minimum");
        let _requests: Vec<_> = (0..24).map(|_| thresholds.requests.acquire()).collect();
        let retries: Vec<_> = (0..5).map(|_| thresholds.acquire_retry()).collect();
        // A fifth of 24 is 4.
        assert_eq!(retries.iter().filter(|retry| retry.is_ok()).count(), 4);
    }
}
