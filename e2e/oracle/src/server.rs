//! Upstream servers on loopback that answer as the calls want and note what they see.

pub mod answer;
mod h1;
mod h2;
mod tcp;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use serde::Deserialize;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::board::Board;
use crate::certificate::Certificates;

pub use h2::map as h2_headers;

/// What kind of server a name stands for; the default speaks HTTP/1 and HTTP/2 in plaintext.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kind {
    /// Nobody listens: connections are refused.
    pub refuses: bool,
    /// Connections come about, but nothing is ever said on them.
    pub silent: bool,
    /// Not HTTP: what comes is noted and sent back.
    pub tcp: bool,
    /// Speaks TLS with the certificate of this name.
    pub tls: Option<String>,
    /// Asks clients for certificates.
    pub mutual: bool,
    /// ALPN that is offered; default `h2`, `http/1.1`.
    pub alpn: Option<Vec<String>>,
}

/// Running servers by name; they end with the runtime.
#[derive(Debug, Default)]
pub struct Servers {
    ports: BTreeMap<String, u16>,
    /// Ports that nobody may take.
    _reserved: Vec<Socket>,
    /// Whose connections nobody takes.
    _silent: Vec<TcpListener>,
}

impl Servers {
    /// # Errors
    /// A port or a certificate cannot be had.
    pub async fn start(
        kinds: BTreeMap<String, Kind>,
        certificates: &Certificates,
        board: &Arc<Board>,
    ) -> anyhow::Result<Self> {
        let mut servers = Self::default();
        for (name, kind) in kinds {
            if kind.refuses {
                let (socket, port) = reserve()?;
                servers._reserved.push(socket);
                servers.ports.insert(name, port);
                continue;
            }
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            servers
                .ports
                .insert(name.clone(), listener.local_addr()?.port());
            if kind.silent {
                servers._silent.push(listener);
                continue;
            }
            let tls = match &kind.tls {
                Some(_) => Some(TlsAcceptor::from(Arc::new(
                    certificates.server_config(&kind)?,
                ))),
                None => None,
            };
            let place = Place {
                name: name.into(),
                tcp: kind.tcp,
                board: Arc::clone(board),
            };
            tokio::spawn(accept(listener, place, tls));
        }
        Ok(servers)
    }

    /// # Errors
    /// There is no server of this name.
    pub fn port(&self, name: &str) -> anyhow::Result<u16> {
        let port = self.ports.get(name).copied();
        port.with_context(|| format!("no server is named {name:?}"))
    }

    /// Name and port of each.
    pub fn ports(&self) -> impl Iterator<Item = (&str, u16)> {
        self.ports.iter().map(|(name, port)| (name.as_str(), *port))
    }
}

/// A port of loopback that is kept, without anybody listening: proxies may share it, nobody else gets it.
///
/// # Errors
/// There is no port left.
pub fn reserve() -> anyhow::Result<(Socket, u16)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let address = socket.local_addr()?.as_socket();
    let port = address.context("a socket without address")?.port();
    Ok((socket, port))
}

/// Which server a connection came to.
#[derive(Clone, Debug)]
struct Place {
    name: Arc<str>,
    tcp: bool,
    board: Arc<Board>,
}

async fn accept(listener: TcpListener, place: Place, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (place, tls) = (place.clone(), tls.clone());
        tokio::spawn(async move {
            // What goes wrong is seen by the client or missing on the board.
            let _ = stream.set_nodelay(true);
            let ending = Ending::new(&stream);
            match tls {
                None => serve(stream, place, ending).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, place, ending).await;
                    }
                }
            }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut stream: S,
    place: Place,
    ending: Ending,
) {
    use tokio::io::AsyncReadExt;
    if place.tcp {
        return tcp::serve(stream, place).await;
    }
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
    let mut first = vec![0; PREFACE.len()];
    let mut filled = 0;
    while filled < first.len() && PREFACE.starts_with(&first[..filled]) {
        match stream.read(&mut first[filled..]).await {
            Ok(0) | Err(_) => return,
            Ok(length) => filled += length,
        }
    }
    first.truncate(filled);
    match first == PREFACE {
        true => h2::serve(stream, first, place).await,
        false => h1::serve(stream, first, place, ending).await,
    }
}

/// Ends connections the hard way.
struct Ending(Option<Socket>);

impl Ending {
    fn new(stream: &TcpStream) -> Self {
        Self(SockRef::from(stream).try_clone().ok())
    }

    /// From now on the end of the connection is a reset.
    fn reset(&self) {
        if let Some(socket) = &self.0 {
            let _ = socket.set_linger(Some(std::time::Duration::ZERO));
        }
    }
}
