//! A spec with everything that profile, files and charts lay under it: what `profile dump` shows.

use ironsail_crds::Diagnostic;
use serde_json::{Map, Value, json};

use super::{CNI, EGRESS, GLOBAL, INGRESS, ISTIOD, ZTUNNEL, merged_spec, resolve};
use crate::render::Context;
use crate::value::{merge, set, sorted, without_nulls};

/// Keys of the control plane's values that users write at the root; all others below `pilot`.
const ROOT: [&str; 12] = [
    "base",
    "defaultRevision",
    "experimental",
    "gatewayClasses",
    "gateways",
    "istiodRemote",
    "meshConfig",
    "ownerName",
    "revision",
    "revisionTags",
    "sidecarInjectorWebhook",
    "telemetry",
];

/// The spec with all values that are in effect. Rendering it gives the same workloads.
///
/// # Errors
/// Every field that names something this version doesn't have, or has the wrong type.
pub fn effective(spec: &Value, context: &Context) -> Result<Value, Vec<Diagnostic>> {
    let resolved = resolve(spec, context)?;
    let mut values = defaults();
    merge(&mut values, &resolved.files);
    merge(&mut values, &resolved.values);
    let mut full = merged_spec(spec, context)?;
    // It stands at its own place.
    let mesh_config = values
        .as_object_mut()
        .and_then(|values| values.shift_remove("meshConfig"));
    set(&mut full, &["meshConfig"], mesh_config.unwrap_or(json!({})));
    if let Some(full) = full.as_object_mut() {
        full.shift_remove("unvalidatedValues");
    }
    set(&mut full, &["values"], values);
    Ok(sorted(&without_nulls(full)))
}

/// Defaults of all charts, each where users write them.
fn defaults() -> Value {
    let mut pilot = ISTIOD.clone();
    let mut values = Map::new();
    if let Some(pilot) = pilot.as_object_mut() {
        for key in ROOT {
            if let Some(value) = pilot.shift_remove(key) {
                values.insert(key.to_owned(), value);
            }
        }
    }
    let mut cni = CNI.clone();
    if let Some(cni) = cni.as_object_mut() {
        cni.shift_remove("global");
    }
    let mut values = Value::Object(values);
    set(&mut values, &["global"], GLOBAL.clone());
    set(&mut values, &["pilot"], pilot);
    set(&mut values, &["cni"], cni);
    set(&mut values, &["ztunnel"], ZTUNNEL.clone());
    set(
        &mut values,
        &["gateways", "istio-ingressgateway"],
        INGRESS.clone(),
    );
    set(
        &mut values,
        &["gateways", "istio-egressgateway"],
        EGRESS.clone(),
    );
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::render;

    /// The dump of a profile is a spec that means the same. ConfigMaps quote the values themselves.
    #[test]
    fn what_is_dumped_renders_the_same() {
        for profile in ["default", "demo", "minimal", "empty", "preview", "stable"] {
            let spec = json!({"profile": profile});
            let full = effective(&spec, &Context::default()).expect(profile);
            let objects = |spec: &Value| -> Vec<Value> {
                let rendered = render(spec, &Context::default()).expect(profile);
                let objects = rendered.objects.iter().filter(|o| !o.is_definition());
                let compared =
                    objects.filter(|o| !["values", "istio-sidecar-injector"].contains(&o.name()));
                compared.map(|o| o.body().into_owned()).collect()
            };
            assert_eq!(objects(&full), objects(&spec), "{profile}");
        }
    }

    #[test]
    fn a_dump_is_complete() {
        let full = effective(&json!({"profile": "demo"}), &Context::default()).expect("valid");
        assert_eq!(full["values"]["pilot"]["traceSampling"], 100);
        assert_eq!(
            full["values"]["global"]["proxy"]["resources"]["requests"]["cpu"],
            "10m"
        );
        assert_eq!(full["meshConfig"]["accessLogFile"], "/dev/stdout");
        assert_eq!(full["values"].get("meshConfig"), None);
        let lines = serde_yaml_ng::to_string(&full)
            .expect("YAML")
            .lines()
            .count();
        assert!(lines > 400, "{lines}");
    }
}
