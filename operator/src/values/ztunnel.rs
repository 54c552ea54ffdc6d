//! Typed view of the node proxy's values, as far as rendering reads them.

use std::collections::BTreeMap;

use ironsail_crds::wire::Text;
use k8s_openapi::api::apps::v1::DaemonSetUpdateStrategy;
use k8s_openapi::api::core::v1::{Affinity, SELinuxOptions, Toleration, Volume, VolumeMount};
use serde::Deserialize;
use serde_json::Value;

use super::gateway::Mesh;
use super::global::{Enabled, MultiCluster, Quota, ResourceScope, Resources};
use crate::value::texts;

/// Values of the node proxy: its own and the shared ones, all at the root.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ztunnel {
    pub affinity: Option<Affinity>,
    #[serde(deserialize_with = "texts")]
    pub annotations: BTreeMap<String, String>,
    pub ca_address: String,
    pub env: BTreeMap<String, Value>,
    pub hub: String,
    pub image: String,
    pub image_pull_policy: String,
    pub image_pull_secrets: Vec<String>,
    pub istio_namespace: String,
    #[serde(deserialize_with = "texts")]
    pub labels: BTreeMap<String, String>,
    pub log_as_json: bool,
    pub log_level: String,
    pub mesh_config: Mesh,
    pub multi_cluster: MultiCluster,
    pub network: Text,
    pub network_policy: Enabled,
    #[serde(deserialize_with = "texts")]
    pub node_selector: BTreeMap<String, String>,
    pub owner_name: String,
    pub peer_ca_crl: Enabled,
    pub platform: String,
    #[serde(deserialize_with = "texts")]
    pub pod_annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "texts")]
    pub pod_labels: BTreeMap<String, String>,
    pub resource_name: String,
    pub resource_quotas: Quota,
    pub resource_scope: ResourceScope,
    pub resources: Resources,
    #[serde(rename = "seLinuxOptions")]
    pub se_linux_options: Option<SELinuxOptions>,
    pub tag: Text,
    pub termination_grace_period_seconds: i64,
    pub tolerations: Vec<Toleration>,
    pub trust_bundle_name: String,
    pub update_strategy: Option<DaemonSetUpdateStrategy>,
    pub variant: String,
    pub volume_mounts: Vec<VolumeMount>,
    pub volumes: Vec<Volume>,
    pub xds_address: String,
}
