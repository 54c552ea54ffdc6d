//! A proxy of one worker whose connections are in memory.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::DuplexStream;

use crate::cluster::{ClusterManager, Dialer};
use crate::conn::Raw;
use crate::listener::connection::{Incoming, handle};
use crate::snapshot::{Store, StoreOptions};
use crate::stats::{DEFAULT_BOUNDS, Registry};
use crate::worker::{LocalNode, Worker};

/// Bytes that one direction of a connection holds.
const BUFFER: usize = 64 * 1024;
/// Time for connections of replaced listeners.
pub const DRAIN_TIME: Duration = Duration::from_secs(45);

/// Store and worker of a proxy. Who holds the other ends of its streams are its clients and servers.
pub struct Proxy {
    pub store: Store,
    pub worker: Rc<Worker>,
    pub registry: Arc<Registry>,
}

/// How a connection comes in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The accepting socket, which names the listener.
    pub at: SocketAddr,
    /// The client.
    pub remote: SocketAddr,
    /// Destination from before redirection; `None`: not redirected.
    pub destination: Option<SocketAddr>,
}

/// Both ends of a connection in memory.
pub fn stream() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(BUFFER)
}

impl Proxy {
    /// A proxy without configuration; `dial` makes its connections and returns its end of them.
    pub fn new(
        node: LocalNode,
        dial: impl Fn(SocketAddr) -> io::Result<DuplexStream> + 'static,
    ) -> Self {
        let registry = Registry::new(node.peer.clone(), ironsail_mesh::VERSION, DEFAULT_BOUNDS);
        let shard = registry.shard();
        let clusters = ClusterManager::new(Dialer::Memory(Rc::new(dial)), Rc::clone(&shard));
        let worker = Worker::new(0, Arc::new(node), clusters, shard);
        Self {
            store: Store::new(StoreOptions::default()),
            worker: Rc::new(worker),
            registry,
        }
    }

    /// Makes what the store published the worker's configuration. Runs inside a `LocalSet`.
    pub fn apply(&self) {
        self.worker.apply(&self.store.snapshot(), DRAIN_TIME);
    }

    /// The client's end of a connection; `None`: nobody listens there. Runs inside a `LocalSet`.
    pub fn connect(&self, arrival: Arrival) -> Option<DuplexStream> {
        let listener = self.worker.listeners.for_destination(arrival.at)?;
        let (near, far) = stream();
        let incoming = Incoming {
            raw: Raw::Memory(near),
            remote: arrival.remote,
            direct_local: arrival.at,
            restored: arrival.destination,
        };
        tokio::task::spawn_local(handle(incoming, listener, Rc::clone(&self.worker)));
        Some(far)
    }
}
