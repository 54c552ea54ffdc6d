//! Metrics of the agent, the proxy and the application in one answer.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use ironsail_runtime::admin::{Request, Response};
use serde::Deserialize;
use tracing::debug;

use super::probe::{Target, get};
use super::{Config, MAX_APP_ANSWER_BYTES, SCRAPE_TIMEOUT};
use crate::admin::prometheus_response;
use crate::stats::Filter;

/// Where the application serves metrics, as its annotations said before injection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ScrapeTarget {
    /// `"true"` or `"false"`.
    scrape: String,
    path: String,
    port: String,
}

impl Default for ScrapeTarget {
    fn default() -> Self {
        Self {
            scrape: String::new(),
            path: "/metrics".to_owned(),
            port: "80".to_owned(),
        }
    }
}

impl ScrapeTarget {
    /// Parses `ISTIO_PROMETHEUS_ANNOTATIONS`; nothing when the application is not to be scraped.
    ///
    /// # Errors
    /// The text is no JSON of this shape.
    pub fn parse(json: &str) -> Result<Option<Self>, serde_json::Error> {
        let target: Self = serde_json::from_str(json)?;
        Ok((target.scrape == "true").then_some(target))
    }

    fn target(&self) -> Option<Target> {
        Some(Target {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: self.port.parse().ok()?,
            tls: false,
            from_passthrough: false,
        })
    }
}

pub async fn merged(config: Arc<Config>, request: Request) -> Response {
    let mut body = (config.agent_metrics)();
    if let Some(source) = &config.source {
        append(&mut body, &source.stats().prometheus(&Filter::default()));
    }
    let app = scrape_application(&config, &request).await;
    match app {
        Some((text, content_type)) => {
            append(&mut body, strip_end_marker(&text));
            let open_metrics = content_type.starts_with("application/openmetrics-text");
            if open_metrics {
                body.push_str("# EOF\n");
            }
            let mut response = prometheus_response(body);
            if let Ok(value) = HeaderValue::from_str(&content_type) {
                response.headers_mut().insert(CONTENT_TYPE, value);
            }
            response
        }
        None => prometheus_response(body),
    }
}

fn append(body: &mut String, part: &str) {
    body.push_str(part);
    if !body.is_empty() && !body.ends_with('\n') {
        body.push('\n');
    }
}

/// OpenMetrics ends with a marker, which may stand only once.
fn strip_end_marker(text: &str) -> &str {
    text.trim_end().strip_suffix("# EOF").unwrap_or(text)
}

/// Text and content type of the application's metrics; a failure leaves the other metrics alone.
async fn scrape_application(config: &Config, request: &Request) -> Option<(String, String)> {
    let scrape = config.scrape.as_ref()?;
    let target = scrape.target()?;
    const TIMEOUT_HEADER: HeaderName =
        HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
    let limit = request
        .headers()
        .get(TIMEOUT_HEADER)
        .and_then(|value| value.to_str().ok())
        .and_then(|seconds| seconds.parse().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(SCRAPE_TIMEOUT);
    let mut headers = HeaderMap::new();
    for name in [ACCEPT, TIMEOUT_HEADER] {
        if let Some(value) = request.headers().get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let answer = get(&target, &scrape.path, headers, MAX_APP_ANSWER_BYTES);
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) if answer.status.is_success() => {
            let content_type = answer
                .headers
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .unwrap_or(crate::admin::PROMETHEUS_TEXT)
                .to_owned();
            Some((
                String::from_utf8_lossy(&answer.body).into_owned(),
                content_type,
            ))
        }
        Ok(Ok(answer)) => {
            debug!(
                status = answer.status.as_u16(),
                "Application metrics refused"
            );
            None
        }
        Ok(Err(error)) => {
            debug!(%error, "Application metrics unavailable");
            None
        }
        Err(_) => {
            debug!("Application metrics timed out");
            None
        }
    }
}
