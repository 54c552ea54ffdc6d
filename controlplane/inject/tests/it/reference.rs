//! Equality by meaning with injections of stock Istio, where captures of them are at hand.
//!
//! Environment variable `IRONSAIL_REFERENCE` names the folder of captures; without it the tests say that they skip.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{by_meaning, config, injected};

fn folder() -> Option<PathBuf> {
    let default =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate"))
            .join("../../../shared/reference");
    let root = std::env::var_os("IRONSAIL_REFERENCE").map_or(default, PathBuf::from);
    let folder = root.join("inject");
    if !folder.is_dir() {
        eprintln!("skipped: no captured injections (IRONSAIL_REFERENCE)");
        return None;
    }
    Some(folder)
}

fn read(folder: &Path, name: &str) -> Value {
    let text = std::fs::read_to_string(folder.join(name)).expect("a capture");
    let text = text.trim_end().trim_end_matches("---");
    serde_yaml_ng::from_str(text).expect("valid YAML")
}

/// The pod that a Deployment's ReplicaSet creates.
fn pod_of(deployment: &Value) -> Value {
    let name = deployment["metadata"]["name"].as_str().expect("named");
    let mut pod = deployment["spec"]["template"].clone();
    pod["metadata"]["namespace"] = deployment["metadata"]["namespace"].clone();
    pod["metadata"]["generateName"] = json!(format!("{name}-abc-"));
    pod["metadata"]["labels"]["pod-template-hash"] = json!("abc");
    pod["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-abc"), "controller": true}
    ]);
    pod
}

#[track_caller]
fn check(before: &Value, expected: &Value, native: bool) {
    let injection = injected(before, &config(), native);
    let (ours, theirs) = (by_meaning(&injection.pod), by_meaning(expected));
    assert_eq!(
        serde_yaml_ng::to_string(&ours).expect("serializes"),
        serde_yaml_ng::to_string(&sorted_as(&theirs, &ours)).expect("serializes"),
    );
    let mut patched = before.clone();
    json_patch::patch(&mut patched, &injection.patch).expect("the patch applies");
    assert_eq!(patched, injection.pod);
}

/// `theirs` with the keys of objects in the order of `ours`, so that a difference reads well.
fn sorted_as(theirs: &Value, ours: &Value) -> Value {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let ordered = ours.keys().filter(|key| theirs.contains_key(*key));
            let rest = theirs.keys().filter(|key| !ours.contains_key(*key));
            ordered
                .chain(rest)
                .map(|key| {
                    let our = ours.get(key).unwrap_or(&Value::Null);
                    (key.clone(), sorted_as(&theirs[key], our))
                })
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        (Value::Array(theirs), ours) => theirs
            .iter()
            .enumerate()
            .map(|(index, item)| sorted_as(item, ours.get(index).unwrap_or(&Value::Null)))
            .collect(),
        (other, _) => other.clone(),
    }
}

#[test]
fn pods_with_native_sidecars() {
    let Some(folder) = folder() else { return };
    for name in [
        "native-sidecar",
        "native-sidecar-annotations",
        "native-gateway",
    ] {
        let before = read(&folder, &format!("{name}.pod.yaml"));
        let expected = read(&folder, &format!("{name}.injected.yaml"));
        check(&before, &expected, true);
    }
}

#[test]
fn deployments_with_sidecar_containers() {
    let Some(folder) = folder() else { return };
    for name in ["sidecar", "sidecar-annotations", "gateway"] {
        let before = pod_of(&read(&folder, &format!("{name}.yaml")));
        let expected = pod_of(&read(&folder, &format!("{name}.injected.yaml")));
        check(&before, &expected, false);
    }
}
