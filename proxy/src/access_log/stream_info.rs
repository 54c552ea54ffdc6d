//! What is remembered about one request, or one TCP connection, for its log line and its metrics.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::flags::{Flag, ResponseFlags};
use crate::conn::TlsInfo;
use crate::http::message::Version;
use crate::peer::PeerMetadata;

/// Facts of one stream, filled in while it runs.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    pub start: Instant,
    pub start_time: SystemTime,
    /// Whole duration; set at the end.
    pub duration: Option<Duration>,
    /// `None` for TCP.
    pub protocol: Option<Version>,
    /// 0 while there is no response.
    pub response_code: u16,
    /// Envoy's words for where the response came from: `via_upstream`.
    pub details: Option<Cow<'static, str>>,
    pub termination_details: Option<Cow<'static, str>>,
    pub flags: ResponseFlags,
    /// Body bytes from the client.
    pub bytes_received: u64,
    /// Body bytes to the client.
    pub bytes_sent: u64,
    /// Bytes from the client, heads included.
    pub wire_received: u64,
    /// Bytes to the client, heads included.
    pub wire_sent: u64,
    /// Address of the client that is trusted, where it differs from the connection's.
    pub remote: Option<SocketAddr>,
    pub route_name: Option<Arc<str>>,
    pub upstream: UpstreamInfo,
    pub attempts: u32,
    /// Workload on the client's side.
    pub downstream_peer: Option<Arc<PeerMetadata>>,
    /// Workload on the server's side.
    pub upstream_peer: Option<Arc<PeerMetadata>>,
    pub timing: Timing,
}

/// The upstream side of a stream: that of the last attempt.
#[derive(Clone, Debug, Default)]
pub struct UpstreamInfo {
    pub cluster: Option<Arc<str>>,
    /// Name of the cluster in statistics.
    pub stat_name: Option<Arc<str>>,
    pub remote: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    pub tls: Option<Rc<TlsInfo>>,
    /// Why the connection failed.
    pub failure: Option<Cow<'static, str>>,
    pub wire_received: u64,
    pub wire_sent: u64,
}

/// Moments since the start of the stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// The last byte of the request has arrived.
    pub request_received: Option<Duration>,
    /// The first byte went upstream.
    pub upstream_first_sent: Option<Duration>,
    pub upstream_last_sent: Option<Duration>,
    /// The response's head has arrived.
    pub upstream_first_received: Option<Duration>,
    pub upstream_last_received: Option<Duration>,
    /// The first byte went to the client.
    pub downstream_first_sent: Option<Duration>,
}

impl StreamInfo {
    pub fn new(start: Instant, start_time: SystemTime) -> Self {
        Self {
            start,
            start_time,
            duration: None,
            protocol: None,
            response_code: 0,
            details: None,
            termination_details: None,
            flags: ResponseFlags::default(),
            bytes_received: 0,
            bytes_sent: 0,
            wire_received: 0,
            wire_sent: 0,
            remote: None,
            route_name: None,
            upstream: UpstreamInfo::default(),
            attempts: 0,
            downstream_peer: None,
            upstream_peer: None,
            timing: Timing::default(),
        }
    }

    pub fn set_flag(&mut self, flag: Flag) {
        self.flags.insert(flag);
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Ends the stream; the first call counts.
    pub fn finish(&mut self) -> Duration {
        let elapsed = self.start.elapsed();
        *self.duration.get_or_insert(elapsed)
    }
}
