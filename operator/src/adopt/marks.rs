//! Marks that the operator of Istio up to 1.23 left on an IstioOperator.

use ironsail_mesh::label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde_json::Value;

use super::writer::entries;
use crate::apply::MANAGER;
use crate::observe::label_of;
use crate::reconcile::FINALIZER;
use crate::value::{get, text};

/// The last version that had an operator.
const LAST: (u32, u32) = (1, 23);

/// Whether the operator of Ironsail has worked on an object: the old one wrote no conditions, and
/// while an object is paused there is one that says only that.
pub fn is_reported(object: &DynamicObject) -> bool {
    let conditions = get(&object.data, &["status", "conditions"]).and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| text(condition, &["type"]) == Some("Ready"))
}

/// Whether an object, read with its managed fields, shows that the old operator kept it.
pub fn on_object(object: &DynamicObject) -> bool {
    let status = text(&object.data, &["status", "status"]).is_some_and(|text| text != "NONE");
    let components = get(&object.data, &["status", "componentStatus"]).and_then(Value::as_object);
    let has_status = status || components.is_some_and(|components| !components.is_empty());
    !is_reported(object) && (has_status || has_foreign_finalizer(&object.metadata))
}

/// Both operators have the same finalizer; ours is written under our name.
fn has_foreign_finalizer(metadata: &ObjectMeta) -> bool {
    let writes = |fields: &Value| get(fields, &["f:metadata", "f:finalizers"]).is_some();
    let ours = entries(metadata)
        .iter()
        .any(|(entry, _, fields)| entry.manager.as_deref() == Some(MANAGER) && writes(fields));
    !ours && crate::finalizer::holds(metadata, FINALIZER)
}

/// Whether an owned object was last applied by an operator of that time.
pub fn on_owned(metadata: &ObjectMeta) -> bool {
    let version = label_of(metadata, label::OPERATOR_VERSION);
    version.is_some_and(|version| minor(version).is_some_and(|minor| minor <= LAST))
}

/// `1.16.2` is (1, 16).
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(name: &str, metadata: Value, status: Value, expected: bool) {
        let object = serde_json::from_value(json!({
            "apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
            "metadata": metadata, "status": status,
        }));
        assert_eq!(on_object(&object.expect("an object")), expected, "{name}");
    }

    #[test]
    fn the_old_operator_is_told_from_ours() {
        let old = json!({"status": "HEALTHY", "componentStatus": {"Pilot": {"status": "HEALTHY"}}});
        let ours = json!({"status": "HEALTHY", "componentStatus": {}, "observedGeneration": 1,
            "conditions": [{"type": "Ready"}]});
        let held = |manager: &str| {
            json!({"finalizers": [FINALIZER], "managedFields": [{"manager": manager,
                "operation": "Update", "fieldsV1": {"f:metadata": {"f:finalizers": {}}}}]})
        };
        check("new", json!({}), json!({}), false);
        check("its status", json!({}), old.clone(), true);
        check("our status", json!({}), ours.clone(), false);
        check("its finalizer", held("operator"), json!({}), true);
        let paused = |status: &str| {
            json!({"status": status, "observedGeneration": -1,
                "conditions": [{"type": "Paused", "status": "True"}]})
        };
        check("new, paused", json!({}), paused("NONE"), false);
        check(
            "its status, paused by us",
            json!({}),
            paused("HEALTHY"),
            true,
        );
        check(
            "from a backup",
            json!({"finalizers": [FINALIZER]}),
            json!({}),
            true,
        );
        check("our finalizer", held(MANAGER), json!({}), false);
        check("its finalizer, our status", held("operator"), ours, false);
        check("both of it", held("operator"), old, true);
    }

    #[test]
    fn versions() {
        for (version, expected) in [
            ("1.16.2", true),
            ("1.23.0", true),
            ("1.23-alpha.8a5", true),
            ("1.24.0", false),
            ("1.32.0-ironsail.1", false),
            ("unknown", false),
        ] {
            let metadata = ObjectMeta {
                labels: Some([(label::OPERATOR_VERSION.to_owned(), version.to_owned())].into()),
                ..ObjectMeta::default()
            };
            assert_eq!(on_owned(&metadata), expected, "{version}");
        }
    }
}
