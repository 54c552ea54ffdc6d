//! Clients of others under our control plane, in network namespaces of a test's own.
//!
//! The control plane and the agents are ours and talk over real sockets; Kubernetes is played by the simulation. Each
//! pod has a namespace with its address, a bridge joins them, and nothing leads out.

pub mod app;
pub mod call;
mod control_plane;
mod namespace;
mod pod;
mod secrets;

pub use control_plane::ControlPlane;
pub use namespace::{Namespace, Network, is_permitted};
pub use pod::{Address, Interception, Pod};
pub use secrets::Secrets;
