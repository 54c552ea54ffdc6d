//! What Kubernetes does with objects: admission, addresses, pods of deployments, endpoints of services.

mod rollout;
mod selector;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Context;
use ironsail_inject::{InjectorConfig, Params, inject};
use ironsail_mesh::mesh_config::MeshConfig;
use ironsail_mesh::revision::Revision;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use serde_json::{Value, json};

use crate::object::{title, validate};
pub use rollout::Condition;
use selector::selects;

/// Hash of pod templates. There is one ReplicaSet per Deployment.
const TEMPLATE_HASH: &str = "5d4f8c";
const NODE: &str = "node";

/// Kinds that have no effect on what is simulated.
const IGNORED: [&str; 11] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Role",
    "RoleBinding",
    "ServiceAccount",
    "ValidatingAdmissionPolicy",
    "ValidatingWebhookConfiguration",
];

/// Namespace and name.
type Key = (String, String);

/// The state of the cluster, as far as it matters.
#[derive(Default)]
pub struct Cluster {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pods: BTreeMap<Key, Pod>,
    /// Of pods that are not simply ready.
    conditions: BTreeMap<Key, Condition>,
    deployments: BTreeMap<Key, Value>,
    services: BTreeMap<Key, Service>,
    webhooks: Vec<MutatingWebhookConfiguration>,
    mesh: MeshConfig,
    injector: InjectorConfig,
    addresses: u16,
}

impl Cluster {
    pub fn mesh(&self) -> &MeshConfig {
        &self.mesh
    }

    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// What DNS answers a pod of `namespace`: the address of a service, that of a pod if it is headless; `None`: there
    /// is no such service.
    pub fn resolve(&self, name: &str, namespace: &str) -> Option<IpAddr> {
        let mut parts = name.splitn(3, '.');
        let service = parts.next()?.to_owned();
        let namespace = parts.next().unwrap_or(namespace);
        if !"svc.cluster.local".starts_with(parts.next().unwrap_or_default()) {
            return None;
        }
        let service = self.services.get(&(namespace.to_owned(), service))?;
        match service.spec.as_ref()?.cluster_ip.as_deref()? {
            "None" => Some(self.endpoints(namespace, service).first()?.address),
            address => address.parse().ok(),
        }
    }

    /// Where connections to the address and port of each service go.
    pub fn virtual_addresses(&self) -> BTreeMap<SocketAddr, Vec<SocketAddr>> {
        let mut all = BTreeMap::new();
        for ((namespace, _), service) in &self.services {
            let spec = service.spec.clone().unwrap_or_default();
            let Some(address) = spec.cluster_ip.and_then(|ip| ip.parse::<IpAddr>().ok()) else {
                continue;
            };
            for port in spec.ports.into_iter().flatten() {
                let name = port.name.unwrap_or_default();
                let endpoints = self.endpoints(namespace, service).into_iter();
                let ready = endpoints.filter(|endpoint| endpoint.condition == Condition::Ready);
                let endpoints = ready.filter_map(|endpoint| {
                    let number = endpoint.ports.iter().find(|(own, _)| *own == name)?.1;
                    Some(SocketAddr::new(endpoint.address, number))
                });
                let port = u16::try_from(port.port).unwrap_or_default();
                all.insert(SocketAddr::new(address, port), endpoints.collect());
            }
        }
        all
    }

    /// Takes an object; returns what watches see of it and of what follows from it.
    ///
    /// # Errors
    /// It does not decode, or admission refuses it.
    pub fn apply(&mut self, namespace: &str, mut object: Value) -> anyhow::Result<Vec<Value>> {
        let own = object["metadata"]["namespace"].as_str();
        let namespace = own.unwrap_or(namespace).to_owned();
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if !["Namespace", "Node"].contains(&kind.as_str()) {
            object["metadata"]["namespace"] = namespace.as_str().into();
        }
        match kind.as_str() {
            "Namespace" => {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                self.namespaces.insert(name.to_owned(), labels(&object));
                Ok(Vec::new())
            }
            "ConfigMap" => {
                self.configure(&serde_json::from_value(object)?)?;
                Ok(Vec::new())
            }
            "MutatingWebhookConfiguration" => {
                self.webhooks.push(serde_json::from_value(object)?);
                Ok(Vec::new())
            }
            "Deployment" => self.roll_out(&namespace, &object),
            "Pod" => self.create_pod(&namespace, object),
            "Service" => self.create_service(&namespace, object),
            ignored if IGNORED.contains(&ignored) => Ok(Vec::new()),
            _ => {
                validate(&object)?;
                Ok(vec![object])
            }
        }
    }

    fn configure(&mut self, map: &ConfigMap) -> anyhow::Result<()> {
        let key = |key: &str| map.data.as_ref()?.get(key).map(String::as_str);
        match map.metadata.name.as_deref() {
            Some("istio") => {
                self.mesh = serde_yaml_ng::from_str(key("mesh").unwrap_or("{}"))?;
            }
            Some("istio-sidecar-injector") => {
                self.injector = InjectorConfig::parse(key("config"), key("values"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn roll_out(&mut self, namespace: &str, deployment: &Value) -> anyhow::Result<Vec<Value>> {
        let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
        let replica_set = format!("{name}-{TEMPLATE_HASH}");
        let mut objects = Vec::new();
        for number in 0..deployment["spec"]["replicas"].as_u64().unwrap_or(1) {
            let pod = pod_of(deployment, &format!("{replica_set}-{number}"));
            objects.extend(self.create_pod(namespace, pod)?);
        }
        let key = (namespace.to_owned(), name.to_owned());
        self.deployments.insert(key, deployment.clone());
        Ok(objects)
    }

    fn create_pod(&mut self, namespace: &str, pod: Value) -> anyhow::Result<Vec<Value>> {
        let mut pod = self.admit(namespace, pod)?;
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 244, 0, 0).to_bits() + self.next());
        pod["metadata"]["namespace"] = namespace.into();
        pod["spec"]["nodeName"] = NODE.into();
        pod["status"] = json!({
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": "172.18.0.2",
        });
        let typed: Pod = serde_json::from_value(pod.clone())?;
        let name = typed.metadata.name.clone().unwrap_or_default();
        self.pods.insert((namespace.to_owned(), name), typed);
        let mut objects = vec![pod];
        objects.extend(self.slices(namespace));
        Ok(objects)
    }

    /// Injects a pod if a webhook asks for it.
    fn admit(&self, namespace: &str, pod: Value) -> anyhow::Result<Value> {
        let unlabelled = BTreeMap::new();
        let of_namespace = self.namespaces.get(namespace).unwrap_or(&unlabelled);
        let of_pod = labels(&pod);
        let mut webhooks = self
            .webhooks
            .iter()
            .flat_map(|w| w.webhooks.iter().flatten());
        let is_asked = webhooks.any(|webhook| {
            selects(webhook.namespace_selector.as_ref(), of_namespace)
                && selects(webhook.object_selector.as_ref(), &of_pod)
        });
        if !is_asked {
            return Ok(pod);
        }
        let params = Params {
            pod: &pod,
            namespace,
            config: &self.injector,
            mesh: &self.mesh,
            revision: &Revision::default(),
            native_sidecars: false,
            owner: None,
            env: &BTreeMap::new(),
        };
        let outcome = inject(&params).with_context(|| title(&pod))?;
        Ok(match outcome {
            ironsail_inject::Outcome::Injected(injection) => injection.pod,
            ironsail_inject::Outcome::Skipped(_) => pod,
        })
    }

    fn create_service(
        &mut self,
        namespace: &str,
        mut service: Value,
    ) -> anyhow::Result<Vec<Value>> {
        let name = service["metadata"]["name"].as_str().unwrap_or_default();
        let key = (namespace.to_owned(), name.to_owned());
        if service["spec"]["clusterIP"].is_null() {
            let known = self
                .services
                .get(&key)
                .and_then(|s| s.spec.as_ref()?.cluster_ip.clone());
            let address = known.unwrap_or_else(|| {
                let first = Ipv4Addr::new(10, 96, 0, 0).to_bits();
                Ipv4Addr::from_bits(first + self.next()).to_string()
            });
            service["spec"]["clusterIP"] = address.into();
        }
        self.services
            .insert(key, serde_json::from_value(service.clone())?);
        let mut objects = vec![service];
        objects.extend(self.slices(namespace));
        Ok(objects)
    }

    fn next(&mut self) -> u32 {
        self.addresses += 1;
        self.addresses.into()
    }

    /// Endpoints of all services with a selector.
    fn slices(&self, namespace: &str) -> Vec<Value> {
        let own = self
            .services
            .iter()
            .filter(|((own, _), _)| own == namespace);
        own.flat_map(|((_, name), service)| self.slices_of(namespace, name, service))
            .collect()
    }

    /// One slice for all pods with the same port numbers.
    fn slices_of(&self, namespace: &str, name: &str, service: &Service) -> Vec<Value> {
        let mut by_ports: BTreeMap<Vec<(String, u16)>, Vec<Value>> = BTreeMap::new();
        for endpoint in self.endpoints(namespace, service) {
            by_ports.entry(endpoint.ports).or_default().push(json!({
                "addresses": [endpoint.address],
                "conditions": endpoint.condition.of_endpoint(),
                "nodeName": NODE,
                "targetRef": {"kind": "Pod", "name": endpoint.pod, "namespace": namespace},
            }));
        }
        let slice = |(number, (ports, endpoints)): (usize, (Vec<(String, u16)>, Vec<Value>))| {
            let ports = ports
                .iter()
                .map(|(name, port)| json!({"name": name, "port": port}));
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("{name}-{number}"),
                    "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": ports.collect::<Vec<_>>(),
            })
        };
        by_ports.into_iter().enumerate().map(slice).collect()
    }

    fn endpoints(&self, namespace: &str, service: &Service) -> Vec<Endpoint> {
        let spec = service.spec.clone().unwrap_or_default();
        let Some(selector) = spec.selector.filter(|selector| !selector.is_empty()) else {
            return Vec::new();
        };
        let selected = self.pods.iter().filter(|((own, _), pod)| {
            let labels = pod.metadata.labels.clone().unwrap_or_default();
            own == namespace
                && selector
                    .iter()
                    .all(|(key, value)| labels.get(key) == Some(value))
        });
        let ports = spec.ports.unwrap_or_default();
        selected
            .filter_map(|((_, name), pod)| {
                let numbers = ports.iter().filter_map(|port| {
                    let name = port.name.clone().unwrap_or_default();
                    Some((name, selector::target_port(port, pod)?))
                });
                Some(Endpoint {
                    condition: self.condition(namespace, name),
                    pod: name.clone(),
                    address: address(pod)?,
                    ports: numbers.collect(),
                })
            })
            .collect()
    }
}

/// A pod behind a service.
struct Endpoint {
    pod: String,
    condition: Condition,
    address: IpAddr,
    /// Names of the service's ports, numbers of the pod's.
    ports: Vec<(String, u16)>,
}

/// A pod of a deployment.
fn pod_of(deployment: &Value, name: &str) -> Value {
    let owner = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let replica_set = format!("{owner}-{TEMPLATE_HASH}");
    let mut pod = deployment["spec"]["template"].clone();
    pod["kind"] = "Pod".into();
    pod["apiVersion"] = "v1".into();
    let metadata = &mut pod["metadata"];
    metadata["name"] = name.into();
    metadata["generateName"] = format!("{replica_set}-").into();
    metadata["labels"]["pod-template-hash"] = TEMPLATE_HASH.into();
    metadata["ownerReferences"] = json!([{
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": replica_set,
        "uid": replica_set,
        "controller": true,
    }]);
    pod
}

/// The address of a pod.
pub fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let labels = object["metadata"]["labels"].as_object();
    labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}
