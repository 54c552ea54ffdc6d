//! A mesh in one process: operator, control plane and proxies without a cluster.
//!
//! What the programs do between each other is done by their own code: an IstioOperator is rendered, the rendered
//! ConfigMaps configure control plane and injector, pods are injected and started with the arguments and variables that
//! injection gave them, the authority signs their certificates, and resources travel through both ends of the xDS
//! protocol. A [`Call`] is bytes through real handshakes and codecs; its [`Outcome`] says where it went, as the access
//! logs of the proxies on its way tell.
//!
//! Played here is what is not ours: Kubernetes ([`cluster`], [`kubelet`]), the network ([`network`]) and applications
//! ([`app`]). Nothing opens a socket. A [`Mesh`] lives on one thread, inside of a `LocalSet`, and under tokio's paused
//! clock waiting costs nothing.

mod access_log;
pub mod app;
pub mod call;
mod client;
pub mod cluster;
mod discovery;
mod installation;
pub mod kubelet;
pub mod load;
mod mesh;
pub mod network;
mod object;
mod pod;
mod rollout;

pub use access_log::Hop;
pub use app::{Reply, Served};
pub use call::{Answer, Call, Outcome};
pub use cluster::Condition;
pub use installation::Installation;
pub use load::{Load, Tally};
pub use mesh::Mesh;
