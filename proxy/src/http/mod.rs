//! HTTP: codecs, the connection manager, its filters, upstream pools.

pub mod codec;
pub mod header_block;
pub mod header_name;
pub mod message;
