//! The server side of an HTTP/1 connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{BodyDecoder, BodyEncoder};
use super::error::{ProtocolError, StreamError};
use super::head::{self, H1Settings, ResponseFraming};
use super::wire::Wire;
use crate::http::codec::{BodyEvent, PREFACE};
use crate::http::header_block::{HeaderBlock, has_token};
use crate::http::header_name::Known;
use crate::http::message::{BodyLength, Method, RequestHead, ResponseHead, ResponseTo, Version};

/// Bytes that are read and dropped while a refused client is told why.
const LINGER_BYTES: usize = 256 * 1024;

/// One client connection, request after request.
#[derive(Debug)]
pub struct ServerConnection<T> {
    wire: Wire<T>,
    settings: Arc<H1Settings>,
    /// Input that was no complete head yet; parsed again when a line was completed.
    incomplete: usize,
    client: Client,
    /// No request follows the current one.
    closing: bool,
}

/// What the answer's framing depends on.
#[derive(Debug, Default)]
struct Client {
    to: ResponseTo,
    version: Version,
    /// HTTP/1.0 asked for the connection to stay.
    keep_alive: bool,
    upgrade: Option<Box<str>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> ServerConnection<T> {
    pub fn new(io: T, settings: Arc<H1Settings>) -> Self {
        Self {
            wire: Wire::new(io, settings.limits, settings.enable_trailers),
            settings,
            incomplete: 0,
            client: Client::default(),
            closing: false,
        }
    }

    /// Whether the client speaks HTTP/2 with prior knowledge; reads until that is certain and consumes nothing.
    ///
    /// # Errors
    /// The transport's; an early end is `Ok(false)`.
    pub fn poll_preface(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, StreamError>> {
        loop {
            let seen = self.wire.read.filled();
            let compared = seen.len().min(PREFACE.len());
            if seen.get(..compared) != PREFACE.get(..compared) {
                return Poll::Ready(Ok(false));
            }
            if compared == PREFACE.len() {
                return Poll::Ready(Ok(true));
            }
            if ready!(self.wire.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(false));
            }
        }
    }

    /// The transport and what was read from it but not consumed.
    pub fn into_parts(self) -> (T, Bytes) {
        let rest = Bytes::copy_from_slice(self.wire.read.filled());
        (self.wire.io, rest)
    }

    pub fn io(&self) -> &T {
        &self.wire.io
    }

    /// Waits without holding a buffer until a request begins to arrive; `false` when the client is done.
    pub fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.wire.read.is_empty() {
            return Poll::Ready(true);
        }
        let filled = ready!(self.wire.poll_fill(cx));
        Poll::Ready(filled.is_ok_and(|count| count > 0))
    }

    /// Reads the next request head into `head`, which must be reset; `false` when the client is done.
    ///
    /// # Errors
    /// [`StreamError::Protocol`] asks for an answer with its status and the end of the connection.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
    ) -> Poll<Result<bool, StreamError>> {
        loop {
            if self.may_be_complete() {
                match head::parse_request(self.wire.read.filled(), &self.settings, head) {
                    Ok(Some(consumed)) => {
                        self.begin(consumed, head);
                        return Poll::Ready(Ok(true));
                    }
                    Ok(None) if self.wire.read.len() > self.settings.limits.max_bytes => {
                        return self.refuse(ProtocolError::HEADERS_TOO_LARGE);
                    }
                    Ok(None) => self.incomplete = self.wire.read.len(),
                    Err(error) => return self.refuse(error),
                }
            }
            match ready!(self.wire.poll_fill(cx)) {
                Ok(0) if self.wire.read.is_empty() => return Poll::Ready(Ok(false)),
                Ok(0) => return Poll::Ready(Err(StreamError::Closed)),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory => {
                    return self.refuse(ProtocolError::HEADERS_TOO_LARGE);
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// A head can only be complete when a line ended since it was last looked at.
    fn may_be_complete(&self) -> bool {
        let input = self.wire.read.filled();
        !input.is_empty()
            && (self.incomplete == 0
                || input.len() > self.settings.limits.max_bytes
                || input
                    .get(self.incomplete..)
                    .is_some_and(|new| new.contains(&b'\n')))
    }

    fn refuse(&mut self, error: ProtocolError) -> Poll<Result<bool, StreamError>> {
        self.closing = true;
        self.client = Client::default();
        Poll::Ready(Err(error.into()))
    }

    fn begin(&mut self, consumed: usize, head: &RequestHead) {
        self.wire.read.consume(consumed);
        self.incomplete = 0;
        self.wire.decoder = BodyDecoder::of(head.body);
        self.wire.take_trailers();
        let asks = |token| {
            let mut values = head.headers.get_all(Known::Connection);
            values.any(|value| has_token(value, token))
                || head
                    .headers
                    .get(Known::ProxyConnection)
                    .is_some_and(|value| has_token(value, token))
        };
        let old = head.version == Version::Http10;
        self.client = Client {
            to: ResponseTo::of(head),
            version: head.version,
            keep_alive: old && asks("keep-alive"),
            upgrade: head.upgrade.clone(),
        };
        if asks("close") || (old && !self.client.keep_alive) || head.method == Method::Connect {
            self.closing = true;
        }
    }

    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent, StreamError>> {
        let event = self.wire.poll_body(cx);
        if event.is_pending() {
            // The client may wait to be told to go on; one that is gone is noticed by reading.
            let _ = self.wire.poll_flush(cx);
        }
        if matches!(event, Poll::Ready(Err(_))) {
            // Nobody knows where the next request would begin.
            self.closing = true;
        }
        event
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

    /// Whether the whole request has been read.
    pub fn is_request_done(&self) -> bool {
        self.wire.decoder.is_done()
    }

    /// Completes when the client has closed; only to be asked after the whole request has been read.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.wire.read.is_empty() || !self.wire.decoder.is_done() {
            return Poll::Pending;
        }
        match ready!(self.wire.poll_fill(cx)) {
            Ok(0) | Err(_) => Poll::Ready(()),
            // The next request is here already; it waits in the buffer.
            Ok(_) => Poll::Pending,
        }
    }

    /// Queues an informational response.
    pub fn send_informational(&mut self, head: &ResponseHead) {
        head::write_response(self.wire.write.tail(), head, ResponseFraming::default());
    }

    /// No request will be read after the current one; the response says so.
    pub fn close_after_response(&mut self) {
        self.closing = true;
    }

    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Queues the response's head.
    pub fn send_head(&mut self, head: &ResponseHead) {
        if self.client.to.becomes_tunnel(head.status) {
            return self.send_switch(head);
        }
        let to_head = self.client.to == ResponseTo::Head;
        let bodiless = to_head || matches!(head.status, 204 | 304);
        let old = self.client.version == Version::Http10;
        self.wire.encoder = match head.body {
            _ if bodiless => BodyEncoder::Done,
            BodyLength::Empty => BodyEncoder::Done,
            BodyLength::Exactly(length) => BodyEncoder::Length(length),
            BodyLength::Unknown if old => BodyEncoder::UntilClose,
            BodyLength::Unknown => BodyEncoder::Chunked { left: 0 },
        };
        if matches!(self.wire.encoder, BodyEncoder::UntilClose) {
            self.closing = true;
        }
        // The answer to HEAD tells how the one to GET would be framed.
        let silent = to_head
            && !matches!(head.status, 204 | 304)
            && !matches!(head.body, BodyLength::Exactly(_))
            && !head.headers.contains(Known::ContentLength);
        let framing = ResponseFraming {
            old,
            chunked: matches!(self.wire.encoder, BodyEncoder::Chunked { .. }) || (silent && !old),
            close: self.closing,
            empty: head.body == BodyLength::Empty
                && !bodiless
                && !head.headers.contains(Known::ContentLength),
            keep_alive: self.client.keep_alive,
        };
        let out = self.wire.write.tail();
        head::write_response(out, head, framing);
    }

    /// The client may go on in another protocol: from here on bytes pass unchanged, both ways.
    fn send_switch(&mut self, head: &ResponseHead) {
        self.closing = true;
        self.wire.decoder = BodyDecoder::UntilClose;
        self.wire.encoder = BodyEncoder::UntilClose;
        let mut head = head.clone();
        let headers = &mut head.headers;
        if let (false, Some(protocol)) = (headers.contains(Known::Upgrade), &self.client.upgrade) {
            headers.append(Known::Upgrade, protocol.as_bytes());
        }
        if self.client.upgrade.is_some() && !headers.contains(Known::Connection) {
            headers.append(Known::Connection, b"upgrade");
        }
        let framing = ResponseFraming::default();
        head::write_response(self.wire.write.tail(), &head, framing);
    }

    /// Takes body bytes for sending: how many were taken.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        self.wire.poll_send(cx, bytes)
    }

    /// Ends the response.
    pub fn finish(&mut self, trailers: Option<&HeaderBlock>) {
        let complete = self.wire.finish(trailers);
        if !complete || !self.wire.decoder.is_done() {
            self.closing = true;
        }
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.wire.poll_flush(cx)
    }

    /// Bytes received and sent since the connection began.
    pub fn traffic(&self) -> (u64, u64) {
        (self.wire.received, self.wire.sent)
    }

    /// Ends the connection so that the client can read the last answer: end of output, then input is dropped
    /// until the client closes, at most for `patience`.
    pub async fn close(mut self, patience: Duration) {
        let linger = async {
            poll_fn(|cx| self.wire.poll_flush(cx)).await.ok()?;
            tokio::io::AsyncWriteExt::shutdown(&mut self.wire.io)
                .await
                .ok()?;
            let mut dropped = 0;
            while dropped < LINGER_BYTES {
                let pending = self.wire.read.len();
                self.wire.read.consume(pending);
                match poll_fn(|cx| self.wire.poll_fill(cx)).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => dropped += count,
                }
            }
            Some(())
        };
        let _ = tokio::time::timeout(patience, linger).await;
    }
}
