//! From a spec to the values each component is rendered with.
//!
//! Precedence, lowest first: chart defaults, the values file of `values.profile`, the
//! compatibility version, the platform, the profile's values, the spec's own fields (hub, tag,
//! revision, meshConfig, …), `spec.values`, `spec.unvalidatedValues`, the component's `k8s`
//! settings. For the control plane, everything under `pilot` then wins over the root.

pub mod cni;
pub mod effective;
pub mod gateway;
pub mod global;
pub mod helm;
pub mod istiod;
pub mod ztunnel;

use std::sync::LazyLock;

use ironsail_crds::Diagnostic;
use ironsail_crds::operator::{
    ComponentSpec, GatewaySpec, IstioComponentSpec, KubernetesResourcesSpec,
};
use ironsail_crds::validate::strict;
use ironsail_mesh::revision::Revision;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::profile;
use crate::render::Context;
use crate::value::{get, is_true, merge, scalar_text, set, sorted, text, without_nulls};

static GLOBAL: LazyLock<Value> = LazyLock::new(|| yaml(include_str!("values/global.yaml")));
static ISTIOD: LazyLock<Value> = LazyLock::new(|| yaml(include_str!("values/istiod.yaml")));
static CNI: LazyLock<Value> = LazyLock::new(|| yaml(include_str!("values/cni.yaml")));
static ZTUNNEL: LazyLock<Value> = LazyLock::new(|| yaml(include_str!("values/ztunnel.yaml")));
static INGRESS: LazyLock<Value> = LazyLock::new(|| yaml(include_str!("values/ingress.yaml")));
static EGRESS: LazyLock<Value> = LazyLock::new(|| yaml(include_str!("values/egress.yaml")));
static COMPATIBILITY: LazyLock<Value> =
    LazyLock::new(|| yaml(include_str!("values/compatibility.yaml")));
static PLATFORM: LazyLock<Value> = LazyLock::new(|| yaml(include_str!("values/platform.yaml")));

fn yaml(text: &str) -> Value {
    serde_yaml_ng::from_str(text).expect("a test parses every built-in document")
}

/// A spec merged with its profile.
#[derive(Debug)]
pub struct Resolved {
    /// Components of the merged spec.
    pub components: IstioComponentSpec,
    /// Values that users and profile gave, complete.
    pub values: Value,
    /// Files that lie between the chart defaults and [`Resolved::values`].
    files: Value,
    /// Revision of everything that is rendered.
    pub revision: Revision,
    /// Namespace of the control plane.
    pub istio_namespace: String,
    /// What is taken otherwise than it is written.
    pub warnings: Vec<Diagnostic>,
    /// The user's spec, for locating what a message is about.
    spec: Value,
}

/// Which list of gateways an entry is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayKind {
    Ingress,
    Egress,
}

impl GatewayKind {
    /// Key under `values.gateways`.
    pub fn root(self) -> &'static str {
        match self {
            Self::Ingress => "istio-ingressgateway",
            Self::Egress => "istio-egressgateway",
        }
    }

    /// Field under `spec.components`.
    pub fn field(self) -> &'static str {
        match self {
            Self::Ingress => "ingressGateways",
            Self::Egress => "egressGateways",
        }
    }

    fn defaults(self) -> &'static Value {
        match self {
            Self::Ingress => &INGRESS,
            Self::Egress => &EGRESS,
        }
    }
}

/// Merges a spec (as written in the object) with its profile.
///
/// # Errors
/// Every field that names something this version doesn't have, or has the wrong type.
pub fn resolve(spec: &Value, context: &Context) -> Result<Resolved, Vec<Diagnostic>> {
    let spec = &without_empty_blocks(spec);
    let mut findings = Vec::new();
    let merged = merged_spec(spec, context)?;
    let note = profile::alias(text(spec, &["profile"]).unwrap_or_default());
    let warnings = note.map(|alias| Diagnostic::warning("spec.profile", alias.note));
    let mut components: IstioComponentSpec =
        match typed(get(&merged, &["components"]).unwrap_or(&json!({}))) {
            Ok(components) => components,
            Err((path, message)) => {
                let path = format!("spec.components.{path}");
                return Err(vec![Diagnostic::error(path, message)]);
            }
        };
    if let (true, Some(cni)) = (context.is_gke(), &mut components.cni) {
        // The agent's priority class is only for pods of this namespace there.
        cni.namespace
            .get_or_insert_with(|| "kube-system".to_owned());
    }
    let values = user_values(&merged, spec, &components);
    let files = files(&values, &mut findings);
    let revision = revision(&values, &mut findings);
    let istio_namespace = text(&values, &["global", "istioNamespace"])
        .unwrap_or(ironsail_mesh::mesh_config::DEFAULT_ROOT_NAMESPACE)
        .to_owned();
    if !findings.is_empty() {
        return Err(findings);
    }
    Ok(Resolved {
        components,
        values,
        files,
        revision: revision.expect("no revision means a finding"),
        istio_namespace,
        warnings: warnings.into_iter().collect(),
        spec: spec.clone(),
    })
}

/// A spec over its profile, and that over the profile `default`.
fn merged_spec(spec: &Value, context: &Context) -> Result<Value, Vec<Diagnostic>> {
    let name = text(spec, &["profile"]).unwrap_or_default();
    let Some(named) = profile::find(name) else {
        return Err(vec![unknown_profile("spec.profile", name)]);
    };
    let default = profile::find("").expect("the profile default exists");
    let mut merged = default.spec.clone();
    merge(&mut merged, &named.spec);
    detect(&mut merged, context);
    set(&mut merged, &["hub"], json!(context.hub));
    set(&mut merged, &["tag"], json!(context.tag));
    merge(&mut merged, spec);
    Ok(merged)
}

/// The spec without blocks that have a name and nothing in them, which YAML reads as `null`: they say nothing, and don't
/// take the profile's away. Further below `null` does.
fn without_empty_blocks(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    for holder in ["values", "unvalidatedValues"] {
        let values = spec.get_mut(holder).and_then(Value::as_object_mut);
        if let Some(values) = values
            && values.get("global").is_some_and(Value::is_null)
        {
            values.shift_remove("global");
        }
    }
    spec
}

/// What follows from the cluster, unless the user says otherwise.
fn detect(merged: &mut Value, context: &Context) {
    if !context.is_gke() {
        return;
    }
    set(merged, &["values", "global", "platform"], json!("gke"));
    let quotas = ["values", "cni", "resourceQuotas", "enabled"];
    set(merged, &quotas, json!(false));
}

/// The values of profile, spec fields and user, in this order.
fn user_values(merged: &Value, spec: &Value, components: &IstioComponentSpec) -> Value {
    let mut values = get(merged, &["values"]).cloned().unwrap_or(json!({}));
    for (field, path) in [
        ("hub", &["global", "hub"][..]),
        ("tag", &["global", "tag"]),
        ("revision", &["revision"]),
        ("compatibilityVersion", &["compatibilityVersion"]),
    ] {
        if let Some(text) = get(merged, &[field]).and_then(scalar_text) {
            set(&mut values, path, json!(text));
        }
    }
    if let Some(mesh_config) = get(merged, &["meshConfig"]) {
        let mut under = get(&values, &["meshConfig"]).cloned().unwrap_or(json!({}));
        merge(&mut under, mesh_config);
        set(&mut values, &["meshConfig"], under);
    }
    let enabled = is_enabled(components.pilot.as_ref(), true);
    set(&mut values, &["pilot", "enabled"], json!(enabled));
    let cni = is_enabled(components.cni.as_ref(), false);
    set(&mut values, &["pilot", "cni", "enabled"], json!(cni));
    for own in ["values", "unvalidatedValues"] {
        if let Some(own) = get(spec, &[own]) {
            merge(&mut values, own);
        }
    }
    values
}

/// Whether a component is on; given without `enabled` means on.
pub fn is_enabled(component: Option<&ComponentSpec>, default: bool) -> bool {
    component.map_or(default, |component| component.enabled.unwrap_or(true))
}

fn on(component: Option<&ComponentSpec>) -> Option<ComponentSpec> {
    is_enabled(component, false).then(|| component.cloned().unwrap_or_default())
}

/// Lays what stands below a key over the root.
fn hoist(values: &mut Value, key: &str) {
    if let Some(own) = get(values, &[key]).cloned() {
        merge(values, &own);
    }
}

/// The built-in files that the values name.
fn files(values: &Value, findings: &mut Vec<Diagnostic>) -> Value {
    let mut files = json!({});
    if let Some(name) = text(values, &["profile"]) {
        match profile::find(name) {
            Some(profile) => merge(&mut files, &profile.values),
            None => findings.push(unknown_profile("spec.values.profile", name)),
        }
    }
    if let Some(name) = text(values, &["compatibilityVersion"]) {
        let path = "spec.compatibilityVersion";
        overlay_file(
            &COMPATIBILITY,
            path,
            "compatibility version",
            name,
            &mut files,
            findings,
        );
    }
    let global = text(values, &["global", "platform"]).map(|p| (p, "spec.values.global.platform"));
    let root = text(values, &["platform"]).map(|p| (p, "spec.values.platform"));
    if let Some((name, path)) = root.or(global) {
        overlay_file(&PLATFORM, path, "platform", name, &mut files, findings);
    }
    files
}

/// What the defaults of a minor version such as `1.28` are, where they changed since.
pub fn compatibility(version: &str) -> Option<&'static Value> {
    get(&COMPATIBILITY, &[version])
}

fn overlay_file(
    table: &Value,
    path: &str,
    what: &str,
    name: &str,
    files: &mut Value,
    findings: &mut Vec<Diagnostic>,
) {
    match get(table, &[name]) {
        Some(file) => merge(files, file),
        None => {
            let names: Vec<&str> = table
                .as_object()
                .map(|map| map.keys().map(String::as_str).collect())
                .unwrap_or_default();
            findings.push(unknown(path, what, name, &names));
        }
    }
}

fn unknown_profile(path: &str, name: &str) -> Diagnostic {
    if name.contains('/') {
        let message = format!("{name:?} is a file, which an operator in a cluster can't read");
        return Diagnostic::error(path, message);
    }
    unknown(path, "profile", name, &profile::names())
}

fn unknown(path: &str, what: &str, name: &str, known: &[&str]) -> Diagnostic {
    let known = known.join(", ");
    let message = format!("{what} {name:?} is not available in this version, which has {known}");
    Diagnostic::error(path, message)
}

fn revision(values: &Value, findings: &mut Vec<Diagnostic>) -> Option<Revision> {
    let text = text(values, &["revision"]).unwrap_or_default();
    match Revision::parse(text) {
        Ok(revision) => Some(revision),
        Err(error) => {
            findings.push(Diagnostic::error("spec.revision", error.to_string()));
            None
        }
    }
}

/// Reads a typed view of a document; the error is (path, message).
pub(crate) fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, (String, String)> {
    strict::read(&without_nulls(value.clone()))
}

/// Values of one component: as handed to it, and with everything below.
#[derive(Clone, Debug)]
pub struct Layers {
    /// What users, profile and the component's settings gave.
    pub original: Value,
    /// Over chart defaults and files.
    pub merged: Value,
}

impl Resolved {
    /// Whether the base component is on.
    pub fn base(&self) -> bool {
        let base = self.components.base.as_ref();
        base.is_none_or(|base| base.enabled.unwrap_or(true))
    }

    /// The control plane's settings, if it is on.
    pub fn pilot(&self) -> Option<ComponentSpec> {
        let pilot = self.components.pilot.as_ref();
        is_enabled(pilot, true).then(|| pilot.cloned().unwrap_or_default())
    }

    /// Where a component's objects are: its own namespace, or the control plane's.
    pub fn namespace_of(&self, own: Option<&str>) -> String {
        match own {
            None | Some("") => self.istio_namespace.clone(),
            Some(namespace) => namespace.to_owned(),
        }
    }

    /// The CNI node agent's settings, if it is on.
    pub fn cni(&self) -> Option<ComponentSpec> {
        on(self.components.cni.as_ref())
    }

    /// The node proxy's settings, if it is on.
    pub fn ztunnel(&self) -> Option<ComponentSpec> {
        on(self.components.ztunnel.as_ref())
    }

    /// Gateways that are on, with their index in the list.
    pub fn gateways(&self, kind: GatewayKind) -> Vec<(usize, &GatewaySpec)> {
        let list = match kind {
            GatewayKind::Ingress => &self.components.ingress_gateways,
            GatewayKind::Egress => &self.components.egress_gateways,
        };
        let all = is_true(&self.values, &["gateways", kind.root(), "enabled"]);
        list.iter()
            .flatten()
            .enumerate()
            .filter(|(_, entry)| all || entry.enabled.unwrap_or(true))
            .collect()
    }

    /// Values of the base component.
    pub fn base_values(&self) -> Value {
        self.layers(self.values.clone(), &json!({})).merged
    }

    /// Values of the control plane; `pilot` is laid over the root.
    pub fn istiod_values(&self, component: &ComponentSpec) -> Layers {
        let mut original = self.original("pilot", component);
        set_scale(&mut original, &["pilot"], component.k8s.as_ref());
        let mut layers = self.layers(original, &ISTIOD);
        hoist(&mut layers.merged, "pilot");
        layers
    }

    /// Values of the CNI node agent; `cni` is laid over the root.
    pub fn cni_values(&self, component: &ComponentSpec) -> Value {
        let mut merged = self.layers(self.original("cni", component), &CNI).merged;
        hoist(&mut merged, "cni");
        merged
    }

    /// Values of the node proxy, which has all of its own at the root: `ztunnel` over `global`
    /// over what else stands at the root. Of the user's own root only scalars and lists count.
    pub fn ztunnel_values(&self, component: &ComponentSpec) -> Value {
        let original = self.original("ztunnel", component);
        let mut merged = ZTUNNEL.clone();
        merge(&mut merged, &self.files);
        hoist(&mut merged, "global");
        merge(
            &mut merged,
            get(&original, &["global"]).unwrap_or(&json!({})),
        );
        let root = original.as_object().into_iter().flatten();
        for (key, value) in root.filter(|(_, value)| !value.is_object()) {
            set(&mut merged, &[key], value.clone());
        }
        merge(
            &mut merged,
            get(&original, &["ztunnel"]).unwrap_or(&json!({})),
        );
        merged
    }

    /// The values with a component's own images and resources.
    fn original(&self, root: &str, component: &ComponentSpec) -> Value {
        let mut original = self.values.clone();
        let tag = component.tag.as_ref().map(|tag| tag.0.as_str());
        set_images(&mut original, &[root], component.hub.as_deref(), tag);
        set_resources(&mut original, &[root], component.k8s.as_ref());
        original
    }

    /// Values of one gateway: `global` and the root beside `gateways.<root>`.
    pub fn gateway_values(&self, kind: GatewayKind, entry: &GatewaySpec) -> Layers {
        let root = ["gateways", kind.root()];
        let mut original = self.values.clone();
        let at = |key: &'static str| [root[0], root[1], key];
        if let Some(name) = &entry.name {
            set(&mut original, &at("name"), json!(name));
        }
        set(&mut original, &at("labels"), json!(entry.label));
        let service = entry.k8s.as_ref().and_then(|k8s| k8s.service.as_ref());
        if let Some(ports) = service.and_then(|service| service.get("ports"))
            && ports.as_array().is_some_and(|ports| !ports.is_empty())
        {
            set(&mut original, &at("ports"), ports.clone());
        }
        let tag = entry.tag.as_ref().map(|tag| tag.0.as_str());
        set_images(&mut original, &root, entry.hub.as_deref(), tag);
        set_resources(&mut original, &root, entry.k8s.as_ref());
        set_scale(&mut original, &root, entry.k8s.as_ref());
        let mut defaults = json!({"meshConfig": {"enablePrometheusMerge": true}});
        set(&mut defaults, &root, kind.defaults().clone());
        self.layers(original, &defaults)
    }

    fn layers(&self, original: Value, defaults: &Value) -> Layers {
        let mut merged = json!({});
        set(&mut merged, &["global"], GLOBAL.clone());
        merge(&mut merged, defaults);
        merge(&mut merged, &self.files);
        merge(&mut merged, &original);
        Layers { original, merged }
    }

    /// Where a user would look for a value: below `spec.values`, or the field that it comes from.
    ///
    /// `roots` are tried in order, such as `["pilot", ""]` for the control plane.
    pub fn locate(&self, path: &str, roots: &[&str]) -> String {
        let in_spec = |path: &str| pointer(&self.spec, path).is_some();
        for holder in ["values", "unvalidatedValues"] {
            for root in roots {
                let root = if root.is_empty() {
                    String::new()
                } else {
                    format!(".{root}")
                };
                let full = format!("{holder}{root}.{path}");
                if in_spec(&full) {
                    return format!("spec.{full}");
                }
            }
        }
        match in_spec(path) {
            true => format!("spec.{path}"),
            false => format!("spec.values.{path}"),
        }
    }
}

/// A value at a path like `a.b[0].c`.
fn pointer<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split(['.', '['])
        .map(|part| part.trim_end_matches(']'))
        .filter(|part| !part.is_empty())
        .try_fold(value, |value, part| match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            other => other.get(part),
        })
}

fn set_images(values: &mut Value, root: &[&str], hub: Option<&str>, tag: Option<&str>) {
    for (key, text) in [("hub", hub), ("tag", tag)] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            set(values, &[root, &[key]].concat(), json!(text));
        }
    }
}

/// Processor limits and requests go through the values, because environments show them.
fn set_resources(values: &mut Value, root: &[&str], k8s: Option<&KubernetesResourcesSpec>) {
    let resources = k8s.and_then(|k8s| k8s.resources.as_ref());
    for bound in ["limits", "requests"] {
        let cpu = resources
            .and_then(|resources| resources.get(bound)?.get("cpu"))
            .and_then(scalar_text);
        if let Some(cpu) = cpu {
            set(
                values,
                &[root, &["resources", bound, "cpu"]].concat(),
                json!(cpu),
            );
        }
    }
}

/// Replica counts go through the values, because conditions of other objects look at them there.
fn set_scale(values: &mut Value, root: &[&str], k8s: Option<&KubernetesResourcesSpec>) {
    let Some(k8s) = k8s else { return };
    let hpa = k8s.hpa_spec.as_ref();
    let bound = |key: &str| {
        hpa.and_then(|hpa| hpa.get(key))
            .filter(|v| v.is_u64())
            .cloned()
    };
    let replicas = k8s.replica_count.filter(|count| *count > 0);
    for (key, value) in [
        ("autoscaleMin", bound("minReplicas")),
        ("autoscaleMax", bound("maxReplicas")),
        ("replicaCount", replicas.map(Value::from)),
    ] {
        if let Some(value) = value {
            set(values, &[root, &[key]].concat(), value);
        }
    }
}

/// JSON text of values: keys in order, two spaces.
pub fn pretty(values: &Value) -> String {
    serde_json::to_string_pretty(&sorted(values)).expect("a JSON document can be written")
}

/// The parts of the control plane's values that the injector reads.
pub fn injector_values(merged: &Value) -> Value {
    let object = |path: &[&str]| {
        get(merged, path)
            .cloned()
            .unwrap_or(Value::Object(Map::new()))
    };
    json!({
        "gateways": {
            "seccompProfile": object(&["gateways", "seccompProfile"]),
            "securityContext": object(&["gateways", "securityContext"]),
        },
        "global": object(&["global"]),
        "pilot": {"cni": object(&["cni"]), "env": object(&["env"])},
        "revision": text(merged, &["revision"]).unwrap_or_default(),
        "sidecarInjectorWebhook": object(&["sidecarInjectorWebhook"]),
    })
}

#[cfg(test)]
mod tests;
