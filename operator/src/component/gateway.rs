//! Components `IngressGateways` and `EgressGateways`: one set of objects per entry of the list.

mod pod;

use ironsail_crds::operator::GatewaySpec;
use ironsail_mesh::label;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort,
};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::istiod::deployment::rolling_update;
use super::istiod::policy;
use super::{
    Component, LabelSet, Labels, Scale, Sink, match_labels, namespaced, pull_secrets, role_ref,
    rule, service_account, some, some_list,
};
use crate::render::Context;
use crate::settings::{self, Target};
use crate::value::{get, scalar_text};
use crate::values::gateway::{ExtraPort, Gateway, Mesh};
use crate::values::global::{Global, non_empty};
use crate::values::istiod::Utilization;
use crate::values::{GatewayKind, Resolved, typed};

/// Everything that the objects of one gateway are made from.
pub struct GatewayInstance<'a> {
    pub resolved: &'a Resolved,
    pub kind: GatewayKind,
    pub values: Gateway,
    pub global: Global,
    pub mesh: Mesh,
    pub labels: LabelSet,
    pub namespace: String,
    pub platform: String,
    /// Whether the root certificate comes from a trust bundle of the cluster.
    pub trusts_cluster_bundle: bool,
}

/// Renders all entries of a kind that are on.
pub fn render(resolved: &Resolved, context: &Context, kind: GatewayKind, sink: &mut Sink) {
    for (index, entry) in resolved.gateways(kind) {
        let path = format!("spec.components.{}[{index}]", kind.field());
        let mut own = Sink::default();
        if let Some(gateway) = instance(resolved, context, kind, entry, &mut own) {
            objects(&gateway, &mut own);
            let name = gateway.values.name.clone();
            if let Some(k8s) = &entry.k8s {
                let target = Target {
                    kind: "Deployment",
                    name: &name,
                    container: "istio-proxy",
                    service_ports_from_values: true,
                };
                settings::apply(k8s, &format!("{path}.k8s"), &target, &mut own);
            }
        }
        sink.append(own);
    }
}

fn component(kind: GatewayKind) -> Component {
    match kind {
        GatewayKind::Ingress => Component::IngressGateways,
        GatewayKind::Egress => Component::EgressGateways,
    }
}

/// Decodes the values of one entry; what is wrong goes to the sink.
fn instance<'a>(
    resolved: &'a Resolved,
    context: &Context,
    kind: GatewayKind,
    entry: &GatewaySpec,
    sink: &mut Sink,
) -> Option<GatewayInstance<'a>> {
    let layers = resolved.gateway_values(kind, entry);
    let read = |keys: &[&str]| get(&layers.merged, keys).cloned().unwrap_or(json!({}));
    let root = format!("gateways.{}", kind.root());
    let mut fail = |at: &str, (path, message): (String, String)| {
        sink.error(resolved.locate(&format!("{at}.{path}"), &[""]), message);
    };
    let values = typed::<Gateway>(&read(&["gateways", kind.root()])).map_err(|e| fail(&root, e));
    let global = typed::<Global>(&read(&["global"])).map_err(|e| fail("global", e));
    let mesh = typed::<Mesh>(&read(&["meshConfig"])).map_err(|e| fail("meshConfig", e));
    let (values, global, mesh) = (values.ok()?, global.ok()?, mesh.ok()?);
    let chart = match kind {
        GatewayKind::Ingress => "istio-ingress",
        GatewayKind::Egress => "istio-egress",
    };
    let owner = crate::value::text(&layers.merged, &["ownerName"]).unwrap_or_default();
    let names = (chart, kind.root());
    let labels = LabelSet::new(component(kind), names, resolved, context, owner);
    let root = crate::value::text(&layers.merged, &["platform"]).unwrap_or_default();
    let platform = global.platform_or(root).to_owned();
    // Both are of the control plane's values.
    let env = ["pilot", "env", "ENABLE_CLUSTER_TRUST_BUNDLE_API"];
    let trust_bundle = get(&layers.merged, &env).and_then(scalar_text);
    Some(GatewayInstance {
        trusts_cluster_bundle: trust_bundle.as_deref() == Some("true"),
        resolved,
        kind,
        values,
        global,
        mesh,
        labels,
        namespace: resolved.namespace_of(entry.namespace.as_deref()),
        platform,
    })
}

impl GatewayInstance<'_> {
    /// Labels of the gateway itself: in selectors, so they can't change.
    fn own_labels(&self) -> Labels {
        self.values.labels.clone()
    }

    fn full_labels(&self) -> Labels {
        let mut labels = self.own_labels();
        labels.extend(self.labels.full(&[]));
        labels
    }

    /// Whether the control plane completes the pod, which is rendered as a stub then.
    fn is_injected(&self) -> bool {
        !self.values.injection_template.is_empty()
    }

    /// Account of the pods.
    fn account(&self) -> String {
        format!("{}-service-account", self.values.name)
    }
}

fn objects(gateway: &GatewayInstance<'_>, sink: &mut Sink) {
    let component = component(gateway.kind);
    let values = &gateway.values;
    access(gateway, component, sink);
    let scale = scale(values);
    sink.add(component, &deployment(gateway, &scale));
    let metadata = || namespaced(&values.name, &gateway.namespace, gateway.full_labels());
    let allowed = gateway.global.default_pod_disruption_budget.enabled;
    if let Some(budget) = scale.disruption_budget(allowed, metadata(), gateway.own_labels()) {
        sink.add(component, &budget);
    }
    if gateway.global.network_policy.enabled {
        sink.add(component, &network_policy(gateway));
    }
    if let Some(hpa) = scale.autoscaler(metadata()) {
        sink.add(component, &hpa);
    }
    if !values.custom_service {
        sink.add(component, &service(gateway));
    }
}

fn scale(values: &Gateway) -> Scale<'_> {
    Scale {
        autoscale: values.autoscale_enabled,
        min: values.autoscale_min,
        max: values.autoscale_max,
        replicas: values.replica_count,
        cpu: values.cpu,
        memory: Utilization::default(),
        behavior: None,
        pdb: &values.pdb,
    }
}

/// Account and the right to read the certificates that Gateway objects name.
fn access(gateway: &GatewayInstance<'_>, component: Component, sink: &mut Sink) {
    let (name, namespace) = (&gateway.values.name, &gateway.namespace);
    let mut metadata = namespaced(gateway.account(), namespace, gateway.full_labels());
    metadata.annotations = some(gateway.values.service_account.annotations.clone());
    sink.add(
        component,
        &ServiceAccount {
            metadata,
            image_pull_secrets: pull_secrets(&gateway.global.image_pull_secrets),
            ..ServiceAccount::default()
        },
    );
    let role = format!("{name}-sds");
    let metadata = || namespaced(&role, namespace, gateway.labels.full(&[]));
    sink.add(
        component,
        &Role {
            metadata: metadata(),
            rules: Some(vec![rule(&[""], &["secrets"], &["get", "watch", "list"])]),
        },
    );
    sink.add(
        component,
        &RoleBinding {
            metadata: metadata(),
            role_ref: role_ref("Role", &role),
            subjects: Some(vec![service_account(&gateway.account(), None)]),
        },
    );
}

fn deployment(gateway: &GatewayInstance<'_>, scale: &Scale<'_>) -> Deployment {
    let values = &gateway.values;
    let mut labels = gateway.full_labels();
    if !gateway.is_injected() {
        labels.insert("istio.io/dataplane-mode".to_owned(), "none".to_owned());
    }
    Deployment {
        metadata: namespaced(&values.name, &gateway.namespace, labels),
        spec: Some(DeploymentSpec {
            replicas: scale.replicas(),
            strategy: Some(rolling_update(
                values.rolling_max_surge.clone(),
                values.rolling_max_unavailable.clone(),
            )),
            selector: match_labels(gateway.own_labels()),
            template: pod::template(gateway),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// Where traffic for a Service port arrives in the pod.
fn target(port: &ServicePort) -> IntOrString {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => IntOrString::Int(port.port),
        Some(target) => target.clone(),
    }
}

fn network_policy(gateway: &GatewayInstance<'_>) -> NetworkPolicy {
    let values = &gateway.values;
    let istio = match gateway.kind {
        GatewayKind::Ingress => "ingressgateway",
        GatewayKind::Egress => "egressgateway",
    };
    let labels = gateway
        .labels
        .full(&[("app", &values.name), ("istio", istio)]);
    let mut spec = policy(gateway.own_labels(), &[&[15021], &[15020, 15090]]);
    let ports = values.ports.iter().map(|port| NetworkPolicyIngressRule {
        ports: Some(vec![NetworkPolicyPort {
            port: Some(target(port)),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            ..NetworkPolicyPort::default()
        }]),
        ..NetworkPolicyIngressRule::default()
    });
    spec.ingress.get_or_insert_default().extend(ports);
    let name = gateway.resolved.revision.suffixed(&values.name);
    NetworkPolicy {
        metadata: namespaced(name, &gateway.namespace, labels),
        spec: Some(spec),
    }
}

fn service(gateway: &GatewayInstance<'_>) -> Service {
    let values = &gateway.values;
    let mut metadata = namespaced(&values.name, &gateway.namespace, gateway.full_labels());
    metadata.annotations = some(values.service_annotations.clone());
    let extra = match gateway.kind {
        GatewayKind::Ingress => &values.ingress_ports,
        GatewayKind::Egress => &values.egress_ports,
    };
    let extra = extra.iter().map(|ExtraPort { name, port }| ServicePort {
        name: non_empty(name),
        port: *port,
        ..ServicePort::default()
    });
    let ports = values.ports.iter().cloned().chain(extra);
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: non_empty(&values.r#type),
            selector: Some(gateway.own_labels()),
            ports: some_list(ports.collect()),
            external_traffic_policy: non_empty(&values.external_traffic_policy),
            load_balancer_ip: non_empty(&values.load_balancer_ip),
            load_balancer_source_ranges: some_list(values.load_balancer_source_ranges.clone()),
            ip_family_policy: non_empty(&values.ip_family_policy),
            ip_families: some_list(values.ip_families.clone()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Text of `meshConfig.trustDomain`, or its default.
fn trust_domain(mesh: &Mesh) -> &str {
    match mesh.trust_domain.as_str() {
        "" => ironsail_mesh::identity::DEFAULT_TRUST_DOMAIN,
        domain => domain,
    }
}

/// Canonical revision of the gateway's pods.
fn canonical_revision(gateway: &GatewayInstance<'_>) -> String {
    let own = &gateway.values.labels;
    let revision = &gateway.resolved.revision;
    own.get(label::APP_KUBERNETES_VERSION)
        .or_else(|| own.get(label::VERSION))
        .cloned()
        .or_else(|| non_empty(revision.as_str()))
        .unwrap_or_else(|| "latest".to_owned())
}

/// Whether an environment of values sets a name.
fn sets(env: &std::collections::BTreeMap<String, Value>, name: &str) -> bool {
    env.contains_key(name)
}
