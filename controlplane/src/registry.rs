//! Objects of Kubernetes in the terms of the mesh: services, endpoints, workloads. Pure.

pub mod endpoint;
pub mod secret;
pub mod service;
pub mod workload;
