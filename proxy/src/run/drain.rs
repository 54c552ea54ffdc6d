//! How a proxy that was asked to end waits for its clients.

use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use crate::listener::DrainScope;
use crate::worker::WorkerPool;

/// Time between looks at what still holds a proxy up that ends when it has no connections.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// Time for connections that are ended to be logged, and between looks at that.
const LAST_WORDS: Duration = Duration::from_secs(1);
const END_CHECK: Duration = Duration::from_millis(10);

/// What is waited for once draining began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    pub(super) time: Duration,
    /// Not for a time, but until no connection is left.
    pub(super) until_idle: bool,
    /// Least time of that.
    pub(super) minimum: Duration,
}

impl Drain {
    /// Lets clients finish until the time is over or nobody is left, and ends who stays: connections that end with
    /// the process are neither logged nor counted.
    pub(super) async fn wait(&self, pool: &WorkerPool) {
        if self.until_idle {
            tokio::time::sleep(self.minimum).await;
            idle(pool, IDLE_CHECK).await;
            return;
        }
        tokio::time::sleep(self.time).await;
        pool.expire(DrainScope::All);
        if timeout(LAST_WORDS, idle(pool, END_CHECK)).await.is_err() {
            warn!("Connections end with the process");
        }
    }
}

/// Returns when no connection is left.
async fn idle(pool: &WorkerPool, check: Duration) {
    while pool.connections().await > 0 {
        tokio::time::sleep(check).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::peer::PeerMetadata;
    use crate::snapshot::{Store, StoreOptions};
    use crate::stats::{DEFAULT_BOUNDS, Registry};
    use crate::testing::{listener, static_cluster, tcp_chain, update};
    use crate::worker::{LocalNode, PoolOptions};
    use crate::xds::Sink;

    const LIMIT: Duration = Duration::from_secs(10);

    /// A worker that proxies from `address` to `server`.
    async fn pool(store: &mut Store, address: SocketAddr, server: SocketAddr) -> WorkerPool {
        let registry = Registry::new(PeerMetadata::default(), "test", DEFAULT_BOUNDS);
        let options = PoolOptions {
            concurrency: 1,
            node: Arc::new(LocalNode::default()),
            drain_time: LIMIT,
            stats: Arc::new(move |_| registry.shard()),
        };
        let pool = WorkerPool::start(&options, store).expect("a thread");
        let cluster = static_cluster("up", &[&server.to_string()]);
        assert_eq!(store.apply(update(&[("up", cluster)])), []);
        let config = listener("l", &address.to_string(), vec![tcp_chain("up")]);
        assert_eq!(store.apply(update(&[("l", config)])), []);
        while pool.applied_version() < store.snapshot().version {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pool
    }

    #[tokio::test]
    async fn connections_that_stay_are_ended() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = free.local_addr().expect("bound");
        drop(free);
        let mut store = Store::new(StoreOptions {
            workers: 1,
            drain_time: LIMIT,
            ..StoreOptions::default()
        });
        let pool = pool(&mut store, address, server.local_addr().expect("bound")).await;
        let mut client = TcpStream::connect(address).await.expect("listens");
        let (mut upstream, _) = server.accept().await.expect("is dialled");
        client.write_all(b"hello").await.expect("open");
        upstream.read_exact(&mut [0; 5]).await.expect("proxied");
        assert_eq!(pool.connections().await, 1);

        let drain = Drain {
            time: Duration::from_millis(10),
            until_idle: false,
            minimum: Duration::ZERO,
        };
        timeout(LIMIT, drain.wait(&pool)).await.expect("in time");
        assert_eq!(pool.connections().await, 0);
        let read = timeout(LIMIT, client.read(&mut [0; 8])).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
        pool.stop();
    }
}
