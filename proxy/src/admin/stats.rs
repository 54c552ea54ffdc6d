//! `/stats` and `/stats/prometheus`.

use std::fmt::Write;

use http::{HeaderValue, StatusCode, header};
use ironsail_runtime::admin::{Request, Response, text};
use regex::Regex;
use serde_json::json;

use super::{Query, Source};

/// Content type of Prometheus text, version 0.0.4.
pub const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub async fn serve(source: Source, request: Request) -> Response {
    let query = Query::of(&request);
    if query.get("format") == Some("prometheus") {
        return serve_prometheus(source, request).await;
    }
    let filter = match query.get("filter").map(Regex::new).transpose() {
        Ok(filter) => filter,
        Err(error) => {
            return text(
                StatusCode::BAD_REQUEST,
                format!("invalid filter: {error}\n"),
            );
        }
    };
    let used_only = query.has("usedonly");
    let stats: Vec<(String, u64)> = source
        .stats()
        .await
        .into_iter()
        .filter(|(name, value)| {
            filter.as_ref().is_none_or(|filter| filter.is_match(name))
                && (!used_only || *value != 0)
        })
        .collect();
    if query.is_json() {
        let entries: Vec<_> = stats
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        return super::json(&json!({"stats": entries}));
    }
    let mut lines = String::new();
    for (name, value) in &stats {
        let _ = writeln!(lines, "{name}: {value}");
    }
    text(StatusCode::OK, lines)
}

pub async fn serve_prometheus(source: Source, _request: Request) -> Response {
    prometheus_response(source.prometheus().await)
}

/// An answer in Prometheus text form.
pub fn prometheus_response(body: String) -> Response {
    let mut response = text(StatusCode::OK, body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(PROMETHEUS_TEXT),
    );
    response
}
