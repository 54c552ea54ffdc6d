//! Environment of the proxy.

use ironsail_mesh::proxy_config::ProxyConfig;
use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value};

use super::Context;
use crate::annotation;
use crate::settings::Template;

/// Fields of the proxy configuration that say nothing when they have these values.
const DEFAULTS: [(&str, DefaultValue); 10] = [
    ("configPath", DefaultValue::Text("./etc/istio/proxy")),
    ("binaryPath", DefaultValue::Text("/usr/local/bin/envoy")),
    ("serviceCluster", DefaultValue::Text("istio-proxy")),
    ("drainDuration", DefaultValue::Text("45s")),
    ("terminationDrainDuration", DefaultValue::Text("5s")),
    (
        "discoveryAddress",
        DefaultValue::Text("istiod.istio-system.svc:15012"),
    ),
    ("controlPlaneAuthPolicy", DefaultValue::Text("MUTUAL_TLS")),
    ("proxyAdminPort", DefaultValue::Number(15000)),
    ("statNameLength", DefaultValue::Number(189)),
    ("statusPort", DefaultValue::Number(15020)),
];

enum DefaultValue {
    Text(&'static str),
    Number(u64),
}

/// All variables, in the order of the peer's template.
pub(super) fn proxy(context: &Context<'_>) -> Vec<EnvVar> {
    let global = context.global();
    let mut env = vec![
        value("PILOT_CERT_PROVIDER", &global.pilot_cert_provider),
        value("CA_ADDR", &ca_address(context)),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("INSTANCE_IP", "status.podIP"),
        field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field("HOST_IP", "status.hostIP"),
        resource("ISTIO_CPU_LIMIT", "limits.cpu"),
        value(
            "PROXY_CONFIG",
            &proxy_config(&context.settings.proxy_config),
        ),
        value(
            "ISTIO_META_POD_PORTS",
            &Value::Array(context.pod_ports.clone()).to_string(),
        ),
        value(
            "ISTIO_META_APP_CONTAINERS",
            &context.app_containers.join(","),
        ),
        resource("GOMEMLIMIT", "limits.memory"),
        value(
            "ISTIO_META_CLUSTER_ID",
            or(&global.multi_cluster.cluster_name, "Kubernetes"),
        ),
        field("ISTIO_META_NODE_NAME", "spec.nodeName"),
        value(
            "ISTIO_META_INTERCEPTION_MODE",
            context.settings.capture.mode.as_str(),
        ),
    ];
    env.extend(workload(context));
    if context.settings.template == Template::Sidecar
        && context.settings.bootstrap_override.is_some()
    {
        env.push(value(
            "ISTIO_BOOTSTRAP_OVERRIDE",
            "/etc/istio/custom-bootstrap/custom_bootstrap.json",
        ));
    }
    let trust_domain = context.mesh.trust_domain();
    env.push(value(
        "ISTIO_META_MESH_ID",
        or(&global.mesh_id, trust_domain),
    ));
    env.push(value("TRUST_DOMAIN", trust_domain));
    env.extend(proxy_metadata(context));
    env
}

/// Variables that users set through `proxyMetadata`.
pub(super) fn proxy_metadata(context: &Context<'_>) -> Vec<EnvVar> {
    let metadata = &context.settings.proxy_config.proxy_metadata;
    metadata
        .iter()
        .map(|(name, text)| value(name, text))
        .collect()
}

fn workload(context: &Context<'_>) -> Vec<EnvVar> {
    let mut env = Vec::new();
    if !context.global().network.is_empty() {
        env.push(value("ISTIO_META_NETWORK", &context.global().network));
    }
    let owner = context.owner;
    let labelled = context
        .labels
        .get(annotation::WORKLOAD_NAME_LABEL)
        .filter(|name| !name.is_empty());
    let name = labelled.unwrap_or(&owner.name);
    if !name.is_empty() {
        env.push(value("ISTIO_META_WORKLOAD_NAME", name));
    }
    if !owner.api_version.is_empty() && !owner.name.is_empty() {
        env.push(value(
            "ISTIO_META_OWNER",
            &owner.path(or(context.namespace, "default")),
        ));
    }
    env
}

fn ca_address(context: &Context<'_>) -> String {
    let global = context.global();
    match global.ca_address.as_str() {
        "" => {
            let service = context.revision.suffixed("istiod");
            format!("{service}.{}.svc:15012", global.istio_namespace)
        }
        address => address.to_owned(),
    }
}

/// The merged proxy configuration as JSON, without what the agent assumes anyway.
fn proxy_config(config: &ProxyConfig) -> String {
    let mut fields = match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    for (name, default) in DEFAULTS {
        let is_default = fields.get(name).is_some_and(|value| match default {
            DefaultValue::Text(text) => value == text,
            DefaultValue::Number(number) => value == number,
        });
        if is_default {
            fields.shift_remove(name);
        }
    }
    Value::Object(fields).to_string()
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    match text {
        "" => default,
        text => text,
    }
}

/// A variable; an empty value is left out, as the API server does.
pub(super) fn value(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: (!value.is_empty()).then(|| value.to_owned()),
        value_from: None,
    }
}

fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                api_version: None,
            }),
            ..Default::default()
        }),
    }
}

fn resource(name: &str, resource: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            resource_field_ref: Some(ResourceFieldSelector {
                resource: resource.to_owned(),
                divisor: Some(Quantity("1".to_owned())),
                container_name: None,
            }),
            ..Default::default()
        }),
    }
}
