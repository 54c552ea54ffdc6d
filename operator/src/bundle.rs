//! The manifest that installs the operator: `deploy/operator.yaml` is its text.
//!
//! The operator may only grant what it holds, so its roles contain those of everything that it
//! renders; they are computed from the renderings.

mod admission;
mod rights;
mod workload;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use crate::component::{Labels, role_ref, service_account, some};
use crate::render::Context;
use rights::{Right, cluster_rules, grouped, home_rules, namespace_rules, work_rules};

/// Name of everything that belongs to the operator, and of its namespace.
pub const NAME: &str = "istio-operator";
/// Name of the role with what the operator holds only because it has to grant it.
const GRANTS: &str = "istio-operator-grants";
/// Port of metrics and probes.
pub const PORT: u16 = 8383;
/// Port of the admission webhook.
pub const WEBHOOK_PORT: u16 = 9443;
/// Where IstioOperators are watched.
const WATCHED: &str = "istio-system";

const HEADER: &str = "\
# Installs the operator. Made by `operator dump`; do not edit.
#
# Images: the operator's own, and those that it gives to a mesh whose IstioOperator names none. To
# change both, replace the hub (ironsail) and the tag everywhere, or run `operator dump --hub --tag`.
#
# Nobody can grant what he doesn't hold: the ClusterRole istio-operator-grants has what the ClusterRoles
# of control planes have, reading Secrets among it, and the operator uses none of it. Without it, meshes
# with values.global.resourceScope=namespace can be installed (docs/install.md).
#
# The operator writes Secrets only in istio-system, through the Role below. A control plane in
# another namespace (values.global.istioNamespace) needs the same Role and RoleBinding there.
# Signing by the Kubernetes API (EXTERNAL_CA), cluster trust bundles, deleting of broken pods
# (cni.repair.deletePods) and OpenShift's security context constraints need further rights: those
# of the roles that are rendered for them.
";
const GENERATED: &str = "# Made by `operator dump --write deploy`; do not edit.\n";

/// The definition of IstioOperator.
const DEFINITION: &str = include_str!("../../deploy/crds/istiooperators.install.istio.io.yaml");

/// Alerts and recordings.
const RULES: &str = include_str!("../../deploy/monitoring/rules.yaml");

/// The whole manifest as YAML.
pub fn manifest(context: &Context) -> String {
    let mut text = HEADER.to_owned();
    // In the order in which `kubectl delete` goes through them: what may be in the way, then what
    // has to be finished.
    append(&mut text, &yaml(&admission::configuration()));
    append(&mut text, DEFINITION);
    for document in installation(context) {
        append(&mut text, &document);
    }
    text
}

fn append(text: &mut String, document: &str) {
    text.push_str("---\n");
    text.push_str(document);
}

/// All files below `deploy` that are made from the same objects, by path.
pub fn files(context: &Context) -> Vec<(&'static str, String)> {
    // The base of kustomize takes the definition from its own place.
    let mut base = GENERATED.to_owned();
    append(&mut base, &yaml(&admission::configuration()));
    for document in installation(context) {
        append(&mut base, &document);
    }
    let rules = |rules: BTreeSet<Right>| format!("{GENERATED}{}", yaml(&grouped(&rules)));
    vec![
        ("operator.yaml", manifest(context)),
        ("kustomize/base/operator.yaml", base),
        ("chart/files/work-rules.yaml", rules(work_rules())),
        (
            "chart/files/cluster-rules.yaml",
            rules(cluster_rules(context)),
        ),
        (
            "chart/files/namespace-rules.yaml",
            rules(namespace_rules(context)),
        ),
        ("monitoring/prometheus-rule.yaml", prometheus_rule()),
    ]
}

/// The rules of Prometheus as an object of its operator.
fn prometheus_rule() -> String {
    let mut text = format!(
        "{GENERATED}apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  \
         name: {NAME}\n  namespace: {NAME}\nspec:\n"
    );
    for line in RULES.lines().filter(|line| !line.starts_with('#')) {
        text.push_str(format!("  {line}").trim_end());
        text.push('\n');
    }
    text
}

/// Everything but the definition and the webhook's configuration.
fn installation(context: &Context) -> Vec<String> {
    let mut documents = vec![
        yaml(&namespace(WATCHED, &[])),
        yaml(&namespace(NAME, &RESTRICTED)),
        yaml(&account()),
    ];
    for (name, rules) in [(NAME, work_rules()), (GRANTS, cluster_rules(context))] {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..metadata(None)
        };
        documents.push(yaml(&ClusterRole {
            metadata: metadata.clone(),
            rules: Some(grouped(&rules)),
            ..ClusterRole::default()
        }));
        documents.push(yaml(&ClusterRoleBinding {
            metadata,
            role_ref: role_ref("ClusterRole", name),
            subjects: Some(vec![service_account(NAME, Some(NAME))]),
        }));
    }
    let watched = namespace_rules(context);
    for (namespace, rules) in [(NAME, home_rules()), (WATCHED, grouped(&watched))] {
        documents.push(yaml(&Role {
            metadata: metadata(Some(namespace)),
            rules: Some(rules),
        }));
        documents.push(yaml(&RoleBinding {
            metadata: metadata(Some(namespace)),
            role_ref: role_ref("Role", NAME),
            subjects: Some(vec![service_account(NAME, Some(NAME))]),
        }));
    }
    documents.push(yaml(&workload::service()));
    documents.push(yaml(&workload::deployment(context)));
    documents
}

/// The objects of the manifest, in its order.
pub fn documents(context: &Context) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(&manifest(context))
        .map(|document| Value::deserialize(document).expect("a test reads the manifest"))
        .filter(|document| !document.is_null())
        .collect()
}

fn yaml<T: Serialize>(object: &T) -> String {
    serde_yaml_ng::to_string(object).expect("Kubernetes types become YAML")
}

/// Labels of everything that belongs to the operator.
pub fn labels() -> Labels {
    [
        ("app.kubernetes.io/name", NAME),
        ("app.kubernetes.io/part-of", "istio"),
        ("name", NAME),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn metadata(namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(NAME.to_owned()),
        namespace: namespace.map(str::to_owned),
        labels: Some(labels()),
        ..ObjectMeta::default()
    }
}

/// Pod security of the operator's namespace: <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.
const RESTRICTED: [(&str, &str); 3] = [
    ("pod-security.kubernetes.io/audit", "restricted"),
    ("pod-security.kubernetes.io/enforce", "restricted"),
    ("pod-security.kubernetes.io/warn", "restricted"),
];

fn namespace(name: &str, labels: &[(&str, &str)]) -> Namespace {
    let labels: Labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: some(labels),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

fn account() -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(Some(NAME)),
        ..ServiceAccount::default()
    }
}

#[cfg(test)]
mod tests;
