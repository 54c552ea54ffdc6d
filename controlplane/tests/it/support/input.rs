//! Objects and nodes from text.

use std::sync::Arc;

use ironsail_controlplane::generate::{self, Cache, Resource};
use ironsail_controlplane::model::object::{Change, Object};
use ironsail_controlplane::model::proxy::{Proxy, ProxyNode};
use ironsail_controlplane::model::snapshot::{Options, Snapshot, SnapshotBuilder};
use ironsail_xds::cluster::Cluster;
use ironsail_xds::cluster::cluster::ClusterDiscoveryType;
use ironsail_xds::listener::Listener;
use ironsail_xds::{core, ext, protobuf};
use prost::Message;
use serde::Deserialize;
use serde_json::Value;

/// All documents of a YAML text.
pub fn documents(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("valid YAML"))
        .filter(|value| !value.is_null())
        .collect()
}

/// The object of a document; `None` for kinds that the model does not read.
pub fn object(value: &Value) -> Option<Object> {
    fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Box<T> {
        Box::new(serde_json::from_value(value.clone()).expect("an object of its kind"))
    }
    Some(match value["kind"].as_str()? {
        "Service" => Object::Service(read(value)),
        "EndpointSlice" => {
            let mut value = value.clone();
            if value["endpoints"].is_null() {
                value["endpoints"] = Value::Array(Vec::new());
            }
            Object::EndpointSlice(read(&value))
        }
        "Pod" => Object::Pod(read(value)),
        "Node" => Object::Node(read(value)),
        "VirtualService" => Object::VirtualService(read(value)),
        "DestinationRule" => Object::DestinationRule(read(value)),
        "Gateway" => Object::Gateway(read(value)),
        "PeerAuthentication" => Object::PeerAuthentication(read(value)),
        "Secret" => Object::Secret(read(value)),
        "MeshConfig" => Object::MeshConfig(read(&value["mesh"])),
        _ => return None,
    })
}

pub fn builder(documents: &[Value]) -> SnapshotBuilder {
    let mut builder = SnapshotBuilder::new(Options::default());
    for object in documents.iter().filter_map(object) {
        builder.apply(Change::Upsert(object));
    }
    builder
}

pub fn snapshot(documents: &[Value]) -> Arc<Snapshot> {
    builder(documents).snapshot().0
}

/// A node from its JSON form: `id`, `metadata`, `extensions` (names).
pub fn node(value: &Value) -> Arc<ProxyNode> {
    let extensions = value["extensions"].as_array().into_iter().flatten();
    let node = core::Node {
        id: value["id"].as_str().expect("a node id").to_owned(),
        metadata: value["metadata"].as_object().map(structure),
        extensions: extensions
            .map(|name| core::Extension {
                name: name.as_str().expect("a name").to_owned(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    Arc::new(ProxyNode::from_node(Some(&node)).expect("a valid node"))
}

fn structure(fields: &serde_json::Map<String, Value>) -> protobuf::Struct {
    protobuf::Struct {
        fields: fields
            .iter()
            .map(|(key, value)| (key.clone(), to_proto(value)))
            .collect(),
    }
}

fn to_proto(value: &Value) -> protobuf::Value {
    use protobuf::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().expect("a number")),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => Kind::ListValue(protobuf::ListValue {
            values: values.iter().map(to_proto).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(structure(fields)),
    };
    protobuf::Value { kind: Some(kind) }
}

/// Everything that a proxy asks for, one type after the other.
pub struct Answers {
    pub clusters: Vec<Resource>,
    pub endpoints: Vec<Resource>,
    pub listeners: Vec<Resource>,
    pub routes: Vec<Resource>,
}

impl Answers {
    /// What a client would get: names of endpoints and routes come from clusters and listeners.
    pub fn new(snapshot: &Snapshot, node: &Arc<ProxyNode>, cache: &Cache) -> Self {
        let proxy = Proxy::new(node.clone(), snapshot);
        let clusters = generate::clusters(snapshot, &proxy, cache);
        let listeners = generate::listeners(snapshot, &proxy, cache);
        let endpoints = generate::endpoints(snapshot, &proxy, cache, cluster_names(&clusters));
        let routes = generate::routes(snapshot, &proxy, cache, route_names(&listeners));
        Self {
            clusters,
            endpoints,
            listeners,
            routes,
        }
    }
}

/// Names of the clusters whose endpoints come by discovery.
pub fn cluster_names(clusters: &[Resource]) -> Vec<String> {
    clusters
        .iter()
        .map(|resource| Cluster::decode(&*resource.body).expect("a cluster"))
        .filter(|cluster| cluster.cluster_discovery_type == Some(ClusterDiscoveryType::Type(3)))
        .map(|cluster| cluster.name)
        .collect()
}

/// Names of the route tables that listeners ask for, each once.
pub fn route_names(listeners: &[Resource]) -> Vec<String> {
    use ext::filters::network::http_connection_manager::v3::HttpConnectionManager;
    use ext::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
    use ironsail_xds::listener::filter::ConfigType;
    let mut names = Vec::new();
    for resource in listeners {
        let listener = Listener::decode(&*resource.body).expect("a listener");
        for filter in listener
            .filter_chains
            .into_iter()
            .flat_map(|chain| chain.filters)
        {
            let Some(ConfigType::TypedConfig(config)) = filter.config_type else {
                continue;
            };
            let Ok(manager) = ironsail_xds::unpack::<HttpConnectionManager>(&config) else {
                continue;
            };
            if let Some(RouteSpecifier::Rds(rds)) = manager.route_specifier {
                names.push(rds.route_config_name);
            }
        }
    }
    names.sort();
    names.dedup();
    names
}
