//! Events of the watches become snapshots.
//!
//! A lone change is published at once. Changes that come close together are published together: the wait grows with the
//! churn, up to [`MAX_WAIT`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ironsail_runtime::readiness::Condition;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, info};

use crate::kube::watch::{Event, KINDS};
use crate::model::object::{Change, Object, ObjectKind};
use crate::model::snapshot::SnapshotBuilder;
use crate::push::Publisher;
use crate::webhook::Settings;

/// Longest wait of a change for others.
pub const MAX_WAIT: Duration = Duration::from_millis(100);

/// Publications further apart than this do not wait for each other.
const QUIET: Duration = Duration::from_millis(200);

/// Owns the builder.
pub struct ConfigStore {
    pub builder: SnapshotBuilder,
    pub publisher: Publisher,
    /// Holds once all kinds were listed and the first snapshot is published.
    pub synced: Condition,
}

impl ConfigStore {
    /// Applies events until the watches end.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut settings: watch::Receiver<Option<Arc<Settings>>>,
    ) {
        let mut missing: BTreeSet<ObjectKind> = KINDS.into_iter().collect();
        missing.insert(ObjectKind::MeshConfig);
        let mut last = Instant::now() - QUIET;
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.apply(event, &mut missing),
                    None => return,
                },
                changed = settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.apply_settings(&mut settings, &mut missing);
                }
            }
            if !missing.is_empty() {
                continue;
            }
            self.gather(&mut events, last).await;
            let (snapshot, changes) = self.builder.snapshot();
            if self.synced.holds() && changes.is_empty() {
                continue;
            }
            debug!(generation = snapshot.generation, "Snapshot published");
            self.publisher.publish(snapshot, changes);
            last = Instant::now();
            if !self.synced.holds() {
                info!("Configuration is complete");
                self.synced.set(true);
            }
        }
    }

    fn apply(&mut self, event: Event, missing: &mut BTreeSet<ObjectKind>) {
        match event {
            Event::Change(change) => self.builder.apply(change),
            Event::Synced(kind) => {
                missing.remove(&kind);
            }
        }
    }

    fn apply_settings(
        &mut self,
        settings: &mut watch::Receiver<Option<Arc<Settings>>>,
        missing: &mut BTreeSet<ObjectKind>,
    ) {
        if let Some(settings) = settings.borrow_and_update().as_ref() {
            let mesh = Object::MeshConfig(Box::new(settings.mesh.clone()));
            self.builder.apply(Change::Upsert(mesh));
            missing.remove(&ObjectKind::MeshConfig);
        }
    }

    /// Takes what is there already, and under churn waits for more.
    async fn gather(&mut self, events: &mut mpsc::Receiver<Event>, last: Instant) {
        let wait = match last.elapsed() >= QUIET {
            true => Duration::ZERO,
            false => MAX_WAIT.saturating_sub(last.elapsed()),
        };
        let until = Instant::now() + wait;
        loop {
            let event = match wait.is_zero() {
                true => events.try_recv().ok(),
                false => tokio::time::timeout_at(until, events.recv())
                    .await
                    .ok()
                    .flatten(),
            };
            match event {
                Some(event) => self.apply(event, &mut BTreeSet::new()),
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ironsail_runtime::readiness::Readiness;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    use super::*;
    use crate::model::snapshot::Options;
    use crate::push::Subscription;

    fn service(number: u32) -> Event {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": format!("a{number}"), "namespace": "default"},
            "spec": {"clusterIP": format!("10.0.0.{number}"), "ports": [{"name": "http", "port": 80}]},
        }))
        .expect("a Service");
        Event::Change(Change::Upsert(Object::Service(Box::new(service))))
    }

    /// A store that has everything, and what it published.
    struct Running {
        events: mpsc::Sender<Event>,
        subscription: Subscription,
        _settings: watch::Sender<Option<Arc<Settings>>>,
    }

    async fn start() -> Running {
        let publisher = Publisher::default();
        let subscription = publisher.subscribe();
        let store = ConfigStore {
            builder: SnapshotBuilder::new(Options::default()),
            publisher,
            synced: Readiness::new().condition("configuration"),
        };
        let (events, receiver) = mpsc::channel(1000);
        let (settings, settings_receiver) = watch::channel(None);
        tokio::spawn(store.run(receiver, settings_receiver));
        for kind in KINDS {
            let sent = events.send(Event::Synced(kind)).await;
            sent.expect("the store runs");
        }
        settings.send_replace(Some(Arc::default()));
        subscription.next().await;
        tokio::time::sleep(2 * QUIET).await;
        Running {
            events,
            subscription,
            _settings: settings,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_change_does_not_wait() {
        let store = start().await;
        let start = Instant::now();
        store.events.send(service(1)).await.expect("runs");
        let (_, changes) = store.subscription.next().await;
        assert_eq!(changes.services.len(), 1);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn under_churn_changes_are_published_together_and_in_time() {
        let store = start().await;
        let events = store.events.clone();
        tokio::spawn(async move {
            for number in 0..200 {
                events.send(service(number)).await.expect("runs");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let (start, mut last, mut seen, mut publications) = (Instant::now(), Instant::now(), 0, 0);
        while seen < 200 {
            let (_, changes) = store.subscription.next().await;
            assert!(
                last.elapsed() <= MAX_WAIT,
                "a change waited {:?}",
                last.elapsed()
            );
            last = Instant::now();
            seen += changes.services.len();
            publications += 1;
        }
        // One second of churn: ten at most, and the first, which did not wait.
        assert!(
            publications <= 12,
            "{publications} in {:?}",
            start.elapsed()
        );
    }
}
