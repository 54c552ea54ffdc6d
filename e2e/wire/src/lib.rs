//! Our proxy on loopback, between servers and test programs of others.
//!
//! A [`Proxy`] is store and workers with real sockets and resources of the test, without a control plane. [`peer`] puts
//! proxies of others into its place. Nothing here reaches beyond loopback.

pub mod config;
pub mod origin;
pub mod peer;
mod proxy;

pub use config::{Hop, Upstream};
pub use proxy::Proxy;
