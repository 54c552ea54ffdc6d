//! The components of an installation and what their objects have in common.

pub mod base;
pub mod cni;
pub mod gateway;
pub mod istiod;
pub mod ztunnel;

mod pod;
mod scale;

use std::collections::BTreeMap;
use std::fmt;

use ironsail_crds::Diagnostic;
use ironsail_mesh::label;
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};

use crate::object::Manifest;
use crate::render::Context;
use crate::values::Resolved;
use crate::values::global::non_empty;
pub use pod::{
    env, env_field, env_map, env_resource, host_path, mount, mount_read_only, optional_secret,
    pull_secrets, root_certificate, se_linux, trust_bundle, trusts_cluster_bundle,
};
pub use scale::{Scale, resource_quota};

/// Registry and path of Ironsail's images, unless they are mirrored.
pub const OWN_HUB: &str = "ironsail";

/// A component, by the name that `status.componentStatus` and the label
/// `operator.istio.io/component` use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Component {
    Base,
    Pilot,
    Cni,
    Ztunnel,
    IngressGateways,
    EgressGateways,
}

impl Component {
    /// Every component, in the order of installation.
    pub const ALL: [Self; 6] = [
        Self::Base,
        Self::Pilot,
        Self::Cni,
        Self::Ztunnel,
        Self::IngressGateways,
        Self::EgressGateways,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "Base",
            Self::Pilot => "Pilot",
            Self::Cni => "Cni",
            Self::Ztunnel => "Ztunnel",
            Self::IngressGateways => "IngressGateways",
            Self::EgressGateways => "EgressGateways",
        }
    }

    /// A component is installed once those of earlier waves are ready.
    pub fn wave(self) -> usize {
        match self {
            Self::Base => 0,
            Self::Pilot | Self::Cni => 1,
            Self::Ztunnel | Self::IngressGateways | Self::EgressGateways => 2,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Collects what rendering produces.
#[derive(Debug, Default)]
pub struct Sink {
    pub objects: Vec<Manifest>,
    pub findings: Vec<Diagnostic>,
}

impl Sink {
    /// Adds an object of a built-in type.
    pub fn add<K: Serialize>(&mut self, component: Component, object: &K) {
        let body = serde_json::to_value(object).expect("Kubernetes types become JSON");
        match Manifest::new(component, body) {
            Ok(manifest) => self.objects.push(manifest),
            Err(message) => self.error(format!("spec.components.{component}"), message),
        }
    }

    pub fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Diagnostic::error(path, message));
    }

    pub fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Diagnostic::warning(path, message));
    }

    /// Takes what another sink collected.
    pub fn append(&mut self, mut other: Self) {
        self.objects.append(&mut other.objects);
        self.findings.append(&mut other.findings);
    }

    /// Refuses a setting whose component Ironsail has no image for, unless it names another one.
    pub fn refuse_own_image(&mut self, image: &str, path: impl Into<String>) {
        if is_own_image(image) {
            let message = format!(
                "there is no image {image}: Ironsail has none for this component yet; name the hub \
                 and tag of images that have it"
            );
            self.error(path, message);
        }
    }

    /// Refuses a setting that is on although Ironsail's control plane doesn't do what it asks for.
    pub fn refuse_with_own_image(
        &mut self,
        on: bool,
        image: &str,
        path: impl Into<String>,
        what: &str,
    ) {
        if on && is_own_image(image) {
            let message = format!(
                "Ironsail's control plane has no {what} yet; name the hub and tag of one that has"
            );
            self.error(path, message);
        }
    }
}

/// Whether an image is one of Ironsail's: by its built-in hub, or by its tag.
pub fn is_own_image(image: &str) -> bool {
    let (repository, tag) = image.rsplit_once(':').unwrap_or((image, ""));
    let hub = repository.rsplit_once('/').map_or("", |(hub, _)| hub);
    hub == OWN_HUB || tag.contains("-ironsail.")
}

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// What the labels of all objects of a component have in common.
#[derive(Clone, Debug)]
pub struct LabelSet {
    /// Chart of the peer that has this object, such as `istiod`.
    pub chart: &'static str,
    pub chart_version: String,
    /// `app.kubernetes.io/name`.
    pub name: &'static str,
    pub component: Component,
    pub revision: String,
    /// `install.operator.istio.io/owning-resource`.
    pub owner: String,
}

impl LabelSet {
    /// The labels of a component's chart and name.
    pub fn new(
        component: Component,
        (chart, name): (&'static str, &'static str),
        resolved: &Resolved,
        context: &Context,
        owner: &str,
    ) -> Self {
        Self {
            chart,
            chart_version: context.chart_version.clone(),
            name,
            component,
            revision: resolved.revision.label().to_owned(),
            owner: non_empty(owner).unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    /// The standard labels, and what is given.
    pub fn plain(&self, more: &[(&str, &str)]) -> Labels {
        let chart = format!("{}-{}", self.chart, self.chart_version);
        let mut labels: Labels = [
            ("app.kubernetes.io/instance", "istio"),
            ("app.kubernetes.io/managed-by", "Helm"),
            (label::APP_KUBERNETES_NAME, self.name),
            ("app.kubernetes.io/part-of", "istio"),
            (label::APP_KUBERNETES_VERSION, &self.chart_version),
            ("helm.sh/chart", &chart),
        ]
        .into_iter()
        .map(owned)
        .collect();
        labels.extend(more.iter().copied().map(owned));
        labels
    }

    /// As [`Self::plain`], with `release`.
    pub fn released(&self, more: &[(&str, &str)]) -> Labels {
        let mut labels = self.plain(more);
        labels.insert("release".into(), "istio".into());
        labels
    }

    /// As [`Self::released`], with revision, owner and component.
    pub fn full(&self, more: &[(&str, &str)]) -> Labels {
        let mut labels = self.released(more);
        labels.extend(self.identity());
        labels
    }

    /// Revision, owner and component.
    pub fn identity(&self) -> Labels {
        [
            (label::REVISION, self.revision.as_str()),
            (label::OWNING_RESOURCE, &self.owner),
            (label::COMPONENT, self.component.as_str()),
        ]
        .into_iter()
        .map(owned)
        .collect()
    }
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Metadata of a namespaced object.
pub fn namespaced(name: impl Into<String>, namespace: &str, labels: Labels) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        ..clustered(name, labels)
    }
}

/// Metadata of an object of the cluster.
pub fn clustered(name: impl Into<String>, labels: Labels) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// The map, unless it is empty.
pub fn some<K: Ord, V>(map: BTreeMap<K, V>) -> Option<BTreeMap<K, V>> {
    (!map.is_empty()).then_some(map)
}

/// The list, unless it is empty.
pub fn some_list<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// What is given and says something.
pub fn given<T: Clone + Default + PartialEq>(value: &Option<T>) -> Option<T> {
    value.clone().filter(|value| *value != T::default())
}

/// A selector of exact labels.
pub fn match_labels(labels: Labels) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

/// A role's rule.
pub fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    PolicyRule {
        api_groups: Some(list(groups)),
        resources: Some(list(resources)),
        verbs: list(verbs),
        ..PolicyRule::default()
    }
}

/// What a binding refers to.
pub fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef {
        api_group: "rbac.authorization.k8s.io".into(),
        kind: kind.into(),
        name: name.into(),
    }
}

/// Whom a binding is for.
pub fn service_account(name: &str, namespace: Option<&str>) -> Subject {
    Subject {
        kind: "ServiceAccount".into(),
        name: name.into(),
        namespace: namespace.map(str::to_owned),
        ..Subject::default()
    }
}
