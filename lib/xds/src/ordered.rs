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
