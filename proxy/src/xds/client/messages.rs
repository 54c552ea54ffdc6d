//! The messages of a gRPC response, one after the other.
//!
//! tonic's own reader keeps a buffer as long as the longest message so far for as long as the stream is open; here that
//! is the response with all clusters of a mesh. This one has a buffer only while a message comes in.
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;

use bytes::{Buf, Bytes};
use futures::Stream;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use prost::Message;
use tokio_stream::StreamExt as _;
use tonic::body::Body;
use tonic::codec::{Codec, EncodeBody};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

/// Compression flag and length, before each message.
const PREFIX: usize = 5;
/// Largest response; that of all clusters of a large mesh has tens of megabytes.
const MAX_RESPONSE: usize = 256 << 20;

/// Messages from the other end of a stream.
pub(super) struct Messages<A> {
    body: Body,
    /// What came and is not part of a message yet.
    unread: Bytes,
    partial: Partial,
    message: PhantomData<fn() -> A>,
}

/// Begins a stream at `path` in both directions, with `metadata`.
///
/// # Errors
/// The connection fails, or the other end refuses.
pub(super) async fn open<Q, A>(
    mut channel: Channel,
    path: Uri,
    metadata: MetadataMap,
    requests: Pin<Box<dyn Stream<Item = Q> + Send>>,
) -> Result<Messages<A>, Status>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let encoder = ProstCodec::<Q, A>::default().encoder();
    let body = EncodeBody::new_client(encoder, requests.map(Ok), None, None);
    let mut request = Request::new(Body::new(body));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = path;
    *request.headers_mut() = metadata.into_headers();
    let headers = request.headers_mut();
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let failed = |error: tonic::transport::Error| Status::from_error(error.into());
    poll_fn(|cx| channel.poll_ready(cx)).await.map_err(failed)?;
    let response = channel.call(request).await.map_err(failed)?;
    check(&response)?;
    Ok(Messages {
        body: response.into_body(),
        unread: Bytes::new(),
        partial: Partial::default(),
        message: PhantomData,
    })
}

impl<A: Message + Default> Messages<A> {
    /// The next message; `None` when the stream ended without an error. Cancel safe.
    ///
    /// # Errors
    /// The stream breaks or ends with a status, or what comes is no message.
    pub(super) async fn next(&mut self) -> Result<Option<A>, Status> {
        loop {
            if let Some(message) = self.partial.feed(&mut self.unread)? {
                let decoded = A::decode(message.get(PREFIX..).unwrap_or_default());
                return decoded.map(Some).map_err(|error| {
                    Status::internal(format!("response does not decode: {error}"))
                });
            }
            let Some(frame) = self.body.frame().await.transpose()? else {
                return self.partial.end().map(|()| None);
            };
            match frame.into_data() {
                Ok(data) => self.unread = data,
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    refusal(&trailers).map_or(Ok(()), Err)?;
                }
            }
        }
    }
}

/// Whether the other end began to answer.
fn check(response: &Response<Body>) -> Result<(), Status> {
    if let Some(status) = refusal(response.headers()) {
        return Err(status);
    }
    match response.status() {
        StatusCode::OK => Ok(()),
        other => Err(Status::unavailable(format!("HTTP status {other}"))),
    }
}

/// The status in headers or trailers, unless it says that all is well.
fn refusal(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}

/// A message, prefix included, as far as it came.
#[derive(Debug, Default)]
struct Partial(Vec<u8>);

impl Partial {
    /// Takes what belongs to the message off `piece`; returns it when it is complete.
    fn feed(&mut self, piece: &mut Bytes) -> Result<Option<Vec<u8>>, Status> {
        self.fill(PREFIX, piece);
        let Some(length) = self.length()? else {
            return Ok(None);
        };
        self.fill(PREFIX + length, piece);
        let complete = self.0.len() == PREFIX + length;
        Ok(complete.then(|| std::mem::take(&mut self.0)))
    }

    fn fill(&mut self, length: usize, piece: &mut Bytes) {
        let missing = length.saturating_sub(self.0.len());
        let part = piece.split_to(missing.min(piece.len()));
        if !part.is_empty() {
            self.0.reserve_exact(missing);
            self.0.extend_from_slice(&part);
        }
    }

    /// That of the message, once it is known.
    fn length(&self) -> Result<Option<usize>, Status> {
        let Some(mut prefix) = self.0.get(..PREFIX) else {
            return Ok(None);
        };
        if prefix.get_u8() != 0 {
            return Err(Status::internal("message is compressed"));
        }
        let length = prefix.get_u32();
        match usize::try_from(length) {
            Ok(length) if length <= MAX_RESPONSE => Ok(Some(length)),
            _ => Err(Status::out_of_range(format!(
                "message has {length} bytes, {MAX_RESPONSE} are allowed"
            ))),
        }
    }

    /// Nothing more comes.
    fn end(&self) -> Result<(), Status> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(Status::internal("stream ended within a message")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("short");
        [&[0], &length.to_be_bytes()[..], message].concat()
    }

    #[test]
    fn messages_are_put_together_from_pieces_of_any_size() {
        let sent = [&b"one"[..], b"", b"three"].map(framed);
        let stream = sent.concat();
        for size in 1..=stream.len() {
            let mut partial = Partial::default();
            let mut came = Vec::new();
            for piece in stream.chunks(size) {
                let mut piece = Bytes::copy_from_slice(piece);
                while let Some(message) = partial.feed(&mut piece).expect("well formed") {
                    came.push(message);
                }
                assert!(piece.is_empty());
            }
            assert_eq!(came, sent, "pieces of {size}");
            assert!(partial.end().is_ok());
            assert_eq!(partial.0.capacity(), 0, "no buffer between messages");
        }
    }

    #[track_caller]
    fn check_refused(stream: &[u8], expected: &str) {
        let mut partial = Partial::default();
        let fed = partial.feed(&mut Bytes::copy_from_slice(stream));
        let outcome = fed.and_then(|_| partial.end());
        assert_eq!(outcome.expect_err("malformed").message(), expected);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        check_refused(&[1, 0, 0, 0, 0], "message is compressed");
        check_refused(
            &[0, 0xff, 0xff, 0xff, 0xff],
            "message has 4294967295 bytes, 268435456 are allowed",
        );
        check_refused(&[0, 0, 0], "stream ended within a message");
        check_refused(&[0, 0, 0, 0, 2, 7], "stream ended within a message");
    }
    /// What an answer with these headers comes to.
    #[track_caller]
    fn check_answer(status: u16, headers: &[(&'static str, &str)], expected: Result<(), &str>) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(Body::empty()).expect("valid headers");
        let outcome = check(&response).map_err(|status| status.to_string());
        match expected {
            Ok(()) => assert_eq!(outcome, Ok(())),
            Err(part) => {
                let error = outcome.expect_err("refused");
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn refusals_are_errors() {
        check_answer(200, &[], Ok(()));
        check_answer(200, &[("grpc-status", "0")], Ok(()));
        let refusal = [("grpc-status", "7"), ("grpc-message", "not%20yours")];
        check_answer(200, &refusal, Err("not yours"));
        check_answer(503, &[], Err("HTTP status 503"));
    }
}
