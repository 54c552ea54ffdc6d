//! The accepted plan: one rendering of a spec, towards which drift is repaired until another one is
//! accepted. So a new operator does not change a mesh by being started.

pub mod accept;
pub mod diff;
pub mod fields;
pub mod live;
pub mod record;
pub mod store;

use std::fmt::Write as _;

use ironsail_crds::Diagnostic;
use ironsail_mesh::label;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::component::Component;
use crate::object::{Manifest, ObjectKey};
use crate::render::Rendered;
use crate::value::sorted;

/// One rendering, without the definitions of kinds: those follow the operator's version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Names the content, independent of the object that asks for it; 16 hex digits.
    pub hash: String,
    /// Version of the operator that rendered it.
    pub renderer: String,
    /// Names the spec that was rendered.
    pub spec_hash: String,
    /// Label value of the revision.
    pub revision: String,
    pub istio_namespace: String,
    /// `topology.istio.io/network` of that namespace; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    pub components: Vec<Component>,
    /// In the order in which they are applied.
    pub objects: Vec<Manifest>,
    /// Set if the objects are those of an install that was there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
}

/// Where an adopted plan comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Helm releases that objects were of, as `namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<String>,
    /// What was left alone: writing a role needs the rights that it grants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<ObjectKey>,
}

/// The object that owns what is installed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    pub namespace: String,
    pub name: String,
}

/// A fresh rendering: the plan, the definitions beside it, and what has no effect.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub plan: Plan,
    pub definitions: Vec<Manifest>,
    pub warnings: Vec<Diagnostic>,
}

impl Fresh {
    /// Makes a plan of a rendering of `spec`.
    pub fn new(rendered: Rendered, spec: &Value) -> Self {
        let (definitions, objects): (Vec<_>, Vec<_>) = rendered
            .objects
            .into_iter()
            .partition(Manifest::is_definition);
        let components = rendered.components;
        Self {
            plan: Plan {
                hash: content_hash(&components, &objects),
                renderer: ironsail_mesh::VERSION.to_owned(),
                spec_hash: spec_hash(spec),
                revision: rendered.revision.label().to_owned(),
                istio_namespace: rendered.istio_namespace,
                network: rendered.network,
                components,
                objects,
                adopted: None,
            },
            definitions,
            warnings: rendered.warnings,
        }
    }
}

pub(crate) fn content_hash(components: &[Component], objects: &[Manifest]) -> String {
    let content: Vec<Value> = objects
        .iter()
        .map(|object| sorted(&object.body()))
        .collect();
    hash(&json!([components, content]))
}

/// Names a spec, whatever the order of its keys.
pub fn spec_hash(spec: &Value) -> String {
    hash(&sorted(spec))
}

/// First 16 hex digits of the SHA-256 of a document.
pub fn hash(document: &Value) -> String {
    let digest = Sha256::digest(document.to_string().as_bytes());
    digest
        .iter()
        .take(8)
        .fold(String::with_capacity(16), |mut text, byte| {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

impl Plan {
    /// What [`Plan::hash`] is when nobody changed the plan.
    pub fn content_hash(&self) -> String {
        content_hash(&self.components, &self.objects)
    }

    /// The objects as they are applied for an owner: with its labels, definitions first. Those of
    /// an adopted install stay as they are.
    pub fn desired(&self, owner: &Owner, definitions: &[Manifest]) -> Vec<Manifest> {
        let definitions = definitions
            .iter()
            .filter(|_| self.components.contains(&Component::Base) && self.adopted.is_none());
        definitions
            .chain(&self.objects)
            .cloned()
            .map(|mut object| {
                let version = match object.is_definition() {
                    true => ironsail_mesh::VERSION,
                    false => &self.renderer,
                };
                object.add_labels([
                    (label::MANAGED, MANAGED),
                    (label::OPERATOR_VERSION, version),
                    (label::COMPONENT, object.component.as_str()),
                    (label::REVISION, &self.revision),
                    (label::OWNING_RESOURCE, &owner.name),
                    (label::OWNING_RESOURCE_NAMESPACE, &owner.namespace),
                ]);
                object
            })
            .collect()
    }
}

/// Value of the label `operator.istio.io/managed`.
pub const MANAGED: &str = "Reconcile";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::{Context, render};

    fn fresh(spec: &Value, tag: &str) -> Fresh {
        let context = Context {
            tag: tag.into(),
            ..Context::default()
        };
        Fresh::new(render(spec, &context).expect("valid"), spec)
    }

    #[test]
    fn the_hash_names_the_content() {
        let spec = json!({"profile": "demo"});
        let hash = |spec: &Value, tag: &str| fresh(spec, tag).plan.hash;
        assert_eq!(hash(&spec, "1"), hash(&spec, "1"));
        assert_ne!(hash(&spec, "1"), hash(&spec, "2"));
        assert_ne!(hash(&spec, "1"), hash(&json!({}), "1"));
        assert_eq!(
            spec_hash(&json!({"a": 1, "b": 2})),
            spec_hash(&json!({"b": 2, "a": 1}))
        );
    }

    #[test]
    fn desired_objects_carry_their_owner() {
        let fresh = fresh(&json!({}), "1");
        let owner = Owner {
            namespace: "istio-system".into(),
            name: "mesh".into(),
        };
        let desired = fresh.plan.desired(&owner, &fresh.definitions);
        assert_eq!(
            desired.len(),
            fresh.definitions.len() + fresh.plan.objects.len()
        );
        assert_eq!(desired[0].kind().kind, "CustomResourceDefinition");
        for object in &desired {
            let labels = &object.body()["metadata"]["labels"];
            assert_eq!(labels[label::OWNING_RESOURCE], "mesh", "{}", object.key());
            assert_eq!(labels[label::MANAGED], MANAGED);
        }
        // The pod template keeps what it was rendered with: another owner restarts nothing.
        let deployment = desired
            .iter()
            .find(|o| o.key().to_string() == "Deployment istio-system/istiod");
        let template = &deployment.expect("there").body()["spec"]["template"]["metadata"]["labels"];
        assert_eq!(template[label::OWNING_RESOURCE], "unknown");
    }
}
