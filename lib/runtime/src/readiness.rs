//! Whether a program is ready, and what it still waits for.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// Named conditions that must all hold; clones share them.
#[derive(Clone)]
pub struct Readiness {
    state: Arc<watch::Sender<Vec<(&'static str, bool)>>>,
}

/// One condition of a [`Readiness`].
#[derive(Clone)]
pub struct Condition {
    name: &'static str,
    state: Arc<watch::Sender<Vec<(&'static str, bool)>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            state: Arc::new(watch::Sender::new(Vec::new())),
        }
    }
}

impl Readiness {
    /// Without conditions, so ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// The condition of this name, which does not hold until it is set. Asking twice gives the same one.
    pub fn condition(&self, name: &'static str) -> Condition {
        self.state.send_if_modified(|conditions| {
            let known = conditions.iter().any(|(known, _)| *known == name);
            if !known {
                conditions.push((name, false));
            }
            !known
        });
        Condition {
            name,
            state: self.state.clone(),
        }
    }

    pub fn is_ready(&self) -> bool {
        all_hold(&self.state.borrow())
    }

    /// Names of the conditions that do not hold, in the order in which they were made.
    pub fn missing(&self) -> Vec<&'static str> {
        self.state
            .borrow()
            .iter()
            .filter(|(_, holds)| !holds)
            .map(|(name, _)| *name)
            .collect()
    }

    /// Waits until all conditions hold. Cancel safe.
    pub async fn ready(&self) {
        // The sender lives in `self`, so the channel cannot close.
        let _ = self
            .state
            .subscribe()
            .wait_for(|conditions| all_hold(conditions))
            .await;
    }
}

impl Condition {
    pub fn set(&self, holds: bool) {
        self.state.send_if_modified(|conditions| {
            let Some((_, state)) = conditions.iter_mut().find(|(name, _)| *name == self.name)
            else {
                return false;
            };
            std::mem::replace(state, holds) != holds
        });
    }

    pub fn holds(&self) -> bool {
        self.state
            .borrow()
            .iter()
            .any(|(name, holds)| *name == self.name && *holds)
    }
}

fn all_hold(conditions: &[(&'static str, bool)]) -> bool {
    conditions.iter().all(|(_, holds)| *holds)
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.state.borrow().iter().copied())
            .finish()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.holds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_what_is_missing_until_all_hold() {
        let readiness = Readiness::new();
        let certificates = readiness.condition("certificates");
        let clusters = readiness.condition("clusters");
        assert_eq!(readiness.missing(), ["certificates", "clusters"]);
        clusters.set(true);
        assert_eq!(readiness.missing(), ["certificates"]);
        assert!(!readiness.is_ready());
        let other = readiness.clone();
        let waiting = tokio::spawn(async move { other.ready().await });
        readiness.condition("certificates").set(true);
        waiting.await.expect("no panic");
        assert!(certificates.holds());
        certificates.set(false);
        assert!(!readiness.is_ready());
    }
}
