//! Clusters as the workers see them, for the admin API.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use ironsail_mesh::locality::Locality;

use crate::admin::{ClusterStatus, HostStatus, Limits};
use crate::cluster::{Cluster, Host};
use crate::resource::cluster::{RoutingPriority, Thresholds};
use crate::resource::endpoint::Endpoints;
use crate::snapshot::Snapshot;
use crate::worker::Worker;

/// Clusters of one worker.
pub(super) fn of_worker(worker: &Worker) -> Vec<ClusterStatus> {
    let clusters = worker.clusters.all();
    clusters.iter().map(|cluster| status(cluster)).collect()
}

/// Sums the workers' views.
pub(super) fn merge(workers: Vec<Vec<ClusterStatus>>) -> Vec<ClusterStatus> {
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

fn status(cluster: &Cluster) -> ClusterStatus {
    let endpoints = cluster.endpoints();
    let localities = localities(&endpoints);
    let nowhere = Locality::default();
    let breakers = &cluster.config.breakers;
    ClusterStatus {
        name: cluster.config.name.to_string(),
        added_via_api: true,
        default_limits: limits(breakers.of(RoutingPriority::Default)),
        high_limits: limits(breakers.of(RoutingPriority::High)),
        hosts: cluster
            .hosts()
            .iter()
            .map(|host| {
                let locality = localities.get(&host.address()).copied();
                host_status(host, locality.unwrap_or(&nowhere))
            })
            .collect(),
    }
}

/// Where each endpoint stands. Hosts do not carry it: only this page shows it.
fn localities(endpoints: &Endpoints) -> HashMap<SocketAddr, &Locality> {
    let groups = endpoints.priorities.iter().flatten();
    groups
        .flat_map(|group| {
            let endpoints = group.endpoints.iter();
            endpoints.map(|endpoint| (endpoint.address, &*group.locality))
        })
        .collect()
}

fn limits(thresholds: &Thresholds) -> Limits {
    Limits {
        max_connections: thresholds.connections.max(),
        max_pending_requests: thresholds.pending_requests.max(),
        max_requests: thresholds.requests.max(),
        max_retries: thresholds.max_retries(),
    }
}

/// Gauges of the circuit breakers of all clusters.
pub(super) fn breaker_gauges(snapshot: &Snapshot) -> Vec<(String, u64)> {
    let clusters = snapshot.clusters.values();
    clusters
        .flat_map(|cluster| {
            let (name, breakers) = (&cluster.config.stat_name, &cluster.config.breakers);
            breakers.open().map(move |(priority, leaf, open)| {
                let name = format!("cluster.{name};.circuit_breakers.{priority}.{leaf}");
                (name, u64::from(open))
            })
        })
        .collect()
}

fn host_status(host: &Host, locality: &Locality) -> HostStatus {
    let stats = &host.stats;
    HostStatus {
        address: host.address(),
        health: host.endpoint.health,
        failed_outlier_check: host.is_ejected(),
        weight: host.endpoint.weight,
        priority: u32::try_from(host.priority.get()).unwrap_or(u32::MAX),
        locality: locality.clone(),
        cx_active: stats.cx_active.get().into(),
        cx_total: stats.cx_total.get(),
        cx_connect_fail: stats.cx_connect_fail.get(),
        rq_active: stats.rq_active.get().into(),
        rq_total: stats.rq_total.get(),
        rq_success: stats.rq_success.get(),
        rq_error: stats.rq_error.get(),
        rq_timeout: stats.rq_timeout.get(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ironsail_xds::cluster::CircuitBreakers;
    use ironsail_xds::cluster::circuit_breakers::Thresholds;
    use ironsail_xds::core::{self, HealthStatus as Health};
    use ironsail_xds::endpoint::LocalityLbEndpoints;
    use ironsail_xds::protobuf::UInt32Value;

    use regex::Regex;

    use super::*;
    use crate::resource::endpoint::HealthStatus;
    use crate::stats::Filter;
    use crate::testing::memory::Proxy;
    use crate::testing::{assignment, static_cluster, update};
    use crate::worker::LocalNode;
    use crate::xds::Sink;

    fn number(value: u32) -> Option<UInt32Value> {
        Some(UInt32Value { value })
    }

    /// Endpoints of one locality, the health of the last one as given.
    fn group(addresses: &[&str], zone: &str, priority: u32, health: Health) -> LocalityLbEndpoints {
        let mut group = assignment("web", addresses).endpoints.remove(0);
        group.priority = priority;
        group.locality = Some(core::Locality {
            region: "north".to_owned(),
            zone: zone.to_owned(),
            sub_zone: "rack".to_owned(),
        });
        let last = group.lb_endpoints.last_mut().expect("an endpoint");
        last.health_status = health.into();
        last.load_balancing_weight = number(3);
        group
    }

    /// A cluster with limits and hosts of all kinds, as one worker sees it.
    fn seen() -> ClusterStatus {
        of_worker(&proxy().worker).remove(0)
    }

    fn proxy() -> Proxy {
        let refuse = |_| Err(std::io::ErrorKind::ConnectionRefused.into());
        let mut proxy = Proxy::new(LocalNode::default(), refuse);
        let mut cluster = static_cluster("web", &[]);
        let assignment = cluster.load_assignment.get_or_insert_default();
        assignment.endpoints = vec![
            group(&["10.0.0.1:80", "10.0.0.2:80"], "a", 0, Health::Draining),
            group(&["10.0.0.3:80"], "b", 1, Health::Unhealthy),
        ];
        let thresholds = |priority: core::RoutingPriority, max_requests| Thresholds {
            priority: priority.into(),
            max_requests: number(max_requests),
            max_connections: number(7),
            ..Default::default()
        };
        cluster.circuit_breakers = Some(CircuitBreakers {
            thresholds: vec![
                thresholds(core::RoutingPriority::Default, 8),
                thresholds(core::RoutingPriority::High, 9),
            ],
            ..Default::default()
        });
        assert_eq!(proxy.store.apply(update(&[("web", cluster)])), []);
        proxy
            .worker
            .clusters
            .apply(proxy.store.snapshot().clusters.values());
        proxy
    }

    #[test]
    fn limits_have_gauges() {
        let proxy = proxy();
        let snapshot = proxy.store.snapshot();
        let watched = Arc::clone(&snapshot);
        proxy.registry.compute(move || breaker_gauges(&watched));
        let breakers = &snapshot.clusters["web"].config.breakers;
        let requests = &breakers.of(RoutingPriority::Default).requests;
        let _permits: Vec<_> = (0..8).map(|_| requests.acquire()).collect();
        let filter = Filter {
            name: Some(Regex::new("circuit_breakers.*rq_open").expect("valid")),
            used_only: false,
        };
        let text = proxy.registry.prometheus(&filter);
        let line = |priority: &str, value| {
            let name = format!("envoy_cluster_circuit_breakers_{priority}_rq_open");
            format!("# TYPE {name} gauge\n{name}{{cluster_name=\"web\"}} {value}\n")
        };
        assert_eq!(text, line("default", 1) + &line("high", 0));
    }

    #[test]
    fn hosts_and_limits_are_shown_as_they_are() {
        let cluster = seen();
        let (default, high) = (cluster.default_limits, cluster.high_limits);
        assert_eq!((default.max_connections, default.max_requests), (7, 8));
        assert_eq!((high.max_connections, high.max_requests), (7, 9));
        let hosts = cluster.hosts.iter();
        let seen: Vec<_> = hosts
            .map(|host| {
                (
                    host.health,
                    host.weight,
                    host.priority,
                    &*host.locality.zone,
                )
            })
            .collect();
        let expected = [
            (HealthStatus::Healthy, 1, 0, "a"),
            (HealthStatus::Draining, 3, 0, "a"),
            (HealthStatus::Unhealthy, 3, 1, "b"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn views_of_workers_are_added_up() {
        let (mut one, mut other) = (seen(), seen());
        one.hosts[0].rq_total = 1;
        other.hosts[0].rq_total = 2;
        let merged = merge(vec![vec![one], vec![other]]);
        assert_eq!((merged.len(), merged[0].hosts.len()), (1, 3));
        assert_eq!(merged[0].hosts[0].rq_total, 3);
        assert_eq!(merged[0].hosts[1].health, HealthStatus::Draining);
    }
}
