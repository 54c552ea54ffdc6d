//! From one snapshot to all connections.
//!
//! Every connection has one slot: the newest snapshot, and all changes since it last looked. A connection that is slow
//! to send finds one merged change when it is done, and disturbs no other.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

use crate::model::change::ChangeSet;
use crate::model::snapshot::Snapshot;

/// Changes that wait for one connection, before they are merged into one: a client that never reads must not hold them
/// all.
const MAX_PENDING: usize = 32;

/// Hands snapshots to subscribers.
#[derive(Clone, Default)]
pub struct Publisher {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Snapshot>>,
    slots: Vec<Weak<Slot>>,
}

#[derive(Default)]
struct Slot {
    pending: Mutex<Vec<Arc<ChangeSet>>>,
    woken: Notify,
}

/// One connection's view; dropping it ends the subscription.
pub struct Subscription {
    publisher: Publisher,
    slot: Arc<Slot>,
}

impl Publisher {
    /// Makes `snapshot` the current one and wakes all subscribers.
    pub fn publish(&self, snapshot: Arc<Snapshot>, changes: ChangeSet) {
        let changes = Arc::new(changes);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.current = Some(snapshot);
        state.slots.retain(|slot| {
            let Some(slot) = slot.upgrade() else {
                return false;
            };
            slot.add(&changes);
            slot.woken.notify_one();
            true
        });
    }

    /// The newest snapshot; none before the first.
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.current.clone()
    }

    pub fn subscribe(&self) -> Subscription {
        let slot = Arc::<Slot>::default();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.slots.push(Arc::downgrade(&slot));
        Subscription {
            publisher: self.clone(),
            slot,
        }
    }
}

impl Slot {
    fn add(&self, changes: &Arc<ChangeSet>) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.push(Arc::clone(changes));
        if pending.len() > MAX_PENDING
            && let Some(merged) = merge(std::mem::take(&mut *pending))
        {
            pending.push(Arc::new(merged));
        }
    }
}

/// All changes as one; nothing when there are none.
fn merge(changes: Vec<Arc<ChangeSet>>) -> Option<ChangeSet> {
    let mut changes = changes.into_iter().map(Arc::unwrap_or_clone);
    let mut merged = changes.next()?;
    for later in changes {
        merged.merge(later);
    }
    Some(merged)
}

impl Subscription {
    /// The newest snapshot, and everything that changed since the last call. Cancel safe.
    pub async fn next(&self) -> (Arc<Snapshot>, ChangeSet) {
        loop {
            if let Some(found) = self.take() {
                return found;
            }
            self.slot.woken.notified().await;
        }
    }

    /// What the slot holds now.
    fn take(&self) -> Option<(Arc<Snapshot>, ChangeSet)> {
        let snapshot = self.publisher.current()?;
        let mut pending = self
            .slot
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let changes = std::mem::take(&mut *pending);
        drop(pending);
        Some((snapshot, merge(changes)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::snapshot::{Options, SnapshotBuilder};

    fn change(host: &str) -> ChangeSet {
        ChangeSet {
            services: [Arc::from(host)].into(),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn a_slow_subscriber_gets_one_merged_change() {
        let publisher = Publisher::default();
        let (snapshot, _) = SnapshotBuilder::new(Options::default()).snapshot();
        let subscription = publisher.subscribe();
        publisher.publish(Arc::clone(&snapshot), change("a"));
        publisher.publish(Arc::clone(&snapshot), change("b"));
        let (_, merged) = subscription.next().await;
        assert_eq!(merged.services.len(), 2);
        assert!(subscription.take().is_none(), "taken once");
    }

    #[tokio::test]
    async fn a_subscriber_that_never_looks_holds_little() {
        let publisher = Publisher::default();
        let (snapshot, _) = SnapshotBuilder::new(Options::default()).snapshot();
        let subscription = publisher.subscribe();
        for number in 0..10 * MAX_PENDING {
            publisher.publish(Arc::clone(&snapshot), change(&number.to_string()));
            let pending = subscription.slot.pending.lock().expect("not poisoned");
            assert!(pending.len() <= MAX_PENDING);
        }
        let (_, merged) = subscription.next().await;
        assert_eq!(merged.services.len(), 10 * MAX_PENDING, "nothing is lost");
    }

    #[tokio::test]
    async fn ended_subscriptions_are_forgotten() {
        let publisher = Publisher::default();
        drop(publisher.subscribe());
        let (snapshot, _) = SnapshotBuilder::new(Options::default()).snapshot();
        publisher.publish(snapshot, ChangeSet::everything());
        let state = publisher.state.lock().expect("not poisoned");
        assert!(state.slots.is_empty());
    }
}
