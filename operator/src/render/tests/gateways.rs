//! Objects of gateways.

use serde_json::{Value, json};

use super::table::{POD, check_content, check_presence, names, values};
use super::*;

#[test]
#[rustfmt::skip]
fn gateways() {
    let gateway = |values: Value| json!({"values": {"gateways": {"istio-ingressgateway": values}}});
    check_presence(&[
        (json!({}), "Service istio-ingressgateway", true),
        (gateway(json!({"customService": true})), "Service istio-ingressgateway", false),
        (json!({}), "PodDisruptionBudget istio-ingressgateway", false),
        (gateway(json!({"autoscaleMin": 2})), "PodDisruptionBudget istio-ingressgateway", true),
        (gateway(json!({"autoscaleEnabled": false})), "HorizontalPodAutoscaler istio-ingressgateway", false),
        (json!({}), "Role istio-ingressgateway-sds", true),
        (json!({}), "ServiceAccount istio-ingressgateway-service-account", true),
        (json!({"revision": "canary", "values": {"global": {"networkPolicy": {"enabled": true}}}}), "NetworkPolicy istio-ingressgateway-canary", true),
    ]);
    let (deployment, service) = (
        "Deployment istio-ingressgateway",
        "Service istio-ingressgateway",
    );
    let egress = json!({"components": {"egressGateways": [{"name": "out"}]}});
    check_content(&[
        (json!({}), service, "/spec/type", json!("LoadBalancer")),
        (egress.clone(), "Service out", "/spec/type", json!("ClusterIP")),
        (egress.clone(), "Service out", "/spec/ports/0", json!({"name": "http2", "port": 80, "targetPort": 8080, "protocol": "TCP"})),
        (egress.clone(), "Deployment out", "/metadata/labels/app.kubernetes.io~1name", json!("istio-egressgateway")),
        (egress, "Deployment out", "/spec/selector/matchLabels", json!({"app": "istio-egressgateway", "istio": "egressgateway"})),
        (gateway(json!({"ingressPorts": [{"name": "x", "port": 9000}]})), service, "/spec/ports/3", json!({"name": "x", "port": 9000})),
        (gateway(json!({"ports": [{"port": 90, "name": "only"}]})), service, "/spec/ports", json!([{"port": 90, "name": "only"}])),
        (gateway(json!({"externalTrafficPolicy": "Local"})), service, "/spec/externalTrafficPolicy", json!("Local")),
        (gateway(json!({"loadBalancerIP": "10.0.0.1"})), service, "/spec/loadBalancerIP", json!("10.0.0.1")),
        (gateway(json!({"loadBalancerSourceRanges": ["10.0.0.0/8"]})), service, "/spec/loadBalancerSourceRanges", json!(["10.0.0.0/8"])),
        (gateway(json!({"serviceAnnotations": {"a": "b"}})), service, "/metadata/annotations", json!({"a": "b"})),
        (json!({}), deployment, "/spec/template/metadata/labels/heritage", json!("Tiller")),
        (json!({}), deployment, "/spec/template/metadata/labels/service.istio.io~1canonical-revision", json!("latest")),
        (json!({"revision": "canary"}), deployment, "/spec/template/metadata/labels/service.istio.io~1canonical-revision", json!("canary")),
        (json!({}), deployment, "/spec/template/metadata/annotations/prometheus.io~1path", json!("/stats/prometheus")),
        (json!({"meshConfig": {"enablePrometheusMerge": false}}), deployment, "/spec/template/metadata/annotations/prometheus.io~1path", Value::Null),
        (json!({}), deployment, "/spec/template/spec/securityContext/runAsUser", json!(1337)),
        (values(json!({"global": {"platform": "openshift"}})), deployment, "/spec/template/spec/securityContext", json!({"runAsNonRoot": true})),
        (gateway(json!({"runAsRoot": true})), deployment, "/spec/template/spec/securityContext", Value::Null),
        (gateway(json!({"runAsRoot": true})), deployment, "/spec/template/spec/containers/0/securityContext", Value::Null),
        (values(json!({"global": {"sts": {"servicePort": 15463}}})), deployment, "/spec/template/spec/containers/0/args/7", json!("--stsPort=15463")),
        (values(json!({"global": {"priorityClassName": "high"}})), deployment, "/spec/template/spec/priorityClassName", json!("high")),
        (gateway(json!({"nodeSelector": {"pool": "edge"}})), deployment, "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions/0", json!({"key": "pool", "operator": "In", "values": ["edge"]})),
        (gateway(json!({"podAntiAffinityLabelSelector": [{"key": "app", "operator": "In", "values": "a, b", "topologyKey": "zone"}]})), deployment, "/spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0", json!({"labelSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}, "topologyKey": "zone"})),
        (gateway(json!({"podAntiAffinityTermLabelSelector": [{"key": "app", "operator": "In", "values": ["a"], "topologyKey": "zone"}]})), deployment, "/spec/template/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/weight", json!(100)),
        (gateway(json!({"secretVolumes": []})), deployment, "/spec/template/spec/volumes/9", Value::Null),
        (gateway(json!({"additionalContainers": [{"name": "more"}]})), deployment, "/spec/template/spec/containers/1/name", json!("more")),
        (values(json!({"global": {"defaultTolerations": [{"key": "x"}]}})), deployment, "/spec/template/spec/tolerations", json!([{"key": "x"}])),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_gateway_that_is_injected_is_a_stub() {
    let spec = |revision: &str| {
        stock(
            json!({"revision": revision, "values": {"gateways": {"istio-ingressgateway": {
                "injectionTemplate": "gateway", "env": {"A": "b"},
            }}}}),
        )
    };
    let deployment = object(&rendered(spec("")), "Deployment istio-ingressgateway");
    assert_eq!(
        deployment["metadata"]["labels"].get("istio.io/dataplane-mode"),
        None
    );
    let template = &deployment["spec"]["template"];
    let (labels, annotations) = (
        &template["metadata"]["labels"],
        &template["metadata"]["annotations"],
    );
    assert_eq!(labels["sidecar.istio.io/inject"], "true");
    assert_eq!(
        (labels.get("istio.io/rev"), labels.get("istio.io/dataplane-mode")),
        (None, None)
    );
    assert_eq!(annotations["sidecar.istio.io/inject"], "true");
    assert_eq!(annotations["inject.istio.io/templates"], "gateway");
    assert_eq!(annotations.get("istio.io/rev"), None);
    let container = &template["spec"]["containers"][0];
    assert_eq!(container["image"], "auto");
    assert_eq!(
        (container.get("args"), container.get("readinessProbe")),
        (None, None)
    );
    assert_eq!(
        container["env"],
        json!([{"name": "ISTIO_META_UNPRIVILEGED_POD", "value": "true"}, {"name": "A", "value": "b"}])
    );
    assert_eq!(
        names(&deployment, &format!("{POD}/volumes")),
        ["ingressgateway-certs", "ingressgateway-ca-certs"]
    );
    let canary = object(&rendered(spec("canary")), "Deployment istio-ingressgateway");
    assert_eq!(
        canary["spec"]["template"]["metadata"]["labels"]["istio.io/rev"],
        "canary"
    );
}
