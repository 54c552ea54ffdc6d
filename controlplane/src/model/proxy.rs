//! One client of discovery: what it says about itself, and what the snapshot says about it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ironsail_mesh::label;
use ironsail_mesh::locality::Locality;
use ironsail_mesh::node::{NodeId, NodeIdError, NodeMetadata, NodeType};
use ironsail_xds::core;
use ironsail_xds::protobuf;
use serde_json::{Map, Value};

use crate::model::authentication::WorkloadMtls;
use crate::model::endpoint::Workload;
use crate::model::service::{Service, ServicePort, TargetPort};
use crate::model::snapshot::Snapshot;

/// Value of the metadata key `GENERATOR` of gRPC libraries.
const GRPC_GENERATOR: &str = "grpc";

/// Why a node message describes no proxy.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("the first request carries no node")]
    Missing,
    #[error(transparent)]
    Id(#[from] NodeIdError),
    #[error("node metadata cannot be read")]
    Metadata(#[source] serde_json::Error),
}

/// Which of Istio's own extensions a client can load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// Filters `istio.metadata_exchange`, `istio.stats`, `istio.alpn`.
    pub istio_filters: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            istio_filters: true,
        }
    }
}

impl Capabilities {
    /// A client that lists its extensions, and none of Istio's among them, is a plain Envoy. One
    /// that lists nothing is taken for a proxy of Istio, as the peer does.
    fn of(extensions: &[core::Extension]) -> Self {
        let is_istio = |extension: &core::Extension| {
            extension.name.starts_with("istio.")
                || extension
                    .type_urls
                    .iter()
                    .any(|url| ironsail_xds::type_name(url) == "stats.PluginConfig")
        };
        Self {
            istio_filters: extensions.is_empty() || extensions.iter().any(is_istio),
        }
    }
}

/// What a proxy says about itself; the same for the life of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyNode {
    pub id: NodeId,
    pub metadata: NodeMetadata,
    /// Empty unless the proxy knows it.
    pub locality: Locality,
    pub capabilities: Capabilities,
}

impl ProxyNode {
    /// Reads the node of a first request.
    ///
    /// # Errors
    /// There is none, its id has another form, or its metadata has fields of other types.
    pub fn from_node(node: Option<&core::Node>) -> Result<Self, NodeError> {
        let node = node
            .filter(|node| !node.id.is_empty())
            .ok_or(NodeError::Missing)?;
        let metadata = node.metadata.as_ref().map(to_json).unwrap_or_default();
        let locality = node.locality.as_ref().map(|locality| Locality {
            region: locality.region.clone(),
            zone: locality.zone.clone(),
            sub_zone: locality.sub_zone.clone(),
        });
        Ok(Self {
            id: node.id.parse()?,
            metadata: serde_json::from_value(Value::Object(metadata))
                .map_err(NodeError::Metadata)?,
            locality: locality.unwrap_or_default(),
            capabilities: Capabilities::of(&node.extensions),
        })
    }
}

fn to_json(fields: &protobuf::Struct) -> Map<String, Value> {
    fields
        .fields
        .iter()
        .map(|(key, value)| (key.clone(), value_to_json(value)))
        .collect()
}

fn value_to_json(value: &protobuf::Value) -> Value {
    use protobuf::value::Kind;
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::NumberValue(number)) => number_to_json(*number),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::StructValue(fields)) => Value::Object(to_json(fields)),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.iter().map(value_to_json).collect())
        }
    }
}

/// Whole numbers stay whole, because JSON tells 15020 from 15020.0 and our types do too.
fn number_to_json(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return Value::from(number as i64);
    }
    serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// A service port that a proxy's own pod serves.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceTarget {
    pub service: Arc<Service>,
    pub port: ServicePort,
    /// Port of the pod.
    pub target_port: u16,
}

/// A proxy seen against one snapshot.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub node: Arc<ProxyNode>,
    /// The pod, if the cluster has it.
    pub workload: Option<Arc<Workload>>,
    /// Labels of the pod, or those that the proxy names.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Services that lead to this proxy, oldest first.
    pub targets: Vec<ServiceTarget>,
    pub locality: Locality,
    /// What its inbound side accepts.
    pub mtls: WorkloadMtls,
}

impl Proxy {
    /// Looks a proxy up; cheap enough to be done for every push.
    pub fn new(node: Arc<ProxyNode>, snapshot: &Snapshot) -> Self {
        let id = &node.id;
        let workload = snapshot.pods.get(&id.namespace, &id.pod).cloned();
        let labels = match &workload {
            Some(workload) => workload.labels.clone(),
            None => Arc::new(node.metadata.labels.clone()),
        };
        let targets = match &workload {
            Some(workload) => targets_of_pod(workload, snapshot),
            None => targets_of_addresses(&node, snapshot),
        };
        let mtls = snapshot.authentication.workload(&id.namespace, &labels);
        Self {
            locality: locality(&node, workload.as_deref(), snapshot, &targets),
            labels,
            workload,
            targets,
            mtls,
            node,
        }
    }

    pub fn node_type(&self) -> NodeType {
        self.node.id.node_type
    }

    pub fn is_router(&self) -> bool {
        self.node_type() == NodeType::Router
    }

    /// Whether it is a gRPC library.
    pub fn is_grpc(&self) -> bool {
        self.node.metadata.generator.as_deref() == Some(GRPC_GENERATOR)
    }

    pub fn namespace(&self) -> &str {
        &self.node.id.namespace
    }

    /// Whether it has no address of IPv4.
    pub fn is_ipv6(&self) -> bool {
        let own = &self.node.id.ip;
        let mut listed = self
            .node
            .metadata
            .instance_ips
            .0
            .iter()
            .filter_map(|text| text.parse::<IpAddr>().ok())
            .peekable();
        match listed.peek() {
            None => own.is_ipv6(),
            Some(_) => listed.all(|address| address.is_ipv6()),
        }
    }

    /// Name of the workload for telemetry: only its label, as the peer does here.
    pub fn canonical_service(&self) -> &str {
        self.labels
            .get(label::CANONICAL_NAME)
            .map_or("unknown", String::as_str)
    }

    pub fn canonical_revision(&self) -> &str {
        self.labels
            .get(label::CANONICAL_REVISION)
            .map_or("latest", String::as_str)
    }
}

fn targets_of_pod(workload: &Workload, snapshot: &Snapshot) -> Vec<ServiceTarget> {
    let mut targets = Vec::new();
    for service in snapshot.services.namespace(&workload.namespace) {
        if service.is_alias() || !selects(service, workload, snapshot) {
            continue;
        }
        for port in &service.ports {
            let target_port = match &port.target {
                TargetPort::Number(number) => Some(*number),
                TargetPort::Name(name) => workload.named_ports.get(name).copied(),
            };
            if let Some(target_port) = target_port {
                targets.push(ServiceTarget {
                    service: service.clone(),
                    port: port.clone(),
                    target_port,
                });
            }
        }
    }
    targets
}

/// By labels, or by endpoints where somebody else writes them.
fn selects(service: &Service, workload: &Workload, snapshot: &Snapshot) -> bool {
    if !service.selector.is_empty() {
        return crate::model::authentication::is_selected(&service.selector, &workload.labels);
    }
    snapshot.endpoints_of(service).is_some_and(|set| {
        set.iter()
            .any(|endpoint| workload.addresses.contains(&endpoint.address))
    })
}

/// Services with an endpoint on an address of a proxy that is no known pod.
fn targets_of_addresses(node: &ProxyNode, snapshot: &Snapshot) -> Vec<ServiceTarget> {
    let mut targets = Vec::new();
    for service in snapshot.services.namespace(&node.id.namespace) {
        let Some(endpoints) = snapshot.endpoints_of(service) else {
            continue;
        };
        for port in &service.ports {
            let own = endpoints
                .port(&port.name)
                .iter()
                .find(|endpoint| endpoint.address == node.id.ip);
            if let Some(endpoint) = own {
                targets.push(ServiceTarget {
                    service: service.clone(),
                    port: port.clone(),
                    target_port: endpoint.port,
                });
            }
        }
    }
    targets
}

/// As the proxy says, else its pod's label, else its node's, else as its endpoints have it.
fn locality(
    node: &ProxyNode,
    workload: Option<&Workload>,
    snapshot: &Snapshot,
    targets: &[ServiceTarget],
) -> Locality {
    if !node.locality.is_empty() {
        return node.locality.clone();
    }
    if let Some(locality) = workload.and_then(|workload| workload.locality.as_deref()) {
        return locality.clone();
    }
    let name = workload.and_then(|workload| workload.node.as_deref());
    let name = name.or(node.metadata.node_name.as_deref());
    if let Some(locality) = name.and_then(|name| snapshot.nodes.get(name)) {
        return locality.clone();
    }
    let of_endpoint = targets.iter().find_map(|target| {
        snapshot
            .endpoints_of(&target.service)?
            .iter()
            .find(|endpoint| endpoint.address == node.id.ip)
            .map(|endpoint| (*endpoint.locality).clone())
    });
    of_endpoint.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read() {
        let number = protobuf::Value {
            kind: Some(protobuf::value::Kind::NumberValue(7.0)),
        };
        let text = protobuf::Value {
            kind: Some(protobuf::value::Kind::StringValue("10.0.0.1".to_owned())),
        };
        let node = core::Node {
            id: "sidecar~10.0.0.1~a.b~b.svc.cluster.local".to_owned(),
            metadata: Some(protobuf::Struct {
                fields: [("X".to_owned(), number), ("INSTANCE_IPS".to_owned(), text)].into(),
            }),
            extensions: vec![core::Extension {
                name: "envoy.filters.http.router".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let read = ProxyNode::from_node(Some(&node)).expect("a valid node");
        assert_eq!(read.metadata.other["X"], Value::from(7));
        assert_eq!(read.metadata.instance_ips.0, ["10.0.0.1"]);
        assert!(!read.capabilities.istio_filters);
        assert!(matches!(
            ProxyNode::from_node(None),
            Err(NodeError::Missing)
        ));
    }
}
