//! Rules of PeerAuthentication.

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::security::peer_authentication::PeerAuthenticationSpec;

use super::field::{Findings, child};
use super::shared;

/// Everything that is wrong with a PeerAuthentication.
#[must_use]
pub fn validate(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<PeerAuthenticationSpec>(object, &mut out) {
        check(&spec, &mut out);
    }
    out.into_vec()
}

fn check(spec: &PeerAuthenticationSpec, out: &mut Findings) {
    if let Some(selector) = &spec.selector {
        shared::workload_selector(selector, "spec.selector", out);
    }
    let selects = spec
        .selector
        .as_ref()
        .is_some_and(|s| !s.match_labels.is_empty());
    if !spec.port_level_mtls.is_empty() && !selects {
        out.error("spec.portLevelMtls", "needs a selector with labels");
    }
    for key in spec.port_level_mtls.keys() {
        let port = key
            .parse::<u32>()
            .map_err(|_| format!("{key:?} is no port number"));
        out.check(
            child("spec.portLevelMtls", key),
            port.and_then(shared::port),
        );
    }
}
