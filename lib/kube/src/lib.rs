//! What the operator and the control plane share as clients of Kubernetes: the connection and leader election.

pub mod client;
pub mod election;
