//! The wire: Envoy's and Istio's messages, type URLs, packing into `Any`, protobuf JSON.
//!
//! Messages of Envoy are re-exported under the short names that the rest of the workspace uses; Istio's own
//! extension messages are in [`istio`]. Nothing here interprets a message.

pub mod ca;
pub mod istio;
pub mod json;
pub mod ordered;
pub mod type_url;

pub use envoy_types::pb::envoy::admin::v3 as admin;
pub use envoy_types::pb::envoy::config::accesslog::v3 as accesslog;
pub use envoy_types::pb::envoy::config::bootstrap::v3 as bootstrap;
pub use envoy_types::pb::envoy::config::cluster::v3 as cluster;
pub use envoy_types::pb::envoy::config::core::v3 as core;
pub use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
pub use envoy_types::pb::envoy::config::listener::v3 as listener;
pub use envoy_types::pb::envoy::config::metrics::v3 as metrics;
pub use envoy_types::pb::envoy::config::rbac::v3 as rbac;
pub use envoy_types::pb::envoy::config::route::v3 as route;
pub use envoy_types::pb::envoy::config::trace::v3 as trace;
pub use envoy_types::pb::envoy::extensions as ext;
pub use envoy_types::pb::envoy::service::discovery::v3 as discovery;
pub use envoy_types::pb::envoy::service::secret::v3 as secret_service;
pub use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
pub use envoy_types::pb::envoy::r#type::metadata::v3 as metadata;
pub use envoy_types::pb::envoy::r#type::tracing::v3 as tracing;
pub use envoy_types::pb::envoy::r#type::v3 as kind;
pub use envoy_types::pb::google::protobuf;
pub use envoy_types::pb::google::rpc;
pub use protobuf::Any;

use prost::{Message, Name};

/// Packs a message under its own type URL, `type.googleapis.com/<full name>`.
pub fn pack<T: Message + Name>(message: &T) -> Any {
    Any {
        type_url: T::type_url(),
        value: message.encode_to_vec(),
    }
}

/// Why an `Any` could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("type is {found}, expected {expected}")]
    Type {
        found: String,
        expected: &'static str,
    },
    #[error("{name} does not decode")]
    Decode {
        name: &'static str,
        #[source]
        source: prost::DecodeError,
    },
}

/// Opens an `Any` that must hold a `T`; the part of the type URL before the last `/` does not matter.
///
/// # Errors
/// The type differs, or the bytes are no such message.
pub fn unpack<T: Message + Name + Default>(any: &Any) -> Result<T, UnpackError> {
    if !is_type::<T>(any) {
        return Err(UnpackError::Type {
            found: any.type_url.clone(),
            expected: T::NAME,
        });
    }
    T::decode(any.value.as_slice()).map_err(|source| UnpackError::Decode {
        name: T::NAME,
        source,
    })
}

/// Whether an `Any` says that it holds a `T`.
pub fn is_type<T: Name>(any: &Any) -> bool {
    type_name(&any.type_url) == T::full_name()
}

/// Full message name of a type URL: what follows the last `/`.
pub fn type_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or_default()
}

/// A protobuf duration of `duration`; what does not fit saturates.
pub fn duration(duration: std::time::Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// A duration of the standard library; negative ones become zero.
pub fn to_std(duration: &protobuf::Duration) -> std::time::Duration {
    let seconds = u64::try_from(duration.seconds).unwrap_or(0);
    let nanos = u32::try_from(duration.nanos).unwrap_or(0);
    std::time::Duration::new(seconds, nanos.min(999_999_999))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pack_and_unpack_are_inverse() {
        let message = cluster::Cluster {
            name: "a".to_owned(),
            ..Default::default()
        };
        let any = pack(&message);
        assert_eq!(any.type_url, type_url::CLUSTER);
        assert_eq!(
            unpack::<cluster::Cluster>(&any).expect("same type"),
            message
        );
        assert!(unpack::<listener::Listener>(&any).is_err());
    }
}
