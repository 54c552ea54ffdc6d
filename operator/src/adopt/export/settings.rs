//! `k8s` settings of a workload and its Service, where they differ from what is rendered.

use serde_json::{Map, Value, json};

use super::{Install, containers, is_kind, name, namespace, rendered, same};
use crate::render::Context;
use crate::value::{get, set, text};

const SCALER: &str = "HorizontalPodAutoscaler";
const POD: [&str; 4] = [
    "affinity",
    "nodeSelector",
    "priorityClassName",
    "tolerations",
];
/// Annotations of pods and Services that no user wrote.
const BUILT_IN: [&str; 9] = [
    "prometheus.io/",
    "istio.io/",
    "sidecar.istio.io/",
    "inject.istio.io/",
    "kubectl.kubernetes.io/",
    "deployment.kubernetes.io/",
    "meta.helm.sh/",
    "argocd.argoproj.io/",
    "cloud.google.com/neg-status",
];
/// Fields of a Service that users decide; their defaults are those of Kubernetes.
const SERVICE: [(&str, Option<&str>); 8] = [
    ("type", Some("ClusterIP")),
    ("externalTrafficPolicy", Some("Cluster")),
    ("internalTrafficPolicy", Some("Cluster")),
    ("sessionAffinity", Some("None")),
    ("loadBalancerIP", None),
    ("loadBalancerClass", None),
    ("loadBalancerSourceRanges", None),
    ("externalIPs", None),
];

/// Settings of a workload that differ from the rendered one.
pub fn of_workload(live: &Value, ours: &Value, container: &str) -> Map<String, Value> {
    let mut k8s = Map::new();
    let pod =
        |object: &Value, field: &str| get(object, &["spec", "template", "spec", field]).cloned();
    for field in POD {
        let (live, ours) = (pod(live, field), pod(ours, field));
        if let Some(value) = live.filter(|live| !same(Some(live), ours.as_ref())) {
            k8s.insert(field.to_owned(), value);
        }
    }
    let resources = |object: &Value| {
        let mut all = containers(object);
        let own = all.find(|own| text(own, &["name"]) == Some(container))?;
        get(own, &["resources"]).cloned()
    };
    let (wanted, built_in) = (resources(live), resources(ours));
    if let Some(wanted) = wanted.filter(|wanted| !same(Some(wanted), built_in.as_ref())) {
        k8s.insert("resources".to_owned(), wanted);
    }
    let path = ["spec", "template", "metadata", "annotations"];
    let annotations = own_annotations(get(live, &path), get(ours, &path));
    if !annotations.is_empty() {
        k8s.insert("podAnnotations".to_owned(), annotations.into());
    }
    k8s
}

fn own_annotations(live: Option<&Value>, ours: Option<&Value>) -> Map<String, Value> {
    let live = live.and_then(Value::as_object).cloned().unwrap_or_default();
    let own = live.into_iter().filter(|(key, value)| {
        let built_in = BUILT_IN.iter().any(|prefix| key.starts_with(prefix));
        !built_in && ours.and_then(|ours| ours.get(key)) != Some(value)
    });
    own.collect()
}

/// Environment variables that only the live workload has: nobody can tell whether a user gave
/// them or the charts of its version.
pub fn unknown_env(live: &Value, ours: &Value, container: &str) -> Vec<String> {
    let names = |object: &Value| -> Vec<String> {
        let mut all = containers(object);
        let own = all.find(|own| text(own, &["name"]) == Some(container));
        let env = own.and_then(|own| own.get("env")?.as_array());
        let env = env.into_iter().flatten();
        env.filter_map(|env| Some(text(env, &["name"])?.to_owned()))
            .collect()
    };
    let ours = names(ours);
    let mut own = names(live);
    own.retain(|name| !ours.contains(name));
    own
}

/// Sets how many pods there are. `values` is where the switch of the autoscaler stands.
pub fn scale(
    install: &Install<'_>,
    live: &Value,
    ours: Option<&Value>,
    k8s: &mut Map<String, Value>,
) -> Option<bool> {
    let mut scalers = install.installed.objects.iter().filter(|object| {
        is_kind(object, SCALER)
            && namespace(object) == namespace(live)
            && text(object, &["spec", "scaleTargetRef", "name"]) == Some(name(live))
    });
    let Some(scaler) = scalers.next() else {
        let replicas = get(live, &["spec", "replicas"])
            .and_then(Value::as_u64)
            .unwrap_or(1);
        if replicas != 1 {
            k8s.insert("replicaCount".to_owned(), json!(replicas));
        }
        return Some(false);
    };
    let mut spec = Map::new();
    for field in ["minReplicas", "maxReplicas"] {
        let wanted = get(scaler, &["spec", field]);
        if let Some(wanted) = wanted
            && wanted.as_u64() != ours.and_then(|ours| get(ours, &["spec", field])?.as_u64())
        {
            spec.insert(field.to_owned(), wanted.clone());
        }
    }
    if !spec.is_empty() {
        k8s.insert("hpaSpec".to_owned(), spec.into());
    }
    None
}

/// Settings of a Service that differ from the rendered one.
pub fn of_service(
    live: &Value,
    ours: &Value,
    k8s: &mut Map<String, Value>,
    notes: &mut Vec<String>,
) {
    let mut service = Map::new();
    for (field, default) in SERVICE {
        let value = |object: &Value| {
            let given = get(object, &["spec", field]).cloned();
            given.or(default.map(|default| json!(default)))
        };
        let (live, ours) = (value(live), value(ours));
        if let Some(live) = live.filter(|live| !same(Some(live), ours.as_ref())) {
            service.insert(field.to_owned(), live);
        }
    }
    let (wanted, built_in) = (ports(live), ports(ours));
    if wanted != built_in {
        let shown = name(live);
        let wanted = wanted
            .into_iter()
            .map(|port| unprivileged(port, shown, notes));
        let wanted: Vec<Value> = wanted.collect();
        if wanted != built_in {
            service.insert("ports".to_owned(), wanted.into());
        }
    }
    if !service.is_empty() {
        k8s.insert("service".to_owned(), service.into());
    }
    let path = ["metadata", "annotations"];
    let annotations = own_annotations(get(live, &path), get(ours, &path));
    if !annotations.is_empty() {
        k8s.insert("serviceAnnotations".to_owned(), annotations.into());
    }
}

/// Ports without what the cluster assigned.
fn ports(service: &Value) -> Vec<Value> {
    let ports = get(service, &["spec", "ports"]).and_then(Value::as_array);
    let ports = ports.into_iter().flatten().map(|port| {
        let mut own = Map::new();
        for field in ["name", "port", "targetPort", "protocol", "appProtocol"] {
            own.extend(get(port, &[field]).map(|value| (field.to_owned(), value.clone())));
        }
        own.entry("protocol").or_insert(json!("TCP"));
        Value::Object(own)
    });
    ports.collect()
}

/// Ironsail's gateways don't open ports below 1024; clients of the Service see no difference.
fn unprivileged(mut port: Value, service: &str, notes: &mut Vec<String>) -> Value {
    let number = |field: &str| get(&port, &[field]).and_then(Value::as_u64);
    if let Some(target) = number("targetPort")
        .or(number("port"))
        .filter(|port| *port < 1024)
    {
        let target_port = match target {
            80 => 8080,
            443 => 8443,
            other => other + 8000,
        };
        set(&mut port, &["targetPort"], json!(target_port));
        notes.push(format!(
            "pods of {service} will listen on {target_port} instead of {target} when another plan \
             is accepted; its Service keeps its ports"
        ));
    }
    port
}

/// Settings of the control plane.
pub fn of_pilot(
    install: &Install<'_>,
    object: &mut Value,
    context: &Context,
    notes: &mut Vec<String>,
) {
    let own_name = name(install.pilot);
    let Some(ours) = rendered(object, context, "Deployment", own_name) else {
        notes.push(format!(
            "Deployment {own_name} was not compared: the object does not render it"
        ));
        return;
    };
    let mut k8s = of_workload(install.pilot, &ours, "discovery");
    let scaler = rendered(object, context, SCALER, own_name);
    let fixed = scale(install, install.pilot, scaler.as_ref(), &mut k8s);
    let env = unknown_env(install.pilot, &ours, "discovery");
    if !env.is_empty() {
        notes.push(format!(
            "environment of {own_name} that is not carried over: {}; what users gave belongs into \
             spec.values.pilot.env",
            env.join(", ")
        ));
    }
    if fixed == Some(false) && scaler.is_some() {
        let path = ["spec", "values", "pilot", "autoscaleEnabled"];
        set(object, &path, json!(false));
    }
    if !k8s.is_empty() {
        set(object, &["spec", "components", "pilot", "k8s"], k8s.into());
    }
}
