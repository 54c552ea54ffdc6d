//! What a sidecar of Bookinfo gets: the samples of this project, through the control plane's own generation.

use anyhow::Context;
use ironsail_controlplane::model::object::Object;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::peer::{NAMESPACE, POD};
use crate::view::{Client, View};

const APPLICATIONS: &str = include_str!("../../../deploy/samples/bookinfo.yaml");
const NETWORKING: &str = include_str!("../../../deploy/samples/bookinfo-networking.yaml");

/// Services of a cluster with the mesh, beside those of the sample: namespace, name, ports.
const SYSTEM: &[(&str, &str, &[(&str, u16)])] = &[
    ("default", "kubernetes", &[("https", 443)]),
    (
        "kube-system",
        "kube-dns",
        &[("dns-tcp", 53), ("metrics", 9153)],
    ),
    (
        "istio-system",
        "istiod",
        &[
            ("grpc-xds", 15010),
            ("https-dns", 15012),
            ("https-webhook", 443),
            ("http-monitoring", 15014),
        ],
    ),
    (
        "istio-system",
        "istio-ingressgateway",
        &[
            ("status-port", 15021),
            ("http2", 80),
            ("https", 443),
            ("tcp", 31400),
            ("tls", 15443),
        ],
    ),
    (
        "istio-system",
        "istio-egressgateway",
        &[("http2", 80), ("https", 443)],
    ),
    ("istio-system", "prometheus", &[("http", 9090)]),
    ("istio-system", "grafana", &[("http", 3000)]),
    (
        "istio-operator",
        "istio-operator",
        &[("http-metrics", 8383)],
    ),
];

/// The mesh as the productpage sees it.
pub fn view() -> anyhow::Result<View> {
    let id = format!(
        "sidecar~{}~{POD}.{NAMESPACE}~{NAMESPACE}.svc.cluster.local",
        pod_ip(0)
    );
    View::new(objects()?, &id, Client::Ironsail)
}

/// All objects: those of the samples with pods behind them, and services of the system.
fn objects() -> anyhow::Result<Vec<Object>> {
    let mut objects = Vec::new();
    let documents = documents(APPLICATIONS)?;
    let of_kind = |kind: &'static str| {
        documents
            .iter()
            .filter(move |document| document["kind"] == kind)
    };
    for (index, deployment) in of_kind("Deployment").enumerate() {
        objects.push(Object::Pod(read(&pod(deployment, index))?));
    }
    for service in of_kind("Service") {
        let backends = of_kind("Deployment").enumerate().filter(|(_, deployment)| {
            deployment["spec"]["template"]["metadata"]["labels"]["app"]
                == service["spec"]["selector"]["app"]
        });
        let backends: Vec<usize> = backends.map(|(index, _)| index).collect();
        add_service(&mut objects, service.clone(), NAMESPACE, &backends)?;
    }
    for (namespace, name, ports) in SYSTEM {
        let ports: Vec<Value> = ports
            .iter()
            .map(|(name, port)| json!({"name": name, "port": port}))
            .collect();
        let service = json!({"metadata": {"name": name}, "spec": {"ports": ports}});
        add_service(&mut objects, service, namespace, &[200])?;
    }
    for document in self::documents(NETWORKING)? {
        let document = in_namespace(document, NAMESPACE);
        objects.extend(match document["kind"].as_str().unwrap_or_default() {
            "VirtualService" => Some(Object::VirtualService(read(&document)?)),
            "DestinationRule" => Some(Object::DestinationRule(read(&document)?)),
            "Gateway" => Some(Object::Gateway(read(&document)?)),
            _ => None,
        });
    }
    Ok(objects)
}

/// A service with an address of its own, and its endpoints.
fn add_service(
    objects: &mut Vec<Object>,
    service: Value,
    namespace: &str,
    backends: &[usize],
) -> anyhow::Result<()> {
    let mut service = in_namespace(service, namespace);
    let name = service["metadata"]["name"].clone();
    let ports = service["spec"]["ports"].clone();
    service["spec"]["clusterIP"] = format!("10.96.0.{}", objects.len() + 1).into();
    let endpoints: Vec<Value> = backends
        .iter()
        .map(|index| json!({"addresses": [pod_ip(*index)]}))
        .collect();
    let slice = json!({
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": endpoints,
    });
    objects.push(Object::Service(read(&service)?));
    objects.push(Object::EndpointSlice(read(&slice)?));
    Ok(())
}

fn pod(deployment: &Value, index: usize) -> Value {
    let template = &deployment["spec"]["template"];
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let mut labels = template["metadata"]["labels"].clone();
    labels["security.istio.io/tlsMode"] = "istio".into();
    json!({
        "metadata": {"name": format!("{name}-0"), "namespace": NAMESPACE, "labels": labels},
        "spec": {"serviceAccountName": template["spec"]["serviceAccountName"], "containers": []},
        "status": {"podIP": pod_ip(index)},
    })
}

fn pod_ip(index: usize) -> String {
    format!("10.244.0.{}", index + 1)
}

fn in_namespace(mut object: Value, namespace: &str) -> Value {
    object["metadata"]["namespace"] = namespace.into();
    object
}

fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).context("a sample"))
        .collect()
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> anyhow::Result<Box<T>> {
    serde_json::from_value(value.clone()).with_context(|| format!("{}", value["metadata"]["name"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Resources;
    use ironsail_xds::type_url;

    #[test]
    fn a_sidecar_sees_the_sample_and_the_system() {
        let bookinfo = view().expect("the samples are valid");
        assert!(bookinfo.clusters() >= 20, "{}", bookinfo.clusters());
        let listeners = bookinfo.find(type_url::LISTENER, None);
        assert!(
            listeners
                .iter()
                .any(|named| named.name == "virtualOutbound")
        );
        let route = bookinfo.find(type_url::ROUTE, Some(&["9080".to_owned()]));
        assert_eq!(route.len(), 1);
    }
}
