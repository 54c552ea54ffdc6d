//! Compiled transport sockets: which TLS a connection gets.

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use crate::transport_socket::secret::{CertificateKey, TrustBundle};
use crate::transport_socket::tls::{ClientContext, ServerContext};

/// TLS of connections to a cluster.
#[derive(Debug)]
pub struct UpstreamTls {
    /// Server name; empty sends none.
    pub sni: Arc<str>,
    pub common: CommonTls,
}

/// TLS that a filter chain ends.
#[derive(Debug)]
pub struct DownstreamTls {
    pub common: CommonTls,
    pub require_client_certificate: bool,
}

/// What both sides have in common.
#[derive(Debug)]
pub struct CommonTls {
    /// In order of preference.
    pub alpn: Arc<[Arc<[u8]>]>,
    /// Our own certificate; `None`: none is presented.
    pub certificate: Option<CertificateSource>,
    pub validation: Validation,
    pub params: TlsParams,
}

#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// The workload certificate of the agent: SDS name `default`.
    Workload,
    /// A secret delivered over ADS: `kubernetes://…`.
    Ads(Arc<str>),
    /// Given in the configuration itself.
    Inline(Arc<CertificateKey>),
}

#[derive(Clone, Debug)]
pub enum RootSource {
    /// The roots of the mesh: SDS name `ROOTCA`.
    Workload,
    Ads(Arc<str>),
    Inline(Arc<TrustBundle>),
}

/// How the other side's certificate is verified.
#[derive(Clone, Debug)]
pub enum Validation {
    /// No certificate is asked for, or any is taken.
    None,
    Verify(Verify),
    /// The configuration could not be understood: every handshake fails with this text.
    Deny(Arc<str>),
}

#[derive(Clone, Debug)]
pub struct Verify {
    pub roots: RootSource,
    /// One of them must match; empty: every certificate of a root will do.
    pub sans: Arc<[SanMatch]>,
    /// The leaf must have one of these digests; empty: any leaf.
    pub pins: Arc<[Pin]>,
}

/// SHA-256 that a leaf certificate must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Of the DER certificate.
    Certificate([u8; 32]),
    /// Of its DER subject public key info.
    Spki([u8; 32]),
}

/// A match on a subject alternative name.
#[derive(Clone, Debug)]
pub struct SanMatch {
    /// `None`: URI and DNS names.
    pub kind: Option<SanKind>,
    pub pattern: SanPattern,
    pub ignore_case: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    Uri,
    Dns,
}

/// Text is lower-case when case is ignored.
#[derive(Clone, Debug)]
pub enum SanPattern {
    /// DNS names of the certificate may have a wildcard as their first label.
    Exact(Arc<str>),
    Prefix(Arc<str>),
    Suffix(Arc<str>),
    Contains(Arc<str>),
    /// Anchored at both ends.
    Regex(Regex),
}

/// Protocol versions, suites and groups; nothing is ever left empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsParams {
    /// Default is both versions.
    pub versions: TlsVersions,
    /// Suites of TLS 1.2; `None`: the default of the library.
    pub cipher_suites: Option<Vec<rustls::CipherSuite>>,
    /// `None`: the default of the library.
    pub groups: Option<Vec<rustls::NamedGroup>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsVersions {
    #[default]
    Both,
    Only12,
    Only13,
}

/// The transport of connections to an endpoint.
#[derive(Clone, Debug)]
pub struct TransportSocket {
    /// Tells the host who the client is, before everything else.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// `None`: plaintext.
    pub tls: Option<Arc<ClientContext>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocolVersion {
    V1,
    V2,
}

impl TransportSocket {
    /// Plaintext.
    pub const RAW: Self = Self {
        proxy_protocol: None,
        tls: None,
    };
}

/// The transport of connections of a filter chain.
#[derive(Clone, Debug)]
pub enum DownstreamSocket {
    Raw,
    Tls {
        context: Arc<ServerContext>,
        /// Time for the handshake; default 15 s, zero: no limit.
        timeout: Duration,
    },
}

/// Which transport an endpoint gets: first matching entry, else the default.
#[derive(Clone, Debug)]
pub struct TransportPlan {
    pub matches: Vec<TransportMatch>,
    pub default: TransportSocket,
}

#[derive(Clone, Debug)]
pub struct TransportMatch {
    pub name: Arc<str>,
    /// All of them must be in the endpoint's `envoy.transport_socket_match` metadata; none matches every endpoint.
    pub criteria: Vec<(Arc<str>, Arc<str>)>,
    pub socket: TransportSocket,
}

impl TransportPlan {
    pub fn raw() -> Self {
        Self {
            matches: Vec::new(),
            default: TransportSocket::RAW,
        }
    }

    /// The transport for an endpoint with this `envoy.transport_socket_match` metadata.
    pub fn select(&self, metadata: &[(Arc<str>, Arc<str>)]) -> &TransportSocket {
        self.matches
            .iter()
            .find(|entry| {
                entry
                    .criteria
                    .iter()
                    .all(|wanted| metadata.contains(wanted))
            })
            .map_or(&self.default, |entry| &entry.socket)
    }

    /// Whether some hosts are told who the client is, so that clients cannot share connections.
    pub fn tells_client(&self) -> bool {
        self.sockets().any(|socket| socket.proxy_protocol.is_some())
    }

    /// All transports that an endpoint may get.
    pub fn sockets(&self) -> impl Iterator<Item = &TransportSocket> {
        let matches = self.matches.iter().map(|entry| &entry.socket);
        matches.chain([&self.default])
    }
}
