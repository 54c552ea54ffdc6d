//! Compiled `Listener`.

use std::net::SocketAddr;
use std::sync::Arc;

/// `traffic_direction` of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrafficDirection {
    #[default]
    Unspecified,
    Inbound,
    Outbound,
}

/// A listener as connections see it.
#[derive(Debug)]
pub struct ListenerConfig {
    pub name: Arc<str>,
    /// The first is the main address.
    pub addresses: Vec<SocketAddr>,
    pub direction: TrafficDirection,
    /// Soft limit of buffered bytes per connection; default 1 MiB.
    pub buffer_limit: usize,
}
