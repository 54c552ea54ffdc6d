//! Typed view of the control plane's values, as far as rendering reads them.

use std::collections::BTreeMap;

use ironsail_crds::wire::Text;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use k8s_openapi::api::core::v1::{
    Affinity, Container, EnvVar, SeccompProfile, Toleration, TopologySpreadConstraint, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::global::{Enabled, Global, Resources};
use crate::value::{number, optional_number, texts};

/// Values of the control plane, `pilot` already laid over the root.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Istiod {
    pub affinity: Option<Affinity>,
    pub autoscale_behavior: Option<HorizontalPodAutoscalerBehavior>,
    pub autoscale_enabled: bool,
    #[serde(deserialize_with = "number")]
    pub autoscale_max: i32,
    #[serde(deserialize_with = "number")]
    pub autoscale_min: i32,
    pub base: Base,
    pub config_map: bool,
    pub cpu: Utilization,
    pub crl_config_map_name: String,
    pub default_revision: String,
    #[serde(deserialize_with = "texts")]
    pub deployment_annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "texts")]
    pub deployment_labels: BTreeMap<String, String>,
    pub env: BTreeMap<String, Value>,
    pub env_var_from: Vec<EnvVar>,
    pub experimental: Experimental,
    pub extra_container_args: Vec<Text>,
    pub gateway_classes: BTreeMap<String, Map<String, Value>>,
    pub global: Global,
    pub hub: String,
    pub image: String,
    pub init_containers: Vec<Container>,
    pub ip_families: Vec<String>,
    pub ip_family_policy: String,
    pub istiod_remote: IstiodRemote,
    #[serde(rename = "jwksResolverExtraRootCA")]
    pub jwks_resolver_extra_root_ca: String,
    pub keepalive_max_server_connection_age: Text,
    pub memory: Utilization,
    pub mesh_config: Map<String, Value>,
    #[serde(deserialize_with = "texts")]
    pub node_selector: BTreeMap<String, String>,
    pub owner_name: String,
    pub pdb: Pdb,
    pub platform: String,
    #[serde(deserialize_with = "texts")]
    pub pod_annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "texts")]
    pub pod_labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "number")]
    pub replica_count: i32,
    pub resources: Resources,
    pub revision_tags: Vec<String>,
    pub rolling_max_surge: Option<IntOrString>,
    pub rolling_max_unavailable: Option<IntOrString>,
    pub seccomp_profile: Option<SeccompProfile>,
    #[serde(deserialize_with = "texts")]
    pub service_account_annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "texts")]
    pub service_annotations: BTreeMap<String, String>,
    pub sidecar_injector_webhook: Injector,
    #[serde(deserialize_with = "texts")]
    pub sidecar_injector_webhook_annotations: BTreeMap<String, String>,
    pub tag: Text,
    pub taint: Taint,
    pub telemetry: Telemetry,
    pub termination_message_policy: String,
    pub tolerations: Vec<Toleration>,
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Percent of requests, 0 to 100.
    #[serde(deserialize_with = "number")]
    pub trace_sampling: f64,
    pub traffic_distribution: String,
    pub trusted_ztunnel_name: String,
    pub trusted_ztunnel_namespace: String,
    pub variant: String,
    pub volume_mounts: Vec<VolumeMount>,
    pub volumes: Vec<Volume>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Base {
    #[serde(rename = "enableCRDTemplates")]
    pub enable_crd_templates: Option<bool>,
    #[serde(rename = "excludedCRDs")]
    pub excluded_crds: Vec<String>,
    #[serde(rename = "validationCABundle")]
    pub validation_ca_bundle: String,
    pub validation_failure_policy: String,
    #[serde(rename = "validationURL")]
    pub validation_url: String,
}

/// Target of an autoscaler, in percent.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Utilization {
    #[serde(deserialize_with = "optional_number")]
    pub target_average_utilization: Option<i32>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Experimental {
    pub stable_validation_policy: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IstiodRemote {
    pub enabled: bool,
    pub enabled_local_injector_istiod: bool,
    #[serde(rename = "injectionCABundle")]
    pub injection_ca_bundle: String,
    pub injection_path: String,
    #[serde(rename = "injectionURL")]
    pub injection_url: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Pdb {
    pub max_unavailable: Option<IntOrString>,
    pub min_available: Option<IntOrString>,
    pub unhealthy_pod_eviction_policy: String,
}

/// Settings of sidecar injection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Injector {
    pub always_inject_selector: Vec<LabelSelector>,
    pub default_templates: Vec<String>,
    pub enable_namespaces_by_default: bool,
    #[serde(deserialize_with = "texts")]
    pub injected_annotations: BTreeMap<String, String>,
    pub never_inject_selector: Vec<LabelSelector>,
    pub reinvocation_policy: String,
    #[serde(deserialize_with = "texts")]
    pub templates: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Taint {
    pub enabled: bool,
    pub name: String,
    pub namespace: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    pub enabled: bool,
    pub v2: TelemetryV2,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TelemetryV2 {
    pub enabled: bool,
    pub prometheus: Enabled,
    pub stackdriver: Enabled,
}
