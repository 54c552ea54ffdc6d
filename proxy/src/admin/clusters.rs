//! `/clusters` and `/listeners`.

use std::fmt::Write;

use http::StatusCode;
use ironsail_runtime::admin::{Request, Response, text};
use serde_json::{Value, json};

use super::{ClusterStatus, HostStatus, Query, Source};

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
        let limits = [
            ("max_connections", cluster.max_connections),
            ("max_pending_requests", cluster.max_pending_requests),
            ("max_requests", cluster.max_requests),
            ("max_retries", cluster.max_retries),
        ];
        let _ = writeln!(lines, "{name}::observability_name::{name}");
        for (limit, value) in limits {
            let _ = writeln!(lines, "{name}::default_priority::{limit}::{value}");
        }
        let _ = writeln!(lines, "{name}::added_via_api::{}", cluster.added_via_api);
        for host in &cluster.hosts {
            let address = host.address;
            for (stat, value) in counters(host).into_iter().chain(gauges(host)) {
                let _ = writeln!(lines, "{name}::{address}::{stat}::{value}");
            }
            let health = if host.healthy {
                "healthy"
            } else {
                "/failed_eds_health"
            };
            let fields: [(&str, String); 6] = [
                ("health_flags", health.to_owned()),
                ("weight", host.weight.to_string()),
                ("region", host.region.clone()),
                ("zone", host.zone.clone()),
                ("sub_zone", host.sub_zone.clone()),
                ("priority", host.priority.to_string()),
            ];
            for (field, value) in fields {
                let _ = writeln!(lines, "{name}::{address}::{field}::{value}");
            }
        }
    }
    lines
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
            let threshold = json!({
                "max_connections": cluster.max_connections,
                "max_pending_requests": cluster.max_pending_requests,
                "max_requests": cluster.max_requests,
                "max_retries": cluster.max_retries,
            });
            json!({
                "name": cluster.name,
                "observability_name": cluster.name,
                "added_via_api": cluster.added_via_api,
                "circuit_breakers": {"thresholds": [threshold]},
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
    let health = if host.healthy { "HEALTHY" } else { "UNHEALTHY" };
    json!({
        "address": {"socket_address": {
            "address": host.address.ip().to_string(),
            "port_value": host.address.port(),
        }},
        "stats": stats,
        "health_status": {"eds_health_status": health},
        "weight": host.weight,
        "priority": host.priority,
        "locality": {"region": host.region, "zone": host.zone, "sub_zone": host.sub_zone},
    })
}
