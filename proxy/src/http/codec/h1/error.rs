//! Why a message is refused.

/// A message that breaks the protocol, and how the peer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{details}")]
pub struct ProtocolError {
    /// Status of the answer that a server gives before it closes the connection.
    pub status: u16,
    /// Envoy's response code details: `http1.codec_error`.
    pub details: &'static str,
}

impl ProtocolError {
    const fn new(status: u16, details: &'static str) -> Self {
        Self { status, details }
    }

    pub const CODEC: Self = Self::new(400, "http1.codec_error");
    pub const LENGTH_AND_CHUNKED: Self =
        Self::new(400, "http1.content_length_and_chunked_not_allowed");
    pub const TRANSFER_ENCODING: Self = Self::new(501, "http1.invalid_transfer_encoding");
    pub const TRANSFER_ENCODING_NOT_ALLOWED: Self =
        Self::new(400, "http1.transfer_encoding_not_allowed");
    pub const INVALID_HEADERS: Self = Self::new(400, "http1.invalid_characters");
    pub const UNDERSCORES: Self = Self::new(400, "http1.unexpected_underscore");
    pub const INVALID_URL: Self = Self::new(400, "http1.invalid_url");
    pub const INVALID_SCHEME: Self = Self::new(400, "http1.invalid_scheme");
    pub const TOO_MANY_HEADERS: Self = Self::new(431, "http1.too_many_headers");
    pub const HEADERS_TOO_LARGE: Self = Self::new(431, "http1.headers_too_large");
    pub const TOO_MANY_TRAILERS: Self = Self::new(431, "http1.too_many_trailers");
    pub const TRAILERS_TOO_LARGE: Self = Self::new(431, "http1.trailers_too_large");
    pub const LOW_VERSION: Self = Self::new(426, "low_version");
    pub const MISSING_HOST: Self = Self::new(400, "missing_host_header");
    pub const INVALID_HOST: Self = Self::new(400, "http1.invalid_host");
    pub const DUPLICATE_HOST: Self = Self::new(400, "http1.multiple_host_headers");
    pub const CHUNK: Self = Self::new(400, "http1.codec_error");
}

/// Why a read or write on a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("malformed message")]
    Protocol(#[from] ProtocolError),
    #[error("transport failed")]
    Io(#[from] std::io::Error),
    /// The peer closed in the middle of a message.
    #[error("connection closed")]
    Closed,
    #[error("stream reset")]
    H2(#[from] h2::Error),
}
