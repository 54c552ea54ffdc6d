use std::path::PathBuf;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use super::rights::{granted, rights, specs};
use super::*;
use crate::object::Manifest;
use crate::render::render;

fn documents() -> Vec<Value> {
    super::documents(&Context::default())
}

#[test]
fn the_committed_files_are_current() {
    let deploy =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate"))
            .join("../deploy");
    for (path, current) in files(&Context::default()) {
        let committed = std::fs::read_to_string(deploy.join(path)).expect(path);
        assert!(
            committed == current,
            "{path}: run `cargo run -p ironsail-operator -- dump --write deploy`"
        );
    }
}

/// Client-side apply keeps each object in one of its own annotations, which is bounded.
#[test]
fn every_object_fits_client_side_apply() {
    for document in documents() {
        let name = format!("{} {}", document["kind"], document["metadata"]["name"]);
        let bytes = document.to_string().len();
        assert!(bytes < 262_144, "{name} has {bytes} bytes");
    }
}

/// Rights of the operator: of the cluster, and with those of its Role in istio-system.
fn held() -> (Vec<PolicyRule>, Vec<PolicyRule>) {
    let rules = |kind: &str, namespace: Value| -> Vec<PolicyRule> {
        let wanted = |d: &&Value| d["kind"] == kind && d["metadata"]["namespace"] == namespace;
        let documents = documents();
        let roles = documents.iter().filter(wanted);
        let rules = roles.map(|role| serde_json::from_value(role["rules"].clone()));
        rules
            .flat_map(|rules: Result<Vec<PolicyRule>, _>| rules.expect("rules"))
            .collect()
    };
    let cluster = rules("ClusterRole", Value::Null);
    let watched = [cluster.clone(), rules("Role", json!(WATCHED))].concat();
    (cluster, watched)
}

/// Whether rules contain a right, as the API server judges it.
fn contains(rules: &[PolicyRule], (group, resource, verb): &Right) -> bool {
    let has = |list: Option<&Vec<String>>, text: &String| {
        list.is_some_and(|list| list.iter().any(|own| own == text || own == "*"))
    };
    rules.iter().any(|rule| {
        has(rule.api_groups.as_ref(), group)
            && has(rule.resources.as_ref(), resource)
            && has(Some(&rule.verbs), verb)
    })
}

#[test]
fn the_operator_holds_what_it_grants() {
    let (cluster, watched) = held();
    for spec in specs() {
        let rendered = render(&spec, &Context::default()).expect("valid");
        for object in &rendered.objects {
            let held = match object.kind().kind {
                "ClusterRole" => &cluster,
                "Role" => &watched,
                _ => continue,
            };
            let rules = object.body()["rules"].clone();
            let rules: Vec<PolicyRule> = serde_json::from_value(rules).expect("rules");
            for right in rules.iter().flat_map(rights) {
                assert!(contains(held, &right), "{} grants {right:?}", object.key());
            }
        }
    }
}

/// Records of adopted Helm releases, where the control plane is.
#[test]
fn the_operator_may_hide_and_remove_records_of_helm() {
    let (_, watched) = held();
    for verb in ["list", "update", "delete"] {
        let right = (String::new(), "secrets".to_owned(), verb.to_owned());
        assert!(contains(&watched, &right), "{verb}");
    }
}

#[test]
fn the_operator_may_write_every_kind_that_it_renders() {
    let (cluster, _) = held();
    let rendered = render(&specs()[1], &Context::default()).expect("valid");
    let kinds = rendered.objects.iter().map(Manifest::kind);
    for kind in kinds {
        for verb in ["get", "list", "watch", "create", "patch"] {
            let right = (
                kind.group.to_owned(),
                kind.plural.to_owned(),
                verb.to_owned(),
            );
            assert!(contains(&cluster, &right), "{right:?}");
        }
    }
    let delete =
        |group: &str, plural: &str| (group.to_owned(), plural.to_owned(), "delete".to_owned());
    assert!(contains(&cluster, &delete("apps", "deployments")));
    assert!(!contains(
        &cluster,
        &delete("apiextensions.k8s.io", "customresourcedefinitions")
    ));
}

/// Kubernetes lets nobody grant what he doesn't hold.
#[test]
fn the_operator_holds_what_it_keeps_for_the_removal() {
    let (cluster, _) = held();
    for right in crate::keep::removal_rules().iter().flat_map(rights) {
        assert!(contains(&cluster, &right), "{right:?}");
    }
}

#[test]
fn wildcards_are_only_where_rendered_roles_have_them() {
    let granted = granted(&Context::default(), "ClusterRole");
    let (_, watched) = held();
    for right in watched.iter().flat_map(rights) {
        let wild = right.0 == "*" || right.1 == "*" || right.2 == "*";
        assert!(!wild || granted.contains(&right), "{right:?}");
    }
    let secrets = |verb: &str| (String::new(), "secrets".to_owned(), verb.to_owned());
    let (cluster, _) = held();
    assert!(
        !contains(&cluster, &secrets("create")),
        "Secrets are written in one namespace only"
    );
}

fn only(kind: &str) -> Value {
    let mut found: Vec<Value> = documents();
    found.retain(|document| document["kind"] == kind);
    assert_eq!(found.len(), 1, "{kind}");
    found.swap_remove(0)
}

/// `kubectl auth can-i` sums up roles: whoever has `edit` in a namespace must not be able to ask
/// for a mesh, because that is nearly the operator's own rights.
#[test]
fn nothing_is_added_to_roles_of_users() {
    for document in documents() {
        let labels = document["metadata"]["labels"].as_object();
        let mut keys = labels.into_iter().flat_map(|labels| labels.keys());
        let aggregates = |key: &String| key.starts_with("rbac.authorization.k8s.io/");
        assert!(!keys.any(aggregates), "{}", document["metadata"]);
        assert_eq!(document.get("aggregationRule"), None);
    }
}

/// Where the role for granting in the cluster is left out.
#[test]
fn roles_of_one_namespace_need_no_rights_of_the_cluster() {
    let context = Context::default();
    let held = [grouped(&work_rules()), grouped(&namespace_rules(&context))].concat();
    let scope = json!({"values": {"global": {"resourceScope": "namespace"}}});
    for mut spec in specs() {
        crate::value::merge(&mut spec, &scope);
        let rendered = render(&spec, &context).expect("valid");
        for object in &rendered.objects {
            assert_ne!(object.kind().kind, "ClusterRole", "{}", object.key());
            if object.kind().kind == "Role" {
                let rules = object.body()["rules"].clone();
                let rules: Vec<PolicyRule> = serde_json::from_value(rules).expect("rules");
                for right in rules.iter().flat_map(rights) {
                    assert!(contains(&held, &right), "{} grants {right:?}", object.key());
                }
            }
        }
    }
}

/// What the operator does itself takes no right to read Secrets, and none to everything.
#[test]
fn work_needs_neither_secrets_nor_wildcards() {
    for (group, resource, verb) in super::rights::work_rules() {
        assert_ne!(resource, "secrets");
        assert!(![&group, &resource, &verb].contains(&&"*".to_owned()));
    }
}

#[test]
fn own_secrets_are_reached_by_name_only() {
    let documents = documents();
    let home = |d: &&Value| d["kind"] == "Role" && d["metadata"]["namespace"] == NAME;
    let role = documents.iter().find(home).expect("there");
    let rules: Vec<PolicyRule> = serde_json::from_value(role["rules"].clone()).expect("rules");
    for rule in rules {
        let secrets = rule
            .resources
            .iter()
            .flatten()
            .any(|name| name == "secrets");
        let reads = rule.verbs != ["create"];
        assert!(
            !(secrets && reads) || rule.resource_names.is_some(),
            "{rule:?}"
        );
    }
}

#[test]
fn the_webhook_never_holds_anything_up() {
    let configuration = only("ValidatingWebhookConfiguration");
    let webhook = &configuration["webhooks"][0];
    assert_eq!(webhook["failurePolicy"], "Ignore");
    assert_eq!(webhook["sideEffects"], "None");
    assert_eq!(webhook["clientConfig"].get("caBundle"), None);
    assert!(
        webhook["timeoutSeconds"]
            .as_i64()
            .is_some_and(|seconds| seconds <= 5)
    );
    // Status is a resource of its own.
    assert_eq!(webhook["rules"][0]["resources"], json!(["istiooperators"]));
    assert_eq!(documents()[0], configuration, "deleted first");
}

#[test]
fn the_service_leads_to_the_pods() {
    let (service, deployment) = (only("Service"), only("Deployment"));
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let names = |list: &Value, field: &str| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(|port| Some(port[field].as_str()?.to_owned()))
            .collect()
    };
    let ports = names(&container["ports"], "name");
    assert_eq!(names(&service["spec"]["ports"], "targetPort"), ports);
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    for selector in [
        &service["spec"]["selector"],
        &deployment["spec"]["selector"]["matchLabels"],
    ] {
        let mut pairs = selector.as_object().expect("labels").iter();
        assert!(pairs.all(|(key, value)| labels[key] == *value));
    }
}

#[test]
fn the_namespace_is_restricted() {
    let documents = documents();
    let home = |d: &&Value| d["kind"] == "Namespace" && d["metadata"]["name"] == NAME;
    let labels = &documents.iter().find(home).expect("there")["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn the_pod_is_restricted() {
    let deployment = only("Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let context = &pod["containers"][0]["securityContext"];
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["runAsNonRoot"], true);
}
