//! Rules of WasmPlugin and TrafficExtension.

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::extensions::traffic_extension::{TrafficExtensionSpec, WasmConfig};
use crate::extensions::wasm_plugin::{EnvValueSource, WasmPluginSpec};

use super::field::{Findings, child, items};
use super::target::Target;

/// Ways to fetch a module; without one it is an image of a registry.
const SCHEMES: [&str; 4] = ["oci", "http", "https", "file"];

/// Everything that is wrong with a WasmPlugin.
#[must_use]
pub fn validate_plugin(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<WasmPluginSpec>(object, &mut out) {
        let target = Target {
            selector: spec.selector.as_ref(),
            target_ref: spec.target_ref.as_ref(),
            target_refs: &spec.target_refs,
        };
        target.check(&mut out);
        check_module(&spec.wasm(), "spec", &mut out);
    }
    out.into_vec()
}

/// Everything that is wrong with a TrafficExtension.
#[must_use]
pub fn validate_traffic(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<TrafficExtensionSpec>(object, &mut out) {
        let target = Target {
            selector: spec.selector.as_ref(),
            target_ref: None,
            target_refs: &spec.target_refs,
        };
        target.check(&mut out);
        // Both are reported by the schema.
        if spec.wasm.is_none() && spec.lua.is_none() {
            out.error("spec", "must have wasm or lua");
        }
        if let Some(wasm) = &spec.wasm {
            check_module(wasm, "spec.wasm", &mut out);
        }
    }
    out.into_vec()
}

fn check_module(wasm: &WasmConfig, path: &str, out: &mut Findings) {
    // Missing is reported by the schema.
    if !wasm.url.is_empty() {
        out.check(child(path, "url"), check_url(&wasm.url));
    }
    if !wasm.verification_key.is_empty() {
        out.warn(
            child(path, "verificationKey"),
            "has no effect: not implemented by any version",
        );
    }
    let env = wasm.vm_config.as_ref().map_or(&[][..], |vm| &vm.env);
    for (path, entry) in items(&child(path, "vmConfig"), "env", env) {
        if entry.value_from == EnvValueSource::Host && !entry.value.is_empty() {
            out.error(
                child(&path, "value"),
                "can't be set: valueFrom HOST takes the proxy's own",
            );
        }
    }
}

fn check_url(url: &str) -> Result<(), String> {
    if url.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err(format!(
            "{url:?} must not have spaces or control characters"
        ));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Ok(());
    };
    if !SCHEMES.contains(&scheme) {
        let schemes = SCHEMES.join(", ");
        return Err(format!("{url:?} must have one of the schemes {schemes}"));
    }
    match rest.is_empty() {
        true => Err(format!("{url:?} has nothing behind its scheme")),
        false => Ok(()),
    }
}
