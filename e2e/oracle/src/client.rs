//! The client of calls: says the bytes of a call to a proxy and notes what comes back.

pub mod h1;
mod h2;
mod stream;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::call::{Call, Message, Protocol};
use crate::certificate::Certificates;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// In order: the status, or what came instead.
    pub statuses: Vec<String>,
    /// Answers, line by line.
    pub lines: Vec<String>,
}

/// Says a call whose number is `id` to the listener on `port`, from an address of its own, which the access log names.
///
/// # Errors
/// The call itself is malformed, or nobody listens.
pub async fn speak(
    call: &Call,
    id: &str,
    source: Ipv4Addr,
    port: u16,
    certificates: &Certificates,
) -> anyhow::Result<Noted> {
    let stream = match connect(source, port).await {
        // The other side ended before this one knew that it had begun.
        Err(error) if !call.is_http() && error.kind() == ErrorKind::ConnectionReset => {
            return Ok(stream::noted(&[], "reset", id));
        }
        connected => connected?,
    };
    match &call.tls {
        None => say(stream, call, id).await,
        Some(tls) => {
            let config = Arc::new(certificates.client_config(tls)?);
            let name = tls.sni.as_deref().unwrap_or("127.0.0.1");
            let name = ServerName::try_from(name.to_owned())?;
            let handshake = TlsConnector::from(config).connect(name, stream);
            match tokio::time::timeout(PATIENCE, handshake).await {
                Ok(Ok(stream)) => {
                    let session = session(&stream);
                    let mut noted = say(stream, call, id).await?;
                    noted.lines.insert(0, session);
                    Ok(noted)
                }
                Ok(Err(error)) => Ok(Noted::refused(&error)),
                Err(_) => Ok(Noted::only("silent")),
            }
        }
    }
}

/// Says a call's request as HTTP/1 in plaintext and leaves it under way.
///
/// # Errors
/// Nobody listens, or the call is no request.
pub async fn begin(
    call: &Call,
    id: &str,
    source: Ipv4Addr,
    port: u16,
) -> anyhow::Result<TcpStream> {
    let Message::Request(request) = &call.message else {
        bail!("only requests may be beside a call");
    };
    let mut stream = connect(source, port).await?;
    stream.write_all(&h1::bytes(request, id)).await?;
    Ok(stream)
}

async fn connect(source: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    let listener = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = socket.connect(listener).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What the handshake agreed on, and with whom.
fn session<S>(stream: &tokio_rustls::client::TlsStream<S>) -> String {
    let (_, session) = stream.get_ref();
    let version = session.protocol_version();
    let alpn = session.alpn_protocol().map(String::from_utf8_lossy);
    let peer = session.peer_certificates().and_then(|chain| chain.first());
    let peer = peer.and_then(|leaf| Certificates::name_of(leaf));
    format!(
        "[tls] {} alpn={} certificate={}",
        version
            .and_then(|version| version.as_str())
            .unwrap_or_default(),
        alpn.as_deref().unwrap_or("-"),
        peer.as_deref().unwrap_or("-"),
    )
}

async fn say<S>(stream: S, call: &Call, id: &str) -> anyhow::Result<Noted>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match &call.message {
        Message::Request(request) if request.protocol == Protocol::Http2 => {
            h2::speak(stream, request, id).await
        }
        Message::Request(request) => Ok(h1::speak(stream, request, id).await),
        Message::Raw(bytes) => Ok(h1::speak_raw(stream, &with_id(bytes, id)).await),
        Message::Stream(bytes) => Ok(stream::speak(stream, bytes, id).await),
    }
}

/// The bytes with the number of the call in place of `$id`.
fn with_id(bytes: &[u8], id: &str) -> Vec<u8> {
    let mut filled = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(3).position(|window| window == b"$id") {
        filled.extend_from_slice(&rest[..at]);
        filled.extend_from_slice(id.as_bytes());
        rest = &rest[at + 3..];
    }
    filled.extend_from_slice(rest);
    filled
}

impl Noted {
    /// Only this came instead of an answer.
    fn only(what: &str) -> Self {
        Self {
            statuses: vec![what.to_owned()],
            ..Self::default()
        }
    }

    fn refused(error: &std::io::Error) -> Self {
        // Stacks name the same alert differently in their texts, but not on the wire.
        let alert = error
            .get_ref()
            .and_then(|error| error.downcast_ref::<rustls::Error>());
        match alert {
            Some(rustls::Error::AlertReceived(alert)) => {
                Self::only(&format!("alert:{alert:?}").to_lowercase())
            }
            Some(error) => Self::only(&format!("tls:{error:?}").replace(' ', "_")),
            None => Self::only(end_of(error)),
        }
    }
}

/// How a connection ended.
fn end_of(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => "reset",
        _ => "closed",
    }
}
