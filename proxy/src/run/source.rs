//! What the admin API shows of this proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use ironsail_runtime::log::LogHandle;
use ironsail_runtime::readiness::Condition;
use ironsail_xds::bootstrap as proto;
use prost::Message;
use serde_json::Value;
use tokio::sync::Notify;

use super::clusters;
use crate::admin::{
    AdminSource, Answer, CertificateStatus, ClusterStatus, DumpResource, ListenerStatus, ServerInfo,
};
use crate::agent::Agent;
use crate::bootstrap::Bootstrap;
use crate::listener::{DrainMode, DrainScope};
use crate::snapshot::Store;
use crate::stats::Registry;
use crate::worker::WorkerPool;

/// What the source looks at.
pub struct Parts {
    pub store: Store,
    pub pool: WorkerPool,
    pub registry: Arc<Registry>,
    pub agent: Agent,
    pub log: LogHandle,
    /// Fails readiness while `/healthcheck/fail` holds.
    pub healthy: Condition,
}

pub struct ProxySource {
    store: Store,
    pool: Arc<WorkerPool>,
    registry: Arc<Registry>,
    agent: Agent,
    log: LogHandle,
    healthy: Condition,
    bootstrap: Bytes,
    node_id: String,
    node_cluster: String,
    node_metadata: Value,
    concurrency: usize,
    started: Instant,
    is_draining: AtomicBool,
    quit: Arc<Notify>,
}

impl ProxySource {
    pub fn new(parts: Parts, bootstrap: &Bootstrap) -> Self {
        parts.healthy.set(true);
        let message = proto::Bootstrap {
            node: Some(bootstrap.xds_node()),
            ..Default::default()
        };
        let Parts {
            store,
            pool,
            registry,
            agent,
            log,
            healthy,
        } = parts;
        Self {
            pool: Arc::new(pool),
            store,
            registry,
            agent,
            log,
            healthy,
            bootstrap: message.encode_to_vec().into(),
            node_id: bootstrap.node.to_string(),
            node_cluster: bootstrap.service_cluster.clone(),
            node_metadata: bootstrap.metadata.clone().into(),
            concurrency: bootstrap.concurrency,
            started: Instant::now(),
            is_draining: AtomicBool::new(false),
            quit: Arc::default(),
        }
    }

    /// Completes when somebody asked for the end.
    pub fn quit_requested(&self) -> impl Future<Output = ()> + use<> {
        let quit = Arc::clone(&self.quit);
        async move { quit.notified().await }
    }

    pub fn drain_scope(&self, scope: DrainScope, mode: DrainMode) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.pool.drain(scope, mode);
    }

    pub fn pool(&self) -> &WorkerPool {
        &self.pool
    }

    pub fn applied_version(&self) -> u64 {
        self.pool.applied_version()
    }
}

impl AdminSource for ProxySource {
    fn resources(&self, type_url: &str) -> Vec<DumpResource> {
        let raw = self.store.raw(type_url).into_iter();
        raw.map(|raw| DumpResource {
            name: raw.name,
            version: raw.version,
            last_updated: raw.last_updated,
            body: raw.body,
            error: raw.error,
        })
        .collect()
    }

    fn bootstrap(&self) -> Bytes {
        self.bootstrap.clone()
    }

    fn clusters(&self) -> Answer<Vec<ClusterStatus>> {
        let pool = Arc::clone(&self.pool);
        Box::pin(async move {
            let workers = pool.collect(|worker| clusters::of_worker(worker)).await;
            clusters::merge(workers)
        })
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let snapshot = self.store.snapshot();
        snapshot
            .listeners
            .iter()
            .filter_map(|(name, listener)| {
                Some(ListenerStatus {
                    name: name.to_string(),
                    address: *listener.config.addresses.first()?,
                })
            })
            .collect()
    }

    fn stats(&self) -> &Registry {
        &self.registry
    }

    fn info(&self) -> ServerInfo {
        let state = if self.is_draining.load(Ordering::Relaxed) || !self.healthy.holds() {
            "DRAINING"
        } else if self.store.warming().initialized {
            "LIVE"
        } else {
            "INITIALIZING"
        };
        ServerInfo {
            state,
            uptime: self.started.elapsed(),
            concurrency: self.concurrency,
            node_id: self.node_id.clone(),
            node_cluster: self.node_cluster.clone(),
            node_metadata: self.node_metadata.clone(),
        }
    }

    fn certificates(&self) -> Vec<CertificateStatus> {
        let Some(credential) = self.agent.credential.borrow().clone() else {
            return Vec::new();
        };
        let leaf = CertificateStatus {
            name: "default".to_owned(),
            pem: credential.chain_pem().to_owned(),
            serial: credential.serial().to_owned(),
            uri_sans: credential
                .uri_sans()
                .iter()
                .map(ToString::to_string)
                .collect(),
            valid_from: credential.not_before(),
            expires: credential.not_after(),
        };
        let roots = CertificateStatus {
            name: "ROOTCA".to_owned(),
            pem: credential.roots_pem().to_owned(),
            serial: credential.root().serial.clone(),
            uri_sans: Vec::new(),
            valid_from: credential.root().not_before,
            expires: credential.root().not_after,
        };
        vec![leaf, roots]
    }

    fn set_log_level(&self, filter: &str) -> Result<String, String> {
        if !filter.is_empty() {
            let text = match filter.contains(['=', ':']) {
                true => filter.replace('=', ":"),
                false => format!("default:{filter}"),
            };
            self.log.set(&text).map_err(|error| error.to_string())?;
        }
        let levels = self.log.levels().map_err(|error| error.to_string())?;
        Ok(levels.to_string())
    }

    fn set_healthy(&self, healthy: bool) {
        self.healthy.set(healthy);
    }

    fn drain(&self, inbound_only: bool) {
        let scope = match inbound_only {
            true => DrainScope::Inbound,
            false => DrainScope::All,
        };
        self.drain_scope(scope, DrainMode::Graceful);
    }

    fn quit(&self) {
        self.quit.notify_one();
    }
}
