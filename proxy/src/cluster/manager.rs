//! The clusters of one worker, kept in step with the snapshot.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::load_balancer::{HostSet, LoadBalancer};
use crate::cluster::{
    ConnectError, ConnectOptions, Dialer, Host, PickContext, PickError, Upstream, connect,
};
use crate::resource::cluster::{ClusterConfig, Discovery};
use crate::resource::endpoint::{Endpoint, Endpoints, HealthStatus};
use crate::transport_socket::secret::Secrets;

/// How many original destinations a worker remembers per cluster before it forgets unused ones early.
const MAX_ORIGINAL_DST_HOSTS: usize = 1024;

/// Worker-local view of all clusters.
#[derive(Debug, Default)]
pub struct ClusterManager {
    clusters: RefCell<HashMap<Arc<str>, Rc<Cluster>>>,
    shared: Rc<Shared>,
}

/// What all clusters of a worker use.
#[derive(Debug, Default)]
struct Shared {
    secrets: RefCell<Arc<Secrets>>,
    dialer: Dialer,
}

/// What a snapshot says of one cluster.
#[derive(Clone, Debug)]
pub struct ClusterUpdate {
    pub config: Arc<ClusterConfig>,
    pub endpoints: Arc<Endpoints>,
}

impl ClusterManager {
    /// A manager without clusters that connects through `dialer`.
    pub fn new(dialer: Dialer) -> Self {
        Self {
            clusters: RefCell::default(),
            shared: Rc::new(Shared {
                secrets: RefCell::default(),
                dialer,
            }),
        }
    }

    pub fn get(&self, name: &str) -> Option<Rc<Cluster>> {
        self.clusters.borrow().get(name).cloned()
    }

    /// All clusters, ordered by name.
    pub fn all(&self) -> Vec<Rc<Cluster>> {
        let mut all: Vec<_> = self.clusters.borrow().values().cloned().collect();
        all.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        all
    }

    /// Secrets that new handshakes use.
    pub fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.shared.secrets.borrow())
    }

    pub fn set_secrets(&self, secrets: Arc<Secrets>) {
        *self.shared.secrets.borrow_mut() = secrets;
    }

    /// Makes the clusters those of `updates`. A cluster whose configuration is the same keeps its hosts.
    pub fn apply<'a>(&self, updates: impl IntoIterator<Item = &'a ClusterUpdate>) {
        let mut old = self.clusters.take();
        let mut new = HashMap::with_capacity(old.len());
        for update in updates {
            let name = Arc::clone(&update.config.name);
            let kept = old
                .get(&name)
                .is_some_and(|cluster| Arc::ptr_eq(&cluster.config, &update.config));
            let cluster = match old.remove(&name) {
                Some(cluster) if kept => cluster,
                replaced => {
                    if let Some(replaced) = replaced {
                        replaced.close();
                    }
                    let config = Arc::clone(&update.config);
                    Rc::new(Cluster::new(config, Rc::clone(&self.shared)))
                }
            };
            cluster.set_endpoints(&update.endpoints);
            new.insert(name, cluster);
        }
        for removed in old.into_values() {
            removed.close();
        }
        self.clusters.replace(new);
    }
}

/// A cluster on this worker.
pub struct Cluster {
    pub config: Arc<ClusterConfig>,
    shared: Rc<Shared>,
    endpoints: RefCell<Arc<Endpoints>>,
    hosts: RefCell<Rc<HostSet>>,
    balancer: LoadBalancer,
    original_dst: RefCell<OriginalDstHosts>,
}

#[derive(Default)]
struct OriginalDstHosts {
    hosts: HashMap<SocketAddr, (Rc<Host>, Instant)>,
    swept: Option<Instant>,
}

impl Cluster {
    fn new(config: Arc<ClusterConfig>, shared: Rc<Shared>) -> Self {
        let balancer = LoadBalancer::new(config.lb_policy);
        Self {
            config,
            shared,
            endpoints: RefCell::default(),
            hosts: RefCell::default(),
            balancer,
            original_dst: RefCell::default(),
        }
    }

    /// Chooses a host.
    ///
    /// # Errors
    /// No host takes requests, or the original destination is unknown.
    pub fn pick(&self, context: &PickContext<'_>) -> Result<Rc<Host>, PickError> {
        match self.config.discovery {
            Discovery::OriginalDst { port, .. } => self.pick_original_dst(context, port),
            _ => {
                let hosts = Rc::clone(&self.hosts.borrow());
                self.balancer
                    .pick(&hosts, context)
                    .ok_or(PickError::NoHealthyUpstream)
            }
        }
    }

    /// Connects to a host of this cluster, with the transport that its endpoint metadata selects.
    ///
    /// Cancel safe: a dropped attempt closes its socket.
    ///
    /// # Errors
    /// Limit of connections, no connection within the cluster's timeout, failed handshake.
    pub async fn connect(
        &self,
        host: &Rc<Host>,
        options: &ConnectOptions,
    ) -> Result<Upstream, ConnectError> {
        let secrets = Arc::clone(&self.shared.secrets.borrow());
        connect::connect(&self.config, &self.shared.dialer, &secrets, host, options).await
    }

    /// All hosts of the cluster, also those that take no requests.
    pub fn hosts(&self) -> Vec<Rc<Host>> {
        let mut hosts = self.hosts.borrow().all();
        let known = self.original_dst.borrow();
        hosts.extend(known.hosts.values().map(|(host, _)| Rc::clone(host)));
        hosts
    }

    /// What discovery says of the hosts.
    pub fn endpoints(&self) -> Arc<Endpoints> {
        Arc::clone(&self.endpoints.borrow())
    }

    /// Takes over new endpoints; those that stay the same keep their host.
    pub fn set_endpoints(&self, endpoints: &Arc<Endpoints>) {
        if Arc::ptr_eq(&self.endpoints.borrow(), endpoints) {
            return;
        }
        let old = self.hosts.take();
        let new = HostSet::update(&old, endpoints, self.config.locality_weighted);
        self.hosts.replace(Rc::new(new));
        self.endpoints.replace(Arc::clone(endpoints));
    }

    fn close(&self) {
        for host in self.hosts() {
            host.remove();
        }
    }

    fn pick_original_dst(
        &self,
        context: &PickContext<'_>,
        port: Option<u16>,
    ) -> Result<Rc<Host>, PickError> {
        let mut address = context.original_dst.ok_or(PickError::NoHealthyUpstream)?;
        if let Some(port) = port {
            address.set_port(port);
        }
        let now = Instant::now();
        let mut known = self.original_dst.borrow_mut();
        known.sweep(now, self.config.cleanup_interval);
        let entry = known
            .hosts
            .entry(address)
            .or_insert_with(|| (Rc::new(original_dst_host(address)), now));
        entry.1 = now;
        Ok(Rc::clone(&entry.0))
    }
}

impl OriginalDstHosts {
    /// Forgets hosts that were unused for an interval.
    fn sweep(&mut self, now: Instant, interval: Duration) {
        let swept = *self.swept.get_or_insert(now);
        let full = self.hosts.len() >= MAX_ORIGINAL_DST_HOSTS;
        if !full && now.duration_since(swept) < interval {
            return;
        }
        self.swept = Some(now);
        self.hosts.retain(|_, (host, used)| {
            let idle =
                host.stats.rq_active.get() == 0 && (full || now.duration_since(*used) >= interval);
            if idle {
                host.remove();
            }
            !idle
        });
    }
}

fn original_dst_host(address: SocketAddr) -> Host {
    Host::new(
        Arc::new(Endpoint {
            address,
            hostname: Arc::from(""),
            health: HealthStatus::Healthy,
            weight: 1,
            transport_match: Box::default(),
            workload: None,
        }),
        0,
    )
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.config.name)
            .finish_non_exhaustive()
    }
}
