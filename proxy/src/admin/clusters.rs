//! `/clusters` and `/listeners`.

use std::fmt::Write;

use http::StatusCode;
use ironsail_runtime::admin::{Request, Response, text};
use serde_json::{Value, json};

use super::{ClusterStatus, HostStatus, Limits, Query, Source};
use crate::resource::endpoint::HealthStatus;

pub async fn serve(source: Source, request: Request) -> Response {
    let clusters = source.clusters().await;
    match Query::of(&request).is_json() {
        true => super::json(&as_json(&clusters)),
        false => text(StatusCode::OK, as_text(&clusters)),
    }
}

pub async fn serve_listeners(source: Source, request: Request) -> Response {
    let listeners = source.listeners();
    if Query::of(&request).is_json() {
        let statuses: Vec<Value> = listeners
            .iter()
            .map(|listener| {
                json!({
                    "name": listener.name,
                    "local_address": {"socket_address": {
                        "address": listener.address.ip().to_string(),
                        "port_value": listener.address.port(),
                    }},
                })
            })
            .collect();
        return super::json(&json!({"listener_statuses": statuses}));
    }
    let mut lines = String::new();
    for listener in &listeners {
        let _ = writeln!(lines, "{}::{}", listener.name, listener.address);
    }
    text(StatusCode::OK, lines)
}

fn as_text(clusters: &[ClusterStatus]) -> String {
    let mut lines = String::new();
    for cluster in clusters {
        let name = &cluster.name;
        let _ = writeln!(lines, "{name}::observability_name::{name}");
        for (priority, limits) in priorities(cluster) {
            for (limit, value) in limits.each() {
                let _ = writeln!(lines, "{name}::{priority}_priority::{limit}::{value}");
            }
        }
        let _ = writeln!(lines, "{name}::added_via_api::{}", cluster.added_via_api);
        for host in &cluster.hosts {
            let address = host.address;
            for (stat, value) in counters(host).into_iter().chain(gauges(host)) {
                let _ = writeln!(lines, "{name}::{address}::{stat}::{value}");
            }
            let locality = &host.locality;
            let fields: [(&str, String); 6] = [
                ("health_flags", health_flags(host)),
                ("weight", host.weight.to_string()),
                ("region", locality.region.clone()),
                ("zone", locality.zone.clone()),
                ("sub_zone", locality.sub_zone.clone()),
                ("priority", host.priority.to_string()),
            ];
            for (field, value) in fields {
                let _ = writeln!(lines, "{name}::{address}::{field}::{value}");
            }
        }
    }
    lines
}

/// Both routing priorities by name.
fn priorities(cluster: &ClusterStatus) -> [(&'static str, Limits); 2] {
    [
        ("default", cluster.default_limits),
        ("high", cluster.high_limits),
    ]
}

impl Limits {
    /// Each limit by its name.
    fn each(self) -> [(&'static str, u32); 4] {
        [
            ("max_connections", self.max_connections),
            ("max_pending_requests", self.max_pending_requests),
            ("max_requests", self.max_requests),
            ("max_retries", self.max_retries),
        ]
    }
}

fn health_flags(host: &HostStatus) -> String {
    let outlier = match host.failed_outlier_check {
        true => "/failed_outlier_check",
        false => "",
    };
    let discovery = match host.health {
        HealthStatus::Healthy if outlier.is_empty() => "healthy",
        HealthStatus::Healthy => "",
        HealthStatus::Degraded => "/degraded_eds_health",
        HealthStatus::Unhealthy => "/failed_eds_health",
        HealthStatus::Draining => "/eds_status_draining",
    };
    format!("{outlier}{discovery}")
}

/// `envoy.config.core.v3.HealthStatus`.
fn health_name(health: HealthStatus) -> &'static str {
    match health {
        HealthStatus::Healthy => "HEALTHY",
        HealthStatus::Degraded => "DEGRADED",
        HealthStatus::Unhealthy => "UNHEALTHY",
        HealthStatus::Draining => "DRAINING",
    }
}

fn counters(host: &HostStatus) -> [(&'static str, u64); 6] {
    [
        ("cx_connect_fail", host.cx_connect_fail),
        ("cx_total", host.cx_total),
        ("rq_error", host.rq_error),
        ("rq_success", host.rq_success),
        ("rq_timeout", host.rq_timeout),
        ("rq_total", host.rq_total),
    ]
}

fn gauges(host: &HostStatus) -> [(&'static str, u64); 2] {
    [("cx_active", host.cx_active), ("rq_active", host.rq_active)]
}

/// `envoy.admin.v3.Clusters`; 64-bit numbers are strings in protobuf JSON.
fn as_json(clusters: &[ClusterStatus]) -> Value {
    let statuses: Vec<Value> = clusters
        .iter()
        .map(|cluster| {
            let thresholds = priorities(cluster).map(|(priority, limits)| {
                let limits = limits
                    .each()
                    .map(|(name, value)| (name.to_owned(), value.into()));
                let priority = ("priority".to_owned(), priority.to_uppercase().into());
                Value::Object(std::iter::once(priority).chain(limits).collect())
            });
            json!({
                "name": cluster.name,
                "observability_name": cluster.name,
                "added_via_api": cluster.added_via_api,
                "circuit_breakers": {"thresholds": thresholds},
                "host_statuses": cluster.hosts.iter().map(host_json).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({"cluster_statuses": statuses})
}

fn host_json(host: &HostStatus) -> Value {
    let mut stats: Vec<Value> = counters(host)
        .into_iter()
        .map(|(name, value)| json!({"name": name, "value": value.to_string()}))
        .collect();
    stats.extend(
        gauges(host).into_iter().map(
            |(name, value)| json!({"name": name, "type": "GAUGE", "value": value.to_string()}),
        ),
    );
    let locality = &host.locality;
    let mut health = json!({"eds_health_status": health_name(host.health)});
    if host.failed_outlier_check {
        health["failed_outlier_check"] = true.into();
    }
    json!({
        "address": {"socket_address": {
            "address": host.address.ip().to_string(),
            "port_value": host.address.port(),
        }},
        "stats": stats,
        "health_status": health,
        "weight": host.weight,
        "priority": host.priority,
        "locality": {
            "region": locality.region,
            "zone": locality.zone,
            "sub_zone": locality.sub_zone,
        },
    })
}

#[cfg(test)]
mod tests {
    use ironsail_mesh::locality::Locality;

    use super::*;

    fn cluster() -> ClusterStatus {
        let limits = |max_requests| Limits {
            max_connections: 7,
            max_requests,
            ..Limits::default()
        };
        ClusterStatus {
            name: "web".to_owned(),
            default_limits: limits(8),
            high_limits: limits(9),
            hosts: vec![HostStatus {
                address: ([10, 0, 0, 1], 80).into(),
                health: HealthStatus::Draining,
                failed_outlier_check: true,
                weight: 3,
                priority: 1,
                locality: Locality::parse("north/a/rack"),
                cx_active: 0,
                cx_total: 0,
                cx_connect_fail: 0,
                rq_active: 0,
                rq_total: 5,
                rq_success: 0,
                rq_error: 0,
                rq_timeout: 0,
            }],
            ..ClusterStatus::default()
        }
    }

    #[test]
    fn lines_are_envoys() {
        let text = as_text(&[cluster()]);
        for line in [
            "web::default_priority::max_requests::8",
            "web::high_priority::max_requests::9",
            "web::10.0.0.1:80::rq_total::5",
            "web::10.0.0.1:80::health_flags::/failed_outlier_check/eds_status_draining",
            "web::10.0.0.1:80::weight::3",
            "web::10.0.0.1:80::zone::a",
            "web::10.0.0.1:80::priority::1",
        ] {
            assert!(
                text.lines().any(|own| own == line),
                "{line} is not in {text}"
            );
        }
    }

    #[test]
    fn json_is_envoys() {
        let status = &as_json(&[cluster()])["cluster_statuses"][0];
        let thresholds = &status["circuit_breakers"]["thresholds"];
        assert_eq!(thresholds[0]["max_requests"], 8);
        assert_eq!(thresholds[1]["priority"], "HIGH");
        let host = &status["host_statuses"][0];
        assert_eq!(host["health_status"]["eds_health_status"], "DRAINING");
        assert_eq!(host["health_status"]["failed_outlier_check"], true);
        assert_eq!(host["locality"]["sub_zone"], "rack");
        assert_eq!(host["weight"], 3);
    }
}
