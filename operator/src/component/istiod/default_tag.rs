//! What speaks for the default revision, as far as this revision claims to be it.

use ironsail_mesh::revision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Pilot;
use super::webhook;
use crate::component::{Component, Sink};
use crate::render::Context;
use crate::revision::claim::{CLAIM, Claim};
use crate::values::Resolved;
use crate::values::istiod::Istiod;

/// Name of the configuration that validates objects which name no revision.
pub const VALIDATOR: &str = "istiod-default-validator";
/// Name of the webhook in it.
pub const VALIDATING: &str = "validation.istio.io";

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
    let selector = webhook::without_revision();
    let mut own = webhook::validator(pilot, VALIDATOR.to_owned(), VALIDATING, selector);
    mark(claim, &mut own.metadata);
    sink.add(Component::Pilot, &own);
}
