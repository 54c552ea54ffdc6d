//! CustomResourceDefinitions of the kinds in the table.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

use crate::kind::{Column, Kind};

/// The largest file that client-side `kubectl apply` takes: it stores the whole text in an
/// annotation, and all annotations together have this limit in bytes.
pub const MAX_BYTES: usize = 262_144;

/// The definition as a document, keys in the usual order.
#[must_use]
pub fn document(kind: &Kind) -> Value {
    let schema = kind.openapi();
    let versions: Vec<Value> = kind
        .versions
        .iter()
        .map(|version| self::version(kind, version, schema))
        .collect();
    let mut names = json!({
        "kind": kind.kind,
        "listKind": format!("{}List", kind.kind),
        "plural": kind.plural,
        "singular": kind.singular,
    });
    for (key, list) in [
        ("shortNames", kind.short_names),
        ("categories", kind.categories),
    ] {
        if !list.is_empty() {
            super::set(&mut names, key, json!(list));
        }
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata(kind),
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": kind.scope.as_str(),
            "versions": versions,
        },
    })
}

/// The definition as a typed object.
#[must_use]
pub fn custom_resource_definition(kind: &Kind) -> CustomResourceDefinition {
    serde_json::from_value(document(kind)).expect("a test decodes the definition of every kind")
}

/// The definition as a file, with a note of its origin.
///
/// # Errors
/// None in practice: the document is plain data.
pub fn yaml(kind: &Kind) -> Result<String, serde_yaml_ng::Error> {
    let body = serde_yaml_ng::to_string(&document(kind))?;
    Ok(format!(
        "# Made by `cargo run -p ironsail-crds --bin crdgen`; do not edit.\n{body}"
    ))
}

/// Name of the file: `<plural>.<group>.yaml`.
#[must_use]
pub fn file_name(kind: &Kind) -> String {
    format!("{}.yaml", kind.crd_name())
}

fn metadata(kind: &Kind) -> Value {
    let pairs = |pairs: &[(&str, &str)]| -> Map<String, Value> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).into()))
            .collect()
    };
    json!({
        "name": kind.crd_name(),
        "labels": pairs(kind.labels),
        // Users' objects live as long as the definition.
        "annotations": pairs(&[("helm.sh/resource-policy", "keep")]),
    })
}

fn version(kind: &Kind, name: &str, schema: &Value) -> Value {
    let mut version = json!({
        "name": name,
        "served": true,
        "storage": name == kind.storage,
        "subresources": { "status": {} },
        "schema": { "openAPIV3Schema": schema },
    });
    if !kind.columns.is_empty() {
        let columns: Vec<Value> = kind.columns.iter().map(column).collect();
        super::set(&mut version, "additionalPrinterColumns", columns.into());
    }
    version
}

fn column(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.column_type,
        "jsonPath": column.json_path,
    })
}
