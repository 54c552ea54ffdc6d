//! The loop that accepts connections.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::Listener;
use super::connection::{Incoming, handle};
use super::original_dst::original_dst;
use crate::conn::Raw;
use crate::worker::Worker;

const MIN_BACK_OFF: Duration = Duration::from_millis(10);
const MAX_BACK_OFF: Duration = Duration::from_secs(1);

/// Accepts until it is aborted. When the process is out of descriptors or memory it waits, longer each time.
pub(super) async fn run(
    socket: TcpListener,
    target: Rc<RefCell<Rc<Listener>>>,
    worker: Rc<Worker>,
) {
    let mut back_off = MIN_BACK_OFF;
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                back_off = MIN_BACK_OFF;
                let listener = Rc::clone(&target.borrow());
                match incoming(stream, &listener) {
                    Ok(incoming) => {
                        let worker = Rc::clone(&worker);
                        tokio::task::spawn_local(handle(incoming, listener, worker));
                    }
                    // The client is gone already.
                    Err(error) => tracing::debug!(%error, "Connection ended while it was accepted"),
                }
            }
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "Connections cannot be accepted, waiting");
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(MAX_BACK_OFF);
            }
        }
    }
}

/// Whether an error concerns only the connection that was next in line.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn incoming(stream: TcpStream, listener: &Listener) -> io::Result<Incoming> {
    stream.set_nodelay(true)?;
    let remote = stream.peer_addr()?;
    let direct_local = stream.local_addr()?;
    let restored = listener
        .config
        .restores_destination()
        .then(|| original_dst(&stream, listener.config.socket.transparent))
        .flatten();
    Ok(Incoming {
        raw: Raw::Tcp(stream),
        remote,
        direct_local,
        restored,
    })
}
