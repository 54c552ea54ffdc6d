//! Pod of a gateway.

use std::collections::BTreeMap;

use ironsail_mesh::label;
use k8s_openapi::api::core::v1::{
    Affinity, ConfigMapVolumeSource, Container, ContainerPort, DownwardAPIVolumeFile,
    DownwardAPIVolumeSource, EmptyDirVolumeSource, EnvVar, HTTPGetAction, NodeAffinity,
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectFieldSelector, PodAffinityTerm,
    PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, PreferredSchedulingTerm, Probe,
    SecurityContext, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{GatewayInstance, canonical_revision, sets, target, trust_domain};
use crate::component::istiod::deployment::{drop_all, log_arguments, tcp_port, token_volume};
use crate::component::{
    Labels, env, env_field, env_map, env_resource, given, mount, mount_read_only, optional_secret,
    root_certificate, some_list,
};
use crate::value::scalar_text;
use crate::values::gateway::{self as values, Gateway};
use crate::values::global::non_empty;

/// User and group of every proxy.
const PROXY_ID: i64 = 1337;

/// The pod template.
pub fn template(gateway: &GatewayInstance<'_>) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels(gateway)),
            annotations: Some(annotations(gateway)),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(gateway)),
    }
}

fn labels(gateway: &GatewayInstance<'_>) -> Labels {
    let mut labels = gateway.own_labels();
    let mut more = vec![(label::INJECT, gateway.is_injected().to_string())];
    if !gateway.is_injected() {
        more.extend([
            (label::CANONICAL_NAME, gateway.values.name.clone()),
            (label::CANONICAL_REVISION, canonical_revision(gateway)),
            ("istio.io/dataplane-mode", "none".to_owned()),
        ]);
    }
    // Selectors of the oldest installations, which were only ever in this namespace.
    if gateway.namespace == ironsail_mesh::mesh_config::DEFAULT_ROOT_NAMESPACE {
        more.extend([
            ("heritage", "Tiller".to_owned()),
            ("release", "istio".to_owned()),
            ("chart", "gateways".to_owned()),
        ]);
    }
    labels.extend(gateway.labels.plain(&[]));
    labels.extend(gateway.labels.identity());
    if gateway.is_injected() && gateway.resolved.revision.is_default() {
        labels.remove(label::REVISION);
    }
    labels.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
    labels
}

fn annotations(gateway: &GatewayInstance<'_>) -> Labels {
    let revision = gateway.resolved.revision.label();
    let own = match gateway.values.injection_template.as_str() {
        "" => [(label::REVISION, revision), (label::INJECT, "false")],
        template => [
            ("inject.istio.io/templates", template),
            (label::INJECT, "true"),
        ],
    };
    let mut annotations: Labels = own
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    if gateway.mesh.enable_prometheus_merge {
        for (key, value) in [
            ("port", "15020"),
            ("scrape", "true"),
            ("path", "/stats/prometheus"),
        ] {
            annotations.insert(format!("prometheus.io/{key}"), value.to_owned());
        }
    }
    annotations.extend(gateway.values.pod_annotations.clone());
    annotations
}

fn spec(gateway: &GatewayInstance<'_>) -> PodSpec {
    let values = &gateway.values;
    let global = &gateway.global;
    // OpenShift gives each namespace ids of its own.
    let proxy_id = (gateway.platform != "openshift").then_some(PROXY_ID);
    let mut containers = vec![match gateway.is_injected() {
        true => stub(gateway),
        false => container(gateway),
    }];
    containers.extend(values.additional_containers.iter().cloned());
    let tolerations = match values.tolerations.as_slice() {
        [] => global.default_tolerations.clone(),
        own => own.to_vec(),
    };
    PodSpec {
        security_context: (!values.run_as_root).then(|| PodSecurityContext {
            run_as_user: proxy_id,
            run_as_group: proxy_id,
            run_as_non_root: Some(true),
            seccomp_profile: given(&values.seccomp_profile),
            ..PodSecurityContext::default()
        }),
        service_account_name: Some(gateway.account()),
        priority_class_name: non_empty(&global.priority_class_name),
        containers,
        volumes: match gateway.is_injected() {
            true => some_list(own_volumes(gateway)),
            false => Some(volumes(gateway)),
        },
        affinity: affinity(gateway),
        tolerations: some_list(tolerations),
        ..PodSpec::default()
    }
}

/// What the control plane adds image, arguments and volumes to.
fn stub(gateway: &GatewayInstance<'_>) -> Container {
    let values = &gateway.values;
    let unprivileged = env("ISTIO_META_UNPRIVILEGED_POD", "true");
    let mut environment: Vec<EnvVar> = env_map(&values.env).collect();
    if !values.run_as_root {
        environment.insert(0, unprivileged);
    }
    Container {
        name: "istio-proxy".into(),
        image: Some("auto".into()),
        image_pull_policy: gateway.global.pull_policy(),
        ports: Some(ports(gateway)),
        security_context: security_context(gateway),
        resources: values.resources.or(&gateway.global.default_resources),
        env: some_list(environment),
        volume_mounts: some_list(own_mounts(gateway)),
        ..Container::default()
    }
}

fn container(gateway: &GatewayInstance<'_>) -> Container {
    let values = &gateway.values;
    let global = &gateway.global;
    let variant = &global.proxy.variant;
    Container {
        image: Some(global.image(
            (&global.proxy.image, "proxyv2"),
            &values.hub,
            &values.tag,
            variant,
        )),
        args: Some(arguments(gateway)),
        readiness_probe: Some(Probe {
            failure_threshold: Some(30),
            http_get: Some(HTTPGetAction {
                path: Some("/healthz/ready".into()),
                port: IntOrString::Int(15021),
                scheme: Some("HTTP".into()),
                ..HTTPGetAction::default()
            }),
            initial_delay_seconds: Some(1),
            period_seconds: Some(2),
            success_threshold: Some(1),
            timeout_seconds: Some(1),
            ..Probe::default()
        }),
        env: Some(environment(gateway)),
        volume_mounts: Some(mounts(gateway)),
        ..stub(gateway)
    }
}

fn security_context(gateway: &GatewayInstance<'_>) -> Option<SecurityContext> {
    (!gateway.values.run_as_root).then(|| SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(drop_all()),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    })
}

fn ports(gateway: &GatewayInstance<'_>) -> Vec<ContainerPort> {
    let own = gateway.values.ports.iter().filter_map(|port| {
        let IntOrString::Int(number) = target(port) else {
            return None;
        };
        let mut container = tcp_port(number, None);
        if let Some(protocol) = &port.protocol {
            container.protocol = Some(protocol.clone());
        }
        Some(container)
    });
    own.chain([tcp_port(15090, Some("http-envoy-prom"))])
        .collect()
}

fn arguments(gateway: &GatewayInstance<'_>) -> Vec<String> {
    let global = &gateway.global;
    let domain = &global.proxy.cluster_domain;
    let mut arguments = vec![
        "proxy".to_owned(),
        "router".to_owned(),
        "--domain".to_owned(),
        format!("$(POD_NAMESPACE).svc.{domain}"),
    ];
    for (flag, level) in [
        ("--proxyLogLevel", &global.proxy.log_level),
        (
            "--proxyComponentLogLevel",
            &global.proxy.component_log_level,
        ),
    ] {
        arguments.extend(non_empty(level).map(|level| format!("{flag}={level}")));
    }
    arguments.extend(log_arguments(global));
    if global.sts.service_port > 0 {
        arguments.push(format!("--stsPort={}", global.sts.service_port));
    }
    arguments
}

fn environment(gateway: &GatewayInstance<'_>) -> Vec<EnvVar> {
    let values = &gateway.values;
    let global = &gateway.global;
    let name = &values.name;
    let namespace = &gateway.namespace;
    let istiod = gateway.resolved.revision.suffixed("istiod");
    let authority = non_empty(&global.ca_address)
        .unwrap_or_else(|| format!("{istiod}.{}.svc:15012", gateway.resolved.istio_namespace));
    let mesh_id = match global.mesh_id.0.as_str() {
        "" => trust_domain(&gateway.mesh),
        id => id,
    };
    let mut list = vec![
        env("PILOT_CERT_PROVIDER", &global.pilot_cert_provider),
        env("CA_ADDR", authority),
        env_field("NODE_NAME", "spec.nodeName", Some("v1")),
        env_field("POD_NAME", "metadata.name", Some("v1")),
        env_field("POD_NAMESPACE", "metadata.namespace", Some("v1")),
        env_field("INSTANCE_IP", "status.podIP", Some("v1")),
        env_field("HOST_IP", "status.hostIP", Some("v1")),
        env_resource("ISTIO_CPU_LIMIT", "limits.cpu", Some("1")),
        env_field("SERVICE_ACCOUNT", "spec.serviceAccountName", None),
        env("ISTIO_META_WORKLOAD_NAME", name),
        env(
            "ISTIO_META_OWNER",
            format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{name}"),
        ),
        env("ISTIO_META_MESH_ID", mesh_id),
        env("TRUST_DOMAIN", trust_domain(&gateway.mesh)),
    ];
    if !values.run_as_root {
        list.push(env("ISTIO_META_UNPRIVILEGED_POD", "true"));
    }
    list.extend(env_map(&values.env));
    list.extend(env_map(&gateway.mesh.default_config.proxy_metadata));
    if !global.network.is_empty() && !sets(&values.env, "ISTIO_META_NETWORK") {
        list.push(env("ISTIO_META_NETWORK", &global.network.0));
    }
    list.push(env("ISTIO_META_CLUSTER_ID", global.cluster_name()));
    list.push(env_field("ISTIO_META_NODE_NAME", "spec.nodeName", None));
    list
}

fn mounts(gateway: &GatewayInstance<'_>) -> Vec<VolumeMount> {
    let mut mounts = vec![
        mount("workload-socket", "/var/run/secrets/workload-spiffe-uds"),
        mount("credential-socket", "/var/run/secrets/credential-uds"),
        mount(
            "workload-certs",
            "/var/run/secrets/workload-spiffe-credentials",
        ),
        mount("istio-envoy", "/etc/istio/proxy"),
        mount("config-volume", "/etc/istio/config"),
    ];
    if gateway.global.pilot_cert_provider == "istiod" {
        mounts.push(mount("istiod-ca-cert", "/var/run/secrets/istio"));
    }
    mounts.push(mount_read_only("istio-token", "/var/run/secrets/tokens"));
    if gateway.global.mount_mtls_certs {
        mounts.push(mount_read_only("istio-certs", "/etc/certs"));
    }
    mounts.push(mount("istio-data", "/var/lib/istio/data"));
    mounts.push(mount("podinfo", "/etc/istio/pod"));
    mounts.extend(own_mounts(gateway));
    mounts
}

/// What the values ask to be mounted.
fn own_mounts(gateway: &GatewayInstance<'_>) -> Vec<VolumeMount> {
    let values = &gateway.values;
    let secrets = values.secret_volumes.iter();
    let secrets = secrets.map(|volume| mount_read_only(&volume.name, &volume.mount_path));
    let configs = values.config_volumes.iter();
    let configs = configs
        .filter(|volume| !volume.mount_path.is_empty())
        .map(|volume| mount_read_only(&volume.name, &volume.mount_path));
    secrets.chain(configs).collect()
}

fn empty_dir(name: &str) -> Volume {
    Volume {
        name: name.into(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

fn optional_config_map(volume: &str, name: &str) -> Volume {
    Volume {
        name: volume.into(),
        config_map: Some(ConfigMapVolumeSource {
            name: name.into(),
            optional: Some(true),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn volumes(gateway: &GatewayInstance<'_>) -> Vec<Volume> {
    let global = &gateway.global;
    let mut volumes = ["workload-socket", "credential-socket", "workload-certs"]
        .map(empty_dir)
        .to_vec();
    if global.pilot_cert_provider == "istiod" {
        volumes.push(root_certificate(
            "istiod-ca-cert",
            &global.trust_bundle_name,
            gateway.trusts_cluster_bundle,
        ));
    }
    volumes.push(pod_info());
    volumes.push(empty_dir("istio-envoy"));
    volumes.push(empty_dir("istio-data"));
    volumes.push(token_volume(&global.sds.token.aud));
    if global.mount_mtls_certs {
        let account = format!("istio.{}-service-account", gateway.kind.root());
        volumes.push(optional_secret("istio-certs", &account));
    }
    let mesh = gateway.resolved.revision.suffixed("istio");
    volumes.push(optional_config_map("config-volume", &mesh));
    volumes.extend(own_volumes(gateway));
    volumes
}

/// Secrets and ConfigMaps that the values ask for; they may be missing.
fn own_volumes(gateway: &GatewayInstance<'_>) -> Vec<Volume> {
    let values = &gateway.values;
    let secrets = values.secret_volumes.iter();
    let secrets = secrets.map(|volume| optional_secret(&volume.name, &volume.secret_name));
    let configs = values.config_volumes.iter();
    let configs = configs.map(|v| optional_config_map(&v.name, &v.config_map_name));
    secrets.chain(configs).collect()
}

/// The pod's labels and annotations as files.
fn pod_info() -> Volume {
    let file = |name: &str| DownwardAPIVolumeFile {
        path: name.into(),
        field_ref: Some(ObjectFieldSelector {
            field_path: format!("metadata.{name}"),
            ..ObjectFieldSelector::default()
        }),
        ..DownwardAPIVolumeFile::default()
    };
    Volume {
        name: "podinfo".into(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(vec![file("labels"), file("annotations")]),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Nodes by architecture and selector.
fn affinity(gateway: &GatewayInstance<'_>) -> Option<Affinity> {
    if let Some(own) = given(&gateway.values.affinity) {
        return Some(own);
    }
    let global = &gateway.global;
    let selector = match gateway.values.node_selector.is_empty() {
        true => &global.default_node_selector,
        false => &gateway.values.node_selector,
    };
    let arch = |values: Vec<String>| requirement("kubernetes.io/arch", values);
    let wanted: BTreeMap<_, _> = global
        .arch
        .iter()
        .filter(|(_, weight)| **weight > 0)
        .collect();
    let mut expressions = Vec::new();
    if !wanted.is_empty() {
        expressions.push(arch(wanted.keys().map(|name| (*name).clone()).collect()));
    }
    expressions.extend(
        selector
            .iter()
            .map(|(key, value)| requirement(key, vec![value.clone()])),
    );
    let preferred = wanted.iter().map(|(name, weight)| PreferredSchedulingTerm {
        weight: i32::try_from(**weight).unwrap_or(i32::MAX),
        preference: term(vec![arch(vec![(*name).clone()])]),
    });
    let required = (!expressions.is_empty()).then(|| NodeSelector {
        node_selector_terms: vec![term(expressions)],
    });
    let node = NodeAffinity {
        preferred_during_scheduling_ignored_during_execution: some_list(preferred.collect()),
        required_during_scheduling_ignored_during_execution: required,
    };
    let affinity = Affinity {
        node_affinity: given(&Some(node)),
        pod_anti_affinity: given(&Some(anti_affinity(&gateway.values))),
        ..Affinity::default()
    };
    given(&Some(affinity))
}

/// Nodes of other pods that are avoided, strictly or if possible.
fn anti_affinity(values: &Gateway) -> PodAntiAffinity {
    let strict = values.pod_anti_affinity_label_selector.iter();
    let soft = values.pod_anti_affinity_term_label_selector.iter();
    let soft = soft.map(|avoided| WeightedPodAffinityTerm {
        weight: 100,
        pod_affinity_term: pods(avoided),
    });
    PodAntiAffinity {
        required_during_scheduling_ignored_during_execution: some_list(strict.map(pods).collect()),
        preferred_during_scheduling_ignored_during_execution: some_list(soft.collect()),
    }
}

fn pods(avoided: &values::PodAntiAffinity) -> PodAffinityTerm {
    PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: avoided.key.clone(),
                operator: avoided.operator.clone(),
                values: some_list(listed(&avoided.values)),
            }]),
            ..LabelSelector::default()
        }),
        namespaces: some_list(listed(&avoided.namespaces)),
        topology_key: avoided.topology_key.clone(),
        ..PodAffinityTerm::default()
    }
}

/// Items of a list, or of a text with commas.
fn listed(values: &Value) -> Vec<String> {
    if let Value::Array(items) = values {
        return items.iter().filter_map(scalar_text).collect();
    }
    let text = scalar_text(values).unwrap_or_default();
    let items = text.split(',').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

fn requirement(key: &str, values: Vec<String>) -> NodeSelectorRequirement {
    NodeSelectorRequirement {
        key: key.to_owned(),
        operator: "In".to_owned(),
        values: Some(values),
    }
}

fn term(expressions: Vec<NodeSelectorRequirement>) -> NodeSelectorTerm {
    NodeSelectorTerm {
        match_expressions: Some(expressions),
        ..NodeSelectorTerm::default()
    }
}
