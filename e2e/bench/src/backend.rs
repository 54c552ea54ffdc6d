//! The server behind the proxies: answers every HTTP/1.1 request with 1 KiB, and costs as little as possible.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::mesh::Credentials;

/// Subcommand that runs it.
pub const COMMAND: &str = "backend";
/// Length of the answers' body.
pub const BODY: usize = 1024;
/// Requests without bodies are shorter than this.
const MAX_HEAD: usize = 16 * 1024;

/// Protocols that proxies of the mesh offer when they carry HTTP/1.1.
const ALPN: [&[u8]; 3] = [b"istio-http/1.1", b"http/1.1", b"istio"];

/// Serves a port of loopback for ever; with mutual TLS if `tls` is the directory of credentials.
pub fn serve(port: u16, tls: Option<&Path>) -> anyhow::Result<()> {
    let acceptor = tls.map(acceptor).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            match acceptor.clone() {
                None => drop(tokio::spawn(answer(stream))),
                Some(acceptor) => drop(tokio::spawn(async move {
                    match acceptor.accept(stream).await {
                        Ok(stream) => answer(stream).await,
                        Err(error) => {
                            eprintln!("handshake: {error}");
                            Err(error)
                        }
                    }
                })),
            }
        }
    })
}

fn acceptor(directory: &Path) -> anyhow::Result<TlsAcceptor> {
    let certificates = |name: &str| {
        CertificateDer::pem_file_iter(directory.join(name))
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| name.to_owned())
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(Credentials::ROOT)? {
        roots.add(root)?;
    }
    let key = PrivateKeyDer::from_pem_file(directory.join(Credentials::KEY))?;
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(Credentials::CHAIN)?, key)?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    let response = format!(
        "HTTP/1.1 200 OK\r\nserver: backend\r\ncontent-type: text/plain\r\ncontent-length: {BODY}\r\n\r\n{}",
        "x".repeat(BODY)
    );
    let mut buffer = vec![0; MAX_HEAD];
    let mut filled = 0;
    loop {
        let read = stream
            .read(buffer.get_mut(filled..).unwrap_or_default())
            .await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut consumed = 0;
        while let Some(end) = head_end(buffer.get(consumed..filled).unwrap_or_default()) {
            consumed += end;
            stream.write_all(response.as_bytes()).await?;
        }
        stream.flush().await?;
        buffer.copy_within(consumed..filled, 0);
        filled -= consumed;
    }
}

/// Length of the first head, up to and with the empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_end_at_the_empty_line() {
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET"), Some(27));
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nhost: a\r\n"), None);
    }
}
