//! The configuration of the admission webhook.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, RuleWithOperations, ServiceReference, ValidatingWebhook,
    ValidatingWebhookConfiguration, WebhookClientConfig,
};

use super::{NAME, metadata};
use crate::webhook::PATH;

/// Nobody waits longer for an answer; an operator that doesn't run holds nothing up.
const TIMEOUT_SECONDS: i32 = 5;

/// The configuration without a trusted certificate: the operator adds its own.
pub(super) fn configuration() -> ValidatingWebhookConfiguration {
    let list = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect());
    let rule = RuleWithOperations {
        api_groups: list(&["install.istio.io"]),
        api_versions: list(&["v1alpha1"]),
        operations: list(&["CREATE", "UPDATE"]),
        resources: list(&["istiooperators"]),
        scope: Some("Namespaced".to_owned()),
    };
    // The end of an object must not wait for a webhook that may be gone already.
    let condition = MatchCondition {
        name: "is-not-being-deleted".to_owned(),
        expression: "!has(object.metadata.deletionTimestamp)".to_owned(),
    };
    let webhook = ValidatingWebhook {
        name: "istiooperators.install.istio.io".to_owned(),
        client_config: WebhookClientConfig {
            service: Some(ServiceReference {
                name: NAME.to_owned(),
                namespace: NAME.to_owned(),
                path: Some(PATH.to_owned()),
                port: Some(443),
            }),
            ..WebhookClientConfig::default()
        },
        rules: Some(vec![rule]),
        match_conditions: Some(vec![condition]),
        failure_policy: Some("Ignore".to_owned()),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(TIMEOUT_SECONDS),
        admission_review_versions: vec!["v1".to_owned()],
        ..ValidatingWebhook::default()
    };
    ValidatingWebhookConfiguration {
        metadata: metadata(None),
        webhooks: Some(vec![webhook]),
    }
}
