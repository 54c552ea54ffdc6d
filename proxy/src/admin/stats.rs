//! `/stats` and `/stats/prometheus`.

use http::StatusCode;
use ironsail_runtime::admin::{Request, Response, text, typed};
use regex::Regex;

use super::{Query, Source};
use crate::stats::Filter;

/// Content type of Prometheus text, version 0.0.4.
pub const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub async fn serve(source: Source, request: Request) -> Response {
    let query = Query::of(&request);
    let name = match query.get("filter").map(Regex::new).transpose() {
        Ok(name) => name,
        Err(error) => {
            return text(
                StatusCode::BAD_REQUEST,
                format!("invalid filter: {error}\n"),
            );
        }
    };
    let filter = Filter {
        name,
        used_only: query.has("usedonly"),
    };
    match query.get("format") {
        Some("prometheus") => prometheus_response(source.stats().prometheus(&filter)),
        Some("json") => {
            let body = source.stats().json(&filter);
            typed(StatusCode::OK, "application/json", body)
        }
        _ => text(StatusCode::OK, source.stats().text(&filter)),
    }
}

pub async fn serve_prometheus(source: Source, _request: Request) -> Response {
    prometheus_response(source.stats().prometheus(&Filter::default()))
}

/// An answer in Prometheus text form.
pub fn prometheus_response(body: String) -> Response {
    typed(StatusCode::OK, PROMETHEUS_TEXT, body)
}
