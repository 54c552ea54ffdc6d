//! Network filters: what happens to the bytes of a connection after its transport.

pub mod metadata_exchange;
pub mod relay;
pub mod tcp_proxy;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::cluster::{Cluster, Host};
use crate::conn::{ConnectionInfo, TlsInfo};
use crate::peer::PeerMetadata;

/// A proxied TCP connection, as statistics and access logs see it.
#[derive(Debug)]
pub struct TcpSession {
    pub info: Rc<ConnectionInfo>,
    pub cluster: Option<Rc<Cluster>>,
    pub host: Option<Rc<Host>>,
    pub upstream_local: Option<SocketAddr>,
    pub upstream_tls: Option<TlsInfo>,
    /// From metadata exchange with the client.
    pub downstream_peer: Option<Arc<PeerMetadata>>,
    /// From metadata exchange with the host, else from its endpoint.
    pub upstream_peer: Option<Arc<PeerMetadata>>,
    /// Bytes from the client so far.
    pub received: Rc<Cell<u64>>,
    /// Bytes to the client so far.
    pub sent: Rc<Cell<u64>>,
    /// Response flags: `UF,URX`, `UH`, `UO`, `NR`, `UC`, …; empty: none.
    pub flags: &'static str,
    /// Text for `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub upstream_failure: Option<String>,
    /// Text for `%CONNECTION_TERMINATION_DETAILS%`.
    pub termination: Option<&'static str>,
    pub start: Instant,
}

impl TcpSession {
    pub fn new(info: Rc<ConnectionInfo>) -> Self {
        Self {
            start: info.start,
            info,
            cluster: None,
            host: None,
            upstream_local: None,
            upstream_tls: None,
            downstream_peer: None,
            upstream_peer: None,
            received: Rc::default(),
            sent: Rc::default(),
            flags: "",
            upstream_failure: None,
            termination: None,
        }
    }
}
