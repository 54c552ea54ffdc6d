//! What readers of metrics get: Prometheus' text, and Envoy's plain and JSON lists.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::atomic::Ordering;

use regex::Regex;

use super::Registry;
use super::histogram::Snapshot;
use super::istio::{RequestSeries, TcpSeries};
use super::labels::escape;

/// Which statistics to show.
#[derive(Debug, Default)]
pub struct Filter {
    /// Names that match somewhere.
    pub name: Option<Regex>,
    /// Leave out what was never changed.
    pub used_only: bool,
}

impl Filter {
    fn admits(&self, name: &str, used: bool) -> bool {
        (used || !self.used_only) && self.name.as_ref().is_none_or(|name_| name_.is_match(name))
    }
}

/// Istio's request metrics with the same labels, of all workers.
#[derive(Default)]
struct Requests {
    total: u64,
    duration: Option<Snapshot>,
    request_bytes: Option<Snapshot>,
    response_bytes: Option<Snapshot>,
}

#[derive(Default)]
struct Tcp {
    opened: u64,
    closed: u64,
    sent: u64,
    received: u64,
}

type Counters = BTreeMap<String, u64>;

/// One metric's series: labels to values, in order of labels.
type Family<T> = BTreeMap<String, T>;

#[derive(Default)]
struct Istio {
    requests: Family<u64>,
    duration: Family<Snapshot>,
    request_bytes: Family<Snapshot>,
    response_bytes: Family<Snapshot>,
    request_messages: Family<u64>,
    response_messages: Family<u64>,
    tcp_opened: Family<u64>,
    tcp_closed: Family<u64>,
    tcp_sent: Family<u64>,
    tcp_received: Family<u64>,
}

impl Istio {
    fn collect(registry: &Registry) -> Self {
        let mut requests: HashMap<String, Requests> = HashMap::new();
        let mut tcp: HashMap<String, Tcp> = HashMap::new();
        let mut all = Self::default();
        for shard in registry.published() {
            for series in shard.requests() {
                all.add_messages(&series);
                let entry = requests
                    .entry(series.labels.as_str().to_owned())
                    .or_default();
                entry.add(&series);
            }
            for series in shard.tcp() {
                tcp.entry(series.labels.as_str().to_owned())
                    .or_default()
                    .add(&series);
            }
        }
        for (labels, sums) in requests {
            let put = |family: &mut Family<Snapshot>, value: Option<Snapshot>| {
                if let Some(value) = value {
                    family.insert(labels.clone(), value);
                }
            };
            put(&mut all.duration, sums.duration);
            put(&mut all.request_bytes, sums.request_bytes);
            put(&mut all.response_bytes, sums.response_bytes);
            all.requests.insert(labels, sums.total);
        }
        for (labels, sums) in tcp {
            all.tcp_opened.insert(labels.clone(), sums.opened);
            all.tcp_closed.insert(labels.clone(), sums.closed);
            all.tcp_sent.insert(labels.clone(), sums.sent);
            all.tcp_received.insert(labels, sums.received);
        }
        all
    }

    fn add_messages(&mut self, series: &RequestSeries) {
        let sent = series.request_messages.load(Ordering::Relaxed);
        let received = series.response_messages.load(Ordering::Relaxed);
        if series.dropped.messages || (sent == 0 && received == 0) {
            return;
        }
        let labels = series.message_labels.as_str();
        *self.request_messages.entry(labels.to_owned()).or_default() += sent;
        *self.response_messages.entry(labels.to_owned()).or_default() += received;
    }

    fn counters(&self) -> [(&'static str, &Family<u64>); 7] {
        [
            ("istio_requests_total", &self.requests),
            ("istio_request_messages_total", &self.request_messages),
            ("istio_response_messages_total", &self.response_messages),
            ("istio_tcp_connections_opened_total", &self.tcp_opened),
            ("istio_tcp_connections_closed_total", &self.tcp_closed),
            ("istio_tcp_sent_bytes_total", &self.tcp_sent),
            ("istio_tcp_received_bytes_total", &self.tcp_received),
        ]
    }

    fn histograms(&self) -> [(&'static str, &Family<Snapshot>); 3] {
        [
            ("istio_request_duration_milliseconds", &self.duration),
            ("istio_request_bytes", &self.request_bytes),
            ("istio_response_bytes", &self.response_bytes),
        ]
    }
}

impl Requests {
    fn add(&mut self, series: &RequestSeries) {
        let dropped = series.dropped;
        if !dropped.requests {
            self.total += series.requests();
        }
        for (slot, histogram, dropped) in [
            (&mut self.duration, &series.duration, dropped.duration),
            (
                &mut self.request_bytes,
                &series.request_bytes,
                dropped.request_bytes,
            ),
            (
                &mut self.response_bytes,
                &series.response_bytes,
                dropped.response_bytes,
            ),
        ] {
            if !dropped {
                histogram.add_to(slot.get_or_insert_default());
            }
        }
    }
}

impl Tcp {
    fn add(&mut self, series: &TcpSeries) {
        for (sum, cell) in [
            (&mut self.opened, &series.opened),
            (&mut self.closed, &series.closed),
            (&mut self.sent, &series.sent),
            (&mut self.received, &series.received),
        ] {
            *sum += cell.load(Ordering::Relaxed);
        }
    }
}

impl Registry {
    /// Everything in Prometheus' text format, version 0.0.4.
    pub fn prometheus(&self, filter: &Filter) -> String {
        let mut out = String::with_capacity(16 * 1024);
        let istio = Istio::collect(self);
        for (name, family) in istio.counters() {
            let kept: Vec<_> = family
                .iter()
                .filter(|(_, value)| filter.admits(name, **value > 0))
                .collect();
            if !kept.is_empty() {
                type_line(&mut out, name, "counter");
            }
            for (labels, value) in kept {
                sample(&mut out, name, labels, *value);
            }
        }
        for (name, family) in istio.histograms() {
            if family.is_empty() || !filter.admits(name, true) {
                continue;
            }
            type_line(&mut out, name, "histogram");
            for (labels, snapshot) in family {
                self.histogram(&mut out, name, labels, snapshot);
            }
        }
        self.build_info(&mut out, filter);
        self.envoy(&mut out, filter);
        out
    }

    fn histogram(&self, out: &mut String, name: &str, labels: &str, snapshot: &Snapshot) {
        let bounds = self
            .bounds
            .texts()
            .iter()
            .map(String::as_str)
            .chain(["+Inf"]);
        let mut cumulated = 0;
        for (bound, count) in bounds.zip(&snapshot.buckets) {
            cumulated += count;
            // Writing to memory does not fail, here and below.
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {cumulated}");
        }
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", snapshot.sum);
        let _ = writeln!(out, "{name}_count{{{labels}}} {cumulated}");
    }

    fn build_info(&self, out: &mut String, filter: &Filter) {
        if filter.admits("istio_build", true) {
            type_line(out, "istio_build", "gauge");
            let mut tag = String::new();
            escape(&self.version, &mut tag);
            let _ = writeln!(out, "istio_build{{component=\"proxy\",tag=\"{tag}\"}} 1");
        }
    }

    fn envoy(&self, out: &mut String, filter: &Filter) {
        let mut families: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
        for (name, value) in self.counters() {
            if filter.admits(&name, value > 0) {
                let (family, labels) = prometheus_name(&name);
                families.entry(family).or_default().push((labels, value));
            }
        }
        for (family, series) in families {
            let kind = if is_gauge(&family) {
                "gauge"
            } else {
                "counter"
            };
            type_line(out, &family, kind);
            for (labels, value) in series {
                sample(out, &family, &labels, value);
            }
        }
    }

    /// All statistics as lines `name: value`, in order of names.
    pub fn text(&self, filter: &Filter) -> String {
        let mut out = String::new();
        for (name, value) in self.list(filter) {
            let _ = writeln!(out, "{name}: {value}");
        }
        out
    }

    /// All statistics as Envoy's JSON: `{"stats":[{"name":…,"value":…}]}`.
    pub fn json(&self, filter: &Filter) -> String {
        let stats: Vec<_> = self
            .list(filter)
            .into_iter()
            .map(|(name, value)| serde_json::json!({ "name": name, "value": value }))
            .collect();
        serde_json::json!({ "stats": stats }).to_string()
    }

    fn list(&self, filter: &Filter) -> Counters {
        let istio = Istio::collect(self);
        let mut all: Counters = Counters::new();
        for (name, family) in istio.counters() {
            for (labels, value) in family {
                all.insert(format!("{name}{{{labels}}}"), *value);
            }
        }
        for (name, family) in istio.histograms() {
            for (labels, snapshot) in family {
                all.insert(format!("{name}_count{{{labels}}}"), snapshot.count());
                all.insert(format!("{name}_sum{{{labels}}}"), snapshot.sum);
            }
        }
        all.extend(self.counters());
        all.retain(|name, value| filter.admits(name, *value > 0));
        all
    }
}

fn type_line(out: &mut String, name: &str, kind: &str) {
    let _ = writeln!(out, "# TYPE {name} {kind}");
}

fn sample(out: &mut String, name: &str, labels: &str, value: u64) {
    if labels.is_empty() {
        let _ = writeln!(out, "{name} {value}");
    } else {
        let _ = writeln!(out, "{name}{{{labels}}} {value}");
    }
}

/// Envoy's own names do not tell counters from gauges; these endings are gauges.
fn is_gauge(family: &str) -> bool {
    const GAUGES: &[&str] = &[
        "_active",
        "_healthy",
        "_degraded",
        "_warming",
        "_draining",
        "_live",
        "_state",
        "_uptime",
        "_memory_allocated",
        "_memory_heap_size",
        "_concurrency",
        "_version",
        "_membership_total",
        "_cluster_manager_active_clusters",
        "_total_connections",
        "_parent_connections",
        "_workers_started",
        "_days_until_first_cert_expiring",
        "_connected_state",
        "_open",
    ];
    GAUGES.iter().any(|ending| family.ends_with(ending))
}

/// Envoy's dotted name as Prometheus' name and labels: parts that name a configured object become a label.
///
/// `cluster.outbound|80||a.b;.upstream_rq_5xx` becomes `envoy_cluster_upstream_rq_xx` with the labels
/// `response_code_class="5"` and `cluster_name="outbound|80||a.b"`.
pub fn prometheus_name(name: &str) -> (String, String) {
    const SCOPES: &[(&str, &str)] = &[
        ("cluster", "cluster_name"),
        ("http", "http_conn_manager_prefix"),
        ("tcp", "tcp_prefix"),
        ("listener", "listener_address"),
    ];
    let mut labels = String::new();
    let mut label = |name: &str, value: &str| {
        if !labels.is_empty() {
            labels.push(',');
        }
        let _ = write!(labels, "{name}=\"");
        escape(value, &mut labels);
        labels.push('"');
    };
    let scoped = SCOPES.iter().find_map(|(scope, label)| {
        let rest = name.strip_prefix(scope)?.strip_prefix('.')?;
        let (object, leaf) = rest.split_once(";.").or_else(|| rest.rsplit_once('.'))?;
        Some((*scope, *label, object, leaf))
    });
    let Some((scope, label_name, object, leaf)) = scoped else {
        return (sanitized(&format!("envoy_{name}")), labels);
    };
    let class = leaf
        .strip_suffix("xx")
        .and_then(|rest| rest.rsplit_once('_'))
        .filter(|(_, digit)| matches!(*digit, "1" | "2" | "3" | "4" | "5"));
    let leaf = match class {
        Some((stem, digit)) => {
            label("response_code_class", digit);
            format!("{stem}_xx")
        }
        None => leaf.to_owned(),
    };
    // Statistics of a listener's TLS are a group of their own below its name.
    let (object, leaf) = match object.strip_suffix(".ssl") {
        Some(object) => (object, format!("ssl_{leaf}")),
        None => (object, leaf),
    };
    label(label_name, object);
    (sanitized(&format!("envoy_{scope}_{leaf}")), labels)
}

fn sanitized(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect()
}
