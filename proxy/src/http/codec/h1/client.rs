//! The client side of an HTTP/1 connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{BodyDecoder, BodyEncoder};
use super::error::{ProtocolError, StreamError};
use super::head::{self, H1Settings};
use super::wire::Wire;
use crate::http::codec::BodyEvent;
use crate::http::header_block::{HeaderBlock, has_token};
use crate::http::header_name::Known;
use crate::http::message::{BodyLength, RequestHead, ResponseHead, ResponseTo, Version};

/// One connection to a server, request after request.
#[derive(Debug)]
pub struct ClientConnection<T> {
    wire: Wire<T>,
    settings: Arc<H1Settings>,
    to: ResponseTo,
    /// The server allows another request.
    keep_alive: bool,
    /// The request was sent completely.
    request_done: bool,
    /// The response's head has arrived.
    responded: bool,
    /// Bytes pass unchanged, both ways.
    tunnel: bool,
    /// Nothing follows what waits to be written, and the server is to know.
    ends: bool,
    requests: u32,
}

impl<T: AsyncRead + AsyncWrite + Unpin> ClientConnection<T> {
    pub fn new(io: T, settings: Arc<H1Settings>) -> Self {
        Self {
            wire: Wire::new(io, settings.limits, settings.enable_trailers),
            settings,
            to: ResponseTo::default(),
            keep_alive: true,
            request_done: true,
            responded: true,
            tunnel: false,
            ends: false,
            requests: 0,
        }
    }

    pub fn io(&self) -> &T {
        &self.wire.io
    }

    /// Requests sent so far.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// Queues a request's head. The connection must be reusable.
    pub fn send_head(&mut self, head: &RequestHead) {
        self.requests = self.requests.saturating_add(1);
        self.to = ResponseTo::of(head);
        self.request_done = false;
        self.responded = false;
        self.wire.take_trailers();
        self.wire.encoder = match head.body {
            BodyLength::Empty => BodyEncoder::Done,
            BodyLength::Exactly(length) => BodyEncoder::Length(length),
            BodyLength::Unknown => BodyEncoder::Chunked { left: 0 },
        };
        head::write_request(self.wire.write.tail(), head);
    }

    /// Takes body bytes for sending: how many were taken.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        self.wire.poll_send(cx, bytes)
    }

    /// Ends the request.
    pub fn finish(&mut self, trailers: Option<&HeaderBlock>) {
        if !self.wire.finish(trailers) {
            self.keep_alive = false;
        }
        self.request_done = true;
        // RFC 9113 section 8.5: the end of a CONNECT's stream is the end of this direction, and of no other.
        self.ends = self.tunnel && self.to != ResponseTo::Upgrade;
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        ready!(self.wire.poll_flush(cx))?;
        if self.ends {
            ready!(Pin::new(&mut self.wire.io).poll_shutdown(cx))?;
            self.ends = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the next response head, informational ones included, into `head`, which must be reset.
    ///
    /// # Errors
    /// Malformed responses; [`StreamError::Closed`] when the server closed before one.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), StreamError>> {
        loop {
            let input = self.wire.read.filled();
            if !input.is_empty() {
                match head::parse_response(input, &self.settings, self.to, head)? {
                    Some(consumed) => {
                        self.begin(consumed, head);
                        return Poll::Ready(Ok(()));
                    }
                    None if input.len() > self.settings.limits.max_bytes => {
                        return Poll::Ready(Err(ProtocolError::HEADERS_TOO_LARGE.into()));
                    }
                    None => head.reset(),
                }
            }
            match ready!(self.wire.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(StreamError::Closed)),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory => {
                    return Poll::Ready(Err(ProtocolError::HEADERS_TOO_LARGE.into()));
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// From here on bytes pass unchanged, both ways.
    pub fn become_tunnel(&mut self) {
        self.keep_alive = false;
        self.responded = true;
        self.tunnel = true;
        self.wire.decoder = BodyDecoder::UntilClose;
        self.wire.encoder = BodyEncoder::UntilClose;
    }

    fn begin(&mut self, consumed: usize, head: &ResponseHead) {
        self.wire.read.consume(consumed);
        if self.to.becomes_tunnel(head.status) {
            return self.become_tunnel();
        }
        if head.is_informational() {
            return;
        }
        self.responded = true;
        self.wire.decoder = match head.body {
            BodyLength::Unknown if !head.chunked => BodyDecoder::UntilClose,
            length => BodyDecoder::of(length),
        };
        let says = |token| {
            let mut values = head.headers.get_all(Known::Connection);
            values.any(|value| has_token(value, token))
        };
        let old = head.version == Version::Http10;
        let until_close = matches!(self.wire.decoder, BodyDecoder::UntilClose);
        if says("close") || until_close || (old && !says("keep-alive")) {
            self.keep_alive = false;
        }
    }

    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent, StreamError>> {
        self.wire.poll_body(cx)
    }

    /// The piece of body that the last event announced, less what was consumed.
    pub fn piece(&self) -> &[u8] {
        self.wire.piece()
    }

    pub fn consume(&mut self, count: usize) {
        self.wire.consume(count);
    }

    pub fn take_trailers(&mut self) -> Option<HeaderBlock> {
        self.wire.take_trailers()
    }

    /// Whether another request may be sent: both messages are complete, and the server did not object.
    pub fn is_reusable(&self) -> bool {
        self.keep_alive
            && self.request_done
            && self.responded
            && self.wire.decoder.is_done()
            && self.wire.read.is_empty()
            && self.wire.write.is_empty()
    }

    /// Whether an idle connection is still good: neither closed nor spoken on by the server.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> bool {
        self.wire.read.is_empty() && self.wire.poll_fill(cx).is_pending()
    }

    /// Whether any byte of a response has arrived.
    pub fn has_response_bytes(&self) -> bool {
        self.responded || !self.wire.read.is_empty()
    }

    /// Bytes received and sent since the connection began.
    pub fn traffic(&self) -> (u64, u64) {
        (self.wire.received, self.wire.sent)
    }
}
