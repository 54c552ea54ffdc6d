//! `deploy/kustomize`.

use std::path::Path;

use super::*;

/// Builds the base with components.
fn build(kubectl: &Path, components: &[&str]) -> BTreeMap<Key, Value> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    // kustomize takes relative paths only.
    let up = folder.path().components().count() - 1;
    let deploy = deploy();
    let deploy = format!(
        "{}{}",
        "../".repeat(up),
        deploy.strip_prefix("/").expect("absolute").display()
    );
    let components: Vec<String> = components
        .iter()
        .map(|name| format!("{deploy}/kustomize/components/{name}"))
        .collect();
    let text = serde_json::json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [format!("{deploy}/kustomize/base")], "components": components,
    });
    std::fs::write(folder.path().join("kustomization.yaml"), text.to_string()).expect("written");
    objects(&succeed(run(
        kubectl,
        [OsStr::new("kustomize"), folder.path().as_os_str()],
    )))
}

fn only<'a>(objects: &'a BTreeMap<Key, Value>, kind: &str) -> Option<&'a Value> {
    objects
        .iter()
        .find(|(key, _)| key.0 == kind)
        .map(|(_, object)| object)
}

#[test]
fn the_base_is_the_manifest() {
    let Some(kubectl) = tool("kubectl") else {
        return;
    };
    check_same(&build(&kubectl, &[]), &manifest());
}

#[test]
fn components_change_what_they_say() {
    let Some(kubectl) = tool("kubectl") else {
        return;
    };
    let built = build(
        &kubectl,
        &["watch-all-namespaces", "single-replica", "namespace-scope"],
    );
    let deployment = &only(&built, "Deployment").expect("there")["spec"];
    assert_eq!(deployment["replicas"], 1);
    let env = &deployment["template"]["spec"]["containers"][0]["env"];
    let env = env.as_array().expect("a list");
    let watched = env.iter().find(|entry| entry["name"] == "WATCH_NAMESPACE");
    assert_eq!(watched.expect("there").get("value"), Some(&Value::from("")));
    assert_eq!(env.len(), 9, "{env:?}");
    assert!(only(&built, "PodDisruptionBudget").is_none());
    assert_eq!(built.len(), manifest().len() - 3);
}

#[test]
fn monitoring_brings_rules_and_dashboard() {
    let Some(kubectl) = tool("kubectl") else {
        return;
    };
    let built = build(&kubectl, &["monitoring"]);
    assert!(only(&built, "PrometheusRule").is_some());
    let map = only(&built, "ConfigMap").expect("a dashboard");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
}
