//! The `values` document of ConfigMap `istio-sidecar-injector`: written when the control plane is installed, read by the injector.
//!
//! Absent fields have the defaults of the peer's charts. Helm values are loosely typed, so texts, numbers and
//! booleans are read in any of their spellings; `null` means the default. What is not named here is kept in `other`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InjectorValues {
    #[serde(deserialize_with = "or_default")]
    pub global: Global,
    #[serde(deserialize_with = "or_default")]
    pub gateways: Gateways,
    #[serde(deserialize_with = "or_default")]
    pub pilot: Pilot,
    /// Empty for the default revision.
    #[serde(deserialize_with = "text")]
    pub revision: String,
    #[serde(deserialize_with = "or_default")]
    pub sidecar_injector_webhook: SidecarInjectorWebhook,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Global {
    /// Address of the certificate authority; empty means the control plane itself.
    #[serde(deserialize_with = "text")]
    pub ca_address: String,
    #[serde(deserialize_with = "text")]
    pub ca_name: String,
    #[serde(deserialize_with = "text")]
    pub hub: String,
    #[serde(deserialize_with = "text")]
    pub tag: String,
    #[serde(deserialize_with = "text")]
    pub variant: String,
    #[serde(deserialize_with = "text")]
    pub image_pull_policy: String,
    /// Names of Secrets.
    #[serde(deserialize_with = "or_default")]
    pub image_pull_secrets: Vec<String>,
    #[serde(deserialize_with = "text")]
    pub istio_namespace: String,
    #[serde(deserialize_with = "boolean")]
    pub log_as_json: bool,
    #[serde(deserialize_with = "or_default")]
    pub logging: Logging,
    #[serde(rename = "meshID", deserialize_with = "text")]
    pub mesh_id: String,
    #[serde(deserialize_with = "boolean")]
    pub mount_mtls_certs: bool,
    #[serde(deserialize_with = "or_default")]
    pub multi_cluster: MultiCluster,
    #[serde(deserialize_with = "boolean")]
    pub native_nftables: bool,
    #[serde(deserialize_with = "text")]
    pub network: String,
    #[serde(deserialize_with = "text")]
    pub pilot_cert_provider: String,
    #[serde(deserialize_with = "or_default")]
    pub proxy: Proxy,
    #[serde(rename = "proxy_init", deserialize_with = "or_default")]
    pub proxy_init: ProxyInit,
    #[serde(deserialize_with = "or_default")]
    pub sds: Sds,
    #[serde(deserialize_with = "or_default")]
    pub sts: Sts,
    /// ConfigMap with the mesh's root certificate; empty means `istio-ca-root-cert`.
    #[serde(deserialize_with = "text")]
    pub trust_bundle_name: String,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proxy {
    /// `enabled` or `disabled`: what happens to pods of selected namespaces that say nothing.
    #[serde(deserialize_with = "text")]
    pub auto_inject: String,
    #[serde(deserialize_with = "text")]
    pub cluster_domain: String,
    #[serde(deserialize_with = "text")]
    pub component_log_level: String,
    #[serde(rename = "excludeIPRanges", deserialize_with = "text")]
    pub exclude_ip_ranges: String,
    #[serde(deserialize_with = "text")]
    pub exclude_inbound_ports: String,
    #[serde(deserialize_with = "text")]
    pub exclude_outbound_ports: String,
    /// Image name, or a whole reference when it contains `/`.
    #[serde(deserialize_with = "text")]
    pub image: String,
    #[serde(rename = "includeIPRanges", deserialize_with = "text")]
    pub include_ip_ranges: String,
    #[serde(deserialize_with = "text")]
    pub include_inbound_ports: String,
    #[serde(deserialize_with = "text")]
    pub include_outbound_ports: String,
    #[serde(deserialize_with = "text")]
    pub log_level: String,
    #[serde(deserialize_with = "text")]
    pub outlier_log_path: String,
    #[serde(deserialize_with = "boolean")]
    pub privileged: bool,
    #[serde(deserialize_with = "boolean")]
    pub hold_application_until_proxy_starts: bool,
    /// A `Lifecycle` that replaces the injector's own.
    #[serde(deserialize_with = "or_default")]
    pub lifecycle: Option<Value>,
    #[serde(deserialize_with = "text")]
    pub readiness_failure_threshold: String,
    #[serde(deserialize_with = "text")]
    pub readiness_initial_delay_seconds: String,
    #[serde(deserialize_with = "text")]
    pub readiness_period_seconds: String,
    /// A `ResourceRequirements`.
    #[serde(deserialize_with = "or_default")]
    pub resources: Option<Value>,
    /// A `SeccompProfile`; an empty object is none.
    #[serde(deserialize_with = "or_default")]
    pub seccomp_profile: Option<Value>,
    #[serde(deserialize_with = "or_default")]
    pub startup_probe: StartupProbe,
    #[serde(deserialize_with = "text")]
    pub status_port: String,
    #[serde(deserialize_with = "text")]
    pub tracer: String,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StartupProbe {
    #[serde(deserialize_with = "boolean")]
    pub enabled: bool,
    #[serde(deserialize_with = "text")]
    pub failure_threshold: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyInit {
    #[serde(deserialize_with = "boolean")]
    pub force_apply_iptables: bool,
    #[serde(deserialize_with = "text")]
    pub image: String,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logging {
    /// Scopes and levels of the agent, `default:info`.
    #[serde(deserialize_with = "text")]
    pub level: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MultiCluster {
    /// Empty means `Kubernetes`.
    #[serde(deserialize_with = "text")]
    pub cluster_name: String,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sds {
    #[serde(deserialize_with = "or_default")]
    pub token: SdsToken,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SdsToken {
    /// Audience of the workloads' tokens.
    #[serde(deserialize_with = "text")]
    pub aud: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sts {
    /// `0` means none.
    #[serde(deserialize_with = "text")]
    pub service_port: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gateways {
    /// A `PodSecurityContext`; an empty object is none.
    #[serde(deserialize_with = "or_default")]
    pub security_context: Option<Value>,
    #[serde(deserialize_with = "or_default")]
    pub seccomp_profile: Option<Value>,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pilot {
    #[serde(deserialize_with = "or_default")]
    pub cni: Cni,
    #[serde(deserialize_with = "or_default")]
    pub env: BTreeMap<String, Value>,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cni {
    /// Traffic capture is set up by the node's network plugin instead of an init container.
    #[serde(deserialize_with = "boolean")]
    pub enabled: bool,
    /// `default` or `multus`.
    #[serde(deserialize_with = "text")]
    pub provider: String,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarInjectorWebhook {
    /// `LabelSelector`s.
    #[serde(deserialize_with = "or_default")]
    pub always_inject_selector: Vec<Value>,
    #[serde(deserialize_with = "or_default")]
    pub never_inject_selector: Vec<Value>,
    #[serde(deserialize_with = "or_default")]
    pub default_templates: Vec<String>,
    #[serde(deserialize_with = "boolean")]
    pub enable_namespaces_by_default: bool,
    #[serde(deserialize_with = "or_default")]
    pub injected_annotations: BTreeMap<String, String>,
    #[serde(rename = "rewriteAppHTTPProbe", deserialize_with = "boolean")]
    pub rewrite_app_http_probe: bool,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl InjectorValues {
    /// Reads the document; JSON and YAML are both accepted.
    ///
    /// # Errors
    /// The text is neither, or a field has an impossible type.
    pub fn parse(text: &str) -> Result<Self, serde_yaml_ng::Error> {
        // A null document is what an empty key decodes to.
        Ok(serde_yaml_ng::from_str::<Option<Self>>(text)?.unwrap_or_default())
    }
}

impl Default for Global {
    fn default() -> Self {
        Self {
            ca_address: String::new(),
            ca_name: String::new(),
            hub: String::new(),
            tag: String::new(),
            variant: String::new(),
            image_pull_policy: String::new(),
            image_pull_secrets: Vec::new(),
            istio_namespace: crate::mesh_config::DEFAULT_ROOT_NAMESPACE.to_owned(),
            log_as_json: false,
            logging: Logging::default(),
            mesh_id: String::new(),
            mount_mtls_certs: false,
            multi_cluster: MultiCluster::default(),
            native_nftables: false,
            network: String::new(),
            pilot_cert_provider: "istiod".to_owned(),
            proxy: Proxy::default(),
            proxy_init: ProxyInit::default(),
            sds: Sds::default(),
            sts: Sts::default(),
            trust_bundle_name: String::new(),
            other: BTreeMap::new(),
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            auto_inject: "enabled".to_owned(),
            cluster_domain: crate::host::DEFAULT_CLUSTER_DOMAIN.to_owned(),
            component_log_level: "misc:error".to_owned(),
            exclude_ip_ranges: String::new(),
            exclude_inbound_ports: String::new(),
            exclude_outbound_ports: String::new(),
            image: "proxyv2".to_owned(),
            include_ip_ranges: "*".to_owned(),
            include_inbound_ports: "*".to_owned(),
            include_outbound_ports: String::new(),
            log_level: "warning".to_owned(),
            outlier_log_path: String::new(),
            privileged: false,
            hold_application_until_proxy_starts: false,
            lifecycle: None,
            readiness_failure_threshold: "4".to_owned(),
            readiness_initial_delay_seconds: "0".to_owned(),
            readiness_period_seconds: "15".to_owned(),
            resources: None,
            seccomp_profile: None,
            startup_probe: StartupProbe::default(),
            status_port: "15020".to_owned(),
            tracer: "none".to_owned(),
            other: BTreeMap::new(),
        }
    }
}

impl Default for StartupProbe {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_threshold: "600".to_owned(),
        }
    }
}

impl Default for ProxyInit {
    fn default() -> Self {
        Self {
            force_apply_iptables: false,
            image: "proxyv2".to_owned(),
            other: BTreeMap::new(),
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: "default:info".to_owned(),
        }
    }
}

impl Default for SdsToken {
    fn default() -> Self {
        Self {
            aud: "istio-ca".to_owned(),
        }
    }
}

impl Default for Sts {
    fn default() -> Self {
        Self {
            service_port: "0".to_owned(),
        }
    }
}

impl Default for Cni {
    fn default() -> Self {
        Self {
            enabled: false,
            provider: "default".to_owned(),
            other: BTreeMap::new(),
        }
    }
}

impl Default for SidecarInjectorWebhook {
    fn default() -> Self {
        Self {
            always_inject_selector: Vec::new(),
            never_inject_selector: Vec::new(),
            default_templates: Vec::new(),
            enable_namespaces_by_default: false,
            injected_annotations: BTreeMap::new(),
            rewrite_app_http_probe: true,
            other: BTreeMap::new(),
        }
    }
}

/// `null` is the default value.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Texts, numbers and booleans; `null` is the empty text.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => Err(serde::de::Error::custom(
            "expected a text, number or boolean",
        )),
    }
}

/// Booleans and their texts; `null` is false.
fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(false),
        Value::Bool(value) => Ok(value),
        Value::String(text) if text.is_empty() => Ok(false),
        Value::String(text) => text
            .parse()
            .map_err(|_| serde::de::Error::custom("expected true or false")),
        _ => Err(serde::de::Error::custom("expected true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_null_fields_have_the_charts_defaults() {
        let values = InjectorValues::parse(
            r#"{"global":{"tag":1.32,"proxy":{"statusPort":15020,"image":"proxyv2"},"network":null,"platform":"x"},"pilot":null}"#,
        )
        .expect("valid");
        assert_eq!(values.global.tag, "1.32");
        assert_eq!(values.global.proxy.status_port, "15020");
        assert_eq!(values.global.proxy.include_ip_ranges, "*");
        assert!(values.global.proxy.startup_probe.enabled);
        assert!(values.sidecar_injector_webhook.rewrite_app_http_probe);
        assert!(values.global.other.contains_key("platform"));
        assert!(!values.pilot.cni.enabled);
        assert_eq!(
            InjectorValues::parse("").expect("empty"),
            InjectorValues::default()
        );
    }

    #[test]
    fn impossible_types_are_refused() {
        assert!(InjectorValues::parse(r#"{"global":{"hub":["a"]}}"#).is_err());
        assert!(InjectorValues::parse(r#"{"global":{"logAsJson":"maybe"}}"#).is_err());
    }
}
