//! EndpointSlices, Pods and Nodes as the endpoints of services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use ironsail_mesh::locality::Locality;
use ironsail_runtime::shared::{Interner, shared_text};
use k8s_openapi::api::discovery::v1::{Endpoint as KubeEndpoint, EndpointSlice};

use crate::model::endpoint::{Endpoint, EndpointSet, Workload};
use crate::model::namespaced::Namespaced;
use crate::model::service::Service;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

static LOCALITIES: LazyLock<Interner<Locality>> = LazyLock::new(Interner::default);

/// An EndpointSlice, as far as the mesh cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    pub service: Arc<str>,
    pub is_ipv6: bool,
    /// Name and number.
    ports: Box<[(Arc<str>, u16)]>,
    entries: Vec<SliceEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SliceEntry {
    addresses: Box<[IpAddr]>,
    is_ready: bool,
    pod: Option<Arc<str>>,
    node: Option<Arc<str>>,
}

impl Slice {
    /// Converts an EndpointSlice; `None` when it belongs to no Service or holds names, not addresses.
    pub fn convert(object: &EndpointSlice) -> Option<Self> {
        let service = object.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
        let is_ipv6 = match object.address_type.as_str() {
            "IPv4" => false,
            "IPv6" => true,
            _ => return None,
        };
        let ports = object.ports.iter().flatten().filter_map(|port| {
            let number = u16::try_from(port.port?).ok()?;
            Some((
                shared_text(port.name.as_deref().unwrap_or_default()),
                number,
            ))
        });
        Some(Self {
            service: service.as_str().into(),
            is_ipv6,
            ports: ports.collect(),
            entries: object.endpoints.iter().map(SliceEntry::convert).collect(),
        })
    }

    /// Names of the pods in it.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.iter().filter_map(|entry| entry.pod.as_ref())
    }

    /// Names of the nodes in it.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.iter().filter_map(|entry| entry.node.as_ref())
    }
}

impl SliceEntry {
    fn convert(endpoint: &KubeEndpoint) -> Self {
        let pod = endpoint
            .target_ref
            .as_ref()
            .filter(|target| target.kind.as_deref() == Some("Pod"))
            .and_then(|target| target.name.as_deref());
        Self {
            addresses: endpoint
                .addresses
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            // An absent condition counts as ready.
            is_ready: endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready)
                .unwrap_or(true),
            pod: pod.map(Arc::from),
            node: endpoint.node_name.as_deref().map(shared_text),
        }
    }
}

/// What endpoints are looked up in.
pub struct Registry<'a> {
    pub pods: &'a Namespaced<Arc<Workload>>,
    /// By node name.
    pub nodes: &'a BTreeMap<Arc<str>, Locality>,
}

/// Joins the slices of a service, in the given order, with pods and nodes.
///
/// An address that stands in two slices is kept once per port.
pub fn collect<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a Slice>,
    registry: &Registry<'_>,
) -> EndpointSet {
    let mut set = EndpointSet::default();
    let mut seen = BTreeSet::new();
    for slice in slices {
        if service
            .is_ipv6
            .is_some_and(|is_ipv6| is_ipv6 != slice.is_ipv6)
        {
            continue;
        }
        for entry in &slice.entries {
            let workload = entry
                .pod
                .as_ref()
                .and_then(|pod| registry.pods.get(&service.namespace, pod));
            if let Some(workload) = workload {
                set.accounts
                    .insert((workload.namespace.clone(), workload.service_account.clone()));
            }
            let locality = locality(entry, workload, registry);
            for (port_name, port) in &*slice.ports {
                for address in &*entry.addresses {
                    if !seen.insert((port_name.clone(), *address, *port)) {
                        continue;
                    }
                    set.ports
                        .entry(port_name.clone())
                        .or_default()
                        .push(Endpoint {
                            address: *address,
                            port: *port,
                            is_ready: entry.is_ready || service.publish_not_ready,
                            locality: locality.clone(),
                            node: entry.node.clone(),
                            workload: workload.cloned(),
                        });
                }
            }
        }
    }
    set.ports.values_mut().for_each(Vec::shrink_to_fit);
    set
}

/// The pod's own label, else its node's labels.
fn locality(
    entry: &SliceEntry,
    workload: Option<&Arc<Workload>>,
    registry: &Registry<'_>,
) -> Arc<Locality> {
    let found = workload
        .and_then(|workload| workload.locality.as_deref())
        .or_else(|| registry.nodes.get(entry.node.as_ref()?));
    LOCALITIES.share(Arc::new(found.cloned().unwrap_or_default()))
}
