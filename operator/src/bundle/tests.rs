use std::path::PathBuf;

use super::*;
use crate::object::Manifest;

fn documents() -> Vec<Value> {
    super::documents(&Context::default())
}

#[test]
fn the_committed_manifest_is_current() {
    let path =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate"))
            .join("../deploy/operator.yaml");
    let committed = std::fs::read_to_string(&path).expect("deploy/operator.yaml");
    let current = manifest(&Context::default());
    assert!(
        committed == current,
        "run `cargo run -p ironsail-operator -- dump > deploy/operator.yaml`"
    );
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
        let role = documents.iter().find(wanted).expect("a role");
        serde_json::from_value(role["rules"].clone()).expect("rules")
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
fn the_operator_may_hide_records_of_helm() {
    let (_, watched) = held();
    for verb in ["list", "update"] {
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

#[test]
fn the_pod_is_restricted() {
    let documents = documents();
    let deployment = documents
        .iter()
        .find(|d| d["kind"] == "Deployment")
        .expect("there");
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
