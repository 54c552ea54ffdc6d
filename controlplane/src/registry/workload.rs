//! Pods and Nodes as workloads of the mesh.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use ironsail_mesh::label;
use ironsail_mesh::locality::Locality;
use ironsail_runtime::shared::{Interner, shared_text};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::model::endpoint::Workload;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Labels of Nodes before Kubernetes 1.17.
const OLD_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
/// On pods: `region.zone.subzone`, dots because labels cannot hold slashes.
const POD_LOCALITY: &str = "istio-locality";
const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// What pods of one kind have in common, and there are many of them.
static LABELS: LazyLock<Interner<BTreeMap<String, String>>> = LazyLock::new(Interner::default);
static PORTS: LazyLock<Interner<BTreeMap<String, u16>>> = LazyLock::new(Interner::default);

/// Creation time in seconds since 1970; 0 when the object says none.
pub fn created_seconds(metadata: &ObjectMeta) -> i64 {
    metadata
        .creation_timestamp
        .as_ref()
        .map_or(0, |time| time.0.as_second())
}

/// Converts a Pod; `None` when it has no name, or has ended and will not run again.
pub fn convert(pod: &Pod) -> Option<Workload> {
    let name = pod.metadata.name.as_deref()?;
    let namespace = pod.metadata.namespace.as_deref()?;
    let status = pod.status.as_ref();
    if matches!(
        status.and_then(|status| status.phase.as_deref()),
        Some("Succeeded" | "Failed")
    ) {
        return None;
    }
    let spec = pod.spec.as_ref();
    let labels: BTreeMap<String, String> = pod.metadata.labels.clone().unwrap_or_default();
    let account = spec
        .and_then(|spec| spec.service_account_name.as_deref())
        .filter(|account| !account.is_empty())
        .unwrap_or("default");
    Some(Workload {
        name: name.into(),
        namespace: shared_text(namespace),
        addresses: addresses(pod),
        workload_name: shared_text(&workload_name(&pod.metadata, &labels)),
        service_account: shared_text(account),
        node: spec
            .and_then(|spec| spec.node_name.as_deref())
            .map(shared_text),
        named_ports: PORTS.share(Arc::new(named_ports(pod))),
        hostname: spec
            .and_then(|spec| spec.hostname.as_deref())
            .filter(|name| !name.is_empty())
            .map(Box::from),
        subdomain: spec
            .and_then(|spec| spec.subdomain.as_deref())
            .filter(|name| !name.is_empty())
            .map(Box::from),
        locality: labels
            .get(POD_LOCALITY)
            .map(|text| Box::new(Locality::parse(&text.replace('.', "/")))),
        labels: LABELS.share(Arc::new(labels)),
    })
}

fn addresses(pod: &Pod) -> Box<[std::net::IpAddr]> {
    let Some(status) = &pod.status else {
        return Box::default();
    };
    let listed: Box<[_]> = status
        .pod_ips
        .iter()
        .flatten()
        .filter_map(|ip| ip.ip.parse().ok())
        .collect();
    match listed.is_empty() {
        false => listed,
        true => status
            .pod_ip
            .iter()
            .filter_map(|ip| ip.parse().ok())
            .collect(),
    }
}

/// Container ports with a name; of equal names the first counts.
fn named_ports(pod: &Pod) -> BTreeMap<String, u16> {
    let mut ports = BTreeMap::new();
    let Some(spec) = &pod.spec else {
        return ports;
    };
    // Native sidecars are init containers, and a Service may point at their ports.
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    for port in containers.flat_map(|container| container.ports.iter().flatten()) {
        if let (Some(name), Ok(number)) = (&port.name, u16::try_from(port.container_port)) {
            ports.entry(name.clone()).or_insert(number);
        }
    }
    ports
}

/// What made the pod: the Deployment behind a ReplicaSet, the CronJob behind a Job, another
/// controller, or the pod itself.
fn workload_name(metadata: &ObjectMeta, labels: &BTreeMap<String, String>) -> String {
    let pod_name = metadata.name.as_deref().unwrap_or_default();
    let controller = metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true));
    let Some(owner) = controller else {
        return pod_name.to_owned();
    };
    let shortened = match owner.kind.as_str() {
        "ReplicaSet" => labels
            .get(POD_TEMPLATE_HASH)
            .and_then(|hash| owner.name.strip_suffix(hash.as_str()))
            .and_then(|name| name.strip_suffix('-')),
        "Job" => owner
            .name
            .rsplit_once('-')
            .filter(|(_, time)| time.len() >= 8 && time.bytes().all(|b| b.is_ascii_digit()))
            .map(|(name, _)| name),
        _ => None,
    };
    shortened.unwrap_or(&owner.name).to_owned()
}

/// Where a Node stands, by its labels.
pub fn node_locality(node: &Node) -> Locality {
    let labels = node.metadata.labels.as_ref();
    let first = |keys: [&str; 2]| {
        keys.into_iter()
            .find_map(|key| labels?.get(key).filter(|value| !value.is_empty()))
            .cloned()
            .unwrap_or_default()
    };
    Locality {
        region: first([REGION, OLD_REGION]),
        zone: first([ZONE, OLD_ZONE]),
        sub_zone: first([label::SUBZONE, label::SUBZONE]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(yaml: &str) -> Option<Workload> {
        convert(&serde_yaml_ng::from_str(yaml).expect("a valid Pod"))
    }

    #[track_caller]
    fn check_name(kind: &str, owner: &str, labels: &str, expected: &str) {
        let yaml = format!(
            "metadata: {{name: pod, namespace: a, labels: {labels}, ownerReferences: [{{apiVersion: v1, kind: {kind}, name: {owner}, uid: u, controller: true}}]}}"
        );
        assert_eq!(&*workload(&yaml).expect("it runs").workload_name, expected);
    }

    #[test]
    fn owners_give_the_name() {
        check_name(
            "ReplicaSet",
            "web-v1-abc",
            "{pod-template-hash: abc}",
            "web-v1",
        );
        check_name("ReplicaSet", "own", "{}", "own");
        check_name("Job", "nightly-28912345", "{}", "nightly");
        check_name("Job", "once-now", "{}", "once-now");
        check_name("StatefulSet", "db", "{}", "db");
    }

    #[test]
    fn ended_pods_are_gone() {
        assert!(
            workload("{metadata: {name: a, namespace: b}, status: {phase: Succeeded}}").is_none()
        );
        let running = workload("{metadata: {name: a, namespace: b}, status: {podIP: 10.0.0.1}}")
            .expect("it may run");
        assert_eq!(&*running.service_account, "default");
        assert_eq!(running.addresses.len(), 1);
    }
}
