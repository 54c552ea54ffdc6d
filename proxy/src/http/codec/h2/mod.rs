//! HTTP/2: the h2 crate behind this proxy's view of messages.

mod client;
mod convert;
mod head_watch;
mod server;

pub use client::{ClientStream, OpenError};
pub use convert::{H2HeadRules, read_request};
pub use head_watch::{Heads, watch_heads};
pub use server::ServerStream;

use std::time::Duration;

/// Settings of one side of an HTTP/2 connection.
#[derive(Clone, Copy, Debug)]
pub struct H2Settings {
    pub max_concurrent_streams: u32,
    pub stream_window: u32,
    pub connection_window: u32,
    /// Bytes of a received head, 32 for each field counted in.
    pub max_header_list: u32,
    /// Interval and timeout of pings while there are streams.
    pub keepalive: Option<(Duration, Duration)>,
    /// RFC 8441: websockets over HTTP/2.
    pub extended_connect: bool,
}

/// Streams that a client may open and reset before they were looked at; more end the connection.
const MAX_PENDING_RESETS: usize = 100;
/// Streams that are remembered after a reset, for frames that were on their way.
const MAX_RESET_STREAMS: usize = 50;
/// Errors of its own that a connection survives.
const MAX_LOCAL_ERRORS: usize = 1024;
/// Unsent bytes per stream.
const SEND_BUFFER: usize = 256 * 1024;

impl Default for H2Settings {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 1024,
            stream_window: 256 * 1024,
            connection_window: 4 * 1024 * 1024,
            max_header_list: 60 * 1024,
            keepalive: None,
            extended_connect: false,
        }
    }
}

impl H2Settings {
    /// The server's side.
    pub fn server(&self) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            .max_concurrent_streams(self.max_concurrent_streams)
            .initial_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_header_list_size(self.max_header_list)
            .max_send_buffer_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_concurrent_reset_streams(MAX_RESET_STREAMS)
            .max_local_error_reset_streams(Some(MAX_LOCAL_ERRORS));
        if self.extended_connect {
            builder.enable_connect_protocol();
        }
        builder
    }

    /// The client's side; servers do not push to it.
    pub fn client(&self) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_header_list_size(self.max_header_list)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(MAX_RESET_STREAMS)
            .max_local_error_reset_streams(Some(MAX_LOCAL_ERRORS));
        builder
    }
}
