//! Plays other installers: objects as they leave them, with managed fields, and what controllers
//! of a cluster add to that.

use ironsail_mesh::label;
use serde_json::{Map, Value, json};

use super::apply::defaults;
use super::{FakeServer, State};
use crate::object::Manifest;

/// Who installed objects, and how it shows.
#[derive(Clone, Debug)]
pub struct Installer {
    pub manager: &'static str,
    pub operation: &'static str,
    pub labels: Value,
    pub annotations: Value,
}

impl Installer {
    /// A release of Helm.
    pub fn helm(namespace: &str, release: &str) -> Self {
        Self {
            manager: "helm",
            operation: "Update",
            labels: json!({"app.kubernetes.io/managed-by": "Helm"}),
            annotations: json!({
                "meta.helm.sh/release-name": release,
                "meta.helm.sh/release-namespace": namespace,
            }),
        }
    }

    /// The operator of Istio, for an IstioOperator `istio-system/<owner>`.
    pub fn old_operator(version: &str, owner: &str) -> Self {
        Self {
            manager: "istio-operator",
            operation: "Apply",
            labels: json!({
                "operator.istio.io/managed": "Reconcile",
                "operator.istio.io/version": version,
                "istio.io/rev": "default",
                "install.operator.istio.io/owning-resource": owner,
                "install.operator.istio.io/owning-resource-namespace": "istio-system",
            }),
            annotations: json!({}),
        }
    }

    /// `istioctl install` with a file that names nothing.
    pub fn istioctl(version: &str) -> Self {
        Self {
            labels: json!({
                "operator.istio.io/managed": "Reconcile",
                "operator.istio.io/version": version,
                "istio.io/rev": "default",
                "install.operator.istio.io/owning-resource": "unknown",
            }),
            ..Self::old_operator(version, "")
        }
    }
}

/// Fields of a body as managed fields have them.
pub fn fields_of(body: &Value) -> Value {
    let mut fields = tree("", body);
    if let Some(fields) = fields.as_object_mut() {
        fields.shift_remove("f:apiVersion");
        fields.shift_remove("f:kind");
        if let Some(metadata) = fields.get_mut("f:metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| key == "f:labels" || key == "f:annotations");
        }
    }
    fields
}

fn tree(field: &str, value: &Value) -> Value {
    match value {
        Value::Object(map) if !map.is_empty() => map
            .iter()
            .map(|(key, value)| (format!("f:{key}"), tree(key, value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => match list_keys(field, items) {
            Some(keys) => items
                .iter()
                .map(|item| {
                    let key: Map<String, Value> = keys
                        .iter()
                        .filter_map(|key| Some(((*key).to_owned(), item.get(*key)?.clone())))
                        .collect();
                    let mut own = tree("", item);
                    own["."] = json!({});
                    (format!("k:{}", Value::Object(key)), own)
                })
                .collect::<Map<_, _>>()
                .into(),
            None => json!({}),
        },
        _ => json!({}),
    }
}

/// What tells the items of a list apart, if something does.
fn list_keys(field: &str, items: &[Value]) -> Option<&'static [&'static str]> {
    let keys: &[&str] = match field {
        "containers" | "env" | "volumes" | "webhooks" => &["name"],
        "volumeMounts" => &["mountPath"],
        "ports" if items.iter().any(|item| item.get("containerPort").is_some()) => {
            &["containerPort", "protocol"]
        }
        "ports" => &["port", "protocol"],
        _ => return None,
    };
    items.iter().all(Value::is_object).then_some(keys)
}

impl FakeServer {
    /// Installs objects as somebody else.
    pub fn install_by(&self, installer: &Installer, objects: &[Manifest]) {
        let mut state = self.state();
        for object in objects {
            state.install(installer, object);
        }
    }

    /// Plays the controllers of a cluster and the control plane: addresses, bundles, scaling.
    pub fn run_controllers(&self) {
        for object in self.state().objects.values_mut() {
            match object["kind"].as_str() {
                Some("Service") => {
                    object["spec"]["clusterIP"] = json!("10.0.0.1");
                    object["status"] = json!({"loadBalancer": {}});
                }
                Some("MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
                    turn_on(object);
                }
                Some("Deployment") => {
                    object["spec"]["replicas"] = json!(3);
                    note(
                        object,
                        json!({"manager": "kube-controller-manager", "operation": "Update",
                        "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}),
                    );
                }
                _ => {}
            }
        }
    }

    /// Everything that a restart or an outage would show in, by path: pod templates, Services.
    pub fn running(&self) -> Vec<(String, Value)> {
        let state = self.state();
        let found = state.objects.iter().filter_map(|(path, object)| {
            let what = match object["kind"].as_str()? {
                "Deployment" | "DaemonSet" => &object["spec"]["template"],
                "Service" => &object["spec"],
                _ => return None,
            };
            let generation = &object["metadata"]["generation"];
            Some((
                path.clone(),
                json!([what, generation, object["metadata"]["uid"]]),
            ))
        });
        found.collect()
    }
}

fn turn_on(object: &mut Value) {
    let mut fields = json!({});
    let validates = object["kind"] == "ValidatingWebhookConfiguration";
    for webhook in object["webhooks"].as_array_mut().into_iter().flatten() {
        webhook["clientConfig"]["caBundle"] = json!("QQ==");
        if validates {
            webhook["failurePolicy"] = json!("Fail");
        }
        let key = format!("k:{}", json!({"name": webhook["name"]}));
        fields[key] = json!({"f:clientConfig": {"f:caBundle": {}}});
    }
    note(
        object,
        json!({"manager": "pilot-discovery", "operation": "Update",
        "fieldsV1": {"f:webhooks": fields}}),
    );
}

fn note(object: &mut Value, mut entry: Value) {
    entry["apiVersion"] = object["apiVersion"].clone();
    if let Some(entries) = object["metadata"]["managedFields"].as_array_mut() {
        entries.push(entry);
    }
}

impl State {
    fn install(&mut self, installer: &Installer, object: &Manifest) {
        let time = self.now();
        let mut body = object.body().into_owned();
        for (field, more) in [
            ("labels", &installer.labels),
            ("annotations", &installer.annotations),
        ] {
            if more.as_object().is_some_and(|more| !more.is_empty()) {
                crate::value::merge(&mut body["metadata"], &json!({field: more}));
            }
        }
        if installer.labels.get(label::MANAGED).is_some() {
            body["metadata"]["labels"][label::COMPONENT] = json!(object.component.as_str());
        }
        // What a server adds counts as written by who creates an object, but not by who applies it.
        if installer.operation == "Update" {
            defaults(&mut body);
        }
        let fields = fields_of(&body);
        defaults(&mut body);
        let path = path(object);
        body["metadata"]["uid"] = json!(format!("uid-{path}"));
        body["metadata"]["generation"] = json!(1);
        body["metadata"]["resourceVersion"] = json!(self.tick().to_string());
        body["metadata"]["managedFields"] = json!([{
            "manager": installer.manager, "operation": installer.operation, "time": time,
            "apiVersion": body["apiVersion"], "fieldsType": "FieldsV1", "fieldsV1": fields,
        }]);
        self.objects.insert(path, body);
    }
}

fn path(object: &Manifest) -> String {
    let kind = object.kind();
    let root = match kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    match kind.namespaced {
        true => format!(
            "{root}/namespaces/{}/{}/{}",
            object.namespace(),
            kind.plural,
            object.name()
        ),
        false => format!("{root}/{}/{}", kind.plural, object.name()),
    }
}
