//! Typed view of the CNI node agent's values, as far as rendering reads them.

use std::collections::BTreeMap;

use ironsail_crds::wire::Text;
use k8s_openapi::api::apps::v1::DaemonSetUpdateStrategy;
use k8s_openapi::api::core::v1::{Affinity, SELinuxOptions, SeccompProfile, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::global::{Global, Logging, Quota, Resources};
use crate::value::texts;

/// Values of the agent, `cni` already laid over the root.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Cni {
    pub affinity: Option<Affinity>,
    pub ambient: Ambient,
    pub chained: bool,
    pub cni_bin_dir: String,
    pub cni_conf_dir: String,
    pub cni_conf_file_name: String,
    pub cni_netns_dir: String,
    #[serde(deserialize_with = "texts")]
    pub daemon_set_labels: BTreeMap<String, String>,
    pub env: BTreeMap<String, Value>,
    pub exclude_namespaces: Vec<String>,
    pub global: Global,
    pub hub: String,
    pub image: String,
    #[serde(rename = "istioOwnedCNIConfig")]
    pub istio_owned_cni_config: bool,
    #[serde(rename = "istioOwnedCNIConfigFileName")]
    pub istio_owned_cni_config_file_name: String,
    pub logging: Logging,
    pub owner_name: String,
    pub platform: String,
    #[serde(deserialize_with = "texts")]
    pub pod_annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "texts")]
    pub pod_labels: BTreeMap<String, String>,
    pub provider: String,
    pub pull_policy: String,
    pub repair: Repair,
    pub resource_quotas: Quota,
    pub resources: Resources,
    #[serde(rename = "seLinuxOptions")]
    pub se_linux_options: Option<SELinuxOptions>,
    pub seccomp_profile: Option<SeccompProfile>,
    pub tag: Text,
    pub termination_grace_period_seconds: i64,
    pub tolerations: Vec<Toleration>,
    pub update_strategy: Option<DaemonSetUpdateStrategy>,
    pub use_app_armor_annotation: bool,
    pub variant: String,
}

/// Redirection for ambient mode.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ambient {
    pub dns_capture: bool,
    pub enable_ambient_detection_retry: bool,
    pub enabled: bool,
    pub enablement_selectors: Vec<EnablementSelector>,
    pub ipv6: bool,
    pub reconcile_iptables_on_startup: bool,
    pub share_host_network_namespace: bool,
}

/// Which pods are of ambient mode: both selectors match.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EnablementSelector {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
}

/// What is done with pods that started before the agent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Repair {
    pub broken_pod_label_key: String,
    pub broken_pod_label_value: Text,
    pub delete_pods: bool,
    pub enabled: bool,
    pub init_container_name: String,
    pub label_pods: bool,
    pub repair_pods: bool,
}
