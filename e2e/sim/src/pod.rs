//! A running pod: its application, and its proxy if it has one.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use anyhow::Context;
use ironsail_controlplane::ca::authority::{Authority, TtlPolicy};
use ironsail_controlplane::ca::csr;
use ironsail_controlplane::generate::Cache;
use ironsail_controlplane::model::change::ChangeSet;
use ironsail_controlplane::model::snapshot::Snapshot;
use ironsail_inject::{Owner, PROXY_CONTAINER};
use ironsail_mesh::node::NodeType;
use ironsail_proxy::agent::authority::credential;
use ironsail_proxy::agent::csr::{KeyType, SigningRequest};
use ironsail_proxy::bootstrap::Bootstrap;
use ironsail_proxy::listener::{DrainMode, DrainScope};
use ironsail_proxy::stats::local_workload;
use ironsail_proxy::testing::memory;
use ironsail_proxy::transport_socket::secret::WorkloadCertificate;
use ironsail_proxy::worker::LocalNode;
use ironsail_proxy::xds::Protocol;
use ironsail_runtime::net::Resolver;
use k8s_openapi::api::core::v1;
use time::{Duration, OffsetDateTime};
use tokio::sync::{Mutex, watch};

use crate::cluster;
use crate::discovery::Discovery;
use crate::network::{Network, Origin};

/// A pod on the network.
pub struct Pod {
    pub name: String,
    pub namespace: String,
    /// What made it: the name of its Deployment.
    pub workload: String,
    pub address: IpAddr,
    /// Where its application listens.
    pub ports: BTreeSet<u16>,
    pub proxy: Option<Proxy>,
    /// Turns true when the pod is told to end.
    pub ending: watch::Sender<bool>,
}

/// The proxy of a pod.
pub struct Proxy {
    pub role: NodeType,
    pub memory: memory::Proxy,
    discovery: Mutex<Discovery>,
}

/// What proxies are started against.
pub struct ControlPlane<'a> {
    pub protocol: Protocol,
    pub snapshot: &'a Arc<Snapshot>,
    pub cache: &'a Arc<Cache>,
    pub authority: &'a Authority,
}

impl Pod {
    /// The pod as its object describes it, with a proxy that starts from `bootstrap`.
    ///
    /// # Errors
    /// The proxy gets no certificate, or rejects a resource.
    pub fn start(
        object: &v1::Pod,
        bootstrap: Option<&Bootstrap>,
        control_plane: &ControlPlane<'_>,
        network: &Rc<Network>,
    ) -> anyhow::Result<Self> {
        let address = cluster::address(object).context("a pod without address")?;
        let proxy = match bootstrap {
            Some(bootstrap) => {
                let proxy = Proxy::start(bootstrap, address, control_plane, network)?;
                Some(proxy)
            }
            None => None,
        };
        Ok(Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            workload: Owner::of_pod(&serde_json::to_value(object)?).name,
            address,
            ports: application_ports(object),
            proxy,
            ending: watch::Sender::new(false),
        })
    }

    /// What the kubelet does to a deleted pod: the proxy drains, and the application ends after its `preStop` hook: it
    /// finishes what it has begun and takes no more connections.
    pub fn terminate(&self, pre_stop: std::time::Duration) {
        let ending = self.ending.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(pre_stop).await;
            ending.send_replace(true);
        });
        if let Some(proxy) = &self.proxy {
            let scope = match proxy.role {
                NodeType::Router => DrainScope::All,
                _ => DrainScope::Inbound,
            };
            let listeners = &proxy.memory.worker.listeners;
            listeners.drain(scope, DrainMode::Graceful);
        }
    }

    /// The end: whatever is open breaks.
    pub fn kill(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.memory.worker.listeners.expire(DrainScope::All);
        }
    }
}

impl Proxy {
    fn start(
        bootstrap: &Bootstrap,
        address: IpAddr,
        control_plane: &ControlPlane<'_>,
        network: &Rc<Network>,
    ) -> anyhow::Result<Self> {
        let metadata = serde_json::from_value(bootstrap.metadata.clone().into())?;
        let node = LocalNode {
            id: bootstrap.node.to_string(),
            peer: local_workload(&metadata),
        };
        let network: Weak<Network> = Rc::downgrade(network);
        let memory = memory::Proxy::new(node, move |to| match network.upgrade() {
            Some(network) => network.open(Origin::Proxy(address), to),
            None => Err(std::io::ErrorKind::NetworkDown.into()),
        });
        let certificate = certificate(bootstrap, control_plane.authority)?;
        memory.store.set_workload(Some(certificate.clone()));
        let discovery = Discovery::connect(
            control_plane.protocol,
            bootstrap.xds_node(),
            memory.store.clone(),
            Arc::clone(control_plane.snapshot),
            Arc::clone(control_plane.cache),
        )
        .with_context(|| bootstrap.node.to_string())?;
        memory.apply();
        keep_time(&memory, certificate)?;
        Ok(Self {
            role: bootstrap.node.node_type,
            discovery: Mutex::new(discovery),
            memory,
        })
    }

    /// Takes over a new snapshot.
    ///
    /// # Errors
    /// The proxy rejects a resource.
    pub fn push(&self, snapshot: &Arc<Snapshot>, changes: &ChangeSet) -> anyhow::Result<()> {
        let mut discovery = self.discovery.try_lock().context("a push is under way")?;
        let pushed = discovery.push(Arc::clone(snapshot), changes);
        pushed.with_context(|| self.memory.worker.node.id.clone())?;
        self.memory.apply();
        Ok(())
    }

    /// The same, message by message.
    ///
    /// # Errors
    /// The proxy rejects a resource.
    pub async fn spread(
        &self,
        snapshot: &Arc<Snapshot>,
        changes: &ChangeSet,
        pause: std::time::Duration,
    ) -> anyhow::Result<()> {
        let mut discovery = self.discovery.lock().await;
        let pushed = discovery.spread(Arc::clone(snapshot), changes, pause).await;
        pushed.with_context(|| self.memory.worker.node.id.clone())
    }
}

/// Lets the store act on its own, as when it has waited long enough.
fn keep_time(memory: &memory::Proxy, certificate: WorkloadCertificate) -> anyhow::Result<()> {
    let (agent, certificates) = watch::channel(Some(certificate));
    let resolver = Resolver::from_texts("", "")?;
    let store = memory.store.clone();
    tokio::task::spawn_local(async move {
        // Without its agent the store would not go on.
        let _agent = agent;
        store.run(certificates, resolver).await;
    });
    let (worker, mut snapshots) = (Rc::clone(&memory.worker), memory.store.subscribe());
    tokio::task::spawn_local(async move {
        while snapshots.changed().await.is_ok() {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            worker.apply(&snapshot, memory::DRAIN_TIME);
        }
    });
    Ok(())
}

/// The proxy's own key, signed by the control plane's authority.
fn certificate(
    bootstrap: &Bootstrap,
    authority: &Authority,
) -> anyhow::Result<WorkloadCertificate> {
    let identity = &bootstrap.identity;
    let request = SigningRequest::new(identity, KeyType::default())?;
    let received = csr::SigningRequest::from_pem(request.csr_pem())?;
    let ttl = Duration::try_from(bootstrap.certificate.ttl)?;
    let now = OffsetDateTime::now_utc();
    let answer = authority.sign_workload(&received, identity, ttl, TtlPolicy::default(), now)?;
    Ok(credential(&request, &answer)?.certificate().clone())
}

fn application_ports(object: &v1::Pod) -> BTreeSet<u16> {
    let containers = object.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .filter(|container| container.name != PROXY_CONTAINER)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| u16::try_from(port.container_port).ok())
        .collect()
}
