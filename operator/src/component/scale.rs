//! How many pods there are: autoscalers, disruption budgets and quotas.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget, ResourceMetricSource,
};
use k8s_openapi::api::core::v1::{
    ResourceQuota, ResourceQuotaSpec, ScopeSelector, ScopedResourceSelectorRequirement,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Labels, given, match_labels, some_list};
use crate::values::global::{Quota, non_empty};
use crate::values::istiod::{Pdb, Utilization};

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
