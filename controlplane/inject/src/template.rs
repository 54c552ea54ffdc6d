//! What the built-in templates add to a pod.

mod capture;
mod env;
mod gateway;
mod proxy;
mod sidecar;
mod volumes;

use std::collections::BTreeMap;

use ironsail_mesh::injector_values::Global;
use ironsail_mesh::label;
use ironsail_mesh::mesh_config::MeshConfig;
use ironsail_mesh::revision::Revision;
use k8s_openapi::api::core::v1::{Container, PodSecurityContext, Volume};
use serde_json::Value;

use crate::settings::{Settings, Template};
use crate::{InjectError, InjectorConfig, Owner};

/// What the templates look at.
pub(crate) struct Context<'a> {
    pub settings: &'a Settings,
    pub config: &'a InjectorConfig,
    pub mesh: &'a MeshConfig,
    pub revision: &'a Revision,
    pub owner: &'a Owner,
    pub namespace: &'a str,
    pub service_account: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    pub annotations: &'a BTreeMap<String, String>,
    /// Names of the containers that are not the proxy's.
    pub app_containers: Vec<String>,
    /// Declared ports of all containers.
    pub pod_ports: Vec<Value>,
}

/// What a template adds.
#[derive(Default)]
pub(crate) struct Addition {
    pub init_containers: Vec<Container>,
    pub containers: Vec<Container>,
    pub volumes: Vec<Volume>,
    /// Labels for pods that lack them.
    pub labels: BTreeMap<String, String>,
    /// Annotations, which replace the pod's.
    pub annotations: BTreeMap<String, String>,
    /// Annotations for pods that lack them.
    pub default_annotations: BTreeMap<String, String>,
    pub security_context: Option<PodSecurityContext>,
}

/// Longest value of a label.
const MAX_LABEL: usize = 63;

/// Builds what the pod's template adds.
///
/// # Errors
/// An injector value does not decode.
pub(crate) fn build(context: &Context<'_>) -> Result<Addition, InjectError> {
    let mut addition = match context.settings.template {
        Template::Sidecar => sidecar::build(context),
        Template::Gateway => gateway::build(context)?,
    };
    context.add_common_metadata(&mut addition);
    Ok(addition)
}

impl Context<'_> {
    pub fn global(&self) -> &Global {
        &self.config.values.global
    }

    fn cni(&self) -> bool {
        self.config.values.pilot.cni.enabled
    }

    fn pull_policy(&self) -> Option<String> {
        let policy = &self.global().image_pull_policy;
        (!policy.is_empty()).then(|| policy.clone())
    }

    fn add_common_metadata(&self, addition: &mut Addition) {
        let label = |key: &str| self.labels.get(key).map(String::as_str);
        let (name, revision) = label::canonical(label, &self.owner.name);
        for (key, value) in [
            (label::CANONICAL_NAME, name),
            (label::CANONICAL_REVISION, revision),
        ] {
            addition.labels.insert(key.to_owned(), label_value(value));
        }
        addition
            .annotations
            .insert(label::REVISION.to_owned(), self.revision.label().to_owned());
        if let Some(first) = self.app_containers.first() {
            for key in [
                crate::annotation::DEFAULT_CONTAINER,
                crate::annotation::DEFAULT_LOGS_CONTAINER,
            ] {
                addition
                    .default_annotations
                    .insert(key.to_owned(), first.clone());
            }
        }
    }
}

/// Cut to the length that labels may have, without a dash or dot at the end.
fn label_value(text: &str) -> String {
    let cut: String = text.chars().take(MAX_LABEL).collect();
    cut.trim_end_matches(['-', '.', '_']).to_owned()
}
