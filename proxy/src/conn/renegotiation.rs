//! Clients of TLS 1.2 that ask for another handshake on their connection.
//!
//! rustls answers with a warning, which would wait for the next write, and lets the client go on. Here the warning goes out
//! and the connection ends, as in Envoy. <https://www.rfc-editor.org/rfc/rfc5246#section-7.2.2>

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::ProtocolVersion;
use tokio::io::AsyncWrite;
use tokio_rustls::server::TlsStream;

use super::ReadAhead;

type Stream = TlsStream<ReadAhead>;

/// Reads from a client, once its first handshake is over.
///
/// # Errors
/// Those of `read`; the client asked for renegotiation.
pub(super) fn poll_read<R>(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    read: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<R>>,
) -> Poll<io::Result<R>> {
    // While something else waits, the warning goes out behind it; rustls takes a second attempt for an error.
    let was_silent = !stream.get_ref().1.wants_write();
    let polled = read(Pin::new(stream), cx);
    if was_silent && is_refusing(stream) && !matches!(polled, Poll::Ready(Err(_))) {
        return Poll::Ready(Err(end(stream, cx)));
    }
    polled
}

/// Whether reading left something to be written. With TLS 1.2 that can be nothing but the refusal.
fn is_refusing(stream: &Stream) -> bool {
    let session = stream.get_ref().1;
    session.wants_write() && session.protocol_version() == Some(ProtocolVersion::TLSv1_2)
}

fn end(stream: &mut Stream, cx: &mut Context<'_>) -> io::Error {
    let socket = stream.get_ref().0.inner().tcp();
    let peer = socket.and_then(|socket| socket.peer_addr().ok());
    tracing::debug!(
        ?peer,
        "Connection ended: the client asked for renegotiation"
    );
    // A client that does not read is not told.
    let _ = Pin::new(stream).poll_flush(cx);
    io::Error::new(io::ErrorKind::InvalidData, "renegotiation is refused")
}
