//! Manifests that were captured from the peer, where they are at hand.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize as _;
use serde_json::Value;

use crate::component::Component;
use crate::object::Manifest;
use crate::render::Context;
use crate::value::{get, meaning};

/// Folder with the captured files, if it is there.
pub fn folder() -> Option<PathBuf> {
    let given = std::env::var_os("IRONSAIL_REFERENCE").map(PathBuf::from);
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from)?;
    let beside = here
        .ancestors()
        .map(|folder| folder.join("shared/reference"));
    given
        .into_iter()
        .chain(beside)
        .find(|folder| folder.join("manifests").is_dir())
}

/// Compares what `rendered` makes of a profile with what the peer makes of it: the same objects,
/// definitions aside, and each with the same meaning. Skips where nothing was captured.
#[track_caller]
pub fn check(profile: &str, rendered: impl FnOnce(&Context) -> Vec<Value>) {
    let Some(folder) = folder() else {
        eprintln!("skipped: no captured manifests; set IRONSAIL_REFERENCE to their folder");
        return;
    };
    let path = folder.join(format!("manifests/{profile}.yaml"));
    let text = std::fs::read_to_string(path).expect("the captured manifest is readable");
    let theirs = by_name(documents(&text));
    let ours = by_name(rendered(&context(&theirs)));
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    for (key, theirs) in &theirs {
        assert_eq!(&ours[key], theirs, "{key}");
    }
}

/// What the captured manifest was rendered with.
fn context(theirs: &BTreeMap<String, Value>) -> Context {
    let path = ["data", "original-values", "global"];
    let global = get(&theirs["ConfigMap istio-system/values"], &path).expect("values");
    let text = |key: &str| global[key].as_str().expect("text").to_owned();
    Context {
        hub: text("hub"),
        tag: text("tag"),
        chart_version: "1.0.0".to_owned(),
        ..Context::default()
    }
}

fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let manifests = objects
        .into_iter()
        .map(|body| Manifest::new(Component::Base, body).expect("a known kind"));
    let compared = manifests.filter(|manifest| !manifest.is_definition());
    compared
        .map(|manifest| (manifest.key().to_string(), comparable(&manifest.body())))
        .collect()
}

/// Text that holds a document is compared as that document.
fn comparable(object: &Value) -> Value {
    let mut object = meaning(object);
    let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) else {
        return object;
    };
    // Not part of the captures.
    data.shift_remove("config");
    for value in data.values_mut() {
        let text = value.as_str().unwrap_or_default();
        *value = meaning(&serde_yaml_ng::from_str(text).expect("YAML"));
    }
    if let Some(notes) = object["metadata"]
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        notes.shift_remove("kubernetes.io/description");
    }
    meaning(&object)
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .filter(|document| !document.is_null())
        .collect()
}
