//! Admission webhooks on port 15017: injection and validation, and the webhook configurations that point here.

mod configuration;
mod inject;
mod validate;

use std::sync::Arc;

use ironsail_inject::InjectorConfig;
use ironsail_mesh::mesh_config::MeshConfig;
use ironsail_mesh::revision::Revision;
use ironsail_runtime::admin::Router;
use ironsail_runtime::readiness::Readiness;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use tokio::sync::watch;

pub use configuration::Configurations;

/// What injection depends on; replaced as a whole when a ConfigMap changes.
#[derive(Debug, Default)]
pub struct Settings {
    pub injector: InjectorConfig,
    pub mesh: MeshConfig,
}

/// What the webhooks share.
#[derive(Clone)]
pub struct Webhooks {
    pub settings: watch::Receiver<Arc<Settings>>,
    pub revision: Revision,
    /// Whether the cluster's kubelets keep init containers with `restartPolicy: Always` running.
    pub native_sidecars: watch::Receiver<bool>,
    pub metrics: Metrics,
}

/// Counters under the peer's names.
#[derive(Clone)]
pub struct Metrics {
    injections: IntCounter,
    injected: IntCounter,
    skipped: IntCounter,
    failed: IntCounterVec,
    valid: IntCounterVec,
    invalid: IntCounterVec,
}

impl Metrics {
    /// Registers `sidecar_injection_…` and `galley_validation_…`.
    ///
    /// # Errors
    /// A name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let labelled = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let resource = ["group", "version", "resource"];
        Ok(Self {
            injections: counter("sidecar_injection_requests_total", "Injection requests.")?,
            injected: counter(
                "sidecar_injection_success_total",
                "Pods that were injected.",
            )?,
            skipped: counter(
                "sidecar_injection_skip_total",
                "Pods that were left as they are.",
            )?,
            failed: labelled(
                "sidecar_injection_failure_total",
                "Pods that could not be injected.",
                &["reason"],
            )?,
            valid: labelled(
                "galley_validation_passed",
                "Objects that passed.",
                &resource,
            )?,
            invalid: labelled(
                "galley_validation_failed",
                "Objects that were refused.",
                &["group", "version", "resource", "reason"],
            )?,
        })
    }
}

impl Webhooks {
    /// `/inject`, `/inject/<key>/<value>/…`, `/validate` and `/ready`.
    pub fn router(self, readiness: Readiness) -> Router {
        let injecting = self.clone();
        let injecting_with = self.clone();
        Router::new()
            .readiness("/ready", readiness)
            .post("/inject", move |request| {
                inject::serve(injecting.clone(), request)
            })
            .prefix("/inject/", move |request| {
                inject::serve(injecting_with.clone(), request)
            })
            .post("/validate", move |request| {
                validate::serve(self.clone(), request)
            })
    }
}
