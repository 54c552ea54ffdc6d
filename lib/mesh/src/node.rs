//! What a proxy says about itself to the control plane: node id and metadata.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Role of a proxy, the first part of its node id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeType {
    Sidecar,
    Router,
    Waypoint,
    Ztunnel,
}

impl NodeType {
    pub fn as_str(self) -> &'static str {
        match self {
            NodeType::Sidecar => "sidecar",
            NodeType::Router => "router",
            NodeType::Waypoint => "waypoint",
            NodeType::Ztunnel => "ztunnel",
        }
    }
}

impl FromStr for NodeType {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sidecar" => Ok(NodeType::Sidecar),
            "router" => Ok(NodeType::Router),
            "waypoint" => Ok(NodeType::Waypoint),
            "ztunnel" => Ok(NodeType::Ztunnel),
            other => Err(NodeIdError::Type(other.to_owned())),
        }
    }
}

/// A node id, `<type>~<ip>~<pod>.<namespace>~<dns domain>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeId {
    pub node_type: NodeType,
    pub ip: IpAddr,
    pub pod: String,
    pub namespace: String,
    pub dns_domain: String,
}

/// Why a text is no node id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeIdError {
    #[error("node id {0:?} is not of the form type~ip~pod.namespace~domain")]
    Shape(String),
    #[error("{0:?} is not a node type (sidecar, router, waypoint, ztunnel)")]
    Type(String),
    #[error("node id carries {0:?} where an IP address belongs")]
    Ip(String),
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}~{}~{}.{}~{}",
            self.node_type.as_str(),
            self.ip,
            self.pod,
            self.namespace,
            self.dns_domain
        )
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || NodeIdError::Shape(text.to_owned());
        let parts: Vec<&str> = text.split('~').collect();
        let [node_type, ip, name, dns_domain] = parts[..] else {
            return Err(shape());
        };
        // Pod names may contain dots, namespaces may not.
        let (pod, namespace) = name.rsplit_once('.').ok_or_else(shape)?;
        Ok(Self {
            node_type: node_type.parse()?,
            ip: ip.parse().map_err(|_| NodeIdError::Ip(ip.to_owned()))?,
            pod: pod.to_owned(),
            namespace: namespace.to_owned(),
            dns_domain: dns_domain.to_owned(),
        })
    }
}

/// A boolean that the peer carries as a JSON string, `"true"`; a plain boolean is read too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StringBool(pub bool);

impl Serialize for StringBool {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0 { "true" } else { "false" })
    }
}

impl<'de> Deserialize<'de> for StringBool {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self(match value {
            serde_json::Value::Bool(value) => value,
            serde_json::Value::String(text) => matches!(text.as_str(), "true" | "1" | "t"),
            _ => false,
        }))
    }
}

/// A list that the peer carries as one comma-separated JSON string; an array is read too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringList(pub Vec<String>);

impl Serialize for StringList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.join(","))
    }
}

impl<'de> Deserialize<'de> for StringList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = |text: &str| {
            text.split(',')
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self(match value {
            serde_json::Value::String(text) => items(&text),
            serde_json::Value::Array(values) => values
                .iter()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect(),
            _ => Vec::new(),
        }))
    }
}

/// Metadata of a proxy, the `node.metadata` struct of its first request.
///
/// Names are the peer's. What is not named here is kept in `other`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", default)]
pub struct NodeMetadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub istio_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub istio_revision: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_empty_list")]
    pub instance_ips: StringList,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `REDIRECT`, `TPROXY` or `NONE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interception_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// JSON in a string: the pod's declared ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_ports: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unprivileged_pod: Option<String>,
    #[serde(rename = "HTTP10", skip_serializing_if = "Option::is_none")]
    pub http10: Option<StringBool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_capture: Option<StringBool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_proxy_port: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_config: Option<serde_json::Value>,
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

fn is_empty_list(list: &StringList) -> bool {
    list.0.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_round_trip() {
        let text = "sidecar~10.244.0.41~productpage-v1-x.default~default.svc.cluster.local";
        let id: NodeId = text.parse().expect("a valid id");
        assert_eq!(id.pod, "productpage-v1-x");
        assert_eq!(id.namespace, "default");
        assert_eq!(id.to_string(), text);
        assert!("sidecar~x~a.b~c".parse::<NodeId>().is_err());
        assert!("proxy~1.2.3.4~a.b~c".parse::<NodeId>().is_err());
        assert!("".parse::<NodeId>().is_err());
    }

    #[test]
    fn metadata_reads_the_peers_strings() {
        let metadata: NodeMetadata = serde_json::from_str(
            r#"{"LABELS":{"app":"a"},"INSTANCE_IPS":"10.0.0.1,fd00::1","HTTP10":"1","X":[1]}"#,
        )
        .expect("valid metadata");
        assert_eq!(metadata.instance_ips.0.len(), 2);
        assert_eq!(metadata.http10, Some(StringBool(true)));
        assert!(metadata.other.contains_key("X"));
        let text = serde_json::to_value(&metadata).expect("serializes");
        assert_eq!(text["INSTANCE_IPS"], "10.0.0.1,fd00::1");
    }
}
