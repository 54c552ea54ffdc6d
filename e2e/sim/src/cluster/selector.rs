//! What selectors of labels and of ports find.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, ServicePort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Whether a selector holds for labels; none and an empty one hold for all.
pub fn selects(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else {
        return true;
    };
    let mut equal = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    equal.all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|expression| {
            let found = labels.get(&expression.key);
            let is_listed = found.is_some_and(|found| {
                let mut values = expression.values.iter().flatten();
                values.any(|value| value == found)
            });
            match expression.operator.as_str() {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "Exists" => found.is_some(),
                _ => found.is_none(),
            }
        })
}

/// The pod's port behind a port of a service; `None`: the pod has none of that name.
pub fn target_port(port: &ServicePort, pod: &Pod) -> Option<u16> {
    let number = |number: i32| u16::try_from(number).ok();
    match &port.target_port {
        None => number(port.port),
        Some(IntOrString::Int(target)) => number(*target),
        Some(IntOrString::String(name)) => {
            let containers = &pod.spec.as_ref()?.containers;
            let mut ports = containers.iter().flat_map(|c| c.ports.iter().flatten());
            let found = ports.find(|port| port.name.as_ref() == Some(name))?;
            number(found.container_port)
        }
    }
}
