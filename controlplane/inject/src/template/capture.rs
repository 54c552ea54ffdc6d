//! The init container that captures traffic, or that checks the network plugin's capture.

use ironsail_mesh::mesh_config::MeshConfig;
use k8s_openapi::api::core::v1::{Capabilities, Container, EnvVar, SecurityContext};

use super::Context;
use crate::settings::{Capture, InterceptionMode};
use crate::{INIT_CONTAINER, PROXY_UID, VALIDATION_CONTAINER};

/// Ports of the proxy that are never captured: Prometheus and readiness.
const PROXY_PORTS: &str = "15090,15021";

/// `None` when nothing is captured.
pub(super) fn container(context: &Context<'_>) -> Option<Container> {
    let settings = context.settings;
    if settings.capture.mode == InterceptionMode::None {
        return None;
    }
    let name = match context.cni() {
        true => VALIDATION_CONTAINER,
        false => INIT_CONTAINER,
    };
    let env: Vec<EnvVar> = super::env::proxy_metadata(context);
    Some(Container {
        name: name.to_owned(),
        image: Some(settings.init_image.clone()),
        image_pull_policy: context.pull_policy(),
        args: Some(args(context)),
        env: (!env.is_empty()).then_some(env),
        resources: settings.resources.clone(),
        security_context: Some(security_context(context)),
        ..Default::default()
    })
}

fn args(context: &Context<'_>) -> Vec<String> {
    let capture = &context.settings.capture;
    let mut args = vec!["istio-iptables".to_owned()];
    args.extend(rules(context.mesh, capture));
    args.push(format!(
        "--log_output_level={}",
        context.settings.agent_log_level
    ));
    let global = context.global();
    let switches = [
        (global.log_as_json, "--log_as_json"),
        (context.cni(), "--run-validation"),
        (context.cni(), "--skip-rule-apply"),
        (
            !context.cni() && global.proxy_init.force_apply_iptables,
            "--force-apply",
        ),
        (global.native_nftables, "--native-nftables"),
    ];
    args.extend(
        switches
            .into_iter()
            .filter(|(on, _)| *on)
            .map(|(_, switch)| switch.to_owned()),
    );
    args
}

fn rules(mesh: &MeshConfig, capture: &Capture) -> Vec<String> {
    let port = |key: &str, default: u16| {
        let configured = mesh.other.get(key).and_then(serde_json::Value::as_u64);
        configured.unwrap_or(u64::from(default)).to_string()
    };
    let excluded = match capture.exclude_inbound_ports.as_str() {
        "" => PROXY_PORTS.to_owned(),
        ports => format!("{PROXY_PORTS},{ports}"),
    };
    let required = [
        ("-p", port("proxyListenPort", 15001)),
        ("-z", port("proxyInboundListenPort", 15006)),
        ("-u", PROXY_UID.to_string()),
        ("-m", capture.mode.as_str().to_owned()),
        ("-i", capture.include_outbound_ip_ranges.clone()),
        ("-x", capture.exclude_outbound_ip_ranges.clone()),
        ("-b", capture.include_inbound_ports.clone()),
        ("-d", excluded),
    ];
    let optional = [
        ("-q", &capture.include_outbound_ports),
        ("-o", &capture.exclude_outbound_ports),
        ("-k", &capture.virtual_interfaces),
        ("-c", &capture.exclude_interfaces),
    ];
    let optional = optional
        .into_iter()
        .filter_map(|(flag, value)| Some((flag, value.clone()?)));
    required
        .into_iter()
        .chain(optional)
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
}

fn security_context(context: &Context<'_>) -> SecurityContext {
    let privileged = context.global().proxy.privileged;
    let all = vec!["ALL".to_owned()];
    let base = SecurityContext {
        allow_privilege_escalation: Some(privileged),
        privileged: Some(privileged),
        seccomp_profile: context.settings.seccomp_profile.clone(),
        ..Default::default()
    };
    match context.cni() {
        true => SecurityContext {
            capabilities: Some(Capabilities {
                add: None,
                drop: Some(all),
            }),
            read_only_root_filesystem: Some(true),
            run_as_group: Some(PROXY_UID),
            run_as_user: Some(PROXY_UID),
            run_as_non_root: Some(true),
            ..base
        },
        false => SecurityContext {
            capabilities: Some(Capabilities {
                add: Some(vec!["NET_ADMIN".to_owned(), "NET_RAW".to_owned()]),
                drop: Some(all),
            }),
            read_only_root_filesystem: Some(false),
            run_as_group: Some(0),
            run_as_user: Some(0),
            run_as_non_root: Some(false),
            ..base
        },
    }
}
