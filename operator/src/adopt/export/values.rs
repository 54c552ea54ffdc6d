//! Images, values and mesh configuration of an install.

use ironsail_crds::operator::values::VALUES;
use serde_json::{Map, Value, json};

use super::{Install, containers, rendered};
use crate::render::{Context, render_object};
use crate::value::{get, merge, remove, set, text};
use crate::yaml;

/// Hub and tag, from the image of the control plane.
pub fn images(install: &Install<'_>, notes: &mut Vec<String>) -> Value {
    let mut spec = json!({});
    let image = containers(install.pilot).find_map(|container| text(container, &["image"]));
    let image = image.unwrap_or_default();
    let split = image
        .rsplit_once('/')
        .and_then(|(hub, name)| Some((hub, name.split_once(':')?)));
    match split {
        Some((hub, ("pilot", tag))) => {
            set(&mut spec, &["hub"], json!(hub));
            set(&mut spec, &["tag"], json!(tag));
        }
        _ => notes.push(format!(
            "the image {image:?} of the control plane is not <hub>/pilot:<tag>; set spec.hub and spec.tag"
        )),
    }
    spec
}

/// The values that users gave, where the install keeps them.
pub fn of_install(install: &Install<'_>, spec: &mut Value) {
    let original = install.config("values", "original-values");
    let Some(Value::Object(original)) = original.and_then(|t| serde_json::from_str(t).ok()) else {
        return;
    };
    let mut values = json!({});
    for (key, value) in original {
        if VALUES.iter().any(|known| known.name == key) {
            merge(&mut values, &Value::Object(Map::from_iter([(key, value)])));
        } else if !key.starts_with('_') {
            // Charts of the control plane take its values at the root, too.
            merge(&mut values, &json!({"pilot": {key: value}}));
        }
    }
    // What other fields of the spec say.
    for path in [
        &["global", "hub"][..],
        &["global", "tag"],
        &["revision"],
        &["pilot", "enabled"],
        &["pilot", "hub"],
        &["pilot", "tag"],
    ] {
        remove(&mut values, path);
    }
    strip_variant(spec, &values);
    let values = crate::value::meaning(&values);
    if values.as_object().is_some_and(|values| !values.is_empty()) {
        set(spec, &["values"], values);
    }
}

/// Charts append the variant to the tag.
fn strip_variant(spec: &mut Value, values: &Value) {
    let variant = text(values, &["global", "variant"]);
    let tag = text(spec, &["tag"]).map(str::to_owned);
    let stripped = variant.and_then(|variant| {
        Some(
            tag.as_ref()?
                .strip_suffix(&format!("-{variant}"))?
                .to_owned(),
        )
    });
    if let Some(stripped) = stripped {
        set(spec, &["tag"], json!(stripped));
    }
}

/// Moves values that are not checked to where they may stand.
pub fn move_unknown(object: &mut Value, context: &Context, notes: &mut Vec<String>) {
    let Err(findings) = render_object(object, context) else {
        return;
    };
    for finding in findings.iter().filter(|finding| finding.is_error()) {
        let Some(path) = finding.path.strip_prefix("spec.values.") else {
            continue;
        };
        let keys: Vec<&str> = path.split('.').collect();
        let from: Vec<&str> = ["spec", "values"].into_iter().chain(keys.clone()).collect();
        let Some(value) = get(object, &from).cloned() else {
            continue;
        };
        remove(object, &from);
        let to: Vec<&str> = ["spec", "unvalidatedValues"]
            .into_iter()
            .chain(keys)
            .collect();
        set(object, &to, value);
        notes.push(format!(
            "spec.values.{path} is no known value; it is in spec.unvalidatedValues"
        ));
    }
}

/// Drops values without which the object renders the same.
pub fn shrink(object: &mut Value, context: &Context) {
    let Some(before) = meaning(object, context) else {
        return;
    };
    let mut paths = Vec::new();
    if let Some(values) = get(object, &["spec", "values"]) {
        leaves(
            values,
            &mut vec!["spec".to_owned(), "values".to_owned()],
            &mut paths,
        );
    }
    for path in paths {
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        let mut smaller = object.clone();
        remove(&mut smaller, &keys);
        if meaning(&smaller, context).as_ref() == Some(&before) {
            *object = smaller;
        }
    }
    let values = get(object, &["spec", "values"]).map(crate::value::meaning);
    match values {
        Some(values) if values.as_object().is_some_and(|map| !map.is_empty()) => {
            set(object, &["spec", "values"], values);
        }
        _ => remove(object, &["spec", "values"]),
    }
}

fn leaves(value: &Value, at: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                at.push(key.clone());
                leaves(value, at, found);
                at.pop();
            }
        }
        _ => found.push(at.clone()),
    }
}

/// The rendered objects, without the copy of the values that made them.
fn meaning(object: &Value, context: &Context) -> Option<Vec<Value>> {
    let rendered = render_object(object, context).ok()?;
    let objects = rendered.objects.iter().filter(|o| !o.is_definition());
    let bodies = objects.map(|object| {
        let mut body = object.body().into_owned();
        remove(&mut body, &["data", "original-values"]);
        body
    });
    Some(bodies.collect())
}

/// The mesh configuration, as far as it differs from what the object renders.
pub fn mesh_config(
    install: &Install<'_>,
    object: &mut Value,
    context: &Context,
    notes: &mut Vec<String>,
) {
    let Some(live) = install
        .config("istio", "mesh")
        .and_then(|text| yaml::document(text).ok())
    else {
        return;
    };
    let name = install.suffixed("istio");
    let ours = rendered(object, context, "ConfigMap", &name);
    let ours = ours.and_then(|map| text(&map, &["data", "mesh"]).map(str::to_owned));
    let Some(ours) = ours.and_then(|text| yaml::document(&text).ok()) else {
        notes
            .push("the mesh configuration was not compared: the object does not render".to_owned());
        return;
    };
    let (own, lost) = difference(&live, &ours, "meshConfig");
    if let Some(own) = own {
        let mut spec = json!({"meshConfig": own});
        if let Some(old) = get(object, &["spec", "meshConfig"]).cloned() {
            let mut both = old;
            merge(&mut both, &spec["meshConfig"]);
            spec["meshConfig"] = both;
        }
        set(object, &["spec", "meshConfig"], spec["meshConfig"].take());
    }
    notes.extend(lost.into_iter().map(|path| {
        format!("{path} is not set in the mesh; Ironsail sets it when another plan is accepted")
    }));
}

/// What only one document has or has otherwise, and the paths that only the other has.
fn difference(live: &Value, ours: &Value, path: &str) -> (Option<Value>, Vec<String>) {
    match (live, ours) {
        (Value::Object(live), Value::Object(ours)) => {
            let mut own = Map::new();
            let mut lost = Vec::new();
            for (key, value) in live {
                let path = format!("{path}.{key}");
                match ours.get(key) {
                    Some(other) => {
                        let (part, more) = difference(value, other, &path);
                        lost.extend(more);
                        own.extend(part.map(|part| (key.clone(), part)));
                    }
                    None => {
                        own.insert(key.clone(), value.clone());
                    }
                }
            }
            let absent = ours.keys().filter(|key| !live.contains_key(*key));
            lost.extend(absent.map(|key| format!("{path}.{key}")));
            ((!own.is_empty()).then(|| own.into()), lost)
        }
        (live, ours) => ((live != ours).then(|| live.clone()), Vec::new()),
    }
}
