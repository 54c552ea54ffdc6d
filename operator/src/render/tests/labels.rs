//! What every object is labelled with.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

/// Of all objects: the labels of the chart.
const CHART: [&str; 5] = [
    "app.kubernetes.io/managed-by=Helm",
    "app.kubernetes.io/instance=istio",
    "app.kubernetes.io/part-of=istio",
    "app.kubernetes.io/version=1.32.0",
    "helm.sh/chart",
];

fn labels(object: &Value, pointer: &str) -> Vec<String> {
    let labels = object.pointer(pointer).and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().expect("a text")))
        .filter(|label| !CHART.iter().any(|chart| label.starts_with(chart)))
        .collect()
}

fn everything() -> Rendered {
    rendered(stock(json!({
        "revision": "canary",
        "components": {"cni": {}, "ztunnel": {}, "ingressGateways": [{"name": "edge", "namespace": "out"}]},
        "values": {
            "global": {"networkPolicy": {"enabled": true}},
            "pilot": {"autoscaleMin": 2, "jwksResolverExtraRootCA": "pem"},
            "cni": {"resourceQuotas": {"enabled": true}, "provider": "multus", "ambient": {"enabled": true}},
            "ztunnel": {"resourceQuotas": {"enabled": true}, "labels": {"own": "l"}},
            "gateways": {"istio-ingressgateway": {"autoscaleMin": 2}},
            "revisionTags": ["prod"], "gatewayClasses": {"c": {}}, "ownerName": "me",
            "experimental": {"stableValidationPolicy": true}, "defaultRevision": "canary",
        },
    })))
}

/// Labels of each object beside those of the chart. `P` stands for release, revision, owner, component and name.
#[test]
#[rustfmt::skip]
fn of_objects() {
    let p = |component: &str, name: &str| {
        format!("release=istio istio.io/rev=canary install.operator.istio.io/owning-resource=me operator.istio.io/component={component} app.kubernetes.io/name={name}")
    };
    let pilot = p("Pilot", "istiod");
    let cni = p("Cni", "istio-cni");
    let gateway = p("IngressGateways", "istio-ingressgateway");
    let istiod = format!("app=istiod istio=pilot {pilot}");
    let account = "app=istiod release=istio app.kubernetes.io/name=istiod".to_owned();
    let reader = "app=istio-reader release=istio app.kubernetes.io/name=istio-reader".to_owned();
    let edge = format!("app=istio-ingressgateway istio=ingressgateway {gateway}");
    let node = format!("k8s-app=istio-cni-node {cni}");
    let agent = format!("app=istio-cni {cni}");
    let repair = format!("k8s-app=istio-cni-repair {cni}");
    let validator = "istio=istiod release=istio istio.io/rev=canary app.kubernetes.io/name=istiod".to_owned();
    let ztunnel = "app.kubernetes.io/name=ztunnel own=l".to_owned();
    let expected = BTreeMap::from([
        ("Deployment istiod-canary", istiod.clone()), ("Service istiod-canary", istiod.clone()),
        ("PodDisruptionBudget istiod-canary", istiod.clone()), ("NetworkPolicy istiod-canary", istiod.clone()),
        ("Service istiod-revision-tag-prod", format!("{istiod} istio.io/tag=prod")),
        ("HorizontalPodAutoscaler istiod-canary", format!("app=istiod {pilot}")),
        ("ConfigMap istio-canary", pilot.clone()), ("ConfigMap istio-sidecar-injector-canary", pilot.clone()),
        ("ConfigMap values-canary", pilot.clone()), ("ConfigMap pilot-jwks-extra-cacerts-canary", pilot.clone()),
        ("ConfigMap istio-canary-gatewayclass-c", format!("{pilot} gateway.istio.io/defaults-for-class=c")),
        ("MutatingWebhookConfiguration istio-sidecar-injector-canary", format!("app=sidecar-injector {pilot}")),
        ("MutatingWebhookConfiguration istio-revision-tag-prod", format!("app=sidecar-injector istio.io/tag=prod {pilot}")),
        ("ServiceAccount istiod-canary", account.clone()), ("Role istiod-canary", account.clone()), ("RoleBinding istiod-canary", account.clone()),
        ("ClusterRole istiod-clusterrole-canary-istio-system", account.clone()), ("ClusterRoleBinding istiod-clusterrole-canary-istio-system", account.clone()),
        ("ClusterRole istiod-gateway-controller-canary-istio-system", account.clone()), ("ClusterRoleBinding istiod-gateway-controller-canary-istio-system", account),
        ("ServiceAccount istio-reader-service-account", reader.clone()),
        ("ClusterRole istio-reader-clusterrole-canary-istio-system", reader.clone()), ("ClusterRoleBinding istio-reader-clusterrole-canary-istio-system", reader),
        ("ValidatingWebhookConfiguration istio-validator-canary-istio-system", format!("app=istiod {validator}")),
        ("ValidatingWebhookConfiguration istiod-default-validator", format!("app=istiod {validator}")),
        ("ValidatingAdmissionPolicy stable-channel-policy-canary-istio-system.istio.io", "app.kubernetes.io/name=istiod".to_owned()),
        ("ValidatingAdmissionPolicyBinding stable-channel-policy-binding-canary-istio-system.istio.io", String::new()),
        ("ValidatingAdmissionPolicy stable-channel-default-policy.istio.io", validator),
        ("ValidatingAdmissionPolicyBinding stable-channel-default-policy-binding.istio.io", String::new()),
        ("Deployment edge", format!("{edge} istio.io/dataplane-mode=none")), ("Service edge", edge.clone()), ("HorizontalPodAutoscaler edge", edge.clone()),
        ("PodDisruptionBudget edge", edge.clone()), ("ServiceAccount edge-service-account", edge),
        ("Role edge-sds", gateway.clone()), ("RoleBinding edge-sds", gateway.clone()),
        ("NetworkPolicy edge-canary", format!("app=edge istio=ingressgateway {gateway}")),
        ("DaemonSet istio-cni-node", node.clone()), ("NetworkPolicy istio-cni-canary", node),
        ("ServiceAccount istio-cni", agent.clone()), ("ConfigMap istio-cni-config", agent.clone()),
        ("ClusterRole istio-cni", agent.clone()), ("ClusterRoleBinding istio-cni", agent.clone()),
        ("ClusterRole istio-cni-repair-role", agent.clone()), ("ClusterRole istio-cni-ambient", agent),
        ("ClusterRoleBinding istio-cni-repair-rolebinding", repair.clone()), ("ClusterRoleBinding istio-cni-ambient", repair),
        ("ResourceQuota istio-cni-resource-quota", "app.kubernetes.io/name=istio-cni".to_owned()),
        ("NetworkAttachmentDefinition istio-cni", "operator.istio.io/component=Cni app.kubernetes.io/name=istio-cni".to_owned()),
        ("DaemonSet ztunnel", ztunnel.clone()), ("ServiceAccount ztunnel", ztunnel.clone()), ("ResourceQuota ztunnel", ztunnel),
        ("NetworkPolicy ztunnel-canary", format!("app=ztunnel {}", p("Ztunnel", "ztunnel"))),
    ]);
    let rendered = everything();
    let objects = rendered.objects.iter().filter(|object| !object.is_definition());
    let found: Vec<String> = objects.map(|object| format!("{} {}", object.kind().kind, object.name())).collect();
    for name in &found {
        let mut labels = labels(&object(&rendered, name), "/metadata/labels");
        labels.sort_unstable();
        let mut wanted: Vec<&str> = expected.get(name.as_str()).expect(name).split(' ').filter(|label| !label.is_empty()).collect();
        wanted.sort_unstable();
        assert_eq!(labels, wanted, "{name}");
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
#[rustfmt::skip]
fn of_pods() {
    let rendered = everything();
    for (name, expected) in [
        ("Deployment istiod-canary", "app=istiod app.kubernetes.io/name=istiod install.operator.istio.io/owning-resource=me istio=istiod istio.io/dataplane-mode=none istio.io/rev=canary operator.istio.io/component=Pilot sidecar.istio.io/inject=false"),
        ("Deployment edge", "app=istio-ingressgateway app.kubernetes.io/name=istio-ingressgateway install.operator.istio.io/owning-resource=me istio=ingressgateway istio.io/dataplane-mode=none istio.io/rev=canary operator.istio.io/component=IngressGateways service.istio.io/canonical-name=edge service.istio.io/canonical-revision=canary sidecar.istio.io/inject=false"),
        ("DaemonSet istio-cni-node", "app.kubernetes.io/name=istio-cni istio.io/dataplane-mode=none k8s-app=istio-cni-node sidecar.istio.io/inject=false"),
        ("DaemonSet ztunnel", "app=ztunnel app.kubernetes.io/name=ztunnel istio.io/dataplane-mode=none sidecar.istio.io/inject=false"),
    ] {
        let labels = labels(&object(&rendered, name), "/spec/template/metadata/labels");
        assert_eq!(labels.join(" "), expected, "{name}");
    }
    // The chart that each is from.
    for (name, chart) in [
        ("Deployment istiod-canary", "istiod-1.32.0"), ("Deployment edge", "istio-ingress-1.32.0"),
        ("DaemonSet istio-cni-node", "cni-1.32.0"), ("DaemonSet ztunnel", "ztunnel-1.32.0"),
        ("ServiceAccount istio-reader-service-account", "base-1.32.0"),
    ] {
        assert_eq!(object(&rendered, name)["metadata"]["labels"]["helm.sh/chart"], chart, "{name}");
    }
}
