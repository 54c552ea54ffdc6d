//! The kinds of objects that components consist of, and one rendered object.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use kube::core::{ApiResource, GroupVersionKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::component::Component;
use crate::plan::hash;
use crate::value::set;

/// Lets an object be collected with an owner.
pub fn owner_reference<K: Resource<DynamicType = ()>>(owner: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    }
}

/// A kind that the operator renders.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
    /// Whether objects that are no longer wanted are deleted.
    pub prune: bool,
    /// Whether a cluster may lack the kind: it is new, or of somebody else's definition.
    pub optional: bool,
}

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
) -> Kind {
    Kind {
        group,
        version,
        kind,
        plural,
        namespaced,
        prune: true,
        optional: false,
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

/// Every kind, in the order in which objects of one component are applied.
pub static KINDS: [Kind; 20] = [
    Kind {
        prune: false,
        ..kind(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            false,
        )
    },
    kind("", "v1", "ServiceAccount", "serviceaccounts", true),
    kind(RBAC, "v1", "ClusterRole", "clusterroles", false),
    kind(RBAC, "v1", "Role", "roles", true),
    kind(
        RBAC,
        "v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
        false,
    ),
    kind(RBAC, "v1", "RoleBinding", "rolebindings", true),
    kind(
        ADMISSION,
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        false,
    ),
    Kind {
        optional: true,
        ..kind(
            ADMISSION,
            "v1",
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicies",
            false,
        )
    },
    Kind {
        optional: true,
        ..kind(
            ADMISSION,
            "v1",
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
            false,
        )
    },
    kind("", "v1", "ConfigMap", "configmaps", true),
    kind(
        ADMISSION,
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    ),
    kind("", "v1", "ResourceQuota", "resourcequotas", true),
    Kind {
        optional: true,
        ..kind(
            "k8s.cni.cncf.io",
            "v1",
            "NetworkAttachmentDefinition",
            "network-attachment-definitions",
            true,
        )
    },
    kind(
        "discovery.k8s.io",
        "v1",
        "EndpointSlice",
        "endpointslices",
        true,
    ),
    kind("apps", "v1", "DaemonSet", "daemonsets", true),
    kind("apps", "v1", "Deployment", "deployments", true),
    kind(
        "policy",
        "v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        true,
    ),
    kind(
        "networking.k8s.io",
        "v1",
        "NetworkPolicy",
        "networkpolicies",
        true,
    ),
    kind(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        true,
    ),
    kind("", "v1", "Service", "services", true),
];

impl Kind {
    /// The kind of an object, if the operator handles it.
    pub fn of(object: &Value) -> Option<&'static Self> {
        let api_version = object.get("apiVersion")?.as_str()?;
        let kind = object.get("kind")?.as_str()?;
        KINDS
            .iter()
            .find(|k| k.kind == kind && k.api_version() == api_version)
    }

    /// The kind of a group and a kind name.
    pub fn find(group: &str, kind: &str) -> Option<&'static Self> {
        KINDS.iter().find(|k| k.group == group && k.kind == kind)
    }

    /// `v1` or `<group>/<version>`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// What a dynamic client asks for.
    pub fn resource(&self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }

    /// Names an object of this kind.
    pub fn key(&self, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey {
            group: self.group.to_owned(),
            kind: self.kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Position in [`KINDS`].
    pub fn rank(&self) -> usize {
        KINDS
            .iter()
            .position(|kind| kind == self)
            .unwrap_or(KINDS.len())
    }
}

/// Names one object of the cluster. Two versions of a kind are one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    pub kind: String,
    /// Empty for objects of the cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ObjectKey {
    /// `Deployment istio-system/istiod`, `ClusterRole istiod-clusterrole-istio-system`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// A rendered object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Manifest {
    pub component: Component,
    kind: &'static Kind,
    key: ObjectKey,
    body: Body,
}

/// The whole object as it is sent, without status.
#[derive(Clone, Debug, PartialEq)]
enum Body {
    Object(Value),
    /// A built-in definition of a kind. It is large and hardly ever sent, so it is read only then.
    Definition {
        text: &'static str,
        labels: BTreeMap<String, String>,
    },
}

/// How a manifest is kept in a plan.
#[derive(Serialize, Deserialize)]
struct Stored {
    component: Component,
    body: Value,
}

impl From<Manifest> for Stored {
    fn from(manifest: Manifest) -> Self {
        Self {
            component: manifest.component,
            body: manifest.body().into_owned(),
        }
    }
}

impl TryFrom<Stored> for Manifest {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        Self::new(stored.component, stored.body)
    }
}

impl Manifest {
    /// An object of a component.
    ///
    /// # Errors
    /// The text says what the object lacks or that its kind is not one the operator handles.
    pub fn new(component: Component, body: Value) -> Result<Self, String> {
        let Some(kind) = Kind::of(&body) else {
            let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or("");
            let (version, kind) = (text("apiVersion"), text("kind"));
            return Err(format!("{version} {kind} is no kind that can be rendered"));
        };
        let text = |key: &str| crate::value::text(&body, &["metadata", key]).unwrap_or("");
        let namespace = if kind.namespaced {
            text("namespace")
        } else {
            ""
        };
        let key = kind.key(namespace, text("name"));
        if key.name.is_empty() {
            return Err("an object has no metadata.name".to_owned());
        }
        Ok(Self {
            component,
            kind,
            key,
            body: Body::Object(body),
        })
    }

    /// A built-in definition with labels of its own.
    pub fn definition(name: &str, text: &'static str, labels: BTreeMap<String, String>) -> Self {
        let kind = &KINDS[0];
        Self {
            component: Component::Base,
            kind,
            key: kind.key("", name),
            body: Body::Definition { text, labels },
        }
    }

    pub fn is_definition(&self) -> bool {
        self.kind == &KINDS[0]
    }

    /// The object. Reading a definition takes some milliseconds.
    pub fn body(&self) -> Cow<'_, Value> {
        match &self.body {
            Body::Object(body) => Cow::Borrowed(body),
            Body::Definition { text, labels } => Cow::Owned(read_definition(text, labels)),
        }
    }

    /// The object, to be changed; its kind and name stay.
    pub fn body_mut(&mut self) -> &mut Value {
        if let Body::Definition { text, labels } = &self.body {
            self.body = Body::Object(read_definition(text, labels));
        }
        match &mut self.body {
            Body::Object(body) => body,
            Body::Definition { .. } => unreachable!("it was read just before"),
        }
    }

    /// Names the content, without reading a definition.
    pub fn hash(&self) -> String {
        match &self.body {
            Body::Object(body) => hash(body),
            Body::Definition { text, labels } => hash(&serde_json::json!([text, labels])),
        }
    }

    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// Empty for objects of the cluster.
    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }

    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Value of a label.
    pub fn label(&self, key: &str) -> Option<String> {
        match &self.body {
            Body::Definition { labels, .. } => labels.get(key).cloned(),
            Body::Object(body) => {
                let value = crate::value::text(body, &["metadata", "labels", key]);
                value.map(str::to_owned)
            }
        }
    }

    /// Value of an annotation that the object is rendered with.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        match &self.body {
            Body::Definition { .. } => None,
            Body::Object(body) => crate::value::text(body, &["metadata", "annotations", key]),
        }
    }

    /// Lays labels over the object's own.
    pub fn add_labels<'a>(&mut self, more: impl IntoIterator<Item = (&'a str, &'a str)>) {
        match &mut self.body {
            Body::Definition { labels, .. } => {
                labels.extend(
                    more.into_iter()
                        .map(|(key, value)| (key.to_owned(), value.to_owned())),
                );
            }
            Body::Object(body) => {
                for (key, value) in more {
                    set(body, &["metadata", "labels", key], value.into());
                }
            }
        }
    }

    /// Where it stands among all objects: by wave, component, kind and name.
    pub fn order(&self) -> (usize, Component, usize, String, String) {
        let (namespace, name) = (self.key.namespace.clone(), self.key.name.clone());
        (
            self.component.wave(),
            self.component,
            self.kind.rank(),
            namespace,
            name,
        )
    }
}

fn read_definition(text: &str, labels: &BTreeMap<String, String>) -> Value {
    let mut body: Value = serde_yaml_ng::from_str(text).expect("a test reads every definition");
    set(
        &mut body,
        &["metadata", "labels"],
        serde_json::json!(labels),
    );
    // Deleting the operator's bundle with Helm must not take the users' objects.
    let annotations = serde_json::json!({"helm.sh/resource-policy": "keep"});
    set(&mut body, &["metadata", "annotations"], annotations);
    body
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_and_labels() {
        let body = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "istiod", "namespace": "istio-system"},
        });
        let mut manifest = Manifest::new(Component::Pilot, body).expect("known kind");
        assert_eq!(manifest.key().to_string(), "Deployment istio-system/istiod");
        manifest.add_labels([("a", "b")]);
        assert_eq!(manifest.body()["metadata"]["labels"], json!({"a": "b"}));
    }

    #[test]
    fn unknown_kinds_are_refused() {
        let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}});
        let error = Manifest::new(Component::Base, body).expect_err("no such kind");
        assert!(error.contains("v1 Pod"), "{error}");
    }
}
