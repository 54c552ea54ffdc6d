//! What of a spec the charts of the peer understand: one release per component.

use ironsail_crds::Diagnostic;
use serde_json::{Value, json};

use super::{GatewayKind, resolve};
use crate::component::Component;
use crate::render::Context;
use crate::value::{sorted, without_nulls};

/// A Helm release that installs a component.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    pub component: Component,
    /// Name of release and chart, such as `istiod`.
    pub chart: &'static str,
    pub namespace: String,
    pub values: Value,
}

/// A spec as Helm releases.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Releases {
    pub releases: Vec<Release>,
    /// Settings that no chart has a value for: paths in the spec.
    pub untranslated: Vec<String>,
}

/// `k8s` settings that go through the values.
const IN_VALUES: [&str; 2] = ["hpaSpec", "replicaCount"];

/// Translates a spec.
///
/// # Errors
/// Every field that names something this version doesn't have, or has the wrong type.
pub fn releases(spec: &Value, context: &Context) -> Result<Releases, Vec<Diagnostic>> {
    let resolved = resolve(spec, context)?;
    let mut found = Releases::default();
    let mut add = |component, chart, namespace: Option<&str>, values: Value| {
        found.releases.push(Release {
            component,
            chart,
            namespace: resolved.namespace_of(namespace),
            values: sorted(&without_nulls(values)),
        });
    };
    if resolved.base() {
        add(Component::Base, "base", None, resolved.values.clone());
    }
    if let Some(pilot) = resolved.pilot() {
        let values = resolved.istiod_values(&pilot).original;
        add(
            Component::Pilot,
            "istiod",
            pilot.namespace.as_deref(),
            values,
        );
    }
    if let Some(cni) = resolved.cni() {
        let values = resolved.original("cni", &cni);
        add(Component::Cni, "cni", cni.namespace.as_deref(), values);
    }
    if let Some(ztunnel) = resolved.ztunnel() {
        let values = resolved.original("ztunnel", &ztunnel);
        let own = values.get("ztunnel").cloned().unwrap_or(json!({}));
        let mut values = json!({"global": values.get("global").cloned().unwrap_or(json!({}))});
        crate::value::merge(&mut values, &own);
        add(
            Component::Ztunnel,
            "ztunnel",
            ztunnel.namespace.as_deref(),
            values,
        );
    }
    found.untranslated = untranslated(spec);
    for kind in [GatewayKind::Ingress, GatewayKind::Egress] {
        for (index, _) in resolved.gateways(kind) {
            found
                .untranslated
                .push(format!("spec.components.{}[{index}]", kind.field()));
        }
    }
    Ok(found)
}

/// Paths of `k8s` settings that are laid over rendered objects.
fn untranslated(spec: &Value) -> Vec<String> {
    let components = spec.get("components").and_then(Value::as_object);
    let mut found = Vec::new();
    for (name, component) in components.into_iter().flatten() {
        let settings = component.get("k8s").and_then(Value::as_object);
        let keys = settings.into_iter().flatten().map(|(key, _)| key.as_str());
        let keys = keys.filter(|key| !IN_VALUES.contains(key));
        found.extend(keys.map(|key| format!("spec.components.{name}.k8s.{key}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_releases() {
        let spec = json!({
            "profile": "demo", "revision": "canary",
            "components": {"pilot": {"namespace": "mesh", "k8s": {"hpaSpec": {"minReplicas": 2}, "strategy": {}}}},
        });
        let found = releases(&spec, &Context::default()).expect("valid");
        let names: Vec<_> = found
            .releases
            .iter()
            .map(|r| (r.chart, r.namespace.as_str()))
            .collect();
        assert_eq!(names, [("base", "istio-system"), ("istiod", "mesh")]);
        let values = &found.releases[1].values;
        assert_eq!(values["pilot"]["autoscaleMin"], 2);
        assert_eq!(values["revision"], "canary");
        assert_eq!(values["profile"], "demo");
        assert_eq!(
            found.untranslated,
            [
                "spec.components.pilot.k8s.strategy",
                "spec.components.ingressGateways[0]",
                "spec.components.egressGateways[0]"
            ]
        );
    }
}
