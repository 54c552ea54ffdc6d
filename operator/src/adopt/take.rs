//! A live object as the plan of an adopted install has it: what its installer decided, and
//! nothing of what controllers keep.

use ironsail_mesh::label;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use super::fields::{project, union};
use super::writer::{Writer, entries, is_argo_cd};
use crate::object::Kind;
use crate::value::{get, remove, set, without_nulls};

/// Annotations that say which Helm release an object belongs to.
pub const RELEASE_NAME: &str = "meta.helm.sh/release-name";
pub const RELEASE_NAMESPACE: &str = "meta.helm.sh/release-namespace";

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Label by which Argo CD up to 2 recognizes its objects; charts set it too.
const INSTANCE: &str = "app.kubernetes.io/instance";
/// Labels and annotations of those whose object it was.
const TRACKING: [&str; 4] = [
    "meta.helm.sh/",
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
];
/// Labels that say whose an object is now.
pub const OWNER_LABELS: [&str; 4] = [
    label::MANAGED,
    label::OPERATOR_VERSION,
    label::OWNING_RESOURCE,
    label::OWNING_RESOURCE_NAMESPACE,
];

/// Whether a label or annotation of an object tracks it for somebody who no longer owns it.
pub fn is_tracking(live: &DynamicObject, key: &str) -> bool {
    let by_argo_cd = || {
        let labels = ["f:metadata", "f:labels", &format!("f:{INSTANCE}")];
        let mut entries = entries(&live.metadata).into_iter();
        entries.any(|(entry, _, fields)| is_argo_cd(entry) && get(fields, &labels).is_some())
    };
    TRACKING.iter().any(|prefix| key.starts_with(prefix))
        || key == LAST_APPLIED
        || (key == INSTANCE && by_argo_cd())
}

/// The body of a live object for a plan. `scaled`: an autoscaler decides its replicas.
pub fn body(live: &DynamicObject, kind: &Kind, scaled: bool) -> Value {
    let mut body = json!({"apiVersion": kind.api_version(), "kind": kind.kind});
    let mut metadata = json!({"name": live.metadata.name});
    if kind.namespaced {
        set(
            &mut metadata,
            &["namespace"],
            json!(live.metadata.namespace),
        );
    }
    for field in ["labels", "annotations"] {
        let own = marks(live, field);
        if !own.is_empty() {
            set(&mut metadata, &[field], own.into());
        }
    }
    set(&mut body, &["metadata"], metadata);
    for (name, value) in data(live, kind) {
        set(&mut body, &[&name], value);
    }
    leave(&mut body, scaled);
    without_nulls(body)
}

/// Labels or annotations that installers wrote, without those of owners.
fn marks(live: &DynamicObject, field: &str) -> Map<String, Value> {
    let metadata =
        json!({"labels": live.metadata.labels, "annotations": live.metadata.annotations});
    let all = entries(&live.metadata);
    let installers = all
        .iter()
        .filter(|(_, writer, _)| matches!(writer, Writer::Operator | Writer::Installer));
    let written = installers
        .filter_map(|(_, _, fields)| get(fields, &["f:metadata"]).cloned())
        .reduce(|one, other| union(&one, &other));
    let own = match written {
        Some(fields) => project(&metadata, &fields),
        None if all.is_empty() => metadata,
        None => json!({}),
    };
    let own = get(&own, &[field]).and_then(Value::as_object).cloned();
    let own = own.unwrap_or_default().into_iter();
    own.filter(|(key, _)| !is_tracking(live, key) && !OWNER_LABELS.contains(&key.as_str()))
        .collect()
}

/// Everything beside metadata and status that somebody other than a controller wrote.
fn data(live: &DynamicObject, kind: &Kind) -> Map<String, Value> {
    let all = entries(&live.metadata);
    let whole = live.data.as_object().cloned().unwrap_or_default();
    let mut whole: Map<String, Value> = whole
        .into_iter()
        .filter(|(name, _)| name != "status")
        .collect();
    if all.is_empty() {
        return whole;
    }
    let mut fields = json!({".": {}});
    for (entry, writer, own) in all {
        if writer == Writer::Controller || own.as_object().is_none_or(Map::is_empty) {
            continue;
        }
        let same_version = entry.api_version.as_deref() == Some(&*kind.api_version());
        let own = match same_version {
            true => own.clone(),
            // The fields of another version have other names: all of each part is taken.
            false => tops(own),
        };
        fields = union(&fields, &own);
    }
    whole.retain(|name, _| fields.get(format!("f:{name}")).is_some());
    match project(&Value::Object(whole), &fields) {
        Value::Object(data) => data,
        _ => Map::new(),
    }
}

fn tops(fields: &Value) -> Value {
    let names = fields.as_object().into_iter().flatten();
    names
        .map(|(name, _)| (name.clone(), json!({})))
        .collect::<Map<_, _>>()
        .into()
}

/// Takes out what controllers of the cluster and the control plane decide, whoever wrote it first.
pub fn leave(body: &mut Value, scaled: bool) {
    let kind = body.get("kind").and_then(Value::as_str);
    let kind = kind.unwrap_or_default().to_owned();
    let paths: &[&[&str]] = match kind.as_str() {
        "Deployment" if scaled => &[&["spec", "replicas"]],
        "Service" => &[
            &["spec", "clusterIP"],
            &["spec", "clusterIPs"],
            &["spec", "healthCheckNodePort"],
        ],
        "ServiceAccount" => &[&["secrets"]],
        _ => &[],
    };
    for path in paths {
        remove(body, path);
    }
    let validates = kind == "ValidatingWebhookConfiguration";
    let webhooks = body.get_mut("webhooks").and_then(Value::as_array_mut);
    for webhook in webhooks.into_iter().flatten() {
        remove(webhook, &["clientConfig", "caBundle"]);
        if validates {
            // As it starts; applying it follows what the control plane set.
            set(webhook, &["failurePolicy"], json!("Ignore"));
        }
    }
}

/// What two bodies are compared by: without what says whose the object is.
pub fn comparable(body: &Value) -> Value {
    let mut body = body.clone();
    leave(&mut body, true);
    if let Some(labels) = body
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        // Applying sets these two as well.
        let set = [label::COMPONENT, label::REVISION];
        labels.retain(|key, _| !OWNER_LABELS.contains(&&**key) && !set.contains(&&**key));
    }
    let annotations = body.pointer_mut("/metadata/annotations");
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.retain(|key, _| !key.starts_with("operator.ironsail.dev/"));
    }
    crate::value::meaning(&crate::value::sorted(&body))
}

/// What an API server decides on its own in an object, without its metadata and status.
pub fn decided(object: &DynamicObject) -> Value {
    let mut data = object.data.clone();
    let kind = object.types.as_ref().map(|types| types.kind.clone());
    set(&mut data, &["kind"], json!(kind));
    leave(&mut data, true);
    remove(&mut data, &["status"]);
    for path in [&["spec", "ipFamilies"][..], &["spec", "ipFamilyPolicy"]] {
        remove(&mut data, path);
    }
    let ports = data
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        remove(port, &["nodePort"]);
    }
    let restarted = [
        "spec",
        "template",
        "metadata",
        "annotations",
        "kubectl.kubernetes.io/restartedAt",
    ];
    remove(&mut data, &restarted);
    crate::value::meaning(&crate::value::sorted(&data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> &'static Kind {
        Kind::find("", name)
            .or(Kind::find("apps", name))
            .or(Kind::find("admissionregistration.k8s.io", name))
            .or(Kind::find("autoscaling", name))
            .expect("a kind")
    }

    fn live(value: Value) -> DynamicObject {
        serde_json::from_value(value).expect("an object")
    }

    fn entry(manager: &str, operation: &str, version: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": version, "fieldsV1": fields})
    }

    #[test]
    fn what_controllers_keep_is_left() {
        let service = live(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "gw", "namespace": "ns",
                "labels": {"app": "gw", "kustomize.toolkit.fluxcd.io/name": "mesh",
                    "operator.istio.io/managed": "Reconcile"},
                "annotations": {"meta.helm.sh/release-name": "gw", "mine": "x", "cloud/status": "y"},
                "managedFields": [
                    entry("helm", "Update", "v1", json!({
                        "f:metadata": {"f:labels": {}, "f:annotations": {".": {},
                            "f:meta.helm.sh/release-name": {}, "f:mine": {}}},
                        "f:spec": {"f:type": {}, "f:clusterIP": {}, "f:ports": {".": {},
                            "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}})),
                    entry("cloud-controller-manager", "Update", "v1", json!({
                        "f:metadata": {"f:annotations": {"f:cloud/status": {}}},
                        "f:spec": {"f:loadBalancerIP": {}}})),
                ],
            },
            "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "loadBalancerIP": "1.2.3.4",
                "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}]},
            "status": {"loadBalancer": {}},
        }));
        assert_eq!(
            body(&service, kind("Service"), false),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "gw", "namespace": "ns", "labels": {"app": "gw"},
                    "annotations": {"mine": "x"}},
                "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}]},
            })
        );
    }

    #[test]
    fn replicas_of_an_autoscaler_are_left() {
        let deployment = live(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "istiod", "namespace": "ns", "managedFields": [
                entry("helm", "Update", "apps/v1", json!({"f:spec": {"f:replicas": {}, "f:paused": {}}})),
            ]},
            "spec": {"replicas": 3, "paused": false},
        }));
        let spec = |scaled| body(&deployment, kind("Deployment"), scaled)["spec"].clone();
        assert_eq!(spec(true), json!({"paused": false}));
        assert_eq!(spec(false), json!({"replicas": 3, "paused": false}));
    }

    #[test]
    fn an_edit_by_hand_is_part_of_what_is_there() {
        let deployment = live(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "gw", "namespace": "ns", "labels": {"app": "gw", "note": "x"},
                "managedFields": [
                    entry("istio-operator", "Apply", "apps/v1", json!({
                        "f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:replicas": {}}})),
                    entry("kubectl-edit", "Update", "apps/v1", json!({
                        "f:metadata": {"f:labels": {"f:note": {}}}, "f:spec": {"f:paused": {}}})),
                ]},
            "spec": {"replicas": 3, "paused": true},
        }));
        let body = body(&deployment, kind("Deployment"), false);
        assert_eq!(body["spec"], json!({"replicas": 3, "paused": true}));
        assert_eq!(body["metadata"]["labels"], json!({"app": "gw"}));
    }

    #[test]
    fn bundles_and_policies_stay_the_control_planes() {
        let webhook = json!({"name": "w", "failurePolicy": "Fail",
            "clientConfig": {"caBundle": "QQ==", "service": {"name": "istiod"}}});
        let config = |kind: &str| {
            live(
                json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                "metadata": {"name": "x"}, "webhooks": [webhook]}),
            )
        };
        let taken = |name: &str| body(&config(name), kind(name), false)["webhooks"][0].clone();
        assert_eq!(
            taken("MutatingWebhookConfiguration"),
            json!({"name": "w", "failurePolicy": "Fail", "clientConfig": {"service": {"name": "istiod"}}})
        );
        assert_eq!(
            taken("ValidatingWebhookConfiguration")["failurePolicy"],
            "Ignore"
        );
    }

    #[test]
    fn fields_of_another_version_are_taken_as_a_whole() {
        let scaler = live(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "x", "namespace": "ns", "managedFields": [
                entry("helm", "Update", "autoscaling/v1", json!({"f:spec": {"f:targetCPUUtilizationPercentage": {}}})),
            ]},
            "spec": {"maxReplicas": 5, "metrics": []}, "status": {},
        }));
        let body = body(&scaler, kind("HorizontalPodAutoscaler"), false);
        assert_eq!(body["spec"], json!({"maxReplicas": 5, "metrics": []}));
        assert_eq!(body.get("status"), None);
    }

    #[test]
    fn only_argo_cd_takes_its_label_with_it() {
        let tracked = |manager: &str| {
            let object = live(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "name": "x", "labels": {INSTANCE: "mesh"}, "managedFields": [
                    entry(manager, "Update", "v1", json!({"f:metadata": {"f:labels": {
                        "f:app.kubernetes.io/instance": {}}}}))]}}),
            );
            is_tracking(&object, INSTANCE)
        };
        assert!(tracked("argocd-controller"));
        assert!(!tracked("helm"));
    }
}
