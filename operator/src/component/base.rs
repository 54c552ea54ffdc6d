//! Component `Base`: the definitions of the mesh kinds, the reader's account, and the validation
//! webhook of the default revision.

use ironsail_mesh::{label, revision};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::istiod::webhook::{ValidatingWebhookTarget, validating_webhook};
use super::istiod::{default_tag, stable};
use super::{Component, LabelSet, Labels, Sink, clustered, namespaced, pull_secrets};
use crate::object::Manifest;
use crate::render::Context;
use crate::values::istiod::Istiod;
use crate::values::{Resolved, typed};

/// Definitions of the mesh kinds, by CRD name.
pub static CRDS: [(&str, &str); 15] = [
    (
        "authorizationpolicies.security.istio.io",
        include_str!("../../../deploy/crds/authorizationpolicies.security.istio.io.yaml"),
    ),
    (
        "destinationrules.networking.istio.io",
        include_str!("../../../deploy/crds/destinationrules.networking.istio.io.yaml"),
    ),
    (
        "envoyfilters.networking.istio.io",
        include_str!("../../../deploy/crds/envoyfilters.networking.istio.io.yaml"),
    ),
    (
        "gateways.networking.istio.io",
        include_str!("../../../deploy/crds/gateways.networking.istio.io.yaml"),
    ),
    (
        "peerauthentications.security.istio.io",
        include_str!("../../../deploy/crds/peerauthentications.security.istio.io.yaml"),
    ),
    (
        "proxyconfigs.networking.istio.io",
        include_str!("../../../deploy/crds/proxyconfigs.networking.istio.io.yaml"),
    ),
    (
        "requestauthentications.security.istio.io",
        include_str!("../../../deploy/crds/requestauthentications.security.istio.io.yaml"),
    ),
    (
        "serviceentries.networking.istio.io",
        include_str!("../../../deploy/crds/serviceentries.networking.istio.io.yaml"),
    ),
    (
        "sidecars.networking.istio.io",
        include_str!("../../../deploy/crds/sidecars.networking.istio.io.yaml"),
    ),
    (
        "telemetries.telemetry.istio.io",
        include_str!("../../../deploy/crds/telemetries.telemetry.istio.io.yaml"),
    ),
    (
        "trafficextensions.extensions.istio.io",
        include_str!("../../../deploy/crds/trafficextensions.extensions.istio.io.yaml"),
    ),
    (
        "virtualservices.networking.istio.io",
        include_str!("../../../deploy/crds/virtualservices.networking.istio.io.yaml"),
    ),
    (
        "wasmplugins.extensions.istio.io",
        include_str!("../../../deploy/crds/wasmplugins.extensions.istio.io.yaml"),
    ),
    (
        "workloadentries.networking.istio.io",
        include_str!("../../../deploy/crds/workloadentries.networking.istio.io.yaml"),
    ),
    (
        "workloadgroups.networking.istio.io",
        include_str!("../../../deploy/crds/workloadgroups.networking.istio.io.yaml"),
    ),
];

/// Account that other clusters read this one with.
pub const READER: &str = "istio-reader-service-account";

/// Renders the component.
pub fn render(resolved: &Resolved, context: &Context, sink: &mut Sink) {
    let values = resolved.base_values();
    let values: Istiod = match typed(&values) {
        Ok(values) => values,
        Err((path, message)) => return sink.error(resolved.locate(&path, &[""]), message),
    };
    let names = ("base", "istio-reader");
    let labels = LabelSet::new(Component::Base, names, resolved, context, "");
    crds(&values, &labels, sink);
    let global = &values.global;
    if global.enable_reader_rbac.unwrap_or(true) && global.reader_service_account.name.is_empty() {
        let metadata = namespaced(
            READER,
            &resolved.istio_namespace,
            labels.released(&[("app", "istio-reader")]),
        );
        sink.add(
            Component::Base,
            &ServiceAccount {
                metadata,
                image_pull_secrets: pull_secrets(&global.image_pull_secrets),
                ..ServiceAccount::default()
            },
        );
    }
    if let Some(revision) = default_revision(resolved, &values, context) {
        let labels = default_labels(revision, labels);
        if values.experimental.stable_validation_policy {
            default_policy(&labels, sink);
        }
        let claims = default_tag::claim(resolved, &values, context).is_some();
        // A control plane that claims to be the default brings it itself.
        if !claims || resolved.pilot().is_none() {
            default_validator(resolved, &values, revision, labels, sink);
        }
    }
}

fn crds(values: &Istiod, labels: &LabelSet, sink: &mut Sink) {
    for (name, text) in &CRDS {
        if !values
            .base
            .excluded_crds
            .iter()
            .any(|excluded| excluded == name)
        {
            sink.objects.push(Manifest::definition(
                name,
                text,
                definition_labels(values, labels),
            ));
        }
    }
}

/// Version in the labels of definitions that are not rendered but taken as they are.
const STATIC_VERSION: &str = "1.0.0";

/// Definitions have the labels of the chart and no others.
fn definition_labels(values: &Istiod, labels: &LabelSet) -> Labels {
    let mut labels = labels.clone();
    if values.base.enable_crd_templates == Some(false) {
        labels.chart_version = STATIC_VERSION.to_owned();
    }
    let mut labels = labels.plain(&[]);
    labels.remove(label::APP_KUBERNETES_NAME);
    labels
}

/// The revision that validates objects which name none.
fn default_revision<'a>(
    resolved: &Resolved,
    values: &'a Istiod,
    context: &Context,
) -> Option<&'a str> {
    let named = values.default_revision.as_str();
    let takes = context.takes_default
        && !values.global.operator_manage_webhooks
        && values.global.config_validation
        && resolved.pilot().is_some()
        && resolved.revision.label() == revision::DEFAULT;
    if named.is_empty() {
        takes.then_some(revision::DEFAULT)
    } else {
        Some(named)
    }
}

/// Labels of what speaks for the default revision.
fn default_labels(revision: &str, labels: LabelSet) -> Labels {
    let labels = LabelSet {
        name: "istiod",
        ..labels
    };
    labels.released(&[("istio", "istiod"), (label::REVISION, revision)])
}

/// Refuses what is not of the stable channel, in objects of any revision.
fn default_policy(labels: &Labels, sink: &mut Sink) {
    let names = (
        "stable-channel-default-policy.istio.io",
        "stable-channel-default-policy-binding.istio.io",
    );
    stable::render(Component::Base, names, labels.clone(), None, sink);
}

/// Validates objects that name no revision.
fn default_validator(
    resolved: &Resolved,
    values: &Istiod,
    revision: &str,
    mut labels: Labels,
    sink: &mut Sink,
) {
    labels.insert("app".to_owned(), "istiod".to_owned());
    let service = match revision {
        revision::DEFAULT => "istiod".to_owned(),
        revision => format!("istiod-{revision}"),
    };
    let target = ValidatingWebhookTarget {
        service: &service,
        namespace: &resolved.istio_namespace,
        base: &values.base,
    };
    let selector = LabelSelector::default();
    let webhook = validating_webhook("validation.istio.io", &target, selector);
    let configuration = ValidatingWebhookConfiguration {
        metadata: clustered(default_tag::VALIDATOR, labels),
        webhooks: Some(vec![webhook]),
    };
    sink.add(Component::Base, &configuration);
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_definition_parses_and_has_its_name() {
        for (name, text) in &CRDS {
            let body: Value = serde_yaml_ng::from_str(text).expect("YAML");
            assert_eq!(body["metadata"]["name"], *name);
            assert!(
                text.len() < 262_144,
                "{name} is too large for client-side apply"
            );
        }
    }
}
