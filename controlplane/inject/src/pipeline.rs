//! The order of injection.

use std::collections::BTreeMap;

use ironsail_mesh::label;
use ironsail_mesh::mesh_config::MeshConfig;
use ironsail_mesh::revision::Revision;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::decision::{Decision, Facts, SkipReason, decide};
use crate::merge::{append_missing, list_mut, object_mut};
use crate::metadata::{containers, name, spec_mut, texts, texts_mut};
use crate::overrides::Overrides;
use crate::prometheus::Scrape;
use crate::settings::Settings;
use crate::status::{self, Status};
use crate::template::{self, Addition, Context};
use crate::{
    InjectError, InjectorConfig, Owner, PROXY_CONTAINER, annotation, merge, order, probe,
    prometheus, strip, warning,
};

/// Variable of the proxy with its network.
const NETWORK_VARIABLE: &str = "ISTIO_META_NETWORK";

/// Everything one injection depends on.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    /// The pod as the API server sent it.
    pub pod: &'a Value,
    /// Where the pod is created; pods of templates do not say it themselves.
    pub namespace: &'a str,
    pub config: &'a InjectorConfig,
    pub mesh: &'a MeshConfig,
    pub revision: &'a Revision,
    /// Whether the cluster's kubelets keep init containers with `restartPolicy: Always` running.
    pub native_sidecars: bool,
    /// The workload; read from the pod when absent.
    pub owner: Option<&'a Owner>,
    /// Variables of the proxy that the webhook's URL asks for.
    pub env: &'a BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Skipped(SkipReason),
    Injected(Injection),
}

/// An injected pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    pub pod: Value,
    /// From the pod as given to the injected one.
    pub patch: json_patch::Patch,
    /// For the person who creates the pod.
    pub warnings: Vec<String>,
}

/// Injects a pod; a pod that was injected before comes out the same.
///
/// # Errors
/// An annotation or injector value is malformed, the pod's shape is impossible, or its template is not built in.
pub fn inject(params: &Params<'_>) -> Result<Outcome, InjectError> {
    if !params.pod["spec"].is_object() {
        return Err(InjectError::pod("spec", "not an object"));
    }
    let annotations = texts(params.pod, "annotations");
    let decision = decide(
        Facts {
            namespace: params.namespace,
            host_network: params.pod["spec"]["hostNetwork"] == Value::Bool(true),
            labels: &texts(params.pod, "labels"),
            annotations: &annotations,
        },
        params.config,
    );
    if let Decision::Skip(reason) = decision {
        return Ok(Outcome::Skipped(reason));
    }
    let settings = Settings::resolve(
        &annotations,
        params.config,
        params.mesh,
        params.native_sidecars,
    )?;
    let original = strip::strip(params.pod, settings.status_port)?;
    let pod = injected(params, &settings, &original)?;
    Ok(Outcome::Injected(Injection {
        patch: json_patch::diff(params.pod, &pod),
        warnings: warning::of(&original, &settings),
        pod,
    }))
}

fn injected(
    params: &Params<'_>,
    settings: &Settings,
    original: &Value,
) -> Result<Value, InjectError> {
    let labels = texts(original, "labels");
    let annotations = texts(original, "annotations");
    let from_pod = Owner::of_pod(original);
    let context = Context {
        settings,
        config: params.config,
        mesh: params.mesh,
        revision: params.revision,
        owner: params.owner.unwrap_or(&from_pod),
        namespace: params.namespace,
        service_account: original["spec"]["serviceAccountName"]
            .as_str()
            .unwrap_or_default(),
        labels: &labels,
        annotations: &annotations,
        app_containers: containers(original, "containers")
            .map(name)
            .filter(|name| *name != PROXY_CONTAINER)
            .map(str::to_owned)
            .collect(),
        pod_ports: containers(original, "containers")
            .filter_map(|container| container["ports"].as_array())
            .flatten()
            .cloned()
            .collect(),
    };
    let addition = template::build(&context)?;
    let mut pod = original.clone();
    let overrides = apply(&mut pod, &addition, params)?;
    merge_metrics(&mut pod, settings, &annotations)?;
    rewrite_probes(&mut pod, settings)?;
    reorder(&mut pod, settings)?;
    write_metadata(&mut pod, &addition, &overrides, params)?;
    Ok(pod)
}

/// Adds containers, volumes and pod-level fields; what the pod defines itself wins.
fn apply(
    pod: &mut Value,
    addition: &Addition,
    params: &Params<'_>,
) -> Result<Applied, InjectError> {
    let init_containers = to_values(&addition.init_containers)?;
    let containers = to_values(&addition.containers)?;
    let names: Vec<&str> = init_containers
        .iter()
        .chain(&containers)
        .map(name)
        .collect();
    let overrides = Overrides::of_pod(pod, &names);
    let spec = spec_mut(pod)?;
    for (field, added) in [
        ("initContainers", &init_containers),
        ("containers", &containers),
    ] {
        if let Some(list) = spec.get_mut(field).and_then(Value::as_array_mut) {
            list.retain(|container| !names.contains(&name(container)));
        }
        for container in added {
            let mut container = container.clone();
            set_env(&mut container, params.env);
            if let Some(own) = overrides.find(name(&container)) {
                merge::container(&mut container, own);
            }
            list_mut(spec, field).push(container);
        }
    }
    let volumes = to_values(&addition.volumes)?;
    let added_volumes = append_missing(list_mut(spec, "volumes"), &volumes, "name");
    let volumes = added_volumes
        .into_iter()
        .map(|v| name(v).to_owned())
        .collect();
    let secrets: Vec<Value> = params
        .config
        .values
        .global
        .image_pull_secrets
        .iter()
        .map(|name| json!({"name": name}))
        .collect();
    let mut image_pull_secrets = Vec::new();
    if !secrets.is_empty() {
        let added = append_missing(list_mut(spec, "imagePullSecrets"), &secrets, "name");
        image_pull_secrets = added.into_iter().map(|s| name(s).to_owned()).collect();
    }
    apply_security_context(spec, addition)?;
    let names_of = |values: &[Value]| values.iter().map(|c| name(c).to_owned()).collect();
    Ok(Applied {
        status: Status {
            init_containers: status::names(names_of(&init_containers)),
            containers: status::names(names_of(&containers)),
            volumes: status::names(volumes),
            image_pull_secrets: status::names(image_pull_secrets),
            revision: params.revision.label().to_owned(),
        },
        overrides,
    })
}

struct Applied {
    status: Status,
    overrides: Overrides,
}

fn apply_security_context(
    spec: &mut Map<String, Value>,
    addition: &Addition,
) -> Result<(), InjectError> {
    let Some(context) = &addition.security_context else {
        return Ok(());
    };
    let own = object_mut(spec, "securityContext");
    let Value::Object(added) = to_value(context)? else {
        return Ok(());
    };
    for (key, value) in added {
        match (key.as_str(), value) {
            ("sysctls", Value::Array(added)) => {
                append_missing(list_mut(own, "sysctls"), &added, "name");
            }
            (_, value) => {
                own.entry(key).or_insert(value);
            }
        }
    }
    Ok(())
}

/// Variables of the webhook's URL, on the proxy only.
fn set_env(container: &mut Value, env: &BTreeMap<String, String>) {
    if name(container) != PROXY_CONTAINER || env.is_empty() {
        return;
    }
    let entries: Vec<Value> = env
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    merge::container(container, &json!({"env": entries}));
}

/// The proxy's container, wherever it runs.
fn proxy_mut(pod: &mut Value) -> Option<&mut Map<String, Value>> {
    let spec = pod.get_mut("spec")?.as_object_mut()?;
    let field = ["containers", "initContainers"].into_iter().find(|field| {
        let list = spec.get(*field).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .any(|c| name(c) == PROXY_CONTAINER)
    })?;
    spec.get_mut(field)?
        .as_array_mut()?
        .iter_mut()
        .find(|container| name(container) == PROXY_CONTAINER)?
        .as_object_mut()
}

fn merge_metrics(
    pod: &mut Value,
    settings: &Settings,
    annotations: &BTreeMap<String, String>,
) -> Result<(), InjectError> {
    let scrape = Scrape::of(annotations);
    if !settings.merge_metrics || !scrape.is_wanted() || scrape.is_merged(settings.status_port) {
        return Ok(());
    }
    if let (Some(variable), Some(proxy)) = (scrape.variable(), proxy_mut(pod)) {
        list_mut(proxy, "env").push(variable);
    }
    prometheus::merged(settings.status_port).write(texts_mut(pod, "annotations")?);
    Ok(())
}

fn rewrite_probes(pod: &mut Value, settings: &Settings) -> Result<(), InjectError> {
    if !settings.rewrite_probes {
        return Ok(());
    }
    let probers = probe::rewrite(spec_mut(pod)?, settings.status_port);
    if let Some(proxy) = proxy_mut(pod).filter(|_| !probers.is_empty()) {
        let text = json!(probers).to_string();
        list_mut(proxy, "env").push(json!({"name": probe::VARIABLE, "value": text}));
    }
    Ok(())
}

fn reorder(pod: &mut Value, settings: &Settings) -> Result<(), InjectError> {
    let spec = spec_mut(pod)?;
    order::containers(list_mut(spec, "containers"), settings.hold_application);
    match spec.get_mut("initContainers").and_then(Value::as_array_mut) {
        Some(list) if list.is_empty() => {
            spec.shift_remove("initContainers");
        }
        Some(list) => order::init_containers(list),
        None => {}
    }
    Ok(())
}

fn write_metadata(
    pod: &mut Value,
    addition: &Addition,
    applied: &Applied,
    params: &Params<'_>,
) -> Result<(), InjectError> {
    let labels = texts_mut(pod, "labels")?;
    for (key, value) in &addition.labels {
        set_missing(labels, key, value);
    }
    if let Some(network) = params.env.get(NETWORK_VARIABLE) {
        set_missing(labels, label::NETWORK, network);
    }
    let annotations = texts_mut(pod, "annotations")?;
    for (key, value) in &addition.default_annotations {
        set_missing(annotations, key, value);
    }
    let injected = &params.config.injected_annotations;
    for (key, value) in addition.annotations.iter().chain(injected) {
        annotations.insert(key.clone(), Value::String(value.clone()));
    }
    let mut set_document = |key: &str, document: Value| {
        annotations.insert(key.to_owned(), Value::String(document.to_string()));
    };
    if !applied.overrides.is_empty() {
        set_document(annotation::OVERRIDES, to_value(&applied.overrides)?);
    }
    set_document(annotation::STATUS, to_value(&applied.status)?);
    Ok(())
}

fn set_missing(map: &mut Map<String, Value>, key: &str, value: &str) {
    map.entry(key)
        .or_insert_with(|| Value::String(value.to_owned()));
}

fn to_value<T: Serialize>(value: &T) -> Result<Value, InjectError> {
    serde_json::to_value(value).map_err(|error| InjectError::pod("pod", error))
}

fn to_values<T: Serialize>(values: &[T]) -> Result<Vec<Value>, InjectError> {
    values.iter().map(to_value).collect()
}
