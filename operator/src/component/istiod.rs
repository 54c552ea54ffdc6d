//! Component `Pilot`: the control plane.

pub mod config;
pub mod default_tag;
pub mod deployment;
pub mod rbac;
pub mod service;
pub mod stable;
mod template;
pub mod webhook;

use std::collections::BTreeMap;

use ironsail_mesh::revision;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{
    Component, LabelSet, Labels, Scale, Sink, is_own_image, match_labels, namespaced, pull_secrets,
    some, some_list, trusts_cluster_bundle,
};
use crate::object::Manifest;
use crate::render::Context;
use crate::revision::claim::Claim;
use crate::settings::{self, Target};
use crate::values::global::ResourceScope;
use crate::values::istiod::Istiod;
use crate::values::{Layers, Resolved, typed};

/// Everything that the objects of one control plane are made from.
pub struct Pilot<'a> {
    pub resolved: &'a Resolved,
    pub values: Istiod,
    pub layers: Layers,
    pub labels: LabelSet,
    /// Name of Deployment, Service, account and others: `istiod` or `istiod-<revision>`.
    pub name: String,
    /// Namespace of the pods.
    pub namespace: String,
    /// Whether and why this would be the default revision.
    pub claim: Option<Claim>,
}

impl Pilot<'_> {
    /// `base` or `base-<revision>`.
    pub fn suffixed(&self, base: &str) -> String {
        self.resolved.revision.suffixed(base)
    }

    /// The control plane's namespace as `values.global.istioNamespace` names it.
    pub fn istio_namespace(&self) -> &str {
        &self.resolved.istio_namespace
    }

    fn is_remote(&self) -> bool {
        self.values.istiod_remote.enabled
    }

    /// Whether the cluster runs a control plane: always, unless it uses one elsewhere for more than
    /// injection.
    pub fn runs(&self) -> bool {
        !self.is_remote() || self.injects_here()
    }

    /// Whether a control plane of a remote cluster runs here for injection alone.
    pub fn injects_here(&self) -> bool {
        self.values.istiod_remote.enabled_local_injector_istiod
    }

    /// Whether a control plane reads its configuration here, or runs here.
    pub fn configures(&self) -> bool {
        self.runs() || self.values.global.config_cluster
    }

    /// Tags of this revision; the tag `default` with the claim to it, even if nobody asks for it.
    fn tags(&self) -> Vec<(&str, Option<Claim>)> {
        let asked = self.values.revision_tags.iter().map(String::as_str);
        let own = asked.filter(|tag| self.claim.is_none() || *tag != revision::DEFAULT);
        let claimed = self.claim.map(|claim| (revision::DEFAULT, Some(claim)));
        own.map(|tag| (tag, None)).chain(claimed).collect()
    }

    /// Image of the control plane.
    pub fn image(&self) -> String {
        let values = &self.values;
        let global = &values.global;
        global.image(
            (&values.image, "pilot"),
            &values.hub,
            &values.tag,
            &values.variant,
        )
    }

    /// Whether the control plane is Ironsail's.
    fn is_own(&self) -> bool {
        is_own_image(&self.image())
    }

    /// Labels of objects that run or expose istiod.
    fn app_labels(&self) -> Labels {
        self.labels.full(&[("app", "istiod"), ("istio", "pilot")])
    }

    /// What pods of this revision have and no others.
    fn pod_selector(&self) -> Labels {
        let revision = &self.resolved.revision;
        let own = match revision.is_default() {
            true => ("istio", "pilot"),
            false => (ironsail_mesh::label::REVISION, revision.as_str()),
        };
        [("app", "istiod"), own]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }
}

/// Renders the component.
pub fn render(resolved: &Resolved, context: &Context, sink: &mut Sink) {
    let Some(component) = resolved.pilot() else {
        return;
    };
    let layers = resolved.istiod_values(&component);
    let values: Istiod = match typed(&layers.merged) {
        Ok(values) => values,
        Err((path, message)) => return sink.error(resolved.locate(&path, &["pilot", ""]), message),
    };
    let pilot = Pilot {
        name: resolved.revision.suffixed("istiod"),
        namespace: resolved.namespace_of(component.namespace.as_deref()),
        labels: LabelSet::new(
            Component::Pilot,
            ("istiod", "istiod"),
            resolved,
            context,
            &values.owner_name,
        ),
        claim: default_tag::claim(resolved, &values, context),
        resolved,
        values,
        layers,
    };
    let mut own = Sink::default();
    refuse_absent(&pilot, &mut own);
    objects(&pilot, &mut own);
    keep_scope(pilot.values.global.resource_scope, &mut own.objects);
    if let Some(k8s) = &component.k8s {
        let target = Target {
            kind: "Deployment",
            name: &pilot.name,
            container: "discovery",
            service_ports_from_values: false,
        };
        settings::apply(k8s, "spec.components.pilot.k8s", &target, &mut own);
    }
    sink.append(own);
}

/// Modes that Ironsail's own control plane doesn't have yet; others do.
fn refuse_absent(pilot: &Pilot<'_>, sink: &mut Sink) {
    let values = &pilot.values;
    let at = |path: &str| pilot.resolved.locate(path, &["pilot", ""]);
    let image = pilot.image();
    let remote = !values.global.remote_pilot_address.is_empty();
    for (on, path, what) in [
        (
            values.istiod_remote.enabled,
            "istiodRemote.enabled",
            "support of remote clusters",
        ),
        (
            remote,
            "global.remotePilotAddress",
            "support of remote clusters",
        ),
        (
            values.global.external_istiod,
            "global.externalIstiod",
            "support of remote clusters",
        ),
        (
            trusts_cluster_bundle(&values.env),
            "env.ENABLE_CLUSTER_TRUST_BUNDLE_API",
            "support of cluster trust bundles",
        ),
    ] {
        sink.refuse_with_own_image(on, &image, at(path), what);
    }
    if pilot.is_own() && !values.sidecar_injector_webhook.templates.is_empty() {
        sink.warning(
            at("sidecarInjectorWebhook.templates"),
            "kept in the ConfigMap, but the built-in injector executes no Go templates",
        );
    }
    let executes = !pilot.is_own() && pilot.runs();
    let templates = !values.global.omit_sidecar_injector_config_map;
    if executes && templates && template::is_too_old(&image) {
        sink.warning(
            "spec.tag",
            format!("pods can't be injected by {image}: the templates need istiod 1.25 or newer"),
        );
    }
}

fn objects(pilot: &Pilot<'_>, sink: &mut Sink) {
    if pilot.configures() {
        service_account(pilot, sink);
    }
    rbac::render(pilot, sink);
    webhook::render(pilot, sink);
    config::render(pilot, sink);
    if pilot.runs() {
        workload(pilot, sink);
    }
    if pilot.values.global.network_policy.enabled {
        sink.add(Component::Pilot, &network_policy(pilot));
    }
    service::render(pilot, sink);
}

fn workload(pilot: &Pilot<'_>, sink: &mut Sink) {
    let scale = scale(&pilot.values);
    sink.add(Component::Pilot, &deployment::render(pilot, &scale));
    let metadata = || namespaced(&pilot.name, &pilot.namespace, pilot.app_labels());
    let allowed = pilot.values.global.default_pod_disruption_budget.enabled;
    if let Some(budget) = scale.disruption_budget(allowed, metadata(), pilot.pod_selector()) {
        sink.add(Component::Pilot, &budget);
    }
    let labels = pilot.labels.full(&[("app", "istiod")]);
    if let Some(hpa) = scale.autoscaler(namespaced(&pilot.name, &pilot.namespace, labels)) {
        sink.add(Component::Pilot, &hpa);
    }
}

fn scale(values: &Istiod) -> Scale<'_> {
    Scale {
        autoscale: values.autoscale_enabled,
        min: values.autoscale_min,
        max: values.autoscale_max,
        replicas: values.replica_count,
        cpu: values.cpu,
        memory: values.memory,
        behavior: values.autoscale_behavior.as_ref(),
        pdb: &values.pdb,
    }
}

fn service_account(pilot: &Pilot<'_>, sink: &mut Sink) {
    let labels = pilot.labels.released(&[("app", "istiod")]);
    let mut metadata = namespaced(&pilot.name, pilot.istio_namespace(), labels);
    metadata.annotations = some(pilot.values.service_account_annotations.clone());
    sink.add(
        Component::Pilot,
        &ServiceAccount {
            metadata,
            image_pull_secrets: pull_secrets(&pilot.values.global.image_pull_secrets),
            ..ServiceAccount::default()
        },
    );
}

fn network_policy(pilot: &Pilot<'_>) -> NetworkPolicy {
    let pods: Labels = BTreeMap::from([
        ("app".to_owned(), "istiod".to_owned()),
        (
            ironsail_mesh::label::REVISION.to_owned(),
            pilot.labels.revision.clone(),
        ),
    ]);
    NetworkPolicy {
        metadata: namespaced(&pilot.name, &pilot.namespace, pilot.app_labels()),
        spec: Some(policy(
            pods,
            &[&[15017], &[15010, 15011, 15012, 8080, 15014]],
        )),
    }
}

/// A policy that lets these TCP ports in, group by group, and everything out.
pub(in crate::component) fn policy(pods: Labels, ingress: &[&[i32]]) -> NetworkPolicySpec {
    let port = |port: &i32| NetworkPolicyPort {
        port: Some(IntOrString::Int(*port)),
        protocol: Some("TCP".into()),
        ..NetworkPolicyPort::default()
    };
    let ingress = ingress.iter().map(|ports| NetworkPolicyIngressRule {
        ports: some_list(ports.iter().map(port).collect()),
        ..NetworkPolicyIngressRule::default()
    });
    NetworkPolicySpec {
        pod_selector: Some(match_labels(pods)),
        policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
        ingress: Some(ingress.collect()),
        egress: Some(vec![NetworkPolicyEgressRule::default()]),
    }
}

/// Drops what `values.global.resourceScope` leaves to somebody else. Admission policies of a
/// revision go with its namespace, as in the peer.
pub fn keep_scope(scope: ResourceScope, objects: &mut Vec<Manifest>) {
    let in_namespace = |object: &Manifest| {
        let of_revision = object.component == Component::Pilot;
        object.kind().namespaced
            || (of_revision && object.kind().kind.starts_with("ValidatingAdmissionPolicy"))
    };
    objects.retain(|object| match scope {
        ResourceScope::All => true,
        ResourceScope::Cluster => !in_namespace(object),
        ResourceScope::Namespace => in_namespace(object),
    });
}
