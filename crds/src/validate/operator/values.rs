//! Rules of `spec.values`.

use k8s_openapi::api::apps::v1::DaemonSetUpdateStrategy;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use k8s_openapi::api::core::v1::{
    Affinity, Container, EnvVar, Lifecycle, SELinuxOptions, SeccompProfile, SecurityContext,
    ServicePort, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::super::field::{Findings, child, item};
use super::super::k8s::{Check, strict};
use super::super::shared;
use super::{VALUES, images, text};

/// Values with a type of Kubernetes; of lists, the type of their items.
const TYPES: [(&str, Check); 33] = [
    ("cni.affinity", strict::<Affinity>),
    ("cni.seLinuxOptions", strict::<SELinuxOptions>),
    ("cni.seccompProfile", strict::<SeccompProfile>),
    ("cni.tolerations", strict::<Toleration>),
    ("cni.updateStrategy", strict::<DaemonSetUpdateStrategy>),
    (
        "gateways.istio-egressgateway.additionalContainers",
        strict::<Container>,
    ),
    ("gateways.istio-egressgateway.ports", strict::<ServicePort>),
    (
        "gateways.istio-egressgateway.tolerations",
        strict::<Toleration>,
    ),
    (
        "gateways.istio-ingressgateway.additionalContainers",
        strict::<Container>,
    ),
    ("gateways.istio-ingressgateway.ports", strict::<ServicePort>),
    (
        "gateways.istio-ingressgateway.tolerations",
        strict::<Toleration>,
    ),
    ("gateways.seccompProfile", strict::<SeccompProfile>),
    ("gateways.securityContext", strict::<SecurityContext>),
    ("global.defaultTolerations", strict::<Toleration>),
    ("global.proxy.lifecycle", strict::<Lifecycle>),
    ("global.proxy.seccompProfile", strict::<SeccompProfile>),
    ("global.waypoint.affinity", strict::<Affinity>),
    ("global.waypoint.toleration", strict::<Toleration>),
    ("global.waypoint.tolerations", strict::<Toleration>),
    (
        "global.waypoint.topologySpreadConstraints",
        strict::<TopologySpreadConstraint>,
    ),
    ("pilot.affinity", strict::<Affinity>),
    (
        "pilot.autoscaleBehavior",
        strict::<HorizontalPodAutoscalerBehavior>,
    ),
    ("pilot.envVarFrom", strict::<EnvVar>),
    ("pilot.initContainers", strict::<Container>),
    ("pilot.seccompProfile", strict::<SeccompProfile>),
    ("pilot.tolerations", strict::<Toleration>),
    (
        "pilot.topologySpreadConstraints",
        strict::<TopologySpreadConstraint>,
    ),
    ("pilot.volumeMounts", strict::<VolumeMount>),
    ("pilot.volumes", strict::<Volume>),
    (
        "sidecarInjectorWebhook.alwaysInjectSelector",
        strict::<LabelSelector>,
    ),
    (
        "sidecarInjectorWebhook.neverInjectSelector",
        strict::<LabelSelector>,
    ),
    ("ztunnel.affinity", strict::<Affinity>),
    ("ztunnel.tolerations", strict::<Toleration>),
];

fn kubernetes_types(values: &Value, out: &mut Findings) {
    for (path, check) in TYPES {
        let value = values.pointer(&format!("/{}", path.replace('.', "/")));
        let path = format!("{VALUES}.{path}");
        match value {
            Some(Value::Array(items)) => {
                for (index, value) in items.iter().enumerate() {
                    check(value, &item(&path, index), out);
                }
            }
            Some(value @ Value::Object(_)) => check(value, &path, out),
            _ => {}
        }
    }
}

/// Lists in text: ranges of addresses or ports.
const RANGES: [&str; 2] = ["includeIPRanges", "excludeIPRanges"];
const PORTS: [&str; 4] = [
    "includeInboundPorts",
    "excludeInboundPorts",
    "includeOutboundPorts",
    "excludeOutboundPorts",
];

/// Checks what the schema of the values can't say.
pub(super) fn check(spec: &Value, out: &mut Findings) {
    let Some(values) = spec.get("values").filter(|values| values.is_object()) else {
        return;
    };
    for name in ["global", "pilot", "cni"] {
        if let Some(block) = values.get(name) {
            images(block, &child(VALUES, name), out);
        }
    }
    if let Some(proxy) = values.pointer("/global/proxy") {
        captures(proxy, out);
    }
    choices(values, out);
    refused(values, out);
    kubernetes_types(values, out);
    for (part, path) in [
        ("/pilot", "pilot"),
        (
            "/gateways/istio-ingressgateway",
            "gateways.istio-ingressgateway",
        ),
    ] {
        let Some(block) = values.pointer(part) else {
            continue;
        };
        let scaled = block.get("autoscaleEnabled") == Some(&Value::Bool(true));
        if scaled && block.get("replicaCount").is_some_and(|n| !n.is_null()) {
            let path = format!("{VALUES}.{path}.replicaCount");
            out.warn(path, "has no effect with autoscaleEnabled");
        }
    }
}

fn captures(proxy: &Value, out: &mut Findings) {
    let path = "spec.values.global.proxy";
    for name in RANGES {
        for range in entries(proxy, name) {
            out.check(child(path, name), shared::subnet(range));
        }
    }
    for name in PORTS {
        for port in entries(proxy, name) {
            let number = port
                .parse::<u32>()
                .map_err(|_| format!("{port:?} is no port number"));
            out.check(child(path, name), number.and_then(shared::port));
        }
    }
}

/// Entries of a comma-separated list; `*` alone is everything.
fn entries<'a>(block: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    text(block, name)
        .filter(|list| *list != "*")
        .into_iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// Values of which there are few.
const CHOICES: [(&str, &[&str]); 5] = [
    ("global.resourceScope", &["all", "cluster", "namespace"]),
    (
        "global.imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
    ),
    ("global.proxy.autoInject", &["enabled", "disabled"]),
    (
        "sidecarInjectorWebhook.reinvocationPolicy",
        &["Never", "IfNeeded"],
    ),
    ("pilot.cni.provider", &["default", "multus"]),
];

fn choices(values: &Value, out: &mut Findings) {
    for (path, allowed) in CHOICES {
        let value = values.pointer(&format!("/{}", path.replace('.', "/")));
        let Some(value) = value
            .and_then(Value::as_str)
            .filter(|value| !value.is_empty())
        else {
            continue;
        };
        if !allowed.contains(&value) {
            let message = format!("{value:?} must be one of {}", allowed.join(", "));
            out.error(format!("{VALUES}.{path}"), message);
        }
    }
}

/// Values that once meant something which no version does any more.
fn refused(values: &Value, out: &mut Findings) {
    if values.pointer("/global/pilotCertProvider") == Some(&Value::from("kubernetes")) {
        out.error(
            format!("{VALUES}.global.pilotCertProvider"),
            "kubernetes is not supported any more, use istiod or custom",
        );
    }
    for name in ["prometheus", "stackdriver"] {
        let pointer = format!("/telemetry/v2/{name}/configOverride");
        if values
            .pointer(&pointer)
            .is_some_and(|value| !value.is_null())
        {
            out.error(
                format!("{VALUES}.telemetry.v2.{name}.configOverride"),
                "is not supported any more, use a Telemetry object",
            );
        }
    }
    let tracer = values
        .pointer("/global/tracer/stackdriver")
        .and_then(Value::as_object);
    for name in tracer.into_iter().flat_map(|tracer| tracer.keys()) {
        out.error(
            child(&format!("{VALUES}.global.tracer.stackdriver"), name),
            "is not supported any more, use meshConfig.extensionProviders",
        );
    }
}
