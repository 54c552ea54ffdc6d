//! `components.*.k8s`: settings that are laid over a component's rendered objects. Validation has
//! checked them against the types of Kubernetes.

pub mod merge;

use ironsail_crds::operator::KubernetesResourcesSpec;
use serde::Serialize;
use serde_json::{Value, json};

use crate::component::Sink;
use crate::overlay;
use crate::value::{get, remove, scalar_text, text};
use merge::strategic_merge;

/// Which objects the settings of a component are for.
pub struct Target<'a> {
    /// Kind of the workload.
    pub kind: &'a str,
    /// Name of workload, Service, autoscaler and disruption budget.
    pub name: &'a str,
    pub container: &'a str,
    /// Whether `k8s.service.ports` already went into the values.
    pub service_ports_from_values: bool,
}

const AUTOSCALER: &str = "HorizontalPodAutoscaler";
const BUDGET: &str = "PodDisruptionBudget";

/// Lays the settings over the objects in the sink; `path` is where they stand in the spec.
pub fn apply(k8s: &KubernetesResourcesSpec, path: &str, target: &Target<'_>, sink: &mut Sink) {
    let settings = Settings { path, target };
    settings.pod(k8s, sink);
    settings.container(k8s, sink);
    settings.workload(k8s, sink);
    settings.autoscaler(k8s, sink);
    settings.budget(k8s, sink);
    settings.service(k8s, sink);
    if let Some(overlays) = &k8s.overlays {
        overlay::apply(overlays, &format!("{path}.overlays"), sink);
    }
}

struct Settings<'a> {
    path: &'a str,
    target: &'a Target<'a>,
}

/// A setting as JSON, if it is given.
fn json_of<T: Serialize>(field: &Option<T>) -> Option<Value> {
    field
        .as_ref()
        .map(|value| serde_json::to_value(value).expect("settings become JSON"))
}

impl Settings<'_> {
    /// Merges a patch into an object of the component; says so when there is none.
    fn patch(&self, kind: &str, field: &str, patch: &Value, sink: &mut Sink) {
        let name = self.target.name;
        let object = sink
            .objects
            .iter_mut()
            .find(|object| object.kind().kind == kind && object.name() == name);
        match object {
            Some(object) => strategic_merge(object.body_mut(), patch),
            None => {
                let message = format!("no effect: there is no {kind} {name}");
                sink.warning(format!("{}.{field}", self.path), message);
            }
        }
    }

    /// Takes a field away from an object of the component, if a condition holds.
    fn without(
        &self,
        kind: &str,
        path: &[&str],
        sink: &mut Sink,
        condition: impl Fn(&Value) -> bool,
    ) {
        let name = self.target.name;
        for object in &mut sink.objects {
            if object.kind().kind == kind && object.name() == name && condition(&object.body()) {
                remove(object.body_mut(), path);
            }
        }
    }

    fn pod(&self, k8s: &KubernetesResourcesSpec, sink: &mut Sink) {
        let fields = [
            ("affinity", json_of(&k8s.affinity)),
            ("nodeSelector", json_of(&k8s.node_selector)),
            ("priorityClassName", json_of(&k8s.priority_class_name)),
            ("securityContext", json_of(&k8s.security_context)),
            ("tolerations", json_of(&k8s.tolerations)),
            ("volumes", json_of(&k8s.volumes)),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                let patch = json!({"spec": {"template": {"spec": {field: value}}}});
                self.patch(self.target.kind, field, &patch, sink);
            }
        }
        if let Some(annotations) = json_of(&k8s.pod_annotations) {
            let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
            self.patch(self.target.kind, "podAnnotations", &patch, sink);
        }
    }

    fn container(&self, k8s: &KubernetesResourcesSpec, sink: &mut Sink) {
        let resources = json_of(&k8s.resources).map(with_text_quantities);
        let fields = [
            ("env", json_of(&k8s.env).map(with_one_source)),
            ("imagePullPolicy", json_of(&k8s.image_pull_policy)),
            (
                "readinessProbe",
                json_of(&k8s.readiness_probe).map(|probe| alone(probe, &HANDLERS)),
            ),
            ("resources", resources),
            ("volumeMounts", json_of(&k8s.volume_mounts)),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                let container = json!({"name": self.target.container, field: value});
                let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
                self.patch(self.target.kind, field, &patch, sink);
            }
        }
    }

    fn workload(&self, k8s: &KubernetesResourcesSpec, sink: &mut Sink) {
        if let Some(count) = k8s.replica_count {
            let name = self.target.name;
            let scaled = |object: &crate::object::Manifest| {
                object.kind().kind == AUTOSCALER && object.name() == name
            };
            if sink.objects.iter().any(scaled) {
                let message = "no effect while an autoscaler decides: set hpaSpec.minReplicas, or \
                               autoscaleEnabled to false in the values";
                sink.warning(format!("{}.replicaCount", self.path), message);
            } else {
                let patch = json!({"spec": {"replicas": count}});
                self.patch(self.target.kind, "replicaCount", &patch, sink);
            }
        }
        if let Some(strategy) = json_of(&k8s.strategy) {
            let patch = json!({"spec": {"strategy": strategy}});
            self.patch(self.target.kind, "strategy", &patch, sink);
            // The API allows its settings with a rolling update only.
            let settings = ["spec", "strategy", "rollingUpdate"];
            self.without(self.target.kind, &settings, sink, |workload| {
                text(workload, &["spec", "strategy", "type"]) == Some("Recreate")
            });
        }
    }

    fn autoscaler(&self, k8s: &KubernetesResourcesSpec, sink: &mut Sink) {
        if let Some(spec) = json_of(&k8s.hpa_spec) {
            self.patch(AUTOSCALER, "hpaSpec", &json!({"spec": spec}), sink);
        }
    }

    fn budget(&self, k8s: &KubernetesResourcesSpec, sink: &mut Sink) {
        let Some(spec) = json_of(&k8s.pod_disruption_budget) else {
            return;
        };
        let patch = json!({"spec": spec});
        self.patch(BUDGET, "podDisruptionBudget", &patch, sink);
        // The API allows only one of both.
        self.without(BUDGET, &["spec", "minAvailable"], sink, |budget| {
            get(budget, &["spec", "maxUnavailable"]).is_some()
        });
    }

    fn service(&self, k8s: &KubernetesResourcesSpec, sink: &mut Sink) {
        if let Some(mut spec) = json_of(&k8s.service) {
            if self.target.service_ports_from_values {
                remove(&mut spec, &["ports"]);
            }
            self.patch("Service", "service", &json!({"spec": spec}), sink);
        }
        if let Some(annotations) = json_of(&k8s.service_annotations) {
            let patch = json!({"metadata": {"annotations": annotations}});
            self.patch("Service", "serviceAnnotations", &patch, sink);
        }
    }
}

/// A probe asks in one of these ways.
const HANDLERS: [&str; 4] = ["exec", "grpc", "httpGet", "tcpSocket"];
/// A variable has its value from one of these.
const SOURCES: [&str; 2] = ["value", "valueFrom"];

/// A patch that takes away what the fields in it exclude.
fn alone(mut patch: Value, exclusive: &[&str]) -> Value {
    if let Some(fields) = patch.as_object_mut()
        && exclusive.iter().any(|key| fields.contains_key(*key))
    {
        for key in exclusive {
            fields.entry(*key).or_insert(Value::Null);
        }
    }
    patch
}

fn with_one_source(variables: Value) -> Value {
    match variables {
        Value::Array(items) => items.into_iter().map(|v| alone(v, &SOURCES)).collect(),
        other => other,
    }
}

/// Users write `cpu: 2`; the types want text.
fn with_text_quantities(mut resources: Value) -> Value {
    for list in ["limits", "requests"] {
        if let Some(map) = resources.get_mut(list).and_then(Value::as_object_mut) {
            for value in map.values_mut() {
                if let (Value::Number(_), Some(text)) = (&*value, scalar_text(value)) {
                    *value = Value::String(text);
                }
            }
        }
    }
    resources
}
