//! Metrics under the names of the peer's last operator.

use ironsail_mesh::VERSION;
use prometheus::{
    Encoder as _, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

const PREFIX: &str = "istio_install_operator_";

/// All metrics of the operator; clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    pub reconcile_requests: IntCounter,
    /// Errors of the watch of IstioOperators.
    pub get_cr_errors: IntCounter,
    pub cr_deletions: IntCounter,
    pub cr_validation_errors: IntCounter,
    /// By component.
    pub rendered: IntCounterVec,
    pub render_errors: IntCounter,
    /// Overlays and settings that had no effect.
    pub patch_errors: IntCounter,
    /// By kind and revision.
    pub owned: IntGaugeVec,
    /// By kind and revision, like the following.
    pub created: IntCounterVec,
    pub updated: IntCounterVec,
    pub deleted: IntCounterVec,
    pub pruned: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::new();
        let version = gauge(
            &registry,
            "version",
            "Version of the operator.",
            &["version"],
        );
        version.with_label_values(&[VERSION]).set(1);
        let resources =
            |name: &str, help: &str| counters(&registry, name, help, &["kind", "revision"]);
        Self {
            reconcile_requests: counter(&registry, "reconcile_request_total", "Reconciliations."),
            get_cr_errors: counter(
                &registry,
                "get_cr_error_total",
                "Errors of the watch of IstioOperator objects.",
            ),
            cr_deletions: counter(
                &registry,
                "cr_deletion_total",
                "Deleted IstioOperator objects.",
            ),
            cr_validation_errors: counter(
                &registry,
                "cr_validation_error_total",
                "IstioOperator objects that were refused.",
            ),
            rendered: counters(
                &registry,
                "render_manifest_total",
                "Renderings by component.",
                &["component"],
            ),
            render_errors: counter(
                &registry,
                "manifest_render_error_total",
                "Failed renderings.",
            ),
            patch_errors: counter(
                &registry,
                "manifest_patch_error_total",
                "Settings and overlays of components that had no effect.",
            ),
            owned: gauge(
                &registry,
                "owned_resource_total",
                "Objects that belong to IstioOperator objects.",
                &["kind", "revision"],
            ),
            created: resources("resource_creation_total", "Objects that were created."),
            updated: resources("resource_update_total", "Objects that were changed."),
            deleted: resources(
                "resource_deletion_total",
                "Objects deleted with their owner.",
            ),
            pruned: resources("resource_prune_total", "Objects deleted because unwanted."),
            registry,
        }
    }

    /// All metrics in the text format of Prometheus.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        let families = self.registry.gather();
        match TextEncoder::new().encode(&families, &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("# {error}\n"),
        }
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("{PREFIX}{name}"), help)
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let metric = IntCounter::with_opts(opts(name, help)).expect("the name is valid");
    registry
        .register(Box::new(metric.clone()))
        .expect("the name is used once");
    metric
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let metric = IntCounterVec::new(opts(name, help), labels).expect("the name is valid");
    registry
        .register(Box::new(metric.clone()))
        .expect("the name is used once");
    metric
}

fn gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let metric = IntGaugeVec::new(opts(name, help), labels).expect("the name is valid");
    registry
        .register(Box::new(metric.clone()))
        .expect("the name is used once");
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_peer() {
        let metrics = Metrics::new();
        metrics.reconcile_requests.inc();
        metrics
            .created
            .with_label_values(&["Service", "default"])
            .inc();
        let text = metrics.text();
        for line in [
            "istio_install_operator_reconcile_request_total 1",
            "istio_install_operator_resource_creation_total{kind=\"Service\",revision=\"default\"} 1",
            &format!("istio_install_operator_version{{version=\"{VERSION}\"}} 1"),
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
