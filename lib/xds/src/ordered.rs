//! `Struct`, `Metadata` and their carriers with ordered maps.
//!
//! The generated messages keep map fields in hash maps, whose order changes from one encoding to the next. What is
//! hashed for a content version or compared byte by byte is built with these instead; the wire form is the same.
//! `ClusterMetadata` holds only the metadata field of a `Cluster`: protobuf merges concatenated
//! encodings, so its bytes are appended to those of a cluster without metadata.

use std::collections::BTreeMap;

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<Kind>,
}

/// The cases of a [`Value`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    #[prost(
        enumeration = "envoy_types::pb::google::protobuf::NullValue",
        tag = "1"
    )]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

/// `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct List {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// `envoy.config.core.v3.Metadata` without typed entries.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    pub filter_metadata: BTreeMap<String, Struct>,
}

/// The metadata field of `envoy.config.cluster.v3.Cluster`, alone.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClusterMetadata {
    #[prost(message, optional, tag = "25")]
    pub metadata: Option<Metadata>,
}

/// `envoy.config.endpoint.v3.ClusterLoadAssignment`, as far as discovery sends it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClusterLoadAssignment {
    #[prost(string, tag = "1")]
    pub cluster_name: String,
    #[prost(message, repeated, tag = "2")]
    pub endpoints: Vec<LocalityLbEndpoints>,
}

/// `envoy.config.endpoint.v3.LocalityLbEndpoints`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LocalityLbEndpoints {
    #[prost(message, optional, tag = "1")]
    pub locality: Option<crate::core::Locality>,
    #[prost(message, repeated, tag = "2")]
    pub lb_endpoints: Vec<LbEndpoint>,
    #[prost(message, optional, tag = "3")]
    pub load_balancing_weight: Option<crate::protobuf::UInt32Value>,
    #[prost(uint32, tag = "5")]
    pub priority: u32,
}

/// `envoy.config.endpoint.v3.LbEndpoint` with an address.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LbEndpoint {
    #[prost(message, optional, tag = "1")]
    pub endpoint: Option<crate::endpoint::Endpoint>,
    #[prost(enumeration = "crate::core::HealthStatus", tag = "2")]
    pub health_status: i32,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Metadata>,
    #[prost(message, optional, tag = "4")]
    pub load_balancing_weight: Option<crate::protobuf::UInt32Value>,
}

/// `envoy.config.route.v3.RouteConfiguration` around virtual hosts that are already encoded.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RouteConfiguration {
    #[prost(string, tag = "1")]
    pub name: String,
    /// Encoded [`VirtualHost`]s.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub virtual_hosts: Vec<bytes::Bytes>,
    #[prost(message, optional, tag = "7")]
    pub validate_clusters: Option<crate::protobuf::BoolValue>,
    #[prost(message, optional, tag = "11")]
    pub max_direct_response_body_size_bytes: Option<crate::protobuf::UInt32Value>,
    #[prost(bool, tag = "14")]
    pub ignore_port_in_host_matching: bool,
}

/// `envoy.config.route.v3.VirtualHost` around routes that are already encoded.
#[derive(Clone, PartialEq, prost::Message)]
pub struct VirtualHost {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "2")]
    pub domains: Vec<String>,
    /// Encoded `envoy.config.route.v3.Route`s.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub routes: Vec<bytes::Bytes>,
    #[prost(
        enumeration = "crate::route::virtual_host::TlsRequirementType",
        tag = "4"
    )]
    pub require_tls: i32,
    #[prost(bool, tag = "14")]
    pub include_request_attempt_count: bool,
}

/// The `typed_per_filter_config` field of `envoy.config.route.v3.Route`, alone.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RouteFilterConfig {
    #[prost(btree_map = "string, message", tag = "13")]
    pub typed_per_filter_config: BTreeMap<String, crate::Any>,
}

/// `envoy.extensions.access_loggers.file.v3.FileAccessLog` with an ordered JSON format.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JsonFileAccessLog {
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(message, optional, tag = "5")]
    pub log_format: Option<JsonFormat>,
}

/// `envoy.config.core.v3.SubstitutionFormatString` in its JSON form.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JsonFormat {
    #[prost(message, optional, tag = "2")]
    pub json_format: Option<Struct>,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self {
            kind: Some(Kind::String(text.to_owned())),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self {
            kind: Some(Kind::Bool(value)),
        }
    }
}

impl From<Struct> for Value {
    fn from(value: Struct) -> Self {
        Self {
            kind: Some(Kind::Struct(value)),
        }
    }
}

impl From<Vec<Value>> for Value {
    fn from(values: Vec<Value>) -> Self {
        Self {
            kind: Some(Kind::List(List { values })),
        }
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Struct {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self {
            fields: entries
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn decodes_as_the_generated_struct() {
        let ours: Struct = [("a", Value::from("x")), ("b", Value::from(true))]
            .into_iter()
            .collect();
        let theirs =
            envoy_types::pb::google::protobuf::Struct::decode(ours.encode_to_vec().as_slice())
                .expect("same wire form");
        assert_eq!(theirs.fields.len(), 2);
    }

    #[test]
    fn encoded_parts_become_one_route_table() {
        let route = crate::route::Route {
            name: "a".to_owned(),
            ..Default::default()
        };
        let mut bytes = route.encode_to_vec();
        RouteFilterConfig {
            typed_per_filter_config: [("b".to_owned(), crate::Any::default())].into(),
        }
        .encode(&mut bytes)
        .expect("vectors grow");
        let host = VirtualHost {
            name: "host".to_owned(),
            routes: vec![bytes.into()],
            require_tls: 2,
            include_request_attempt_count: true,
            ..Default::default()
        };
        let table = RouteConfiguration {
            name: "80".to_owned(),
            virtual_hosts: vec![host.encode_to_vec().into()],
            validate_clusters: Some(crate::protobuf::BoolValue { value: false }),
            max_direct_response_body_size_bytes: Some(crate::protobuf::UInt32Value { value: 7 }),
            ignore_port_in_host_matching: true,
        };
        let decoded = crate::route::RouteConfiguration::decode(table.encode_to_vec().as_slice())
            .expect("same wire form");
        assert!(decoded.ignore_port_in_host_matching);
        assert_eq!(
            decoded.max_direct_response_body_size_bytes.map(|m| m.value),
            Some(7)
        );
        assert_eq!(decoded.validate_clusters.map(|v| v.value), Some(false));
        let host = &decoded.virtual_hosts[0];
        assert_eq!(
            (host.require_tls, host.include_request_attempt_count),
            (2, true)
        );
        assert_eq!(host.routes[0].name, "a");
        assert!(host.routes[0].typed_per_filter_config.contains_key("b"));
    }

    #[test]
    fn load_assignments_decode_as_the_generated_ones() {
        let ours = ClusterLoadAssignment {
            cluster_name: "c".to_owned(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![LbEndpoint {
                    endpoint: Some(crate::endpoint::Endpoint::default()),
                    health_status: 1,
                    metadata: Some(Metadata::default()),
                    load_balancing_weight: Some(crate::protobuf::UInt32Value { value: 3 }),
                }],
                priority: 4,
                load_balancing_weight: Some(crate::protobuf::UInt32Value { value: 5 }),
                ..Default::default()
            }],
        };
        let theirs =
            crate::endpoint::ClusterLoadAssignment::decode(ours.encode_to_vec().as_slice())
                .expect("same wire form");
        let group = &theirs.endpoints[0];
        assert_eq!(
            (group.priority, group.load_balancing_weight.map(|w| w.value)),
            (4, Some(5))
        );
        let endpoint = &group.lb_endpoints[0];
        assert_eq!(endpoint.health_status, 1);
        assert_eq!(endpoint.load_balancing_weight.map(|w| w.value), Some(3));
        assert!(endpoint.metadata.is_some() && endpoint.host_identifier.is_some());
    }

    #[test]
    fn appended_metadata_becomes_the_clusters() {
        let cluster = crate::cluster::Cluster {
            name: "a".to_owned(),
            ..Default::default()
        };
        let mut bytes = cluster.encode_to_vec();
        ClusterMetadata {
            metadata: Some(Metadata {
                filter_metadata: [(
                    "istio".to_owned(),
                    [("config", Value::from("x"))].into_iter().collect(),
                )]
                .into(),
            }),
        }
        .encode(&mut bytes)
        .expect("vectors grow");
        let merged = crate::cluster::Cluster::decode(bytes.as_slice()).expect("valid");
        assert_eq!(merged.name, "a");
        assert!(
            merged
                .metadata
                .expect("appended")
                .filter_metadata
                .contains_key("istio")
        );
    }
}
