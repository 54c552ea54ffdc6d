//! Rules of the policies of a DestinationRule.

use std::collections::{BTreeMap, BTreeSet};

use crate::networking::destination_rule::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, ConsistentHashLb, H2UpgradePolicy,
    HttpSettings, LoadBalancerSettings, LocalityDistribute, LocalityFailover, LocalityLbSetting,
    OutlierDetection, PortTrafficPolicy, RetryBudget, SimpleLb, TcpSettings, TrafficPolicy,
    TunnelSettings, WarmupConfiguration,
};

use super::field::{Findings, child, items};
use super::shared;

/// The largest table that Envoy accepts.
const MAX_MAGLEV: u64 = 5_000_011;

pub(super) fn check(policy: &TrafficPolicy, path: &str, out: &mut Findings) {
    if *policy == TrafficPolicy::default() {
        out.error(path, "must have at least one field");
    }
    let parts = Parts {
        load_balancer: policy.load_balancer.as_ref(),
        connection_pool: policy.connection_pool.as_ref(),
        outlier_detection: policy.outlier_detection.as_ref(),
        tls: policy.tls.as_ref(),
    };
    parts.check(path, out);
    if policy.tunnel.is_some() && policy.proxy_protocol.is_some() {
        out.error(path, "only one of tunnel, proxyProtocol can be set");
    }
    if let Some(tunnel) = &policy.tunnel {
        check_tunnel(tunnel, &child(path, "tunnel"), out);
    }
    if let Some(budget) = &policy.retry_budget {
        check_budget(budget, &child(path, "retryBudget"), out);
    }
    check_ports(&policy.port_level_settings, path, out);
}

fn check_ports(ports: &[PortTrafficPolicy], path: &str, out: &mut Findings) {
    let mut seen = BTreeMap::new();
    for (path, policy) in items(path, "portLevelSettings", ports) {
        match &policy.port {
            None => out.error(child(&path, "port"), "is required"),
            Some(port) => {
                shared::port_selector(port, &child(&path, "port"), out);
                if let Some(first) = seen.insert(port.number, path.clone()) {
                    out.error(path.clone(), format!("has the same port as {first}"));
                }
            }
        }
        let parts = Parts {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
        };
        if parts.is_empty() {
            out.error(path.clone(), "must have a policy beside the port");
        }
        parts.check(&path, out);
    }
}

/// What policies of all ports and of one port have in common.
struct Parts<'a> {
    load_balancer: Option<&'a LoadBalancerSettings>,
    connection_pool: Option<&'a ConnectionPoolSettings>,
    outlier_detection: Option<&'a OutlierDetection>,
    tls: Option<&'a ClientTlsSettings>,
}

impl Parts<'_> {
    fn is_empty(&self) -> bool {
        self.load_balancer.is_none()
            && self.connection_pool.is_none()
            && self.outlier_detection.is_none()
            && self.tls.is_none()
    }

    fn check(&self, path: &str, out: &mut Findings) {
        if let Some(lb) = self.load_balancer {
            let outlier = self.outlier_detection.is_some();
            check_load_balancer(lb, outlier, &child(path, "loadBalancer"), out);
        }
        if let Some(pool) = self.connection_pool {
            check_pool(pool, &child(path, "connectionPool"), out);
        }
        if let Some(outlier) = self.outlier_detection {
            check_outlier(outlier, &child(path, "outlierDetection"), out);
        }
        if let Some(tls) = self.tls {
            check_tls(tls, &child(path, "tls"), out);
        }
    }
}

fn check_load_balancer(lb: &LoadBalancerSettings, outlier: bool, path: &str, out: &mut Findings) {
    if lb.simple == Some(SimpleLb::LeastConn) {
        out.warn(
            child(path, "simple"),
            "LEAST_CONN is deprecated, use LEAST_REQUEST",
        );
    }
    if let Some(hash) = &lb.consistent_hash {
        check_hash(hash, &child(path, "consistentHash"), out);
    }
    if lb.locality_lb_setting.is_some() && lb.zone_aware_lb_setting.is_some() {
        out.error(
            path,
            "only one of localityLbSetting, zoneAwareLbSetting can be set",
        );
    }
    if let Some(setting) = &lb.locality_lb_setting {
        check_locality(setting, outlier, &child(path, "localityLbSetting"), out);
    }
    if let Some(setting) = &lb.zone_aware_lb_setting {
        check_failover(&setting.failover, &child(path, "zoneAwareLbSetting"), out);
    }
    shared::duration_ms(&lb.warmup_duration_secs, path, "warmupDurationSecs", out);
    if lb.warmup_duration_secs.is_some() {
        out.warn(
            child(path, "warmupDurationSecs"),
            "is deprecated, use warmup",
        );
        if lb.warmup.is_some() {
            out.error(path, "only one of warmup, warmupDurationSecs can be set");
        }
    }
    if let Some(warmup) = &lb.warmup {
        check_warmup(warmup, &child(path, "warmup"), out);
    }
    check_utilization(lb, path, out);
    let starts_slowly = lb.warmup.is_some() || lb.warmup_duration_secs.is_some();
    let can = matches!(
        lb.simple,
        None | Some(
            SimpleLb::Unspecified
                | SimpleLb::RoundRobin
                | SimpleLb::LeastRequest
                | SimpleLb::LeastConn
        )
    );
    if starts_slowly && (!can || lb.consistent_hash.is_some()) {
        out.warn(
            child(path, "warmup"),
            "works with ROUND_ROBIN and LEAST_REQUEST only",
        );
    }
}

fn check_utilization(lb: &LoadBalancerSettings, path: &str, out: &mut Findings) {
    let Some(utilization) = &lb.backend_utilization else {
        return;
    };
    let path = child(path, "backendUtilization");
    for (name, period) in [
        ("weightUpdatePeriod", &utilization.weight_update_period),
        (
            "weightStabilizationPeriod",
            &utilization.weight_stabilization_period,
        ),
        (
            "weightExpirationPeriod",
            &utilization.weight_expiration_period,
        ),
    ] {
        shared::duration_or_zero(period, &path, name, out);
    }
}

fn check_hash(hash: &ConsistentHashLb, path: &str, out: &mut Findings) {
    let keys = [
        hash.http_header_name.is_some(),
        hash.http_cookie.is_some(),
        hash.use_source_ip.is_some(),
        hash.http_query_parameter_name.is_some(),
    ];
    if !keys.contains(&true) {
        out.error(
            path,
            "must have httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName",
        );
    }
    for (name, key) in [
        ("httpHeaderName", &hash.http_header_name),
        ("httpQueryParameterName", &hash.http_query_parameter_name),
    ] {
        if key.as_deref() == Some("") {
            out.error(child(path, name), "must not be empty");
        }
    }
    if let Some(cookie) = &hash.http_cookie {
        let path = child(path, "httpCookie");
        shared::duration_or_zero(&cookie.ttl, &path, "ttl", out);
    }
    if hash.minimum_ring_size.is_some() {
        out.warn(
            child(path, "minimumRingSize"),
            "is deprecated, use ringHash",
        );
    }
    let table = hash
        .maglev
        .as_ref()
        .and_then(|maglev| maglev.table_size)
        .unwrap_or(0);
    if table > MAX_MAGLEV || (table != 0 && !is_prime(table)) {
        out.error(
            child(&child(path, "maglev"), "tableSize"),
            format!("{table} must be a prime number up to {MAX_MAGLEV}"),
        );
    }
}

/// Trial division: numbers are at most [`MAX_MAGLEV`].
fn is_prime(n: u64) -> bool {
    n > 1
        && (2..)
            .take_while(|d| d * d <= n)
            .all(|d| !n.is_multiple_of(d))
}

fn check_warmup(warmup: &WarmupConfiguration, path: &str, out: &mut Findings) {
    if warmup.duration.is_empty() {
        // Missing is reported by the schema.
        return;
    }
    shared::duration_ms(&Some(warmup.duration.clone()), path, "duration", out);
    if warmup.aggression.is_some_and(|aggression| aggression < 1.0) {
        out.error(child(path, "aggression"), "must be at least 1");
    }
}

fn check_locality(setting: &LocalityLbSetting, outlier: bool, path: &str, out: &mut Findings) {
    let distribute = !setting.distribute.is_empty();
    let failover = !setting.failover.is_empty();
    let priority = !setting.failover_priority.is_empty();
    if distribute && (failover || priority) {
        out.error(
            path,
            "only one of distribute, failover, failoverPriority can be set",
        );
    }
    if (failover || priority) && !outlier {
        out.warn(path, "failover works with outlierDetection only");
    }
    check_distribute(&setting.distribute, path, out);
    check_failover(&setting.failover, path, out);
}

fn check_distribute(list: &[LocalityDistribute], path: &str, out: &mut Findings) {
    let mut sources = BTreeSet::new();
    for (path, entry) in items(path, "distribute", list) {
        out.check(child(&path, "from"), locality(&entry.from));
        if !sources.insert(entry.from.as_str()) {
            out.error(
                child(&path, "from"),
                format!("{:?} is given twice", entry.from),
            );
        }
        let path = child(&path, "to");
        let mut sum = 0_u64;
        for (to, weight) in &entry.to {
            out.check(child(&path, to), locality(to));
            if !(1..=100).contains(weight) {
                out.error(
                    child(&path, to),
                    format!("weight {weight} must be 1 to 100"),
                );
            }
            sum += u64::from(*weight);
        }
        if sum != 100 {
            out.error(path, format!("weights must sum to 100, not {sum}"));
        }
    }
}

/// `region/zone/sub-zone`, `*` for the rest at the end.
fn locality(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends = parts.iter().position(|part| part.contains('*'));
    let wildcard_ok = match ends {
        None => true,
        Some(index) => index + 1 == parts.len() && parts.last() == Some(&"*"),
    };
    if parts.len() <= 3 && wildcard_ok && !parts.contains(&"") {
        return Ok(());
    }
    Err(format!(
        "{text:?} must be region/zone/sub-zone, with * at the end only"
    ))
}

fn check_failover(list: &[LocalityFailover], path: &str, out: &mut Findings) {
    for (path, entry) in items(path, "failover", list) {
        if entry.from == entry.to {
            out.error(
                path.clone(),
                format!("from and to are both {:?}", entry.from),
            );
        }
        for (name, region) in [("from", &entry.from), ("to", &entry.to)] {
            if region.contains(['/', '*']) {
                out.error(
                    child(&path, name),
                    format!("{region:?} must be a region alone"),
                );
            }
        }
    }
}

pub(super) fn check_pool(pool: &ConnectionPoolSettings, path: &str, out: &mut Findings) {
    if pool.tcp.is_none() && pool.http.is_none() {
        out.error(path, "must have tcp or http");
    }
    if let Some(tcp) = &pool.tcp {
        check_tcp(tcp, &child(path, "tcp"), out);
    }
    if let Some(http) = &pool.http {
        check_http(http, &child(path, "http"), out);
    }
}

fn check_tcp(tcp: &TcpSettings, path: &str, out: &mut Findings) {
    shared::not_negative(tcp.max_connections, path, "maxConnections", out);
    shared::duration_ms(&tcp.connect_timeout, path, "connectTimeout", out);
    shared::duration_ms(
        &tcp.max_connection_duration,
        path,
        "maxConnectionDuration",
        out,
    );
    shared::duration_or_zero(&tcp.idle_timeout, path, "idleTimeout", out);
    if let Some(keepalive) = &tcp.tcp_keepalive {
        let path = child(path, "tcpKeepalive");
        shared::duration_ms(&keepalive.time, &path, "time", out);
        shared::duration_ms(&keepalive.interval, &path, "interval", out);
    }
}

fn check_http(http: &HttpSettings, path: &str, out: &mut Findings) {
    for (name, value) in [
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ] {
        shared::not_negative(value, path, name, out);
    }
    shared::duration_ms(&http.idle_timeout, path, "idleTimeout", out);
    if let Some(ping) = &http.http2_keep_alive {
        let path = child(path, "http2KeepAlive");
        shared::duration_ms(&ping.interval, &path, "interval", out);
        shared::duration_ms(&ping.timeout, &path, "timeout", out);
    }
    if http.use_client_protocol && http.h2_upgrade_policy == H2UpgradePolicy::Upgrade {
        out.error(
            child(path, "useClientProtocol"),
            "can't be set with h2UpgradePolicy UPGRADE",
        );
    }
}

fn check_outlier(outlier: &OutlierDetection, path: &str, out: &mut Findings) {
    if outlier.consecutive_errors != 0 {
        out.warn(
            child(path, "consecutiveErrors"),
            "is deprecated, use consecutive5xxErrors",
        );
    }
    if !outlier.split_external_local_origin_errors
        && outlier
            .consecutive_local_origin_failures
            .is_some_and(|n| n > 0)
    {
        out.error(
            child(path, "consecutiveLocalOriginFailures"),
            "needs splitExternalLocalOriginErrors",
        );
    }
    shared::duration_ms(&outlier.interval, path, "interval", out);
    shared::duration_ms(&outlier.base_ejection_time, path, "baseEjectionTime", out);
    for (name, value) in [
        ("maxEjectionPercent", outlier.max_ejection_percent),
        ("minHealthPercent", outlier.min_health_percent),
    ] {
        out.check(child(path, name), shared::percent(f64::from(value)));
    }
}

fn check_tls(tls: &ClientTlsSettings, path: &str, out: &mut Findings) {
    let files = [
        ("clientCertificate", &tls.client_certificate),
        ("privateKey", &tls.private_key),
        ("caCertificates", &tls.ca_certificates),
    ];
    let set: Vec<&str> = files
        .iter()
        .filter(|f| !f.1.is_empty())
        .map(|f| f.0)
        .collect();
    let secret = !tls.credential_name.is_empty();
    match tls.mode {
        ClientTlsMode::Disable | ClientTlsMode::IstioMutual => {
            for name in set
                .iter()
                .copied()
                .chain(secret.then_some("credentialName"))
            {
                out.warn(
                    child(path, name),
                    format!("has no effect with mode {}", tls.mode),
                );
            }
        }
        ClientTlsMode::Simple | ClientTlsMode::Mutual if secret => {
            for name in set {
                out.error(child(path, name), "can't be set with credentialName");
            }
            if !tls.ca_crl.is_empty() {
                out.error(child(path, "caCrl"), "can't be set with credentialName");
            }
        }
        ClientTlsMode::Mutual => {
            for (name, value) in files.iter().take(2) {
                if value.is_empty() {
                    let message = "is required for mode MUTUAL without credentialName";
                    out.error(child(path, name), message);
                }
            }
        }
        ClientTlsMode::Simple | ClientTlsMode::Unknown(_) => {}
    }
    if tls.insecure_skip_verify == Some(true) {
        for (name, unset) in [
            ("caCertificates", tls.ca_certificates.is_empty()),
            ("subjectAltNames", tls.subject_alt_names.is_empty()),
        ] {
            if !unset {
                out.error(child(path, name), "can't be set with insecureSkipVerify");
            }
        }
    }
}

fn check_tunnel(tunnel: &TunnelSettings, path: &str, out: &mut Findings) {
    if !matches!(tunnel.protocol.as_str(), "" | "CONNECT" | "POST") {
        out.error(
            child(path, "protocol"),
            format!("{:?} must be CONNECT or POST", tunnel.protocol),
        );
    }
    if !tunnel.target_host.is_empty() && tunnel.target_host.parse::<std::net::IpAddr>().is_err() {
        out.check(child(path, "targetHost"), shared::fqdn(&tunnel.target_host));
    }
    out.check(child(path, "targetPort"), shared::port(tunnel.target_port));
}

fn check_budget(budget: &RetryBudget, path: &str, out: &mut Findings) {
    shared::duration_or_zero(&budget.budget_interval, path, "budgetInterval", out);
}
