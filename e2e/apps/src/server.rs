//! What the servers share: accepting HTTP/1.1 and HTTP/2, and ending on a signal.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

/// Body of all answers.
pub type Body = BoxBody<Bytes, Infallible>;

/// How long a server goes on serving after SIGTERM, so that clients that have not yet heard of its end succeed.
const GRACE: Duration = Duration::from_secs(3);

/// A body that is known whole.
pub fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed()
}

/// Runs `work` until it fails or a signal arrives, then a grace period longer.
pub async fn until_signal(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => {}
    }
    match tokio::time::timeout(GRACE, work).await {
        Ok(result) => result,
        Err(_) => Ok(()),
    }
}

/// Answers requests of a peer.
pub trait Handler:
    Fn(Request<Incoming>, SocketAddr) -> BoxFuture<'static, Response<Body>> + Clone + Send + 'static
{
}

impl<H> Handler for H where
    H: Fn(Request<Incoming>, SocketAddr) -> BoxFuture<'static, Response<Body>>
        + Clone
        + Send
        + 'static
{
}

/// Serves HTTP/1.1 and HTTP/2 with prior knowledge on one port.
pub async fn serve_http(listen: SocketAddr, handler: impl Handler) -> anyhow::Result<()> {
    accept(listen, |stream| std::future::ready(Some(stream)), handler).await
}

/// Like [`serve_http`], over TLS.
pub async fn serve_https(
    listen: SocketAddr,
    acceptor: TlsAcceptor,
    handler: impl Handler,
) -> anyhow::Result<()> {
    let greet = move |stream| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(stream).await.ok() }
    };
    accept(listen, greet, handler).await
}

/// Accepts connections and serves those that `greet` lets pass.
async fn accept<S, F>(
    listen: SocketAddr,
    greet: impl Fn(TcpStream) -> F,
    handler: impl Handler,
) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Option<S>> + Send + 'static,
{
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        stream.set_nodelay(true)?;
        let handler = handler.clone();
        let greeted = greet(stream);
        tokio::spawn(async move {
            let Some(stream) = greeted.await else { return };
            let service = service_fn(move |request| {
                let answer = handler(request, peer);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // A client that goes away is no concern of the server.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        });
    }
}
