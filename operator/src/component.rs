//! The components of an installation and what their objects have in common.

pub mod base;
pub mod cni;
pub mod gateway;
pub mod istiod;
pub mod ztunnel;

use std::collections::BTreeMap;
use std::fmt;

use ironsail_crds::Diagnostic;
use ironsail_mesh::label;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget, ResourceMetricSource,
};
use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, ConfigMapVolumeSource, EnvVar, EnvVarSource,
    HostPathVolumeSource, LocalObjectReference, ObjectFieldSelector, ProjectedVolumeSource,
    ResourceFieldSelector, ResourceQuota, ResourceQuotaSpec, ScopeSelector,
    ScopedResourceSelectorRequirement, SecretVolumeSource, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::object::Manifest;
use crate::render::Context;
use crate::value::scalar_text;
use crate::values::Resolved;
use crate::values::global::{Quota, non_empty};
use crate::values::istiod::{Pdb, Utilization};

/// Registry and path of Ironsail's images, unless they are mirrored.
pub const OWN_HUB: &str = "ironsail";

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
    /// Every component, in the order of installation.
    pub const ALL: [Self; 6] = [
        Self::Base,
        Self::Pilot,
        Self::Cni,
        Self::Ztunnel,
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

    /// Takes what another sink collected.
    pub fn append(&mut self, mut other: Self) {
        self.objects.append(&mut other.objects);
        self.findings.append(&mut other.findings);
    }

    /// Refuses a setting whose component Ironsail has no image for, unless it names another one.
    pub fn refuse_own_image(&mut self, image: &str, path: impl Into<String>) {
        if is_own_image(image) {
            let message = format!(
                "there is no image {image}: Ironsail has none for this component yet; name the hub \
                 and tag of images that have it"
            );
            self.error(path, message);
        }
    }

    /// Refuses a setting that is on although Ironsail's control plane doesn't do what it asks for.
    pub fn refuse_with_own_image(
        &mut self,
        on: bool,
        image: &str,
        path: impl Into<String>,
        what: &str,
    ) {
        if on && is_own_image(image) {
            let message = format!(
                "Ironsail's control plane has no {what} yet; name the hub and tag of one that has"
            );
            self.error(path, message);
        }
    }
}

/// Whether an image is one of Ironsail's: by its built-in hub, or by its tag.
pub fn is_own_image(image: &str) -> bool {
    let (repository, tag) = image.rsplit_once(':').unwrap_or((image, ""));
    let hub = repository.rsplit_once('/').map_or("", |(hub, _)| hub);
    hub == OWN_HUB || tag.contains("-ironsail.")
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
    /// The labels of a component's chart and name.
    pub fn new(
        component: Component,
        (chart, name): (&'static str, &'static str),
        resolved: &Resolved,
        context: &Context,
        owner: &str,
    ) -> Self {
        Self {
            chart,
            chart_version: context.chart_version.clone(),
            name,
            component,
            revision: resolved.revision.label().to_owned(),
            owner: non_empty(owner).unwrap_or_else(|| "unknown".to_owned()),
        }
    }

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

/// What is given and says something.
pub fn given<T: Clone + Default + PartialEq>(value: &Option<T>) -> Option<T> {
    value.clone().filter(|value| *value != T::default())
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

/// An environment variable that shows an amount of the container.
pub fn env_resource(name: &str, resource: &str, divisor: Option<&str>) -> EnvVar {
    EnvVar {
        name: name.into(),
        value_from: Some(EnvVarSource {
            resource_field_ref: Some(ResourceFieldSelector {
                divisor: divisor.map(|text| Quantity(text.into())),
                resource: resource.into(),
                ..ResourceFieldSelector::default()
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

/// A directory of the node.
pub fn host_path(volume: &str, path: &str, kind: Option<&str>) -> Volume {
    Volume {
        name: volume.into(),
        host_path: Some(HostPathVolumeSource {
            path: path.into(),
            type_: kind.map(str::to_owned),
        }),
        ..Volume::default()
    }
}

/// The volume with the mesh's root certificate, from the ConfigMap or the cluster's trust bundle;
/// an empty name is the usual one.
pub fn root_certificate(volume: &str, name: &str, from_bundle: bool) -> Volume {
    if from_bundle {
        return Volume {
            name: volume.into(),
            projected: Some(trust_bundle(name, None)),
            ..Volume::default()
        };
    }
    Volume {
        name: volume.into(),
        config_map: Some(ConfigMapVolumeSource {
            name: non_empty(name).unwrap_or_else(|| "istio-ca-root-cert".to_owned()),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// The trust bundle of the control plane's signer; an empty name is the usual one.
pub fn trust_bundle(name: &str, optional: Option<bool>) -> ProjectedVolumeSource {
    let name = non_empty(name).unwrap_or_else(|| "root-cert".to_owned());
    ProjectedVolumeSource {
        sources: Some(vec![VolumeProjection {
            cluster_trust_bundle: Some(ClusterTrustBundleProjection {
                name: Some(format!("istio.io:istiod-ca:{name}")),
                path: "root-cert.pem".into(),
                optional,
                ..ClusterTrustBundleProjection::default()
            }),
            ..VolumeProjection::default()
        }]),
        ..ProjectedVolumeSource::default()
    }
}

/// Whether an environment asks for trust bundles of the cluster.
pub fn trusts_cluster_bundle(env: &BTreeMap<String, Value>) -> bool {
    let switch = env.get("ENABLE_CLUSTER_TRUST_BUNDLE_API");
    switch.and_then(scalar_text).as_deref() == Some("true")
}

/// A bound for pods of the priority class of node agents.
pub fn resource_quota(metadata: ObjectMeta, quota: &Quota) -> ResourceQuota {
    ResourceQuota {
        metadata,
        spec: Some(ResourceQuotaSpec {
            hard: Some([("pods".to_owned(), Quantity(quota.pods.0.clone()))].into()),
            scope_selector: Some(ScopeSelector {
                match_expressions: Some(vec![ScopedResourceSelectorRequirement {
                    scope_name: "PriorityClass".into(),
                    operator: "In".into(),
                    values: Some(vec!["system-node-critical".into()]),
                }]),
            }),
            ..ResourceQuotaSpec::default()
        }),
        ..ResourceQuota::default()
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
                behavior: given(&self.behavior.cloned()),
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
