//! Command operators of format strings: what `%NAME(argument):length%` stands for, and its value for a stream.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::stream_info::StreamInfo;
use super::time_format::TimeFormat;
use crate::conn::{ConnectionInfo, PeerCertificate};
use crate::http::codec::h1::write_decimal;
use crate::http::header_block::HeaderBlock;
use crate::http::message::{RequestHead, ResponseHead, split_query};

/// What operators can see. Parts that do not exist yet, or never for TCP, are `None`.
#[derive(Clone, Copy)]
pub struct FormatContext<'a> {
    pub info: &'a StreamInfo,
    pub connection: Option<&'a ConnectionInfo>,
    pub request: Option<&'a RequestHead>,
    pub response: Option<&'a ResponseHead>,
    pub trailers: Option<&'a HeaderBlock>,
}

/// A header, and the one that is taken when it is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderChoice {
    main: Box<str>,
    alternative: Option<Box<str>>,
}

/// Which end of a connection an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    UpstreamRemote,
    UpstreamLocal,
    DownstreamLocal,
    DownstreamDirectLocal,
    DownstreamRemote,
    DownstreamDirectRemote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPart {
    Whole,
    Ip,
    Port,
}

/// A fact of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateField {
    Subject,
    Issuer,
    UriSan,
    DnsSan,
    Fingerprint,
    Pem,
}

/// A span of time inside a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Whole,
    Request,
    RequestSent,
    Response,
    ResponseSent,
}

/// One operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    StartTime(TimeFormat),
    Request(HeaderChoice),
    RequestWithoutQuery(HeaderChoice),
    Response(HeaderChoice),
    Trailer(HeaderChoice),
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags {
        long: bool,
    },
    TerminationDetails,
    UpstreamFailure,
    BytesReceived,
    BytesSent,
    WireBytesReceived,
    WireBytesSent,
    UpstreamWireBytesReceived,
    UpstreamWireBytesSent,
    Duration(Span),
    UpstreamCluster {
        raw: bool,
    },
    Address(Address, AddressPart),
    RequestedServerName,
    RouteName,
    FilterChainName,
    Attempts,
    ConnectionId,
    DownstreamTlsVersion,
    DownstreamTlsCipher,
    DownstreamPeer(CertificateField),
    DownstreamLocalUriSan,
    UpstreamPeer(CertificateField),
    UpstreamLocalUriSan,
    UpstreamTlsVersion,
    GrpcStatus,
    Hostname,
    Environment(Box<str>),
    /// `%FILTER_STATE(upstream_peer:FIELD:name)%` and its downstream twin.
    Peer {
        upstream: bool,
        field: PeerField,
    },
}

/// A part of a workload's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerField {
    Name,
    Namespace,
    Workload,
    Service,
    Revision,
    App,
    Version,
    Cluster,
}

/// What an operator gave.
pub enum Value<'a> {
    Absent,
    Text(&'a [u8]),
    Number(u64),
    Address(SocketAddr),
    Ip(IpAddr),
    /// Was written by the operator itself.
    Written,
}

impl Operator {
    /// Reads `NAME(argument)`, without the length.
    ///
    /// # Errors
    /// Why the operator cannot be used.
    pub fn parse(text: &str) -> Result<Operator, String> {
        let (name, argument) = match text.split_once('(') {
            Some((name, rest)) => {
                let argument = rest
                    .strip_suffix(')')
                    .ok_or_else(|| format!("%{text}% lacks a closing parenthesis"))?;
                (name, argument)
            }
            None => (text, ""),
        };
        if let Some(operator) = parse_plain(name) {
            return Ok(operator);
        }
        parse_with_argument(name, argument)?.ok_or_else(|| format!("unknown operator %{text}%"))
    }

    /// Whether values are numbers in typed JSON.
    pub fn is_number(&self) -> bool {
        matches!(
            self,
            Operator::ResponseCode
                | Operator::BytesReceived
                | Operator::BytesSent
                | Operator::WireBytesReceived
                | Operator::WireBytesSent
                | Operator::UpstreamWireBytesReceived
                | Operator::UpstreamWireBytesSent
                | Operator::Duration(_)
                | Operator::Attempts
                | Operator::ConnectionId
                | Operator::Address(_, AddressPart::Port)
        )
    }

    /// Appends the value; whether there was one.
    pub fn write(&self, context: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        match self.value(context, out) {
            Value::Absent => return false,
            Value::Text(text) => out.extend_from_slice(text),
            Value::Number(number) => write_decimal(number, out),
            Value::Address(address) => write_display(&address, out),
            Value::Ip(ip) => write_display(&ip, out),
            Value::Written => {}
        }
        true
    }

    fn value<'a>(&'a self, context: &FormatContext<'a>, out: &mut Vec<u8>) -> Value<'a> {
        let info = context.info;
        match self {
            Operator::StartTime(format) => {
                format.write(info.start_time, out);
                Value::Written
            }
            Operator::Request(choice) => request_header(context, choice),
            Operator::RequestWithoutQuery(choice) => match request_header(context, choice) {
                Value::Text(text) => without_query(text),
                other => other,
            },
            Operator::Response(choice) => match context.response {
                Some(response) => response_header(response, choice),
                None => Value::Absent,
            },
            Operator::Trailer(choice) => match context.trailers {
                Some(trailers) => first(trailers, choice),
                None => Value::Absent,
            },
            Operator::Protocol => text(info.protocol.map(|protocol| protocol.as_str())),
            Operator::ResponseCode => Value::Number(info.response_code.into()),
            Operator::ResponseCodeDetails => text(info.details.as_deref()),
            Operator::ResponseFlags { long } => {
                if *long {
                    info.flags.write_long(out);
                } else {
                    info.flags.write_short(out);
                }
                Value::Written
            }
            Operator::TerminationDetails => text(info.termination_details.as_deref()),
            Operator::UpstreamFailure => text(info.upstream.failure.as_deref()),
            Operator::BytesReceived => Value::Number(info.bytes_received),
            Operator::BytesSent => Value::Number(info.bytes_sent),
            Operator::WireBytesReceived => Value::Number(info.wire_received),
            Operator::WireBytesSent => Value::Number(info.wire_sent),
            Operator::UpstreamWireBytesReceived => Value::Number(info.upstream.wire_received),
            Operator::UpstreamWireBytesSent => Value::Number(info.upstream.wire_sent),
            Operator::Duration(span) => match span.of(info) {
                Some(duration) => Value::Number(millis(duration)),
                None => Value::Absent,
            },
            Operator::UpstreamCluster { raw: true } => text(info.upstream.cluster.as_deref()),
            Operator::UpstreamCluster { raw: false } => text(info.upstream.stat_name.as_deref()),
            Operator::Address(address, part) => match (address.of(context), part) {
                (None, _) => Value::Absent,
                (Some(address), AddressPart::Whole) => Value::Address(address),
                (Some(address), AddressPart::Ip) => Value::Ip(address.ip()),
                (Some(address), AddressPart::Port) => Value::Number(address.port().into()),
            },
            Operator::RouteName => text(info.route_name.as_deref()),
            Operator::Attempts => Value::Number(info.attempts.into()),
            Operator::GrpcStatus => grpc_status(context),
            Operator::Hostname => text(hostname()),
            Operator::Environment(value) => Value::Text(value.as_bytes()),
            Operator::Peer { upstream, field } => {
                let peer = match upstream {
                    true => info.upstream_peer.as_deref(),
                    false => info.downstream_peer.as_deref(),
                };
                text(peer.map(|peer| field.of(peer)))
            }
            _ => self.connection_value(context, out),
        }
    }

    fn connection_value<'a>(&self, context: &FormatContext<'a>, out: &mut Vec<u8>) -> Value<'a> {
        let Some(connection) = context.connection else {
            return Value::Absent;
        };
        let tls = connection.tls.as_ref();
        let upstream_tls = context.info.upstream.tls.as_deref();
        match self {
            Operator::RequestedServerName => match &connection.server_name {
                Some(name) => {
                    write_server_name(name, out);
                    Value::Written
                }
                None => Value::Absent,
            },
            Operator::FilterChainName => text(Some(&*connection.filter_chain_name)),
            Operator::ConnectionId => Value::Number(connection.id),
            Operator::DownstreamTlsVersion => text(tls.map(|tls| tls.version)),
            Operator::DownstreamTlsCipher => text(tls.map(|tls| tls.cipher.as_str())),
            Operator::DownstreamPeer(field) => match connection.peer() {
                Some(peer) => field.of(peer, out),
                None => Value::Absent,
            },
            Operator::DownstreamLocalUriSan => text(
                tls.and_then(|tls| tls.local_uri_sans.first())
                    .map(|san| &**san),
            ),
            Operator::UpstreamPeer(field) => {
                match upstream_tls.and_then(|tls| tls.peer.as_deref()) {
                    Some(peer) => field.of(peer, out),
                    None => Value::Absent,
                }
            }
            Operator::UpstreamLocalUriSan => text(
                upstream_tls
                    .and_then(|tls| tls.local_uri_sans.first())
                    .map(|san| &**san),
            ),
            Operator::UpstreamTlsVersion => text(upstream_tls.map(|tls| tls.version)),
            _ => Value::Absent,
        }
    }
}

fn parse_plain(name: &str) -> Option<Operator> {
    use Address::{
        DownstreamDirectLocal, DownstreamDirectRemote, DownstreamLocal, DownstreamRemote,
        UpstreamLocal, UpstreamRemote,
    };
    use AddressPart::{Ip, Port, Whole};
    Some(match name {
        "PROTOCOL" => Operator::Protocol,
        "RESPONSE_CODE" => Operator::ResponseCode,
        "RESPONSE_CODE_DETAILS" => Operator::ResponseCodeDetails,
        "RESPONSE_FLAGS" => Operator::ResponseFlags { long: false },
        "RESPONSE_FLAGS_LONG" => Operator::ResponseFlags { long: true },
        "CONNECTION_TERMINATION_DETAILS" => Operator::TerminationDetails,
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => Operator::UpstreamFailure,
        "BYTES_RECEIVED" => Operator::BytesReceived,
        "BYTES_SENT" => Operator::BytesSent,
        "DOWNSTREAM_WIRE_BYTES_RECEIVED" => Operator::WireBytesReceived,
        "DOWNSTREAM_WIRE_BYTES_SENT" => Operator::WireBytesSent,
        "UPSTREAM_WIRE_BYTES_RECEIVED" => Operator::UpstreamWireBytesReceived,
        "UPSTREAM_WIRE_BYTES_SENT" => Operator::UpstreamWireBytesSent,
        "DURATION" => Operator::Duration(Span::Whole),
        "REQUEST_DURATION" => Operator::Duration(Span::Request),
        "REQUEST_TX_DURATION" => Operator::Duration(Span::RequestSent),
        "RESPONSE_DURATION" => Operator::Duration(Span::Response),
        "RESPONSE_TX_DURATION" => Operator::Duration(Span::ResponseSent),
        "UPSTREAM_CLUSTER" => Operator::UpstreamCluster { raw: false },
        "UPSTREAM_CLUSTER_RAW" => Operator::UpstreamCluster { raw: true },
        "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Operator::Address(UpstreamRemote, Whole),
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Operator::Address(UpstreamRemote, Ip),
        "UPSTREAM_REMOTE_PORT" => Operator::Address(UpstreamRemote, Port),
        "UPSTREAM_LOCAL_ADDRESS" => Operator::Address(UpstreamLocal, Whole),
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Operator::Address(UpstreamLocal, Ip),
        "UPSTREAM_LOCAL_PORT" => Operator::Address(UpstreamLocal, Port),
        "DOWNSTREAM_LOCAL_ADDRESS" => Operator::Address(DownstreamLocal, Whole),
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Operator::Address(DownstreamLocal, Ip),
        "DOWNSTREAM_LOCAL_PORT" => Operator::Address(DownstreamLocal, Port),
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS" => Operator::Address(DownstreamDirectLocal, Whole),
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT" => {
            Operator::Address(DownstreamDirectLocal, Ip)
        }
        "DOWNSTREAM_DIRECT_LOCAL_PORT" => Operator::Address(DownstreamDirectLocal, Port),
        "DOWNSTREAM_REMOTE_ADDRESS" => Operator::Address(DownstreamRemote, Whole),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Operator::Address(DownstreamRemote, Ip),
        "DOWNSTREAM_REMOTE_PORT" => Operator::Address(DownstreamRemote, Port),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Operator::Address(DownstreamDirectRemote, Whole),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => {
            Operator::Address(DownstreamDirectRemote, Ip)
        }
        "DOWNSTREAM_DIRECT_REMOTE_PORT" => Operator::Address(DownstreamDirectRemote, Port),
        "REQUESTED_SERVER_NAME" => Operator::RequestedServerName,
        "ROUTE_NAME" => Operator::RouteName,
        "FILTER_CHAIN_NAME" => Operator::FilterChainName,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Operator::Attempts,
        "CONNECTION_ID" => Operator::ConnectionId,
        "DOWNSTREAM_TLS_VERSION" => Operator::DownstreamTlsVersion,
        "DOWNSTREAM_TLS_CIPHER" => Operator::DownstreamTlsCipher,
        "DOWNSTREAM_PEER_SUBJECT" => Operator::DownstreamPeer(CertificateField::Subject),
        "DOWNSTREAM_PEER_ISSUER" => Operator::DownstreamPeer(CertificateField::Issuer),
        "DOWNSTREAM_PEER_URI_SAN" => Operator::DownstreamPeer(CertificateField::UriSan),
        "DOWNSTREAM_PEER_DNS_SAN" => Operator::DownstreamPeer(CertificateField::DnsSan),
        "DOWNSTREAM_PEER_FINGERPRINT_256" => {
            Operator::DownstreamPeer(CertificateField::Fingerprint)
        }
        "DOWNSTREAM_PEER_CERT" => Operator::DownstreamPeer(CertificateField::Pem),
        "DOWNSTREAM_LOCAL_URI_SAN" => Operator::DownstreamLocalUriSan,
        "UPSTREAM_PEER_SUBJECT" => Operator::UpstreamPeer(CertificateField::Subject),
        "UPSTREAM_PEER_ISSUER" => Operator::UpstreamPeer(CertificateField::Issuer),
        "UPSTREAM_PEER_URI_SAN" => Operator::UpstreamPeer(CertificateField::UriSan),
        "UPSTREAM_PEER_DNS_SAN" => Operator::UpstreamPeer(CertificateField::DnsSan),
        "UPSTREAM_LOCAL_URI_SAN" => Operator::UpstreamLocalUriSan,
        "UPSTREAM_TLS_VERSION" => Operator::UpstreamTlsVersion,
        "HOSTNAME" => Operator::Hostname,
        _ => return None,
    })
}

fn parse_with_argument(name: &str, argument: &str) -> Result<Option<Operator>, String> {
    let header = || HeaderChoice::parse(argument);
    Ok(Some(match name {
        "START_TIME" => Operator::StartTime(TimeFormat::parse(argument)?),
        "REQ" => Operator::Request(header()?),
        "REQ_WITHOUT_QUERY" => Operator::RequestWithoutQuery(header()?),
        "RESP" => Operator::Response(header()?),
        "TRAILER" => Operator::Trailer(header()?),
        "GRPC_STATUS_NUMBER" | "GRPC_STATUS" => Operator::GrpcStatus,
        "ENVIRONMENT" => Operator::Environment(
            std::env::var(argument)
                .unwrap_or_else(|_| "-".into())
                .into(),
        ),
        "FILTER_STATE" => return parse_filter_state(argument),
        _ => return Ok(None),
    }))
}

fn parse_filter_state(argument: &str) -> Result<Option<Operator>, String> {
    let mut parts = argument.split(':');
    let upstream = match parts.next() {
        Some("upstream_peer") => true,
        Some("downstream_peer") => false,
        _ => return Ok(None),
    };
    let field = match (parts.next(), parts.next()) {
        (Some("FIELD"), Some(field)) => field,
        _ => return Err(format!("%FILTER_STATE({argument})% needs :FIELD:name")),
    };
    PeerField::parse(field)
        .map(|field| Some(Operator::Peer { upstream, field }))
        .ok_or_else(|| format!("unknown field {field:?} of a peer"))
}

impl PeerField {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "name" => PeerField::Name,
            "namespace" => PeerField::Namespace,
            "workload" => PeerField::Workload,
            "service" => PeerField::Service,
            "revision" => PeerField::Revision,
            "app" => PeerField::App,
            "version" => PeerField::Version,
            "cluster" => PeerField::Cluster,
            _ => return None,
        })
    }

    fn of(self, peer: &crate::peer::PeerMetadata) -> &str {
        match self {
            PeerField::Name => &peer.instance,
            PeerField::Namespace => &peer.namespace,
            PeerField::Workload => &peer.workload,
            PeerField::Service => &peer.canonical_name,
            PeerField::Revision => &peer.canonical_revision,
            PeerField::App => &peer.app,
            PeerField::Version => &peer.version,
            PeerField::Cluster => &peer.cluster,
        }
    }
}

impl HeaderChoice {
    fn parse(argument: &str) -> Result<Self, String> {
        let (main, alternative) = match argument.split_once('?') {
            Some((main, alternative)) => (main, Some(alternative)),
            None => (argument, None),
        };
        if main.is_empty() || alternative.is_some_and(|name| name.is_empty() || name.contains('?'))
        {
            return Err(format!(
                "({argument}) is not one header name, or two with ? between"
            ));
        }
        Ok(Self {
            main: main.to_ascii_lowercase().into(),
            alternative: alternative.map(|name| name.to_ascii_lowercase().into()),
        })
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        [Some(&self.main), self.alternative.as_ref()]
            .into_iter()
            .flatten()
            .map(|name| name.as_bytes())
    }
}

fn text(value: Option<&str>) -> Value<'_> {
    match value {
        Some(text) if !text.is_empty() => Value::Text(text.as_bytes()),
        _ => Value::Absent,
    }
}

fn bytes(value: Option<&[u8]>) -> Value<'_> {
    match value {
        Some(value) if !value.is_empty() => Value::Text(value),
        _ => Value::Absent,
    }
}

fn request_header<'a>(context: &FormatContext<'a>, choice: &'a HeaderChoice) -> Value<'a> {
    let Some(request) = context.request else {
        return Value::Absent;
    };
    bytes(choice.names().find_map(|name| {
        let pseudo = request.pseudo(name).map(str::as_bytes);
        let value = pseudo.or_else(|| request.headers.get_named(name));
        value.filter(|value| !value.is_empty())
    }))
}

fn response_header<'a>(response: &'a ResponseHead, choice: &'a HeaderChoice) -> Value<'a> {
    if &*choice.main == ":status" {
        return Value::Number(response.status.into());
    }
    first(&response.headers, choice)
}

fn first<'a>(block: &'a HeaderBlock, choice: &'a HeaderChoice) -> Value<'a> {
    bytes(choice.names().find_map(|name| block.get_named(name)))
}

fn without_query(value: &[u8]) -> Value<'_> {
    match std::str::from_utf8(value) {
        Ok(path) => text(Some(split_query(path).0)),
        Err(_) => Value::Text(value),
    }
}

fn grpc_status<'a>(context: &FormatContext<'a>) -> Value<'a> {
    let name = &b"grpc-status"[..];
    let trailer = context
        .trailers
        .and_then(|trailers| trailers.get_named(name));
    bytes(trailer.or_else(|| {
        context
            .response
            .and_then(|response| response.headers.get_named(name))
    }))
}

/// The host's name, read once.
fn hostname() -> Option<&'static str> {
    static NAME: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    NAME.get_or_init(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        Some(name.trim().to_owned())
    })
    .as_deref()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn write_display(value: &impl std::fmt::Display, out: &mut Vec<u8>) {
    use std::io::Write;
    // Writing to memory does not fail.
    let _ = write!(out, "{value}");
}

/// A client chooses its SNI: what is no host name could forge log lines, and is told by `invalid:`, as in Envoy.
fn write_server_name(name: &str, out: &mut Vec<u8>) {
    let is_of_hosts = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !name.bytes().all(is_of_hosts) {
        out.extend_from_slice(b"invalid:");
    }
    let bytes = name.bytes().take(255);
    out.extend(bytes.map(|byte| if is_of_hosts(byte) { byte } else { b'_' }));
}

impl Span {
    fn of(self, info: &StreamInfo) -> Option<Duration> {
        let timing = &info.timing;
        match self {
            Span::Whole => Some(info.duration.unwrap_or_else(|| info.start.elapsed())),
            Span::Request => timing.request_received,
            Span::RequestSent => timing.upstream_last_sent,
            Span::Response => timing.upstream_first_received,
            Span::ResponseSent => {
                let end = info.duration?;
                timing
                    .upstream_first_received
                    .map(|first| end.saturating_sub(first))
            }
        }
    }
}

impl Address {
    fn of(self, context: &FormatContext<'_>) -> Option<SocketAddr> {
        let upstream = &context.info.upstream;
        let connection = context.connection;
        match self {
            Address::UpstreamRemote => upstream.remote,
            Address::UpstreamLocal => upstream.local,
            Address::DownstreamLocal => connection.map(|c| c.local),
            Address::DownstreamDirectLocal => connection.map(|c| c.direct_local),
            Address::DownstreamRemote => context.info.remote.or(connection.map(|c| c.remote)),
            Address::DownstreamDirectRemote => connection.map(|c| c.direct_remote),
        }
    }
}

impl CertificateField {
    fn of<'a>(self, peer: &'a PeerCertificate, out: &mut Vec<u8>) -> Value<'a> {
        match self {
            CertificateField::Subject => text(Some(&peer.subject)),
            CertificateField::Issuer => text(Some(&peer.issuer)),
            CertificateField::Fingerprint => text(Some(&peer.sha256)),
            CertificateField::UriSan => joined(&peer.uri_sans, out),
            CertificateField::DnsSan => joined(&peer.dns_sans, out),
            CertificateField::Pem => {
                percent_encode(peer.pem(), out);
                Value::Written
            }
        }
    }
}

fn joined<'a>(names: &[std::sync::Arc<str>], out: &mut Vec<u8>) -> Value<'a> {
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
    if names.is_empty() {
        Value::Absent
    } else {
        Value::Written
    }
}

/// Appends a text with everything but unreserved characters percent-encoded.
pub fn percent_encode(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            let digit = |nibble: u8| b"0123456789ABCDEF".get(usize::from(nibble)).copied();
            out.push(b'%');
            out.extend(digit(byte >> 4));
            out.extend(digit(byte & 15));
        }
    }
}
