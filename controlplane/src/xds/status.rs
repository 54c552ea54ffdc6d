//! Who is connected, and how far they are: `/debug/syncz`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::xds::resource_type::ResourceType;
use crate::xds::session::{Session, TypeStatus};

/// All streams of this replica.
#[derive(Clone, Default)]
pub struct Connections {
    streams: Arc<Mutex<BTreeMap<u64, Connection>>>,
}

/// One stream.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `<pod>.<namespace>`
    pub proxy: String,
    pub node_id: String,
    pub istio_version: String,
    pub cluster_id: String,
    pub peer: String,
    pub since: SystemTime,
    pub types: BTreeMap<ResourceType, TypeStatus>,
}

impl Connections {
    pub fn add(&self, stream: u64, session: &Session, peer: &str) {
        let node = session.node();
        let metadata = &node.metadata;
        let connection = Connection {
            proxy: format!("{}.{}", node.id.pod, node.id.namespace),
            node_id: node.id.to_string(),
            istio_version: metadata.istio_version.clone().unwrap_or_default(),
            cluster_id: metadata.cluster_id.clone().unwrap_or_default(),
            peer: peer.to_owned(),
            since: SystemTime::now(),
            types: BTreeMap::new(),
        };
        self.lock().insert(stream, connection);
    }

    pub fn update(&self, stream: u64, session: &Session) {
        if let Some(connection) = self.lock().get_mut(&stream) {
            connection.types = session.status();
        }
    }

    pub fn remove(&self, stream: u64) {
        self.lock().remove(&stream);
    }

    pub fn list(&self) -> Vec<Connection> {
        self.lock().values().cloned().collect()
    }

    /// The peer's shape of `/debug/syncz`.
    pub fn syncz(&self) -> Value {
        self.list().iter().map(sync_status).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Connection>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sync_status(connection: &Connection) -> Value {
    let mut status = json!({
        "cluster_id": connection.cluster_id,
        "proxy": connection.proxy,
        "istio_version": connection.istio_version,
    });
    let names = [
        ("cluster", ResourceType::Cluster),
        ("listener", ResourceType::Listener),
        ("route", ResourceType::Route),
        ("endpoint", ResourceType::Endpoint),
    ];
    for (name, kind) in names {
        let Some(of_type) = connection.types.get(&kind) else {
            continue;
        };
        status[format!("{name}_sent")] = of_type.sent.clone().into();
        status[format!("{name}_acked")] = of_type.acknowledged.clone().into();
        if let Some(error) = &of_type.error {
            status[format!("{name}_error")] = error.clone().into();
        }
    }
    status
}
