//! Rules of ProxyConfig.

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::networking::proxy_config::ProxyConfigSpec;

use super::field::{Findings, child};
use super::shared;

/// Everything that is wrong with a ProxyConfig.
#[must_use]
pub fn validate(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<ProxyConfigSpec>(object, &mut out) {
        check(&spec, &mut out);
    }
    out.into_vec()
}

fn check(spec: &ProxyConfigSpec, out: &mut Findings) {
    if let Some(selector) = &spec.selector {
        shared::workload_selector(selector, "spec.selector", out);
    }
    for name in spec.environment_variables.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            out.error(
                child("spec.environmentVariables", name),
                format!("{name:?} is no name of an environment variable"),
            );
        }
    }
}
