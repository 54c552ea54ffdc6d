//! Store and worker of our proxy, in this process.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ironsail_proxy::resource::Switches;
use ironsail_proxy::snapshot::{Store, StoreOptions};
use ironsail_proxy::stats::{DEFAULT_BOUNDS, Filter, Registry, Shard};
use ironsail_proxy::worker::{LocalNode, PoolOptions, WorkerPool};
use ironsail_proxy::xds::{Resource, Sink, Update};
use ironsail_xds::cluster::Cluster;
use ironsail_xds::listener::Listener;
use prost::{Message, Name};

/// Time for a listener to accept.
const READY: Duration = Duration::from_secs(20);

/// A proxy with one worker; ended when dropped.
pub struct Proxy {
    registry: Arc<Registry>,
    pool: Option<WorkerPool>,
    _store: Store,
}

impl Proxy {
    /// Starts it and waits until it accepts connections on `port`.
    ///
    /// # Errors
    /// It rejects a resource, or the port is taken.
    pub fn start(listener: &Listener, cluster: &Cluster, port: u16) -> anyhow::Result<Self> {
        Self::start_with(Switches::default(), listener, cluster, port)
    }

    /// The same for a proxy whose user asked for something.
    ///
    /// # Errors
    /// It rejects a resource, or the port is taken.
    pub fn start_with(
        switches: Switches,
        listener: &Listener,
        cluster: &Cluster,
        port: u16,
    ) -> anyhow::Result<Self> {
        ironsail_runtime::tls::install_provider();
        let mut store = Store::new(StoreOptions {
            workers: 1,
            switches,
            ..StoreOptions::default()
        });
        for update in [
            update(&cluster.name, cluster),
            update(&listener.name, listener),
        ] {
            let rejected = store.apply(update);
            ensure!(rejected.is_empty(), "rejected: {rejected:?}");
        }
        let node = LocalNode::default();
        let registry = Registry::new(node.peer.clone(), "test", DEFAULT_BOUNDS);
        let shards = Arc::clone(&registry);
        let options = PoolOptions {
            concurrency: 1,
            node: Arc::new(node),
            drain_time: Duration::from_secs(1),
            stats: Arc::new(move |_| -> Rc<Shard> { shards.shard() }),
        };
        let pool = WorkerPool::start(&options, &store).context("workers do not start")?;
        wait_for_port(port)?;
        Ok(Self {
            registry,
            pool: Some(pool),
            _store: store,
        })
    }

    /// The proxy's metrics as text.
    pub fn metrics(&self) -> String {
        self.registry.prometheus(&Filter::default())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.stop();
        }
    }
}

fn update<T: Message + Name>(name: &str, resource: &T) -> Update {
    Update {
        type_url: T::type_url(),
        added: vec![Resource {
            name: name.to_owned(),
            version: "1".to_owned(),
            body: resource.encode_to_vec().into(),
            type_url: T::type_url(),
        }],
        removed: Vec::new(),
        full: true,
    }
}

fn wait_for_port(port: u16) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let end = Instant::now() + READY;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > end {
            bail!("nobody accepts connections at {address}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
