//! The manifest that installs the operator: `deploy/operator.yaml` is its text.
//!
//! The operator may only grant what it holds, so its roles contain those of everything that it
//! renders; they are computed from the renderings.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, HTTPGetAction, Namespace, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext, Service,
    ServiceAccount, ServicePort, ServiceSpec,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::{Value, json};

use crate::component::istiod::deployment::{drop_all, tcp_port};
use crate::component::{Labels, env, env_field, match_labels, role_ref, rule, service_account};
use crate::object::KINDS;
use crate::render::{Context, render};

/// Name of everything that belongs to the operator, and of its namespace.
pub const NAME: &str = "istio-operator";
/// Port of metrics and probes.
pub const PORT: u16 = 8383;
/// Where IstioOperators are watched.
const WATCHED: &str = "istio-system";
/// User that the image is made for.
const USER: i64 = 1337;

const HEADER: &str = "\
# Installs the operator. Made by `operator dump`; do not edit.
#
# Images: the operator's own, and those that it gives to a mesh whose IstioOperator names none. To
# change both, replace the hub (ironsail) and the tag everywhere, or run `operator dump --hub --tag`.
#
# The operator writes Secrets only in istio-system, through the Role below. A control plane in
# another namespace (values.global.istioNamespace) needs the same Role and RoleBinding there.
# Signing by the Kubernetes API (EXTERNAL_CA), cluster trust bundles, deleting of broken pods
# (cni.repair.deletePods) and OpenShift's security context constraints need further rights: those
# of the roles that are rendered for them.
";

/// The definition of IstioOperator.
const DEFINITION: &str = include_str!("../../deploy/crds/istiooperators.install.istio.io.yaml");

/// The whole manifest as YAML.
pub fn manifest(context: &Context) -> String {
    let mut text = HEADER.to_owned();
    let mut add = |document: &str| {
        text.push_str("---\n");
        text.push_str(document);
    };
    // In the order in which `kubectl delete` goes through them: what has to be finished first.
    add(DEFINITION);
    add(&yaml(&namespace(WATCHED)));
    add(&yaml(&namespace(NAME)));
    add(&yaml(&account()));
    let cluster = cluster_rules(context);
    let watched = namespace_rules(context, &cluster);
    add(&yaml(&ClusterRole {
        metadata: metadata(None),
        rules: Some(grouped(&cluster)),
        ..ClusterRole::default()
    }));
    add(&yaml(&ClusterRoleBinding {
        metadata: metadata(None),
        role_ref: role_ref("ClusterRole", NAME),
        subjects: Some(vec![service_account(NAME, Some(NAME))]),
    }));
    let leases = vec![rule(
        &["coordination.k8s.io"],
        &["leases"],
        &["get", "create", "update"],
    )];
    for (namespace, rules) in [(NAME, leases), (WATCHED, grouped(&watched))] {
        add(&yaml(&Role {
            metadata: metadata(Some(namespace)),
            rules: Some(rules),
        }));
        add(&yaml(&RoleBinding {
            metadata: metadata(Some(namespace)),
            role_ref: role_ref("Role", NAME),
            subjects: Some(vec![service_account(NAME, Some(NAME))]),
        }));
    }
    add(&yaml(&metrics_service()));
    add(&yaml(&deployment(context)));
    text
}

/// The objects of the manifest.
#[cfg(test)]
pub fn documents(context: &Context) -> Vec<Value> {
    use serde::Deserialize as _;
    serde_yaml_ng::Deserializer::from_str(&manifest(context))
        .map(|document| Value::deserialize(document).expect("YAML"))
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

fn namespace(name: &str) -> Namespace {
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
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

/// Group, resource, verb.
type Right = (String, String, String);

fn rights(rule: &PolicyRule) -> impl Iterator<Item = Right> + '_ {
    let groups = rule.api_groups.iter().flatten();
    groups.flat_map(move |group| {
        let resources = rule.resources.iter().flatten();
        resources.flat_map(move |resource| {
            let verbs = rule.verbs.iter();
            verbs.map(move |verb| (group.clone(), resource.clone(), verb.clone()))
        })
    })
}

/// Specs whose renderings contain every role that the operator grants.
fn specs() -> [Value; 4] {
    [
        json!({}),
        json!({"profile": "demo"}),
        json!({"profile": "ambient", "hub": "docker.io/istio", "tag": "1.32.0"}),
        json!({"values": {"global": {"istiod": {"enableAnalysis": true}}, "pilot": {"taint": {"enabled": true}}}}),
    ]
}

/// Rights that rendered roles of a kind grant.
fn granted(context: &Context, kind: &str) -> BTreeSet<Right> {
    let rules = specs().into_iter().flat_map(|spec| {
        let rendered = render(&spec, context).expect("a test renders these");
        let roles = rendered
            .objects
            .into_iter()
            .filter(|object| object.kind().kind == kind);
        roles
            .flat_map(|role| {
                let rules = role.body().get("rules").cloned().unwrap_or(json!([]));
                serde_json::from_value::<Vec<PolicyRule>>(rules).expect("rendered from rules")
            })
            .collect::<Vec<_>>()
    });
    rules
        .flat_map(|rule| rights(&rule).collect::<Vec<_>>())
        .collect()
}

/// What the operator does itself.
fn own_rules() -> Vec<PolicyRule> {
    let mut rules = vec![
        rule(
            &["install.istio.io"],
            &["istiooperators"],
            // Unused revisions are deleted when that was asked for.
            &["get", "list", "watch", "patch", "delete"],
        ),
        rule(
            &["install.istio.io"],
            &["istiooperators/status"],
            &["patch"],
        ),
        rule(&[""], &["namespaces"], &["get", "list", "create", "patch"]),
        rule(&[""], &["pods"], &["list"]),
        rule(&["events.k8s.io"], &["events"], &["create", "patch"]),
    ];
    for kind in &KINDS {
        let mut verbs = vec!["get", "list", "watch", "create", "patch"];
        if kind.prune {
            verbs.push("delete");
        }
        rules.push(rule(&[kind.group], &[kind.plural], &verbs));
    }
    rules
}

fn cluster_rules(context: &Context) -> BTreeSet<Right> {
    let own = own_rules();
    let own = own.iter().flat_map(rights);
    own.chain(granted(context, "ClusterRole")).collect()
}

/// What is granted in the control plane's namespace beyond the cluster-wide rights.
fn namespace_rules(context: &Context, cluster: &BTreeSet<Right>) -> BTreeSet<Right> {
    let roles = granted(context, "Role");
    let held = |right: &Right| {
        let any = (right.0.clone(), "*".to_owned(), right.2.clone());
        cluster.contains(right) || cluster.contains(&any)
    };
    roles.into_iter().filter(|right| !held(right)).collect()
}

/// Rules with one group each; resources with the same verbs stand together.
fn grouped(rights: &BTreeSet<Right>) -> Vec<PolicyRule> {
    let mut verbs: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (group, resource, verb) in rights {
        verbs.entry((group, resource)).or_default().insert(verb);
    }
    let mut resources: BTreeMap<(&str, Vec<&str>), Vec<&str>> = BTreeMap::new();
    for ((group, resource), verbs) in verbs {
        resources
            .entry((group, in_order(&verbs)))
            .or_default()
            .push(resource);
    }
    resources
        .into_iter()
        .map(|((group, verbs), resources)| rule(&[group], &resources, &verbs))
        .collect()
}

/// Reading verbs first, as people write them.
fn in_order<'a>(verbs: &BTreeSet<&'a str>) -> Vec<&'a str> {
    const ORDER: [&str; 7] = [
        "get", "list", "watch", "create", "update", "patch", "delete",
    ];
    let mut verbs: Vec<&str> = verbs.iter().copied().collect();
    verbs.sort_by_key(|verb| {
        ORDER
            .iter()
            .position(|known| known == verb)
            .unwrap_or(ORDER.len())
    });
    verbs
}

fn metrics_service() -> Service {
    Service {
        metadata: metadata(Some(NAME)),
        spec: Some(ServiceSpec {
            ports: Some(vec![ServicePort {
                name: Some("http-metrics".into()),
                port: i32::from(PORT),
                target_port: Some(IntOrString::Int(i32::from(PORT))),
                protocol: Some("TCP".into()),
                ..ServicePort::default()
            }]),
            selector: Some([("name".to_owned(), NAME.to_owned())].into()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn deployment(context: &Context) -> Deployment {
    let annotations = [
        ("prometheus.io/scrape", "true".to_owned()),
        ("prometheus.io/port", PORT.to_string()),
    ];
    let mut labels = labels();
    labels.insert(ironsail_mesh::label::INJECT.to_owned(), "false".to_owned());
    Deployment {
        metadata: metadata(Some(NAME)),
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            selector: match_labels([("name".to_owned(), NAME.to_owned())].into()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations.map(|(k, v)| (k.to_owned(), v)).into()),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    service_account_name: Some(NAME.into()),
                    // Longer than it takes to finish the deletion of IstioOperators that go away
                    // together with the operator.
                    termination_grace_period_seconds: Some(60),
                    security_context: Some(PodSecurityContext {
                        run_as_non_root: Some(true),
                        run_as_user: Some(USER),
                        run_as_group: Some(USER),
                        seccomp_profile: Some(SeccompProfile {
                            type_: "RuntimeDefault".into(),
                            ..SeccompProfile::default()
                        }),
                        ..PodSecurityContext::default()
                    }),
                    containers: vec![container(context)],
                    ..PodSpec::default()
                }),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn container(context: &Context) -> Container {
    let quantities = |cpu: Option<&str>, memory: &str| {
        let cpu = cpu.map(|cpu| ("cpu".to_owned(), Quantity(cpu.into())));
        let memory = ("memory".to_owned(), Quantity(memory.into()));
        Some(cpu.into_iter().chain([memory]).collect())
    };
    let probe = |path: &str, period: i32| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::Int(i32::from(PORT)),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        ..Probe::default()
    };
    Container {
        name: NAME.into(),
        image: Some(format!("{}/operator:{}", context.hub, context.tag)),
        args: Some(
            ["server", "--log_output_level=default:info"]
                .map(str::to_owned)
                .into(),
        ),
        ports: Some(vec![ContainerPort {
            name: Some("http-metrics".into()),
            ..tcp_port(i32::from(PORT), None)
        }]),
        env: Some(environment(context)),
        readiness_probe: Some(probe("/readyz", 5)),
        liveness_probe: Some(probe("/healthz", 10)),
        resources: Some(ResourceRequirements {
            requests: quantities(Some("50m"), "128Mi"),
            limits: quantities(None, "256Mi"),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(drop_all()),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn environment(context: &Context) -> Vec<EnvVar> {
    vec![
        env("WATCH_NAMESPACE", WATCHED),
        env("HUB", &context.hub),
        env("TAG", &context.tag),
        env("WAIT_FOR_RESOURCES_TIMEOUT", "300s"),
        env("OPERATOR_NAME", NAME),
        env_field("POD_NAME", "metadata.name", None),
        env_field("POD_NAMESPACE", "metadata.namespace", None),
        env_field("SERVICE_ACCOUNT", "spec.serviceAccountName", None),
        env_field("LEADER_ELECTION_NAMESPACE", "metadata.namespace", None),
    ]
}

#[cfg(test)]
mod tests;
