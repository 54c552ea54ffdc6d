//! Metrics under the names of the peer's last operator.

use std::collections::HashMap;

use ironsail_crds::operator::{IstioOperatorStatus, Status};
use ironsail_mesh::VERSION;
use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder as _, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::plan::Owner;

const PREFIX: &str = "istio_install_operator_";
/// Labels of what is about one IstioOperator; `namespace` and `name` would be taken for the pod's.
const NAMESPACE: &str = "resource_namespace";
const NAME: &str = "resource";

/// All metrics of the operator; clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    pub reconcile_requests: IntCounter,
    /// Reconciliations that failed and are retried.
    pub reconcile_errors: IntCounter,
    /// Errors of the watch of IstioOperators.
    pub get_cr_errors: IntCounter,
    /// Profiles that could not be merged with a spec.
    pub cr_merge_failures: IntCounter,
    pub cr_deletions: IntCounter,
    pub cr_validation_errors: IntCounter,
    /// By component.
    pub rendered: IntCounterVec,
    pub render_errors: IntCounter,
    /// Overlays and settings that had no effect.
    pub patch_errors: IntCounter,
    /// Settings of older versions that were found in specs.
    pub legacy_paths: IntCounter,
    /// How often what is remembered of an object was dropped.
    pub cache_flushes: IntCounter,
    /// By kind and revision.
    pub owned: IntGaugeVec,
    /// By kind and revision, like the following.
    pub created: IntCounterVec,
    pub updated: IntCounterVec,
    pub deleted: IntCounterVec,
    pub pruned: IntCounterVec,
    /// By namespace, name and condition; only the leader has them, and the following.
    conditions: IntGaugeVec,
    /// By namespace, name and component.
    components: IntGaugeVec,
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
            reconcile_errors: counter(
                &registry,
                "reconcile_error_total",
                "Reconciliations that failed and are retried.",
            ),
            cr_merge_failures: counter(
                &registry,
                "cr_merge_failure_total",
                "IstioOperator objects whose profile could not be merged.",
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
            legacy_paths: counter(
                &registry,
                "legacy_path_translation_total",
                "Settings of older versions that were found.",
            ),
            cache_flushes: counter(
                &registry,
                "cache_flush_total",
                "How often what is remembered of an IstioOperator object was dropped.",
            ),
            conditions: gauge(
                &registry,
                "cr_condition",
                "Whether a condition of an IstioOperator object holds.",
                &[NAMESPACE, NAME, "condition"],
            ),
            components: gauge(
                &registry,
                "cr_component_healthy",
                "Whether a component of an IstioOperator object is installed and ready.",
                &[NAMESPACE, NAME, "component"],
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

    /// Shows the state of an object.
    pub fn show(&self, owner: &Owner, status: &IstioOperatorStatus) {
        let set = |gauge: &IntGaugeVec, of: &str, holds: bool| {
            let labels = [&*owner.namespace, &*owner.name, of];
            gauge.with_label_values(&labels).set(i64::from(holds));
        };
        for condition in &status.conditions {
            let holds = condition.status == "True";
            set(&self.conditions, &condition.type_, holds);
        }
        for (component, state) in &status.component_status {
            let healthy = state.status == Status::Healthy;
            set(&self.components, component, healthy);
        }
    }

    /// Forgets the state of an object.
    pub fn hide(&self, owner: &Owner) {
        for gauge in [&self.conditions, &self.components] {
            let families = gauge.collect();
            for metric in families.iter().flat_map(MetricFamily::get_metric) {
                let labels: HashMap<&str, &str> = metric
                    .get_label()
                    .iter()
                    .map(|label| (label.name(), label.value()))
                    .collect();
                if labels.get(NAMESPACE) == Some(&&*owner.namespace)
                    && labels.get(NAME) == Some(&&*owner.name)
                {
                    // Nobody else removes it.
                    let _ = gauge.remove(&labels);
                }
            }
        }
    }

    /// Forgets the state of all objects: another process leads.
    pub fn hide_all(&self) {
        self.conditions.reset();
        self.components.reset();
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

    /// Names of the peer's last operator.
    const NAMES: [&str; 16] = [
        "version",
        "reconcile_request_total",
        "get_cr_error_total",
        "cr_merge_failure_total",
        "cr_deletion_total",
        "cr_validation_error_total",
        "render_manifest_total",
        "owned_resource_total",
        "resource_creation_total",
        "resource_update_total",
        "resource_deletion_total",
        "resource_prune_total",
        "manifest_patch_error_total",
        "manifest_render_error_total",
        "legacy_path_translation_total",
        "cache_flush_total",
    ];

    #[test]
    fn names_are_those_of_the_peer() {
        let metrics = Metrics::new();
        let labels = ["Service", "default"];
        for family in [
            &metrics.created,
            &metrics.updated,
            &metrics.deleted,
            &metrics.pruned,
        ] {
            family.with_label_values(&labels).inc();
        }
        metrics.owned.with_label_values(&labels).set(1);
        metrics.rendered.with_label_values(&["Pilot"]).inc();
        let text = metrics.text();
        for name in NAMES {
            assert!(
                text.contains(&format!("# TYPE {PREFIX}{name} ")),
                "{name} is not in\n{text}"
            );
        }
        for line in [
            "istio_install_operator_resource_creation_total{kind=\"Service\",revision=\"default\"} 1",
            &format!("istio_install_operator_version{{version=\"{VERSION}\"}} 1"),
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn conditions_are_shown_while_an_object_is_there() {
        use crate::status::{Observed, derive};
        let metrics = Metrics::new();
        let now = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
        let status = derive(None, &Observed::default(), now);
        let owner = |name: &str| Owner {
            namespace: "istio-system".to_owned(),
            name: name.to_owned(),
        };
        metrics.show(&owner("a"), &status);
        metrics.show(&owner("b"), &status);
        let line = |name: &str| {
            format!(
                "{PREFIX}cr_condition{{condition=\"Ready\",resource=\"{name}\",resource_namespace=\"istio-system\"}} 1"
            )
        };
        assert!(metrics.text().contains(&line("a")));
        metrics.hide(&owner("a"));
        assert!(!metrics.text().contains(&line("a")));
        assert!(metrics.text().contains(&line("b")));
    }
}
