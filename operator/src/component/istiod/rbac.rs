//! Roles of the control plane and of readers from other clusters.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};

use super::Pilot;
use crate::component::base::READER;
use crate::component::{
    Component, LabelSet, Labels, Sink, clustered, namespaced, role_ref, rule, service_account,
    trusts_cluster_bundle,
};
use crate::value::scalar_text;
use crate::values::istiod::Istiod;

/// Istio's own groups, in the order of the peer's roles.
const ISTIO_GROUPS: &[&str] = &[
    "config.istio.io",
    "security.istio.io",
    "networking.istio.io",
    "authentication.istio.io",
    "rbac.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
];
const ADMISSION: &[&str] = &["admissionregistration.k8s.io"];
const GATEWAY_API: &[&str] = &["gateway.networking.k8s.io"];
const GATEWAY_API_X: &[&str] = &["gateway.networking.x-k8s.io"];
const NETWORKING: &[&str] = &["networking.istio.io"];
const CORE: &[&str] = &[""];
const CERTIFICATES: &[&str] = &["certificates.k8s.io"];
const READ: &[&str] = &["get", "list", "watch"];
const READ_GWL: &[&str] = &["get", "watch", "list"];
const WRITE: &[&str] = &[
    "get", "watch", "list", "update", "patch", "create", "delete",
];
const UPDATE: &[&str] = &["update", "patch"];

/// Adds all roles and bindings.
pub fn render(pilot: &Pilot<'_>, sink: &mut Sink) {
    let namespace = pilot.istio_namespace();
    let named = |base: &str| format!("{}-{}", pilot.suffixed(base), namespace);
    reader_role(pilot, &named("istio-reader-clusterrole"), sink);
    if !pilot.configures() {
        return;
    }
    let istiod = pilot.labels.released(&[("app", "istiod")]);
    let subject = (pilot.name.as_str(), namespace);
    let rules = control_plane(pilot);
    cluster_role(&named("istiod-clusterrole"), &istiod, rules, subject, sink);
    if deploys_gateways(&pilot.values) {
        let name = named("istiod-gateway-controller");
        cluster_role(&name, &istiod, gateway_controller(), subject, sink);
    }
    let metadata = || namespaced(&pilot.name, namespace, istiod.clone());
    sink.add(
        Component::Pilot,
        &Role {
            metadata: metadata(),
            rules: Some(own_namespace()),
        },
    );
    sink.add(
        Component::Pilot,
        &RoleBinding {
            metadata: metadata(),
            role_ref: role_ref("Role", &pilot.name),
            subjects: Some(vec![service_account(&pilot.name, Some(namespace))]),
        },
    );
}

/// A role of the cluster and its binding of the same name.
fn cluster_role(
    name: &str,
    labels: &Labels,
    rules: Vec<PolicyRule>,
    (account, namespace): (&str, &str),
    sink: &mut Sink,
) {
    sink.add(
        Component::Pilot,
        &ClusterRole {
            metadata: clustered(name, labels.clone()),
            rules: Some(rules),
            ..ClusterRole::default()
        },
    );
    sink.add(
        Component::Pilot,
        &ClusterRoleBinding {
            metadata: clustered(name, labels.clone()),
            role_ref: role_ref("ClusterRole", name),
            subjects: Some(vec![service_account(account, Some(namespace))]),
        },
    );
}

fn deploys_gateways(values: &Istiod) -> bool {
    let switch = values
        .env
        .get("PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER");
    switch.and_then(scalar_text).as_deref() != Some("false")
}

fn reader_role(pilot: &Pilot<'_>, name: &str, sink: &mut Sink) {
    let global = &pilot.values.global;
    if !global.enable_reader_rbac.unwrap_or(true) {
        return;
    }
    let labels = LabelSet {
        name: "istio-reader",
        ..pilot.labels.clone()
    };
    let labels = labels.released(&[("app", "istio-reader")]);
    let own = &global.reader_service_account;
    let account = match own.name.as_str() {
        "" => (READER, pilot.istio_namespace()),
        name if own.namespace.is_empty() => (name, pilot.istio_namespace()),
        name => (name, own.namespace.as_str()),
    };
    let mut rules = reader(&services_group(&pilot.values));
    if pilot.values.istiod_remote.enabled {
        rules.extend(remote_writer());
    }
    cluster_role(name, &labels, rules, account, sink);
}

/// Group of multi-cluster services.
fn services_group(values: &Istiod) -> String {
    let group = values.env.get("MCS_API_GROUP").and_then(scalar_text);
    group.unwrap_or_else(|| "multicluster.x-k8s.io".to_owned())
}

/// What the control plane does in the whole cluster.
fn control_plane(pilot: &Pilot<'_>) -> Vec<PolicyRule> {
    let mut rules = vec![
        rule(
            ADMISSION,
            &["mutatingwebhookconfigurations"],
            &["get", "list", "watch", "update", "patch"],
        ),
        rule(
            ADMISSION,
            &["validatingwebhookconfigurations"],
            &["get", "list", "watch", "update"],
        ),
        rule(ISTIO_GROUPS, &["*"], READ_GWL),
    ];
    let analysis = pilot.values.global.istiod.enable_analysis;
    if analysis {
        rules.push(rule(ISTIO_GROUPS, ANALYZED, UPDATE));
    }
    rules.extend([
        rule(NETWORKING, &["workloadentries"], WRITE),
        rule(
            NETWORKING,
            &["workloadentries/status", "serviceentries/status"],
            WRITE,
        ),
        rule(
            &["security.istio.io"],
            &["authorizationpolicies/status"],
            WRITE,
        ),
        rule(CORE, &["services/status"], WRITE),
        rule(
            &["apiextensions.k8s.io"],
            &["customresourcedefinitions"],
            READ,
        ),
        rule(
            CORE,
            &["pods", "nodes", "services", "namespaces", "endpoints"],
            READ,
        ),
        rule(&["discovery.k8s.io"], &["endpointslices"], READ),
    ]);
    if pilot.values.taint.enabled {
        rules.push(rule(CORE, &["nodes"], &["patch"]));
    }
    if analysis {
        let groups = &["extensions", "networking.k8s.io"];
        rules.push(rule(groups, &["ingresses"], READ));
        rules.push(rule(groups, &["ingresses/status"], &["*"]));
    }
    rules.extend([
        rule(
            &["networking.k8s.io"],
            &["ingresses", "ingressclasses"],
            READ,
        ),
        rule(&["networking.k8s.io"], &["ingresses/status"], &["*"]),
        rule(
            CORE,
            &["configmaps"],
            &["create", "get", "list", "watch", "update"],
        ),
    ]);
    rules.extend(signing(&pilot.values, &pilot.layers.merged));
    if trusts_cluster_bundle(&pilot.values.env) {
        rules.extend(trust_bundles());
    }
    rules.extend([
        rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
        rule(
            &["authorization.k8s.io"],
            &["subjectaccessreviews"],
            &["create"],
        ),
    ]);
    rules.extend(gateway_api());
    rules.push(rule(CORE, &["secrets"], READ_GWL));
    let services = services_group(&pilot.values);
    let services = &[services.as_str()];
    rules.push(rule(
        services,
        &["serviceexports"],
        &["get", "watch", "list", "create", "delete"],
    ));
    rules.push(rule(services, &["serviceimports"], READ_GWL));
    rules
}

/// Kinds whose status the analyzers write.
const ANALYZED: &[&str] = &[
    "authorizationpolicies/status",
    "destinationrules/status",
    "envoyfilters/status",
    "gateways/status",
    "peerauthentications/status",
    "proxyconfigs/status",
    "requestauthentications/status",
    "serviceentries/status",
    "sidecars/status",
    "telemetries/status",
    "virtualservices/status",
    "wasmplugins/status",
    "workloadentries/status",
    "workloadgroups/status",
];

/// Signing through the Kubernetes API, where the control plane has no key of its own.
fn signing(values: &Istiod, merged: &serde_json::Value) -> Vec<PolicyRule> {
    let external = values
        .env
        .get("EXTERNAL_CA")
        .and_then(scalar_text)
        .is_some_and(|ca| !ca.is_empty());
    let own = ["istiod", "custom", "none"].contains(&values.global.pilot_cert_provider.as_str());
    if own && !external {
        return Vec::new();
    }
    let requests = &[
        "certificatesigningrequests",
        "certificatesigningrequests/approval",
        "certificatesigningrequests/status",
    ];
    let signers = crate::value::get(merged, &["global", "certSigners"])
        .and_then(serde_json::Value::as_array)
        .map(|signers| signers.iter().filter_map(scalar_text).collect::<Vec<_>>());
    let approve = PolicyRule {
        resource_names: signers.filter(|signers| !signers.is_empty()),
        ..rule(CERTIFICATES, &["signers"], &["approve"])
    };
    vec![
        rule(
            CERTIFICATES,
            requests,
            &["update", "create", "get", "delete", "watch"],
        ),
        approve,
    ]
}

/// Publishing the root certificate as a trust bundle of the cluster.
fn trust_bundles() -> [PolicyRule; 2] {
    let attest = PolicyRule {
        resource_names: Some(vec!["istio.io/istiod-ca".to_owned()]),
        ..rule(CERTIFICATES, &["signers"], &["attest"])
    };
    [
        rule(
            CERTIFICATES,
            &["clustertrustbundles"],
            &["update", "create", "delete", "list", "watch", "get"],
        ),
        attest,
    ]
}

fn gateway_api() -> [PolicyRule; 6] {
    let statuses = &[
        "backendtlspolicies/status",
        "gatewayclasses/status",
        "gateways/status",
        "grpcroutes/status",
        "httproutes/status",
        "referencegrants/status",
        "tcproutes/status",
        "tlsroutes/status",
        "udproutes/status",
        "listenersets/status",
    ];
    let inference = &["inference.networking.k8s.io"];
    [
        rule(&[GATEWAY_API[0], GATEWAY_API_X[0]], &["*"], READ_GWL),
        rule(
            GATEWAY_API_X,
            &["xbackends/status", "xbackendtrafficpolicies/status"],
            UPDATE,
        ),
        rule(GATEWAY_API, statuses, UPDATE),
        rule(
            GATEWAY_API,
            &["gatewayclasses"],
            &["create", "update", "patch", "delete"],
        ),
        rule(inference, &["inferencepools"], READ_GWL),
        rule(inference, &["inferencepools/status"], UPDATE),
    ]
}

/// What deploying gateways of the Gateway API needs.
fn gateway_controller() -> Vec<PolicyRule> {
    vec![
        rule(&["apps"], &["deployments"], WRITE),
        rule(&["autoscaling"], &["horizontalpodautoscalers"], WRITE),
        rule(&["policy"], &["poddisruptionbudgets"], WRITE),
        rule(CORE, &["services"], WRITE),
        rule(CORE, &["serviceaccounts"], WRITE),
    ]
}

/// What a control plane of another cluster reads here.
fn reader(services: &str) -> Vec<PolicyRule> {
    let core = &[
        "endpoints",
        "pods",
        "services",
        "nodes",
        "replicationcontrollers",
        "namespaces",
        "secrets",
        "configmaps",
    ];
    vec![
        rule(ISTIO_GROUPS, &["*"], READ),
        rule(CORE, core, READ),
        rule(NETWORKING, &["workloadentries"], READ_GWL),
        rule(
            &["networking.x-k8s.io", GATEWAY_API[0]],
            &["gateways"],
            READ_GWL,
        ),
        rule(
            &["apiextensions.k8s.io"],
            &["customresourcedefinitions"],
            READ,
        ),
        rule(&["discovery.k8s.io"], &["endpointslices"], READ),
        rule(
            &[services],
            &["serviceexports"],
            &["get", "list", "watch", "create", "delete"],
        ),
        rule(&[services], &["serviceimports"], READ),
        rule(&["apps"], &["replicasets"], READ),
        rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
        rule(
            &["authorization.k8s.io"],
            &["subjectaccessreviews"],
            &["create"],
        ),
    ]
}

/// What a control plane of another cluster writes in one that has none of its own.
fn remote_writer() -> [PolicyRule; 3] {
    [
        rule(
            CORE,
            &["configmaps"],
            &["create", "get", "list", "watch", "update"],
        ),
        rule(
            ADMISSION,
            &["mutatingwebhookconfigurations"],
            &["get", "list", "watch", "update", "patch"],
        ),
        rule(
            ADMISSION,
            &["validatingwebhookconfigurations"],
            &["get", "list", "watch", "update"],
        ),
    ]
}

/// What the control plane does in its own namespace.
fn own_namespace() -> Vec<PolicyRule> {
    vec![
        rule(NETWORKING, &["gateways"], &["create"]),
        rule(
            CORE,
            &["secrets"],
            &["create", "get", "watch", "list", "update", "delete"],
        ),
        rule(CORE, &["configmaps"], &["delete"]),
        rule(
            &["coordination.k8s.io"],
            &["leases"],
            &["get", "update", "patch", "create"],
        ),
    ]
}
