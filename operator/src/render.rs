//! From a spec to objects: pure, the same input gives the same bytes.

use std::collections::BTreeMap;

use ironsail_crds::Diagnostic;
use ironsail_mesh::revision::Revision;
use serde_json::Value;

use crate::component::{Component, OWN_HUB, Sink, base, cni, gateway, istiod, ztunnel};
use crate::list_merge::ListMerge;
use crate::object::Manifest;
use crate::settings::Target;
use crate::values::global::ResourceScope;
use crate::values::{GatewayKind, Resolved, resolve};

/// Largest object that an API server takes.
const MAX_OBJECT_BYTES: usize = 1_000_000;

/// What rendering needs besides the spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Registry and path of the images, unless the spec names one.
    pub hub: String,
    /// Tag of the images, unless the spec names one.
    pub tag: String,
    /// What the labels `helm.sh/chart` and `app.kubernetes.io/version` say.
    pub chart_version: String,
    /// Version of the cluster, such as `v1.34.4-gke.100`; empty if it is not known.
    pub kubernetes_version: String,
    /// Whether what speaks for the default revision is rendered with a claim to it, for the cluster
    /// to decide. The peer's `install` adds it after what it renders; default false.
    pub takes_default: bool,
    /// How lists merge with those of the profile, unless an annotation of the object says it.
    pub list_merge: ListMerge,
}

impl Context {
    /// Whether the cluster is one of Google's.
    pub fn is_gke(&self) -> bool {
        self.kubernetes_version.contains("-gke")
    }

    /// What an object is rendered with, by what its annotations say.
    ///
    /// # Errors
    /// An annotation has a value that nobody understands.
    pub fn of_object(&self, object: &Value) -> Result<Self, Diagnostic> {
        let list_merge = ListMerge::of_object(object)?;
        Ok(Self {
            list_merge: list_merge.unwrap_or(self.list_merge),
            ..self.clone()
        })
    }
}

impl Default for Context {
    /// Images of this version.
    fn default() -> Self {
        Self {
            hub: OWN_HUB.to_owned(),
            tag: ironsail_mesh::VERSION.to_owned(),
            chart_version: ironsail_mesh::ISTIO_VERSION.to_owned(),
            kubernetes_version: String::new(),
            takes_default: false,
            list_merge: ListMerge::default(),
        }
    }
}

/// The objects of a spec.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// In the order in which they are applied.
    pub objects: Vec<Manifest>,
    /// Settings that have no effect, or not the expected one.
    pub warnings: Vec<Diagnostic>,
    pub revision: Revision,
    /// Namespace of the control plane.
    pub istio_namespace: String,
    /// Value of `topology.istio.io/network` on that namespace; empty for none.
    pub network: String,
    /// Components that are on, in the order of installation.
    pub components: Vec<Component>,
}

/// Renders a spec as it is written in the object, which is valid already.
///
/// # Errors
/// Every setting that is wrong, or that asks for what this version doesn't render, with its path.
pub fn render(spec: &Value, context: &Context) -> Result<Rendered, Vec<Diagnostic>> {
    let resolved = resolve(spec, context)?;
    let mut sink = Sink {
        findings: resolved.warnings.clone(),
        ..Sink::default()
    };
    if resolved.base() {
        render_base(&resolved, context, &mut sink);
    }
    istiod::render(&resolved, context, &mut sink);
    cni::render(&resolved, context, &mut sink);
    ztunnel::render(&resolved, context, &mut sink);
    for kind in [GatewayKind::Ingress, GatewayKind::Egress] {
        gateway::render(&resolved, context, kind, &mut sink);
    }
    check_objects(&mut sink);
    if sink.findings.iter().any(Diagnostic::is_error) {
        return Err(sink.findings);
    }
    let mut objects = sink.objects;
    objects.sort_by_cached_key(Manifest::order);
    Ok(Rendered {
        objects,
        warnings: sink.findings,
        network: crate::value::get(&resolved.values, &["global", "network"])
            .and_then(crate::value::scalar_text)
            .unwrap_or_default(),
        components: enabled(&resolved),
        revision: resolved.revision,
        istio_namespace: resolved.istio_namespace,
    })
}

/// Validates and renders a whole IstioOperator object.
///
/// # Errors
/// Everything that is wrong with the object, with its path; as [`render`].
pub fn render_object(object: &Value, context: &Context) -> Result<Rendered, Vec<Diagnostic>> {
    let mut findings = ironsail_crds::validate::operator::validate(object);
    if findings.iter().any(Diagnostic::is_error) {
        return Err(findings);
    }
    match render_unchecked(object, context) {
        Ok(mut rendered) => {
            findings.append(&mut rendered.warnings);
            rendered.warnings = findings;
            Ok(rendered)
        }
        Err(mut errors) => {
            findings.append(&mut errors);
            Err(findings)
        }
    }
}

/// Renders a whole IstioOperator object without validating it.
///
/// # Errors
/// As [`render`].
pub fn render_unchecked(object: &Value, context: &Context) -> Result<Rendered, Vec<Diagnostic>> {
    let empty = Value::Object(serde_json::Map::new());
    let spec = object.get("spec").filter(|spec| !spec.is_null());
    let context = context.of_object(object).map_err(|finding| vec![finding])?;
    render(spec.unwrap_or(&empty), &context)
}

fn enabled(resolved: &Resolved) -> Vec<Component> {
    let on = |component: Component| match component {
        Component::Base => resolved.base(),
        Component::Pilot => resolved.pilot().is_some(),
        Component::IngressGateways => !resolved.gateways(GatewayKind::Ingress).is_empty(),
        Component::EgressGateways => !resolved.gateways(GatewayKind::Egress).is_empty(),
        Component::Cni => resolved.cni().is_some(),
        Component::Ztunnel => resolved.ztunnel().is_some(),
    };
    Component::ALL
        .into_iter()
        .filter(|component| on(*component))
        .collect()
}

fn render_base(resolved: &Resolved, context: &Context, sink: &mut Sink) {
    let mut own = Sink::default();
    base::render(resolved, context, &mut own);
    let scope = crate::value::get(&resolved.values, &["global", "resourceScope"]);
    match scope.and_then(Value::as_str) {
        Some("cluster") => istiod::keep_scope(ResourceScope::Cluster, &mut own.objects),
        Some("namespace") => istiod::keep_scope(ResourceScope::Namespace, &mut own.objects),
        _ => {}
    }
    if let Some(k8s) = resolved
        .components
        .base
        .as_ref()
        .and_then(|base| base.k8s.as_ref())
    {
        let target = Target {
            kind: "Deployment",
            name: "istio-base",
            container: "",
            service_ports_from_values: false,
        };
        crate::settings::apply(k8s, "spec.components.base.k8s", &target, &mut own);
    }
    sink.append(own);
}

/// What holds between all objects: names are unique, and each fits into an API server.
fn check_objects(sink: &mut Sink) {
    let mut seen = BTreeMap::new();
    let mut findings = Vec::new();
    for object in &sink.objects {
        let path = format!("spec.components ({})", object.component);
        let key = object.key().clone();
        if let Some(other) = seen.insert(key.clone(), object.component) {
            let message = format!("{key} is rendered twice; the other one belongs to {other}");
            findings.push(Diagnostic::error(&path, message));
        }
        let bytes = match object.is_definition() {
            true => 0,
            false => object.body().to_string().len(),
        };
        if bytes > MAX_OBJECT_BYTES {
            let message =
                format!("{key} would have {bytes} bytes, at most {MAX_OBJECT_BYTES} can be stored");
            findings.push(Diagnostic::error("spec", message));
        }
    }
    sink.findings.append(&mut findings);
}

#[cfg(test)]
pub(crate) mod tests;
