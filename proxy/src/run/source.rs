//! What the admin API shows of this proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use ironsail_runtime::log::LogHandle;
use ironsail_runtime::readiness::Condition;
use ironsail_xds::bootstrap as proto;
use prost::Message;
use serde_json::Value;
use tokio::sync::Notify;

use crate::admin::{
    AdminSource, Answer, CertificateStatus, ClusterStatus, DumpResource, HostStatus,
    ListenerStatus, ServerInfo,
};
use crate::agent::Agent;
use crate::bootstrap::Bootstrap;
use crate::listener::{DrainMode, DrainScope};
use crate::snapshot::Store;
use crate::stats::Registry;
use crate::worker::{Worker, WorkerPool};

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

    pub async fn connections(&self) -> usize {
        self.pool.connections().await
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
        Box::pin(async move { merge(pool.collect(|worker| cluster_statuses(worker)).await) })
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
            serial: String::new(),
            uri_sans: Vec::new(),
            valid_from: SystemTime::UNIX_EPOCH,
            expires: credential.not_after(),
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

/// Clusters of one worker.
fn cluster_statuses(worker: &Worker) -> Vec<ClusterStatus> {
    let clusters = worker.clusters.all();
    clusters
        .iter()
        .map(|cluster| ClusterStatus {
            name: cluster.config.name.to_string(),
            added_via_api: true,
            max_connections: u32::MAX,
            max_pending_requests: u32::MAX,
            max_requests: u32::MAX,
            max_retries: u32::MAX,
            hosts: cluster
                .hosts()
                .iter()
                .map(|host| {
                    let stats = &host.stats;
                    HostStatus {
                        address: host.address(),
                        healthy: true,
                        weight: 1,
                        priority: u32::try_from(host.priority.get()).unwrap_or(0),
                        region: String::new(),
                        zone: String::new(),
                        sub_zone: String::new(),
                        cx_active: stats.cx_active.get().into(),
                        cx_total: stats.cx_total.get(),
                        cx_connect_fail: stats.cx_connect_fail.get(),
                        rq_active: stats.rq_active.get().into(),
                        rq_total: stats.rq_total.get(),
                        rq_success: stats.rq_success.get(),
                        rq_error: stats.rq_error.get(),
                        rq_timeout: stats.rq_timeout.get(),
                    }
                })
                .collect(),
        })
        .collect()
}

/// Sums the workers' views.
fn merge(workers: Vec<Vec<ClusterStatus>>) -> Vec<ClusterStatus> {
    let mut merged: BTreeMap<String, ClusterStatus> = BTreeMap::new();
    for cluster in workers.into_iter().flatten() {
        let Some(known) = merged.get_mut(&cluster.name) else {
            merged.insert(cluster.name.clone(), cluster);
            continue;
        };
        let mut hosts: BTreeMap<SocketAddr, HostStatus> = std::mem::take(&mut known.hosts)
            .into_iter()
            .map(|host| (host.address, host))
            .collect();
        for host in cluster.hosts {
            match hosts.get_mut(&host.address) {
                None => {
                    hosts.insert(host.address, host);
                }
                Some(sum) => add(sum, &host),
            }
        }
        known.hosts = hosts.into_values().collect();
    }
    merged.into_values().collect()
}

fn add(sum: &mut HostStatus, host: &HostStatus) {
    sum.cx_active += host.cx_active;
    sum.cx_total += host.cx_total;
    sum.cx_connect_fail += host.cx_connect_fail;
    sum.rq_active += host.rq_active;
    sum.rq_total += host.rq_total;
    sum.rq_success += host.rq_success;
    sum.rq_error += host.rq_error;
    sum.rq_timeout += host.rq_timeout;
}
