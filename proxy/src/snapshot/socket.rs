//! Listening sockets: bound when a listener is accepted, so that a taken port rejects it.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::resource::listener::SocketOptions;

/// Longest queue that is asked for; the system may shorten it.
const DEFAULT_BACKLOG: i32 = 4096;

/// The sockets of one address, one per worker.
#[derive(Debug)]
pub struct BoundSockets {
    pub address: SocketAddr,
    pub options: SocketOptions,
    sockets: Vec<Socket>,
}

impl BoundSockets {
    /// Binds `count` sockets that share the address.
    ///
    /// # Errors
    /// The address is in use or not ours, or a port needs rights that are missing.
    pub(super) fn bind(
        address: SocketAddr,
        options: &SocketOptions,
        count: usize,
    ) -> io::Result<Self> {
        let sockets = (0..count)
            .map(|_| bind(address, options))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            address,
            options: options.clone(),
            sockets,
        })
    }

    /// The socket of a worker, listening.
    ///
    /// # Errors
    /// There is none for this worker, or the system refuses.
    pub fn listener(&self, worker: usize) -> io::Result<tokio::net::TcpListener> {
        let socket = self.sockets.get(worker);
        let socket = socket.ok_or(io::ErrorKind::NotFound)?.try_clone()?;
        let backlog = self.options.backlog.map(i32::try_from);
        socket.listen(backlog.and_then(Result::ok).unwrap_or(DEFAULT_BACKLOG))?;
        tokio::net::TcpListener::from_std(socket.into())
    }
}

fn bind(address: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // Dual stack is two addresses, so that each can fail on its own.
        socket.set_only_v6(true)?;
    }
    if options.transparent {
        set_transparent(&socket, address)?;
    }
    if options.freebind {
        set_freebind(&socket, address)?;
    }
    if let Some(keepalive) = &options.keepalive {
        let mut config = TcpKeepalive::new();
        if let Some(time) = keepalive.time {
            config = config.with_time(time);
        }
        if let Some(interval) = keepalive.interval {
            config = config.with_interval(interval);
        }
        if let Some(probes) = keepalive.probes {
            config = config.with_retries(probes);
        }
        SockRef::from(&socket).set_tcp_keepalive(&config)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Lets a socket have addresses that are not this machine's: TPROXY.
pub(crate) fn set_transparent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
    }
}

fn set_freebind(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true),
        SocketAddr::V6(_) => socket.set_freebind_v6(true),
    }
}

fn set_option(socket: &Socket, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("four bytes");
    // SAFETY: the descriptor is open, and the pointer and length describe `on`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
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
