//! Workloads and the endpoints of services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ironsail_mesh::locality::Locality;

/// A pod, as far as the mesh cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub name: Arc<str>,
    pub namespace: Arc<str>,
    pub addresses: Box<[IpAddr]>,
    /// Shared with the other pods of its kind.
    pub labels: Arc<BTreeMap<String, String>>,
    pub service_account: Arc<str>,
    pub node: Option<Arc<str>>,
    /// Name of what made the pod, such as its Deployment; the pod's own name otherwise.
    pub workload_name: Arc<str>,
    /// Container ports by name.
    pub named_ports: Arc<BTreeMap<String, u16>>,
    /// `hostname.subdomain` gives the pod a name of its own below a headless service.
    pub hostname: Option<Box<str>>,
    pub subdomain: Option<Box<str>>,
    /// Region and zone of a label on the pod, which wins over the node's.
    pub locality: Option<Box<Locality>>,
}

impl Workload {
    /// Whether its proxy ends mutual TLS.
    pub fn accepts_mtls(&self) -> bool {
        self.labels
            .get(ironsail_mesh::label::TLS_MODE)
            .is_some_and(|mode| mode == "istio")
    }

    /// Name and revision for telemetry; see [`ironsail_mesh::label::canonical`].
    pub fn canonical(&self) -> (&str, &str) {
        ironsail_mesh::label::canonical(
            |key| self.labels.get(key).map(String::as_str),
            &self.workload_name,
        )
    }
}

/// One address and port behind a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
    pub is_ready: bool,
    /// Shared with the other endpoints there.
    pub locality: Arc<Locality>,
    pub node: Option<Arc<str>>,
    /// Absent for addresses that are no pod of this cluster.
    pub workload: Option<Arc<Workload>>,
}

impl Endpoint {
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.workload.as_ref().map(|workload| &*workload.labels)
    }

    pub fn accepts_mtls(&self) -> bool {
        self.workload
            .as_ref()
            .is_some_and(|workload| workload.accepts_mtls())
    }
}

/// The endpoints of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSet {
    /// By the name of the service port; each list in the order of the slices.
    pub ports: BTreeMap<Arc<str>, Vec<Endpoint>>,
    /// Namespace and service account of all its pods.
    pub accounts: BTreeSet<(Arc<str>, Arc<str>)>,
    /// When these endpoints took effect, in snapshots.
    pub generation: u64,
    /// When the accounts, or whether all pods end mutual TLS, last changed.
    pub identity_generation: u64,
}

impl EndpointSet {
    pub fn port(&self, name: &str) -> &[Endpoint] {
        self.ports.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.ports.values().flatten()
    }

    /// Whether there is an endpoint and every one ends mutual TLS.
    pub fn all_accept_mtls(&self) -> bool {
        let mut endpoints = self.iter().peekable();
        endpoints.peek().is_some() && endpoints.all(Endpoint::accepts_mtls)
    }
}
