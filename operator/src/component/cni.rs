//! Component `Cni`: the node agent that sets redirection up instead of an init container. One per
//! cluster, so its names have no revision.

mod pod;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule};
use serde_json::{Value, json};

use super::istiod::{keep_scope, policy};
use super::{
    Component, LabelSet, Labels, Sink, clustered, match_labels, namespaced, pull_secrets,
    resource_quota, role_ref, rule, service_account,
};
use crate::object::Manifest;
use crate::render::Context;
use crate::settings::{self, Target};
use crate::value::scalar_text;
use crate::values::cni::Cni;
use crate::values::{Resolved, typed};

/// Name of accounts, roles and other objects of the agent.
const NAME: &str = "istio-cni";
/// Name of the DaemonSet; programs on the node look for it.
const NODE: &str = "istio-cni-node";
const CONFIG: &str = "istio-cni-config";
const PLATFORM_OPENSHIFT: &str = "openshift";

/// Everything that the objects of the agent are made from.
pub struct Agent<'a> {
    resolved: &'a Resolved,
    values: Cni,
    labels: LabelSet,
    namespace: String,
    /// Where the node keeps CNI programs, unless the values say so.
    default_bin_dir: &'static str,
}

/// Renders the component.
pub fn render(resolved: &Resolved, context: &Context, sink: &mut Sink) {
    let Some(component) = resolved.cni() else {
        return;
    };
    let values = resolved.cni_values(&component);
    let values: Cni = match typed(&values) {
        Ok(values) => values,
        Err((path, message)) => return sink.error(resolved.locate(&path, &["cni", ""]), message),
    };
    let agent = Agent {
        labels: LabelSet::new(
            Component::Cni,
            ("cni", NAME),
            resolved,
            context,
            &values.owner_name,
        ),
        namespace: resolved.namespace_of(component.namespace.as_deref()),
        default_bin_dir: match context.is_gke() {
            true => "/home/kubernetes/bin",
            false => "/opt/cni/bin",
        },
        resolved,
        values,
    };
    let mut own = Sink::default();
    own.refuse_own_image(&agent.image(), "spec.components.cni.enabled");
    objects(&agent, &mut own);
    keep_scope(agent.values.global.resource_scope, &mut own.objects);
    if agent.values.global.network_policy.enabled {
        own.add(Component::Cni, &network_policy(&agent));
    }
    if let Some(k8s) = &component.k8s {
        let target = Target {
            kind: "DaemonSet",
            name: NODE,
            container: "install-cni",
            service_ports_from_values: false,
        };
        settings::apply(k8s, "spec.components.cni.k8s", &target, &mut own);
    }
    sink.append(own);
}

impl Agent<'_> {
    fn image(&self) -> String {
        let values = &self.values;
        let global = &values.global;
        global.image(
            (&values.image, "install-cni"),
            &values.hub,
            &values.tag,
            &values.variant,
        )
    }

    fn app_labels(&self) -> Labels {
        self.labels.full(&[("app", NAME)])
    }

    fn node_labels(&self) -> Labels {
        self.labels.full(&[("k8s-app", NODE)])
    }
}

fn objects(agent: &Agent<'_>, sink: &mut Sink) {
    let values = &agent.values;
    let named = |name: &str, labels| namespaced(name, &agent.namespace, labels);
    sink.add(
        Component::Cni,
        &ServiceAccount {
            metadata: named(NAME, agent.app_labels()),
            image_pull_secrets: pull_secrets(&values.global.image_pull_secrets),
            ..ServiceAccount::default()
        },
    );
    roles(agent, sink);
    sink.add(
        Component::Cni,
        &ConfigMap {
            metadata: named(CONFIG, agent.app_labels()),
            data: Some(config(agent)),
            ..ConfigMap::default()
        },
    );
    sink.add(Component::Cni, &daemon_set(agent));
    if values.resource_quotas.enabled {
        let metadata = named("istio-cni-resource-quota", agent.labels.plain(&[]));
        let quota = resource_quota(metadata, &values.resource_quotas);
        sink.add(Component::Cni, &quota);
    }
    if values.provider == "multus" {
        network_attachment(agent, sink);
    }
}

fn daemon_set(agent: &Agent<'_>) -> DaemonSet {
    let mut labels = agent.node_labels();
    labels.extend(agent.values.daemon_set_labels.clone());
    DaemonSet {
        metadata: namespaced(NODE, &agent.namespace, labels),
        spec: Some(DaemonSetSpec {
            selector: match_labels([("k8s-app".to_owned(), NODE.to_owned())].into()),
            update_strategy: agent.values.update_strategy.clone(),
            template: pod::template(agent),
            ..DaemonSetSpec::default()
        }),
        ..DaemonSet::default()
    }
}

/// What the agent does in the cluster, and what it does to pods that it must repair or redirect.
fn roles(agent: &Agent<'_>, sink: &mut Sink) {
    let values = &agent.values;
    let app = agent.app_labels();
    let repair = agent.labels.full(&[("k8s-app", "istio-cni-repair")]);
    let mut own = vec![rule(
        &[""],
        &["pods", "nodes", "namespaces"],
        &["get", "list", "watch"],
    )];
    own.extend(privileged_on(values.global.platform_or(&values.platform)));
    role(agent, (NAME, NAME), (&app, &app), own, sink);
    if values.repair.enabled {
        let names = ("istio-cni-repair-role", "istio-cni-repair-rolebinding");
        role(agent, names, (&app, &repair), repair_rules(values), sink);
    }
    if values.ambient.enabled {
        let own = PolicyRule {
            resource_names: Some(vec![NODE.to_owned()]),
            ..rule(&["apps"], &["daemonsets"], &["get"])
        };
        let rules = vec![rule(&[""], &["pods/status"], &["patch", "update"]), own];
        let name = "istio-cni-ambient";
        role(agent, (name, name), (&app, &repair), rules, sink);
    }
}

/// The security context constraint that OpenShift wants to see allowed.
pub(super) fn privileged_on(platform: &str) -> Option<PolicyRule> {
    let use_privileged = || PolicyRule {
        resource_names: Some(vec!["privileged".to_owned()]),
        ..rule(
            &["security.openshift.io"],
            &["securitycontextconstraints"],
            &["use"],
        )
    };
    (platform == PLATFORM_OPENSHIFT).then(use_privileged)
}

fn repair_rules(values: &Cni) -> Vec<PolicyRule> {
    let mut rules = vec![
        rule(&[""], &["events"], &["create", "patch"]),
        rule(&[""], &["pods"], &["watch", "get", "list"]),
    ];
    let repair = &values.repair;
    if !repair.repair_pods && repair.delete_pods {
        rules.push(rule(&[""], &["pods"], &["delete"]));
    } else if !repair.repair_pods && repair.label_pods {
        rules.push(rule(&[""], &["pods/status"], &["patch", "update"]));
    }
    rules
}

/// A role and its binding to the agent's account.
fn role(
    agent: &Agent<'_>,
    (role, binding): (&str, &str),
    (role_labels, binding_labels): (&Labels, &Labels),
    rules: Vec<PolicyRule>,
    sink: &mut Sink,
) {
    sink.add(
        Component::Cni,
        &ClusterRole {
            metadata: clustered(role, role_labels.clone()),
            rules: Some(rules),
            ..ClusterRole::default()
        },
    );
    sink.add(
        Component::Cni,
        &ClusterRoleBinding {
            metadata: clustered(binding, binding_labels.clone()),
            role_ref: role_ref("ClusterRole", role),
            subjects: Some(vec![service_account(NAME, Some(&agent.namespace))]),
        },
    );
}

/// The agent reads its settings as environment, all of them text.
fn config(agent: &Agent<'_>) -> BTreeMap<String, String> {
    let values = &agent.values;
    let (ambient, repair) = (&values.ambient, &values.repair);
    let tag = match values.tag.0.as_str() {
        "" => &values.global.tag,
        _ => &values.tag,
    };
    let selectors = serde_json::to_value(&ambient.enablement_selectors);
    let selectors = crate::yaml::to_string(&selectors.expect("selectors become JSON"));
    let flags = [
        ("AMBIENT_ENABLED", ambient.enabled),
        ("AMBIENT_DNS_CAPTURE", ambient.dns_capture),
        ("AMBIENT_IPV6", ambient.ipv6),
        (
            "AMBIENT_RECONCILE_POD_RULES_ON_STARTUP",
            ambient.reconcile_iptables_on_startup,
        ),
        (
            "ENABLE_AMBIENT_DETECTION_RETRY",
            ambient.enable_ambient_detection_retry,
        ),
        ("ISTIO_OWNED_CNI_CONFIG", values.istio_owned_cni_config),
        ("CHAINED_CNI_PLUGIN", values.chained),
        ("REPAIR_ENABLED", repair.enabled),
        ("REPAIR_LABEL_PODS", repair.label_pods),
        ("REPAIR_DELETE_PODS", repair.delete_pods),
        ("REPAIR_REPAIR_PODS", repair.repair_pods),
        ("NATIVE_NFTABLES", values.global.native_nftables),
    ];
    let texts = [
        ("CURRENT_AGENT_VERSION", tag.0.clone()),
        ("AMBIENT_ENABLEMENT_SELECTOR", selectors),
        ("EXCLUDE_NAMESPACES", values.exclude_namespaces.join(",")),
        (
            "REPAIR_INIT_CONTAINER_NAME",
            repair.init_container_name.clone(),
        ),
        (
            "REPAIR_BROKEN_POD_LABEL_KEY",
            repair.broken_pod_label_key.clone(),
        ),
        (
            "REPAIR_BROKEN_POD_LABEL_VALUE",
            repair.broken_pod_label_value.0.clone(),
        ),
    ];
    let given = [
        ("CNI_CONF_NAME", &values.cni_conf_file_name),
        (
            "ISTIO_OWNED_CNI_CONF_FILENAME",
            &values.istio_owned_cni_config_file_name,
        ),
    ];
    let given = given.into_iter().filter(|(_, text)| !text.is_empty());
    let own = values.env.iter();
    let own = own.filter_map(|(name, value)| Some((name.as_str(), scalar_text(value)?)));
    flags
        .map(|(name, on)| (name, on.to_string()))
        .into_iter()
        .chain(texts)
        .chain(given.map(|(name, text)| (name, text.clone())))
        .chain(own)
        .map(|(name, text)| (name.to_owned(), text))
        .collect()
}

/// Lets pods ask for the agent by annotation, where Multus calls the plugins.
fn network_attachment(agent: &Agent<'_>, sink: &mut Sink) {
    let mut labels = agent.labels.plain(&[]);
    let component = Component::Cni.as_str().to_owned();
    labels.insert(ironsail_mesh::label::COMPONENT.to_owned(), component);
    let body: Value = json!({
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": NAME, "namespace": "default", "labels": labels},
    });
    match Manifest::new(Component::Cni, body) {
        Ok(manifest) => sink.objects.push(manifest),
        Err(message) => sink.error("spec.components.cni", message),
    }
}

fn network_policy(agent: &Agent<'_>) -> NetworkPolicy {
    let pods = [("k8s-app".to_owned(), NODE.to_owned())].into();
    let name = agent.resolved.revision.suffixed(NAME);
    NetworkPolicy {
        metadata: namespaced(name, &agent.namespace, agent.node_labels()),
        spec: Some(policy(pods, &[&[15014], &[8000]])),
    }
}
