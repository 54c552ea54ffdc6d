//! What ConfigMap `istio-sidecar-injector` says: keys `config` and `values`.

use std::collections::BTreeMap;

use ironsail_mesh::injector_values::InjectorValues;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

/// Both documents, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InjectorConfig {
    pub values: InjectorValues,
    /// What pods of selected namespaces get when they say nothing.
    pub policy: Policy,
    pub always_inject: Vec<LabelSelector>,
    pub never_inject: Vec<LabelSelector>,
    /// Annotations every injected pod gets.
    pub injected_annotations: BTreeMap<String, String>,
    /// Templates of pods that name none; `sidecar` when empty.
    pub default_templates: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    #[default]
    Enabled,
    Disabled,
}

/// Why the ConfigMap cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("key values does not decode")]
    Values(#[source] serde_yaml_ng::Error),
    #[error("key config does not decode")]
    Config(#[source] serde_yaml_ng::Error),
    #[error("values: a selector does not decode")]
    Selector(#[source] serde_json::Error),
    #[error("policy {0:?} is neither enabled nor disabled")]
    Policy(String),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConfigDocument {
    policy: Option<String>,
    always_inject_selector: Option<Vec<LabelSelector>>,
    never_inject_selector: Option<Vec<LabelSelector>>,
    injected_annotations: Option<BTreeMap<String, String>>,
    default_templates: Option<Vec<String>>,
}

impl InjectorConfig {
    /// Reads the keys of the ConfigMap; what `config` leaves out comes from `values`.
    ///
    /// # Errors
    /// A document is malformed, or the policy is unknown.
    pub fn parse(config: Option<&str>, values: Option<&str>) -> Result<Self, ConfigError> {
        let values =
            InjectorValues::parse(values.unwrap_or_default()).map_err(ConfigError::Values)?;
        let document: ConfigDocument =
            serde_yaml_ng::from_str::<Option<ConfigDocument>>(config.unwrap_or_default())
                .map_err(ConfigError::Config)?
                .unwrap_or_default();
        Self::combine(document, values)
    }

    /// Configuration of an installation without a `config` key.
    ///
    /// # Errors
    /// A selector is malformed, or the policy is unknown.
    pub fn from_values(values: InjectorValues) -> Result<Self, ConfigError> {
        Self::combine(ConfigDocument::default(), values)
    }

    fn combine(document: ConfigDocument, values: InjectorValues) -> Result<Self, ConfigError> {
        let webhook = &values.sidecar_injector_webhook;
        let policy = match document
            .policy
            .as_deref()
            .unwrap_or(&values.global.proxy.auto_inject)
        {
            "enabled" | "" => Policy::Enabled,
            "disabled" => Policy::Disabled,
            other => return Err(ConfigError::Policy(other.to_owned())),
        };
        let or_values = |own: Option<Vec<LabelSelector>>, values: &[serde_json::Value]| match own {
            Some(selectors) => Ok(selectors),
            None => values
                .iter()
                .map(|value| LabelSelector::deserialize(value).map_err(ConfigError::Selector))
                .collect(),
        };
        Ok(Self {
            policy,
            always_inject: or_values(
                document.always_inject_selector,
                &webhook.always_inject_selector,
            )?,
            never_inject: or_values(
                document.never_inject_selector,
                &webhook.never_inject_selector,
            )?,
            injected_annotations: document
                .injected_annotations
                .unwrap_or_else(|| webhook.injected_annotations.clone()),
            default_templates: document
                .default_templates
                .unwrap_or_else(|| webhook.default_templates.clone()),
            values,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_wins_over_values() {
        let config = InjectorConfig::parse(
            Some("policy: disabled\nneverInjectSelector: [{matchLabels: {a: b}}]\ntemplates: {x: '{{ . }}'}\n"),
            Some(r#"{"sidecarInjectorWebhook":{"alwaysInjectSelector":[{"matchExpressions":[{"key":"k","operator":"Exists"}]}]}}"#),
        )
        .expect("valid");
        assert_eq!(config.policy, Policy::Disabled);
        assert_eq!(config.never_inject.len(), 1);
        assert_eq!(config.always_inject.len(), 1);
    }

    #[test]
    fn malformed_documents_are_named() {
        let check = |config, values| InjectorConfig::parse(config, values).expect_err("malformed");
        assert!(matches!(
            check(Some("policy: maybe"), None),
            ConfigError::Policy(_)
        ));
        assert!(matches!(
            check(Some("policy: {"), None),
            ConfigError::Config(_)
        ));
        assert!(matches!(check(None, Some("[")), ConfigError::Values(_)));
    }
}
