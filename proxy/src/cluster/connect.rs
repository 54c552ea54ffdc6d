//! Connecting to a host: socket, bind address, keep-alive, transport.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::{TcpSocket, TcpStream};

use crate::cluster::{
    ConnectError, ConnectOptions, ConnectionGuard, Host, Source, Upstream, happy_eyeballs, loopback,
};
use crate::conn::{Io, Prefixed, Raw, ReadAhead};
use crate::resource::cluster::{ClusterConfig, Keepalive};
use crate::snapshot::set_transparent;
use crate::transport_socket::proxy_protocol;
use crate::transport_socket::secret::Secrets;

/// Where connections are made: the network, or memory for tests and simulations.
#[derive(Clone, Default)]
pub enum Dialer {
    #[default]
    Tcp,
    Memory(Rc<dyn Fn(SocketAddr) -> io::Result<DuplexStream>>),
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialer::Tcp => "Tcp",
            Dialer::Memory(_) => "Memory",
        })
    }
}

/// Connects within the cluster's timeout, which covers the handshake too.
pub(super) async fn connect(
    config: &ClusterConfig,
    dialer: &Dialer,
    secrets: &Secrets,
    host: &Rc<Host>,
    options: &ConnectOptions,
    guard: ConnectionGuard,
) -> Result<Upstream, ConnectError> {
    let attempt = attempt(config, dialer, secrets, host, options, guard);
    let result = match tokio::time::timeout(config.connect_timeout, attempt).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Timeout),
    };
    if result.is_err() {
        let failed = &host.stats.cx_connect_fail;
        failed.set(failed.get().wrapping_add(1));
    }
    if let (Dialer::Tcp, Err(ConnectError::Io(error))) = (dialer, &result)
        && error.kind() == io::ErrorKind::ConnectionRefused
        && config.leads_to_own_pod()
    {
        loopback::refused(host.address());
    }
    result
}

async fn attempt(
    config: &ClusterConfig,
    dialer: &Dialer,
    secrets: &Secrets,
    host: &Rc<Host>,
    options: &ConnectOptions,
    guard: ConnectionGuard,
) -> Result<Upstream, ConnectError> {
    let others = &host.endpoint.additional;
    let connect = |address| reach(config, dialer, address, options.source);
    let reached = happy_eyeballs::connect(host.address(), others, connect).await;
    let Reached {
        mut stream,
        local,
        remote,
    } = reached.map_err(ConnectError::Io)?;
    let transport = config.transport.select(&host.endpoint.transport_match);
    if let Some(version) = transport.proxy_protocol {
        let header = proxy_protocol::header(version, options.proxied);
        stream.write_all(&header).await.map_err(ConnectError::Io)?;
    }
    let stream = Prefixed::new(stream);
    let (io, tls) = match &transport.tls {
        None => (Io::Plain(stream), None),
        Some(context) => {
            let (stream, info) = context
                .connect(
                    ReadAhead::new(stream),
                    secrets,
                    options.alpn.as_deref(),
                    options.server_name.as_deref(),
                )
                .await
                .map_err(|error| ConnectError::Tls(error.to_string()))?;
            (Io::ClientTls(Box::new(stream)), Some(info))
        }
    };
    Ok(Upstream {
        io,
        local,
        remote,
        tls,
        guard,
    })
}

/// A connection, and both ends of it.
struct Reached {
    stream: Raw,
    local: SocketAddr,
    remote: SocketAddr,
}

async fn reach(
    config: &ClusterConfig,
    dialer: &Dialer,
    remote: SocketAddr,
    source: Option<Source>,
) -> io::Result<Reached> {
    let (stream, local) = match dialer {
        Dialer::Tcp => {
            let stream = dial(config, remote, source).await?;
            let local = stream.local_addr()?;
            (Raw::Tcp(stream), local)
        }
        Dialer::Memory(network) => {
            let local = source.map(|source| source.address);
            let local = local.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
            (Raw::Memory(network(remote)?), local)
        }
    };
    Ok(Reached {
        stream,
        local,
        remote,
    })
}

async fn dial(
    config: &ClusterConfig,
    address: SocketAddr,
    client: Option<Source>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if let Some(keepalive) = &config.tcp_keepalive {
        set_keepalive(SockRef::from(&socket), keepalive)?;
    }
    let source = match address {
        SocketAddr::V4(_) => config.bind.v4,
        SocketAddr::V6(_) => config.bind.v6,
    };
    if let Some(client) = client.filter(|client| client.address.is_ipv4() == address.is_ipv4()) {
        bind_as_client(&socket, client)?;
    } else if let Some(source) = source {
        // The port is chosen by connect(), so that many destinations can share one.
        bind_without_port(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.set_tcp_nodelay(true)?;
    TcpSocket::from_std_stream(socket.into())
        .connect(address)
        .await
}

/// Takes an address that is not this machine's, which needs `CAP_NET_ADMIN`.
fn bind_as_client(socket: &Socket, client: Source) -> io::Result<()> {
    set_transparent(socket, client.address)?;
    if client.mark != 0 {
        socket.set_mark(client.mark)?;
    }
    if client.address.port() == 0 {
        bind_without_port(socket)?;
    }
    socket.bind(&client.address.into())
}

/// Sets `IP_BIND_ADDRESS_NO_PORT`, for both families.
fn bind_without_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("four bytes");
    // SAFETY: the descriptor is open, and the pointer and length describe `on`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn set_keepalive(socket: SockRef<'_>, config: &Keepalive) -> io::Result<()> {
    let mut keepalive = TcpKeepalive::new();
    if let Some(time) = config.time {
        keepalive = keepalive.with_time(time);
    }
    if let Some(interval) = config.interval {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(probes) = config.probes {
        keepalive = keepalive.with_retries(probes);
    }
    socket.set_tcp_keepalive(&keepalive)
}
