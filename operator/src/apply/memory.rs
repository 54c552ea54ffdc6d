//! What the operator remembers of each object between reconciliations.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::Outcome;
use super::fingerprint::Fingerprint;
use crate::object::ObjectKey;
use crate::plan::Owner;

/// Repairs within [`WINDOW`] after which somebody is fighting.
const PATIENCE: usize = 5;
const WINDOW: Duration = Duration::from_secs(600);
/// Pause after that, doubling: no minute sees more than six writes.
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(300);

/// How our last apply left an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Hash of what was applied.
    pub desired: String,
    pub fingerprint: Fingerprint,
    /// Who holds it and wants it otherwise.
    pub taken: Option<Owner>,
}

impl Left {
    /// What applying would come to while nobody changes the object.
    pub fn outcome(&self) -> Outcome {
        match &self.taken {
            Some(by) => Outcome::Taken { by: by.clone() },
            None => Outcome::Unchanged,
        }
    }
}

/// Memory of the objects of one owner; losing it costs a dry run per object.
#[derive(Debug, Default)]
pub struct Memory {
    left: HashMap<ObjectKey, Left>,
    repairs: HashMap<ObjectKey, VecDeque<Instant>>,
}

impl Memory {
    pub fn left(&self, key: &ObjectKey) -> Option<&Left> {
        self.left.get(key)
    }

    pub fn remember(&mut self, key: ObjectKey, left: Left) {
        self.left.insert(key, left);
    }

    /// Forgets objects that are no longer wanted.
    pub fn retain(&mut self, wanted: impl Fn(&ObjectKey) -> bool) {
        self.left.retain(|key, _| wanted(key));
        self.repairs.retain(|key, _| wanted(key));
    }

    /// Seconds to wait before an object is repaired once more, if it was repaired too often.
    /// Counts the repair that follows otherwise.
    pub(super) fn postpone(&mut self, key: &ObjectKey, is_repair: bool) -> Option<u64> {
        if !is_repair {
            return None;
        }
        let now = Instant::now();
        let repairs = self.repairs.entry(key.clone()).or_default();
        while repairs
            .front()
            .is_some_and(|at| now.duration_since(*at) > WINDOW)
        {
            repairs.pop_front();
        }
        if let Some(last) = repairs.back()
            && repairs.len() >= PATIENCE
        {
            let doublings = u32::try_from(repairs.len() - PATIENCE).unwrap_or(u32::MAX);
            let delay = PAUSE
                .saturating_mul(2_u32.saturating_pow(doublings))
                .min(LONGEST);
            let waited = now.duration_since(*last);
            if waited < delay {
                return Some((delay - waited).as_secs().max(1));
            }
        }
        repairs.push_back(now);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ObjectKey {
        ObjectKey {
            group: String::new(),
            kind: "Service".into(),
            namespace: "n".into(),
            name: "s".into(),
        }
    }

    /// Somebody who writes all the time.
    #[tokio::test(start_paused = true)]
    async fn no_minute_sees_more_than_six_writes() {
        let mut memory = Memory::default();
        let mut writes = Vec::new();
        for second in 0..1_800_u64 {
            if memory.postpone(&key(), true).is_none() {
                writes.push(second);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        for start in 0..1_740_u64 {
            let minute = start..start + 60;
            let count = writes.iter().filter(|at| minute.contains(*at)).count();
            assert!(count <= 6, "{count} writes from second {start} on");
        }
        assert!(writes.len() > 10, "it is never given up: {writes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fight_is_slowed_and_forgotten() {
        let mut memory = Memory::default();
        for _ in 0..PATIENCE {
            assert_eq!(memory.postpone(&key(), true), None);
        }
        assert_eq!(memory.postpone(&key(), true), Some(30));
        assert_eq!(memory.postpone(&key(), false), None);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(memory.postpone(&key(), true), None);
        assert_eq!(memory.postpone(&key(), true), Some(60));
        tokio::time::advance(WINDOW + Duration::from_secs(1)).await;
        assert_eq!(memory.postpone(&key(), true), None);
    }
}
