//! What the proxy under test connects to: servers of any protocol.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream};
use tokio::time::timeout;

use super::call::OWN;
use crate::resource::intern::Interner;
use crate::resource::tls::downstream_socket;
use crate::resource::transport_socket::DownstreamSocket;
use crate::testing::{Authority, common_tls, downstream_tls};
use crate::transport_socket::secret::Secrets;

/// Longer than proxies wait for a client's first bytes.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

/// Addresses of the pods that end mutual TLS, and their service accounts.
const SIDECARS: [(&str, &str); 6] = [
    ("10.244.0.36:9080", "bookinfo-details"),
    ("10.244.0.37:9080", "bookinfo-ratings"),
    ("10.244.0.38:9080", "bookinfo-reviews"),
    ("10.244.0.39:9080", "bookinfo-reviews"),
    ("10.244.0.40:9080", "bookinfo-reviews"),
    ("10.244.0.41:9080", "bookinfo-productpage"),
];

/// What servers saw.
#[derive(Default)]
pub(super) struct Servers {
    pub(super) dialled: RefCell<Vec<SocketAddr>>,
    /// Names that clients with the identity of the proxy asked for.
    pub(super) handshakes: RefCell<Vec<String>>,
}

/// Serves one connection: ends TLS if the address is a sidecar's.
pub(super) async fn serve(
    stream: DuplexStream,
    address: SocketAddr,
    servers: Rc<Servers>,
    authority: Rc<Authority>,
) {
    servers.dialled.borrow_mut().push(address);
    let text = address.to_string();
    let sidecar = SIDECARS.iter().find(|(address, _)| *address == text);
    let mut stream = BufReader::new(stream);
    let is_hello = peek(&mut stream).await.starts_with(&[22]);
    let Some((_, account)) = sidecar.filter(|_| is_hello) else {
        answer(stream).await;
        return;
    };
    let identity = format!("spiffe://cluster.local/ns/default/sa/{account}");
    let alpn = &["istio-peer-exchange", "h2", "http/1.1"];
    let socket = downstream_tls(common_tls(alpn, &[OWN]));
    let socket = downstream_socket(Some(&socket), SILENCE, &mut Interner::default());
    let DownstreamSocket::Tls { context, .. } = socket.expect("compiles") else {
        panic!("not TLS");
    };
    let secrets = Secrets {
        workload: Some(authority.workload(&identity)),
        ..Secrets::default()
    };
    let Ok((stream, info)) = context.accept(stream, &secrets).await else {
        return;
    };
    let name = info.server_name.as_deref().unwrap_or_default();
    servers.handshakes.borrow_mut().push(name.to_owned());
    answer(stream).await;
}

/// The first bytes, which stay; nothing when the client is silent or gone.
async fn peek<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> &[u8] {
    match timeout(SILENCE, stream.fill_buf()).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) | Err(_) => &[],
    }
}

/// Answers requests, echoes other bytes, and greets who says nothing.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let mut stream = BufReader::new(stream);
    let first = peek(&mut stream).await;
    if first.starts_with(b"PRI ") {
        answer_h2(stream).await;
        return;
    }
    let text = match first {
        [] => b"greeting".to_vec(),
        _ if first.starts_with(b"GET ") => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
        echo => echo.to_vec(),
    };
    let read = first.len();
    stream.consume(read);
    // A client that is gone needs no answer.
    let _ = stream.write_all(&text).await;
    let _ = stream.flush().await;
    let _ = stream.fill_buf().await;
}

async fn answer_h2<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let _ = respond.send_response(http::Response::new(()), true);
    }
}
