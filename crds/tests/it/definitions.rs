//! The committed definitions are current, small enough, and mean what the peer's mean.

use std::collections::BTreeSet;
use std::fs;

use ironsail_crds::kind::{GATEWAY, ISTIO_OPERATOR, KINDS, Kind};
use ironsail_crds::schema::definition;
use serde_json::Value;

use crate::{reference, workspace};

#[test]
fn committed_files_are_current() {
    let folder = workspace().join("deploy/crds");
    for kind in KINDS {
        let path = folder.join(definition::file_name(kind));
        let committed = fs::read_to_string(&path).unwrap_or_default();
        let made = definition::yaml(kind).expect("definitions are plain data");
        assert!(
            committed == made,
            "{} is not current; run: cargo run -p ironsail-crds --bin crdgen -- deploy/crds",
            path.display()
        );
    }
    let files = fs::read_dir(&folder).expect("deploy/crds exists");
    let names = files.map(|file| file.expect("readable").file_name());
    let definitions = names.filter(|name| name != "kustomization.yaml");
    assert_eq!(
        definitions.count(),
        KINDS.len(),
        "deploy/crds has files of kinds that are gone"
    );
}

#[test]
fn files_are_small_enough_for_client_side_apply() {
    for kind in KINDS {
        let size = definition::yaml(kind)
            .expect("definitions are plain data")
            .len();
        assert!(
            size < definition::MAX_BYTES,
            "{} has {size} bytes",
            kind.crd_name()
        );
    }
}

/// Every key of a definition is one that the API server knows.
#[test]
fn definitions_are_typed_objects() {
    for kind in KINDS {
        let typed = definition::custom_resource_definition(kind);
        let again = serde_json::to_value(typed).expect("serializes");
        let mut differences = BTreeSet::new();
        compare(
            &again,
            &definition::document(kind),
            kind.kind,
            &mut differences,
        );
        assert_eq!(differences, BTreeSet::new());
    }
}

/// API servers refuse a definition with a field that has no type and isn't marked as open.
#[test]
fn schemas_are_structural() {
    for kind in KINDS {
        let mut untyped = Vec::new();
        typeless(kind.openapi(), kind.kind, &mut untyped);
        assert_eq!(untyped, Vec::<String>::new());
    }
}

fn typeless(schema: &Value, path: &str, untyped: &mut Vec<String>) {
    let marks = [
        "type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-int-or-string",
    ];
    if marks.iter().all(|mark| schema.get(mark).is_none()) {
        untyped.push(path.to_owned());
    }
    let fields = schema.get("properties").and_then(Value::as_object);
    for (name, field) in fields.into_iter().flatten() {
        typeless(field, &format!("{path}.{name}"), untyped);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            typeless(inner, &format!("{path}.{key}"), untyped);
        }
    }
}

/// `kubectl explain` says something about every field of an IstioOperator down to the second
/// level of `k8s`, and about every documented value.
#[test]
fn operator_fields_are_described() {
    let spec = ISTIO_OPERATOR
        .openapi()
        .pointer("/properties/spec")
        .expect("has a spec");
    let mut missing = Vec::new();
    undescribed(spec, "spec", &mut missing);
    assert_eq!(missing, Vec::<String>::new());
}

fn undescribed(schema: &Value, path: &str, missing: &mut Vec<String>) {
    let schema = schema.get("items").unwrap_or(schema);
    let fields = schema.get("properties").and_then(Value::as_object);
    for (name, field) in fields.into_iter().flatten() {
        let path = format!("{path}.{name}");
        let text = field.get("description").and_then(Value::as_str);
        if text.is_none_or(str::is_empty) {
            missing.push(path.clone());
        }
        undescribed(field, &path, missing);
    }
}

/// Old objects must survive the schema: whatever they carry is kept.
#[test]
fn operator_schema_keeps_unknown_fields_at_every_level() {
    let root = ISTIO_OPERATOR.openapi();
    assert_eq!(root["x-kubernetes-preserve-unknown-fields"], true);
    let mut pruned = Vec::new();
    pruning(&root["properties"]["spec"], "spec", &mut pruned);
    assert_eq!(pruned, Vec::<String>::new());
}

fn pruning(schema: &Value, path: &str, pruned: &mut Vec<String>) {
    let map = schema.get("additionalProperties").is_some();
    let keeps = schema.get("x-kubernetes-preserve-unknown-fields").is_some();
    if schema.get("type").is_some_and(|t| t == "object") && !map && !keeps {
        pruned.push(path.to_owned());
    }
    let fields = schema.get("properties").and_then(Value::as_object);
    for (name, field) in fields.into_iter().flatten() {
        pruning(field, &format!("{path}.{name}"), pruned);
    }
    if let Some(items) = schema.get("items") {
        pruning(items, &format!("{path}[]"), pruned);
    }
}

#[test]
fn kinds_are_found_by_group_and_name() {
    let found = Kind::find("networking.istio.io", "Gateway").expect("is in the table");
    assert_eq!(found.crd_name(), GATEWAY.crd_name());
    assert!(Kind::find("gateway.networking.k8s.io", "Gateway").is_none());
    for kind in KINDS {
        assert!(kind.versions.contains(&kind.storage), "{}", kind.kind);
    }
}

/// Names, versions, columns, labels and every schema node equal the peer's; descriptions and the
/// order of versions, columns and keys don't matter.
#[test]
fn mesh_kinds_mean_what_the_peer_means() {
    let Some(folder) = reference("crds") else {
        return;
    };
    for kind in KINDS
        .into_iter()
        .filter(|kind| kind.group != "install.istio.io")
    {
        let path = folder.join(definition::file_name(kind));
        let text = fs::read_to_string(&path).expect("the reference has every mesh kind");
        let theirs: Value = serde_yaml_ng::from_str(&text).expect("the reference is YAML");
        let ours = definition::document(kind);
        let mut differences = BTreeSet::new();
        compare(&ours, &theirs, kind.kind, &mut differences);
        assert_eq!(differences, BTreeSet::new());
    }
}

fn compare(ours: &Value, theirs: &Value, path: &str, differences: &mut BTreeSet<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let path = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => compare(a, b, &path, differences),
                    // Text of our own; a field named so would be an object.
                    (Some(Value::String(_)), None) if key == "description" => {}
                    (None, Some(Value::String(_))) if key == "description" => {}
                    (Some(_), None) => drop(differences.insert(format!("{path} is ours only"))),
                    _ => drop(differences.insert(format!("{path} is missing"))),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let sorted = |list: &[Value]| {
                let mut list: Vec<Value> = list.to_vec();
                list.sort_by_key(|value| match value.get("name").or(value.get("message")) {
                    Some(name) => name.to_string(),
                    None => value.to_string(),
                });
                list
            };
            for (index, (a, b)) in sorted(a).iter().zip(&sorted(b)).enumerate() {
                compare(a, b, &format!("{path}[{index}]"), differences);
            }
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        (a, b) if a == b => {}
        (a, b) => drop(differences.insert(format!("{path}: {a} instead of {b}"))),
    }
}
