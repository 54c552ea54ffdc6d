//! The sidecar template.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ExecAction, Lifecycle, LifecycleHandler, Probe, SecurityContext,
};

use ironsail_mesh::label;

use super::{Addition, Context, capture, proxy, volumes};
use crate::settings::InterceptionMode;
use crate::{PROXY_UID, annotation};

pub(super) fn build(context: &Context<'_>) -> Addition {
    let native = context.settings.native;
    let mut init_containers: Vec<Container> = capture::container(context).into_iter().collect();
    let mut containers = Vec::new();
    let proxy = container(context);
    match native {
        true => init_containers.push(proxy),
        false => containers.push(proxy),
    }
    Addition {
        init_containers,
        containers,
        volumes: volumes::all(context),
        labels: [(label::TLS_MODE.to_owned(), "istio".to_owned())].into(),
        annotations: match context.cni() {
            true => network_plugin_annotations(context),
            false => Default::default(),
        },
        ..Default::default()
    }
}

fn container(context: &Context<'_>) -> Container {
    let settings = context.settings;
    let startup = settings
        .startup_failure_threshold
        .filter(|_| settings.status_port != 0);
    Container {
        restart_policy: settings.native.then(|| "Always".to_owned()),
        lifecycle: settings.lifecycle.clone().or_else(|| lifecycle(context)),
        startup_probe: startup.map(|attempts| Probe {
            period_seconds: Some(1),
            failure_threshold: Some(attempts),
            ..proxy::ready_probe()
        }),
        resources: settings.resources.clone(),
        security_context: Some(security_context(context)),
        ..proxy::container(context, "sidecar")
    }
}

/// A native sidecar drains when the pod is told to stop and outlives the applications; the others may hold back the application's start.
fn lifecycle(context: &Context<'_>) -> Option<Lifecycle> {
    let settings = context.settings;
    let run = |command: &[&str]| {
        Some(LifecycleHandler {
            exec: Some(ExecAction {
                command: Some(command.iter().map(|word| (*word).to_owned()).collect()),
            }),
            ..Default::default()
        })
    };
    if settings.native {
        let port = format!("--debug-port={}", settings.status_port);
        return Some(Lifecycle {
            pre_stop: run(&["pilot-agent", "request", &port, "POST", "drain"]),
            ..Default::default()
        });
    }
    settings.hold_application.then(|| Lifecycle {
        post_start: run(&["pilot-agent", "wait"]),
        ..Default::default()
    })
}

fn security_context(context: &Context<'_>) -> SecurityContext {
    let settings = context.settings;
    let privileged = context.global().proxy.privileged;
    let tproxy = settings.capture.mode == InterceptionMode::Tproxy;
    let added: Vec<String> = [
        (tproxy, "NET_ADMIN"),
        (settings.cap_net_bind_service, "NET_BIND_SERVICE"),
    ]
    .into_iter()
    .filter(|(on, _)| *on)
    .map(|(_, capability)| capability.to_owned())
    .collect();
    let as_root = !added.is_empty();
    SecurityContext {
        allow_privilege_escalation: Some(privileged),
        privileged: Some(privileged),
        capabilities: Some(Capabilities {
            add: as_root.then_some(added),
            drop: Some(vec!["ALL".to_owned()]),
        }),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(PROXY_UID),
        run_as_non_root: Some(!as_root),
        run_as_user: Some(if as_root { 0 } else { PROXY_UID }),
        seccomp_profile: settings.seccomp_profile.clone(),
        ..Default::default()
    }
}

/// The network plugin reads what to capture from these.
fn network_plugin_annotations(context: &Context<'_>) -> std::collections::BTreeMap<String, String> {
    let capture = &context.settings.capture;
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let multus = (context.config.values.pilot.cni.provider == "multus").then(|| {
        with_network(
            context
                .annotations
                .get(annotation::MULTUS_NETWORKS)
                .map(String::as_str),
        )
    });
    [
        (annotation::MULTUS_NETWORKS, multus),
        (
            annotation::INTERCEPTION_MODE,
            Some(capture.mode.as_str().to_owned()),
        ),
        (
            annotation::INCLUDE_OUTBOUND_IP_RANGES,
            some(&capture.include_outbound_ip_ranges),
        ),
        (
            annotation::EXCLUDE_OUTBOUND_IP_RANGES,
            some(&capture.exclude_outbound_ip_ranges),
        ),
        (
            annotation::INCLUDE_INBOUND_PORTS,
            some(&capture.include_inbound_ports),
        ),
        (
            annotation::EXCLUDE_INBOUND_PORTS,
            some(&capture.exclude_inbound_ports),
        ),
        (
            annotation::INCLUDE_OUTBOUND_PORTS,
            capture.include_outbound_ports.clone(),
        ),
        (
            annotation::EXCLUDE_OUTBOUND_PORTS,
            capture.exclude_outbound_ports.clone(),
        ),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect()
}

/// Adds the plugin's network to a Multus annotation, which is a comma-separated list or a JSON array.
fn with_network(existing: Option<&str>) -> String {
    const NETWORK: &str = "istio-cni";
    const NAMESPACE: &str = "default";
    let short = format!("{NAMESPACE}/{NETWORK}");
    let existing = existing.unwrap_or_default().trim();
    if existing.is_empty() {
        return short;
    }
    if existing.contains(NETWORK) {
        return existing.to_owned();
    }
    match serde_json::from_str::<Vec<serde_json::Value>>(existing) {
        Ok(mut networks) => {
            networks.push(serde_json::json!({"name": NETWORK, "namespace": NAMESPACE}));
            serde_json::Value::Array(networks).to_string()
        }
        Err(_) => format!("{existing}, {short}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_appended_in_either_form() {
        assert_eq!(with_network(None), "default/istio-cni");
        assert_eq!(with_network(Some("a")), "a, default/istio-cni");
        assert_eq!(
            with_network(Some(r#"[{"name":"a"}]"#)),
            r#"[{"name":"a"},{"name":"istio-cni","namespace":"default"}]"#
        );
        assert_eq!(with_network(Some("default/istio-cni")), "default/istio-cni");
    }
}
