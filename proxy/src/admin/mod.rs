//! The admin API on port 15000, for `pilot-agent request`, `istioctl proxy-config` and people.
//!
//! Paths, query parameters and shapes are Envoy's (<https://www.envoyproxy.io/docs/envoy/latest/operations/admin>);
//! what changes state needs POST. Served on loopback only. Secrets are never printed.

mod clusters;
mod config_dump;
mod info;
mod stats;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use ironsail_mesh::locality::Locality;
use ironsail_runtime::admin::{Request, Response, Router, text};

use crate::resource::endpoint::HealthStatus;
use crate::stats::Registry;

pub use config_dump::{PRINT_COMMAND, print_dump};
pub use info::ServerInfo;
pub use stats::{PROMETHEUS_TEXT, prometheus_response};

/// What the admin API shows and does.
pub trait AdminSource: Send + Sync + 'static {
    /// Accepted and rejected resources of a type, as they came.
    fn resources(&self, type_url: &str) -> Vec<DumpResource>;
    /// The bootstrap as protobuf, for the first section of the dump.
    fn bootstrap(&self) -> Bytes;
    fn clusters(&self) -> Answer<Vec<ClusterStatus>>;
    fn listeners(&self) -> Vec<ListenerStatus>;
    fn stats(&self) -> &Registry;
    fn info(&self) -> ServerInfo;
    /// Leaf and root certificates in use: PEM, without keys.
    fn certificates(&self) -> Vec<CertificateStatus>;
    /// Sets log levels: `level` for all or `<target>=<level>`; the answer lists what holds now.
    ///
    /// # Errors
    /// The text names no level.
    fn set_log_level(&self, filter: &str) -> Result<String, String>;
    /// Makes readiness fail or recover: `/healthcheck/fail`, `/healthcheck/ok`.
    fn set_healthy(&self, healthy: bool);
    fn drain(&self, inbound_only: bool);
    fn quit(&self);
}

/// An answer that may have to be collected from the workers.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One resource of a dump.
#[derive(Clone, Debug)]
pub struct DumpResource {
    pub name: String,
    pub version: String,
    pub last_updated: SystemTime,
    /// The resource's own encoding.
    pub body: Bytes,
    /// Why the newest version was rejected; the body is the last good one, or empty.
    pub error: Option<String>,
}

/// One cluster and its hosts, summed over all workers.
#[derive(Clone, Debug, Default)]
pub struct ClusterStatus {
    pub name: String,
    pub added_via_api: bool,
    /// Of requests of default and of high priority.
    pub default_limits: Limits,
    pub high_limits: Limits,
    pub hosts: Vec<HostStatus>,
}

/// Circuit breakers of one routing priority; `u32::MAX` is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub max_connections: u32,
    pub max_pending_requests: u32,
    pub max_requests: u32,
    pub max_retries: u32,
}

/// One host of a cluster.
#[derive(Clone, Debug)]
pub struct HostStatus {
    pub address: SocketAddr,
    /// As discovery says.
    pub health: HealthStatus,
    /// Outlier detection leaves it out.
    pub failed_outlier_check: bool,
    pub weight: u32,
    pub priority: u32,
    pub locality: Locality,
    pub cx_active: u64,
    pub cx_total: u64,
    pub cx_connect_fail: u64,
    pub rq_active: u64,
    pub rq_total: u64,
    pub rq_success: u64,
    pub rq_error: u64,
    pub rq_timeout: u64,
}

/// One listener.
#[derive(Clone, Debug)]
pub struct ListenerStatus {
    pub name: String,
    pub address: SocketAddr,
}

/// One certificate in use.
#[derive(Clone, Debug)]
pub struct CertificateStatus {
    /// `default` or `ROOTCA`.
    pub name: String,
    pub pem: String,
    pub serial: String,
    pub uri_sans: Vec<String>,
    pub valid_from: SystemTime,
    pub expires: SystemTime,
}

const HELP: &str = "\
admin commands are:
  /certs: certificates in use
  /clusters: upstream clusters and their hosts (?format=json)
  /config_dump: configuration as protobuf JSON (?include_eds, ?resource=, ?name_regex=)
  /drain_listeners (POST): drain (?inboundonly)
  /healthcheck/fail (POST), /healthcheck/ok (POST): fail or restore readiness
  /help: this list
  /listeners: listeners (?format=json)
  /logging (POST): log levels (?level=, ?paths=)
  /memory: memory in use
  /quitquitquit (POST): end the process
  /ready: state, 503 unless LIVE
  /server_info: version, state, node
  /stats: counters and gauges (?filter=, ?usedonly, ?format=json|prometheus)
  /stats/prometheus: all metrics in Prometheus text form
";

/// The router of port 15000.
pub fn router(source: Arc<dyn AdminSource>) -> Router {
    let mut router = Router::new();
    router = router.get("/", |_| async { text(StatusCode::OK, HELP) });
    router = router.get("/help", |_| async { text(StatusCode::OK, HELP) });
    router = add_get(router, &source, "/config_dump", config_dump::serve);
    router = add_get(router, &source, "/clusters", clusters::serve);
    router = add_get(router, &source, "/listeners", clusters::serve_listeners);
    router = add_get(router, &source, "/stats", stats::serve);
    router = add_get(
        router,
        &source,
        "/stats/prometheus",
        stats::serve_prometheus,
    );
    router = add_get(router, &source, "/server_info", info::serve);
    router = add_get(router, &source, "/ready", info::serve_ready);
    router = add_get(router, &source, "/certs", info::serve_certificates);
    router = add_get(router, &source, "/memory", info::serve_memory);
    router = add_post(router, &source, "/logging", info::serve_logging);
    router = add_post(
        router,
        &source,
        "/drain_listeners",
        |source, request| async move {
            source.drain(Query::of(&request).has("inboundonly"));
            ok()
        },
    );
    router = add_post(
        router,
        &source,
        "/healthcheck/fail",
        |source, _| async move {
            source.set_healthy(false);
            ok()
        },
    );
    router = add_post(router, &source, "/healthcheck/ok", |source, _| async move {
        source.set_healthy(true);
        ok()
    });
    add_post(router, &source, "/quitquitquit", |source, _| async move {
        source.quit();
        ok()
    })
}

type Source = Arc<dyn AdminSource>;

fn add_get<H, F>(router: Router, source: &Source, path: &str, handler: H) -> Router
where
    H: Fn(Source, Request) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let source = Arc::clone(source);
    router.get(path, move |request| handler(Arc::clone(&source), request))
}

fn add_post<H, F>(router: Router, source: &Source, path: &str, handler: H) -> Router
where
    H: Fn(Source, Request) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let source = Arc::clone(source);
    router.post(path, move |request| handler(Arc::clone(&source), request))
}

fn ok() -> Response {
    text(StatusCode::OK, "OK\n")
}

fn json(value: &serde_json::Value) -> Response {
    let body = format!("{value:#}\n");
    let mut response = text(StatusCode::OK, body);
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

/// Query parameters; a parameter without a value is present with an empty one.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &Request) -> Self {
        let query = request.uri().query().unwrap_or_default();
        Self(
            query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (name.to_owned(), decode(value))
                })
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "false")
    }

    fn is_json(&self) -> bool {
        self.get("format") == Some("json")
    }
}

/// Percent-decoding; what is no escape stays.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = (byte == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = match escape {
            Some(decoded) => {
                bytes.push(decoded);
                tail.get(2..).unwrap_or_default()
            }
            None => {
                bytes.push(if byte == b'+' { b' ' } else { byte });
                tail
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
