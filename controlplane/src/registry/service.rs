//! Kubernetes Services as services of the mesh.

use std::net::IpAddr;

use ironsail_mesh::host::service_host;
use ironsail_mesh::label;
use ironsail_mesh::port::Protocol;
use k8s_openapi::api::core::v1::{Service as KubeService, ServicePort as KubePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::model::export::ExportTo;
use crate::model::service::{Resolution, Service, ServicePort, TargetPort};
use crate::registry::workload::created_seconds;

/// Converts a Service; `None` when it has no name.
///
/// Ports that are no numbers from 1 to 65535 cannot come from an API server and are left out.
pub fn convert(object: &KubeService, domain: &str, generation: u64) -> Option<Service> {
    let name = object.metadata.name.as_deref()?;
    let namespace = object.metadata.namespace.as_deref()?;
    let spec = object.spec.clone().unwrap_or_default();
    let export_to = object
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(label::EXPORT_TO))
        .and_then(|text| ExportTo::parse(text.split(',')));
    Some(Service {
        host: service_host(name, namespace, domain).into(),
        name: name.into(),
        namespace: namespace.into(),
        created: created_seconds(&object.metadata),
        ports: spec
            .ports
            .iter()
            .flatten()
            .filter_map(convert_port)
            .collect(),
        addresses: addresses(&spec),
        resolution: resolution(&spec),
        selector: spec.selector.clone().unwrap_or_default(),
        export_to,
        is_node_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        is_ipv6: spec
            .ip_families
            .as_ref()
            .and_then(|families| families.first())
            .map(|family| family == "IPv6"),
        generation,
    })
}

fn convert_port(port: &KubePort) -> Option<ServicePort> {
    let number = u16::try_from(port.port)
        .ok()
        .filter(|number| *number != 0)?;
    let target = match &port.target_port {
        None => TargetPort::Number(number),
        Some(IntOrString::Int(0)) => TargetPort::Number(number),
        Some(IntOrString::Int(target)) => TargetPort::Number(u16::try_from(*target).ok()?),
        Some(IntOrString::String(name)) => match name.parse() {
            Ok(target) => TargetPort::Number(target),
            Err(_) => TargetPort::Name(name.clone()),
        },
    };
    Some(ServicePort {
        name: port.name.as_deref().unwrap_or_default().into(),
        port: number,
        target,
        protocol: Protocol::select(
            number,
            port.name.as_deref(),
            port.app_protocol.as_deref(),
            port.protocol.as_deref(),
        ),
    })
}

fn addresses(spec: &ServiceSpec) -> Vec<IpAddr> {
    if spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let listed = spec.cluster_ips.as_deref().unwrap_or_default();
    let single = spec.cluster_ip.as_slice();
    let all = if listed.is_empty() { single } else { listed };
    all.iter().filter_map(|text| text.parse().ok()).collect()
}

fn resolution(spec: &ServiceSpec) -> Resolution {
    if spec.type_.as_deref() == Some("ExternalName")
        && let Some(target) = spec
            .external_name
            .as_deref()
            .filter(|name| !name.is_empty())
    {
        let target = target.trim_end_matches('.').to_ascii_lowercase();
        return Resolution::Alias(target.into());
    }
    match spec.cluster_ip.as_deref() {
        Some("None") => Resolution::Passthrough,
        _ => Resolution::ClientSide,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(yaml: &str) -> Service {
        let object: KubeService = serde_yaml_ng::from_str(yaml).expect("a valid Service");
        convert(&object, "cluster.local", 1).expect("it has a name")
    }

    #[test]
    fn ports_addresses_and_kinds() {
        let plain = service(
            "metadata: {name: web, namespace: a, annotations: {networking.istio.io/exportTo: '., b'}}
spec:
  clusterIP: 10.0.0.1
  clusterIPs: [10.0.0.1, 'fd00::1']
  internalTrafficPolicy: Local
  ports:
  - {name: http-web, port: 80, targetPort: named}
  - {name: dns, port: 53, protocol: UDP}
  - {name: other, port: 90, targetPort: 0}
",
        );
        assert_eq!(&*plain.host, "web.a.svc.cluster.local");
        assert_eq!(plain.addresses.len(), 2);
        let export = plain.export_to.as_ref().expect("annotated");
        assert!(plain.is_node_local && export.is_visible("a", "b") && !export.is_visible("a", "c"));
        assert_eq!(plain.ports[0].protocol, Protocol::Http);
        assert_eq!(plain.ports[0].target, TargetPort::Name("named".to_owned()));
        assert_eq!(plain.ports[1].protocol, Protocol::Udp);
        assert_eq!(plain.ports[2].target, TargetPort::Number(90));

        let headless = service("{metadata: {name: db, namespace: a}, spec: {clusterIP: None}}");
        assert!(headless.is_headless() && headless.addresses.is_empty());
        let alias = service(
            "{metadata: {name: x, namespace: a}, spec: {type: ExternalName, externalName: Web.a.svc.cluster.local.}}",
        );
        let target = "web.a.svc.cluster.local".into();
        assert_eq!(alias.resolution, Resolution::Alias(target));
    }
}
