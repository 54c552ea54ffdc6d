//! `deploy/chart`.

use std::path::Path;

use super::*;

/// What only objects of a release have.
const OF_RELEASES: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

fn template(helm: &Path, settings: &[&str]) -> Output {
    let mut arguments = vec![
        "template",
        "release",
        "chart",
        "--namespace",
        "istio-operator",
    ];
    // A helm that Go built believes in an old one.
    arguments.extend(["--kube-version", "1.34.0"]);
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    run(helm, arguments)
}

/// Removes what a release adds to objects and pod templates.
fn without_release(mut object: Value) -> Value {
    let is_definition = object["kind"] == "CustomResourceDefinition";
    for place in ["/metadata", "/spec/template/metadata"] {
        let Some(metadata) = object.pointer_mut(place).and_then(Value::as_object_mut) else {
            continue;
        };
        // Definitions have such labels by themselves.
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut)
            && !is_definition
        {
            labels.retain(|key, _| !OF_RELEASES.contains(&key.as_str()));
        }
        let annotations = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut);
        if let Some(annotations) = annotations {
            annotations.shift_remove("helm.sh/resource-policy");
            if annotations.is_empty() {
                metadata.shift_remove("annotations");
            }
        }
    }
    object
}

fn values() -> Value {
    let text = std::fs::read_to_string(deploy().join("chart/values.yaml")).expect("readable");
    serde_yaml_ng::from_str(&text).expect("YAML")
}

#[test]
fn it_passes_its_linter() {
    let Some(helm) = tool("helm") else { return };
    succeed(run(&helm, ["lint", "--strict", "chart"]));
}

#[test]
fn by_default_it_is_the_manifest() {
    let Some(helm) = tool("helm") else { return };
    let rendered = objects(&succeed(template(&helm, &[])));
    let without = |objects: BTreeMap<Key, Value>| -> BTreeMap<Key, Value> {
        objects
            .into_iter()
            // Helm makes the namespace of a release, or finds it.
            .filter(|(key, _)| key.0 != "Namespace" || key.2 != "istio-operator")
            .map(|(key, object)| (key, without_release(object)))
            .collect()
    };
    check_same(&without(rendered), &without(manifest()));
}

#[test]
fn values_reach_the_pods() {
    let Some(helm) = tool("helm") else { return };
    let settings = [
        "replicas=3",
        "hub=registry.example.com/mesh",
        "tag=v7",
        "watchNamespaces={a,b}",
        "controlPlaneNamespaces={a}",
        "priorityClassName=system-cluster-critical",
        "nodeSelector.disk=ssd",
        "tolerations[0].operator=Exists",
        "revision=canary",
        "webhook.enabled=false",
        "resourceScope=namespace",
    ];
    let rendered = objects(&succeed(template(&helm, &settings)));
    let of = |kind: &str| -> Vec<&Value> {
        let found = rendered.iter().filter(|(key, _)| key.0 == kind);
        found.map(|(_, object)| object).collect()
    };
    let deployment = of("Deployment")[0];
    assert_eq!(deployment["metadata"]["name"], "istio-operator-canary");
    assert_eq!(deployment["spec"]["replicas"], 3);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert_eq!(pod["nodeSelector"]["disk"], "ssd");
    assert_eq!(pod["tolerations"][0]["operator"], "Exists");
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "registry.example.com/mesh/operator:v7");
    let env = |name: &str| {
        let mut list = container["env"].as_array().into_iter().flatten();
        list.find(|entry| entry["name"] == name)
            .and_then(|entry| entry["value"].as_str())
    };
    assert_eq!(env("WATCH_NAMESPACE"), Some("a,b"));
    assert_eq!(env("REVISION"), Some("canary"));
    assert_eq!(env("TAG"), Some("v7"));
    assert_eq!(of("ValidatingWebhookConfiguration"), Vec::<&Value>::new());
    assert_eq!(of("ClusterRole").len(), 1);
    assert_eq!(of("Namespace").len(), 2);
    let role = |namespace: &str| {
        let mut roles = of("Role").into_iter();
        roles.any(|role| role["metadata"]["namespace"] == namespace)
    };
    assert!(role("a") && role("istio-operator") && !role("b"));
}

#[test]
fn the_schema_refuses_mistakes() {
    let Some(helm) = tool("helm") else { return };
    for wrong in [
        "replicas=0",
        "replica=2",
        "watchNamespaces={A_b}",
        "crd.instal=true",
        "tag=a/b",
    ] {
        let output = template(&helm, &[wrong]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{wrong}");
        assert!(
            said.contains("don't meet the specifications"),
            "{wrong}: {said}"
        );
    }
}

#[test]
fn every_value_is_in_the_schema() {
    let text = std::fs::read_to_string(deploy().join("chart/values.schema.json"));
    let schema: Value = serde_json::from_str(&text.expect("readable")).expect("JSON");
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().expect("a map").keys().cloned().collect();
        // Parent charts pass it.
        keys.retain(|key| key != "global");
        keys.sort();
        keys
    };
    let (values, properties) = (values(), &schema["properties"]);
    assert_eq!(keys(&values), keys(properties));
    for name in ["crd", "webhook", "podDisruptionBudget", "monitoring"] {
        assert_eq!(
            keys(&values[name]),
            keys(&properties[name]["properties"]),
            "{name}"
        );
    }
}

#[test]
fn it_has_the_version_of_the_program() {
    let text = std::fs::read_to_string(deploy().join("chart/Chart.yaml")).expect("readable");
    let chart: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], ironsail_mesh::VERSION, "{field}");
    }
}
