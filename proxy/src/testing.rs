//! Helpers of tests, and of those who simulate a mesh (feature `testing`): proxies in memory.

#[cfg(test)]
mod authority;
#[cfg(test)]
pub(crate) mod capture;
pub mod frames;
pub mod memory;
#[cfg(test)]
mod message;

#[cfg(test)]
pub(crate) use authority::Authority;
#[cfg(test)]
pub(crate) use message::{
    address, assignment, client_hello, common_tls, downstream_tls, eds_cluster, filter, fragmented,
    listener, listener_filter, original_dst_cluster, padded, static_cluster, tcp_chain, update,
    upstream_tls,
};
