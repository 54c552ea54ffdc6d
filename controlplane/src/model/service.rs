//! Services of the registry.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ironsail_mesh::port::Protocol;

use crate::model::export::ExportTo;

/// A service, as clients of the mesh call it.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Fully qualified name, `reviews.default.svc.cluster.local`.
    pub host: Arc<str>,
    pub name: Arc<str>,
    pub namespace: Arc<str>,
    /// Seconds since 1970; the older service wins where two want the same.
    pub created: i64,
    pub ports: Vec<ServicePort>,
    /// Virtual addresses; empty for headless services and those that wait for one.
    pub addresses: Vec<IpAddr>,
    pub resolution: Resolution,
    /// Labels of its pods; empty when endpoints are written by somebody else.
    pub selector: BTreeMap<String, String>,
    /// `None`: as the mesh configuration says.
    pub export_to: Option<ExportTo>,
    /// Only endpoints on the client's own node count (`internalTrafficPolicy: Local`).
    pub is_node_local: bool,
    /// Endpoints count before they are ready.
    pub publish_not_ready: bool,
    /// Address family of its endpoints, where the service names one.
    pub is_ipv6: Option<bool>,
    /// When this definition took effect, in snapshots.
    pub generation: u64,
}

/// How a client finds the endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The client balances over endpoints it is told.
    ClientSide,
    /// Headless: the caller chose an address, and it is kept.
    Passthrough,
    /// Another name for this host (`ExternalName`).
    Alias(Arc<str>),
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty for the only port of a service.
    pub name: Arc<str>,
    pub port: u16,
    pub target: TargetPort,
    pub protocol: Protocol,
}

/// Port of the pods behind a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    Number(u16),
    /// Name of a container port.
    Name(String),
}

impl Service {
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.port == number)
    }

    pub fn is_headless(&self) -> bool {
        self.resolution == Resolution::Passthrough
    }

    pub fn is_alias(&self) -> bool {
        matches!(self.resolution, Resolution::Alias(_))
    }

    /// Order in which services are considered: oldest first, then by name.
    pub fn rank(&self) -> (i64, &str, &str) {
        (self.created, &self.name, &self.namespace)
    }

    /// Whether the two differ in more than when they took effect.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = Self {
            generation: other.generation,
            ..self.clone()
        };
        same == *other
    }
}

/// All services, in the orders that generation needs; rebuilt when a definition changes.
#[derive(Clone, Debug)]
pub struct ServiceIndex {
    by_host: BTreeMap<Arc<str>, Arc<Service>>,
    ranked: Vec<Arc<Service>>,
    /// Host to the hosts that are other names for it.
    aliases: BTreeMap<Arc<str>, Vec<Arc<Service>>>,
    by_namespace: BTreeMap<Arc<str>, Vec<Arc<Service>>>,
    default_export: ExportTo,
    /// By port: what identifies the definitions of all services with it.
    port_digests: BTreeMap<u16, u64>,
    alias_digest: u64,
    /// When any definition last changed, in snapshots.
    pub generation: u64,
}

impl ServiceIndex {
    pub fn new(
        services: impl IntoIterator<Item = Arc<Service>>,
        default_export: ExportTo,
        generation: u64,
    ) -> Self {
        let mut ranked: Vec<_> = services.into_iter().collect();
        ranked.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let mut index = Self {
            by_host: BTreeMap::new(),
            ranked: Vec::new(),
            aliases: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
            default_export,
            port_digests: BTreeMap::new(),
            alias_digest: 0,
            generation,
        };
        for service in &ranked {
            let digest =
                xxhash_rust::xxh3::xxh3_64_with_seed(service.host.as_bytes(), service.generation);
            for port in &service.ports {
                let known = index.port_digests.entry(port.port).or_default();
                // Order matters: the older service wins.
                *known = known.rotate_left(7) ^ digest;
            }
            index.by_host.insert(service.host.clone(), service.clone());
            index
                .by_namespace
                .entry(service.namespace.clone())
                .or_default()
                .push(service.clone());
            if let Resolution::Alias(target) = &service.resolution {
                index
                    .aliases
                    .entry(target.clone())
                    .or_default()
                    .push(service.clone());
            }
        }
        index.ranked = ranked;
        index
    }

    pub fn get(&self, host: &str) -> Option<&Arc<Service>> {
        self.by_host.get(host)
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.ranked.iter()
    }

    /// Those that clients of a namespace see, oldest first.
    pub fn visible(&self, client: &str) -> impl Iterator<Item = &Arc<Service>> {
        self.ranked
            .iter()
            .filter(move |service| self.is_visible(service, client))
    }

    /// Whether clients of a namespace see a service.
    pub fn is_visible(&self, service: &Service, client: &str) -> bool {
        service
            .export_to
            .as_ref()
            .unwrap_or(&self.default_export)
            .is_visible(&service.namespace, client)
    }

    pub fn namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<Service>> {
        self.by_namespace.get(namespace).into_iter().flatten()
    }

    /// What route tables of a port are made of: changes when a service with that port, or another
    /// name of a service, does.
    pub fn port_digest(&self, port: u16) -> (u64, u64) {
        let own = self.port_digests.get(&port).copied().unwrap_or_default();
        (own, self.alias_digest)
    }

    /// Services that are other names for `host`.
    pub fn aliases(&self, host: &str) -> impl Iterator<Item = &Arc<Service>> {
        self.aliases.get(host).into_iter().flatten()
    }

    pub fn len(&self) -> usize {
        self.ranked.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranked.is_empty()
    }
}
