//! Pod of the CNI node agent.

use ironsail_mesh::label;
use k8s_openapi::api::core::v1::{
    AppArmorProfile, Capabilities, ConfigMapEnvSource, Container, EnvFromSource, EnvVar,
    HTTPGetAction, PodSpec, PodTemplateSpec, Probe, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Agent, CONFIG, NAME, NODE};
use crate::component::istiod::deployment::tcp_port;
use crate::component::{
    Labels, env, env_field, env_map, env_resource, given, host_path, mount, mount_read_only,
    se_linux, some_list,
};
use crate::values::global::non_empty;

/// The pod template.
pub fn template(agent: &Agent<'_>) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels(agent)),
            annotations: Some(annotations(agent)),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(agent)),
    }
}

fn labels(agent: &Agent<'_>) -> Labels {
    let mut labels = agent.labels.plain(&[
        ("k8s-app", NODE),
        (label::INJECT, "false"),
        ("istio.io/dataplane-mode", "none"),
    ]);
    labels.extend(agent.values.pod_labels.clone());
    labels
}

fn annotations(agent: &Agent<'_>) -> Labels {
    let mut annotations: Labels = [
        (label::INJECT, "false"),
        ("prometheus.io/scrape", "true"),
        ("prometheus.io/port", "15014"),
        ("prometheus.io/path", "/metrics"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    if agent.values.use_app_armor_annotation {
        let key = "container.apparmor.security.beta.kubernetes.io/install-cni";
        annotations.insert(key.to_owned(), "unconfined".to_owned());
    }
    annotations.extend(agent.values.pod_annotations.clone());
    annotations
}

impl Agent<'_> {
    /// Whether the agent lives in the network of its node.
    fn shares_host_network(&self) -> bool {
        self.values.ambient.enabled && self.values.ambient.share_host_network_namespace
    }

    /// Whether the agent enters network namespaces of pods.
    fn enters_pods(&self) -> bool {
        self.values.repair.repair_pods || self.values.ambient.enabled
    }
}

fn spec(agent: &Agent<'_>) -> PodSpec {
    let values = &agent.values;
    let on_host = agent.shares_host_network();
    PodSpec {
        host_network: on_host.then_some(true),
        dns_policy: on_host.then(|| "ClusterFirstWithHostNet".to_owned()),
        node_selector: Some([("kubernetes.io/os".to_owned(), "linux".to_owned())].into()),
        affinity: given(&values.affinity),
        tolerations: some_list(values.tolerations.clone()),
        priority_class_name: Some("system-node-critical".into()),
        service_account_name: Some(NAME.into()),
        termination_grace_period_seconds: Some(values.termination_grace_period_seconds),
        containers: vec![container(agent)],
        volumes: Some(volumes(agent)),
        ..PodSpec::default()
    }
}

fn container(agent: &Agent<'_>) -> Container {
    let values = &agent.values;
    let global = &values.global;
    let pull = non_empty(&values.pull_policy).or_else(|| global.pull_policy());
    Container {
        name: "install-cni".into(),
        image: Some(agent.image()),
        image_pull_policy: pull,
        command: Some(vec!["install-cni".into()]),
        args: some_list(arguments(agent)),
        ports: Some(vec![tcp_port(15014, Some("metrics"))]),
        readiness_probe: Some(Probe {
            http_get: Some(HTTPGetAction {
                path: Some("/readyz".into()),
                port: IntOrString::Int(8000),
                ..HTTPGetAction::default()
            }),
            ..Probe::default()
        }),
        security_context: Some(security_context(agent)),
        env_from: Some(vec![EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource {
                name: CONFIG.into(),
                ..ConfigMapEnvSource::default()
            }),
            ..EnvFromSource::default()
        }]),
        env: Some(environment(agent)),
        resources: values.resources.or(&global.default_resources),
        volume_mounts: Some(mounts(agent)),
        ..Container::default()
    }
}

fn arguments(agent: &Agent<'_>) -> Vec<String> {
    let own = non_empty(&agent.values.logging.level);
    let level = own.or_else(|| non_empty(&agent.values.global.logging.level));
    let mut arguments: Vec<String> = level
        .map(|level| format!("--log_output_level={level}"))
        .into_iter()
        .collect();
    if agent.values.global.log_as_json {
        arguments.push("--log_as_json".to_owned());
    }
    arguments
}

/// Root without privileges but those that redirection in the network of pods needs.
fn security_context(agent: &Agent<'_>) -> SecurityContext {
    let values = &agent.values;
    let add = [
        "NET_ADMIN",
        "NET_RAW",
        "SYS_PTRACE",
        "SYS_ADMIN",
        "DAC_OVERRIDE",
    ];
    SecurityContext {
        run_as_user: Some(0),
        run_as_group: Some(0),
        run_as_non_root: Some(false),
        privileged: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".into()]),
            add: Some(add.map(str::to_owned).into()),
        }),
        app_armor_profile: (!values.use_app_armor_annotation).then(|| AppArmorProfile {
            type_: "Unconfined".into(),
            ..AppArmorProfile::default()
        }),
        se_linux_options: se_linux(&values.se_linux_options),
        seccomp_profile: given(&values.seccomp_profile),
        ..SecurityContext::default()
    }
}

fn environment(agent: &Agent<'_>) -> Vec<EnvVar> {
    let mut list = vec![
        env_field("REPAIR_NODE_NAME", "spec.nodeName", None),
        env("REPAIR_RUN_AS_DAEMON", "true"),
        env("REPAIR_SIDECAR_ANNOTATION", label::INJECTION_STATUS),
    ];
    if !agent.shares_host_network() {
        list.push(env("ALLOW_SWITCH_TO_HOST_NS", "true"));
    }
    list.extend([
        env_field("NODE_NAME", "spec.nodeName", Some("v1")),
        env_resource("GOMEMLIMIT", "limits.memory", Some("1")),
        env_field("POD_NAME", "metadata.name", None),
        env_field("POD_NAMESPACE", "metadata.namespace", None),
    ]);
    list.extend(env_map(&agent.values.env));
    list
}

fn mounts(agent: &Agent<'_>) -> Vec<VolumeMount> {
    let mut mounts = vec![mount("cni-bin-dir", "/host/opt/cni/bin")];
    if agent.enters_pods() {
        mounts.push(mount_read_only("cni-host-procfs", "/host/proc"));
    }
    mounts.extend([
        mount("cni-net-dir", "/host/etc/cni/net.d"),
        mount("cni-socket-dir", "/var/run/istio-cni"),
    ]);
    if agent.values.ambient.enabled {
        mounts.push(VolumeMount {
            mount_propagation: Some("HostToContainer".into()),
            ..mount("cni-netns-dir", "/host/var/run/netns")
        });
        mounts.push(mount("cni-ztunnel-sock-dir", "/var/run/ztunnel"));
    }
    mounts
}

fn volumes(agent: &Agent<'_>) -> Vec<Volume> {
    let values = &agent.values;
    let bin_dir = match values.cni_bin_dir.as_str() {
        "" => agent.default_bin_dir,
        own => own,
    };
    let made = Some("DirectoryOrCreate");
    let mut volumes = vec![host_path("cni-bin-dir", bin_dir, None)];
    if agent.enters_pods() {
        volumes.push(host_path("cni-host-procfs", "/proc", Some("Directory")));
    }
    if values.ambient.enabled {
        volumes.push(host_path("cni-ztunnel-sock-dir", "/var/run/ztunnel", made));
    }
    volumes.extend([
        host_path("cni-net-dir", &values.cni_conf_dir, None),
        host_path("cni-socket-dir", "/var/run/istio-cni", None),
        host_path("cni-netns-dir", &values.cni_netns_dir, made),
    ]);
    volumes
}
