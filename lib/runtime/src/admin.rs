//! Small HTTP servers for probes, metrics, debugging and webhooks.
//!
//! HTTP/1.1 only, one request body in memory, everything bounded. Not a place for traffic of users.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::readiness::Readiness;
use crate::signal::Shutdown;

/// A request with its body; the caller's address is the extension [`Peer`].
pub type Request = http::Request<Bytes>;
pub type Response = http::Response<Full<Bytes>>;

/// Address of the client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

type Handling = Pin<Box<dyn Future<Output = Response> + Send>>;
type Handler = Arc<dyn Fn(Request) -> Handling + Send + Sync>;

/// Paths and what answers them.
#[derive(Clone, Default)]
pub struct Router {
    exact: HashMap<String, Vec<(Option<Method>, Handler)>>,
    /// Longest first.
    prefixes: Vec<(String, Handler)>,
    fallback: Option<Handler>,
}

impl Router {
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers GET and HEAD of a path.
    #[must_use]
    pub fn get<H, F>(self, path: &str, handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        self.add(path, Some(Method::GET), handler)
    }

    /// Answers POST of a path.
    #[must_use]
    pub fn post<H, F>(self, path: &str, handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        self.add(path, Some(Method::POST), handler)
    }

    /// Answers every method of a path.
    #[must_use]
    pub fn any<H, F>(self, path: &str, handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        self.add(path, None, handler)
    }

    /// Answers every path that begins with `prefix` and has no answer of its own; the longest prefix wins.
    #[must_use]
    pub fn prefix<H, F>(mut self, prefix: &str, handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        self.prefixes.push((prefix.to_owned(), boxed(handler)));
        self.prefixes
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        self
    }

    /// Answers what nothing else answers, instead of 404.
    #[must_use]
    pub fn fallback<H, F>(mut self, handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        self.fallback = Some(boxed(handler));
        self
    }

    /// Answers `path` with 200 when ready, otherwise with 503 and the list of what is missing.
    #[must_use]
    pub fn readiness(self, path: &str, readiness: Readiness) -> Self {
        self.get(path, move |_| {
            let missing = readiness.missing();
            async move {
                if missing.is_empty() {
                    text(StatusCode::OK, "")
                } else {
                    text(
                        StatusCode::SERVICE_UNAVAILABLE,
                        format!("not ready: {}\n", missing.join(", ")),
                    )
                }
            }
        })
    }

    /// Answers one request, without a connection.
    pub async fn handle(&self, request: Request) -> Response {
        match self.find(request.method(), request.uri().path()) {
            Found::Handler(handler) => handler(request).await,
            Found::WrongMethod(allowed) => {
                let mut response = text(
                    StatusCode::METHOD_NOT_ALLOWED,
                    format!("method not allowed, use {allowed}\n"),
                );
                if let Ok(value) = allowed.as_str().parse() {
                    response.headers_mut().insert(header::ALLOW, value);
                }
                response
            }
            Found::Nothing => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    fn add<H, F>(mut self, path: &str, method: Option<Method>, handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let entry = self.exact.entry(path.to_owned()).or_default();
        entry.push((method, boxed(handler)));
        self
    }

    fn find(&self, method: &Method, path: &str) -> Found<'_> {
        if let Some(handlers) = self.exact.get(path) {
            let wanted = if method == Method::HEAD {
                &Method::GET
            } else {
                method
            };
            let found = handlers
                .iter()
                .find(|(own, _)| own.as_ref().is_none_or(|own| own == wanted));
            return match (found, handlers.first()) {
                (Some((_, handler)), _) => Found::Handler(handler),
                (None, Some((Some(allowed), _))) => Found::WrongMethod(allowed.clone()),
                (None, _) => Found::Nothing,
            };
        }
        let prefixed = self
            .prefixes
            .iter()
            .find(|(prefix, _)| path.starts_with(prefix.as_str()))
            .map(|(_, handler)| handler);
        match prefixed.or(self.fallback.as_ref()) {
            Some(handler) => Found::Handler(handler),
            None => Found::Nothing,
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.exact.keys()).finish()
    }
}

enum Found<'a> {
    Handler(&'a Handler),
    WrongMethod(Method),
    Nothing,
}

fn boxed<H, F>(handler: H) -> Handler
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    Arc::new(move |request| Box::pin(handler(request)))
}

/// A plain text answer.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    typed(status, "text/plain; charset=UTF-8", body)
}

/// A JSON answer; the body is JSON already.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response {
    typed(status, "application/json", body)
}

/// An answer with a content type.
pub fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = http::Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    response
}

/// Bounds of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request body; more is answered with 413. Default 1 MiB.
    pub max_body: usize,
    /// Bytes of a request head. Default 64 KiB.
    pub max_head: usize,
    /// Connections at a time; more wait. Default 1,024.
    pub max_connections: usize,
    /// Time for a TLS handshake, a request head and a request body each. Default 30 s.
    pub read_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 1 << 20,
            max_head: 64 << 10,
            max_connections: 1024,
            read_timeout: Duration::from_secs(30),
        }
    }
}

/// A router on a port.
#[derive(Clone, Debug)]
pub struct Server {
    router: Arc<Router>,
    limits: Limits,
    tls: Option<Arc<ServerConfig>>,
}

impl Server {
    pub fn new(router: Router) -> Self {
        Self {
            router: Arc::new(router),
            limits: Limits::default(),
            tls: None,
        }
    }

    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves TLS. Certificates change while serving when the configuration has a resolver that reads them anew.
    #[must_use]
    pub fn with_tls(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Accepts until `shutdown` is triggered; requests under way are answered.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) {
        let slots = Arc::new(Semaphore::new(self.limits.max_connections));
        loop {
            let Some(Ok(slot)) = shutdown.guard(slots.clone().acquire_owned()).await else {
                return;
            };
            let Some(accepted) = shutdown.guard(listener.accept()).await else {
                return;
            };
            match accepted {
                Ok((stream, peer)) => {
                    let server = self.clone();
                    let shutdown = shutdown.clone();
                    tokio::spawn(async move {
                        server.connection(stream, peer, shutdown).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    warn!(%error, "Connection cannot be accepted");
                    // Descriptors may be exhausted: the loop must not spin until some are free.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, shutdown: Shutdown) {
        let outcome = match &self.tls {
            None => self.exchange(stream, peer, shutdown).await,
            Some(config) => {
                let handshake = TlsAcceptor::from(config.clone()).accept(stream);
                match tokio::time::timeout(self.limits.read_timeout, handshake).await {
                    Ok(Ok(stream)) => self.exchange(stream, peer, shutdown).await,
                    Ok(Err(error)) => Err(error.into()),
                    Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                }
            }
        };
        if let Err(error) = outcome {
            debug!(%peer, %error, "Connection ended with an error");
        }
    }

    async fn exchange<S>(
        &self,
        stream: S,
        peer: SocketAddr,
        shutdown: Shutdown,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(|request| self.answer(request, peer));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.read_timeout)
            .max_buf_size(self.limits.max_head)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            outcome = connection.as_mut() => outcome?,
            () = shutdown.triggered() => {
                connection.as_mut().graceful_shutdown();
                connection.await?;
            }
        }
        Ok(())
    }

    async fn answer(
        &self,
        request: http::Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response, Infallible> {
        let (parts, body) = request.into_parts();
        let reading = Limited::new(body, self.limits.max_body).collect();
        let body = match tokio::time::timeout(self.limits.read_timeout, reading).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Ok(text(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("body is larger than {} bytes\n", self.limits.max_body),
                ));
            }
            Ok(Err(error)) => {
                return Ok(text(StatusCode::BAD_REQUEST, format!("{error}\n")));
            }
            Err(_) => return Ok(text(StatusCode::REQUEST_TIMEOUT, "body is too slow\n")),
        };
        let mut request = Request::from_parts(parts, body);
        request.extensions_mut().insert(Peer(peer));
        Ok(self.router.handle(request).await)
    }
}

#[cfg(test)]
mod tests;
