//! What the operator and the control plane share as parts of Kubernetes: the client, leader election, lists in pages,
//! and how admission webhooks are asked and answer.

pub mod admission;
pub mod client;
pub mod election;
pub mod pages;
