//! The gRPC ports: discovery and certificates on one listener.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ironsail_runtime::log::chain;
use ironsail_runtime::signal::Shutdown;
use ironsail_xds::ca::{CertificateServer, CertificateService};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tonic::Status;
use tower::Service;
use tracing::{debug, warn};

use crate::ca::authenticate::Peer;
use crate::xds::{Discovery, stream};

/// Streams per connection; an agent needs two.
const MAX_STREAMS: u32 = 1024;

/// Time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Bytes of a stream that wait in its connection; what is behind them waits as resources that are shared.
const SEND_BUFFER: usize = 64 * 1024;

/// As the peer: a ping after 30 s, 10 s for its answer.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

type Body = UnsyncBoxBody<Bytes, Status>;

/// One gRPC port.
pub struct GrpcServer<C> {
    pub discovery: Discovery,
    /// Absent on the plaintext port.
    pub certificates: Option<Arc<C>>,
    /// Absent on the plaintext port.
    pub tls: Option<Arc<ServerConfig>>,
}

impl<C> Clone for GrpcServer<C> {
    fn clone(&self) -> Self {
        Self {
            discovery: self.discovery.clone(),
            certificates: self.certificates.clone(),
            tls: self.tls.clone(),
        }
    }
}

impl<C: CertificateService> GrpcServer<C> {
    /// Accepts until `shutdown`; streams end with it.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) {
        while let Some(accepted) = shutdown.guard(listener.accept()).await {
            match accepted {
                Ok((stream, address)) => {
                    let server = self.clone();
                    let shutdown = shutdown.clone();
                    tokio::spawn(async move {
                        shutdown.guard(server.connection(stream, address)).await;
                    });
                }
                Err(error) => {
                    warn!(error = %chain(&error), "Connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, address: SocketAddr) {
        // Pushes are small and latency counts.
        let _ = stream.set_nodelay(true);
        let Some(config) = self.tls.clone() else {
            let peer = Peer {
                address,
                certificates: None,
                is_tls: false,
            };
            return self.requests(stream, peer).await;
        };
        let handshake = Box::pin(TlsAcceptor::from(config).accept(stream));
        match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(Ok(stream)) => {
                let (_, session) = stream.get_ref();
                let certificates = session.peer_certificates().map(|certificates| {
                    certificates
                        .iter()
                        .map(|certificate| certificate.clone().into_owned())
                        .collect()
                });
                let peer = Peer {
                    address,
                    certificates,
                    is_tls: true,
                };
                self.requests(stream, peer).await;
            }
            Ok(Err(error)) => {
                debug!(peer = %address, error = %chain(&error), "TLS handshake failed")
            }
            Err(_) => debug!(peer = %address, "TLS handshake timed out"),
        }
    }

    async fn requests<S>(self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let address = peer.address;
        let service = service_fn(move |request| {
            let server = self.clone();
            let peer = peer.clone();
            async move { Ok::<_, Infallible>(server.answer(request, peer).await) }
        });
        let served = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        // A box of its own: within the futures around it the space for it would be there several times.
        if let Err(error) = Box::pin(served).await {
            debug!(peer = %address, error = %chain(&error), "Connection ended with an error");
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, peer: Peer) -> Response<Body> {
        if stream::is_discovery(request.uri().path()) {
            let response = self.discovery.call(request, peer);
            return response.map(|body| body.map_err(|never| match never {}).boxed_unsync());
        }
        match &self.certificates {
            Some(service) => {
                request.extensions_mut().insert(peer);
                let request = request.map(tonic::body::Body::new);
                let mut service = CertificateServer::new(Arc::clone(service));
                match service.call(request).await {
                    Ok(response) => response.map(|body| body.boxed_unsync()),
                    Err(never) => match never {},
                }
            }
            None => {
                let status = Status::unimplemented("no such service on this port");
                let response: Response<tonic::body::Body> = status.into_http();
                response.map(|body| body.boxed_unsync())
            }
        }
    }
}
