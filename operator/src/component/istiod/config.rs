//! ConfigMaps of the control plane: mesh document, injection, values, gateway classes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Map, Value, json};

use super::{Pilot, template};
use crate::component::{Component, Labels, Sink, namespaced};
use crate::value::{get, merge, set, sorted};
use crate::values::{injector_values, pretty};

/// Explains the document `config` of Ironsail's own control plane to whoever looks at it.
const OWN_COMMENT: &str = "\
# How pods are injected. The sidecar is built by the control plane itself, not from text templates,
# so this document has none of its own; templates of the user are kept below. Templates for a
# control plane that executes them (stock istiod) are written when its image is installed.
";

/// Adds the ConfigMaps.
pub fn render(pilot: &Pilot<'_>, sink: &mut Sink) {
    if pilot.values.config_map {
        config_map(pilot, "istio", mesh_data(pilot), sink);
    }
    if !pilot.values.global.omit_sidecar_injector_config_map {
        let data = vec![
            ("config", injection_config(pilot)),
            ("values", pretty(&injector_values(&pilot.layers.merged))),
        ];
        config_map(pilot, "istio-sidecar-injector", data, sink);
    }
    values_map(pilot, sink);
    let remote = pilot.values.istiod_remote.enabled;
    if !remote && !pilot.values.jwks_resolver_extra_root_ca.is_empty() {
        let data = vec![(
            "extra.pem",
            pilot.values.jwks_resolver_extra_root_ca.clone(),
        )];
        config_map(pilot, "pilot-jwks-extra-cacerts", data, sink);
    }
    for (class, kinds) in &pilot.values.gateway_classes {
        gateway_class(pilot, class, kinds, sink);
    }
}

fn config_map(pilot: &Pilot<'_>, base: &str, data: Vec<(&str, String)>, sink: &mut Sink) {
    let labels = pilot.labels.full(&[]);
    sink.add(
        Component::Pilot,
        &with_data(pilot, pilot.suffixed(base), labels, data),
    );
}

fn with_data(
    pilot: &Pilot<'_>,
    name: String,
    labels: Labels,
    data: Vec<(&str, String)>,
) -> ConfigMap {
    let data = data
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    ConfigMap {
        metadata: namespaced(name, &pilot.namespace, labels),
        data: Some(data),
        ..ConfigMap::default()
    }
}

fn values_map(pilot: &Pilot<'_>, sink: &mut Sink) {
    let data = vec![
        ("merged-values", pretty(&pilot.layers.merged)),
        ("original-values", pretty(&pilot.layers.original)),
    ];
    let mut map = with_data(
        pilot,
        pilot.suffixed("values"),
        pilot.labels.full(&[]),
        data,
    );
    let note = "The values that the objects of this revision were rendered with, for people and \
                tools to read. Nothing reads them back: edits have no effect.";
    map.metadata.annotations =
        Some([("kubernetes.io/description".to_owned(), note.to_owned())].into());
    sink.add(Component::Pilot, &map);
}

/// One document per kind that a class of gateways has defaults for.
fn gateway_class(pilot: &Pilot<'_>, class: &str, kinds: &Map<String, Value>, sink: &mut Sink) {
    let name = format!("istio-{}-gatewayclass-{class}", pilot.labels.revision);
    let labels = pilot
        .labels
        .full(&[("gateway.istio.io/defaults-for-class", class)]);
    let data = kinds
        .iter()
        .map(|(kind, value)| (kind.as_str(), yaml(value)))
        .collect();
    sink.add(Component::Pilot, &with_data(pilot, name, labels, data));
}

fn yaml(value: &Value) -> String {
    crate::yaml::to_string(&sorted(value))
}

fn mesh_data(pilot: &Pilot<'_>) -> Vec<(&'static str, String)> {
    let networks = match &pilot.values.global.mesh_networks {
        Value::Object(networks) => Value::Object(networks.clone()),
        _ => json!({}),
    };
    vec![
        ("mesh", yaml(&mesh_config(pilot))),
        ("meshNetworks", yaml(&json!({"networks": networks}))),
    ]
}

/// The mesh document: what follows from the installation, under the user's own.
pub(super) fn mesh_config(pilot: &Pilot<'_>) -> Value {
    let own = Value::Object(pilot.values.mesh_config.clone());
    let mut mesh = json!({
        "trustDomain": "cluster.local",
        "rootNamespace": pilot.istio_namespace(),
        "enablePrometheusMerge": true,
        "defaultConfig": default_config(pilot),
    });
    let chosen = get(&own, &["defaultProviders"]).and_then(Value::as_object);
    if chosen.is_none_or(Map::is_empty) {
        set(&mut mesh, &["defaultProviders"], default_providers(pilot));
    }
    merge(&mut mesh, &own);
    without_empty_providers(mesh)
}

fn without_empty_providers(mut mesh: Value) -> Value {
    if let Some(map) = mesh.as_object_mut()
        && map
            .get("defaultProviders")
            .and_then(Value::as_object)
            .is_some_and(Map::is_empty)
    {
        map.shift_remove("defaultProviders");
    }
    mesh
}

fn default_providers(pilot: &Pilot<'_>) -> Value {
    let telemetry = pilot.values.telemetry;
    let mut providers = json!({});
    if !(telemetry.enabled && telemetry.v2.enabled) {
        return providers;
    }
    let prometheus = telemetry.v2.prometheus.enabled.then_some("prometheus");
    let stackdriver = telemetry.v2.stackdriver.enabled.then_some("stackdriver");
    let metrics: Vec<&str> = prometheus.into_iter().chain(stackdriver).collect();
    if !metrics.is_empty() {
        set(&mut providers, &["metrics"], json!(metrics));
    }
    if stackdriver.is_some() {
        set(&mut providers, &["accessLogging"], json!(["stackdriver"]));
    }
    providers
}

fn default_config(pilot: &Pilot<'_>) -> Value {
    let global = &pilot.values.global;
    let istiod = match pilot.values.global.remote_pilot_address.as_str() {
        "" => pilot.name.as_str(),
        _ if pilot.injects_here() => "istiod-remote",
        _ => "istiod",
    };
    let mut config = json!({
        "discoveryAddress": format!("{istiod}.{}.svc:15012", pilot.namespace),
    });
    if !global.mesh_id.is_empty() {
        set(&mut config, &["meshId"], json!(global.mesh_id.0));
    }
    let variant = match global.proxy.variant.as_str() {
        "" => &global.variant,
        variant => variant,
    };
    if !variant.is_empty() {
        set(&mut config, &["image", "imageType"], json!(variant));
    }
    let tracing = tracing(pilot);
    if !tracing.is_null() {
        set(&mut config, &["tracing"], tracing);
    }
    config
}

/// The tracer that `values.global.proxy.tracer` names, with its address.
fn tracing(pilot: &Pilot<'_>) -> Value {
    let tracer = pilot.values.global.proxy.tracer.as_str();
    let setting = |path: &str| {
        let path = ["global", "tracer", tracer, path];
        get(&pilot.layers.merged, &path).cloned()
    };
    let or =
        |path: &str, default: String| setting(path).filter(|v| v != "").unwrap_or(json!(default));
    match tracer {
        "zipkin" => {
            let default = format!("zipkin.{}:9411", pilot.istio_namespace());
            json!({"zipkin": {"address": or("address", default)}})
        }
        "datadog" => json!({"datadog": {"address": or("address", "$(HOST_IP):8126".to_owned())}}),
        "lightstep" => json!({"lightstep": {
            "address": or("address", String::new()),
            "accessToken": or("accessToken", String::new()),
        }}),
        _ => Value::Null,
    }
}

/// What the injector decides by, and the templates of control planes that execute them.
fn injection_config(pilot: &Pilot<'_>) -> String {
    let injector = &pilot.values.sidecar_injector_webhook;
    let defaults = match injector.default_templates.as_slice() {
        [] => vec!["sidecar".to_owned()],
        own => own.to_vec(),
    };
    let mut document = json!({
        "defaultTemplates": defaults,
        "policy": pilot.values.global.proxy.auto_inject,
        "alwaysInjectSelector": injector.always_inject_selector,
        "neverInjectSelector": injector.never_inject_selector,
        "injectedAnnotations": injector.injected_annotations,
    });
    let comment = if pilot.is_own() {
        document["templates"] = json!(injector.templates);
        OWN_COMMENT
    } else {
        document["template"] = json!(template::FOR_OLD_CONTROL_PLANES);
        document["templates"] = json!(with_shipped(&injector.templates));
        ""
    };
    format!("{comment}{}", crate::yaml::to_string(&document))
}

/// The shipped templates and the user's; the user's replace those of the same name.
fn with_shipped(own: &BTreeMap<String, String>) -> Map<String, Value> {
    let shipped = template::TEMPLATES
        .into_iter()
        .filter(|(name, _)| !own.contains_key(*name))
        .map(|(name, text)| (name.to_owned(), json!(text)));
    let own = own.iter().map(|(name, text)| (name.clone(), json!(text)));
    shipped.chain(own).collect()
}
