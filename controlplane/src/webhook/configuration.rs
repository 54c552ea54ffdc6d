//! The webhook configurations of this revision: they need the CA bundle that signs our serving certificate, and validation
//! may fail closed once it is served.
//!
//! Every replica does this; a patch is only sent when something differs, so they do not disturb each other. What is
//! ours: entries whose client configuration names our Service.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use ironsail_mesh::label;
use ironsail_mesh::revision::Revision;
use ironsail_runtime::readiness::Readiness;
use ironsail_runtime::signal::Shutdown;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use kube_runtime::watcher;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{info, warn};

/// Name under which the API server records our changes.
const FIELD_MANAGER: &str = "pilot-discovery";

/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the configurations of one revision pointed at this control plane.
pub struct Configurations {
    pub client: Client,
    /// Namespace of our Service.
    pub namespace: String,
    pub revision: Revision,
    /// PEM of the root that signs our serving certificate.
    pub ca_bundle: watch::Receiver<Vec<u8>>,
    /// Validation fails closed only when it can be answered.
    pub readiness: Readiness,
}

/// A kind of configuration, and its entries in one shape.
trait Configuration: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + 'static {
    fn entries(&self) -> Vec<Entry<'_>>;
    /// Whether `failurePolicy` is ours to close.
    const CLOSES: bool;
}

struct Entry<'a> {
    client: &'a WebhookClientConfig,
    failure_policy: Option<&'a str>,
}

impl Configuration for MutatingWebhookConfiguration {
    const CLOSES: bool = false;

    fn entries(&self) -> Vec<Entry<'_>> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks
            .map(|webhook| Entry {
                client: &webhook.client_config,
                failure_policy: webhook.failure_policy.as_deref(),
            })
            .collect()
    }
}

impl Configuration for ValidatingWebhookConfiguration {
    const CLOSES: bool = true;

    fn entries(&self) -> Vec<Entry<'_>> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks
            .map(|webhook| Entry {
                client: &webhook.client_config,
                failure_policy: webhook.failure_policy.as_deref(),
            })
            .collect()
    }
}

impl Configurations {
    /// Watches and patches until `shutdown`.
    pub async fn run(self, shutdown: Shutdown) {
        self.readiness.ready().await;
        let mutating = self.keep::<MutatingWebhookConfiguration>(&shutdown);
        let validating = self.keep::<ValidatingWebhookConfiguration>(&shutdown);
        tokio::join!(mutating, validating);
    }

    async fn keep<K>(&self, shutdown: &Shutdown)
    where
        K: Configuration + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::all(self.client.clone());
        while !shutdown.is_triggered() {
            let mut bundle = self.ca_bundle.clone();
            let selector = format!("{}={}", label::REVISION, self.revision.label());
            let config = watcher::Config::default().labels(&selector);
            let mut events = watcher::watcher(api.clone(), config).boxed();
            loop {
                let event = tokio::select! {
                    () = shutdown.triggered() => return,
                    // A new root: look at everything again.
                    changed = bundle.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    event = events.next() => event,
                };
                match event {
                    Some(Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object))) => {
                        self.point_here(&api, &object).await;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        warn!(%error, "Webhook configurations cannot be watched");
                        tokio::time::sleep(RETRY).await;
                    }
                    None => break,
                }
            }
        }
    }

    async fn point_here<K>(&self, api: &Api<K>, object: &K)
    where
        K: Configuration + serde::de::DeserializeOwned,
    {
        let bundle = self.ca_bundle.borrow().clone();
        let service = self.revision.suffixed("istiod");
        let operations = operations(object, &self.namespace, &service, &bundle);
        if operations.is_empty() {
            return;
        }
        let name = object.name_any();
        let patch: json_patch::Patch = match serde_json::from_value(Value::Array(operations)) {
            Ok(patch) => patch,
            Err(error) => {
                warn!(webhook = %name, %error, "Patch is malformed");
                return;
            }
        };
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        match api.patch(&name, &params, &Patch::Json::<()>(patch)).await {
            Ok(_) => info!(webhook = %name, "Webhook configuration points here"),
            Err(error) => {
                // The object changed or went meanwhile: its next event comes.
                warn!(webhook = %name, %error, "Webhook configuration cannot be patched");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Operations of a JSON patch; none when everything is as it should be.
fn operations<K: Configuration>(
    object: &K,
    namespace: &str,
    service: &str,
    bundle: &[u8],
) -> Vec<Value> {
    let mut operations = Vec::new();
    for (index, entry) in object.entries().iter().enumerate() {
        let is_ours = entry
            .client
            .service
            .as_ref()
            .is_some_and(|own| own.name == service && own.namespace == namespace);
        if !is_ours {
            continue;
        }
        let known = entry
            .client
            .ca_bundle
            .as_ref()
            .map(|bundle| bundle.0.as_slice());
        if known != Some(bundle) {
            operations.push(json!({
                "op": "add",
                "path": format!("/webhooks/{index}/clientConfig/caBundle"),
                "value": STANDARD.encode(bundle),
            }));
        }
        if K::CLOSES && entry.failure_policy != Some("Fail") {
            operations.push(json!({
                "op": "add",
                "path": format!("/webhooks/{index}/failurePolicy"),
                "value": "Fail",
            }));
        }
    }
    operations
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use k8s_openapi::api::admissionregistration::v1::{ServiceReference, ValidatingWebhook};

    fn configuration(service: &str, bundle: &[u8], policy: &str) -> ValidatingWebhookConfiguration {
        ValidatingWebhookConfiguration {
            webhooks: Some(vec![ValidatingWebhook {
                client_config: WebhookClientConfig {
                    service: Some(ServiceReference {
                        name: service.to_owned(),
                        namespace: "istio-system".to_owned(),
                        ..Default::default()
                    }),
                    ca_bundle: Some(ByteString(bundle.to_vec())),
                    ..Default::default()
                },
                failure_policy: Some(policy.to_owned()),
                ..Default::default()
            }]),
            ..Default::default()
        }
    }

    #[track_caller]
    fn check(object: &ValidatingWebhookConfiguration, expected: usize) {
        let found = operations(object, "istio-system", "istiod", b"root");
        assert_eq!(found.len(), expected, "{found:?}");
    }

    #[test]
    fn only_what_differs_is_patched() {
        check(&configuration("istiod", b"root", "Fail"), 0);
        check(&configuration("istiod", b"", "Fail"), 1);
        check(&configuration("istiod", b"old", "Ignore"), 2);
    }

    #[test]
    fn other_services_are_left_alone() {
        check(&configuration("istiod-canary", b"", "Ignore"), 0);
    }
}
