//! The proxy's container as far as both templates share it.

use k8s_openapi::api::core::v1::{Container, ContainerPort, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Context, env, volumes};
use crate::PROXY_CONTAINER;

/// Port of the proxy's readiness.
const READINESS_PORT: i32 = 15021;
const READINESS_PATH: &str = "/healthz/ready";
const PROMETHEUS_PORT: i32 = 15090;

/// `role` is the agent's: `sidecar` or `router`.
pub(super) fn container(context: &Context<'_>, role: &str) -> Container {
    let settings = context.settings;
    Container {
        name: PROXY_CONTAINER.to_owned(),
        image: Some(settings.proxy_image.clone()),
        image_pull_policy: context.pull_policy(),
        args: Some(args(context, role)),
        env: Some(env::proxy(context)),
        ports: Some(vec![ContainerPort {
            container_port: PROMETHEUS_PORT,
            name: Some("http-envoy-prom".to_owned()),
            protocol: Some("TCP".to_owned()),
            ..Default::default()
        }]),
        lifecycle: settings.lifecycle.clone(),
        readiness_probe: (settings.status_port != 0).then(|| readiness(context)),
        volume_mounts: Some(volumes::mounts(context)),
        ..Default::default()
    }
}

fn args(context: &Context<'_>, role: &str) -> Vec<String> {
    let settings = context.settings;
    let global = context.global();
    let mut args = vec![
        "proxy".to_owned(),
        role.to_owned(),
        "--domain".to_owned(),
        format!("$(POD_NAMESPACE).svc.{}", global.proxy.cluster_domain),
        format!("--proxyLogLevel={}", settings.log_level),
        format!("--proxyComponentLogLevel={}", settings.component_log_level),
        format!("--log_output_level={}", settings.agent_log_level),
    ];
    if !matches!(global.sts.service_port.as_str(), "" | "0") {
        args.push(format!("--stsPort={}", global.sts.service_port));
    }
    if global.log_as_json {
        args.push("--log_as_json".to_owned());
    }
    if !global.proxy.outlier_log_path.is_empty() {
        args.push(format!(
            "--outlierLogPath={}",
            global.proxy.outlier_log_path
        ));
    }
    args
}

fn readiness(context: &Context<'_>) -> Probe {
    let timing = context.settings.readiness;
    Probe {
        // Zero is what the API server assumes.
        initial_delay_seconds: (timing.initial_delay != 0).then_some(timing.initial_delay),
        period_seconds: Some(timing.period),
        failure_threshold: Some(timing.failure_threshold),
        ..ready_probe()
    }
}

/// Asks the proxy's readiness port.
pub(super) fn ready_probe() -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(READINESS_PATH.to_owned()),
            port: IntOrString::Int(READINESS_PORT),
            ..Default::default()
        }),
        timeout_seconds: Some(3),
        ..Default::default()
    }
}
