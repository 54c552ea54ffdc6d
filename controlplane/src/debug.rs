//! Debugging over HTTP on ports 8080 and 15014: `/debug/…`, with the peer's paths.

use std::sync::Arc;

use http::StatusCode;
use ironsail_runtime::admin::{Response, Router, json, text};
use serde_json::{Value, json as object};
use tokio::sync::watch;

use crate::push::Publisher;
use crate::webhook::Settings;
use crate::xds::Connections;

/// What is shown.
#[derive(Clone)]
pub struct Source {
    pub publisher: Publisher,
    pub connections: Connections,
    pub settings: watch::Receiver<Option<Arc<Settings>>>,
}

const HELP: &str = "\
/debug/syncz: proxies and how far they are
/debug/connections: proxies connected to this replica
/debug/mesh: the mesh configuration in use
/debug/push_status: the snapshot in use
";

/// The routes, to which each port adds its own.
pub fn router(source: Source) -> Router {
    let syncz = source.clone();
    let connections = source.clone();
    let mesh = source.clone();
    Router::new()
        .get("/debug", |_| async { text(StatusCode::OK, HELP) })
        .get("/debug/list", |_| async { text(StatusCode::OK, HELP) })
        .get("/debug/syncz", move |_| {
            let answer = pretty(&syncz.connections.syncz());
            async move { answer }
        })
        .get("/debug/connections", move |_| {
            let answer = pretty(&list(&connections.connections));
            async move { answer }
        })
        .get("/debug/mesh", move |_| {
            let settings = mesh.settings.borrow().clone();
            let answer = match settings {
                Some(settings) => pretty(&object!(settings.mesh)),
                None => text(StatusCode::SERVICE_UNAVAILABLE, "not read yet\n"),
            };
            async move { answer }
        })
        .get("/debug/push_status", move |_| {
            let generation = source
                .publisher
                .current()
                .map(|snapshot| snapshot.generation);
            let clients = source.connections.list().len();
            let answer = pretty(&object!({"generation": generation, "clients": clients}));
            async move { answer }
        })
}

fn list(connections: &Connections) -> Value {
    let clients: Vec<Value> = connections
        .list()
        .iter()
        .map(|connection| {
            object!({
                "connectionId": connection.node_id,
                "proxy": connection.proxy,
                "address": connection.peer,
            })
        })
        .collect();
    object!({"totalClients": clients.len(), "clients": clients})
}

fn pretty(value: &Value) -> Response {
    json(StatusCode::OK, format!("{value:#}\n"))
}
