//! The clusters of one worker, kept in step with the snapshot.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::load_balancer::{HostSet, LoadBalancer, Membership};
use crate::cluster::outlier::{Detector, Judged, Verdict};
use crate::cluster::{
    ConnectError, ConnectOptions, ConnectionGuard, Dialer, Host, HostResult, PickContext,
    PickError, Upstream, connect,
};
use crate::resource::cluster::{ClusterConfig, Discovery, Permit};
use crate::resource::endpoint::{Endpoint, Endpoints, HealthStatus};
use crate::stats;
use crate::transport_socket::secret::Secrets;

/// How many original destinations a worker remembers per cluster before it forgets unused ones early.
const MAX_ORIGINAL_DST_HOSTS: usize = 1024;

/// Worker-local view of all clusters.
#[derive(Debug)]
pub struct ClusterManager {
    clusters: RefCell<HashMap<Arc<str>, Rc<Cluster>>>,
    shared: Rc<Shared>,
}

/// What all clusters of a worker use.
#[derive(Debug)]
struct Shared {
    secrets: RefCell<Arc<Secrets>>,
    dialer: Dialer,
    stats: Rc<stats::Shard>,
}

/// What a snapshot says of one cluster.
#[derive(Clone, Debug)]
pub struct ClusterUpdate {
    pub config: Arc<ClusterConfig>,
    pub endpoints: Arc<Endpoints>,
}

impl ClusterManager {
    /// A manager without clusters that connects through `dialer` and counts in `stats`.
    pub fn new(dialer: Dialer, stats: Rc<stats::Shard>) -> Self {
        Self {
            clusters: RefCell::default(),
            shared: Rc::new(Shared {
                secrets: RefCell::default(),
                dialer,
                stats,
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
    /// Connections belong to one client each, because the host is told which.
    pub tells_client: bool,
    shared: Rc<Shared>,
    endpoints: RefCell<Arc<Endpoints>>,
    /// `None` until somebody wants a host: a worker never uses most clusters of a mesh.
    hosts: RefCell<Option<Rc<HostSet>>>,
    /// Of the detector, when `hosts` were arranged.
    generation: Cell<u64>,
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
        let balancer = LoadBalancer::new(config.lb_policy, config.slow_start);
        Self {
            tells_client: config.transport.tells_client(),
            config,
            shared,
            endpoints: RefCell::default(),
            hosts: RefCell::default(),
            generation: Cell::new(0),
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
                self.follow_ejections();
                self.balancer
                    .pick(&self.host_set(), context)
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
        let thresholds = self.config.breakers.of(options.priority);
        let permit = thresholds.connections.acquire()?;
        self.connect_with(host, options, permit).await
    }

    /// As [`Cluster::connect`], for callers that have a connection's permit already.
    ///
    /// # Errors
    /// No connection within the cluster's timeout, failed handshake.
    pub async fn connect_with(
        &self,
        host: &Rc<Host>,
        options: &ConnectOptions,
        permit: Permit,
    ) -> Result<Upstream, ConnectError> {
        let secrets = Arc::clone(&self.shared.secrets.borrow());
        let guard = ConnectionGuard::new(host, permit);
        let dialer = &self.shared.dialer;
        connect::connect(&self.config, dialer, &secrets, host, options, guard).await
    }

    /// Tells outlier detection what came of a request or connection.
    pub fn report(&self, host: &Host, result: HostResult) {
        let (Some(detector), Some(monitor)) = (&self.config.outlier, &host.monitor) else {
            return;
        };
        for ejection in detector.count(monitor, result).into_iter().flatten() {
            let address = host.address();
            let judged = Judged {
                address,
                ejection,
                verdict: detector.judge(address, ejection, Instant::now()),
            };
            note_ejection(&self.config.name, &self.outlier_stats(), &judged);
            if judged.verdict == Verdict::Ejected {
                self.keep_sweeping(detector);
            }
        }
        if detector.is_to_compare() {
            self.keep_sweeping(detector);
        }
    }

    /// Lets ejected hosts come back, and has hosts compared where that is wanted.
    fn keep_sweeping(&self, detector: &Arc<Detector>) {
        let (name, stats) = (Arc::clone(&self.config.name), self.outlier_stats());
        detector.keep_sweeping(Rc::new(move |swept| {
            (0..swept.returned).for_each(|_| stats("ejections_active").dec());
            for judged in &swept.judged {
                note_ejection(&name, &stats, judged);
            }
        }));
    }

    /// Counters `outlier_detection.…` by their last part. Looked up when they are needed, which is seldom.
    fn outlier_stats(&self) -> impl Fn(&str) -> stats::Local + use<> {
        let shard = Rc::clone(&self.shared.stats);
        let name = Arc::clone(&self.config.stat_name);
        move |leaf| shard.counter(&format!("cluster.{name};.outlier_detection.{leaf}"))
    }

    /// All hosts of the cluster, also those that take no requests.
    pub fn hosts(&self) -> Vec<Rc<Host>> {
        let mut hosts = self.host_set().all();
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
        self.follow_addresses(endpoints.all().map(|endpoint| endpoint.address).collect());
        self.endpoints.replace(Arc::clone(endpoints));
        // How old a host is counts with slow start.
        if self.hosts.borrow().is_some() || self.config.slow_start.is_some() {
            self.arrange();
        }
    }

    fn host_set(&self) -> Rc<HostSet> {
        if let Some(hosts) = &*self.hosts.borrow() {
            return Rc::clone(hosts);
        }
        self.arrange()
    }

    /// Makes outlier detection watch these; what it had ejected of others no longer counts.
    fn follow_addresses(&self, addresses: HashSet<SocketAddr>) {
        if let Some(detector) = &self.config.outlier {
            let gone = detector.follow(&addresses);
            let active = self.outlier_stats()("ejections_active");
            (0..gone).for_each(|_| active.dec());
        }
    }

    /// Prepares the choice among the hosts of the endpoints, as far as they are not ejected.
    fn arrange(&self) -> Rc<HostSet> {
        let detector = self.config.outlier.as_deref();
        self.generation
            .set(detector.map_or(0, Detector::generation));
        let membership = Membership {
            endpoints: &self.endpoints.borrow(),
            locality_weighted: self.config.locality_weighted,
            panic_threshold: self.config.panic_threshold,
            detector,
        };
        let old = self.hosts.take().unwrap_or_default();
        let new = Rc::new(HostSet::update(&old, &membership));
        self.hosts.replace(Some(Rc::clone(&new)));
        new
    }

    /// Another worker, or the sweep, may have changed who is ejected.
    fn follow_ejections(&self) {
        if let Some(detector) = &self.config.outlier
            && self.hosts.borrow().is_some()
            && detector.generation() != self.generation.get()
        {
            self.arrange();
        }
    }

    fn close(&self) {
        self.follow_addresses(HashSet::new());
        // Hosts that nobody wanted need no end.
        let hosts = self.hosts.borrow().as_ref().map(|hosts| hosts.all());
        let known = self.original_dst.borrow();
        let known = known.hosts.values().map(|(host, _)| host);
        for host in hosts.iter().flatten().chain(known) {
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

/// Counts what was done about a host, and logs it if it is ejected.
fn note_ejection(cluster: &str, stats: &impl Fn(&str) -> stats::Local, judged: &Judged) {
    let kind = judged.ejection.as_str();
    if judged.verdict != Verdict::Ignored {
        stats(&format!("ejections_detected_{kind}")).inc();
    }
    match judged.verdict {
        Verdict::Ejected => {
            stats(&format!("ejections_enforced_{kind}")).inc();
            stats("ejections_enforced_total").inc();
            stats("ejections_active").inc();
            tracing::info!(%cluster, host = %judged.address, ejection = kind, "Host ejected");
        }
        Verdict::Overflow => stats("ejections_overflow").inc(),
        Verdict::Spared | Verdict::Ignored => {}
    }
}

fn original_dst_host(address: SocketAddr) -> Host {
    Host::new(
        Arc::new(Endpoint {
            address,
            additional: Box::default(),
            hostname: Arc::from(""),
            health: HealthStatus::Healthy,
            weight: 1,
            canary: false,
            hash_key: "".into(),
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
