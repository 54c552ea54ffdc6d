//! One stream on an HTTP/2 connection to a server.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};

use super::convert;
use super::server::{RecvBody, SendBody};
use crate::http::codec::h1::{HeadLimits, StreamError};
use crate::http::codec::{BodyEvent, Piece};
use crate::http::header_block::HeaderBlock;
use crate::http::header_name::Known;
use crate::http::message::{BodyLength, RequestHead, ResponseHead};

/// A request on its way, and its response.
pub struct ClientStream {
    response: ResponseFuture,
    send: SendBody,
    recv: Option<RecvBody>,
    limits: HeadLimits,
    /// The protocol that a 200 to this request means to go on in.
    upgrade: Option<Box<str>>,
    received: u64,
    sent: u64,
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    NotExpressible(#[from] convert::NotExpressible),
    #[error("the connection takes no more streams")]
    H2(#[from] h2::Error),
}

impl ClientStream {
    /// Sends the head on a connection that is ready for one more stream.
    ///
    /// # Errors
    /// The head cannot be expressed, or the connection is ending.
    pub fn open(
        connection: &mut SendRequest<Bytes>,
        head: &RequestHead,
        limits: HeadLimits,
    ) -> Result<Self, OpenError> {
        let (request, size) = convert::write_request(head)?;
        let end = head.body == BodyLength::Empty && !head.asks_for_tunnel();
        let (response, stream) = connection.send_request(request, end)?;
        Ok(Self {
            response,
            send: SendBody {
                stream: Some(stream),
                ended: end,
            },
            recv: None,
            limits,
            upgrade: head.upgrade.clone(),
            received: 0,
            sent: size as u64,
        })
    }

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

    /// # Errors
    /// The stream is gone.
    pub fn finish(&mut self, trailers: Option<&HeaderBlock>) -> Result<(), StreamError> {
        self.send.finish(trailers)
    }

    /// Reads the response's head into `head`, which must be reset.
    ///
    /// # Errors
    /// The stream was reset, the connection ended, or the head breaks a limit.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), StreamError>> {
        if let Poll::Ready(Some(Ok(informational))) = self.response.poll_informational(cx) {
            let (parts, ()) = informational.into_parts();
            convert::read_response(&parts, false, &self.limits, head)?;
            return Poll::Ready(Ok(()));
        }
        let (parts, body) = ready!(Pin::new(&mut self.response).poll(cx))?.into_parts();
        convert::read_response(&parts, body.is_end_stream(), &self.limits, head)?;
        self.received += head.wire_size as u64;
        if let Some(protocol) = self.upgrade.as_ref().filter(|_| head.status == 200) {
            // What HTTP/1 calls switching protocols.
            head.status = 101;
            head.headers.set(Known::Upgrade, protocol.as_bytes());
            head.headers.set(Known::Connection, b"upgrade");
        }
        self.recv = Some(RecvBody::new(body, self.limits.max_headers));
        Poll::Ready(Ok(()))
    }

    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyEvent, StreamError>> {
        match &mut self.recv {
            Some(recv) => recv.poll(cx),
            None => Poll::Ready(Ok(BodyEvent::End)),
        }
    }

    /// The piece of body that the last event announced.
    pub fn piece(&self) -> Option<&Bytes> {
        self.recv.as_ref().map(|recv| &recv.piece)
    }

    pub fn consume(&mut self, count: usize) {
        self.received += count as u64;
        if let Some(recv) = &mut self.recv {
            recv.consume(count);
        }
    }

    pub fn take_trailers(&mut self) -> Option<HeaderBlock> {
        self.recv.as_mut().and_then(|recv| recv.trailers.take())
    }

    pub fn is_response_done(&self) -> bool {
        self.recv.as_ref().is_some_and(RecvBody::is_done)
    }

    pub fn reset(&mut self, reason: Reason) {
        if let Some(stream) = &mut self.send.stream {
            stream.send_reset(reason);
        }
    }

    /// Bytes received and sent on this stream.
    pub fn traffic(&self) -> (u64, u64) {
        (self.received, self.sent)
    }
}
