//! What the kubelet and Prometheus ask the pod: ports 15020, 15021 and 15090.
//!
//! 15020 serves readiness, merged metrics, the application's rewritten probes and lifecycle hooks; 15021 only readiness;
//! 15090 only the proxy's own metrics. Paths are the peer's.

mod metrics;
mod probe;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use ironsail_runtime::admin::{Peer, Request, Response, Router, text};
use ironsail_runtime::readiness::Readiness;

pub use metrics::ScrapeTarget;
pub use probe::{Probes, ProbesError};

use crate::admin::AdminSource;
use crate::stats::Filter;

/// What the status port needs to know.
pub struct Config {
    pub readiness: Readiness,
    /// Absent where there is only an agent.
    pub source: Option<Arc<dyn AdminSource>>,
    /// The pod's address: probes go there, not to loopback.
    pub pod_ip: IpAddr,
    /// `ISTIO_KUBE_APP_PROBERS`.
    pub probes: Probes,
    /// `ISTIO_PROMETHEUS_ANNOTATIONS`, when the application has metrics of its own.
    pub scrape: Option<ScrapeTarget>,
    /// Metrics of the agent, `istio_agent_…`.
    pub agent_metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// The router of port 15020.
pub fn router(config: Config) -> Router {
    let config = Arc::new(config);
    let mut router = readiness_router(config.readiness.clone());
    for path in ["/stats/prometheus", "/metrics"] {
        let config = Arc::clone(&config);
        router = router.get(path, move |request| {
            metrics::merged(Arc::clone(&config), request)
        });
    }
    let probing = Arc::clone(&config);
    router = router.prefix("/app-health/", move |request| {
        let config = Arc::clone(&probing);
        async move {
            config
                .probes
                .answer(request.uri().path(), config.pod_ip)
                .await
        }
    });
    let lifecycle = Arc::clone(&config);
    router = router.prefix("/app-lifecycle/", move |request| {
        let config = Arc::clone(&lifecycle);
        async move {
            config
                .probes
                .answer(request.uri().path(), config.pod_ip)
                .await
        }
    });
    let Some(source) = config.source.clone() else {
        return router;
    };
    let quitting = Arc::clone(&source);
    router = router.any("/quitquitquit", move |request| {
        let source = Arc::clone(&quitting);
        async move { local_post(&request, || source.quit()) }
    });
    router.any("/drain", move |request| {
        let source = Arc::clone(&source);
        async move { local_post(&request, || source.drain(true)) }
    })
}

/// The router of port 15021.
pub fn readiness_router(readiness: Readiness) -> Router {
    Router::new().readiness("/healthz/ready", readiness)
}

/// The router of port 15090.
pub fn prometheus_router(source: Arc<dyn AdminSource>) -> Router {
    Router::new().get("/stats/prometheus", move |_| {
        let body = source.stats().prometheus(&Filter::default());
        async move { crate::admin::prometheus_response(body) }
    })
}

/// Carries out `action` for a POST from this pod.
fn local_post(request: &Request, action: impl FnOnce()) -> Response {
    let is_local = request
        .extensions()
        .get::<Peer>()
        .is_some_and(|peer| peer.0.ip().to_canonical().is_loopback());
    if request.method() != Method::POST {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed, use POST\n",
        );
    }
    if !is_local {
        return text(
            StatusCode::FORBIDDEN,
            "only requests from localhost are allowed\n",
        );
    }
    action();
    text(StatusCode::OK, "OK\n")
}

/// Limit of what is read from an application, for metrics and probes alike.
const MAX_APP_ANSWER_BYTES: usize = 10 * 1024 * 1024;

/// Time for the application's metrics when Prometheus names none.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
