//! The mesh: installed once, changed by objects, called.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ironsail_controlplane::ca::authority::Authority;
use ironsail_controlplane::ca::root;
use ironsail_controlplane::generate::Cache;
use ironsail_controlplane::model::change::ChangeSet;
use ironsail_controlplane::model::snapshot::Snapshot;
use ironsail_proxy::stats::Filter;
use ironsail_proxy::xds::Protocol;
use ironsail_runtime::tls;
use time::OffsetDateTime;

use crate::access_log::AccessLog;
use crate::app::{Reply, Served};
use crate::call::{Answer, Call, Outcome};
use crate::client;
use crate::cluster;
use crate::installation::Installation;
use crate::kubelet;
use crate::network::{Network, Origin};
use crate::pod::{ControlPlane, Pod};

/// Time for proxies to close the books of a call.
const AFTERMATH: Duration = Duration::from_millis(100);

/// An installed mesh. Everything happens inside of a `LocalSet`.
pub struct Mesh {
    protocol: Protocol,
    pub(crate) installation: Installation,
    pub(crate) snapshot: Arc<Snapshot>,
    cache: Arc<Cache>,
    authority: Authority,
    pub(crate) network: Rc<Network>,
    access_log: AccessLog,
}

impl Mesh {
    /// What an IstioOperator installs; proxies fetch by delta.
    ///
    /// # Errors
    /// The operator refuses it, or a proxy rejects a resource.
    pub fn install(operator: &str) -> anyhow::Result<Self> {
        Self::install_with(operator, Protocol::Delta)
    }

    /// The same, with a choice of the protocol.
    ///
    /// # Errors
    /// As [`Mesh::install`].
    pub fn install_with(operator: &str, protocol: Protocol) -> anyhow::Result<Self> {
        tls::install_provider();
        let access_log = AccessLog::new()?;
        let now = OffsetDateTime::now_utc();
        let root = root::create("cluster.local", root::LIFETIME, now)?;
        let mut installation = Installation::new(operator, access_log.settings())?;
        let (snapshot, _) = installation.snapshot();
        let mut mesh = Self {
            protocol,
            installation,
            snapshot,
            cache: Arc::default(),
            authority: Authority::new(&root, now)?,
            network: Rc::default(),
            access_log,
        };
        mesh.settle()?;
        Ok(mesh)
    }

    /// Applies all objects of a YAML text, those without a namespace to `namespace`.
    ///
    /// # Errors
    /// An object is malformed or of a kind that is not simulated, or a proxy rejects a resource.
    pub fn apply(&mut self, namespace: &str, text: &str) -> anyhow::Result<()> {
        self.installation.apply(namespace, text)?;
        self.settle()
    }

    /// Deletes an object of the mesh's configuration.
    ///
    /// # Errors
    /// Objects of the kind cannot be deleted here, or a proxy rejects a resource.
    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) -> anyhow::Result<()> {
        self.installation.delete(kind, namespace, name)?;
        self.settle()
    }

    /// What the control plane finds wrong with objects.
    pub fn findings(&self) -> Vec<String> {
        let findings = self.snapshot.findings.iter();
        findings
            .flat_map(|(key, all)| all.iter().map(move |one| format!("{key}: {one}")))
            .collect()
    }

    /// Makes the application of a workload answer otherwise than with 200.
    pub fn answer(&self, workload: &str, handler: impl Fn(&Served) -> Reply + 'static) {
        self.network.apps.answer(workload, handler);
    }

    /// A server outside the cluster.
    ///
    /// # Errors
    /// `address` is not `ip:port`.
    pub fn add_server(&self, address: &str, name: &str) -> anyhow::Result<()> {
        self.network.add_server(address.parse()?, name);
        Ok(())
    }

    /// Lines of a metric that the proxy of a workload shows.
    pub fn metrics(&self, workload: &str, name: &str) -> Vec<String> {
        let pods = self.network.pods();
        let own = pods.iter().filter(|pod| pod.workload == workload);
        let texts = own.filter_map(|pod| {
            let registry = &pod.proxy.as_ref()?.memory.registry;
            Some(registry.prometheus(&Filter::default()))
        });
        let lines: Vec<String> = texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let is_wanted = |line: &String| line.starts_with(&format!("{name}{{"));
        lines.into_iter().filter(is_wanted).collect()
    }

    /// Makes a call.
    ///
    /// # Errors
    /// The call names a client or destination that there is not.
    pub async fn call(&self, call: Call) -> anyhow::Result<Outcome> {
        let (origin, namespace) = self.origin(&call)?;
        let to = self.destination(&call.to, &namespace)?;
        let answer = match self.network.open(origin, to) {
            Ok(stream) => client::speak(stream, &call).await?,
            Err(_) => Answer::Refused,
        };
        tokio::time::sleep(AFTERMATH).await;
        let entry = |client| {
            let entry = self.network.entry(client)?;
            Some((entry.workload, entry.listener))
        };
        Ok(Outcome {
            answer,
            hops: self.access_log.take(entry)?,
            served: self.network.apps.take(),
        })
    }

    pub(crate) fn origin(&self, call: &Call) -> anyhow::Result<(Origin, String)> {
        let Some(workload) = &call.from else {
            return Ok((Origin::Outside, String::new()));
        };
        let pods = self.network.pods();
        let pod = pods.iter().find(|pod| pod.workload == *workload);
        let pod = pod.with_context(|| format!("there is no workload {workload}"))?;
        Ok((Origin::Application(pod.address), pod.namespace.clone()))
    }

    pub(crate) fn destination(&self, to: &str, namespace: &str) -> anyhow::Result<SocketAddr> {
        let (host, port) = to.rsplit_once(':').context("a destination is host:port")?;
        let address = match host.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => {
                let found = self.installation.cluster.resolve(host, namespace);
                found.with_context(|| format!("{host} has no address"))?
            }
        };
        Ok(SocketAddr::new(address, port.parse()?))
    }

    /// Publishes what changed, starts new pods, tells all proxies.
    fn settle(&mut self) -> anyhow::Result<()> {
        let changes = self.publish();
        let pods = self.network.pods();
        for proxy in pods.iter().filter_map(|pod| pod.proxy.as_ref()) {
            proxy.push(&self.snapshot, &changes)?;
        }
        self.start_pods()
    }

    /// Makes the next snapshot; returns how it differs.
    pub(crate) fn publish(&mut self) -> ChangeSet {
        let (snapshot, changes) = self.installation.snapshot();
        self.snapshot = snapshot;
        self.network
            .set_services(self.installation.cluster.virtual_addresses());
        changes
    }

    pub(crate) fn start_pods(&mut self) -> anyhow::Result<()> {
        let pods = self.network.pods();
        let known: Vec<IpAddr> = pods.iter().map(|pod| pod.address).collect();
        for object in self.installation.cluster.pods() {
            if cluster::address(object).is_some_and(|address| !known.contains(&address)) {
                self.network.add(self.start(object)?);
            }
        }
        Ok(())
    }

    fn start(&self, object: &k8s_openapi::api::core::v1::Pod) -> anyhow::Result<Pod> {
        let files = tempfile::tempdir()?;
        let bootstrap = match kubelet::proxy_container(object) {
            None => None,
            Some(container) => {
                let mesh = serde_json::to_string(self.installation.cluster.mesh())?;
                let bootstrap = kubelet::bootstrap(object, container, &mesh, files.path());
                let name = object.metadata.name.clone().unwrap_or_default();
                Some(bootstrap.with_context(|| name)?)
            }
        };
        let control_plane = ControlPlane {
            protocol: self.protocol,
            snapshot: &self.snapshot,
            cache: &self.cache,
            authority: &self.authority,
        };
        Pod::start(object, bootstrap.as_ref(), &control_plane, &self.network)
    }
}
