//! The model of truth: what the cluster holds, in the terms of the mesh, as one immutable view.
//!
//! Pure: no I/O, no clock, no runtime. [`snapshot::SnapshotBuilder`] takes changes of objects and
//! makes [`snapshot::Snapshot`]s; [`proxy::Proxy`] is one client seen against a snapshot.

pub mod authentication;
pub mod change;
pub mod delegate;
pub mod destination_rule;
pub mod endpoint;
pub mod export;
pub mod gateway;
pub mod link;
pub mod mesh;
pub mod namespaced;
pub mod object;
pub mod proxy;
pub mod secret;
pub mod service;
pub mod snapshot;
pub mod virtual_service;
