//! Services of the control plane.

use ironsail_mesh::label;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Pilot;
use crate::component::{Component, Labels, Sink, namespaced, some, some_list};
use crate::values::global::non_empty;

/// Adds the Service of this revision and one per revision tag.
pub fn render(pilot: &Pilot<'_>, sink: &mut Sink) {
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
    for tag in &pilot.values.revision_tags {
        let mut labels = pilot.app_labels();
        labels.insert(label::TAG.to_owned(), tag.clone());
        let name = format!("istiod-revision-tag-{tag}");
        sink.add(Component::Pilot, &service(pilot, &name, labels));
    }
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
