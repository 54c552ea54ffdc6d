//! The gateway template: the pod's own `istio-proxy` container becomes a router.

use k8s_openapi::api::core::v1::{Container, PodSecurityContext, SecurityContext, Sysctl};
use serde::Deserialize;
use serde_json::Value;

use super::{Addition, Context, proxy, volumes};
use crate::{InjectError, PROXY_UID};

pub(super) fn build(context: &Context<'_>) -> Result<Addition, InjectError> {
    let container = Container {
        security_context: Some(SecurityContext {
            run_as_user: Some(PROXY_UID),
            run_as_group: Some(PROXY_UID),
            ..Default::default()
        }),
        ..proxy::container(context, "router")
    };
    Ok(Addition {
        containers: vec![container],
        volumes: volumes::all(context),
        security_context: Some(security_context(context)?),
        ..Default::default()
    })
}

/// The installation's, or the right to listen on low ports without being root.
fn security_context(context: &Context<'_>) -> Result<PodSecurityContext, InjectError> {
    match &context.config.values.gateways.security_context {
        Some(Value::Object(fields)) if !fields.is_empty() => {
            PodSecurityContext::deserialize(fields)
                .map_err(|error| InjectError::value("gateways.securityContext", error))
        }
        _ => Ok(PodSecurityContext {
            sysctls: Some(vec![Sysctl {
                name: "net.ipv4.ip_unprivileged_port_start".to_owned(),
                value: "0".to_owned(),
            }]),
            ..Default::default()
        }),
    }
}
