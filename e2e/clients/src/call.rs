//! Calls out of a pod.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

use crate::namespace::Namespace;

/// Time for one call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    pub trailers: HeaderMap,
}

impl Answer {
    /// A field of what our application tells; absent when somebody else answered.
    pub fn told(&self, field: &str) -> String {
        // In gRPC there is a prefix.
        let start = self.body.find('{').unwrap_or(0);
        let told: Value = serde_json::from_str(&self.body[start..]).unwrap_or_default();
        told[field].as_str().unwrap_or_default().to_owned()
    }
}

/// Asks for `/` with GET, or calls a gRPC method when `is_grpc`.
///
/// # Errors
/// There is no answer.
pub fn http(
    pod: &Namespace,
    version: Version,
    is_grpc: bool,
    to: SocketAddr,
    host: &str,
) -> anyhow::Result<Answer> {
    let scheme = format!("http://{host}");
    let request = match is_grpc {
        false => Request::get(format!("{scheme}/")),
        true => Request::post(format!("{scheme}/test.Echo/Call"))
            .header("content-type", "application/grpc")
            .header("te", "trailers"),
    };
    let request = match version {
        // The authority is in the header there.
        Version::HTTP_11 => request.header("host", host),
        _ => request,
    };
    let body = match is_grpc {
        false => Bytes::new(),
        true => Bytes::from_static(&[0; 5]),
    };
    let mut request = request.version(version).body(Full::new(body))?;
    if version == Version::HTTP_11 {
        *request.uri_mut() = request.uri().path().parse()?;
    }
    let stream = pod.enter(|| TcpStream::connect_timeout(&to, TIMEOUT))?;
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let asked = tokio::time::timeout(TIMEOUT, ask(stream, version, request));
        asked.await.context("no answer in time")?
    })
}

async fn ask(
    stream: TcpStream,
    version: Version,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Answer> {
    let io = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
    let response = match version {
        Version::HTTP_2 => {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        }
        _ => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        }
    };
    let status = response.status().as_u16();
    let collected = response.into_body().collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let body = String::from_utf8_lossy(&collected.to_bytes()).into_owned();
    Ok(Answer {
        status,
        body,
        trailers,
    })
}

/// Says something and returns what comes back first.
///
/// # Errors
/// Nothing comes back.
pub fn tcp(pod: &Namespace, to: SocketAddr, said: &str) -> anyhow::Result<String> {
    let mut stream = pod.enter(|| TcpStream::connect_timeout(&to, TIMEOUT))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(said.as_bytes())?;
    let mut buffer = [0; 1024];
    let count = stream.read(&mut buffer)?;
    anyhow::ensure!(count > 0, "the connection is closed without an answer");
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}
