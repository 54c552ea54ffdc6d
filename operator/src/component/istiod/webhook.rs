//! Webhook configurations of the control plane: who is injected, what is validated.

use ironsail_mesh::{label, revision};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference,
    ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::{Pilot, default_tag, stable};
use crate::component::{Component, Sink, clustered, match_labels, some};
use crate::revision::claim::DEACTIVATED_BY;
use crate::values::global::non_empty;
use crate::values::istiod::Base;

/// Namespaces that `enableNamespacesByDefault` leaves alone.
const SYSTEM_NAMESPACES: &[&str] = &[
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "local-path-storage",
];

/// Adds the injection webhooks of the revision and its tags, and the validation webhook.
pub fn render(pilot: &Pilot<'_>, sink: &mut Sink) {
    if !pilot.values.global.operator_manage_webhooks {
        let name = in_namespace(&pilot.namespace, pilot.suffixed("istio-sidecar-injector"));
        let rev = pilot.resolved.revision.label();
        let legacy = pilot.resolved.revision.is_default();
        let mut own = injector(pilot, name, None, rev, legacy);
        let tags = pilot.tags();
        if legacy && tags.iter().any(|(tag, _)| *tag == revision::DEFAULT) {
            deactivate(&mut own);
            if pilot.claim.is_some() {
                let tag = tag_configuration(revision::DEFAULT, &pilot.namespace);
                let annotations = own.metadata.annotations.get_or_insert_default();
                annotations.insert(DEACTIVATED_BY.to_owned(), tag);
            }
        }
        sink.add(Component::Pilot, &own);
        for (tag, claim) in tags {
            let legacy = tag == revision::DEFAULT;
            let name = tag_configuration(tag, &pilot.namespace);
            let mut own = injector(pilot, name, Some(tag), tag, legacy);
            if let Some(claim) = claim {
                default_tag::mark(claim, &mut own.metadata);
            }
            sink.add(Component::Pilot, &own);
        }
    }
    if pilot.values.global.config_validation && pilot.configures() {
        let name = format!(
            "{}-{}",
            pilot.suffixed("istio-validator"),
            pilot.istio_namespace()
        );
        let selector = of_revision(pilot);
        let own = validator(pilot, name, "rev.validation.istio.io", selector);
        sink.add(Component::Pilot, &own);
        if let Some(claim) = pilot.claim {
            default_tag::validator(pilot, claim, sink);
        }
    }
    if pilot.values.experimental.stable_validation_policy && pilot.configures() {
        stable_policy(pilot, sink);
    }
}

/// Refuses what is not of the stable channel, in objects of this revision.
fn stable_policy(pilot: &Pilot<'_>, sink: &mut Sink) {
    let named = |base: &str| {
        let base = pilot.suffixed(base);
        format!("{base}-{}.istio.io", pilot.istio_namespace())
    };
    let names = (
        named("stable-channel-policy"),
        named("stable-channel-policy-binding"),
    );
    stable::render(
        Component::Pilot,
        (&names.0, &names.1),
        pilot.labels.plain(&[]),
        Some(of_revision(pilot)),
        sink,
    );
}

/// Selects objects that name this revision.
fn of_revision(pilot: &Pilot<'_>) -> LabelSelector {
    let revision = pilot.resolved.revision.label();
    expressions(vec![is_in(label::REVISION, &[revision])])
}

/// Groups of the mesh kinds that are validated.
pub const VALIDATED_GROUPS: [&str; 4] = [
    "security.istio.io",
    "networking.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
];

/// Name of the injection webhooks of a tag whose control plane is in a namespace.
pub fn tag_configuration(tag: &str, namespace: &str) -> String {
    in_namespace(namespace, format!("istio-revision-tag-{tag}"))
}

/// Selects objects that name no revision.
pub fn without_revision() -> LabelSelector {
    expressions(vec![absent(label::REVISION)])
}

/// Names of one cluster-wide namespace of names: suffixed outside of istio-system.
fn in_namespace(namespace: &str, name: String) -> String {
    match namespace {
        "istio-system" => name,
        namespace => format!("{name}-{namespace}"),
    }
}

fn injector(
    pilot: &Pilot<'_>,
    name: String,
    tag: Option<&str>,
    rev: &str,
    legacy: bool,
) -> MutatingWebhookConfiguration {
    let mut labels = pilot.labels.full(&[("app", "sidecar-injector")]);
    if let Some(tag) = tag {
        labels.insert(label::TAG.to_owned(), tag.to_owned());
    }
    let mut metadata = clustered(name, labels);
    metadata.annotations = some(pilot.values.sidecar_injector_webhook_annotations.clone());
    let by_default = pilot
        .values
        .sidecar_injector_webhook
        .enable_namespaces_by_default;
    MutatingWebhookConfiguration {
        metadata,
        webhooks: Some(
            selections(rev, legacy, by_default)
                .into_iter()
                .map(|selection| injection_webhook(pilot, selection))
                .collect(),
        ),
    }
}

/// Lets a configuration match nothing: a tag `default` has the same entries, and two of them would
/// inject a pod twice.
pub fn deactivate(configuration: &mut MutatingWebhookConfiguration) {
    let never =
        match_labels([("istio.io/deactivated".to_owned(), "never-match".to_owned())].into());
    for webhook in configuration.webhooks.iter_mut().flatten() {
        webhook.namespace_selector = Some(never.clone());
        webhook.object_selector = Some(never.clone());
    }
}

/// One entry of the table of who is injected.
struct Selection {
    prefix: &'static str,
    namespaces: Vec<LabelSelectorRequirement>,
    objects: Vec<LabelSelectorRequirement>,
}

/// Exactly one of all entries of all revisions matches any pod that is injected.
fn selections(rev: &str, legacy: bool, by_default: bool) -> Vec<Selection> {
    let not_refused = || not_in(label::INJECT, &["false"]);
    let mut selections = vec![
        Selection {
            prefix: "rev.namespace.",
            namespaces: vec![is_in(label::REVISION, &[rev]), absent(label::INJECTION)],
            objects: vec![not_refused()],
        },
        Selection {
            prefix: "rev.object.",
            namespaces: vec![absent(label::REVISION), absent(label::INJECTION)],
            objects: vec![not_refused(), is_in(label::REVISION, &[rev])],
        },
    ];
    if legacy {
        selections.push(Selection {
            prefix: "namespace.",
            namespaces: vec![is_in(label::INJECTION, &["enabled"])],
            objects: vec![not_refused()],
        });
        selections.push(Selection {
            prefix: "object.",
            namespaces: vec![absent(label::INJECTION), absent(label::REVISION)],
            objects: vec![is_in(label::INJECT, &["true"]), absent(label::REVISION)],
        });
    }
    if legacy && by_default {
        selections.push(Selection {
            prefix: "auto.",
            namespaces: vec![
                absent(label::INJECTION),
                absent(label::REVISION),
                not_in("kubernetes.io/metadata.name", SYSTEM_NAMESPACES),
            ],
            objects: vec![absent(label::INJECT), absent(label::REVISION)],
        });
    }
    selections
}

fn requirement(key: &str, operator: &str, values: &[&str]) -> LabelSelectorRequirement {
    let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    LabelSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: (!values.is_empty()).then_some(values),
    }
}

fn is_in(key: &str, values: &[&str]) -> LabelSelectorRequirement {
    requirement(key, "In", values)
}

fn not_in(key: &str, values: &[&str]) -> LabelSelectorRequirement {
    requirement(key, "NotIn", values)
}

fn absent(key: &str) -> LabelSelectorRequirement {
    requirement(key, "DoesNotExist", &[])
}

fn expressions(expressions: Vec<LabelSelectorRequirement>) -> LabelSelector {
    LabelSelector {
        match_expressions: Some(expressions),
        ..LabelSelector::default()
    }
}

fn injection_webhook(pilot: &Pilot<'_>, selection: Selection) -> MutatingWebhook {
    let remote = &pilot.values.istiod_remote;
    let service = ServiceReference {
        name: pilot.name.clone(),
        namespace: pilot.namespace.clone(),
        path: Some(remote.injection_path.clone()),
        port: Some(443),
    };
    let url = non_empty(&remote.injection_url);
    MutatingWebhook {
        name: format!("{}sidecar-injector.istio.io", selection.prefix),
        client_config: WebhookClientConfig {
            service: url.is_none().then_some(service),
            url,
            ca_bundle: ca_bundle(&remote.injection_ca_bundle),
        },
        rules: Some(vec![RuleWithOperations {
            operations: Some(vec!["CREATE".into()]),
            api_groups: Some(vec![String::new()]),
            api_versions: Some(vec!["v1".into()]),
            resources: Some(vec!["pods".into()]),
            ..RuleWithOperations::default()
        }]),
        failure_policy: Some("Fail".into()),
        reinvocation_policy: non_empty(&pilot.values.sidecar_injector_webhook.reinvocation_policy),
        side_effects: "None".into(),
        admission_review_versions: vec!["v1".into()],
        namespace_selector: Some(expressions(selection.namespaces)),
        object_selector: Some(expressions(selection.objects)),
        ..MutatingWebhook::default()
    }
}

/// A bundle that the user gives, as base64; without one the control plane writes its own.
fn ca_bundle(text: &str) -> Option<ByteString> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()?;
    (!bytes.is_empty()).then_some(ByteString(bytes))
}

/// Lets this revision validate what a selector chooses.
pub fn validator(
    pilot: &Pilot<'_>,
    name: String,
    webhook: &str,
    selector: LabelSelector,
) -> ValidatingWebhookConfiguration {
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
    ValidatingWebhookConfiguration {
        metadata: clustered(name, labels),
        webhooks: Some(vec![validating_webhook(webhook, &target, selector)]),
    }
}

/// Who validates.
pub struct ValidatingWebhookTarget<'a> {
    pub service: &'a str,
    pub namespace: &'a str,
    pub base: &'a Base,
}

/// A webhook that validates all mesh kinds that match a selector.
pub fn validating_webhook(
    name: &str,
    target: &ValidatingWebhookTarget<'_>,
    selector: LabelSelector,
) -> ValidatingWebhook {
    let url = non_empty(&target.base.validation_url);
    let bundle = ca_bundle(&target.base.validation_ca_bundle);
    // Without a bundle the webhook can't be called before the control plane writes one.
    let policy = match (&bundle, target.base.validation_failure_policy.as_str()) {
        (Some(_), _) => "Fail",
        (None, "") => "Ignore",
        (None, policy) => policy,
    };
    ValidatingWebhook {
        name: name.to_owned(),
        client_config: WebhookClientConfig {
            service: url.is_none().then(|| ServiceReference {
                name: target.service.to_owned(),
                namespace: target.namespace.to_owned(),
                path: Some("/validate".into()),
                port: None,
            }),
            url,
            ca_bundle: bundle,
        },
        rules: Some(vec![RuleWithOperations {
            operations: Some(vec!["CREATE".into(), "UPDATE".into()]),
            api_groups: Some(VALIDATED_GROUPS.map(str::to_owned).into()),
            api_versions: Some(vec!["*".into()]),
            resources: Some(vec!["*".into()]),
            ..RuleWithOperations::default()
        }]),
        failure_policy: Some(policy.to_owned()),
        side_effects: "None".into(),
        admission_review_versions: vec!["v1".into()],
        object_selector: (selector != LabelSelector::default()).then_some(selector),
        ..ValidatingWebhook::default()
    }
}

/// The webhooks of a tag: they call whom another webhook calls, for what names the tag.
pub fn tag_webhooks(
    canonical: &MutatingWebhook,
    tag: &str,
    by_default: bool,
) -> Vec<MutatingWebhook> {
    let selections = selections(tag, tag == revision::DEFAULT, by_default).into_iter();
    let webhooks = selections.map(|selection| MutatingWebhook {
        name: format!("{}sidecar-injector.istio.io", selection.prefix),
        namespace_selector: Some(expressions(selection.namespaces)),
        object_selector: Some(expressions(selection.objects)),
        ..canonical.clone()
    });
    webhooks.collect()
}
