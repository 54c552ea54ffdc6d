//! Deployment of the control plane.

use ironsail_mesh::label;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    HTTPGetAction, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, SecurityContext,
    ServiceAccountTokenProjection, Toleration, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Pilot;
use crate::component::{
    Labels, Scale, env, env_field, env_map, given, match_labels, mount, mount_read_only,
    namespaced, optional_secret, some, some_list, trust_bundle, trusts_cluster_bundle,
};
use crate::value::scalar_text;
use crate::values::global::{Global, non_empty};

/// Lifetime of a projected account token: 12 hours.
const TOKEN_SECONDS: i64 = 43_200;

/// The Deployment.
pub fn render(pilot: &Pilot<'_>, scale: &Scale<'_>) -> Deployment {
    let values = &pilot.values;
    let mut labels = pilot.app_labels();
    labels.extend(values.deployment_labels.clone());
    let mut metadata = namespaced(&pilot.name, &pilot.namespace, labels);
    metadata.annotations = some(values.deployment_annotations.clone());
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: scale.replicas(),
            strategy: Some(rolling_update(
                values.rolling_max_surge.clone(),
                values.rolling_max_unavailable.clone(),
            )),
            selector: match_labels(selector(pilot)),
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(pilot)),
                spec: Some(pod(pilot)),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// A strategy without a type, which is a rolling update.
pub(in crate::component) fn rolling_update(
    max_surge: Option<IntOrString>,
    max_unavailable: Option<IntOrString>,
) -> DeploymentStrategy {
    DeploymentStrategy {
        rolling_update: Some(RollingUpdateDeployment {
            max_surge,
            max_unavailable,
        }),
        ..DeploymentStrategy::default()
    }
}

/// Can't be changed on an existing Deployment; the same since 1.5.
fn selector(pilot: &Pilot<'_>) -> Labels {
    match pilot.resolved.revision.is_default() {
        true => [("istio".to_owned(), "pilot".to_owned())].into(),
        false => pilot.pod_selector(),
    }
}

fn pod_metadata(pilot: &Pilot<'_>) -> ObjectMeta {
    let istio = match pilot.resolved.revision.is_default() {
        true => "pilot",
        false => "istiod",
    };
    let mut labels = pilot.labels.plain(&[
        ("app", "istiod"),
        ("istio", istio),
        (label::INJECT, "false"),
        ("istio.io/dataplane-mode", "none"),
    ]);
    labels.extend(pilot.labels.identity());
    labels.extend(pilot.values.pod_labels.clone());
    let mut annotations: Labels = [
        ("prometheus.io/port", "15014"),
        ("prometheus.io/scrape", "true"),
        (label::INJECT, "false"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    annotations.extend(pilot.values.pod_annotations.clone());
    ObjectMeta {
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}

fn pod(pilot: &Pilot<'_>) -> PodSpec {
    let values = &pilot.values;
    let not_ready = Toleration {
        key: Some("cni.istio.io/not-ready".into()),
        operator: Some("Exists".into()),
        ..Toleration::default()
    };
    let tolerations = [vec![not_ready], values.tolerations.clone()].concat();
    PodSpec {
        service_account_name: Some(pilot.name.clone()),
        priority_class_name: non_empty(&values.global.priority_class_name),
        node_selector: some(values.node_selector.clone()),
        affinity: given(&values.affinity),
        tolerations: Some(tolerations),
        topology_spread_constraints: some_list(values.topology_spread_constraints.clone()),
        init_containers: some_list(values.init_containers.clone()),
        containers: vec![container(pilot)],
        volumes: Some(volumes(pilot)),
        ..PodSpec::default()
    }
}

fn container(pilot: &Pilot<'_>) -> Container {
    let values = &pilot.values;
    let global = &values.global;
    Container {
        name: "discovery".into(),
        image: Some(pilot.image()),
        image_pull_policy: global.pull_policy(),
        args: Some(arguments(pilot)),
        ports: Some(
            [
                (8080, "http-debug"),
                (15010, "grpc-xds"),
                (15012, "tls-xds"),
                (15017, "https-webhooks"),
                (15014, "http-monitoring"),
            ]
            .map(|(port, name)| tcp_port(port, Some(name)))
            .into(),
        ),
        env: Some(environment(pilot)),
        readiness_probe: Some(Probe {
            http_get: Some(HTTPGetAction {
                path: Some("/ready".into()),
                port: IntOrString::Int(8080),
                ..HTTPGetAction::default()
            }),
            initial_delay_seconds: Some(1),
            period_seconds: Some(3),
            timeout_seconds: Some(5),
            ..Probe::default()
        }),
        resources: values.resources.or(&global.default_resources),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(drop_all()),
            seccomp_profile: given(&values.seccomp_profile),
            ..SecurityContext::default()
        }),
        termination_message_policy: non_empty(&values.termination_message_policy),
        volume_mounts: Some(mounts(pilot)),
        ..Container::default()
    }
}

pub(crate) fn drop_all() -> Capabilities {
    Capabilities {
        drop: Some(vec!["ALL".into()]),
        ..Capabilities::default()
    }
}

pub(crate) fn tcp_port(port: i32, name: Option<&str>) -> ContainerPort {
    ContainerPort {
        container_port: port,
        name: name.map(str::to_owned),
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

/// `--log_output_level` and `--log_as_json`, where they are set.
pub(in crate::component) fn log_arguments(global: &Global) -> Vec<String> {
    let level = &global.logging.level;
    let mut arguments = Vec::new();
    if !level.is_empty() {
        arguments.push(format!("--log_output_level={level}"));
    }
    if global.log_as_json {
        arguments.push("--log_as_json".to_owned());
    }
    arguments
}

fn arguments(pilot: &Pilot<'_>) -> Vec<String> {
    let values = &pilot.values;
    let mut arguments = vec!["discovery".to_owned(), "--monitoringAddr=:15014".to_owned()];
    arguments.extend(log_arguments(&values.global));
    arguments.extend([
        "--domain".to_owned(),
        values.global.proxy.cluster_domain.clone(),
    ]);
    if !values.taint.namespace.is_empty() {
        arguments.push(format!("--cniNamespace={}", values.taint.namespace));
    }
    arguments.extend([
        "--keepaliveMaxServerConnectionAge".to_owned(),
        values.keepalive_max_server_connection_age.0.clone(),
    ]);
    arguments.extend(
        values
            .extra_container_args
            .iter()
            .map(|argument| argument.0.clone()),
    );
    arguments
}

fn environment(pilot: &Pilot<'_>) -> Vec<EnvVar> {
    let values = &pilot.values;
    let global = &values.global;
    let has = |name: &str| values.env.contains_key(name);
    let mut list = vec![
        env("REVISION", pilot.resolved.revision.label()),
        env("PILOT_CERT_PROVIDER", &global.pilot_cert_provider),
        env_field("POD_NAME", "metadata.name", Some("v1")),
        env_field("POD_NAMESPACE", "metadata.namespace", Some("v1")),
        env_field("SERVICE_ACCOUNT", "spec.serviceAccountName", Some("v1")),
        env("KUBECONFIG", "/var/run/secrets/remote/config"),
    ];
    if !has("CA_TRUSTED_NODE_ACCOUNTS") {
        let or = |own: &str, default: &str| non_empty(own).unwrap_or_else(|| default.to_owned());
        let namespace = or(&values.trusted_ztunnel_namespace, &pilot.namespace);
        let name = or(&values.trusted_ztunnel_name, "ztunnel");
        list.push(env(
            "CA_TRUSTED_NODE_ACCOUNTS",
            format!("{namespace}/{name}"),
        ));
    }
    list.extend(env_map(&values.env));
    let compliance = values.env.get("COMPLIANCE_POLICY").and_then(scalar_text);
    if compliance.as_deref() == Some("fips-140-3") {
        list.push(env("GODEBUG", "fips140=only"));
    }
    list.extend(values.env_var_from.iter().cloned());
    if values.trace_sampling > 0.0 {
        list.push(env(
            "PILOT_TRACE_SAMPLING",
            values.trace_sampling.to_string(),
        ));
    }
    if values.taint.enabled {
        list.push(env("PILOT_ENABLE_NODE_UNTAINT_CONTROLLERS", "true"));
        let name = non_empty(&values.taint.name);
        list.extend(name.map(|name| env("PILOT_NODE_UNTAINT_CONTROLLERS_TAINT_NAME", name)));
    }
    if global.external_istiod && !has("EXTERNAL_ISTIOD") {
        list.push(env("EXTERNAL_ISTIOD", "true"));
    }
    for (name, value) in [
        ("PILOT_CA_CERT_CONFIGMAP", &global.trust_bundle_name),
        ("PILOT_CRL_CONFIGMAP", &values.crl_config_map_name),
    ] {
        list.extend(non_empty(value).map(|value| env(name, value)));
    }
    list.extend([
        env(
            "PILOT_ENABLE_ANALYSIS",
            global.istiod.enable_analysis.to_string(),
        ),
        env("CLUSTER_ID", global.cluster_name()),
        env("PLATFORM", global.platform_or(&values.platform)),
    ]);
    list
}

fn mounts(pilot: &Pilot<'_>) -> Vec<VolumeMount> {
    let mut mounts = vec![
        mount_read_only("istio-token", "/var/run/secrets/tokens"),
        mount("local-certs", "/var/run/secrets/istio-dns"),
        mount_read_only("cacerts", "/etc/cacerts"),
        mount_read_only("istio-kubeconfig", "/var/run/secrets/remote"),
    ];
    if !pilot.values.jwks_resolver_extra_root_ca.is_empty() {
        mounts.push(mount("extracacerts", "/cacerts"));
    }
    mounts.extend([
        mount_read_only("istio-csr-dns-cert", "/var/run/secrets/istiod/tls"),
        mount_read_only("istio-csr-ca-configmap", "/var/run/secrets/istiod/ca"),
    ]);
    mounts.extend(pilot.values.volume_mounts.iter().cloned());
    mounts
}

fn volumes(pilot: &Pilot<'_>) -> Vec<Volume> {
    let global = &pilot.values.global;
    let mut volumes = vec![
        Volume {
            name: "local-certs".into(),
            empty_dir: Some(EmptyDirVolumeSource {
                medium: Some("Memory".into()),
                ..EmptyDirVolumeSource::default()
            }),
            ..Volume::default()
        },
        token_volume(&global.sds.token.aud),
        optional_secret("cacerts", "cacerts"),
        optional_secret("istio-kubeconfig", "istio-kubeconfig"),
        optional_secret("istio-csr-dns-cert", "istiod-tls"),
        root_volume(pilot),
    ];
    if !pilot.values.jwks_resolver_extra_root_ca.is_empty() {
        volumes.push(Volume {
            name: "extracacerts".into(),
            config_map: Some(ConfigMapVolumeSource {
                name: pilot.suffixed("pilot-jwks-extra-cacerts"),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    volumes.extend(pilot.values.volumes.iter().cloned());
    volumes
}

/// The root certificate that others made, if they did.
fn root_volume(pilot: &Pilot<'_>) -> Volume {
    let name = "istio-csr-ca-configmap".to_owned();
    let global = &pilot.values.global;
    if trusts_cluster_bundle(&pilot.values.env) {
        return Volume {
            name,
            projected: Some(trust_bundle(&global.trust_bundle_name, Some(true))),
            ..Volume::default()
        };
    }
    Volume {
        name,
        config_map: Some(ConfigMapVolumeSource {
            name: global.root_cert_config_map().to_owned(),
            default_mode: Some(0o644),
            optional: Some(true),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// The pod's account token for the mesh's certificate authority.
pub(in crate::component) fn token_volume(audience: &str) -> Volume {
    Volume {
        name: "istio-token".into(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![VolumeProjection {
                service_account_token: Some(ServiceAccountTokenProjection {
                    audience: Some(audience.to_owned()),
                    expiration_seconds: Some(TOKEN_SECONDS),
                    path: "istio-token".into(),
                }),
                ..VolumeProjection::default()
            }]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}
