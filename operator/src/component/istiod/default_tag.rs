//! What speaks for the default revision, as far as this revision claims to be it.

use ironsail_mesh::{label, revision};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Pilot;
use super::webhook::{self, ValidatingWebhookTarget, validating_webhook};
use crate::component::{Component, Sink, clustered};
use crate::render::Context;
use crate::revision::claim::{CLAIM, Claim};
use crate::values::Resolved;
use crate::values::istiod::Istiod;

/// Name of the configuration that validates objects which name no revision.
pub const VALIDATOR: &str = "istiod-default-validator";

/// The claim of a revision, by what is asked for. Without [`Context::takes_default`] nothing is
/// claimed, and the tag `default` is a tag like others.
pub fn claim(resolved: &Resolved, values: &Istiod, context: &Context) -> Option<Claim> {
    if !context.takes_default || values.global.operator_manage_webhooks {
        return None;
    }
    let own = resolved.revision.label();
    let tags = &values.revision_tags;
    match values.default_revision.as_str() {
        named if named == own => Some(Claim::Explicit),
        _ if tags.iter().any(|tag| tag == revision::DEFAULT) => Some(Claim::Explicit),
        "" if resolved.revision.is_default() => Some(Claim::Unnamed),
        "" => Some(Claim::Vacancy),
        // Another revision is said to be the default.
        _ => None,
    }
}

/// Notes the claim on an object.
pub fn mark(claim: Claim, metadata: &mut ObjectMeta) {
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(CLAIM.to_owned(), claim.to_string());
}

/// Adds what validates objects that name no revision; those that name one are validated by its own
/// configuration.
pub fn validator(pilot: &Pilot<'_>, claim: Claim, sink: &mut Sink) {
    let rev = pilot.resolved.revision.label();
    let labels = pilot.labels.released(&[
        ("app", "istiod"),
        ("istio", "istiod"),
        (label::REVISION, rev),
    ]);
    let target = ValidatingWebhookTarget {
        service: &pilot.name,
        namespace: pilot.istio_namespace(),
        base: &pilot.values.base,
    };
    let mut metadata = clustered(VALIDATOR, labels);
    mark(claim, &mut metadata);
    let selector = webhook::without_revision();
    sink.add(
        Component::Pilot,
        &ValidatingWebhookConfiguration {
            metadata,
            webhooks: Some(vec![validating_webhook(
                "validation.istio.io",
                &target,
                selector,
            )]),
        },
    );
}
