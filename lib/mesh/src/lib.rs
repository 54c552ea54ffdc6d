//! Vocabulary of the mesh: identities, names, ports, configuration documents.
//!
//! No Kubernetes client, no runtime, no I/O: values are parsed once at the edge and carry their meaning afterwards.

pub mod duration;
pub mod grpc;
pub mod host;
pub mod identity;
pub mod injector_values;
pub mod label;
pub mod locality;
pub mod mesh_config;
pub mod node;
pub mod port;
pub mod proxy_config;
pub mod revision;
pub mod xds_name;

/// The level of Istio's API and behaviour that proxies announce and images are tagged with.
pub const ISTIO_VERSION: &str = "1.32.0";

/// The version every `version` command of this project prints, `<istio level>-ironsail.<n>`.
pub const VERSION: &str = "1.32.0-ironsail.1";
