//! What to do with a Lease, without doing it.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

/// One process that wants to lead.
pub struct Candidate {
    identity: String,
    lease: Duration,
    /// The Lease's version when it was last seen to change, and when that was.
    seen: Option<(Option<String>, Instant)>,
}

/// The next write.
#[derive(Debug)]
pub enum Step {
    /// Somebody else holds it.
    Wait,
    Create(Lease),
    Replace(Lease),
}

impl Candidate {
    pub fn new(identity: &str, lease: Duration) -> Self {
        Self {
            identity: identity.to_owned(),
            lease,
            seen: None,
        }
    }

    /// Renews what is held, takes what is free or expired, waits otherwise.
    pub fn step(&mut self, current: Option<Lease>, now: Instant) -> Step {
        let Some(mut lease) = current else {
            return Step::Create(Lease {
                spec: Some(self.taken(0, None)),
                ..Default::default()
            });
        };
        let spec = lease.spec.take().unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        if !holder.is_empty() && holder != self.identity && !self.is_expired(&lease, &spec, now) {
            lease.spec = Some(spec);
            return Step::Wait;
        }
        let transitions = spec.lease_transitions.unwrap_or(0);
        let (transitions, acquired) = match holder == self.identity {
            true => (transitions, spec.acquire_time),
            false => (transitions.saturating_add(1), None),
        };
        lease.spec = Some(self.taken(transitions, acquired));
        Step::Replace(lease)
    }

    /// The Lease without a holder, if this candidate holds it.
    pub fn released(&self, mut current: Lease) -> Option<Lease> {
        let spec = current.spec.as_mut()?;
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            return None;
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        Some(current)
    }

    /// Whether the Lease has not changed for its own duration, by this process's clock.
    fn is_expired(&mut self, lease: &Lease, spec: &LeaseSpec, now: Instant) -> bool {
        let version = &lease.metadata.resource_version;
        let since = match &self.seen {
            Some((seen, since)) if seen == version => *since,
            _ => {
                self.seen = Some((version.clone(), now));
                now
            }
        };
        let duration = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.lease, Duration::from_secs);
        now.saturating_duration_since(since) >= duration
    }

    fn taken(&self, transitions: i32, acquired: Option<MicroTime>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.lease.as_secs()).ok(),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn held_by(holder: &str, version: &str) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some(version.to_owned());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            ..Default::default()
        });
        lease
    }

    fn spec(step: Step) -> LeaseSpec {
        match step {
            Step::Create(lease) | Step::Replace(lease) => lease.spec.expect("a spec"),
            Step::Wait => panic!("waits"),
        }
    }

    #[test]
    fn an_absent_lease_is_created() {
        let mut candidate = Candidate::new("a", LEASE);
        let spec = spec(candidate.step(None, Instant::now()));
        assert_eq!(spec.holder_identity.as_deref(), Some("a"));
    }

    #[test]
    fn an_own_lease_is_renewed_without_a_transition() {
        let mut candidate = Candidate::new("a", LEASE);
        let spec = spec(candidate.step(Some(held_by("a", "1")), Instant::now()));
        assert_eq!(spec.lease_transitions, Some(3));
    }

    #[test]
    fn a_foreign_lease_is_taken_only_after_it_has_not_changed_for_its_duration() {
        let mut candidate = Candidate::new("a", LEASE);
        let start = Instant::now();
        let waits = |step| matches!(step, Step::Wait);
        assert!(waits(candidate.step(Some(held_by("b", "1")), start)));
        let later = start + Duration::from_secs(14);
        assert!(waits(candidate.step(Some(held_by("b", "1")), later)));
        assert!(
            waits(candidate.step(Some(held_by("b", "2")), later)),
            "renewed meanwhile"
        );
        let expired = later + LEASE;
        let spec = spec(candidate.step(Some(held_by("b", "2")), expired));
        assert_eq!(spec.holder_identity.as_deref(), Some("a"));
        assert_eq!(spec.lease_transitions, Some(4));
    }

    #[test]
    fn a_released_lease_is_free_at_once() {
        let mut candidate = Candidate::new("a", LEASE);
        assert!(
            Candidate::new("b", LEASE)
                .released(held_by("a", "1"))
                .is_none()
        );
        let released = candidate.released(held_by("a", "1")).expect("held");
        assert_eq!(
            released
                .spec
                .as_ref()
                .and_then(|s| s.holder_identity.as_deref()),
            Some("")
        );
        let step = candidate.step(Some(released), Instant::now());
        assert!(matches!(step, Step::Replace(_)));
    }
}
