//! CRD types and their validation; this crate does no I/O.
//!
//! [`kind`] is the table of kinds, the modules of the API groups hold their types, [`object`]
//! wraps them for the API server, [`schema`] makes the CRDs out of them.

pub mod condition;
pub mod diagnostic;
pub mod extensions;
pub mod kind;
pub mod networking;
pub mod object;
pub mod operator;
pub mod schema;
pub mod security;
pub mod target_ref;
pub mod telemetry;
pub mod validate;
pub mod wire;

pub use diagnostic::{Diagnostic, Severity};
pub use extensions::traffic_extension::{TrafficExtension, TrafficExtensionSpec};
pub use extensions::wasm_plugin::{WasmPlugin, WasmPluginSpec};
pub use kind::Kind;
pub use networking::destination_rule::{DestinationRule, DestinationRuleSpec};
pub use networking::envoy_filter::{EnvoyFilter, EnvoyFilterSpec};
pub use networking::gateway::{Gateway, GatewaySpec};
pub use networking::proxy_config::{ProxyConfig, ProxyConfigSpec};
pub use networking::service_entry::{ServiceEntry, ServiceEntrySpec};
pub use networking::sidecar::{Sidecar, SidecarSpec};
pub use networking::virtual_service::{VirtualService, VirtualServiceSpec};
pub use networking::workload_entry::{WorkloadEntry, WorkloadEntrySpec};
pub use networking::workload_group::{WorkloadGroup, WorkloadGroupSpec};
pub use object::{Object, Spec, decode, decode_dynamic};
pub use operator::{IstioOperator, IstioOperatorSpec, IstioOperatorStatus};
pub use security::authorization_policy::{AuthorizationPolicy, AuthorizationPolicySpec};
pub use security::peer_authentication::{PeerAuthentication, PeerAuthenticationSpec};
pub use security::request_authentication::{RequestAuthentication, RequestAuthenticationSpec};
pub use telemetry::{Telemetry, TelemetrySpec};
