//! The webhook configurations of this revision: they need the CA bundle that signs our serving certificate, and validation
//! may fail closed once it is served.
//!
//! Every replica does this; an update is only sent when something differs, so they do not disturb each other. What is
//! ours: entries whose client configuration names our Service.

use std::time::Duration;

use futures::StreamExt;
use ironsail_mesh::label;
use ironsail_mesh::revision::Revision;
use ironsail_runtime::log::chain;
use ironsail_runtime::readiness::Readiness;
use ironsail_runtime::signal::Shutdown;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::{Api, PostParams};
use kube::{Client, Resource, ResourceExt};
use kube_runtime::watcher;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{debug, info, warn};

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
trait Configuration:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned + Send + 'static
{
    fn entries(&mut self) -> Vec<Entry<'_>>;
    /// Whether `failurePolicy` is ours to close.
    const CLOSES: bool;
}

struct Entry<'a> {
    client: &'a mut WebhookClientConfig,
    failure_policy: &'a mut Option<String>,
}

impl Configuration for MutatingWebhookConfiguration {
    const CLOSES: bool = false;

    fn entries(&mut self) -> Vec<Entry<'_>> {
        let webhooks = self.webhooks.iter_mut().flatten();
        webhooks
            .map(|webhook| Entry {
                client: &mut webhook.client_config,
                failure_policy: &mut webhook.failure_policy,
            })
            .collect()
    }
}

impl Configuration for ValidatingWebhookConfiguration {
    const CLOSES: bool = true;

    fn entries(&mut self) -> Vec<Entry<'_>> {
        let webhooks = self.webhooks.iter_mut().flatten();
        webhooks
            .map(|webhook| Entry {
                client: &mut webhook.client_config,
                failure_policy: &mut webhook.failure_policy,
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

    async fn keep<K: Configuration>(&self, shutdown: &Shutdown) {
        let api: Api<K> = Api::all(self.client.clone());
        while !shutdown.is_triggered() {
            let mut bundle = self.ca_bundle.clone();
            // A clone has seen as little as its original; without this every round would end at once.
            bundle.mark_unchanged();
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
                        self.point_here(&api, object).await;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        warn!(error = %chain(&error), "Webhook configurations cannot be watched");
                        tokio::time::sleep(RETRY).await;
                    }
                    None => break,
                }
            }
        }
    }

    async fn point_here<K: Configuration>(&self, api: &Api<K>, mut object: K) {
        let bundle = self.ca_bundle.borrow().clone();
        let service = self.revision.suffixed("istiod");
        if bundle.is_empty() || !point(&mut object, &self.namespace, &service, &bundle) {
            return;
        }
        let name = object.name_any();
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        // With the version that was seen: whoever is faster wins, and its event comes. The role of validating
        // configurations grants update, not patch.
        match api.replace(&name, &params, &object).await {
            Ok(_) => info!(webhook = %name, "Webhook configuration points here"),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                debug!(webhook = %name, "Webhook configuration changed meanwhile");
            }
            Err(error) => {
                warn!(webhook = %name, error = %chain(&error), "Webhook configuration cannot be updated");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Makes the entries of `service` trust `bundle`; says whether something differed.
fn point<K: Configuration>(object: &mut K, namespace: &str, service: &str, bundle: &[u8]) -> bool {
    let mut differs = false;
    for entry in object.entries() {
        let is_ours = entry
            .client
            .service
            .as_ref()
            .is_some_and(|own| own.name == service && own.namespace == namespace);
        if !is_ours {
            continue;
        }
        let known = entry.client.ca_bundle.as_ref();
        if known.is_none_or(|known| known.0 != bundle) {
            entry.client.ca_bundle = Some(ByteString(bundle.to_vec()));
            differs = true;
        }
        if K::CLOSES && entry.failure_policy.as_deref() != Some("Fail") {
            *entry.failure_policy = Some("Fail".to_owned());
            differs = true;
        }
    }
    differs
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn check(mut object: ValidatingWebhookConfiguration, expected: bool) {
        assert_eq!(
            point(&mut object, "istio-system", "istiod", b"root"),
            expected
        );
        assert!(
            !point(&mut object, "istio-system", "istiod", b"root"),
            "done once"
        );
    }

    #[test]
    fn only_what_differs_is_changed() {
        check(configuration("istiod", b"root", "Fail"), false);
        check(configuration("istiod", b"", "Fail"), true);
        check(configuration("istiod", b"root", "Ignore"), true);
    }

    #[test]
    fn other_services_are_left_alone() {
        check(configuration("istiod-canary", b"", "Ignore"), false);
    }
}
