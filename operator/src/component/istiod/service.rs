//! Services of the control plane.

use std::net::IpAddr;

use ironsail_mesh::label;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Pilot, default_tag};
use crate::component::{Component, Labels, Sink, namespaced, some, some_list};
use crate::values::global::non_empty;

/// Adds the Service of this revision, one per revision tag, and the one that leads to a control
/// plane elsewhere.
pub fn render(pilot: &Pilot<'_>, sink: &mut Sink) {
    if pilot.runs() {
        let own = service(pilot, &pilot.name, pilot.app_labels());
        let mut spec = own.spec.clone().unwrap_or_default();
        spec.traffic_distribution = non_empty(&pilot.values.traffic_distribution);
        sink.add(
            Component::Pilot,
            &Service {
                spec: Some(spec),
                ..own
            },
        );
    }
    let address = &pilot.values.global.remote_pilot_address;
    if pilot.values.istiod_remote.enabled && !address.is_empty() {
        remote(pilot, address, sink);
    }
    for (tag, claim) in pilot.tags() {
        let mut labels = pilot.app_labels();
        labels.insert(label::TAG.to_owned(), tag.to_owned());
        let mut own = service(pilot, &tag_service(tag), labels);
        if let Some(claim) = claim {
            default_tag::mark(claim, &mut own.metadata);
        }
        sink.add(Component::Pilot, &own);
    }
}

/// Name of the Service under which proxies of a tag find their control plane.
pub fn tag_service(tag: &str) -> String {
    format!("istiod-revision-tag-{tag}")
}

fn service(pilot: &Pilot<'_>, name: &str, labels: Labels) -> Service {
    let values = &pilot.values;
    let mut metadata = namespaced(name, &pilot.namespace, labels);
    metadata.annotations = some(values.service_annotations.clone());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            ports: Some(vec![
                port("grpc-xds", 15010, None),
                port("https-dns", 15012, None),
                port("https-webhook", 443, Some(15017)),
                port("http-monitoring", 15014, None),
            ]),
            selector: Some(pilot.pod_selector()),
            ip_family_policy: non_empty(&values.ip_family_policy),
            ip_families: some_list(values.ip_families.clone()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn port(name: &str, port: i32, target: Option<i32>) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        target_port: target.map(IntOrString::Int),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

/// Ports of a control plane elsewhere: Service port, name, port there.
const REMOTE_PORTS: [(i32, &str, Option<i32>); 2] = [
    (15012, "tcp-istiod", None),
    (443, "tcp-webhook", Some(15017)),
];

/// The Service that leads to a control plane elsewhere, by name or by address.
fn remote(pilot: &Pilot<'_>, address: &str, sink: &mut Sink) {
    let global = &pilot.values.global;
    let name = match pilot.injects_here() {
        true => format!("{}-remote", pilot.name),
        false => pilot.name.clone(),
    };
    let ip: Option<IpAddr> = address.parse().ok();
    let labels = pilot
        .labels
        .plain(&[(label::REVISION, &pilot.labels.revision)]);
    sink.add(
        Component::Pilot,
        &Service {
            metadata: namespaced(&name, &pilot.namespace, labels),
            spec: Some(ServiceSpec {
                type_: ip.is_none().then(|| "ExternalName".to_owned()),
                external_name: ip.is_none().then(|| address.to_owned()),
                ports: Some(
                    REMOTE_PORTS
                        .map(|(own, name, there)| port(name, own, there))
                        .into(),
                ),
                ip_family_policy: non_empty(&global.ip_family_policy),
                ip_families: some_list(global.ip_families.clone()),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        },
    );
    if let Some(ip) = ip {
        sink.add(Component::Pilot, &endpoints(pilot, &name, ip));
    }
}

fn endpoints(pilot: &Pilot<'_>, service: &str, ip: IpAddr) -> EndpointSlice {
    let labels = pilot.labels.plain(&[
        ("kubernetes.io/service-name", service),
        ("endpointslice.kubernetes.io/managed-by", "Helm"),
    ]);
    let ports = REMOTE_PORTS.map(|(own, name, there)| EndpointPort {
        name: Some(name.to_owned()),
        port: Some(there.unwrap_or(own)),
        protocol: Some("TCP".to_owned()),
        ..EndpointPort::default()
    });
    EndpointSlice {
        metadata: namespaced(service, &pilot.namespace, labels),
        address_type: if ip.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
        endpoints: vec![Endpoint {
            addresses: vec![ip.to_string()],
            ..Endpoint::default()
        }],
        ports: Some(ports.into()),
    }
}
