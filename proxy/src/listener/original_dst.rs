//! Where a redirected connection was going.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The destination from before redirection; `None` when the connection was not redirected.
///
/// With TPROXY the socket's own address is the destination; with REDIRECT connection tracking knows it.
pub(super) fn original_dst(stream: &TcpStream, transparent: bool) -> Option<SocketAddr> {
    let local = stream.local_addr().ok()?;
    if transparent {
        return Some(local);
    }
    let socket = SockRef::from(stream);
    let restored = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    restored.ok()?.as_socket()
}
