//! An application that tells who it is and what it saw.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use ironsail_runtime::signal::Shutdown;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::namespace::Namespace;

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2, gRPC too.
    Http,
    /// What comes is sent back, after the name.
    Tcp,
}

/// Serves until dropped.
pub struct App {
    shutdown: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl App {
    /// Listens on ports of a pod.
    ///
    /// # Errors
    /// A port is taken.
    pub fn start(
        pod: &Namespace,
        name: &'static str,
        ports: &[(u16, Protocol)],
    ) -> anyhow::Result<Self> {
        let shutdown = Shutdown::new();
        let bind = |&(port, protocol): &(u16, Protocol)| {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok((listener, protocol))
        };
        let bound = pod.enter(|| ports.iter().map(bind).collect::<anyhow::Result<Vec<_>>>())?;
        let end = shutdown.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || serve(name, bound, &end))?;
        Ok(Self {
            shutdown,
            thread: Some(thread),
        })
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.shutdown.trigger();
        if let Some(thread) = self.thread.take() {
            // A panic of its thread has been printed.
            let _ = thread.join();
        }
    }
}

fn serve(name: &'static str, bound: Vec<(std::net::TcpListener, Protocol)>, end: &Shutdown) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for (listener, protocol) in bound {
            let listener = TcpListener::from_std(listener).expect("a listener");
            tokio::spawn(accept(name, listener, protocol));
        }
        end.triggered().await;
    });
}

async fn accept(name: &'static str, listener: TcpListener, protocol: Protocol) {
    while let Ok((stream, _)) = listener.accept().await {
        match protocol {
            Protocol::Http => tokio::spawn(http(name, stream)),
            Protocol::Tcp => tokio::spawn(echo(name, stream)),
        };
    }
}

async fn http(name: &'static str, stream: TcpStream) {
    let service = service_fn(move |request| answer(name, request));
    // How a connection ends is the client's matter.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    name: &'static str,
    request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let seen = json!({
        "app": name,
        "version": format!("{:?}", request.version()),
        "client": header("x-forwarded-client-cert"),
    });
    let is_grpc = header("content-type").is_some_and(|kind| kind.starts_with("application/grpc"));
    // To the end: whoever sends a body is read.
    let _ = request.into_body().collect().await;
    let seen = seen.to_string();
    Ok(match is_grpc {
        false => Response::new(Full::new(Bytes::from(seen)).boxed_unsync()),
        true => {
            let body = Full::new(message(&seen));
            let trailers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static("0"),
            )]);
            let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
            let mut response = Response::new(body.boxed_unsync());
            let kind = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
    })
}

/// A gRPC message: not compressed, its length, its bytes.
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], text.as_bytes()]
        .concat()
        .into()
}

async fn echo(name: &'static str, mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let said = String::from_utf8_lossy(&buffer[..count]).into_owned();
        if stream
            .write_all(format!("{name}: {said}").as_bytes())
            .await
            .is_err()
        {
            return;
        }
    }
}
