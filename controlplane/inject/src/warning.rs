//! What the person who creates the pod should know.

use serde_json::Value;

use crate::PROXY_UID;
use crate::metadata::{containers, is_native_sidecar, name};
use crate::settings::{InterceptionMode, Settings, Template};

/// Admission warnings for a pod before injection.
pub(crate) fn of(pod: &Value, settings: &Settings) -> Vec<String> {
    let captured =
        settings.template == Template::Sidecar && settings.capture.mode != InterceptionMode::None;
    if !captured {
        return Vec::new();
    }
    let pod_user = pod["spec"]["securityContext"]["runAsUser"].as_i64();
    let runs_as_proxy = |container: &&Value| {
        let own = container["securityContext"]["runAsUser"].as_i64();
        own.or(pod_user) == Some(PROXY_UID)
    };
    let sidecars = containers(pod, "initContainers").filter(|c| is_native_sidecar(c));
    containers(pod, "containers")
        .chain(sidecars)
        .filter(|container| name(container) != crate::PROXY_CONTAINER)
        .filter(runs_as_proxy)
        .map(|container| {
            format!(
                "container {:?} runs as user {PROXY_UID}, which is the mesh proxy's: its outgoing connections are not captured, \
                 so they leave without mutual TLS, routing, policy and telemetry; run it as another user",
                name(container)
            )
        })
        .collect()
}
