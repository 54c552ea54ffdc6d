//! What both ends of an HTTP/1 connection have in common: buffers, the body being received, the body being sent.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{BodyDecoder, BodyEncoder, Decoded};
use super::buffer::{BUFFER_SIZE, ReadBuffer, WriteBuffer};
use super::error::StreamError;
use super::head::HeadLimits;
use crate::http::codec::BodyEvent;
use crate::http::header_block::HeaderBlock;

#[derive(Debug)]
pub(super) struct Wire<T> {
    pub(super) io: T,
    pub(super) read: ReadBuffer,
    pub(super) write: WriteBuffer,
    pub(super) decoder: BodyDecoder,
    pub(super) encoder: BodyEncoder,
    pub(super) limits: HeadLimits,
    pub(super) enable_trailers: bool,
    trailers: Option<HeaderBlock>,
    /// Length of the piece of body that the last event announced.
    piece: usize,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    pub(super) fn new(io: T, limits: HeadLimits, enable_trailers: bool) -> Self {
        Self {
            io,
            read: ReadBuffer::default(),
            write: WriteBuffer::default(),
            decoder: BodyDecoder::Done,
            encoder: BodyEncoder::Done,
            limits,
            enable_trailers,
            trailers: None,
            piece: 0,
            received: 0,
            sent: 0,
        }
    }

    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // One byte more than a head may have shows that it is too large; a body is read into what is free.
        let limit = self.limits.max_bytes.max(BUFFER_SIZE) + 1;
        let read = ready!(self.read.poll_fill(&mut self.io, cx, limit))?;
        self.received += read as u64;
        Poll::Ready(Ok(read))
    }

    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BodyEvent, StreamError>> {
        loop {
            let decoded = self
                .decoder
                .decode(&mut self.read, &self.limits, &mut self.trailers)?;
            match decoded {
                Decoded::Data { len, last } => {
                    self.piece = len;
                    return Poll::Ready(Ok(BodyEvent::Data { last }));
                }
                Decoded::End => return Poll::Ready(Ok(BodyEvent::End)),
                Decoded::NeedMore => {}
            }
            if ready!(self.poll_fill(cx))? == 0 {
                if !self.decoder.ends_with_connection() {
                    return Poll::Ready(Err(StreamError::Closed));
                }
                self.decoder = BodyDecoder::Done;
            }
        }
    }

    pub(super) fn piece(&self) -> &[u8] {
        self.read.filled().get(..self.piece).unwrap_or(&[])
    }

    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.piece);
        self.piece -= count;
        self.read.consume(count);
        self.decoder.advance(count);
    }

    pub(super) fn take_trailers(&mut self) -> Option<HeaderBlock> {
        let trailers = self.trailers.take();
        trailers.filter(|_| self.enable_trailers)
    }

    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        let allowed = self.encoder.begin(bytes.len(), self.write.tail());
        if allowed == 0 {
            // More than was announced: dropped, as the peer would take it for the next message.
            return Poll::Ready(Ok(bytes.len()));
        }
        let piece = bytes.get(..allowed).unwrap_or(bytes);
        let count = ready!(
            self.write
                .poll_send(&mut self.io, cx, piece, &mut self.sent)
        )?;
        self.encoder.advance(count, self.write.tail());
        Poll::Ready(Ok(count))
    }

    pub(super) fn finish(&mut self, trailers: Option<&HeaderBlock>) -> bool {
        let trailers = trailers.filter(|_| self.enable_trailers);
        self.encoder.finish(trailers, self.write.tail())
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.write
            .poll_flush(&mut self.io, cx, &mut self.sent)
            .map_err(StreamError::Io)
    }
}
