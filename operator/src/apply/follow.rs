//! Fields that are ours only at first: later they follow what is there.

use kube::api::DynamicObject;
use serde_json::Value;

use super::MANAGER;
use crate::value::{get, set};

/// Takes over from the live object what others decide.
///
/// - `failurePolicy` of validation webhooks that start with `Ignore`: the control plane sets
///   `Fail` once it can answer.
/// - `replicas` of a Deployment that no longer has a number of its own, as long as the field is
///   still ours: giving it up without a new owner would reset it to 1.
pub fn adopt(body: &mut Value, live: &DynamicObject) {
    match body.get("kind").and_then(Value::as_str) {
        Some("ValidatingWebhookConfiguration") => failure_policies(body, live),
        Some("Deployment") => replicas(body, live),
        _ => {}
    }
}

fn failure_policies(body: &mut Value, live: &DynamicObject) {
    let Some(webhooks) = body.get_mut("webhooks").and_then(Value::as_array_mut) else {
        return;
    };
    let live: &[Value] = live
        .data
        .get("webhooks")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice);
    for webhook in webhooks {
        if webhook.get("failurePolicy").and_then(Value::as_str) != Some("Ignore") {
            continue;
        }
        let same = live
            .iter()
            .find(|other| other.get("name") == webhook.get("name"));
        if let Some(policy) = same.and_then(|other| other.get("failurePolicy")) {
            set(webhook, &["failurePolicy"], policy.clone());
        }
    }
}

fn replicas(body: &mut Value, live: &DynamicObject) {
    if get(body, &["spec", "replicas"]).is_some() {
        return;
    }
    let entries = live.metadata.managed_fields.iter().flatten();
    let ours = entries.into_iter().any(|entry| {
        entry.manager.as_deref() == Some(MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry
                .fields_v1
                .as_ref()
                .is_some_and(|fields| get(&fields.0, &["f:spec", "f:replicas"]).is_some())
    });
    if let (true, Some(replicas)) = (ours, get(&live.data, &["spec", "replicas"])) {
        set(body, &["spec", "replicas"], replicas.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn the_failure_policy_is_the_control_planes() {
        let mut body = json!({"kind": "ValidatingWebhookConfiguration",
            "webhooks": [{"name": "a", "failurePolicy": "Ignore"}, {"name": "b", "failurePolicy": "Fail"}]});
        let live = object(json!({"apiVersion": "x/v1", "kind": "V", "metadata": {},
            "webhooks": [{"name": "a", "failurePolicy": "Fail"}, {"name": "b", "failurePolicy": "Ignore"}]}));
        adopt(&mut body, &live);
        assert_eq!(body["webhooks"][0]["failurePolicy"], "Fail");
        assert_eq!(body["webhooks"][1]["failurePolicy"], "Fail");
    }

    #[test]
    fn replicas_are_given_up_only_to_a_new_owner() {
        let live = |owned: bool| {
            let fields = if owned {
                json!({"f:spec": {"f:replicas": {}}})
            } else {
                json!({})
            };
            object(
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 3},
                "metadata": {"managedFields": [
                    {"manager": MANAGER, "operation": "Apply", "fieldsV1": fields},
                ]}}),
            )
        };
        let adopted = |spec: Value, owned: bool| {
            let mut body = json!({"kind": "Deployment", "spec": spec});
            adopt(&mut body, &live(owned));
            body["spec"].clone()
        };
        assert_eq!(adopted(json!({}), true), json!({"replicas": 3}));
        assert_eq!(adopted(json!({}), false), json!({}));
        assert_eq!(
            adopted(json!({"replicas": 1}), true),
            json!({"replicas": 1})
        );
    }
}
