//! `/server_info`, `/ready`, `/certs`, `/memory`, `/logging`.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use ironsail_runtime::admin::{Request, Response, text};
use ironsail_runtime::process;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{CertificateStatus, Query, Source};

/// State of the whole proxy.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// `LIVE`, `DRAINING`, `PRE_INITIALIZING` or `INITIALIZING`.
    pub state: &'static str,
    pub uptime: Duration,
    pub concurrency: usize,
    pub node_id: String,
    pub node_cluster: String,
    pub node_metadata: Value,
}

/// `envoy.admin.v3.ServerInfo`.
pub async fn serve(source: Source, _request: Request) -> Response {
    let info = source.info();
    let uptime = format!("{}s", info.uptime.as_secs());
    super::json(&json!({
        "version": format!("ironsail/{}/{}", ironsail_mesh::VERSION, ironsail_mesh::ISTIO_VERSION),
        "state": info.state,
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": "disabled",
        "command_line_options": {
            "concurrency": info.concurrency,
            "service_cluster": info.node_cluster,
            "service_node": info.node_id,
        },
        "node": {
            "id": info.node_id,
            "cluster": info.node_cluster,
            "metadata": info.node_metadata,
        },
    }))
}

pub async fn serve_ready(source: Source, _request: Request) -> Response {
    let state = source.info().state;
    let status = match state {
        "LIVE" => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(status, format!("{state}\n"))
}

/// `envoy.admin.v3.Certificates`.
pub async fn serve_certificates(source: Source, _request: Request) -> Response {
    let (roots, leaves): (Vec<_>, Vec<_>) = source
        .certificates()
        .into_iter()
        .partition(|certificate| certificate.name == "ROOTCA");
    let details = |certificates: &[CertificateStatus]| -> Vec<Value> {
        certificates.iter().map(certificate_json).collect()
    };
    super::json(&json!({
        "certificates": [{"ca_cert": details(&roots), "cert_chain": details(&leaves)}],
    }))
}

fn certificate_json(certificate: &CertificateStatus) -> Value {
    let left = certificate
        .expires
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    let sans: Vec<Value> = certificate
        .uri_sans
        .iter()
        .map(|uri| json!({"uri": uri}))
        .collect();
    json!({
        "serial_number": certificate.serial,
        "subject_alt_names": sans,
        "days_until_expiration": (left.as_secs() / 86_400).to_string(),
        "valid_from": rfc3339(certificate.valid_from),
        "expiration_time": rfc3339(certificate.expires),
    })
}

/// A point in time as protobuf JSON has it.
pub fn rfc3339(at: SystemTime) -> String {
    OffsetDateTime::from(at)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// `envoy.admin.v3.Memory`, as far as it means something here.
pub async fn serve_memory(_source: Source, _request: Request) -> Response {
    let resident = process::resident_bytes().unwrap_or(0).to_string();
    super::json(
        &json!({"allocated": resident, "heap_size": resident, "total_physical_bytes": resident}),
    )
}

pub async fn serve_logging(source: Source, request: Request) -> Response {
    let query = Query::of(&request);
    let filter = match (query.get("level"), query.get("paths")) {
        (Some(level), _) => level.to_owned(),
        (None, Some(paths)) => paths.replace(':', "="),
        (None, None) => String::new(),
    };
    match source.set_log_level(&filter) {
        Ok(levels) => text(StatusCode::OK, format!("{levels}\n")),
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}
