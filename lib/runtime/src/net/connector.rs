//! Connections for HTTP and gRPC clients.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::resolver::{ResolveError, Resolver};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 4;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("address {uri} names no host")]
    NoHost { uri: Uri },
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("connection to {address} failed: {source}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("connection to {path} failed: {source}")]
    Unix {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("TLS handshake with {name} failed: {source}")]
    Handshake {
        name: String,
        #[source]
        source: io::Error,
    },
}

type Connecting<T> = Pin<Box<dyn Future<Output = Result<TokioIo<T>, ConnectError>> + Send>>;

/// Connects to the host and port of a URI; usable with hyper, tonic and kube. The port defaults to the scheme's.
#[derive(Clone, Debug)]
pub struct Connector {
    resolver: Resolver,
    timeout: Duration,
}

impl Connector {
    pub fn new(resolver: Resolver) -> Self {
        Self {
            resolver,
            timeout: CONNECT_TIMEOUT,
        }
    }

    /// Limit for one address; default 10 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Connects to `host`, a name or literal.
    ///
    /// # Errors
    /// The name does not resolve, or none of its addresses answers.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let addresses = self.resolver.resolve(host).await?;
        connect_any(host, &addresses, port, self.timeout).await
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Connecting<TcpStream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
                Some("https") => 443,
                _ => 80,
            });
            let host = uri
                .host()
                .ok_or_else(|| ConnectError::NoHost { uri: uri.clone() })?;
            connector.connect(host, port).await.map(TokioIo::new)
        })
    }
}

/// Like [`Connector`], with TLS; the server is verified against a fixed name, not the URI's host.
#[derive(Clone)]
pub struct TlsConnector {
    tcp: Connector,
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl TlsConnector {
    /// For gRPC `config` must offer the ALPN protocol `h2`.
    pub fn new(
        tcp: Connector,
        config: Arc<ClientConfig>,
        server_name: ServerName<'static>,
    ) -> Self {
        Self {
            tcp,
            config,
            server_name,
        }
    }
}

impl Service<Uri> for TlsConnector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = ConnectError;
    type Future = Connecting<TlsStream<TcpStream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tcp.call(uri);
        let config = self.config.clone();
        let name = self.server_name.clone();
        let limit = self.tcp.timeout;
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            let handshake = tokio_rustls::TlsConnector::from(config).connect(name.clone(), stream);
            let outcome = tokio::time::timeout(limit, handshake)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            match outcome {
                Ok(stream) => Ok(TokioIo::new(stream)),
                Err(source) => Err(ConnectError::Handshake {
                    name: name.to_str().into_owned(),
                    source,
                }),
            }
        })
    }
}

/// Connects to one Unix socket, whatever the URI says.
#[derive(Clone, Debug)]
pub struct UnixConnector {
    path: PathBuf,
}

impl UnixConnector {
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
        }
    }
}

impl Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = ConnectError;
    type Future = Connecting<UnixStream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.path.clone();
        Box::pin(async move {
            match UnixStream::connect(&path).await {
                Ok(stream) => Ok(TokioIo::new(stream)),
                Err(source) => Err(ConnectError::Unix { path, source }),
            }
        })
    }
}

/// Connects within `limit`, without Nagle's delay.
///
/// # Errors
/// The connection is refused or not established in time.
pub async fn connect_tcp(address: SocketAddr, limit: Duration) -> Result<TcpStream, ConnectError> {
    let connecting = tokio::time::timeout(limit, TcpStream::connect(address));
    let stream = connecting
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    stream.map_err(|source| ConnectError::Connect { address, source })
}

/// Tries addresses in order and reports the last failure.
async fn connect_any(
    host: &str,
    addresses: &[IpAddr],
    port: u16,
    limit: Duration,
) -> Result<TcpStream, ConnectError> {
    let mut failure = ConnectError::Resolve(ResolveError::Empty {
        host: host.to_owned(),
    });
    for address in addresses {
        let address = SocketAddr::new(*address, port);
        let connected = connect_tcp(address, limit).await;
        match connected.and_then(|stream| notice_dead_peer(stream, address)) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Lets the system end a connection whose peer vanished without a word, also one that waits for data, as watches do.
fn notice_dead_peer(stream: TcpStream, address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let probes = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    let socket = SockRef::from(&stream);
    let limit = KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES;
    socket
        .set_tcp_keepalive(&probes)
        .and_then(|()| socket.set_tcp_user_timeout(Some(limit)))
        .map_err(|source| ConnectError::Connect { address, source })?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn goes_on_to_the_next_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let resolver =
            Resolver::from_texts("", "127.0.0.2 two\n127.0.0.1 two\n").expect("valid texts");
        let mut connector = Connector::new(resolver);
        let uri: Uri = format!("http://two:{port}").parse().expect("a URI");
        assert!(connector.call(uri).await.is_ok());
    }

    #[tokio::test]
    async fn a_uri_without_host_is_an_error() {
        let mut connector = Connector::new(Resolver::from_texts("", "").expect("valid texts"));
        let outcome = connector.call(Uri::from_static("/path")).await;
        assert!(matches!(outcome, Err(ConnectError::NoHost { .. })));
    }

    #[tokio::test]
    async fn a_missing_socket_is_named() {
        let mut connector = UnixConnector::new("/nonexistent/socket");
        let outcome = connector.call(Uri::from_static("http://x")).await;
        assert!(outcome.is_err_and(|error| error.to_string().contains("/nonexistent/socket")));
    }
}
