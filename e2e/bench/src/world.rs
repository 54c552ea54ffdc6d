//! The mesh that the control plane is shown: services with pods, as objects of an API server.

use anyhow::Context;
use ironsail_controlplane::model::object::Object;
use serde_json::{Value, json};

/// Services are spread over this many namespaces.
const NAMESPACES: usize = 10;
/// Ports of services, as people use them; route tables are made per port.
const PORTS: [u16; 10] = [80, 8000, 8080, 8081, 8888, 3000, 5000, 9000, 9080, 9090];
/// Where the containers listen.
const TARGET_PORT: u16 = 8080;
/// Every object was made then.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// Where objects of a kind are listed.
pub const SERVICES: &str = "/api/v1/services";
pub const PODS: &str = "/api/v1/pods";
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
pub const VIRTUAL_SERVICES: &str = "/apis/networking.istio.io/v1/virtualservices";

/// How large the mesh is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct World {
    pub services: usize,
    pub endpoints: usize,
    /// All services on one port, instead of ten.
    pub is_one_port: bool,
}

impl World {
    /// Objects by the path of their list; each list is asked for once.
    pub fn lists(&self) -> Vec<(&'static str, &'static str, Vec<Value>)> {
        let services = 0..self.services;
        let pods = services
            .clone()
            .flat_map(|service| (0..self.endpoints).map(move |number| self.pod(service, number)));
        vec![
            (
                SERVICES,
                "v1",
                services
                    .clone()
                    .map(|number| self.service(number))
                    .collect(),
            ),
            (PODS, "v1", pods.collect()),
            (
                SLICES,
                "discovery.k8s.io/v1",
                services.map(|number| self.slice(number, &[])).collect(),
            ),
            (
                VIRTUAL_SERVICES,
                "networking.istio.io/v1",
                vec![self.virtual_service(0, 1)],
            ),
        ]
    }

    /// The same objects for the control plane's own generation.
    pub fn objects(&self) -> anyhow::Result<Vec<Object>> {
        let mut objects = Vec::new();
        for (path, _, items) in self.lists() {
            for item in items {
                objects.extend(match path {
                    SERVICES => Some(Object::Service(read(item)?)),
                    PODS => Some(Object::Pod(read(item)?)),
                    SLICES => Some(Object::EndpointSlice(read(item)?)),
                    _ => None,
                });
            }
        }
        Ok(objects)
    }

    /// Names of the clusters whose endpoints a client asks for.
    pub fn clusters(&self) -> Vec<String> {
        (0..self.services)
            .map(|number| format!("outbound|{}||{}", self.port(number), self.host(number)))
            .collect()
    }

    /// Names of the route tables.
    pub fn routes(&self) -> Vec<String> {
        let mut ports: Vec<u16> = (0..self.services).map(|number| self.port(number)).collect();
        ports.sort_unstable();
        ports.dedup();
        ports.iter().map(u16::to_string).collect()
    }

    /// Node id and labels of a client: one pod of one service.
    pub fn client(&self, number: usize) -> (String, Vec<(String, String)>) {
        let service = number % self.services;
        let pod = (number / self.services) % self.endpoints;
        let namespace = namespace(service);
        let id = format!(
            "sidecar~{}~{}.{namespace}~{namespace}.svc.cluster.local",
            address(service, pod),
            pod_name(service, pod),
        );
        (id, labels(service))
    }

    fn port(&self, service: usize) -> u16 {
        let ports = if self.is_one_port {
            &PORTS[..1]
        } else {
            &PORTS[..]
        };
        // Neighbouring services share a namespace in neither case.
        ports[(service / NAMESPACES) % ports.len()]
    }

    fn host(&self, service: usize) -> String {
        format!("{}.{}.svc.cluster.local", name(service), namespace(service))
    }

    fn service(&self, number: usize) -> Value {
        json!({
            "metadata": metadata(&name(number), number, &[("app".to_owned(), name(number))]),
            "spec": {
                "type": "ClusterIP",
                "clusterIP": format!("10.{}.{}.{}", 96 + number / 62_500, number / 250 % 250, number % 250 + 1),
                "ipFamilies": ["IPv4"],
                "selector": {"app": name(number)},
                "ports": [{"name": "http", "port": self.port(number), "targetPort": TARGET_PORT, "protocol": "TCP"}],
            },
        })
    }

    /// The endpoints of a service; those in `unready` do not take requests.
    pub fn slice(&self, number: usize, unready: &[usize]) -> Value {
        let endpoints: Vec<Value> = (0..self.endpoints)
            .map(|pod| {
                let is_ready = !unready.contains(&pod);
                json!({
                    "addresses": [address(number, pod)],
                    "conditions": {"ready": is_ready, "serving": is_ready, "terminating": false},
                    "nodeName": format!("node-{}", pod % 10),
                    "targetRef": {"kind": "Pod", "name": pod_name(number, pod), "namespace": namespace(number)},
                })
            })
            .collect();
        let service = ("kubernetes.io/service-name".to_owned(), name(number));
        json!({
            "metadata": metadata(&format!("{}-slice", name(number)), number, &[service]),
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": TARGET_PORT, "protocol": "TCP"}],
            "endpoints": endpoints,
        })
    }

    fn pod(&self, service: usize, number: usize) -> Value {
        let mount =
            json!([{"name": "token", "mountPath": "/var/run/secrets/tokens", "readOnly": true}]);
        let container = |name: &str, port: u16| {
            json!({
                "name": name,
                "image": format!("registry.example.com/team/{name}:1.0.0"),
                "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}],
                "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                "volumeMounts": mount,
                "imagePullPolicy": "IfNotPresent",
            })
        };
        let mut metadata = metadata(&pod_name(service, number), service, &labels(service));
        metadata["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{}-5d9c7b8f6d", name(service)),
            "uid": "00000000-0000-0000-0000-000000000000", "controller": true,
        }]);
        json!({
            "metadata": metadata,
            "spec": {
                "serviceAccountName": name(service),
                "nodeName": format!("node-{}", number % 10),
                "containers": [container("app", TARGET_PORT), container("istio-proxy", 15090)],
                "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
            },
            "status": {
                "phase": "Running",
                "podIP": address(service, number),
                "podIPs": [{"ip": address(service, number)}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": CREATED}],
            },
        })
    }

    /// A rule for one host; `timeout` in seconds tells versions of it apart.
    pub fn virtual_service(&self, number: usize, timeout: u32) -> Value {
        json!({
            "metadata": metadata(&name(number), number, &[]),
            "spec": {
                "hosts": [self.host(number)],
                "http": [{
                    "timeout": format!("{timeout}s"),
                    "route": [{"destination": {"host": self.host(number)}}],
                }],
            },
        })
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> anyhow::Result<Box<T>> {
    serde_json::from_value(value).context("an object of the mesh")
}

fn name(service: usize) -> String {
    format!("service-{service:04}")
}

fn pod_name(service: usize, pod: usize) -> String {
    format!("{}-5d9c7b8f6d-{pod:05}", name(service))
}

fn namespace(service: usize) -> String {
    format!("team-{}", service % NAMESPACES)
}

fn address(service: usize, pod: usize) -> String {
    let number = service * 16 + pod;
    format!(
        "10.{}.{}.{}",
        128 + number / 62_500,
        number / 250 % 250,
        number % 250 + 1
    )
}

fn labels(service: usize) -> Vec<(String, String)> {
    [
        ("app", name(service)),
        ("version", "v1".to_owned()),
        ("pod-template-hash", "5d9c7b8f6d".to_owned()),
        ("security.istio.io/tlsMode", "istio".to_owned()),
        ("service.istio.io/canonical-name", name(service)),
        ("service.istio.io/canonical-revision", "v1".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn metadata(name: &str, service: usize, labels: &[(String, String)]) -> Value {
    let labels: serde_json::Map<String, Value> = labels
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().into()))
        .collect();
    json!({
        "name": name,
        "namespace": namespace(service),
        "uid": "00000000-0000-0000-0000-000000000000",
        "resourceVersion": "1",
        "creationTimestamp": CREATED,
        "labels": labels,
    })
}
