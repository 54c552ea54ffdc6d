//! Putting the operator itself into a cluster, and taking it out: the objects of its manifest, for
//! other namespaces than the manifest's where that is wanted.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::bundle::{self, NAME};
use crate::health::{self, Health};
use crate::namespace;
use crate::object::Kind;
use crate::render::Context;
use crate::value::{get, set, text};

/// Field manager of the operator's own objects.
pub const MANAGER: &str = "ironsail";
/// Namespace of IstioOperators and control planes in the manifest.
const HOME: &str = "istio-system";
const PAUSE: Duration = Duration::from_secs(1);

/// An operator to be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Images.
    pub context: Context,
    /// Namespace of the operator.
    pub namespace: String,
    /// Namespaces whose IstioOperators it reconciles; empty means all.
    pub watched: Vec<String>,
    /// Secrets of its namespace to pull its image with.
    pub pull_secrets: Vec<String>,
}

impl Default for Setup {
    /// As the manifest has it.
    fn default() -> Self {
        Self {
            context: Context::default(),
            namespace: NAME.to_owned(),
            watched: vec![HOME.to_owned()],
            pull_secrets: Vec::new(),
        }
    }
}

/// What keeps the operator from being set up or removed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{what}: {}", crate::apply::reason(source))]
    Api {
        what: String,
        source: Box<kube::Error>,
    },
    #[error("{0}")]
    NotReady(String),
}

fn failed(what: impl Into<String>) -> impl FnOnce(kube::Error) -> SetupError {
    let what = what.into();
    move |source| SetupError::Api {
        what,
        source: Box::new(source),
    }
}

impl Setup {
    /// Everything that is applied, in this order.
    pub fn documents(&self) -> Vec<Value> {
        let documents = bundle::documents(&self.context).into_iter();
        let mut documents: Vec<Value> = documents.map(|document| self.adapted(document)).collect();
        let names = |document: &Value| {
            (
                document["kind"].clone(),
                document["metadata"]["name"].clone(),
            )
        };
        let there: Vec<_> = documents.iter().map(names).collect();
        let namespaces = self.watched.iter().map(
            |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        );
        let more = namespaces.filter(|namespace| !there.contains(&names(namespace)));
        let first = there
            .iter()
            .position(|(kind, _)| kind == "Namespace")
            .unwrap_or(0);
        documents.splice(first..first, more);
        documents
    }

    /// One object of the manifest for this operator.
    fn adapted(&self, mut document: Value) -> Value {
        match text(&document, &["kind"]).unwrap_or_default() {
            "CustomResourceDefinition" => return document,
            "Namespace" if document["metadata"]["name"] == NAME => {
                document["metadata"]["name"] = json!(self.namespace);
            }
            "Deployment" => self.adapt_workload(&mut document),
            _ => {}
        }
        move_namespaces(&mut document, &self.namespace);
        document
    }

    fn adapt_workload(&self, deployment: &mut Value) {
        let pod = ["spec", "template", "spec"];
        if !self.pull_secrets.is_empty() {
            let secrets = self
                .pull_secrets
                .iter()
                .map(|name| json!({"name": name}))
                .collect();
            set(
                deployment,
                &[&pod[..], &["imagePullSecrets"]].concat(),
                secrets,
            );
        }
        let watched = json!(self.watched.join(","));
        let variables = deployment.pointer_mut("/spec/template/spec/containers/0/env");
        for variable in variables
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if variable["name"] == "WATCH_NAMESPACE" {
                variable["value"] = watched.clone();
            }
        }
    }

    /// The manifest as YAML.
    pub fn manifest(&self) -> String {
        let documents = self.documents();
        let texts = documents.iter().map(|document| {
            let text = crate::yaml::to_string(document);
            format!("---\n{text}")
        });
        texts.collect()
    }

    /// Applies everything and waits until the operator runs. Namespaces that are still being deleted
    /// are awaited first.
    ///
    /// # Errors
    /// The API server refuses an object, or the operator is not ready in time.
    pub async fn apply(&self, client: &Client, limit: Duration) -> Result<(), SetupError> {
        for name in self.watched.iter().chain([&self.namespace]) {
            wait_until_usable(client, name, limit).await?;
        }
        for document in self.documents() {
            apply_document(client, &document).await?;
        }
        self.wait(client, limit).await
    }

    async fn wait(&self, client: &Client, limit: Duration) -> Result<(), SetupError> {
        let api: Api<Deployment> = Api::namespaced(client.clone(), &self.namespace);
        let begin = Instant::now();
        loop {
            let deployment = api
                .get(NAME)
                .await
                .map_err(failed("the operator can't be read"))?;
            let missing = match health::deployment(&deployment) {
                Health::Ready => return Ok(()),
                Health::Waiting(text) | Health::Failed(text) => text,
            };
            if begin.elapsed() >= limit {
                let selector = deployment
                    .spec
                    .map(|spec| spec.selector)
                    .unwrap_or_default();
                let reason = health::pod_reason(client, &self.namespace, selector).await;
                let reason = reason
                    .map(|reason| format!("; {reason}"))
                    .unwrap_or_default();
                return Err(SetupError::NotReady(format!("{missing}{reason}")));
            }
            sleep(PAUSE).await;
        }
    }

    /// Removes the operator. Meshes stay as they are; the definition stays, and namespaces that
    /// are not the operator's.
    ///
    /// The account goes first: that tells the operator that it is removed, and it lets all
    /// IstioOperators go while it still has its rights.
    ///
    /// # Errors
    /// The API server refuses it, or the operator does not let go in time.
    pub async fn remove(&self, client: &Client, limit: Duration) -> Result<(), SetupError> {
        let is = |kind: &'static str| move |document: &&Value| document["kind"] == kind;
        let documents = self.documents();
        for document in documents
            .iter()
            .filter(is("ServiceAccount"))
            .chain(documents.iter().filter(is("Deployment")))
        {
            delete_document(client, document).await?;
        }
        self.wait_until_released(client, limit).await?;
        let kept = |document: &&Value| {
            let namespace = is("Namespace")(document) && document["metadata"]["name"] != NAME;
            !namespace && !is("CustomResourceDefinition")(document)
        };
        for document in documents.iter().rev().filter(kept) {
            delete_document(client, document).await?;
        }
        Ok(())
    }

    /// Removes the definition of IstioOperator, and with it all that are left.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn remove_definition(&self, client: &Client) -> Result<(), SetupError> {
        let documents = self.documents();
        let definitions = documents
            .iter()
            .filter(|d| d["kind"] == "CustomResourceDefinition");
        for definition in definitions {
            delete_document(client, definition).await?;
        }
        Ok(())
    }

    async fn wait_until_released(
        &self,
        client: &Client,
        limit: Duration,
    ) -> Result<(), SetupError> {
        let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &self.namespace);
        let begin = Instant::now();
        loop {
            let account = api.get_metadata_opt(NAME).await;
            let Some(account) = account.map_err(failed("the operator's account can't be read"))?
            else {
                return Ok(());
            };
            if begin.elapsed() >= limit {
                let held = account.metadata.finalizers.unwrap_or_default().join(", ");
                return Err(SetupError::NotReady(format!(
                    "the operator did not let its IstioOperators go; ServiceAccount {}/{NAME} has the finalizer {held}",
                    self.namespace
                )));
            }
            sleep(PAUSE).await;
        }
    }
}

/// Waits while a namespace is being deleted.
async fn wait_until_usable(client: &Client, name: &str, limit: Duration) -> Result<(), SetupError> {
    let begin = Instant::now();
    loop {
        let state = namespace::state(client, name).await;
        let state = state.map_err(failed(format!("Namespace {name}")))?;
        if !matches!(state, namespace::State::Terminating(_)) {
            return Ok(());
        }
        if begin.elapsed() >= limit {
            let text = format!("Namespace {name} is still being deleted");
            return Err(SetupError::NotReady(text));
        }
        sleep(PAUSE).await;
    }
}

/// Wherever an object names the operator's namespace, it names another one.
fn move_namespaces(value: &mut Value, namespace: &str) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match key.as_str() {
                    "namespace" if value == NAME => *value = json!(namespace),
                    _ => move_namespaces(value, namespace),
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| move_namespaces(item, namespace)),
        _ => {}
    }
}

/// How messages name a document.
fn title(document: &Value) -> String {
    let part = |path: &[&str]| text(document, path).unwrap_or_default().to_owned();
    format!("{} {}", part(&["kind"]), part(&["metadata", "name"]))
}

fn api_of(client: &Client, document: &Value) -> Api<DynamicObject> {
    let namespaces = ApiResource::erase::<Namespace>(&());
    let resource = Kind::of(document).map_or(namespaces, Kind::resource);
    match text(document, &["metadata", "namespace"]) {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

async fn apply_document(client: &Client, document: &Value) -> Result<(), SetupError> {
    let name = text(document, &["metadata", "name"]).unwrap_or_default();
    let params = PatchParams::apply(MANAGER).force();
    let applied = api_of(client, document)
        .patch(name, &params, &Patch::Apply(document))
        .await;
    applied.map(drop).map_err(failed(title(document)))
}

async fn delete_document(client: &Client, document: &Value) -> Result<(), SetupError> {
    let name = text(document, &["metadata", "name"]).unwrap_or_default();
    match api_of(client, document)
        .delete(name, &DeleteParams::background())
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        Err(error) => Err(failed(title(document))(error)),
    }
}

/// Applies an IstioOperator for the operator to find; one without a name or namespace gets those
/// of the sample.
///
/// # Errors
/// The API server refuses it.
pub async fn apply_operator(client: &Client, object: &Value) -> Result<(), SetupError> {
    let mut object = object.clone();
    for (key, default) in [("namespace", HOME), ("name", "mesh")] {
        if get(&object, &["metadata", key]).is_none() {
            set(&mut object, &["metadata", key], json!(default));
        }
    }
    let namespace = text(&object, &["metadata", "namespace"])
        .unwrap_or(HOME)
        .to_owned();
    let name = text(&object, &["metadata", "name"])
        .unwrap_or_default()
        .to_owned();
    let resource = crate::events::operator_resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    let params = PatchParams::apply(MANAGER).force();
    let applied = api.patch(&name, &params, &Patch::Apply(&object)).await;
    applied
        .map(drop)
        .map_err(failed(format!("IstioOperator {namespace}/{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeServer;

    fn elsewhere() -> Setup {
        Setup {
            namespace: "ops".into(),
            watched: vec!["istio-system".into(), "mesh-b".into()],
            pull_secrets: vec!["registry".into()],
            ..Setup::default()
        }
    }

    #[test]
    fn the_default_is_the_manifest() {
        let manifest = bundle::documents(&Context::default());
        assert_eq!(Setup::default().documents(), manifest);
    }

    #[test]
    fn a_namespace_that_reads_like_a_boolean_stays_text() {
        let setup = Setup {
            watched: vec!["on".into()],
            ..Setup::default()
        };
        assert!(setup.manifest().contains("value: \"on\"\n"));
    }

    #[test]
    fn another_namespace_is_named_everywhere() {
        let documents = elsewhere().documents();
        let find = |kind: &str, name: &str| {
            let is = |d: &&Value| d["kind"] == kind && d["metadata"]["name"] == name;
            documents.iter().find(is).cloned().unwrap_or_default()
        };
        assert_eq!(find("Namespace", NAME), Value::Null);
        assert!(find("Namespace", "ops").is_object() && find("Namespace", "mesh-b").is_object());
        assert_eq!(
            find("ClusterRoleBinding", NAME)["subjects"][0]["namespace"],
            "ops"
        );
        assert_eq!(
            find("ClusterRoleBinding", NAME)["subjects"][0]["name"],
            NAME
        );
        let deployment = find("Deployment", NAME);
        assert_eq!(deployment["metadata"]["namespace"], "ops");
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
        let variables = pod["containers"][0]["env"].as_array().expect("variables");
        let watched = json!({"name": "WATCH_NAMESPACE", "value": "istio-system,mesh-b"});
        assert!(variables.contains(&watched));
        assert_eq!(find("Role", NAME)["metadata"]["namespace"], "ops");
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_goes_away_is_awaited() {
        let server = FakeServer::default();
        let client = server.client();
        let ending = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAME, "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        server.put("/api/v1/namespaces", ending);
        let limit = Duration::from_secs(10);
        let error = wait_until_usable(&client, NAME, limit).await;
        let error = error.expect_err("it never goes").to_string();
        assert_eq!(error, "Namespace istio-operator is still being deleted");
        let gone = async {
            sleep(PAUSE * 3).await;
            server.remove("/namespaces/istio-operator");
        };
        let (usable, ()) = tokio::join!(wait_until_usable(&client, NAME, limit), gone);
        usable.expect("it is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_is_set_up_and_removed() {
        let server = FakeServer::default();
        let (client, setup) = (server.client(), Setup::default());
        let limit = Duration::from_secs(10);
        let error = setup.apply(&client, limit).await.expect_err("nothing runs");
        assert!(
            error.to_string().starts_with("Deployment istio-operator"),
            "{error}"
        );
        server.make_ready();
        setup.apply(&client, limit).await.expect("it runs");
        apply_operator(&client, &json!({"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator", "metadata": {}, "spec": {}}))
            .await
            .expect("applied");
        assert!(server.has("/namespaces/istio-system/istiooperators/mesh"));
        setup.remove(&client, limit).await.expect("removed");
        assert!(
            !server.has("/deployments/istio-operator") && !server.has("/namespaces/istio-operator")
        );
        assert!(!server.has("/clusterroles/istio-operator"));
        assert!(
            server.has("/namespaces/istio-system")
                && server.has("/customresourcedefinitions/istiooperators.install.istio.io")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_that_does_not_let_go_keeps_its_rights() {
        let server = FakeServer::default();
        let (client, setup) = (server.client(), Setup::default());
        let _ = setup.apply(&client, Duration::ZERO).await;
        server.edit("/serviceaccounts/istio-operator", |account| {
            account["metadata"]["finalizers"] = json!(["operator.ironsail.dev/removal"]);
        });
        let error = setup
            .remove(&client, Duration::from_secs(5))
            .await
            .expect_err("held");
        assert!(
            error.to_string().contains("operator.ironsail.dev/removal"),
            "{error}"
        );
        assert!(server.has("/clusterroles/istio-operator"));
    }
}
