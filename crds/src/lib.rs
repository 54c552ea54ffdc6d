//! CRD types and their validation; this crate does no I/O.
//!
//! [`kind`] is the table of kinds, the modules of the API groups hold their types, [`object`]
//! wraps them for the API server, [`schema`] makes the CRDs out of them.

pub mod condition;
pub mod diagnostic;
pub mod kind;
pub mod networking;
pub mod object;
pub mod operator;
pub mod schema;
pub mod security;
pub mod validate;
pub mod wire;

pub use diagnostic::{Diagnostic, Severity};
pub use kind::Kind;
pub use networking::destination_rule::{DestinationRule, DestinationRuleSpec};
pub use networking::gateway::{Gateway, GatewaySpec};
pub use networking::virtual_service::{VirtualService, VirtualServiceSpec};
pub use object::{Object, Spec, decode, decode_dynamic};
pub use operator::{IstioOperator, IstioOperatorSpec, IstioOperatorStatus};
pub use security::peer_authentication::{PeerAuthentication, PeerAuthenticationSpec};
