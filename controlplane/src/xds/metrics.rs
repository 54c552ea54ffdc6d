//! Metrics of discovery, under the peer's names.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
};

use crate::xds::resource_type::ResourceType;
use crate::xds::session::{Event, Response};

#[derive(Clone)]
pub struct Metrics {
    clients: IntGaugeVec,
    pushes: IntCounterVec,
    rejects: IntCounterVec,
    stale: IntCounterVec,
    size: HistogramVec,
    pub convergence: Histogram,
}

impl Metrics {
    /// # Errors
    /// A name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            clients: IntGaugeVec::new(
                Opts::new("pilot_xds", "Clients connected over xDS."),
                &["version"],
            )?,
            pushes: IntCounterVec::new(
                Opts::new("pilot_xds_pushes", "Responses sent, by type."),
                &["type"],
            )?,
            rejects: IntCounterVec::new(
                Opts::new(
                    "pilot_total_xds_rejects",
                    "Responses that clients rejected.",
                ),
                &["type"],
            )?,
            stale: IntCounterVec::new(
                Opts::new(
                    "pilot_xds_expired_nonce",
                    "Requests with a nonce of the past.",
                ),
                &["type"],
            )?,
            size: HistogramVec::new(
                HistogramOpts::new(
                    "pilot_xds_config_size_bytes",
                    "Bytes of resources per response.",
                )
                .buckets(vec![1e4, 1e6, 4e6, 1e7, 4e7]),
                &["type"],
            )?,
            convergence: Histogram::with_opts(
                HistogramOpts::new(
                    "pilot_proxy_convergence_time",
                    "Seconds from a change to the last response about it, per client.",
                )
                .buckets(vec![0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0]),
            )?,
        };
        registry.register(Box::new(metrics.clients.clone()))?;
        registry.register(Box::new(metrics.pushes.clone()))?;
        registry.register(Box::new(metrics.rejects.clone()))?;
        registry.register(Box::new(metrics.stale.clone()))?;
        registry.register(Box::new(metrics.size.clone()))?;
        registry.register(Box::new(metrics.convergence.clone()))?;
        Ok(metrics)
    }

    pub fn connected(&self, version: &str, by: i64) {
        self.clients.with_label_values(&[version]).add(by);
    }

    pub fn sent(&self, response: &Response) {
        let kind = response.kind.short();
        self.pushes.with_label_values(&[kind]).inc();
        let bytes: usize = response
            .resources
            .iter()
            .map(|resource| resource.body.len())
            .sum();
        self.size.with_label_values(&[kind]).observe(bytes as f64);
    }

    pub fn event(&self, kind: ResourceType, event: &Event) {
        match event {
            Event::Rejected(_) => self.rejects.with_label_values(&[kind.short()]).inc(),
            Event::Stale => self.stale.with_label_values(&[kind.short()]).inc(),
            Event::Subscribed | Event::Acknowledged => {}
        }
    }
}
