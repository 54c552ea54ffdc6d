//! Definitions of kinds are shared by all versions of the operator and by the peer's installers:
//! an older one never takes back what a newer one has brought.

use ironsail_mesh::label;
use kube::api::DynamicObject;
use serde_json::Value;

const CHART_VERSION: &str = "app.kubernetes.io/version";
/// What charts say whose definitions are not rendered.
const NO_VERSION: &str = "1.0.0";
/// Separates the version of Istio from our own number.
const OWN: &str = "-ironsail.";

/// Whether a definition in the cluster is of a later version than the one that is to be applied:
/// by the labels of installers, or because it has versions of the kind that ours lacks.
pub fn is_newer(live: &DynamicObject, desired: &Value) -> bool {
    let known = versions(desired);
    let unknown = |name: &str| !known.contains(&name);
    if versions(&live.data).into_iter().any(unknown) {
        return true;
    }
    let labels = live.metadata.labels.as_ref();
    let live = [label::OPERATOR_VERSION, CHART_VERSION]
        .into_iter()
        .filter_map(|name| labels?.get(name))
        .filter(|text| *text != NO_VERSION)
        .find_map(|text| parse(text));
    let own = parse(ironsail_mesh::VERSION);
    live.is_some_and(|live| own.is_some_and(|own| live > own))
}

fn versions(definition: &Value) -> Vec<&str> {
    let list = definition.pointer("/spec/versions");
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|version| version.get("name")?.as_str())
        .collect()
}

/// `1.32.0-ironsail.1` or `1.32.0`; what follows otherwise is not compared.
fn parse(text: &str) -> Option<Vec<u32>> {
    let (istio, own) = text.split_once(OWN).unwrap_or((text, "0"));
    let istio = istio.split(['-', '+']).next().unwrap_or_default();
    let own = own.split(['-', '+']).next().unwrap_or_default();
    let mut numbers: Vec<u32> = istio
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    numbers.resize(3, 0);
    numbers.push(own.parse().ok()?);
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(labels: Value, versions: &[&str], expected: bool) {
        let definition = |versions: &[&str]| {
            let versions: Vec<Value> = versions.iter().map(|name| json!({"name": name})).collect();
            json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "x", "labels": labels}, "spec": {"versions": versions},
            })
        };
        let live = serde_json::from_value(definition(versions)).expect("an object");
        assert_eq!(is_newer(&live, &definition(&["v1", "v1beta1"])), expected);
    }

    #[test]
    fn later_versions_are_newer() {
        for (text, expected) in [
            ("1.33.0", true),
            ("1.32.1", true),
            ("1.32.0-ironsail.2", true),
            ("2.0", true),
            (ironsail_mesh::VERSION, false),
            ("1.32.0", false),
            ("1.23.4", false),
            ("1.9.9", false),
            ("unknown", false),
        ] {
            check(json!({label::OPERATOR_VERSION: text}), &["v1"], expected);
            check(json!({CHART_VERSION: text}), &["v1"], expected);
        }
        check(json!({}), &["v1"], false);
    }

    #[test]
    fn unknown_versions_of_the_kind_are_newer() {
        check(json!({}), &["v1", "v2"], true);
        check(json!({}), &["v1beta1"], false);
    }
}
