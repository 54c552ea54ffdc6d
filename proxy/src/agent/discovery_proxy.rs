//! Discovery on a Unix socket, for programs of the same pod that speak xDS: a stock Envoy, a gRPC library.
//!
//! Streams are passed on as they are over the agent's own connection, which is authenticated as the workload. A client
//! has one connection upstream, on which all of its streams run.

mod authority;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ironsail_runtime::net::{Connector, Resolver, TlsConnector};
use ironsail_runtime::signal::Shutdown;
use rustls::pki_types::ServerName;
use tokio::sync::Mutex;
use tonic::Status;
use tower::Service;
use tracing::{debug, warn};

use self::authority::Readable;
use super::socket::{self, SocketError};
use crate::xds::Credentials;

const SERVICE: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";
const CLUSTER_ID: &str = "clusterid";
const KEEP_ALIVE: Duration = Duration::from_secs(30);

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// The control plane, as the agent reaches it.
#[derive(Clone)]
pub struct ControlPlane {
    /// `host:port`, an IPv6 literal in brackets.
    pub address: String,
    /// Name in its certificate.
    pub server_name: String,
    /// Sent with every stream.
    pub cluster_id: String,
    pub credentials: Arc<dyn Credentials>,
    pub resolver: Resolver,
}

/// Why a stream is not passed on.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error("there is no certificate yet")]
    NoCertificate,
    #[error("address {0:?} of the control plane is unusable")]
    Address(String),
    #[error("the control plane cannot be reached: {0}")]
    Connect(#[from] ironsail_runtime::net::ConnectError),
    #[error("the connection to the control plane failed: {0}")]
    Http(#[from] hyper::Error),
}

/// Passes on what comes to `path` until `shutdown`.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(
    path: &Path,
    control_plane: ControlPlane,
    shutdown: Shutdown,
) -> Result<(), SocketError> {
    let listener = socket::bind(path)?;
    let path: Arc<Path> = absolute(path).into();
    tokio::spawn(async move {
        while let Some(accepted) = shutdown.guard(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    let client = Client {
                        control_plane: control_plane.clone(),
                        upstream: Arc::default(),
                    };
                    let stream = Readable::new(stream, &path);
                    let shutdown = shutdown.clone();
                    tokio::spawn(async move { shutdown.guard(client.serve(stream)).await });
                }
                Err(error) => {
                    warn!(%error, "Connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

/// As clients know the path; one that cannot be completed is taken as it is.
fn absolute(path: &Path) -> PathBuf {
    let completed: io::Result<PathBuf> = std::path::absolute(path);
    completed.unwrap_or_else(|_| path.to_owned())
}

/// A program of this pod.
#[derive(Clone)]
struct Client {
    control_plane: ControlPlane,
    upstream: Arc<Mutex<Option<SendRequest<Incoming>>>>,
}

impl Client {
    async fn serve(self, stream: Readable) {
        let service = service_fn(move |request| {
            let client = self.clone();
            async move { Ok::<_, Infallible>(client.answer(request).await) }
        });
        let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            debug!(%error, "Client of discovery ended with an error");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if !request.uri().path().starts_with(SERVICE) {
            return refusal(&Status::unimplemented("only discovery is passed on"));
        }
        match self.forward(request).await {
            Ok(response) => response.map(BodyExt::boxed_unsync),
            Err(error) => {
                warn!(%error, "Discovery cannot be passed on");
                refusal(&Status::unavailable(error.to_string()))
            }
        }
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, ForwardError> {
        let mut upstream = self.upstream().await?;
        self.control_plane.sign(&mut request).await?;
        Ok(upstream.send_request(request).await?)
    }

    /// The connection of this client, made anew when it broke.
    async fn upstream(&self) -> Result<SendRequest<Incoming>, ForwardError> {
        let mut held = self.upstream.lock().await;
        match &*held {
            Some(upstream) if !upstream.is_closed() => Ok(upstream.clone()),
            _ => {
                let upstream = self.control_plane.connect().await?;
                *held = Some(upstream.clone());
                Ok(upstream)
            }
        }
    }
}

impl ControlPlane {
    async fn connect(&self) -> Result<SendRequest<Incoming>, ForwardError> {
        let config = self.credentials.client_config();
        let config = config.ok_or(ForwardError::NoCertificate)?;
        let name = ServerName::try_from(self.server_name.clone())
            .map_err(|_| ForwardError::Address(self.server_name.clone()))?;
        let tcp = Connector::new(self.resolver.clone());
        let stream = TlsConnector::new(tcp, config, name)
            .call(self.uri("/")?)
            .await?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .handshake(stream)
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "Connection to the control plane ended with an error");
            }
        });
        Ok(sender)
    }

    /// Makes a request of a client the agent's own.
    async fn sign(&self, request: &mut Request<Incoming>) -> Result<(), ForwardError> {
        *request.uri_mut() = self.uri(request.uri().path())?;
        let headers = request.headers_mut();
        headers.remove(AUTHORIZATION);
        if let Ok(value) = HeaderValue::try_from(self.cluster_id.as_str()) {
            headers.insert(CLUSTER_ID, value);
        }
        let token = self.credentials.token().await;
        let bearer = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        if let Some(mut bearer) = bearer {
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok(())
    }

    fn uri(&self, path: &str) -> Result<Uri, ForwardError> {
        let text = format!("https://{}{path}", self.address);
        text.parse().map_err(|_| ForwardError::Address(text))
    }
}

fn refusal(status: &Status) -> Response<Body> {
    let response = status.clone().into_http::<http_body_util::Empty<Bytes>>();
    response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}
