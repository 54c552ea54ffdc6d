//! Keeps the webhook's certificate and what clients trust.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ironsail_runtime::log::chain;
use ironsail_runtime::readiness::Condition;
use ironsail_runtime::signal::Shutdown;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource as _};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tracing::{info, warn};

use super::Serving;
use super::authority::{Authority, CertificateError};
use crate::bundle;
use crate::object::owner_reference;

/// Field manager of the trusted certificate.
const MANAGER: &str = "istio-operator-webhook";
/// Time between looks at what is there.
const INTERVAL: Duration = Duration::from_secs(60);
/// Time after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps one webhook configuration pointed at this operator.
pub struct Upkeep {
    pub client: Client,
    /// Namespace of the operator.
    pub namespace: String,
    /// Name of the configuration; the Secret has it too, with the suffix `-webhook`.
    pub configuration: String,
    pub serving: Arc<Serving>,
}

/// Why the webhook is not up to date.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("{what} can't be {done}")]
    Api {
        what: String,
        done: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
}

/// What the serving certificate was made from.
#[derive(PartialEq, Eq)]
struct Served {
    bundle: String,
    names: Vec<String>,
}

impl Upkeep {
    /// Looks again and again until `shutdown`. `ready` holds once a certificate is served, or
    /// when there is no configuration that wants one.
    pub async fn run(self, ready: Condition, shutdown: Shutdown) {
        let mut served = None;
        loop {
            let pause = match shutdown.guard(self.look(&mut served)).await {
                None => return,
                Some(Ok(())) => {
                    ready.set(true);
                    INTERVAL
                }
                Some(Err(error)) => {
                    warn!(error = %chain(&error), "Admission webhook is not up to date");
                    RETRY
                }
            };
            if shutdown.guard(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn look(&self, served: &mut Option<Served>) -> Result<(), UpkeepError> {
        let name = &self.configuration;
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let found = api.get_opt(name).await;
        let found = found.map_err(|source| failed(self.webhook(), "read", source))?;
        // Without one, nobody asks.
        let Some(configuration) = found else {
            return Ok(());
        };
        let now = OffsetDateTime::now_utc();
        let authority = self.authority(&configuration, now).await?;
        let wanted = Served {
            bundle: authority.bundle().to_owned(),
            names: self.names(&configuration),
        };
        if served.as_ref() != Some(&wanted) {
            self.serving
                .install(authority.serving_key(&wanted.names, now)?);
            *served = Some(wanted);
        }
        if let Some(patch) = self.trust(&configuration, authority.bundle()) {
            let params = PatchParams::apply(MANAGER).force();
            let patched = api.patch(name, &params, &Patch::Apply(&patch)).await;
            patched.map_err(|source| failed(self.webhook(), "changed", source))?;
            info!(webhook = %name, "Webhook configuration trusts this operator");
        }
        Ok(())
    }

    /// The authority of the Secret. It is made where there is none, and renewed in time; of
    /// several replicas that do so, one wins and the others read what it wrote.
    async fn authority(
        &self,
        owner: &ValidatingWebhookConfiguration,
        now: OffsetDateTime,
    ) -> Result<Authority, UpkeepError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = format!("{}-webhook", self.configuration);
        let what = || format!("Secret {}/{name}", self.namespace);
        let found = api.get_opt(&name).await;
        let found = found.map_err(|source| failed(what(), "read", source))?;
        let data = found.as_ref().and_then(|secret| secret.data.as_ref());
        let authority = match data.and_then(|data| Authority::read(data, now)) {
            Some(authority) if !authority.is_due(now) => return Ok(authority),
            Some(authority) => authority.renewed(now)?,
            None => Authority::create(now)?,
        };
        let mut secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(bundle::labels()),
                // Whatever removes the configuration removes the key.
                owner_references: Some(vec![owner_reference::<ValidatingWebhookConfiguration>(
                    &owner.metadata,
                )]),
                ..ObjectMeta::default()
            },
            data: Some(authority.data()),
            ..Secret::default()
        };
        let written = match found {
            None => api.create(&PostParams::default(), &secret).await,
            Some(found) => {
                // With the version that was read: whoever is faster wins.
                secret.metadata.resource_version = found.metadata.resource_version;
                let patch = Patch::Merge(&secret);
                api.patch(&name, &PatchParams::default(), &patch).await
            }
        };
        written.map_err(|source| failed(what(), "written", source))?;
        info!(secret = %name, "Webhook authority written");
        Ok(authority)
    }

    /// Whether an entry is for this operator's Service, and the name it is called by.
    fn service(&self, entry: &Value) -> Option<String> {
        let service = entry.pointer("/clientConfig/service")?;
        let own = service.get("namespace")?.as_str()? == self.namespace;
        let name = service.get("name")?.as_str()?;
        own.then(|| format!("{name}.{}.svc", self.namespace))
    }

    fn names(&self, configuration: &ValidatingWebhookConfiguration) -> Vec<String> {
        let entries = entries(configuration);
        let mut names: Vec<String> = entries.iter().filter_map(|e| self.service(e)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// What has to be applied so that all entries trust the authority, if anything.
    fn trust(&self, configuration: &ValidatingWebhookConfiguration, bundle: &str) -> Option<Value> {
        let bundle = STANDARD.encode(bundle);
        let all = entries(configuration);
        let own = all.iter().filter(|entry| self.service(entry).is_some());
        let own: Vec<&Value> = own.collect();
        let trusts = |entry: &&Value| entry["clientConfig"]["caBundle"] == *bundle;
        if own.iter().all(trusts) {
            return None;
        }
        let webhooks = own
            .iter()
            .map(|entry| json!({"name": entry["name"], "clientConfig": {"caBundle": bundle}}));
        Some(json!({
            "apiVersion": ValidatingWebhookConfiguration::api_version(&()),
            "kind": ValidatingWebhookConfiguration::kind(&()),
            // With the uid, applying never makes what was deleted meanwhile.
            "metadata": {"name": self.configuration, "uid": configuration.metadata.uid},
            "webhooks": webhooks.collect::<Vec<_>>(),
        }))
    }

    fn webhook(&self) -> String {
        format!("ValidatingWebhookConfiguration {}", self.configuration)
    }
}

fn failed(what: String, done: &'static str, source: kube::Error) -> UpkeepError {
    UpkeepError::Api {
        what,
        done,
        source: Box::new(source),
    }
}

fn entries(configuration: &ValidatingWebhookConfiguration) -> Vec<Value> {
    let entries = configuration.webhooks.iter().flatten();
    entries
        .map(|entry| serde_json::to_value(entry).expect("Kubernetes types become JSON"))
        .collect()
}

#[cfg(test)]
mod tests;
