//! The immutable view of the mesh, and how it is built from one change after another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ironsail_crds::{Diagnostic, Object as CrdObject, Spec};
use ironsail_mesh::host::resolve_short_name;
use ironsail_mesh::label;
use ironsail_mesh::locality::Locality;
use ironsail_mesh::mesh_config::MeshConfig;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::model::authentication::{AuthenticationIndex, PeerAuthentication};
use crate::model::change::{ChangeSet, ConfigKey};
use crate::model::destination_rule::{DestinationRule, DestinationRuleIndex};
use crate::model::endpoint::{EndpointSet, Workload};
use crate::model::export::ExportTo;
use crate::model::gateway::{Gateway, GatewayIndex};
use crate::model::link::Links;
use crate::model::mesh::Mesh;
use crate::model::namespaced::Namespaced;
use crate::model::object::{Change, Object, ObjectKind};
use crate::model::secret::TlsSecret;
use crate::model::service::{Service, ServiceIndex};
use crate::model::virtual_service::{VirtualService, VirtualServiceIndex};
use crate::registry;
use crate::registry::endpoint::{Registry, Slice};
use crate::registry::workload::created_seconds;

/// What is the same for the whole life of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Domain of Kubernetes services, `cluster.local`.
    pub cluster_domain: String,
    /// Name of this cluster, `Kubernetes`.
    pub cluster_id: String,
    /// Label value of this revision; objects labelled with another one are not seen.
    pub revision: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster_domain: ironsail_mesh::host::DEFAULT_CLUSTER_DOMAIN.to_owned(),
            cluster_id: "Kubernetes".to_owned(),
            revision: ironsail_mesh::revision::DEFAULT.to_owned(),
        }
    }
}

/// What is wrong with objects that are in use.
pub type Findings = BTreeMap<ConfigKey, Arc<[Diagnostic]>>;

/// One state of the mesh. Parts that did not change are shared with the snapshot before.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts the snapshots of a builder, from 1.
    pub generation: u64,
    pub options: Arc<Options>,
    pub mesh: Arc<Mesh>,
    pub services: Arc<ServiceIndex>,
    /// By namespace and name of the service.
    pub endpoints: Namespaced<Arc<EndpointSet>>,
    /// When the addresses of a headless service last changed, in snapshots.
    pub headless_generation: u64,
    pub pods: Namespaced<Arc<Workload>>,
    /// Where each node stands.
    pub nodes: Arc<BTreeMap<Arc<str>, Locality>>,
    pub virtual_services: Arc<VirtualServiceIndex>,
    pub destination_rules: Arc<DestinationRuleIndex>,
    pub gateways: Arc<GatewayIndex>,
    pub authentication: Arc<AuthenticationIndex>,
    pub secrets: Namespaced<Arc<TlsSecret>>,
    pub findings: Arc<Findings>,
}

impl Snapshot {
    /// Endpoints of a service; a service without any has an empty set.
    pub fn endpoints_of(&self, service: &Service) -> Option<&Arc<EndpointSet>> {
        self.endpoints.get(&service.namespace, &service.name)
    }
}

/// Indexes that have to be made anew.
#[derive(Debug, Default)]
struct Stale {
    services: bool,
    virtual_services: bool,
    destination_rules: bool,
    gateways: bool,
    authentication: bool,
}

/// Takes changes and makes snapshots. Applying the same objects in any order ends in equal snapshots.
#[derive(Debug)]
pub struct SnapshotBuilder {
    options: Arc<Options>,
    mesh_config: MeshConfig,
    services: Namespaced<Arc<Service>>,
    slices: Namespaced<Arc<Slice>>,
    pods: Namespaced<Arc<Workload>>,
    nodes: Arc<BTreeMap<Arc<str>, Locality>>,
    virtual_services: Namespaced<Arc<VirtualService>>,
    destination_rules: Namespaced<Arc<DestinationRule>>,
    gateways: Namespaced<Arc<Gateway>>,
    authentications: Namespaced<Arc<PeerAuthentication>>,
    secrets: Namespaced<Arc<TlsSecret>>,
    endpoints: Namespaced<Arc<EndpointSet>>,
    findings: Findings,
    /// Slices of each service.
    service_slices: Links,
    /// Services whose slices name a pod.
    pod_services: Links,
    /// Services, as namespace and name, whose endpoints have to be collected again.
    dirty: BTreeSet<(Arc<str>, Arc<str>)>,
    stale: Stale,
    changes: ChangeSet,
    current: Arc<Snapshot>,
}

impl SnapshotBuilder {
    pub fn new(options: Options) -> Self {
        let options = Arc::new(options);
        let (mesh, _) = Mesh::new(MeshConfig::default(), 0);
        let everywhere = ExportTo::everywhere;
        let current = Snapshot {
            generation: 0,
            options: options.clone(),
            services: Arc::new(ServiceIndex::new([], everywhere(), 0)),
            endpoints: Namespaced::default(),
            headless_generation: 0,
            pods: Namespaced::default(),
            nodes: Arc::default(),
            virtual_services: Arc::new(VirtualServiceIndex::new([], everywhere(), "", 0)),
            destination_rules: Arc::new(DestinationRuleIndex::new([], everywhere(), 0)),
            gateways: Arc::new(GatewayIndex::new([], 0)),
            authentication: Arc::new(AuthenticationIndex::new([], mesh.root_namespace(), 0)),
            secrets: Namespaced::default(),
            findings: Arc::default(),
            mesh: Arc::new(mesh),
        };
        Self {
            options,
            mesh_config: MeshConfig::default(),
            services: Namespaced::default(),
            slices: Namespaced::default(),
            pods: Namespaced::default(),
            nodes: Arc::default(),
            virtual_services: Namespaced::default(),
            destination_rules: Namespaced::default(),
            gateways: Namespaced::default(),
            authentications: Namespaced::default(),
            secrets: Namespaced::default(),
            endpoints: Namespaced::default(),
            findings: Findings::new(),
            service_slices: Links::default(),
            pod_services: Links::default(),
            dirty: BTreeSet::new(),
            stale: Stale::default(),
            // The first snapshot is news to everybody.
            changes: ChangeSet::everything(),
            current: Arc::new(current),
        }
    }

    /// Takes one change; nothing is computed before [`Self::snapshot`]. An object without a name,
    /// which no API server sends, is ignored.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Upsert(object) => self.upsert(object),
            Change::Delete {
                kind,
                namespace,
                name,
            } => self.delete(kind, &namespace, &name),
        }
    }

    fn upsert(&mut self, object: Object) {
        match object {
            Object::Service(service) => {
                let converted =
                    registry::service::convert(&service, &self.options.cluster_domain, self.next());
                if let Some(service) = converted {
                    self.set_service(service);
                }
            }
            Object::EndpointSlice(slice) => {
                if let Some((namespace, name)) = names(&slice.metadata) {
                    self.set_slice(namespace, name, Slice::convert(&slice));
                }
            }
            Object::Pod(pod) => {
                if let Some((namespace, name)) = names(&pod.metadata) {
                    self.set_pod(namespace, name, registry::workload::convert(&pod));
                }
            }
            Object::Node(node) => {
                if let Some(name) = node.metadata.name.as_deref() {
                    self.set_node(name, Some(registry::workload::node_locality(&node)));
                }
            }
            Object::VirtualService(object) => self.upsert_virtual_service(*object),
            Object::DestinationRule(object) => self.upsert_destination_rule(*object),
            Object::Gateway(object) => self.upsert_gateway(*object),
            Object::PeerAuthentication(object) => self.upsert_authentication(&object),
            Object::Secret(secret) => {
                if let Some((namespace, name)) = names(&secret.metadata) {
                    self.set_secret(namespace, name, registry::secret::convert(&secret));
                }
            }
            Object::MeshConfig(config) => self.set_mesh_config(*config),
        }
    }

    fn delete(&mut self, kind: ObjectKind, namespace: &str, name: &str) {
        match kind {
            ObjectKind::Service => self.remove_service(namespace, name),
            ObjectKind::EndpointSlice => self.set_slice(namespace, name, None),
            ObjectKind::Pod => self.set_pod(namespace, name, None),
            ObjectKind::Node => self.set_node(name, None),
            ObjectKind::Secret => self.set_secret(namespace, name, None),
            ObjectKind::MeshConfig => self.set_mesh_config(MeshConfig::default()),
            ObjectKind::VirtualService
            | ObjectKind::DestinationRule
            | ObjectKind::Gateway
            | ObjectKind::PeerAuthentication => {
                self.remove_config(ConfigKey::new(kind, namespace, name));
            }
        }
    }

    /// Generation of what takes effect with the next snapshot.
    fn next(&self) -> u64 {
        self.current.generation + 1
    }

    fn set_mesh_config(&mut self, config: MeshConfig) {
        if config == self.mesh_config {
            return;
        }
        self.mesh_config = config;
        self.changes.full = true;
        self.stale = Stale {
            services: true,
            virtual_services: true,
            destination_rules: true,
            gateways: true,
            authentication: true,
        };
    }

    fn set_service(&mut self, service: Service) {
        let (namespace, name) = (service.namespace.clone(), service.name.clone());
        if let Some(old) = self.services.get(&namespace, &name)
            && old.is_same(&service)
        {
            return;
        }
        self.changes.services.insert(service.host.clone());
        self.services.insert(&namespace, &name, Arc::new(service));
        self.stale.services = true;
        self.dirty.insert((namespace, name));
    }

    fn remove_service(&mut self, namespace: &str, name: &str) {
        if let Some(old) = self.services.remove(namespace, name) {
            self.changes.services.insert(old.host.clone());
            self.stale.services = true;
            self.dirty.insert((old.namespace.clone(), old.name.clone()));
        }
    }

    fn set_slice(&mut self, namespace: &str, name: &str, slice: Option<Slice>) {
        let new = slice.map(Arc::new);
        let old = match &new {
            Some(slice) => self.slices.insert(namespace, name, slice.clone()),
            None => self.slices.remove(namespace, name),
        };
        if old == new {
            return;
        }
        if let Some(slice) = &new {
            self.service_slices
                .insert(namespace, &slice.service, name.into());
            for pod in slice.pods() {
                self.pod_services
                    .insert(namespace, pod, slice.service.clone());
            }
            self.dirty.insert((namespace.into(), slice.service.clone()));
        }
        if let Some(slice) = &old {
            if new.as_ref().is_none_or(|new| new.service != slice.service) {
                self.service_slices.remove(namespace, &slice.service, name);
            }
            self.forget_pods(namespace, slice);
            self.dirty.insert((namespace.into(), slice.service.clone()));
        }
    }

    /// Drops the links of pods that no slice of the service names any more.
    fn forget_pods(&mut self, namespace: &str, old: &Slice) {
        let rest: BTreeSet<&Arc<str>> = self
            .service_slices
            .get(namespace, &old.service)
            .iter()
            .filter_map(|name| self.slices.get(namespace, name))
            .flat_map(|slice| slice.pods())
            .collect();
        let gone: Vec<_> = old
            .pods()
            .filter(|pod| !rest.contains(pod))
            .cloned()
            .collect();
        for pod in gone {
            self.pod_services.remove(namespace, &pod, &old.service);
        }
    }

    fn set_pod(&mut self, namespace: &str, name: &str, workload: Option<Workload>) {
        let new = workload.map(Arc::new);
        let old = match &new {
            Some(workload) => self.pods.insert(namespace, name, workload.clone()),
            None => self.pods.remove(namespace, name),
        };
        if old == new {
            return;
        }
        self.changes
            .workloads
            .insert((namespace.into(), name.into()));
        let services = self.pod_services.get(namespace, name).iter();
        self.dirty
            .extend(services.map(|service| (namespace.into(), service.clone())));
    }

    fn set_node(&mut self, name: &str, locality: Option<Locality>) {
        if self.nodes.get(name) == locality.as_ref() {
            return;
        }
        let nodes = Arc::make_mut(&mut self.nodes);
        match locality {
            Some(locality) => nodes.insert(name.into(), locality),
            None => nodes.remove(name),
        };
        for (namespace, _, slice) in self.slices.iter() {
            if slice.nodes().any(|node| &**node == name) {
                self.dirty
                    .insert((namespace.clone(), slice.service.clone()));
            }
        }
        // Its proxies now prefer other endpoints, of any service. Nodes that join have no pods yet.
        let mut pods = self.pods.values();
        self.changes.full |= pods.any(|pod| pod.node.as_deref() == Some(name));
    }

    fn set_secret(&mut self, namespace: &str, name: &str, secret: Option<TlsSecret>) {
        let new = secret.map(Arc::new);
        let old = match &new {
            Some(secret) => self.secrets.insert(namespace, name, secret.clone()),
            None => self.secrets.remove(namespace, name),
        };
        if old != new {
            let key = ConfigKey::new(ObjectKind::Secret, namespace, name);
            self.changes.configs.insert(key);
        }
    }
}

/// Namespace and name, when the object has both.
fn names(metadata: &ObjectMeta) -> Option<(&str, &str)> {
    Some((metadata.namespace.as_deref()?, metadata.name.as_deref()?))
}

/// Configuration of users.
impl SnapshotBuilder {
    /// The key of an object that this revision reads; an object of another revision counts as deleted.
    fn key_of<S: Spec>(&mut self, kind: ObjectKind, object: &CrdObject<S>) -> Option<ConfigKey> {
        let (namespace, name) = names(&object.metadata)?;
        let key = ConfigKey::new(kind, namespace, name);
        let labels = object.metadata.labels.as_ref();
        match labels.and_then(|labels| labels.get(label::REVISION)) {
            Some(revision) if *revision != self.options.revision => {
                self.remove_config(key);
                None
            }
            _ => Some(key),
        }
    }

    fn upsert_virtual_service(&mut self, object: ironsail_crds::VirtualService) {
        let Some(key) = self.key_of(ObjectKind::VirtualService, &object) else {
            return;
        };
        let old = self.virtual_services.get(&key.namespace, &key.name);
        let created = created_seconds(&object.metadata);
        if old.is_some_and(|old| old.spec == object.spec && old.created == created) {
            return;
        }
        let domain = &self.options.cluster_domain;
        let (service, findings) =
            VirtualService::new(key.clone(), created, object.spec, domain, self.next());
        self.virtual_services
            .insert(&key.namespace, &key.name, Arc::new(service));
        self.stale.virtual_services = true;
        self.note(key, findings);
    }

    fn upsert_destination_rule(&mut self, object: ironsail_crds::DestinationRule) {
        let Some(key) = self.key_of(ObjectKind::DestinationRule, &object) else {
            return;
        };
        let old = self.destination_rules.get(&key.namespace, &key.name);
        let created = created_seconds(&object.metadata);
        if old.is_some_and(|old| old.spec == object.spec && old.created == created) {
            return;
        }
        let host = resolve_short_name(
            &object.spec.host,
            &key.namespace,
            &self.options.cluster_domain,
        );
        let rule = DestinationRule {
            key: key.clone(),
            created,
            host: host.to_ascii_lowercase(),
            export_to: ExportTo::parse(object.spec.export_to.iter().map(String::as_str)),
            spec: object.spec,
            generation: self.next(),
        };
        self.destination_rules
            .insert(&key.namespace, &key.name, Arc::new(rule));
        self.stale.destination_rules = true;
        self.note(key, Vec::new());
    }

    fn upsert_gateway(&mut self, object: ironsail_crds::Gateway) {
        let Some(key) = self.key_of(ObjectKind::Gateway, &object) else {
            return;
        };
        let old = self.gateways.get(&key.namespace, &key.name);
        let created = created_seconds(&object.metadata);
        if old.is_some_and(|old| old.spec == object.spec && old.created == created) {
            return;
        }
        let gateway = Gateway {
            key: key.clone(),
            created,
            spec: object.spec,
            generation: self.next(),
        };
        self.gateways
            .insert(&key.namespace, &key.name, Arc::new(gateway));
        self.stale.gateways = true;
        self.note(key, Vec::new());
    }

    fn upsert_authentication(&mut self, object: &ironsail_crds::PeerAuthentication) {
        let Some(key) = self.key_of(ObjectKind::PeerAuthentication, object) else {
            return;
        };
        let created = created_seconds(&object.metadata);
        let (policy, findings) =
            PeerAuthentication::new(key.clone(), created, &object.spec, self.next());
        if let Some(old) = self.authentications.get(&key.namespace, &key.name)
            && old.is_same(&policy)
        {
            return;
        }
        self.authentications
            .insert(&key.namespace, &key.name, Arc::new(policy));
        self.stale.authentication = true;
        self.note(key, findings);
    }

    fn remove_config(&mut self, key: ConfigKey) {
        let (namespace, name) = (&key.namespace, &key.name);
        let (removed, stale) = match key.kind {
            ObjectKind::VirtualService => (
                self.virtual_services.remove(namespace, name).is_some(),
                &mut self.stale.virtual_services,
            ),
            ObjectKind::DestinationRule => (
                self.destination_rules.remove(namespace, name).is_some(),
                &mut self.stale.destination_rules,
            ),
            ObjectKind::Gateway => (
                self.gateways.remove(namespace, name).is_some(),
                &mut self.stale.gateways,
            ),
            _ => (
                self.authentications.remove(namespace, name).is_some(),
                &mut self.stale.authentication,
            ),
        };
        if removed {
            *stale = true;
            self.note(key, Vec::new());
        }
    }

    /// Remembers that an object changed, and what is wrong with it now.
    fn note(&mut self, key: ConfigKey, findings: Vec<Diagnostic>) {
        match findings.is_empty() {
            true => self.findings.remove(&key),
            false => self.findings.insert(key.clone(), findings.into()),
        };
        self.changes.configs.insert(key);
    }
}

/// Making the next snapshot.
impl SnapshotBuilder {
    /// The state after all changes, and what clients may notice of them since the last call.
    ///
    /// Without a change this is the snapshot that was given before.
    pub fn snapshot(&mut self) -> (Arc<Snapshot>, ChangeSet) {
        self.collect_endpoints();
        let changes = std::mem::take(&mut self.changes);
        if changes.is_empty() {
            return (self.current.clone(), changes);
        }
        let generation = self.next();
        let stale = std::mem::take(&mut self.stale);
        let mut next = Snapshot {
            generation,
            endpoints: self.endpoints.clone(),
            pods: self.pods.clone(),
            nodes: self.nodes.clone(),
            secrets: self.secrets.clone(),
            ..(*self.current).clone()
        };
        if self.mesh_config != next.mesh.config || next.mesh.generation == 0 {
            let (mesh, findings) = Mesh::new(self.mesh_config.clone(), generation);
            next.mesh = Arc::new(mesh);
            let key = ConfigKey::new(ObjectKind::MeshConfig, "", "");
            match findings.is_empty() {
                true => self.findings.remove(&key),
                false => self.findings.insert(key, findings.into()),
            };
        }
        if !changes.headless.is_empty() {
            next.headless_generation = generation;
        }
        self.index(&mut next, &stale);
        if *next.findings != self.findings {
            next.findings = Arc::new(self.findings.clone());
        }
        self.current = Arc::new(next);
        (self.current.clone(), changes)
    }

    fn index(&self, next: &mut Snapshot, stale: &Stale) {
        let (mesh, generation) = (next.mesh.clone(), next.generation);
        if stale.services {
            let services = self.services.values().cloned();
            let index = ServiceIndex::new(services, mesh.service_export.clone(), generation);
            next.services = Arc::new(index);
        }
        if stale.virtual_services {
            let services = self.virtual_services.values().cloned();
            let export = mesh.virtual_service_export.clone();
            let domain = &self.options.cluster_domain;
            let index = VirtualServiceIndex::new(services, export, domain, generation);
            next.virtual_services = Arc::new(index);
        }
        if stale.destination_rules {
            let rules = self.destination_rules.values().cloned();
            let index =
                DestinationRuleIndex::new(rules, mesh.destination_rule_export.clone(), generation);
            next.destination_rules = Arc::new(index);
        }
        if stale.gateways {
            let gateways = self.gateways.values().cloned();
            next.gateways = Arc::new(GatewayIndex::new(gateways, generation));
        }
        if stale.authentication {
            let policies = self.authentications.values().cloned();
            let index = AuthenticationIndex::new(policies, mesh.root_namespace(), generation);
            next.authentication = Arc::new(index);
        }
    }

    /// Collects the endpoints of services that may have changed, and notes those that did.
    fn collect_endpoints(&mut self) {
        for (namespace, name) in std::mem::take(&mut self.dirty) {
            let Some(service) = self.services.get(&namespace, &name).cloned() else {
                self.endpoints.remove(&namespace, &name);
                continue;
            };
            let slices = self
                .service_slices
                .get(&namespace, &name)
                .iter()
                .filter_map(|slice| self.slices.get(&namespace, slice))
                .map(|slice| &**slice);
            let registry = Registry {
                pods: &self.pods,
                nodes: &self.nodes,
            };
            let new = registry::endpoint::collect(&service, slices, &registry);
            self.set_endpoints(&service, new);
        }
    }

    fn set_endpoints(&mut self, service: &Service, mut new: EndpointSet) {
        let generation = self.next();
        let old = self.endpoints.get(&service.namespace, &service.name);
        new.generation = generation;
        new.identity_generation = generation;
        if let Some(old) = old {
            new.generation = old.generation;
            new.identity_generation = old.identity_generation;
            if **old == new {
                return;
            }
            new.generation = generation;
            if old.accounts != new.accounts || old.all_accept_mtls() != new.all_accept_mtls() {
                new.identity_generation = generation;
            }
        }
        let host = &service.host;
        self.changes.endpoints.insert(host.clone());
        if new.identity_generation == generation {
            self.changes.identities.insert(host.clone());
        }
        if service.selector.is_empty() {
            self.changes.unselected.insert(host.clone());
        }
        if service.is_headless() {
            self.changes.headless.insert(host.clone());
        }
        self.endpoints
            .insert(&service.namespace, &service.name, Arc::new(new));
    }
}
