//! Typed view of `values.global`, as far as rendering reads it.

use std::collections::BTreeMap;

use ironsail_crds::wire::Text;
use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;
use serde_json::Value;

use crate::value::{number, texts};

/// Settings that all components share; every field has a default in the built-in values.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Global {
    /// Preferred architectures, name → weight 0 (never) to 3 (most).
    pub arch: BTreeMap<String, u32>,
    pub ca_address: String,
    pub config_cluster: bool,
    pub config_validation: bool,
    #[serde(deserialize_with = "texts")]
    pub default_node_selector: BTreeMap<String, String>,
    pub default_pod_disruption_budget: Enabled,
    pub default_resources: Resources,
    pub default_tolerations: Vec<Toleration>,
    #[serde(rename = "enableReaderRBAC")]
    pub enable_reader_rbac: Option<bool>,
    pub external_istiod: bool,
    pub hub: String,
    pub image_pull_policy: String,
    pub image_pull_secrets: Vec<String>,
    pub ip_families: Vec<String>,
    pub ip_family_policy: String,
    pub istiod: Istiod,
    pub log_as_json: bool,
    pub logging: Logging,
    #[serde(rename = "meshID")]
    pub mesh_id: Text,
    pub mesh_networks: Value,
    pub mount_mtls_certs: bool,
    pub multi_cluster: MultiCluster,
    pub native_nftables: bool,
    pub network: Text,
    pub network_policy: Enabled,
    pub omit_sidecar_injector_config_map: bool,
    pub operator_manage_webhooks: bool,
    pub pilot_cert_provider: String,
    pub platform: String,
    pub priority_class_name: String,
    pub proxy: Proxy,
    pub reader_service_account: ReaderServiceAccount,
    pub remote_pilot_address: String,
    pub resource_scope: ResourceScope,
    pub sds: Sds,
    pub sts: Sts,
    pub tag: Text,
    pub trust_bundle_name: String,
    pub variant: String,
}

/// A switch of its own level.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Enabled {
    pub enabled: bool,
}

/// Bound of the pods of a priority class.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Quota {
    pub enabled: bool,
    pub pods: Text,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Istiod {
    pub enable_analysis: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Logging {
    pub level: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MultiCluster {
    pub cluster_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Proxy {
    pub auto_inject: String,
    pub cluster_domain: String,
    pub component_log_level: String,
    pub image: String,
    pub log_level: String,
    pub tracer: String,
    pub variant: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReaderServiceAccount {
    pub name: String,
    pub namespace: String,
}

/// Which objects are rendered, by where they live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceScope {
    #[default]
    All,
    Cluster,
    Namespace,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sds {
    pub token: SdsToken,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SdsToken {
    pub aud: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Sts {
    #[serde(deserialize_with = "number")]
    pub service_port: u16,
}

/// Limits and requests; quantities may be written as numbers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub limits: BTreeMap<String, Text>,
    pub requests: BTreeMap<String, Text>,
}

impl Resources {
    /// These, or `other` if nothing is set here.
    pub fn or(&self, other: &Self) -> Option<ResourceRequirements> {
        let chosen = match self.limits.is_empty() && self.requests.is_empty() {
            true => other,
            false => self,
        };
        let quantities = |map: &BTreeMap<String, Text>| {
            let map: BTreeMap<String, Quantity> = map
                .iter()
                .filter(|(_, text)| !text.is_empty())
                .map(|(name, text)| (name.clone(), Quantity(text.0.clone())))
                .collect();
            (!map.is_empty()).then_some(map)
        };
        let (limits, requests) = (quantities(&chosen.limits), quantities(&chosen.requests));
        (limits.is_some() || requests.is_some()).then(|| ResourceRequirements {
            limits,
            requests,
            ..ResourceRequirements::default()
        })
    }
}

impl Global {
    /// `hub/name:tag[-variant]`; a name with a slash is a whole reference, an empty one the default.
    pub fn image(
        &self,
        (name, default): (&str, &str),
        hub: &str,
        tag: &str,
        variant: &str,
    ) -> String {
        if name.contains('/') {
            return name.to_owned();
        }
        let pick = |own: &str, shared: &str| {
            let chosen = if own.is_empty() { shared } else { own };
            chosen.to_owned()
        };
        let name = pick(name, default);
        let hub = pick(hub, &self.hub);
        let tag = pick(tag, &self.tag);
        match pick(variant, &self.variant).as_str() {
            "" => format!("{hub}/{name}:{tag}"),
            variant => format!("{hub}/{name}:{tag}-{variant}"),
        }
    }

    /// The platform, which may also stand at the root of the values.
    pub fn platform_or<'a>(&'a self, root: &'a str) -> &'a str {
        match self.platform.as_str() {
            "" => root,
            own => own,
        }
    }

    /// The pull policy, if one is set.
    pub fn pull_policy(&self) -> Option<String> {
        non_empty(&self.image_pull_policy)
    }

    /// ConfigMap with the mesh's root certificate.
    pub fn root_cert_config_map(&self) -> &str {
        match self.trust_bundle_name.as_str() {
            "" => "istio-ca-root-cert",
            name => name,
        }
    }

    /// Name of the cluster that proxies and control plane announce.
    pub fn cluster_name(&self) -> &str {
        match self.multi_cluster.cluster_name.as_str() {
            "" => "Kubernetes",
            name => name,
        }
    }
}

/// The text, unless it is empty.
pub fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images() {
        let global = Global {
            hub: "hub".into(),
            tag: "1".into(),
            ..Global::default()
        };
        assert_eq!(global.image(("pilot", "pilot"), "", "", ""), "hub/pilot:1");
        assert_eq!(global.image(("", "pilot"), "", "", ""), "hub/pilot:1");
        assert_eq!(
            global.image(("pilot", "pilot"), "own", "2", "debug"),
            "own/pilot:2-debug"
        );
        assert_eq!(
            global.image(("r.example/x:3", "pilot"), "own", "2", ""),
            "r.example/x:3"
        );
    }

    #[test]
    fn empty_resources_fall_back() {
        let own: Resources =
            serde_yaml_ng::from_str("{limits: {cpu: 2, memory: ''}}").expect("valid");
        let shared: Resources = serde_yaml_ng::from_str("{requests: {cpu: 10m}}").expect("valid");
        let limits = own.or(&shared).expect("some").limits.expect("limits");
        assert_eq!(
            limits.into_iter().collect::<Vec<_>>(),
            [("cpu".into(), Quantity("2".into()))]
        );
        let fallen = Resources::default().or(&shared).expect("some");
        assert!(fallen.limits.is_none() && fallen.requests.is_some());
    }
}
