//! HTTP: codecs, the connection manager, its filters, upstream pools.

pub mod codec;
pub mod connection_manager;
pub mod filter;
pub mod grpc;
pub mod header_block;
pub mod header_name;
pub mod message;
pub mod pool;
pub mod stream;
#[cfg(test)]
pub(crate) mod testing;

pub use connection_manager::{HttpConnectionManager, serve};
