//! Component `Pilot`: the control plane.

pub mod config;
pub mod deployment;
pub mod rbac;
pub mod service;
pub mod webhook;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{
    Component, LabelSet, Labels, Scale, Sink, match_labels, namespaced, pull_secrets, some,
    some_list,
};
use crate::object::Manifest;
use crate::render::Context;
use crate::settings::{self, Target};
use crate::value::is_true;
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
    refuse_absent(resolved, &values, &layers.merged, sink);
    let labels = LabelSet {
        chart: "istiod",
        chart_version: context.chart_version.clone(),
        name: "istiod",
        component: Component::Pilot,
        revision: resolved.revision.label().to_owned(),
        owner: match values.owner_name.as_str() {
            "" => "unknown".to_owned(),
            owner => owner.to_owned(),
        },
    };
    let pilot = Pilot {
        name: resolved.revision.suffixed("istiod"),
        namespace: match component.namespace.as_deref() {
            None | Some("") => resolved.istio_namespace.clone(),
            Some(namespace) => namespace.to_owned(),
        },
        resolved,
        values,
        layers,
        labels,
    };
    let mut own = Sink::default();
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
    sink.objects.append(&mut own.objects);
    sink.findings.append(&mut own.findings);
}

/// Modes of the control plane that this version has no objects for.
fn refuse_absent(resolved: &Resolved, values: &Istiod, merged: &Value, sink: &mut Sink) {
    let at = |path: &str| resolved.locate(path, &["pilot", ""]);
    sink.refuse(
        values.istiod_remote.enabled,
        at("istiodRemote.enabled"),
        "a remote control plane",
    );
    let remote = crate::value::text(merged, &["global", "remotePilotAddress"]).is_some();
    sink.refuse(
        remote,
        at("global.remotePilotAddress"),
        "a remote control plane",
    );
    sink.refuse(
        values.experimental.stable_validation_policy,
        at("experimental.stableValidationPolicy"),
        "the admission policy of the stable channel",
    );
    sink.refuse(
        is_true(merged, &["env", "ENABLE_CLUSTER_TRUST_BUNDLE_API"]),
        at("env.ENABLE_CLUSTER_TRUST_BUNDLE_API"),
        "a trust bundle volume",
    );
    if !values.sidecar_injector_webhook.templates.is_empty() {
        sink.warning(
            at("sidecarInjectorWebhook.templates"),
            "kept in the ConfigMap, but the built-in injector executes no Go templates",
        );
    }
}

fn objects(pilot: &Pilot<'_>, sink: &mut Sink) {
    service_account(pilot, sink);
    rbac::render(pilot, sink);
    webhook::render(pilot, sink);
    config::render(pilot, sink);
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
    if pilot.values.global.network_policy.enabled {
        sink.add(Component::Pilot, &network_policy(pilot));
    }
    service::render(pilot, sink);
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
pub(super) fn policy(pods: Labels, ingress: &[&[i32]]) -> NetworkPolicySpec {
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

/// Drops what `values.global.resourceScope` leaves to somebody else.
pub fn keep_scope(scope: ResourceScope, objects: &mut Vec<Manifest>) {
    objects.retain(|object| match scope {
        ResourceScope::All => true,
        ResourceScope::Cluster => !object.kind().namespaced,
        ResourceScope::Namespace => object.kind().namespaced,
    });
}
