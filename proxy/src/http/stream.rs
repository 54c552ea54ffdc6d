//! One request on its way: the client's side and the server's side, each in either protocol version.

use std::task::{Context, Poll};

use super::codec::h1::{ServerConnection, StreamError};
use super::codec::h2::{ClientStream, ServerStream};
use super::codec::{BodyEvent, Piece};
use super::header_block::HeaderBlock;
use super::message::ResponseHead;
use super::pool::{Lease, Pooled};
use crate::conn::Io;

/// Where a request comes from and its response goes to.
pub enum Downstream {
    H1(Box<ServerConnection<Io>>),
    H2(Box<ServerStream>),
}

impl Downstream {
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent, StreamError>> {
        match self {
            Downstream::H1(connection) => connection.poll_body(cx),
            Downstream::H2(stream) => stream.poll_body(cx),
        }
    }

    /// The piece of request body that the last event announced.
    pub fn piece(&self) -> Piece<'_> {
        match self {
            Downstream::H1(connection) => Piece::Slice(connection.piece()),
            Downstream::H2(stream) => Piece::Shared(stream.piece()),
        }
    }

    pub fn consume(&mut self, count: usize) {
        match self {
            Downstream::H1(connection) => connection.consume(count),
            Downstream::H2(stream) => stream.consume(count),
        }
    }

    pub fn take_trailers(&mut self) -> Option<HeaderBlock> {
        match self {
            Downstream::H1(connection) => connection.take_trailers(),
            Downstream::H2(stream) => stream.take_trailers(),
        }
    }

    pub fn is_request_done(&self) -> bool {
        match self {
            Downstream::H1(connection) => connection.is_request_done(),
            Downstream::H2(stream) => stream.is_request_done(),
        }
    }

    /// Completes when the client is gone; only to be asked after the whole request has been read.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Downstream::H1(connection) => connection.poll_closed(cx),
            Downstream::H2(stream) => stream.poll_closed(cx),
        }
    }

    pub fn send_informational(&mut self, head: &ResponseHead) {
        match self {
            Downstream::H1(connection) => connection.send_informational(head),
            Downstream::H2(stream) => stream.send_informational(head),
        }
    }

    /// Queues the response's head.
    ///
    /// # Errors
    /// The client is gone.
    pub fn send_head(&mut self, head: &ResponseHead) -> Result<(), StreamError> {
        match self {
            Downstream::H1(connection) => {
                connection.send_head(head);
                Ok(())
            }
            Downstream::H2(stream) if head.status == 101 => {
                let mut accepted = head.clone();
                accepted.status = 200;
                stream.send_head(&accepted)
            }
            Downstream::H2(stream) => stream.send_head(head),
        }
    }

    /// Takes response bytes: how many were taken.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        piece: Piece<'_>,
        last: bool,
    ) -> Poll<Result<usize, StreamError>> {
        match self {
            Downstream::H1(connection) => connection.poll_send(cx, piece.as_slice()),
            Downstream::H2(stream) => stream.poll_send(cx, piece, last),
        }
    }

    /// Ends the response.
    ///
    /// # Errors
    /// The client is gone.
    pub fn finish(&mut self, trailers: Option<&HeaderBlock>) -> Result<(), StreamError> {
        match self {
            Downstream::H1(connection) => {
                connection.finish(trailers);
                Ok(())
            }
            Downstream::H2(stream) => stream.finish(trailers),
        }
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match self {
            Downstream::H1(connection) => connection.poll_flush(cx),
            Downstream::H2(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ends the stream in the middle of a response, so that the client notices.
    pub fn reset(&mut self) {
        match self {
            Downstream::H1(connection) => connection.close_after_response(),
            Downstream::H2(stream) => stream.reset(::h2::Reason::INTERNAL_ERROR),
        }
    }

    /// Whether the client ended this request and kept its connection.
    pub fn was_reset(&mut self) -> bool {
        match self {
            Downstream::H1(_) => false,
            Downstream::H2(stream) => stream.was_reset(),
        }
    }

    /// Says in an HTTP/1 response that the connection ends with it.
    pub fn close_after_response(&mut self) {
        if let Downstream::H1(connection) = self {
            connection.close_after_response();
        }
    }

    /// Bytes received and sent, on the whole connection for HTTP/1.
    pub fn traffic(&self) -> (u64, u64) {
        match self {
            Downstream::H1(connection) => connection.traffic(),
            Downstream::H2(stream) => stream.traffic(),
        }
    }
}

/// Where a request goes to and its response comes from.
pub enum Upstream {
    H1(Box<Pooled>),
    H2(Box<ClientStream>, Lease),
}

impl Upstream {
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        piece: Piece<'_>,
        last: bool,
    ) -> Poll<Result<usize, StreamError>> {
        match self {
            Upstream::H1(pooled) => pooled.connection.poll_send(cx, piece.as_slice()),
            Upstream::H2(stream, _) => stream.poll_send(cx, piece, last),
        }
    }

    /// Ends the request.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn finish(&mut self, trailers: Option<&HeaderBlock>) -> Result<(), StreamError> {
        match self {
            Upstream::H1(pooled) => {
                pooled.connection.finish(trailers);
                Ok(())
            }
            Upstream::H2(stream, _) => stream.finish(trailers),
        }
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match self {
            Upstream::H1(pooled) => pooled.connection.poll_flush(cx),
            Upstream::H2(..) => Poll::Ready(Ok(())),
        }
    }

    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), StreamError>> {
        match self {
            Upstream::H1(pooled) => pooled.connection.poll_head(cx, head),
            Upstream::H2(stream, _) => stream.poll_head(cx, head),
        }
    }

    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent, StreamError>> {
        match self {
            Upstream::H1(pooled) => pooled.connection.poll_body(cx),
            Upstream::H2(stream, _) => stream.poll_body(cx),
        }
    }

    /// The piece of response body that the last event announced.
    pub fn piece(&self) -> Piece<'_> {
        match self {
            Upstream::H1(pooled) => Piece::Slice(pooled.connection.piece()),
            Upstream::H2(stream, _) => match stream.piece() {
                Some(bytes) => Piece::Shared(bytes),
                None => Piece::Slice(&[]),
            },
        }
    }

    pub fn consume(&mut self, count: usize) {
        match self {
            Upstream::H1(pooled) => pooled.connection.consume(count),
            Upstream::H2(stream, _) => stream.consume(count),
        }
    }

    pub fn take_trailers(&mut self) -> Option<HeaderBlock> {
        match self {
            Upstream::H1(pooled) => pooled.connection.take_trailers(),
            Upstream::H2(stream, _) => stream.take_trailers(),
        }
    }

    /// Whether the server can have begun to answer.
    pub fn has_response_bytes(&self) -> bool {
        match self {
            Upstream::H1(pooled) => pooled.connection.has_response_bytes(),
            Upstream::H2(..) => false,
        }
    }

    /// Bytes received and sent, on the whole connection for HTTP/1.
    pub fn traffic(&self) -> (u64, u64) {
        match self {
            Upstream::H1(pooled) => pooled.connection.traffic(),
            Upstream::H2(stream, _) => stream.traffic(),
        }
    }
}
