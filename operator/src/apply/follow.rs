//! Fields that are ours only at first: later they follow what is there.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{MANAGER, selector};
use crate::value::{get, set};

/// Takes over from the live object what others decide.
///
/// - `failurePolicy` of validation webhooks that start with `Ignore`: the control plane sets
///   `Fail` once it can answer.
/// - the bundle of webhooks that were created with one, as long as the field is still ours: giving
///   it up would leave them without any until the control plane writes it again.
/// - the selector of a workload, which nobody can change, if its pods can match it beside their own
///   labels.
/// - `replicas` of a Deployment that no longer has a number of its own, as long as the field is
///   still ours: giving it up without a new owner would reset it to 1.
pub fn adopt(body: &mut Value, live: &DynamicObject) {
    match body.get("kind").and_then(Value::as_str) {
        Some("ValidatingWebhookConfiguration") => failure_policies(body, live),
        Some("MutatingWebhookConfiguration") => ca_bundles(body, live),
        Some("Deployment") => {
            selector::keep(body, &live.data);
            replicas(body, live);
        }
        Some("DaemonSet") => selector::keep(body, &live.data),
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

fn ca_bundles(body: &mut Value, live: &DynamicObject) {
    let Some(webhooks) = body.get_mut("webhooks").and_then(Value::as_array_mut) else {
        return;
    };
    for webhook in webhooks {
        let item = format!("k:{}", json!({"name": webhook["name"]}));
        let path = ["f:webhooks", &item, "f:clientConfig", "f:caBundle"];
        let mut others = get(&live.data, &["webhooks"])
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let same = others.find(|other| other.get("name") == webhook.get("name"));
        let bundle = same.and_then(|other| get(other, &["clientConfig", "caBundle"]));
        let given = get(webhook, &["clientConfig", "caBundle"]).is_some();
        if let (Some(bundle), false, true) = (bundle, given, is_ours(live, &path)) {
            set(webhook, &["clientConfig", "caBundle"], bundle.clone());
        }
    }
}

/// Whether a field of a live object is what we applied.
fn is_ours(live: &DynamicObject, path: &[&str]) -> bool {
    let mut entries = live.metadata.managed_fields.iter().flatten();
    entries.any(|entry| {
        entry.manager.as_deref() == Some(MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry
                .fields_v1
                .as_ref()
                .is_some_and(|fields| get(&fields.0, path).is_some())
    })
}

fn replicas(body: &mut Value, live: &DynamicObject) {
    if get(body, &["spec", "replicas"]).is_some() {
        return;
    }
    let ours = is_ours(live, &["f:spec", "f:replicas"]);
    if let (true, Some(replicas)) = (ours, get(&live.data, &["spec", "replicas"])) {
        set(body, &["spec", "replicas"], replicas.clone());
    }
}

#[cfg(test)]
mod tests {
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
    fn a_bundle_is_given_up_only_to_the_control_plane() {
        let adopted = |owned: bool| {
            let fields = match owned {
                true => {
                    json!({"f:webhooks": {"k:{\"name\":\"a\"}": {"f:clientConfig": {"f:caBundle": {}}}}})
                }
                false => json!({}),
            };
            let live = object(json!({"apiVersion": "x/v1", "kind": "M",
                "webhooks": [{"name": "a", "clientConfig": {"caBundle": "QQ=="}}],
                "metadata": {"managedFields": [
                    {"manager": MANAGER, "operation": "Apply", "fieldsV1": fields}]}}));
            let mut body = json!({"kind": "MutatingWebhookConfiguration",
                "webhooks": [{"name": "a", "clientConfig": {}}]});
            adopt(&mut body, &live);
            body["webhooks"][0]["clientConfig"]["caBundle"].clone()
        };
        assert_eq!(adopted(true), "QQ==");
        assert_eq!(adopted(false), Value::Null);
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
