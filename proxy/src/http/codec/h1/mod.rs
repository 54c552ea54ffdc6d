//! HTTP/1: own framing over heads that httparse takes apart. <https://www.rfc-editor.org/rfc/rfc9112>.

mod body;
mod buffer;
mod client;
mod error;
mod head;
mod server;
#[cfg(test)]
mod tests;
mod wire;

pub use buffer::BUFFER_SIZE;
pub use client::ClientConnection;
pub use error::{ProtocolError, StreamError};
pub use head::{H1Settings, HeadLimits, Underscores, check_authority, parse_length, write_decimal};
pub use server::ServerConnection;
