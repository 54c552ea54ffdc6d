//! One stream of a client's HTTP/2 connection.

use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};

use super::convert;
use crate::http::codec::h1::StreamError;
use crate::http::codec::{BodyEvent, Piece};
use crate::http::header_block::HeaderBlock;
use crate::http::message::ResponseHead;

/// A request stream and its response.
pub struct ServerStream {
    recv: RecvBody,
    respond: SendResponse<Bytes>,
    send: SendBody,
    to_head: bool,
    received: u64,
    sent: u64,
}

impl ServerStream {
    /// `max_fields` limits the trailers.
    pub fn new(
        recv: RecvStream,
        respond: SendResponse<Bytes>,
        to_head: bool,
        max_fields: usize,
    ) -> Self {
        Self {
            recv: RecvBody::new(recv, max_fields),
            respond,
            send: SendBody::default(),
            to_head,
            received: 0,
            sent: 0,
        }
    }

    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent, StreamError>> {
        self.recv.poll(cx)
    }

    pub fn piece(&self) -> &Bytes {
        &self.recv.piece
    }

    pub fn consume(&mut self, count: usize) {
        self.received += count as u64;
        self.recv.consume(count);
    }

    pub fn take_trailers(&mut self) -> Option<HeaderBlock> {
        self.recv.trailers.take()
    }

    pub fn is_request_done(&self) -> bool {
        self.recv.is_done()
    }

    /// Whether it was the client who ended this stream, and only it.
    pub fn was_reset(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let reset = match &mut self.send.stream {
            Some(stream) => stream.poll_reset(&mut cx),
            None => self.respond.poll_reset(&mut cx),
        };
        matches!(reset, Poll::Ready(Ok(_)))
    }

    /// Completes when the client has reset the stream or is gone.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send.stream {
            Some(stream) => stream.poll_reset(cx).map(|_| ()),
            None => self.respond.poll_reset(cx).map(|_| ()),
        }
    }

    /// Sends an informational response.
    pub fn send_informational(&mut self, head: &ResponseHead) {
        let (response, _) = convert::write_response(head);
        // Informational responses are a courtesy; a stream that cannot take one fails at the next step.
        let _ = self.respond.send_informational(response);
    }

    /// # Errors
    /// The stream is gone.
    pub fn send_head(&mut self, head: &ResponseHead) -> Result<(), StreamError> {
        let bodiless = self.to_head || matches!(head.status, 204 | 304);
        let end = bodiless || head.body == crate::http::message::BodyLength::Empty;
        let (response, size) = convert::write_response(head);
        self.sent += size as u64;
        let stream = self.respond.send_response(response, end)?;
        self.send = SendBody {
            stream: Some(stream),
            ended: end,
        };
        Ok(())
    }

    /// Takes body bytes for sending: how many were taken. `last` ends the response with them.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        piece: Piece<'_>,
        last: bool,
    ) -> Poll<Result<usize, StreamError>> {
        let count = ready!(self.send.poll(cx, piece, last))?;
        self.sent += count as u64;
        Poll::Ready(Ok(count))
    }

    /// Ends the response.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn finish(&mut self, trailers: Option<&HeaderBlock>) -> Result<(), StreamError> {
        self.send.finish(trailers)
    }

    /// Bytes of bodies and of the response's head so far.
    pub fn traffic(&self) -> (u64, u64) {
        (self.received, self.sent)
    }

    /// Ends the stream without a response, or in the middle of one.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.send.stream {
            Some(stream) => stream.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }
}

/// The receiving half of a stream.
pub(super) struct RecvBody {
    stream: RecvStream,
    pub(super) piece: Bytes,
    pub(super) trailers: Option<HeaderBlock>,
    max_fields: usize,
    done: bool,
}

impl RecvBody {
    pub(super) fn new(stream: RecvStream, max_fields: usize) -> Self {
        let done = stream.is_end_stream();
        Self {
            stream,
            piece: Bytes::new(),
            trailers: None,
            max_fields,
            done,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done && self.piece.is_empty()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent, StreamError>> {
        loop {
            if !self.piece.is_empty() {
                let last = self.stream.is_end_stream();
                self.done |= last;
                return Poll::Ready(Ok(BodyEvent::Data { last }));
            }
            if self.done {
                return Poll::Ready(Ok(BodyEvent::End));
            }
            match ready!(self.stream.poll_data(cx)) {
                Some(piece) => self.piece = piece?,
                None => {
                    let trailers = ready!(self.stream.poll_trailers(cx))?;
                    self.done = true;
                    self.trailers = match &trailers {
                        Some(map) => Some(convert::read_trailers(map, self.max_fields)?),
                        None => None,
                    };
                }
            }
        }
    }

    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.piece.len());
        bytes::Buf::advance(&mut self.piece, count);
        // Fails only for more than was received.
        let _ = self.stream.flow_control().release_capacity(count);
    }
}

/// The sending half of a stream.
#[derive(Default)]
pub(super) struct SendBody {
    pub(super) stream: Option<SendStream<Bytes>>,
    pub(super) ended: bool,
}

impl SendBody {
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        piece: Piece<'_>,
        last: bool,
    ) -> Poll<Result<usize, StreamError>> {
        let length = piece.len();
        let Some(stream) = self.stream.as_mut().filter(|_| !self.ended) else {
            // Nothing may follow the end; what comes nevertheless is dropped.
            return Poll::Ready(Ok(length));
        };
        stream.reserve_capacity(length);
        let mut capacity = stream.capacity();
        if capacity == 0 {
            capacity = match ready!(stream.poll_capacity(cx)) {
                Some(capacity) => capacity?,
                None => return Poll::Ready(Err(StreamError::Closed)),
            };
        }
        let count = length.min(capacity);
        self.ended = last && count == length;
        stream.send_data(piece.take(count), self.ended)?;
        Poll::Ready(Ok(count))
    }

    pub(super) fn finish(&mut self, trailers: Option<&HeaderBlock>) -> Result<(), StreamError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        match trailers {
            Some(trailers) => stream.send_trailers(convert::write_fields(trailers).0)?,
            None => stream.send_data(Bytes::new(), true)?,
        }
        Ok(())
    }
}
