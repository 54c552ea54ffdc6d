//! The mesh configuration, with its texts parsed.

use std::time::Duration;

use ironsail_crds::Diagnostic;
use ironsail_mesh::mesh_config::MeshConfig;

use crate::model::export::ExportTo;

/// Default of `connectTimeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What generation reads of the mesh configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    pub config: MeshConfig,
    pub connect_timeout: Duration,
    /// Used by services, virtual services and destination rules that name nothing.
    pub service_export: ExportTo,
    pub virtual_service_export: ExportTo,
    pub destination_rule_export: ExportTo,
    /// Whether localities are preferred where outlier detection can tell that one fails.
    pub locality_enabled: bool,
    /// When this configuration took effect, in snapshots.
    pub generation: u64,
}

impl Mesh {
    /// Parses the texts; what cannot be parsed has its default and is reported.
    pub fn new(config: MeshConfig, generation: u64) -> (Self, Vec<Diagnostic>) {
        let mut findings = Vec::new();
        let connect_timeout = match config.connect_timeout.as_deref() {
            None | Some("") => CONNECT_TIMEOUT,
            Some(text) => match ironsail_mesh::duration::parse(text) {
                Ok(timeout) if !timeout.is_zero() => timeout,
                Ok(_) => {
                    findings.push(Diagnostic::error("connectTimeout", "must be above zero"));
                    CONNECT_TIMEOUT
                }
                Err(error) => {
                    findings.push(Diagnostic::error("connectTimeout", error.to_string()));
                    CONNECT_TIMEOUT
                }
            },
        };
        let export = |key: &str| {
            config
                .other
                .get(key)
                .and_then(|value| value.as_array())
                .and_then(|entries| {
                    ExportTo::parse(entries.iter().filter_map(|entry| entry.as_str()))
                })
                .unwrap_or_else(ExportTo::everywhere)
        };
        let mesh = Self {
            connect_timeout,
            service_export: export("defaultServiceExportTo"),
            virtual_service_export: export("defaultVirtualServiceExportTo"),
            destination_rule_export: export("defaultDestinationRuleExportTo"),
            locality_enabled: config
                .other
                .get("localityLbSetting")
                .and_then(|setting| setting.get("enabled"))
                .and_then(serde_json::Value::as_bool)
                .unwrap_or(true),
            config,
            generation,
        };
        (mesh, findings)
    }

    /// The trust domain and its aliases, the domain itself first.
    pub fn trust_domains(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.config.trust_domain())
            .chain(self.config.trust_domain_aliases.iter().map(String::as_str))
    }

    pub fn root_namespace(&self) -> &str {
        self.config.root_namespace()
    }
}
