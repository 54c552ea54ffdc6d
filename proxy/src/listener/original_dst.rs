//! Where a redirected connection was going.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The destination from before redirection; `None` when the connection was not redirected.
///
/// Connection tracking knows it. What it does not know came with TPROXY, where the socket's own address is the destination;
/// outbound connections are redirected in that mode too.
pub(super) fn original_dst(stream: &TcpStream, transparent: bool) -> Option<SocketAddr> {
    let local = stream.local_addr().ok()?;
    let socket = SockRef::from(stream);
    let redirected = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    let redirected = redirected.ok().and_then(|address| address.as_socket());
    redirected.or(transparent.then_some(local))
}
