//! The kinds of objects that components consist of, and one rendered object.

use std::fmt;
use std::sync::Arc;

use kube::core::{ApiResource, GroupVersionKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::component::Component;

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
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

/// Every kind, in the order in which objects of one component are applied.
pub static KINDS: [Kind; 14] = [
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
    kind("", "v1", "ConfigMap", "configmaps", true),
    kind(
        ADMISSION,
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    ),
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
pub struct Manifest {
    pub component: Component,
    /// The whole object as it is sent, without status; shared, because definitions are large.
    pub body: Arc<Value>,
}

impl Manifest {
    /// An object of a component.
    ///
    /// # Errors
    /// The text says what the object lacks or that its kind is not one the operator handles.
    pub fn new(component: Component, body: impl Into<Arc<Value>>) -> Result<Self, String> {
        let body = body.into();
        let manifest = Self { component, body };
        if manifest.name().is_empty() {
            return Err("an object has no metadata.name".to_owned());
        }
        match Kind::of(&manifest.body) {
            Some(_) => Ok(manifest),
            None => {
                let text = |key: &str| manifest.body.get(key).and_then(Value::as_str).unwrap_or("");
                Err(format!(
                    "{} {} is no kind that can be rendered",
                    text("apiVersion"),
                    text("kind")
                ))
            }
        }
    }

    /// The kind; every manifest has one.
    pub fn kind(&self) -> &'static Kind {
        Kind::of(&self.body).unwrap_or(&KINDS[0])
    }

    fn metadata(&self, key: &str) -> &str {
        let metadata = self.body.get("metadata");
        metadata
            .and_then(|metadata| metadata.get(key))
            .and_then(Value::as_str)
            .unwrap_or("")
    }

    pub fn name(&self) -> &str {
        self.metadata("name")
    }

    /// Empty for objects of the cluster.
    pub fn namespace(&self) -> &str {
        match self.kind().namespaced {
            true => self.metadata("namespace"),
            false => "",
        }
    }

    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            group: self.kind().group.to_owned(),
            kind: self.kind().kind.to_owned(),
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }

    /// Lays labels over the object's own.
    pub fn add_labels<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let body = Arc::make_mut(&mut self.body);
        let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) else {
            return;
        };
        let own = metadata.entry("labels").or_insert(Value::Null);
        if !own.is_object() {
            *own = Value::Object(Map::new());
        }
        if let Some(own) = own.as_object_mut() {
            for (key, value) in labels {
                own.insert(key.to_owned(), value.into());
            }
        }
    }

    /// Where it stands among all objects: by wave, component, kind and name.
    pub fn order(&self) -> (usize, Component, usize, String, String) {
        let kind = self.kind().rank();
        let (namespace, name) = (self.namespace().to_owned(), self.name().to_owned());
        (self.component.wave(), self.component, kind, namespace, name)
    }
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
        assert_eq!(manifest.body["metadata"]["labels"], json!({"a": "b"}));
    }

    #[test]
    fn unknown_kinds_are_refused() {
        let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}});
        let error = Manifest::new(Component::Base, body).expect_err("no such kind");
        assert!(error.contains("v1 Pod"), "{error}");
    }
}
