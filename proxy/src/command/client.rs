//! One HTTP request to this pod.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Sends a request without a body to a port on loopback.
pub async fn send(method: Method, port: u16, path: &str) -> io::Result<Response<Incoming>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let path = match path.strip_prefix('/') {
        Some(_) => path.to_owned(),
        None => format!("/{path}"),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}

/// The whole body.
pub async fn body(response: Response<Incoming>) -> io::Result<Bytes> {
    let collected = response.into_body().collect().await;
    Ok(collected.map_err(io::Error::other)?.to_bytes())
}
