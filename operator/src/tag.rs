//! Revision tags that users make: names that stand for a revision in labels of namespaces and pods.
//!
//! A tag is a copy of the revision's webhooks that selects by the tag's name. Its objects carry no
//! labels of an owner, so that no operator prunes or changes them.

use std::collections::{BTreeMap, BTreeSet};

use ironsail_mesh::{label, revision};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{Namespace, Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde::Serialize;
use serde_json::{Value, json};

use crate::adopt::take::OWNER_LABELS;
use crate::apply::{api, reason};
use crate::component::istiod::default_tag;
use crate::component::istiod::service::tag_service;
use crate::component::istiod::webhook::{
    ValidatingWebhookTarget, deactivate, tag_configuration, tag_webhooks, validating_webhook,
    without_revision,
};
use crate::object::{Kind, ObjectKey};
use crate::observe::look::labelled;
use crate::revision::named_by;
use crate::setup::MANAGER;
use crate::values::istiod::Base;

/// A tag to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub name: String,
    pub revision: String,
    /// Also pods of namespaces that have no label of injection.
    pub auto_inject: bool,
    /// Whether a tag that is there may lead elsewhere from now on.
    pub overwrite: bool,
}

/// A tag that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub tag: String,
    pub revision: String,
    /// Namespaces that use it.
    pub namespaces: Vec<String>,
}

/// What keeps a tag from being made or removed.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    #[error("{what}: {}", reason(source))]
    Api {
        what: String,
        source: Box<kube::Error>,
    },
    #[error(
        "there is no revision {0}: no MutatingWebhookConfiguration is labelled istio.io/rev={0}"
    )]
    NoRevision(String),
    #[error("tag {tag} leads to revision {revision} already; --overwrite changes it")]
    Exists { tag: String, revision: String },
    #[error("{0} is the name of a revision; --overwrite makes it a tag nevertheless")]
    IsRevision(String),
    #[error("there is no tag {0}")]
    NoTag(String),
}

fn failed(what: impl Into<String>) -> impl FnOnce(kube::Error) -> TagError {
    let what = what.into();
    move |source| TagError::Api {
        what,
        source: Box::new(source),
    }
}

/// What of a revision a tag is made of.
#[derive(Debug)]
struct Canonical {
    webhook: MutatingWebhook,
    /// The control plane's own Service, if it is in the cluster.
    service: Option<Service>,
}

impl Tag {
    /// The objects of the tag, as they are written.
    ///
    /// # Errors
    /// There is no such revision, the tag exists, or the API server doesn't answer.
    pub async fn objects(&self, client: &Client) -> Result<Vec<Value>, TagError> {
        let all = configurations(client).await?;
        if !self.overwrite {
            self.check_free(&all)?;
        }
        let found = all.iter().find(|own| is_of_revision(own, &self.revision));
        let webhook = found.and_then(|own| own.webhooks.as_ref()?.first().cloned());
        let Some(webhook) = webhook else {
            return Err(TagError::NoRevision(self.revision.clone()));
        };
        let service = service_of(client, &webhook).await?;
        Ok(self.made_of(&Canonical { webhook, service }))
    }

    fn check_free(&self, all: &[MutatingWebhookConfiguration]) -> Result<(), TagError> {
        if let Some(taken) = all.iter().find(|own| self.is_made_by(own)) {
            let revision = taken.labels().get(label::REVISION).cloned();
            return Err(TagError::Exists {
                tag: self.name.clone(),
                revision: revision.unwrap_or_default(),
            });
        }
        let is_revision =
            self.name != revision::DEFAULT && all.iter().any(|own| is_of_revision(own, &self.name));
        match is_revision {
            true => Err(TagError::IsRevision(self.name.clone())),
            false => Ok(()),
        }
    }

    /// Whether a configuration makes this tag.
    fn is_made_by(&self, configuration: &MutatingWebhookConfiguration) -> bool {
        configuration.labels().get(label::TAG) == Some(&self.name)
    }

    fn made_of(&self, canonical: &Canonical) -> Vec<Value> {
        let mut objects = vec![self.injector(&canonical.webhook)];
        if self.name == revision::DEFAULT {
            objects.extend(self.validator(canonical));
        }
        objects.extend(
            canonical
                .service
                .as_ref()
                .map(|service| self.service(service)),
        );
        objects
    }

    /// The webhooks of the tag, which call whom another webhook calls.
    fn injector(&self, canonical: &MutatingWebhook) -> Value {
        let service = canonical.client_config.service.as_ref();
        let namespace = service.map_or("istio-system", |service| service.namespace.as_str());
        let name = tag_configuration(&self.name, namespace);
        let configuration = MutatingWebhookConfiguration {
            metadata: self.metadata(&name, None, "sidecar-injector"),
            webhooks: Some(tag_webhooks(canonical, &self.name, self.auto_inject)),
        };
        document(
            &configuration,
            "admissionregistration.k8s.io/v1",
            "MutatingWebhookConfiguration",
        )
    }

    fn metadata(&self, name: &str, namespace: Option<&str>, app: &str) -> ObjectMeta {
        let labels = [
            ("app", app),
            (label::REVISION, &self.revision),
            (label::TAG, &self.name),
        ];
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: namespace.map(str::to_owned),
            labels: Some(
                labels
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
            ..ObjectMeta::default()
        }
    }

    /// What validates objects that name no revision.
    fn validator(&self, canonical: &Canonical) -> Option<Value> {
        let service = canonical.webhook.client_config.service.as_ref()?;
        let base = Base::default();
        let target = ValidatingWebhookTarget {
            service: &service.name,
            namespace: &service.namespace,
            base: &base,
        };
        let configuration = ValidatingWebhookConfiguration {
            metadata: self.metadata(default_tag::VALIDATOR, None, "istiod"),
            webhooks: Some(vec![validating_webhook(
                default_tag::VALIDATING,
                &target,
                without_revision(),
            )]),
        };
        Some(document(
            &configuration,
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
        ))
    }

    /// The name under which proxies of the tag find their control plane.
    fn service(&self, of_revision: &Service) -> Value {
        let spec = of_revision.spec.clone().unwrap_or_default();
        let ports = spec.ports.map(|ports| {
            let plain = ports
                .into_iter()
                .map(|port| k8s_openapi::api::core::v1::ServicePort {
                    node_port: None,
                    ..port
                });
            plain.collect()
        });
        let name = tag_service(&self.name);
        let namespace = of_revision.namespace();
        let service = Service {
            metadata: self.metadata(&name, namespace.as_deref(), "istiod"),
            spec: Some(ServiceSpec {
                ports,
                selector: spec.selector,
                ..ServiceSpec::default()
            }),
            ..Service::default()
        };
        document(&service, "v1", "Service")
    }

    /// Makes the tag, or lets it lead to another revision.
    ///
    /// # Errors
    /// As [`Tag::objects`], or the API server refuses an object.
    pub async fn set(&self, client: &Client) -> Result<(), TagError> {
        let objects = self.objects(client).await?;
        if self.name == revision::DEFAULT {
            self.take_over(client).await?;
        }
        for object in objects {
            write(client, &object).await?;
        }
        Ok(())
    }

    /// Puts the tag in the place of the webhooks of the control plane without a revision, which
    /// would inject the same pods. Until those are silent, it calls the same control plane: no pod
    /// meets two of them, or none.
    async fn take_over(&self, client: &Client) -> Result<(), TagError> {
        let all = configurations(client).await?;
        let own = all
            .iter()
            .find(|own| is_of_revision(own, revision::DEFAULT));
        let Some(webhook) = own.and_then(|own| own.webhooks.as_ref()?.first()) else {
            return Ok(());
        };
        if !all.iter().any(|own| self.is_made_by(own)) {
            let now = Self {
                revision: revision::DEFAULT.to_owned(),
                ..self.clone()
            };
            write(client, &now.injector(webhook)).await?;
        }
        silence_default(client).await
    }
}

fn document<T: Serialize>(object: &T, api_version: &str, kind: &str) -> Value {
    let mut document = serde_json::to_value(object).expect("Kubernetes types become JSON");
    document["apiVersion"] = json!(api_version);
    document["kind"] = json!(kind);
    document
}

/// All injection webhooks.
async fn configurations(client: &Client) -> Result<Vec<MutatingWebhookConfiguration>, TagError> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let params = ListParams::default().labels("app=sidecar-injector");
    let list = api.list(&params).await;
    Ok(list
        .map_err(failed("webhook configurations can't be listed"))?
        .items)
}

/// Whether a configuration is a revision's own and no tag's.
fn is_of_revision(own: &MutatingWebhookConfiguration, revision: &str) -> bool {
    let labels = own.labels();
    labels
        .get(label::REVISION)
        .is_some_and(|own| own == revision)
        && !labels.contains_key(label::TAG)
}

async fn service_of(
    client: &Client,
    webhook: &MutatingWebhook,
) -> Result<Option<Service>, TagError> {
    let Some(reference) = &webhook.client_config.service else {
        return Ok(None);
    };
    let api: Api<Service> = Api::namespaced(client.clone(), &reference.namespace);
    let found = api.get_opt(&reference.name).await;
    found.map_err(failed(format!(
        "Service {}/{}",
        reference.namespace, reference.name
    )))
}

/// Writes an object over what is there. Owner labels of an operator go: from now on it is the user's.
async fn write(client: &Client, object: &Value) -> Result<(), TagError> {
    let (kind, key) = named(object);
    let api = api(client, kind, &key.namespace);
    let there = api.get_metadata_opt(&key.name).await;
    let there = there.map_err(failed(key.to_string()))?;
    let written = match there {
        None => {
            let new: DynamicObject =
                serde_json::from_value(object.clone()).expect("it has metadata");
            let params = PostParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PostParams::default()
            };
            api.create(&params, &new).await
        }
        Some(_) => {
            let mut patch = object.clone();
            for label in OWNER_LABELS.into_iter().chain([label::COMPONENT]) {
                patch["metadata"]["labels"][label] = Value::Null;
            }
            let params = PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            };
            api.patch(&key.name, &params, &Patch::Merge(&patch)).await
        }
    };
    written.map(drop).map_err(failed(key.to_string()))
}

fn named(object: &Value) -> (&'static Kind, ObjectKey) {
    let kind = Kind::of(object).expect("a tag has known kinds");
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    (kind, kind.key(text("namespace"), text("name")))
}

/// The control plane without a revision has webhooks of its own for what names none. Beside a tag
/// `default` they would inject pods twice.
async fn silence_default(client: &Client) -> Result<(), TagError> {
    for mut own in configurations(client).await? {
        if !is_of_revision(&own, revision::DEFAULT) {
            continue;
        }
        deactivate(&mut own);
        let name = own.name_any();
        let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let patch = json!({"metadata": {"resourceVersion": own.metadata.resource_version}, "webhooks": own.webhooks});
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let written = api.patch(&name, &params, &Patch::Merge(&patch)).await;
        written.map_err(failed(format!("MutatingWebhookConfiguration {name}")))?;
    }
    Ok(())
}

/// All tags, by name.
///
/// # Errors
/// The API server doesn't answer.
pub async fn list(client: &Client) -> Result<Vec<Listed>, TagError> {
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    for own in configurations(client).await? {
        if let Some(tag) = own.labels().get(label::TAG) {
            let revision = own.labels().get(label::REVISION).cloned();
            tags.insert(tag.clone(), revision.unwrap_or_default());
        }
    }
    let api: Api<Namespace> = Api::all(client.clone());
    let namespaces = api.list_metadata(&ListParams::default()).await;
    let namespaces = namespaces
        .map_err(failed("namespaces can't be listed"))?
        .items;
    let listed = tags.into_iter().map(|(tag, revision)| {
        let users = namespaces
            .iter()
            .filter(|namespace| named_by(&namespace.metadata) == Some(&tag));
        let names: BTreeSet<String> = users.map(|namespace| namespace.name_any()).collect();
        Listed {
            tag,
            revision,
            namespaces: names.into_iter().collect(),
        }
    });
    Ok(listed.collect())
}

/// Removes a tag; what it is made of is returned.
///
/// # Errors
/// There is no such tag, or the API server refuses it.
pub async fn remove(client: &Client, tag: &str) -> Result<Vec<ObjectKey>, TagError> {
    let found = labelled(client, &format!("{}={tag}", label::TAG)).await;
    let found = found.map_err(failed("objects of the tag can't be listed"))?;
    let mut removed = Vec::new();
    for (kind, metadata) in found
        .into_iter()
        .filter(|(_, metadata)| metadata.owner_references.is_none())
    {
        let key = crate::observe::key(kind, &metadata);
        let gone = api(client, kind, &key.namespace)
            .delete(&key.name, &DeleteParams::background())
            .await;
        match gone {
            Ok(_) => removed.push(key),
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            Err(error) => return Err(failed(key.to_string())(error)),
        }
    }
    match removed.is_empty() {
        true => Err(TagError::NoTag(tag.to_owned())),
        false => Ok(removed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fresh, Owner};
    use crate::render::{Context, render};
    use crate::testing::FakeServer;

    fn tag(name: &str, revision: &str) -> Tag {
        Tag {
            name: name.into(),
            revision: revision.into(),
            auto_inject: false,
            overwrite: false,
        }
    }

    /// A cluster with the webhooks and Services of control planes.
    fn cluster(revisions: &[&str]) -> FakeServer {
        let server = FakeServer::default();
        for revision in revisions {
            let spec = json!({"profile": "minimal", "revision": revision});
            let fresh = Fresh::new(render(&spec, &Context::default()).expect("valid"), &spec);
            let owner = Owner {
                namespace: "istio-system".into(),
                name: "mesh".into(),
            };
            for object in fresh.plan.desired(&owner, &[]) {
                let collection = match object.kind().kind {
                    "MutatingWebhookConfiguration" => {
                        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
                    }
                    "Service" => "/api/v1/namespaces/istio-system/services",
                    _ => continue,
                };
                server.put(collection, object.body().into_owned());
            }
        }
        for (name, labels) in [
            ("a", json!({label::REVISION: "prod"})),
            (
                "b",
                json!({label::INJECTION: "enabled", label::REVISION: "prod"}),
            ),
            ("c", json!({})),
        ] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
            server.put("/api/v1/namespaces", namespace);
        }
        server
    }

    #[tokio::test]
    async fn a_tag_leads_to_its_revision() {
        let server = cluster(&["", "canary"]);
        let client = server.client();
        tag("prod", "canary").set(&client).await.expect("made");
        let made = server.object("/mutatingwebhookconfigurations/istio-revision-tag-prod");
        assert_eq!(
            made["metadata"]["labels"],
            json!({"app": "sidecar-injector", "istio.io/rev": "canary", "istio.io/tag": "prod"})
        );
        assert_eq!(
            made["webhooks"][0]["clientConfig"]["service"]["name"],
            "istiod-canary"
        );
        assert_eq!(
            made["webhooks"][0]["namespaceSelector"]["matchExpressions"][0]["values"],
            json!(["prod"])
        );
        assert_eq!(made["webhooks"].as_array().map(Vec::len), Some(2));
        let service = server.object("/services/istiod-revision-tag-prod");
        assert_eq!(
            service["spec"]["selector"],
            json!({"app": "istiod", "istio.io/rev": "canary"})
        );
        let listed = list(&client).await.expect("answers");
        let expected = Listed {
            tag: "prod".into(),
            revision: "canary".into(),
            namespaces: vec!["a".into()],
        };
        assert_eq!(listed, [expected]);
        let error = tag("prod", "default")
            .set(&client)
            .await
            .expect_err("taken");
        assert_eq!(
            error.to_string(),
            "tag prod leads to revision canary already; --overwrite changes it"
        );
        Tag {
            overwrite: true,
            ..tag("prod", "default")
        }
        .set(&client)
        .await
        .expect("moved");
        let moved = server.object("/mutatingwebhookconfigurations/istio-revision-tag-prod");
        assert_eq!(
            moved["webhooks"][0]["clientConfig"]["service"]["name"],
            "istiod"
        );
        let removed = remove(&client, "prod").await.expect("removed");
        assert_eq!(removed.len(), 2);
        assert!(matches!(
            remove(&client, "prod").await,
            Err(TagError::NoTag(_))
        ));
        assert!(server.has("/mutatingwebhookconfigurations/istio-sidecar-injector"));
    }

    #[tokio::test]
    async fn the_default_moves_and_nobody_is_injected_twice() {
        let server = cluster(&["", "canary"]);
        let client = server.client();
        let default = Tag {
            overwrite: true,
            ..tag("default", "canary")
        };
        let called = |server: &FakeServer| {
            let injecting = server.objects("MutatingWebhookConfiguration").into_iter();
            let injecting = injecting.map(|own| own["webhooks"].clone());
            let injecting = injecting.flat_map(|own| own.as_array().cloned().unwrap_or_default());
            let injecting =
                injecting.filter(|own| own["name"] == "namespace.sidecar-injector.istio.io");
            let active = injecting.filter(|own| own["namespaceSelector"]["matchLabels"].is_null());
            let called = active.map(|own| own["clientConfig"]["service"]["name"].to_string());
            called.collect::<BTreeSet<String>>()
        };
        // Wherever it stops, the same control plane injects as before, and no other.
        for step in ["istio-sidecar-injector", "istio-revision-tag-default"] {
            server.refuse(http::Method::PATCH, step, 500);
            default.set(&client).await.expect_err(step);
            assert_eq!(called(&server), ["\"istiod\"".to_owned()].into(), "{step}");
            server.allow_all();
        }
        default.set(&client).await.expect("made");
        assert_eq!(called(&server), ["\"istiod-canary\"".to_owned()].into());
        let made = server.object("/mutatingwebhookconfigurations/istio-revision-tag-default");
        assert_eq!(made["webhooks"].as_array().map(Vec::len), Some(4));
        let own = server.object("/mutatingwebhookconfigurations/istio-sidecar-injector");
        for webhook in own["webhooks"].as_array().expect("webhooks") {
            assert_eq!(
                webhook["namespaceSelector"]["matchLabels"],
                json!({"istio.io/deactivated": "never-match"})
            );
        }
        let validator = server.object("/validatingwebhookconfigurations/istiod-default-validator");
        assert_eq!(
            validator["webhooks"][0]["clientConfig"]["service"]["name"],
            "istiod-canary"
        );
        let canary = server.object("/mutatingwebhookconfigurations/istio-sidecar-injector-canary");
        assert!(canary["webhooks"][0]["namespaceSelector"]["matchLabels"].is_null());
    }

    #[tokio::test]
    async fn what_leads_nowhere_is_refused() {
        let server = cluster(&["", "canary"]);
        let refused = async |tag: Tag| {
            tag.objects(&server.client())
                .await
                .expect_err("refused")
                .to_string()
        };
        assert!(
            refused(tag("prod", "nowhere"))
                .await
                .starts_with("there is no revision nowhere")
        );
        assert!(
            refused(tag("canary", "default"))
                .await
                .starts_with("canary is the name of a revision")
        );
        assert_eq!(server.take_writes(), []);
    }
}
