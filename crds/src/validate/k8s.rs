//! Strict check of Kubernetes types that stay open in the schema.

use k8s_openapi::api::apps::v1::DeploymentStrategy;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerSpec;
use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, PodSecurityContext, Probe, ResourceRequirements, ServiceSpec, Toleration,
    Volume, VolumeMount,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::field::{Findings, child, item};
use super::strict;

/// Decodes one value strictly.
type Check = fn(&Value, &str, &mut Findings);

/// Fields of `k8s` with a Kubernetes type.
const OBJECTS: [(&str, Check); 7] = [
    ("affinity", strict::<Affinity>),
    ("hpaSpec", hpa),
    ("podDisruptionBudget", strict::<PodDisruptionBudgetSpec>),
    ("readinessProbe", strict::<Probe>),
    ("resources", resources),
    ("securityContext", strict::<PodSecurityContext>),
    ("service", strict::<ServiceSpec>),
];

const LISTS: [(&str, Check); 4] = [
    ("env", strict::<EnvVar>),
    ("tolerations", strict::<Toleration>),
    ("volumes", strict::<Volume>),
    ("volumeMounts", strict::<VolumeMount>),
];

/// Checks the Kubernetes types in a `k8s` block.
pub(super) fn check(block: &Value, path: &str, out: &mut Findings) {
    let strategy: (&str, Check) = ("strategy", strict::<DeploymentStrategy>);
    for (name, check) in OBJECTS.into_iter().chain([strategy]) {
        if let Some(value @ Value::Object(_)) = block.get(name) {
            check(value, &child(path, name), out);
        }
    }
    for (name, check) in LISTS {
        let list = block.get(name).and_then(Value::as_array);
        for (index, value) in list.into_iter().flatten().enumerate() {
            if value.is_object() {
                check(value, &item(&child(path, name), index), out);
            }
        }
    }
}

/// Decodes a value as `T` and reports what `T` doesn't have.
pub(super) fn strict<T: DeserializeOwned + Serialize>(
    value: &Value,
    path: &str,
    out: &mut Findings,
) {
    for finding in strict::check::<T>(value, path) {
        // The schema has the first level, and knows what was meant.
        if finding.message != strict::UNKNOWN || !out.mentions(&finding.path) {
            out.push(finding);
        }
    }
}

/// Quantities may be bare numbers.
fn resources(value: &Value, path: &str, out: &mut Findings) {
    let mut value = value.clone();
    for part in ["limits", "requests"] {
        let Some(Value::Object(amounts)) = value.get_mut(part) else {
            continue;
        };
        for amount in amounts.values_mut() {
            if let Value::Number(number) = amount {
                *amount = Value::String(number.to_string());
            }
        }
    }
    strict::<ResourceRequirements>(&value, path, out);
}

/// Names of autoscaling/v2beta1, which no API server has any more.
const OLD_HPA: [&str; 2] = ["targetAverageUtilization", "targetAverageValue"];

fn hpa(value: &Value, path: &str, out: &mut Findings) {
    let mut current = value.clone();
    let metrics = current.get_mut("metrics").and_then(Value::as_array_mut);
    for (index, metric) in metrics.into_iter().flatten().enumerate() {
        let Some(Value::Object(resource)) = metric.get_mut("resource") else {
            continue;
        };
        for name in OLD_HPA {
            if resource.remove(name).is_some() {
                let metric = item(&child(path, "metrics"), index);
                out.error(
                    format!("{metric}.resource.{name}"),
                    "is of autoscaling/v2beta1; use target with type and averageUtilization or averageValue",
                );
            }
        }
    }
    strict::<HorizontalPodAutoscalerSpec>(&current, path, out);
}
