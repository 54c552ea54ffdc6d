//! Protobuf JSON of messages that are only known by their type URL.
//!
//! Works by reflection over a descriptor set of Envoy's and Istio's messages. The pool takes about 27 MB once it is
//! used, so long-lived processes with a small memory target leave this to a child process.
//! <https://protobuf.dev/programming-guides/json/>

use std::io::Read;
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, MapKey, MessageDescriptor, ReflectMessage, SerializeOptions,
    Value,
};

use crate::Any;

/// Made by the binary `xds-descriptors`; a test holds it current.
static DESCRIPTORS: &[u8] = include_bytes!("../descriptors.bin.gz");

const ANY: &str = "google.protobuf.Any";
const BYTES_VALUE: &str = "google.protobuf.BytesValue";

/// Why a message has no JSON form.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("{0} is not a known message type")]
    UnknownType(String),
    #[error("{name} does not decode")]
    Decode {
        name: String,
        #[source]
        source: prost::DecodeError,
    },
    #[error("{name} does not serialize")]
    Serialize {
        name: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{name} does not deserialize")]
    Deserialize {
        name: String,
        #[source]
        source: serde_json::Error,
    },
}

/// All messages that can be printed.
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut bytes = Vec::new();
        GzDecoder::new(DESCRIPTORS)
            .read_to_end(&mut bytes)
            .expect("the committed descriptor set is whole");
        DescriptorPool::decode(bytes.as_slice()).expect("the committed descriptor set is valid")
    })
}

/// JSON of a message with its `@type`, field names as in the `.proto` files, nested `Any`s opened.
///
/// A nested `Any` whose type is unknown or whose bytes do not decode is shown as bytes.
///
/// # Errors
/// The outer message is unknown or does not decode.
pub fn to_json(any: &Any) -> Result<serde_json::Value, JsonError> {
    let name = crate::type_name(&any.type_url);
    let descriptor = pool()
        .get_message_by_name(name)
        .ok_or_else(|| JsonError::UnknownType(any.type_url.clone()))?;
    let mut json = message_to_json(&descriptor, &any.value)?;
    if let Some(fields) = json.as_object_mut() {
        fields.shift_insert(0, "@type".to_owned(), any.type_url.clone().into());
    }
    Ok(json)
}

/// The message that JSON with an `@type` describes: the inverse of [`to_json`].
///
/// # Errors
/// No `@type`, a type that is not known, or fields that are not the message's.
pub fn from_json(json: serde_json::Value) -> Result<Any, JsonError> {
    let mut json = json;
    let type_url = json
        .as_object_mut()
        .and_then(|fields| fields.shift_remove("@type"))
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default();
    let descriptor = pool()
        .get_message_by_name(crate::type_name(&type_url))
        .ok_or_else(|| JsonError::UnknownType(type_url.clone()))?;
    let message = DynamicMessage::deserialize(descriptor, json).map_err(|source| {
        let name = type_url.clone();
        JsonError::Deserialize { name, source }
    })?;
    Ok(Any {
        type_url,
        value: message.encode_to_vec(),
    })
}

/// JSON of the encoded message of a known type, without `@type`.
///
/// # Errors
/// The bytes are no such message.
pub fn message_to_json(
    descriptor: &MessageDescriptor,
    bytes: &[u8],
) -> Result<serde_json::Value, JsonError> {
    let name = || descriptor.full_name().to_owned();
    let mut message =
        DynamicMessage::decode(descriptor.clone(), bytes).map_err(|source| JsonError::Decode {
            name: name(),
            source,
        })?;
    make_printable(&mut message);
    let options = SerializeOptions::new().use_proto_field_name(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|source| JsonError::Serialize {
            name: name(),
            source,
        })
}

/// Replaces what the serializer would stumble over: `Any`s that cannot be opened.
fn make_printable(message: &mut DynamicMessage) {
    if message.descriptor().full_name() == ANY {
        make_any_printable(message);
        return;
    }
    for (_, value) in message.fields_mut() {
        make_value_printable(value);
    }
}

fn make_value_printable(value: &mut Value) {
    match value {
        Value::Message(message) => make_printable(message),
        Value::List(values) => values.iter_mut().for_each(make_value_printable),
        Value::Map(entries) => entries
            .iter_mut()
            .for_each(|(_, value): (&MapKey, &mut Value)| make_value_printable(value)),
        _ => {}
    }
}

fn make_any_printable(any: &mut DynamicMessage) {
    let type_url = any
        .get_field_by_name("type_url")
        .and_then(|url| url.as_str().map(str::to_owned))
        .unwrap_or_default();
    let bytes = any
        .get_field_by_name("value")
        .and_then(|value| value.as_bytes().cloned())
        .unwrap_or_default();
    let opened = pool()
        .get_message_by_name(crate::type_name(&type_url))
        .and_then(|descriptor| DynamicMessage::decode(descriptor, bytes.clone()).ok());
    let (type_url, bytes) = match opened {
        Some(mut inner) => {
            make_printable(&mut inner);
            (type_url, inner.encode_to_vec())
        }
        None => {
            let shown = BytesValue {
                value: bytes.to_vec(),
            };
            (
                format!("type.googleapis.com/{BYTES_VALUE}"),
                shown.encode_to_vec(),
            )
        }
    };
    any.set_field_by_name("type_url", Value::String(type_url));
    any.set_field_by_name("value", Value::Bytes(bytes.into()));
}

/// `google.protobuf.BytesValue`.
#[derive(Clone, PartialEq, prost::Message)]
struct BytesValue {
    #[prost(bytes = "vec", tag = "1")]
    value: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster, core, ext, pack};

    #[test]
    fn nested_messages_are_opened() {
        let tls = ext::transport_sockets::tls::v3::UpstreamTlsContext {
            sni: "a.example".to_owned(),
            ..Default::default()
        };
        let message = cluster::Cluster {
            name: "a".to_owned(),
            transport_socket: Some(core::TransportSocket {
                name: "tls".to_owned(),
                config_type: Some(core::transport_socket::ConfigType::TypedConfig(pack(&tls))),
            }),
            ..Default::default()
        };
        let json = to_json(&pack(&message)).expect("a known type");
        assert_eq!(json["@type"], crate::type_url::CLUSTER);
        assert_eq!(json["transport_socket"]["typed_config"]["sni"], "a.example");
    }

    #[test]
    fn what_cannot_be_opened_is_shown_as_bytes() {
        let message = core::TypedExtensionConfig {
            name: "x".to_owned(),
            typed_config: Some(Any {
                type_url: "type.googleapis.com/no.such.Message".to_owned(),
                value: vec![1, 2],
            }),
        };
        let json = to_json(&pack(&message)).expect("a known type");
        assert_eq!(json["typed_config"]["value"], "AQI=");
        assert!(matches!(
            to_json(&Any {
                type_url: "x/no.such.Message".to_owned(),
                value: Vec::new()
            }),
            Err(JsonError::UnknownType(_))
        ));
    }

    #[test]
    fn json_is_read_back() {
        let tls = ext::transport_sockets::tls::v3::UpstreamTlsContext {
            sni: "a.example".to_owned(),
            ..Default::default()
        };
        let message = pack(&core::TypedExtensionConfig {
            name: "tls".to_owned(),
            typed_config: Some(pack(&tls)),
        });
        let json = to_json(&message).expect("a known type");
        assert_eq!(from_json(json).expect("what was printed"), message);
        let unknown = serde_json::json!({ "@type": message.type_url, "nmae": "tls" });
        assert!(matches!(
            from_json(unknown),
            Err(JsonError::Deserialize { .. })
        ));
    }

    #[test]
    fn istios_own_messages_are_known() {
        let config = crate::istio::PluginConfig {
            disable_host_header_fallback: true,
            ..Default::default()
        };
        let json = to_json(&pack(&config)).expect("a known type");
        assert_eq!(json["disable_host_header_fallback"], true);
    }
}
