//! Events of the watches become snapshots.
//!
//! A lone change is published at once. Changes that come close together are published together: the wait grows with the
//! churn, up to [`MAX_WAIT`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ironsail_runtime::readiness::Condition;
use tokio::sync::{mpsc, watch};
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
        let until = tokio::time::Instant::now() + wait;
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
