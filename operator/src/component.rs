//! The components of an installation and what their objects have in common.

pub mod base;
pub mod gateway;
pub mod istiod;

use std::collections::BTreeMap;
use std::fmt;

use ironsail_crds::Diagnostic;
use ironsail_mesh::label;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget, ResourceMetricSource,
};
use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, LocalObjectReference, ObjectFieldSelector, SecretVolumeSource, Volume,
    VolumeMount,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::object::Manifest;
use crate::value::scalar_text;
use crate::values::global::non_empty;
use crate::values::istiod::{Pdb, Utilization};

/// A component, by the name that `status.componentStatus` and the label
/// `operator.istio.io/component` use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Component {
    Base,
    Pilot,
    Cni,
    Ztunnel,
    IngressGateways,
    EgressGateways,
}

impl Component {
    /// Every component that this version renders, in the order of installation.
    pub const RENDERED: [Self; 4] = [
        Self::Base,
        Self::Pilot,
        Self::IngressGateways,
        Self::EgressGateways,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "Base",
            Self::Pilot => "Pilot",
            Self::Cni => "Cni",
            Self::Ztunnel => "Ztunnel",
            Self::IngressGateways => "IngressGateways",
            Self::EgressGateways => "EgressGateways",
        }
    }

    /// A component is installed once those of earlier waves are ready.
    pub fn wave(self) -> usize {
        match self {
            Self::Base => 0,
            Self::Pilot | Self::Cni => 1,
            Self::Ztunnel | Self::IngressGateways | Self::EgressGateways => 2,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Collects what rendering produces.
#[derive(Debug, Default)]
pub struct Sink {
    pub objects: Vec<Manifest>,
    pub findings: Vec<Diagnostic>,
}

impl Sink {
    /// Adds an object of a built-in type.
    pub fn add<K: Serialize>(&mut self, component: Component, object: &K) {
        let body = serde_json::to_value(object).expect("Kubernetes types become JSON");
        match Manifest::new(component, body) {
            Ok(manifest) => self.objects.push(manifest),
            Err(message) => self.error(format!("spec.components.{component}"), message),
        }
    }

    pub fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Diagnostic::error(path, message));
    }

    pub fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Diagnostic::warning(path, message));
    }

    /// Refuses a setting that is on although this version doesn't render what it asks for.
    pub fn refuse(&mut self, on: bool, path: impl Into<String>, what: &str) {
        if on {
            self.error(path, format!("{what} is not rendered by this version"));
        }
    }
}

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// What the labels of all objects of a component have in common.
#[derive(Clone, Debug)]
pub struct LabelSet {
    /// Chart of the peer that has this object, such as `istiod`.
    pub chart: &'static str,
    pub chart_version: String,
    /// `app.kubernetes.io/name`.
    pub name: &'static str,
    pub component: Component,
    pub revision: String,
    /// `install.operator.istio.io/owning-resource`.
    pub owner: String,
}

impl LabelSet {
    /// The standard labels, and what is given.
    pub fn plain(&self, more: &[(&str, &str)]) -> Labels {
        let chart = format!("{}-{}", self.chart, self.chart_version);
        let mut labels: Labels = [
            ("app.kubernetes.io/instance", "istio"),
            ("app.kubernetes.io/managed-by", "Helm"),
            (label::APP_KUBERNETES_NAME, self.name),
            ("app.kubernetes.io/part-of", "istio"),
            (label::APP_KUBERNETES_VERSION, &self.chart_version),
            ("helm.sh/chart", &chart),
        ]
        .into_iter()
        .map(owned)
        .collect();
        labels.extend(more.iter().copied().map(owned));
        labels
    }

    /// As [`Self::plain`], with `release`.
    pub fn released(&self, more: &[(&str, &str)]) -> Labels {
        let mut labels = self.plain(more);
        labels.insert("release".into(), "istio".into());
        labels
    }

    /// As [`Self::released`], with revision, owner and component.
    pub fn full(&self, more: &[(&str, &str)]) -> Labels {
        let mut labels = self.released(more);
        labels.extend(self.identity());
        labels
    }

    /// Revision, owner and component.
    pub fn identity(&self) -> Labels {
        [
            (label::REVISION, self.revision.as_str()),
            (label::OWNING_RESOURCE, &self.owner),
            (label::COMPONENT, self.component.as_str()),
        ]
        .into_iter()
        .map(owned)
        .collect()
    }
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Metadata of a namespaced object.
pub fn namespaced(name: impl Into<String>, namespace: &str, labels: Labels) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        ..clustered(name, labels)
    }
}

/// Metadata of an object of the cluster.
pub fn clustered(name: impl Into<String>, labels: Labels) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// The map, unless it is empty.
pub fn some<K: Ord, V>(map: BTreeMap<K, V>) -> Option<BTreeMap<K, V>> {
    (!map.is_empty()).then_some(map)
}

/// The list, unless it is empty.
pub fn some_list<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// A selector of exact labels.
pub fn match_labels(labels: Labels) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

/// A role's rule.
pub fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    PolicyRule {
        api_groups: Some(list(groups)),
        resources: Some(list(resources)),
        verbs: list(verbs),
        ..PolicyRule::default()
    }
}

/// What a binding refers to.
pub fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef {
        api_group: "rbac.authorization.k8s.io".into(),
        kind: kind.into(),
        name: name.into(),
    }
}

/// Whom a binding is for.
pub fn service_account(name: &str, namespace: Option<&str>) -> Subject {
    Subject {
        kind: "ServiceAccount".into(),
        name: name.into(),
        namespace: namespace.map(str::to_owned),
        ..Subject::default()
    }
}

/// An environment variable with a value.
pub fn env(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.into(),
        value: Some(value.into()),
        ..EnvVar::default()
    }
}

/// An environment variable that shows a field of the pod.
pub fn env_field(name: &str, path: &str, api_version: Option<&str>) -> EnvVar {
    EnvVar {
        name: name.into(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: api_version.map(str::to_owned),
                field_path: path.into(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// Environment variables of a values map, in order of their names.
pub fn env_map(map: &BTreeMap<String, Value>) -> impl Iterator<Item = EnvVar> + '_ {
    map.iter()
        .filter_map(|(name, value)| Some(env(name, scalar_text(value)?)))
}

/// References to pull secrets.
pub fn pull_secrets(names: &[String]) -> Option<Vec<LocalObjectReference>> {
    let secrets = names
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() });
    some_list(secrets.collect())
}

/// A volume that is mounted.
pub fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        ..VolumeMount::default()
    }
}

/// A volume that is mounted for reading.
pub fn mount_read_only(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        read_only: Some(true),
        ..mount(name, path)
    }
}

/// A Secret that may be missing.
pub fn optional_secret(volume: &str, secret: &str) -> Volume {
    Volume {
        name: volume.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.into()),
            optional: Some(true),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// How many pods run.
pub struct Scale<'a> {
    pub autoscale: bool,
    pub min: i32,
    pub max: i32,
    pub replicas: i32,
    pub cpu: Utilization,
    pub memory: Utilization,
    pub behavior: Option<&'a HorizontalPodAutoscalerBehavior>,
    pub pdb: &'a Pdb,
}

impl Scale<'_> {
    /// Whether an autoscaler is rendered.
    pub fn has_autoscaler(&self) -> bool {
        self.autoscale && self.min > 0 && self.max > 0
    }

    /// `spec.replicas`: only without an autoscaler.
    pub fn replicas(&self) -> Option<i32> {
        (!self.autoscale && self.replicas > 0).then_some(self.replicas)
    }

    /// The autoscaler of a Deployment of the same name.
    pub fn autoscaler(&self, metadata: ObjectMeta) -> Option<HorizontalPodAutoscaler> {
        if !self.has_autoscaler() {
            return None;
        }
        let target = CrossVersionObjectReference {
            api_version: Some("apps/v1".into()),
            kind: "Deployment".into(),
            name: metadata.name.clone().unwrap_or_default(),
        };
        let metrics = [("cpu", self.cpu), ("memory", self.memory)];
        let metrics = metrics.into_iter().filter_map(|(name, target)| {
            let average = target.target_average_utilization?;
            Some(utilization(name, average))
        });
        Some(HorizontalPodAutoscaler {
            metadata,
            spec: Some(HorizontalPodAutoscalerSpec {
                min_replicas: Some(self.min),
                max_replicas: self.max,
                scale_target_ref: target,
                metrics: some_list(metrics.collect()),
                behavior: self.behavior.filter(|b| **b != Default::default()).cloned(),
            }),
            ..HorizontalPodAutoscaler::default()
        })
    }

    /// The disruption budget, where more than one pod is certain.
    pub fn disruption_budget(
        &self,
        allowed: bool,
        metadata: ObjectMeta,
        selector: Labels,
    ) -> Option<PodDisruptionBudget> {
        let several = match self.autoscale {
            true => self.min > 1,
            false => self.replicas > 1,
        };
        if !(allowed && several) {
            return None;
        }
        let max_unavailable = self.pdb.max_unavailable.clone();
        let min_available = match max_unavailable {
            Some(_) => None,
            None => Some(
                self.pdb
                    .min_available
                    .clone()
                    .unwrap_or(IntOrString::Int(1)),
            ),
        };
        Some(PodDisruptionBudget {
            metadata,
            spec: Some(PodDisruptionBudgetSpec {
                min_available,
                max_unavailable,
                unhealthy_pod_eviction_policy: non_empty(&self.pdb.unhealthy_pod_eviction_policy),
                selector: Some(match_labels(selector)),
            }),
            ..PodDisruptionBudget::default()
        })
    }
}

fn utilization(name: &str, average: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".into(),
        resource: Some(ResourceMetricSource {
            name: name.into(),
            target: MetricTarget {
                type_: "Utilization".into(),
                average_utilization: Some(average),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}
