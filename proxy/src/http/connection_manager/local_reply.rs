//! Answers that the proxy gives itself, in Envoy's words.

use std::borrow::Cow;

use bytes::Bytes;

use crate::access_log::Flag;
use crate::http::grpc;
use crate::http::header_name::Known;
use crate::http::message::{BodyLength, ResponseHead, reason_phrase};

/// An answer of the proxy's own.
#[derive(Debug)]
pub struct LocalReply {
    pub status: u16,
    pub body: Bytes,
    /// Response code details for the log.
    pub details: Cow<'static, str>,
    pub flag: Option<Flag>,
    /// Status for gRPC clients where it does not follow from `status`.
    pub grpc_status: Option<u32>,
    pub headers: Vec<(Known, Box<[u8]>)>,
    /// The client's connection cannot be used any further.
    pub close: bool,
}

impl LocalReply {
    pub fn new(status: u16, body: impl Into<Bytes>, details: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            body: body.into(),
            details: details.into(),
            flag: None,
            grpc_status: None,
            headers: Vec::new(),
            close: false,
        }
    }

    #[must_use]
    pub fn flag(mut self, flag: Flag) -> Self {
        self.flag = Some(flag);
        self
    }

    #[must_use]
    pub fn header(mut self, name: Known, value: &[u8]) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A request that breaks the protocol.
    pub fn protocol_error(status: u16, details: &'static str) -> Self {
        Self {
            close: true,
            ..Self::new(status, reason_phrase(status), details).flag(Flag::DownstreamProtocolError)
        }
    }

    /// A request that has not arrived completely in time.
    pub fn late_request() -> Self {
        Self {
            close: true,
            ..Self::new(408, "request timeout", "request_overall_timeout")
        }
    }

    /// A request whose head has not arrived in time.
    pub fn late_head() -> Self {
        Self {
            close: true,
            ..Self::new(408, "request header timeout", "request_header_timeout")
        }
    }

    pub fn no_route() -> Self {
        Self::new(404, "", "route_not_found").flag(Flag::NoRouteFound)
    }

    pub fn no_cluster(status: u16) -> Self {
        Self::new(status, "", "cluster_not_found").flag(Flag::NoClusterFound)
    }

    pub fn no_healthy_upstream() -> Self {
        Self::new(503, "no healthy upstream", "no_healthy_upstream").flag(Flag::NoHealthyUpstream)
    }

    pub fn redirect(status: u16, location: &str) -> Self {
        Self::new(status, "", "direct_response").header(Known::Location, location.as_bytes())
    }

    /// Begins the head, which the route may change before the rest is said.
    pub fn begin(&self, head: &mut ResponseHead) {
        head.reset();
        head.status = self.status;
        for (name, value) in &self.headers {
            head.headers.append(*name, value);
        }
    }

    /// Completes a head that was begun; gives the body. gRPC clients get a status in the head alone.
    pub fn into_body(self, to_grpc: bool, head: &mut ResponseHead) -> Bytes {
        if to_grpc {
            let status = self
                .grpc_status
                .unwrap_or_else(|| grpc::status_from_http(self.status).into());
            head.status = 200;
            head.body = BodyLength::Empty;
            head.headers.set(Known::ContentType, b"application/grpc");
            head.headers
                .set(Known::GrpcStatus, status.to_string().as_bytes());
            if !self.body.is_empty() {
                let message = grpc::encode_message(&String::from_utf8_lossy(&self.body));
                head.headers.set(Known::GrpcMessage, message.as_bytes());
            }
            return Bytes::new();
        }
        if self.body.is_empty() {
            head.body = BodyLength::Empty;
            return self.body;
        }
        head.body = BodyLength::Exactly(self.body.len() as u64);
        let length = self.body.len().to_string();
        head.headers.set(Known::ContentLength, length.as_bytes());
        if !head.headers.contains(Known::ContentType) {
            head.headers.append(Known::ContentType, b"text/plain");
        }
        self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn respond(to_grpc: bool) -> (ResponseHead, Bytes) {
        let mut head = ResponseHead::default();
        let reply = LocalReply::no_healthy_upstream();
        reply.begin(&mut head);
        let body = reply.into_body(to_grpc, &mut head);
        (head, body)
    }

    #[test]
    fn http_clients_get_a_text() {
        let (head, body) = respond(false);
        assert_eq!(body, "no healthy upstream");
        assert_eq!((head.status, head.body), (503, BodyLength::Exactly(19)));
        assert_eq!(
            head.headers.get(Known::ContentType),
            Some(&b"text/plain"[..])
        );
    }

    #[test]
    fn grpc_clients_get_a_status() {
        let (head, body) = respond(true);
        assert!(body.is_empty());
        assert_eq!((head.status, head.body), (200, BodyLength::Empty));
        assert_eq!(head.headers.get(Known::GrpcStatus), Some(&b"14"[..]));
        let message = head.headers.get(Known::GrpcMessage);
        assert_eq!(message, Some(&b"no healthy upstream"[..]));
    }
}
