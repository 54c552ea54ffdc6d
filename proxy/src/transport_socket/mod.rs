//! TLS of connections: secrets, contexts, verification.

pub mod secret;
pub mod tls;
pub mod verify;
