//! A custom object: metadata, spec and status, usable with `kube::Api` and watches.

use std::borrow::Cow;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DynamicObject;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::kind::Kind;

/// The spec of a kind.
pub trait Spec:
    Clone
    + Debug
    + Default
    + PartialEq
    + Serialize
    + DeserializeOwned
    + JsonSchema
    + Send
    + Sync
    + 'static
{
    /// The status that goes with it.
    type Status: Clone
        + Debug
        + Default
        + PartialEq
        + Serialize
        + DeserializeOwned
        + JsonSchema
        + Send
        + Sync
        + 'static;

    /// Its row in the table of kinds.
    const KIND: &'static Kind;
}

/// A namespaced object of kind `S`.
///
/// Watch kinds that users write through `kube::core::DeserializeGuard<Object<S>>` or decode
/// [`DynamicObject`]s with [`decode_dynamic`], so that one bad object does not stop the watch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<S: Spec> {
    /// Standard metadata, complete.
    pub metadata: ObjectMeta,
    /// What the user wants.
    pub spec: S,
    /// What was last reported. A status that can't be read counts as absent: it is never input.
    pub status: Option<S::Status>,
}

impl<S: Spec> Object<S> {
    /// An object with nothing but a name.
    pub fn new(namespace: &str, name: &str, spec: S) -> Self {
        Self {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
        }
    }

    /// `namespace/name`, for messages.
    #[must_use]
    pub fn key(&self) -> String {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!(
            "{}/{}",
            part(&self.metadata.namespace),
            part(&self.metadata.name)
        )
    }
}

impl<S: Spec> Resource for Object<S> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        S::KIND.kind.into()
    }
    fn group(_: &()) -> Cow<'_, str> {
        S::KIND.group.into()
    }
    fn version(_: &()) -> Cow<'_, str> {
        S::KIND.storage.into()
    }
    fn api_version(_: &()) -> Cow<'_, str> {
        S::KIND.api_version().into()
    }
    fn plural(_: &()) -> Cow<'_, str> {
        S::KIND.plural.into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<S: Spec> Serialize for Object<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a, S: Spec> {
            api_version: String,
            kind: &'a str,
            metadata: &'a ObjectMeta,
            spec: &'a S,
            #[serde(skip_serializing_if = "Option::is_none")]
            status: &'a Option<S::Status>,
        }
        Wire {
            api_version: S::KIND.api_version(),
            kind: S::KIND.kind,
            metadata: &self.metadata,
            spec: &self.spec,
            status: &self.status,
        }
        .serialize(serializer)
    }
}

impl<'de, S: Spec> Deserialize<'de> for Object<S> {
    /// The version is not looked at: all served versions of a kind have the same fields.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(bound = "S: Spec")]
        struct Wire<S> {
            #[serde(default)]
            metadata: ObjectMeta,
            #[serde(default, deserialize_with = "crate::wire::or_default")]
            spec: S,
            #[serde(default)]
            status: Value,
        }
        let wire = Wire::<S>::deserialize(deserializer)?;
        Ok(Self {
            metadata: wire.metadata,
            spec: wire.spec,
            status: match wire.status {
                Value::Null => None,
                value => serde_json::from_value(value).ok(),
            },
        })
    }
}

/// Decodes one object of any served version.
///
/// # Errors
/// A field of the wrong type, with its path. Unknown fields and unknown enum values are no errors.
pub fn decode<S: Spec>(value: &Value) -> Result<Object<S>, Diagnostic> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        Diagnostic::error(path, error.into_inner().to_string())
    })
}

/// Decodes what a dynamic watch delivers.
///
/// # Errors
/// As [`decode`].
pub fn decode_dynamic<S: Spec>(object: DynamicObject) -> Result<Object<S>, Diagnostic> {
    let DynamicObject { metadata, data, .. } = object;
    let decoded = decode::<S>(&data)?;
    Ok(Object {
        metadata,
        ..decoded
    })
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use serde_json::json;

    use crate::networking::virtual_service::{HttpRoute, RedirectPortSelection};
    use crate::{IstioOperator, VirtualService, VirtualServiceSpec};

    use super::*;

    fn virtual_service(spec: Value) -> Value {
        json!({
            "apiVersion": "networking.istio.io/v1beta1",
            "kind": "VirtualService",
            "metadata": {
                "name": "reviews",
                "namespace": "shop",
                "uid": "u",
                "resourceVersion": "7",
                "generation": 3,
                "labels": { "istio.io/rev": "a" },
            },
            "spec": spec,
        })
    }

    #[test]
    fn decodes_any_version_and_keeps_metadata() {
        let value =
            virtual_service(json!({ "hosts": ["reviews"], "http": null, "later": { "a": 1 } }));
        let object: VirtualService = decode(&value).expect("decodes");
        assert_eq!(object.key(), "shop/reviews");
        assert_eq!(object.metadata.generation, Some(3));
        assert_eq!(object.spec.hosts, ["reviews"]);
        assert_eq!(object.spec.http, Vec::<HttpRoute>::new());
    }

    #[test]
    fn unknown_enum_values_are_kept() {
        let value =
            virtual_service(json!({ "http": [{ "redirect": { "derivePort": "FROM_MOON" } }] }));
        let object: VirtualService = decode(&value).expect("decodes");
        let redirect = object.spec.http[0]
            .redirect
            .as_ref()
            .expect("has a redirect");
        assert_eq!(
            redirect.derive_port,
            Some(RedirectPortSelection::Unknown("FROM_MOON".to_owned()))
        );
    }

    #[test]
    fn wrong_types_are_named_by_path() {
        let value = virtual_service(json!({ "http": [{}, { "timeout": 5 }] }));
        let error = decode::<VirtualServiceSpec>(&value).expect_err("timeout is no number");
        assert_eq!(error.path, "spec.http[1].timeout");
        assert!(error.message.starts_with("invalid type"), "{error}");
    }

    #[test]
    fn one_bad_object_is_one_bad_item() {
        let list = json!([
            virtual_service(json!({ "hosts": ["a"] })),
            virtual_service(json!({ "hosts": "b" })),
            virtual_service(json!({ "hosts": ["c"] })),
        ]);
        let items: Vec<DeserializeGuard<VirtualService>> =
            serde_json::from_value(list).expect("the list decodes");
        let good: Vec<bool> = items.iter().map(|item| item.0.is_ok()).collect();
        assert_eq!(good, [true, false, true]);
        let bad = items[1].0.as_ref().expect_err("hosts is no list");
        assert_eq!(bad.metadata.name.as_deref(), Some("reviews"));
    }

    #[test]
    fn dynamic_objects_keep_their_metadata() {
        let value = virtual_service(json!({ "hosts": ["a"] }));
        let dynamic: DynamicObject = serde_json::from_value(value).expect("is an object");
        let object = decode_dynamic::<VirtualServiceSpec>(dynamic).expect("decodes");
        assert_eq!(object.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(object.spec.hosts, ["a"]);
    }

    #[test]
    fn writes_the_stored_version_without_noise() {
        let object = VirtualService::new(
            "shop",
            "reviews",
            VirtualServiceSpec {
                hosts: vec!["reviews".to_owned()],
                ..Default::default()
            },
        );
        assert_eq!(
            serde_json::to_value(&object).expect("serializes"),
            json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": { "name": "reviews", "namespace": "shop" },
                "spec": { "hosts": ["reviews"] },
            })
        );
    }

    #[test]
    fn operators_of_every_era_are_read() {
        let value = json!({
            "apiVersion": "install.istio.io/v1alpha1",
            "kind": "IstioOperator",
            "metadata": { "name": "installed-state" },
            "spec": {
                "tag": 1.10,
                "revision": 7,
                "addonComponents": { "kiali": { "enabled": false } },
                "components": {
                    "telemetry": { "enabled": false },
                    "ingressGateways": null,
                    "egressGateways": [],
                    "pilot": { "k8s": { "env": [{ "name": "A", "value": "b" }] } },
                },
                "values": { "global": { "proxy": { "statusPort": null } } },
            },
            "status": { "status": "HEALTHY", "componentStatus": { "Base": 3 } },
        });
        let object: IstioOperator = decode(&value).expect("decodes");
        assert_eq!(object.spec.tag, Some("1.1".into()));
        assert_eq!(object.spec.revision, Some("7".into()));
        assert_eq!(object.status, None);
        let components = object.spec.components.expect("has components");
        assert_eq!(components.ingress_gateways, None);
        assert_eq!(components.egress_gateways, Some(Vec::new()));
        let values = object.spec.values.expect("has values");
        assert_eq!(values["global"]["proxy"], json!({ "statusPort": null }));
    }
}
