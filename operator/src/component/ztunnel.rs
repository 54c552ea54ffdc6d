//! Component `Ztunnel`: the node proxy of ambient mode.

use ironsail_mesh::label;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, HTTPGetAction,
    PodSpec, PodTemplateSpec, Probe, SecurityContext, ServiceAccount, Volume, VolumeMount,
};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::cni::privileged_on;
use super::istiod::deployment::{tcp_port, token_volume};
use super::istiod::{keep_scope, policy};
use super::{
    Component, LabelSet, Labels, Sink, clustered, env, env_field, env_map, env_resource, given,
    host_path, match_labels, mount, namespaced, pull_secrets, resource_quota, role_ref,
    root_certificate, se_linux, service_account, some, some_list, trusts_cluster_bundle,
};
use crate::render::Context;
use crate::settings::{self, Target};
use crate::values::global::{Global, Resources, non_empty};
use crate::values::ztunnel::Ztunnel;
use crate::values::{Resolved, typed};

const NAME: &str = "ztunnel";
/// Where the certificate authority of another cluster's revocation list is mounted.
const REVOKED: &str = "/var/run/secrets/istio/crl";

/// Everything that the objects of the node proxy are made from.
struct NodeProxy<'a> {
    resolved: &'a Resolved,
    values: Ztunnel,
    labels: LabelSet,
    /// Name of all objects.
    name: String,
    namespace: String,
}

/// Renders the component.
pub fn render(resolved: &Resolved, context: &Context, sink: &mut Sink) {
    let Some(component) = resolved.ztunnel() else {
        return;
    };
    let values = resolved.ztunnel_values(&component);
    let values: Ztunnel = match typed(&values) {
        Ok(values) => values,
        Err((path, message)) => {
            return sink.error(resolved.locate(&path, &["ztunnel", "global", ""]), message);
        }
    };
    let proxy = NodeProxy {
        labels: LabelSet::new(
            Component::Ztunnel,
            (NAME, NAME),
            resolved,
            context,
            &values.owner_name,
        ),
        name: non_empty(&values.resource_name).unwrap_or_else(|| NAME.to_owned()),
        namespace: resolved.namespace_of(component.namespace.as_deref()),
        resolved,
        values,
    };
    let mut own = Sink::default();
    own.refuse_own_image(&proxy.image(), "spec.components.ztunnel.enabled");
    objects(&proxy, &mut own);
    keep_scope(proxy.values.resource_scope, &mut own.objects);
    if proxy.values.network_policy.enabled {
        own.add(Component::Ztunnel, &network_policy(&proxy));
    }
    if let Some(k8s) = &component.k8s {
        let target = Target {
            kind: "DaemonSet",
            name: NAME,
            container: "istio-proxy",
            service_ports_from_values: false,
        };
        settings::apply(k8s, "spec.components.ztunnel.k8s", &target, &mut own);
    }
    sink.append(own);
}

impl NodeProxy<'_> {
    fn image(&self) -> String {
        let values = &self.values;
        let shared = Global::default();
        shared.image(
            (&values.image, NAME),
            &values.hub,
            &values.tag,
            &values.variant,
        )
    }

    fn own_labels(&self) -> Labels {
        let mut labels = self.labels.plain(&[]);
        labels.extend(self.values.labels.clone());
        labels
    }

    /// Metadata of an object that shows its revision as an annotation.
    fn annotated(&self, mut metadata: ObjectMeta) -> ObjectMeta {
        let mut annotations = self.values.annotations.clone();
        annotations.extend(self.revision());
        metadata.annotations = some(annotations);
        metadata
    }

    /// The revision, unless it is the default one.
    fn revision(&self) -> Option<(String, String)> {
        let revision = non_empty(self.resolved.revision.as_str())?;
        Some((label::REVISION.to_owned(), revision))
    }
}

fn objects(proxy: &NodeProxy<'_>, sink: &mut Sink) {
    let values = &proxy.values;
    let metadata = || namespaced(&proxy.name, &proxy.namespace, proxy.own_labels());
    sink.add(
        Component::Ztunnel,
        &ServiceAccount {
            metadata: proxy.annotated(metadata()),
            image_pull_secrets: pull_secrets(&values.image_pull_secrets),
            ..ServiceAccount::default()
        },
    );
    if let Some(rule) = privileged_on(&values.platform) {
        let mut labels = proxy.labels.plain(&[("app", NAME)]);
        labels.insert("release".to_owned(), proxy.name.clone());
        labels.insert(
            label::OWNING_RESOURCE.to_owned(),
            proxy.labels.owner.clone(),
        );
        let metadata = clustered(&proxy.name, labels);
        let role = ClusterRole {
            metadata: proxy.annotated(metadata.clone()),
            rules: Some(vec![rule]),
            ..ClusterRole::default()
        };
        sink.add(Component::Ztunnel, &role);
        sink.add(
            Component::Ztunnel,
            &ClusterRoleBinding {
                metadata,
                role_ref: role_ref("ClusterRole", &proxy.name),
                subjects: Some(vec![service_account(&proxy.name, Some(&proxy.namespace))]),
            },
        );
    }
    if values.resource_quotas.enabled {
        let quota = resource_quota(metadata(), &values.resource_quotas);
        sink.add(Component::Ztunnel, &quota);
    }
    sink.add(
        Component::Ztunnel,
        &DaemonSet {
            metadata: proxy.annotated(metadata()),
            spec: Some(DaemonSetSpec {
                selector: match_labels([("app".to_owned(), NAME.to_owned())].into()),
                update_strategy: values.update_strategy.clone(),
                template: template(proxy),
                ..DaemonSetSpec::default()
            }),
            ..DaemonSet::default()
        },
    );
}

fn template(proxy: &NodeProxy<'_>) -> PodTemplateSpec {
    let values = &proxy.values;
    let mut labels = proxy.labels.plain(&[
        ("app", NAME),
        (label::INJECT, "false"),
        ("istio.io/dataplane-mode", "none"),
    ]);
    labels.extend(values.pod_labels.clone());
    let mut annotations = Labels::from([(label::INJECT.to_owned(), "false".to_owned())]);
    annotations.extend(proxy.revision());
    annotations.extend(values.pod_annotations.clone());
    let mut nodes = Labels::from([("kubernetes.io/os".to_owned(), "linux".to_owned())]);
    nodes.extend(values.node_selector.clone());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            node_selector: Some(nodes),
            affinity: given(&values.affinity),
            tolerations: some_list(values.tolerations.clone()),
            priority_class_name: Some("system-node-critical".into()),
            service_account_name: Some(proxy.name.clone()),
            termination_grace_period_seconds: Some(values.termination_grace_period_seconds),
            containers: vec![container(proxy)],
            volumes: Some(volumes(proxy)),
            ..PodSpec::default()
        }),
    }
}

fn container(proxy: &NodeProxy<'_>) -> Container {
    let values = &proxy.values;
    let add = ["NET_ADMIN", "SYS_ADMIN", "NET_RAW"];
    Container {
        name: "istio-proxy".into(),
        image: Some(proxy.image()),
        image_pull_policy: non_empty(&values.image_pull_policy),
        args: Some(["proxy", "ztunnel"].map(str::to_owned).into()),
        ports: Some(vec![tcp_port(15020, Some("ztunnel-stats"))]),
        readiness_probe: Some(Probe {
            http_get: Some(HTTPGetAction {
                path: Some("/healthz/ready".into()),
                port: IntOrString::Int(15021),
                ..HTTPGetAction::default()
            }),
            ..Probe::default()
        }),
        resources: values.resources.or(&Resources::default()),
        security_context: Some(SecurityContext {
            // SYS_ADMIN implies it, and API servers refuse the opposite.
            allow_privilege_escalation: Some(true),
            privileged: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".into()]),
                add: Some(add.map(str::to_owned).into()),
            }),
            read_only_root_filesystem: Some(true),
            run_as_user: Some(0),
            run_as_group: Some(1337),
            run_as_non_root: Some(false),
            se_linux_options: se_linux(&values.se_linux_options),
            ..SecurityContext::default()
        }),
        env: Some(environment(proxy)),
        volume_mounts: Some(mounts(values)),
        ..Container::default()
    }
}

fn environment(proxy: &NodeProxy<'_>) -> Vec<EnvVar> {
    let values = &proxy.values;
    let istiod = proxy.resolved.revision.suffixed("istiod");
    let istiod = format!("{istiod}.{}.svc:15012", values.istio_namespace);
    let or_istiod = |own: &str| non_empty(own).unwrap_or_else(|| istiod.clone());
    let mut list = vec![
        env("CA_ADDRESS", or_istiod(&values.ca_address)),
        env("XDS_ADDRESS", or_istiod(&values.xds_address)),
    ];
    if values.log_as_json {
        list.push(env("LOG_FORMAT", "json"));
    }
    list.extend(non_empty(&values.network).map(|network| env("NETWORK", network)));
    let cluster = non_empty(&values.multi_cluster.cluster_name);
    list.extend([
        env("RUST_LOG", &values.log_level),
        env("RUST_BACKTRACE", "1"),
        env(
            "ISTIO_META_CLUSTER_ID",
            cluster.unwrap_or_else(|| "Kubernetes".to_owned()),
        ),
        env("INPOD_ENABLED", "true"),
        env(
            "TERMINATION_GRACE_PERIOD_SECONDS",
            values.termination_grace_period_seconds.to_string(),
        ),
        env_field("POD_NAME", "metadata.name", None),
        env_field("POD_NAMESPACE", "metadata.namespace", None),
        env_field("NODE_NAME", "spec.nodeName", None),
        env_field("INSTANCE_IP", "status.podIP", None),
        env_field("SERVICE_ACCOUNT", "spec.serviceAccountName", None),
    ]);
    list.extend(env_map(&values.mesh_config.default_config.proxy_metadata));
    list.push(env_resource("ZTUNNEL_CPU_LIMIT", "limits.cpu", None));
    for (name, amounts, resource) in [
        (
            "ZTUNNEL_RESOURCE_CPU_LIMIT",
            &values.resources.limits,
            "limits.cpu",
        ),
        (
            "ZTUNNEL_RESOURCE_CPU_REQUEST",
            &values.resources.requests,
            "requests.cpu",
        ),
    ] {
        if amounts.get("cpu").is_some_and(|cpu| !cpu.is_empty()) {
            list.push(env_resource(name, resource, None));
        }
    }
    list.extend(env_map(&values.env));
    if values.peer_ca_crl.enabled {
        list.push(env("CRL_PATH", format!("{REVOKED}/ca-crl.pem")));
    }
    list
}

fn mounts(values: &Ztunnel) -> Vec<VolumeMount> {
    let mut mounts = vec![
        mount("istiod-ca-cert", "/var/run/secrets/istio"),
        mount("istio-token", "/var/run/secrets/tokens"),
        mount("cni-ztunnel-sock-dir", "/var/run/ztunnel"),
        mount("tmp", "/tmp"),
    ];
    if values.peer_ca_crl.enabled {
        mounts.push(mount("crl-volume", REVOKED));
    }
    mounts.extend(values.volume_mounts.iter().cloned());
    mounts
}

fn volumes(proxy: &NodeProxy<'_>) -> Vec<Volume> {
    let values = &proxy.values;
    let made = Some("DirectoryOrCreate");
    let bundle = trusts_cluster_bundle(&values.env);
    let mut volumes = vec![
        // The audience is fixed: the shared setting is not read here.
        token_volume("istio-ca"),
        root_certificate("istiod-ca-cert", &values.trust_bundle_name, bundle),
        host_path("cni-ztunnel-sock-dir", "/var/run/ztunnel", made),
        Volume {
            name: "tmp".into(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        },
    ];
    if values.peer_ca_crl.enabled {
        volumes.push(Volume {
            name: "crl-volume".into(),
            config_map: Some(ConfigMapVolumeSource {
                name: "istio-ca-crl".into(),
                optional: Some(true),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    volumes.extend(values.volumes.iter().cloned());
    volumes
}

/// Lets in what the kubelet asks, metrics, administration, and the redirected traffic.
fn network_policy(proxy: &NodeProxy<'_>) -> NetworkPolicy {
    let pods = [("app".to_owned(), NAME.to_owned())].into();
    let ports: [&[i32]; 6] = [&[15021], &[15020], &[15000], &[15008], &[15001], &[15006]];
    let mut spec = policy(pods, &ports);
    let dns = |protocol: &str| NetworkPolicyPort {
        port: Some(IntOrString::Int(15053)),
        protocol: Some(protocol.to_owned()),
        ..NetworkPolicyPort::default()
    };
    spec.ingress
        .get_or_insert_default()
        .push(NetworkPolicyIngressRule {
            ports: Some(vec![dns("TCP"), dns("UDP")]),
            ..NetworkPolicyIngressRule::default()
        });
    let labels = proxy.labels.full(&[("app", NAME)]);
    let name = proxy.resolved.revision.suffixed(&proxy.name);
    NetworkPolicy {
        metadata: namespaced(name, &proxy.namespace, labels),
        spec: Some(spec),
    }
}
