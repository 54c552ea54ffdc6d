//! Tests against a real Kubernetes and what they need.
//!
//! The tests do what a person would: they call `kubectl`, look at objects, and send requests from pods. The cluster is
//! the one of `$KUBECONFIG`; `make e2e` boots one where there is none.

pub mod audit;
pub mod image;
pub mod kubectl;
pub mod mesh;
pub mod namespace;
pub mod traffic;
pub mod wait;
