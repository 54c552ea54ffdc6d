//! Typed view of a gateway's values, as far as rendering reads them.

use std::collections::BTreeMap;

use ironsail_crds::wire::Text;
use k8s_openapi::api::core::v1::{Affinity, Container, SeccompProfile, ServicePort, Toleration};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::Value;

use super::global::Resources;
use super::istiod::{Pdb, Utilization};
use crate::value::{number, texts};

/// `values.gateways.istio-ingressgateway` or `istio-egressgateway` for one entry of the list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Gateway {
    pub additional_containers: Vec<Container>,
    pub affinity: Option<Affinity>,
    pub autoscale_enabled: bool,
    #[serde(deserialize_with = "number")]
    pub autoscale_max: i32,
    #[serde(deserialize_with = "number")]
    pub autoscale_min: i32,
    pub config_volumes: Vec<ConfigVolume>,
    pub cpu: Utilization,
    pub custom_service: bool,
    pub egress_ports: Vec<ExtraPort>,
    pub env: BTreeMap<String, Value>,
    pub external_traffic_policy: String,
    pub hub: String,
    pub ingress_ports: Vec<ExtraPort>,
    pub injection_template: String,
    pub ip_families: Vec<String>,
    pub ip_family_policy: String,
    #[serde(deserialize_with = "texts")]
    pub labels: BTreeMap<String, String>,
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: String,
    pub load_balancer_source_ranges: Vec<String>,
    pub name: String,
    #[serde(deserialize_with = "texts")]
    pub node_selector: BTreeMap<String, String>,
    pub pdb: Pdb,
    #[serde(deserialize_with = "texts")]
    pub pod_annotations: BTreeMap<String, String>,
    pub pod_anti_affinity_label_selector: Vec<PodAntiAffinity>,
    pub pod_anti_affinity_term_label_selector: Vec<PodAntiAffinity>,
    pub ports: Vec<ServicePort>,
    #[serde(deserialize_with = "number")]
    pub replica_count: i32,
    pub resources: Resources,
    pub rolling_max_surge: Option<IntOrString>,
    pub rolling_max_unavailable: Option<IntOrString>,
    pub run_as_root: bool,
    pub seccomp_profile: Option<SeccompProfile>,
    pub secret_volumes: Vec<SecretVolume>,
    pub service_account: ServiceAccount,
    #[serde(deserialize_with = "texts")]
    pub service_annotations: BTreeMap<String, String>,
    pub tag: Text,
    pub tolerations: Vec<Toleration>,
    pub r#type: String,
}

/// A ConfigMap mounted into the gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConfigVolume {
    pub config_map_name: String,
    pub mount_path: String,
    pub name: String,
}

/// Pods whose nodes are avoided.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodAntiAffinity {
    pub key: String,
    /// A list, or its items separated by commas; empty means the pod's own.
    pub namespaces: Value,
    pub operator: String,
    pub topology_key: String,
    /// A list, or its items separated by commas.
    pub values: Value,
}

/// A Secret mounted into the gateway; it may be missing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SecretVolume {
    pub mount_path: String,
    pub name: String,
    pub secret_name: String,
}

/// A port that is added to the Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ExtraPort {
    pub name: String,
    #[serde(deserialize_with = "number")]
    pub port: i32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    #[serde(deserialize_with = "texts")]
    pub annotations: BTreeMap<String, String>,
}

/// The part of the mesh configuration that gateways read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Mesh {
    pub default_config: MeshDefaultConfig,
    pub enable_prometheus_merge: bool,
    pub trust_domain: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MeshDefaultConfig {
    pub proxy_metadata: BTreeMap<String, Value>,
}
