//! The mesh document (key `mesh` of ConfigMap `istio`):
//! <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/>.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::identity::DEFAULT_TRUST_DOMAIN;
use crate::proxy_config::ProxyConfig;

/// Namespace of the control plane when nothing else is configured.
pub const DEFAULT_ROOT_NAMESPACE: &str = "istio-system";

/// Mesh-wide settings; absent fields have the peer's defaults, unknown fields are kept in `other`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust_domain_aliases: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_auto_mtls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_prometheus_merge: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    /// Path of the access log, usually `/dev/stdout`; empty or absent means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log_format: Option<String>,
    /// `TEXT` (default) or `JSON`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log_encoding: Option<String>,
    /// Duration text; default `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_selector: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_config: Option<ProxyConfig>,
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// What happens to traffic for destinations that no service names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundTrafficPolicy {
    /// `ALLOW_ANY` (default) or `REGISTRY_ONLY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl MeshConfig {
    pub fn trust_domain(&self) -> &str {
        non_empty(&self.trust_domain).unwrap_or(DEFAULT_TRUST_DOMAIN)
    }

    pub fn root_namespace(&self) -> &str {
        non_empty(&self.root_namespace).unwrap_or(DEFAULT_ROOT_NAMESPACE)
    }

    pub fn enable_auto_mtls(&self) -> bool {
        self.enable_auto_mtls.unwrap_or(true)
    }

    pub fn enable_prometheus_merge(&self) -> bool {
        self.enable_prometheus_merge.unwrap_or(true)
    }

    /// Whether unknown destinations are refused.
    pub fn is_registry_only(&self) -> bool {
        self.outbound_traffic_policy
            .as_ref()
            .is_some_and(|policy| policy.mode.as_deref() == Some("REGISTRY_ONLY"))
    }

    pub fn access_log_file(&self) -> Option<&str> {
        non_empty(&self.access_log_file)
    }

    pub fn default_config(&self) -> ProxyConfig {
        self.default_config.clone().unwrap_or_default()
    }
}

pub(crate) fn non_empty(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_have_the_peers_defaults() {
        let config: MeshConfig =
            serde_yaml_ng::from_str("trustDomain: ''\nfuture: {a: 1}\n").expect("valid");
        assert_eq!(config.trust_domain(), "cluster.local");
        assert_eq!(config.root_namespace(), "istio-system");
        assert!(config.enable_auto_mtls());
        assert!(!config.is_registry_only());
        assert!(config.other.contains_key("future"));
    }
}
