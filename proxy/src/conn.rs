//! One accepted or dialled connection: its byte stream and what is known about both ends.

pub mod buffer;
mod read_ahead;
mod renegotiation;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use bytes::{Buf, Bytes};
use ironsail_runtime::tls;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::client::TlsStream as ClientTls;
use tokio_rustls::server::TlsStream as ServerTls;

use crate::resource::listener::ListenerConfig;

pub use read_ahead::ReadAhead;

/// The transport under TLS: a socket, or memory in tests and internal listeners.
#[derive(Debug)]
pub enum Raw {
    Tcp(TcpStream),
    Memory(DuplexStream),
}

/// A transport whose first bytes were read ahead and are given again to the next reader.
#[derive(Debug)]
pub struct Prefixed<T = Raw> {
    inner: T,
    prefix: Bytes,
}

/// A connection's byte stream.
#[derive(Debug)]
pub enum Io {
    Plain(Prefixed),
    ServerTls(Box<ServerTls<ReadAhead>>),
    ClientTls(Box<ClientTls<ReadAhead>>),
}

impl<T> Prefixed<T> {
    pub fn new(inner: T) -> Self {
        Self::with_prefix(inner, Bytes::new())
    }

    /// Bytes that the next reads return before those of the transport.
    pub fn with_prefix(inner: T, prefix: Bytes) -> Self {
        Self { inner, prefix }
    }
}

impl Prefixed {
    pub fn raw(&self) -> &Raw {
        &self.inner
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match &mut self.inner {
            Raw::Tcp(socket) => socket.poll_read_ready(cx),
            Raw::Memory(stream) => {
                // Memory cannot be asked, only read.
                let mut chunk = [0; 512];
                let mut read = ReadBuf::new(&mut chunk);
                ready!(Pin::new(stream).poll_read(cx, &mut read))?;
                self.prefix = Bytes::copy_from_slice(read.filled());
                Poll::Ready(Ok(()))
            }
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match &self.inner {
            Raw::Tcp(stream) => Some(stream),
            Raw::Memory(_) => None,
        }
    }
}

impl Io {
    pub fn tcp(stream: TcpStream) -> Self {
        Io::Plain(Prefixed::new(Raw::Tcp(stream)))
    }

    pub fn memory(stream: DuplexStream) -> Self {
        Io::Plain(Prefixed::new(Raw::Memory(stream)))
    }

    /// The socket under this stream; `None` for memory.
    pub fn socket(&self) -> Option<&TcpStream> {
        match self {
            Io::Plain(stream) => stream.tcp(),
            Io::ServerTls(stream) => stream.get_ref().0.inner().tcp(),
            Io::ClientTls(stream) => stream.get_ref().0.inner().tcp(),
        }
    }

    pub fn is_tls(&self) -> bool {
        !matches!(self, Io::Plain(_))
    }

    /// Waits for input without holding a buffer, so that an idle connection costs none.
    ///
    /// Ready means that a read is worth trying: it may still be pending.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Plain(stream) => stream.poll_readable(cx),
            Io::ServerTls(stream) => renegotiation::poll_read(stream, cx, |stream, cx| {
                stream.poll_fill_buf(cx).map_ok(|_| ())
            }),
            Io::ClientTls(stream) => Pin::new(stream).poll_fill_buf(cx).map_ok(|_| ()),
        }
    }

    /// See [`Io::poll_readable`]; cancel safe.
    pub async fn readable(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// Closes with a TCP reset instead of an orderly end.
    pub fn reset(self) {
        if let Some(socket) = self.socket() {
            // Failing to set the option still closes the connection, only less abruptly.
            let _ = socket.set_zero_linger();
        }
    }
}

impl AsyncRead for Raw {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Raw::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Raw::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Raw {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Raw::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Raw::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Raw::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Raw::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Raw::Tcp(stream) => stream.is_write_vectored(),
            Raw::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Raw::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Raw::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Raw::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Raw::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prefixed<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.prefix.is_empty() {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        }
        let taken = this.prefix.len().min(buf.remaining());
        buf.put_slice(&this.prefix.chunk()[..taken]);
        this.prefix.advance(taken);
        if this.prefix.is_empty() {
            // An emptied slice would keep the whole read-ahead buffer alive.
            this.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prefixed<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::ServerTls(stream) => {
                renegotiation::poll_read(stream, cx, |stream, cx| stream.poll_read(cx, buf))
            }
            Io::ClientTls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::ServerTls(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::ClientTls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::ServerTls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::ClientTls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::ServerTls(stream) => stream.is_write_vectored(),
            Io::ClientTls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::ServerTls(stream) => Pin::new(stream).poll_flush(cx),
            Io::ClientTls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::ServerTls(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::ClientTls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What the first bytes of a connection are, as filter chains match it: `transport_protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TransportProtocol {
    #[default]
    RawBuffer,
    Tls,
}

impl TransportProtocol {
    pub fn as_str(self) -> &'static str {
        match self {
            TransportProtocol::RawBuffer => "raw_buffer",
            TransportProtocol::Tls => "tls",
        }
    }
}

/// Both ends of a connection as a client made it, before it was proxied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// The verified certificate of the other side.
pub struct PeerCertificate {
    /// Leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    pub uri_sans: Vec<Arc<str>>,
    pub dns_sans: Vec<Arc<str>>,
    /// RFC 2253 text, empty for SPIFFE certificates without a subject.
    pub subject: String,
    /// RFC 2253 text.
    pub issuer: String,
    /// SHA-256 of the leaf's DER, lower-case hex.
    pub sha256: String,
    pub(crate) pem: OnceLock<String>,
}

impl PeerCertificate {
    /// The first URI SAN: the SPIFFE identity in a mesh.
    pub fn uri(&self) -> Option<&Arc<str>> {
        self.uri_sans.first()
    }

    /// PEM of all certificates, leaf first.
    pub fn chain_pem(&self) -> String {
        tls::pem_of(&self.chain)
    }

    /// PEM of the leaf, as `%DOWNSTREAM_PEER_CERT%` before URL encoding.
    pub fn pem(&self) -> &str {
        self.pem.get_or_init(|| tls::pem_of(self.chain.first()))
    }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificate")
            .field("uri_sans", &self.uri_sans)
            .field("dns_sans", &self.dns_sans)
            .field("subject", &self.subject)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

/// What a finished handshake agreed on.
#[derive(Clone, Debug)]
pub struct TlsInfo {
    pub peer: Option<Arc<PeerCertificate>>,
    /// URI SANs of the certificate that this side presented.
    pub local_uri_sans: Arc<[Arc<str>]>,
    /// Name that the client asked for; lower-case. `None` on the client side.
    pub server_name: Option<Arc<str>>,
    /// ALPN protocol that was selected.
    pub alpn: Option<Arc<[u8]>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// OpenSSL-like name of the suite, e. g. `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
}

/// What is known about a downstream connection.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// Unique in the process.
    pub id: u64,
    /// Destination the client dialled: restored by redirection where that applies.
    pub local: SocketAddr,
    /// Address of the accepting socket.
    pub direct_local: SocketAddr,
    /// Address of the client; differs from `direct_remote` behind PROXY protocol.
    pub remote: SocketAddr,
    pub direct_remote: SocketAddr,
    /// What the first bytes looked like, not whether this proxy ended the TLS: see `tls`.
    pub transport: TransportProtocol,
    /// SNI, lower-case.
    pub server_name: Option<Arc<str>>,
    /// Set when this proxy ended TLS.
    pub tls: Option<TlsInfo>,
    pub listener: Arc<ListenerConfig>,
    /// Empty for chains without a name.
    pub filter_chain_name: Arc<str>,
    pub start: Instant,
    pub start_time: SystemTime,
    /// Asked to end soon: HTTP answers with `Connection: close` or GOAWAY.
    pub drain: Drain,
}

impl ConnectionInfo {
    /// ALPN protocol of the TLS that this proxy ended.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.as_ref().and_then(|tls| tls.alpn.as_deref())
    }

    pub fn peer(&self) -> Option<&Arc<PeerCertificate>> {
        self.tls.as_ref().and_then(|tls| tls.peer.as_ref())
    }

    /// The client's own connection.
    pub fn proxied(&self) -> Proxied {
        Proxied {
            source: self.remote,
            destination: self.local,
        }
    }

    /// Whether both sides presented verified certificates.
    pub fn is_mutual_tls(&self) -> bool {
        self.peer().is_some()
    }
}

/// An accepted connection on its way through the filter chain. Lives on one worker.
#[derive(Debug)]
pub struct Connection {
    pub io: Io,
    pub info: Rc<ConnectionInfo>,
}

/// One-way switch shared by the connections of a filter chain on one worker.
#[derive(Clone, Default)]
pub struct Drain(Rc<DrainState>);

#[derive(Default)]
struct DrainState {
    draining: Cell<bool>,
    expired: Cell<bool>,
    changed: Notify,
}

impl Drain {
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks connections to end after what they are doing.
    pub fn start(&self) {
        self.0.draining.set(true);
        self.0.changed.notify_waiters();
    }

    /// Ends the connections that are left.
    pub fn expire(&self) {
        self.0.draining.set(true);
        self.0.expired.set(true);
        self.0.changed.notify_waiters();
    }

    pub fn is_draining(&self) -> bool {
        self.0.draining.get()
    }

    /// Completes when draining has started; cancel safe.
    pub async fn draining(&self) {
        self.wait(&self.0.draining).await;
    }

    /// Completes when the time for draining is over; cancel safe.
    pub async fn expired(&self) {
        self.wait(&self.0.expired).await;
    }

    async fn wait(&self, flag: &Cell<bool>) {
        while !flag.get() {
            self.0.changed.notified().await;
        }
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Drain").field(&self.is_draining()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn prefix_comes_before_the_stream() {
        let (mut far, near) = tokio::io::duplex(64);
        far.write_all(b"world").await.expect("buffer has room");
        drop(far);
        let mut io = Io::Plain(Prefixed::with_prefix(
            Raw::Memory(near),
            Bytes::from_static(b"hello "),
        ));
        let mut text = String::new();
        io.read_to_string(&mut text).await.expect("ends orderly");
        assert_eq!(text, "hello world");
    }

    #[tokio::test]
    async fn drain_wakes_those_who_wait() {
        let drain = Drain::new();
        let waiting = drain.clone();
        let (_, ()) = tokio::join!(waiting.draining(), async { drain.start() });
        assert!(drain.is_draining());
        drain.draining().await;
    }
}
