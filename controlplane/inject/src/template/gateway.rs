//! The gateway template: the pod's own `istio-proxy` container becomes a router.

use k8s_openapi::api::core::v1::{Container, PodSecurityContext, SecurityContext, Sysctl};

use super::{Addition, Context, proxy, volumes};
use crate::settings::decode_value;
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
    let gateways = &context.config.values.gateways;
    let own = decode_value("gateways.securityContext", &gateways.security_context)?;
    if let Some(own) = own {
        return Ok(own);
    }
    Ok(PodSecurityContext {
        sysctls: Some(vec![Sysctl {
            name: "net.ipv4.ip_unprivileged_port_start".to_owned(),
            value: "0".to_owned(),
        }]),
        seccomp_profile: decode_value("gateways.seccompProfile", &gateways.seccomp_profile)?,
        ..Default::default()
    })
}
