//! The filter `envoy.filters.http.buffer`: a request goes on once its body is there whole.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/buffer_filter>.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use ironsail_xds::ext::filters::http::buffer::v3 as proto;
use ironsail_xds::protobuf::UInt32Value;
use proto::buffer_per_route::Override;

use super::Step;
use super::router::{Deadlines, late_reply};
use crate::http::codec::BodyEvent;
use crate::http::codec::h1::StreamError;
use crate::http::connection_manager::exchange::Exchange;
use crate::http::connection_manager::local_reply::LocalReply;
use crate::http::header_block::HeaderBlock;
use crate::http::header_name::Known;
use crate::http::message::{BodyLength, ResponseHead};
use crate::http::stream::Downstream;
use crate::resource::{At, CompileError};
use crate::route::{Forward, Setting};

/// Compiled `Buffer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Largest body that is taken, at least 1.
    max_request_bytes: usize,
}

/// A request's body, whole.
#[derive(Debug, Default)]
pub struct BufferedBody {
    pub bytes: Vec<u8>,
    pub trailers: Option<HeaderBlock>,
}

/// Why a request goes no further.
#[derive(Debug)]
pub enum Stop {
    Reply(LocalReply),
    ClientGone,
}

impl Buffer {
    /// # Errors
    /// A limit that is missing or zero.
    pub fn compile(config: &proto::Buffer) -> Result<Self, CompileError> {
        let max_request_bytes = limit(config.max_request_bytes.as_ref()).at("max_request_bytes")?;
        Ok(Self { max_request_bytes })
    }

    /// What a route says of it.
    ///
    /// # Errors
    /// A route that says nothing, or that the filter is not disabled; a limit that is missing or zero.
    pub fn compile_route(config: &proto::BufferPerRoute) -> Result<Setting<Self>, CompileError> {
        match &config.r#override {
            Some(Override::Disabled(true)) => Ok(Setting::Disabled),
            Some(Override::Disabled(false)) => Err(CompileError::new("is not true").at("disabled")),
            Some(Override::Buffer(config)) => {
                let config = Self::compile(config).at("buffer")?;
                Ok(Setting::Use(Arc::new(config)))
            }
            None => Err(CompileError::new("is required").at("override")),
        }
    }

    /// A body that is announced to be too large is not read at all.
    pub(super) fn on_request(&self, exchange: &Exchange) -> Step {
        let request = &exchange.request;
        match request.body {
            _ if !request.has_body() => Step::Continue,
            BodyLength::Exactly(length) if length > self.max_request_bytes as u64 => {
                Step::Reply(too_large(exchange))
            }
            // Another filter of the kind waited for it.
            _ if exchange.buffered.is_some() => Step::Continue,
            _ => Step::Buffer(*self),
        }
    }

    /// Reads the body into the exchange, while the client stays and there is time.
    ///
    /// What is held is at most `max_request_bytes`, and nothing is taken from the client beyond that.
    ///
    /// # Errors
    /// The body is too large, late or malformed, or the client left.
    pub async fn receive(
        self,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        forward: Option<&Forward>,
    ) -> Result<(), Stop> {
        let mut deadlines = Deadlines::of_arrival(exchange, forward);
        ask_for_body(exchange, downstream);
        let mut body = BufferedBody::default();
        poll_fn(|cx| self.poll(cx, &mut body, exchange, downstream, &mut deadlines)).await?;
        let received = exchange.info.elapsed();
        exchange.info.timing.request_received = Some(received);
        tell_length(exchange, body.bytes.len());
        exchange.buffered = Some(body);
        Ok(())
    }

    fn poll(
        self,
        cx: &mut Context<'_>,
        body: &mut BufferedBody,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        deadlines: &mut Deadlines,
    ) -> Poll<Result<(), Stop>> {
        loop {
            match downstream.poll_body(cx) {
                Poll::Ready(Ok(BodyEvent::Data { .. })) => {}
                Poll::Ready(Ok(BodyEvent::End)) => {
                    body.trailers = downstream.take_trailers();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(StreamError::Protocol(error))) => {
                    let reply = LocalReply::protocol_error(error.status, error.details);
                    return Poll::Ready(Err(Stop::Reply(reply)));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Stop::ClientGone)),
                Poll::Pending => {
                    let expired = deadlines.poll(cx);
                    return expired.map(|expired| {
                        let reply = late_reply(expired, downstream);
                        Err(Stop::Reply(reply))
                    });
                }
            }
            let piece = downstream.piece();
            let count = piece.len();
            exchange.info.bytes_received += count as u64;
            if !self.keep(&mut body.bytes, piece.as_slice()) {
                return Poll::Ready(Err(Stop::Reply(too_large(exchange))));
            }
            downstream.consume(count);
            deadlines.touch();
        }
    }

    /// Adds a piece, unless the body is too large with it.
    fn keep(self, bytes: &mut Vec<u8>, piece: &[u8]) -> bool {
        let length = bytes.len() + piece.len();
        if length > self.max_request_bytes {
            return false;
        }
        if length > bytes.capacity() {
            let capacity = (bytes.capacity() * 2).clamp(length, self.max_request_bytes);
            bytes.reserve_exact(capacity - bytes.len());
        }
        bytes.extend_from_slice(piece);
        true
    }
}

fn limit(max: Option<&UInt32Value>) -> Result<usize, CompileError> {
    match max.map(|max| max.value) {
        None => Err(CompileError::new("is required")),
        Some(0) => Err(CompileError::new("0 is not greater than 0")),
        Some(max) => Ok(max as usize),
    }
}

/// A client that waits to be told to go on is told so: the server will not be asked before the body is here.
fn ask_for_body(exchange: &mut Exchange, downstream: &mut Downstream) {
    let request = &mut exchange.request;
    if std::mem::take(&mut request.expects_continue) {
        request.headers.remove(Known::Expect);
        downstream.send_informational(&ResponseHead::new(100));
    }
}

/// The server is told the length, now that it is known.
fn tell_length(exchange: &mut Exchange, length: usize) {
    let request = &mut exchange.request;
    request.body = BodyLength::Exactly(length as u64);
    if !request.headers.contains(Known::ContentLength) {
        let text = length.to_string();
        request
            .headers
            .append(Known::ContentLength, text.as_bytes());
    }
}

fn too_large(exchange: &Exchange) -> LocalReply {
    exchange.context.stats.downstream_rq_too_large.inc();
    LocalReply::new(413, "Payload Too Large", "request_payload_too_large")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(max: Option<u32>) -> proto::Buffer {
        proto::Buffer {
            max_request_bytes: max.map(|value| UInt32Value { value }),
        }
    }

    #[test]
    fn a_limit_is_required() {
        let check = |max, expected: &str| {
            let error = Buffer::compile(&buffer(max)).expect_err("no limit");
            assert_eq!(error.to_string(), expected);
        };
        check(None, "max_request_bytes: is required");
        check(Some(0), "max_request_bytes: 0 is not greater than 0");
        assert!(Buffer::compile(&buffer(Some(1))).is_ok());
    }

    #[test]
    fn routes_disable_or_give_another_limit() {
        let compile = |choice| {
            let config = proto::BufferPerRoute { r#override: choice };
            Buffer::compile_route(&config)
                .map(|setting| setting.config().map(|buffer| buffer.max_request_bytes))
                .map_err(|error| error.to_string())
        };
        assert_eq!(compile(Some(Override::Disabled(true))), Ok(None));
        let other = Override::Buffer(buffer(Some(7)));
        assert_eq!(compile(Some(other)), Ok(Some(7)));
        for (choice, expected) in [
            (None, "override: is required"),
            (Some(Override::Disabled(false)), "disabled: is not true"),
            (
                Some(Override::Buffer(buffer(None))),
                "buffer.max_request_bytes: is required",
            ),
        ] {
            assert_eq!(compile(choice), Err(expected.to_owned()));
        }
    }

    #[test]
    fn no_more_is_held_than_allowed() {
        let filter = Buffer {
            max_request_bytes: 1000,
        };
        let mut bytes = Vec::new();
        for _ in 0..10 {
            assert!(filter.keep(&mut bytes, &[0; 100]));
            assert!(bytes.capacity() <= 1000, "{}", bytes.capacity());
        }
        assert!(!filter.keep(&mut bytes, &[0]));
        assert_eq!(bytes.len(), 1000);
    }
}
