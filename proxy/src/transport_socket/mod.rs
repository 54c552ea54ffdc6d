//! TLS of connections: secrets, contexts, verification.

pub mod proxy_protocol;
pub mod secret;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod verify;
