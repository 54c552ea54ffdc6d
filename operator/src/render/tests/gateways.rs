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
        (gateway(json!({"configVolumes": [{"name": "c", "configMapName": "m"}]})), deployment, "/spec/template/spec/volumes/11", json!({"name": "c", "configMap": {"name": "m", "optional": true}})),
        (gateway(json!({"configVolumes": [{"name": "c", "configMapName": "m"}]})), deployment, "/spec/template/spec/containers/0/volumeMounts/11", Value::Null),
        (gateway(json!({"configVolumes": [{"name": "c", "configMapName": "m", "mountPath": "/c"}]})), deployment, "/spec/template/spec/containers/0/volumeMounts/11", json!({"name": "c", "mountPath": "/c", "readOnly": true})),
        (gateway(json!({"podAntiAffinityLabelSelector": [{"key": "a", "operator": "Exists", "namespaces": "x,y"}]})), deployment, "/spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/namespaces", json!(["x", "y"])),
        (gateway(json!({"labels": {"x": "y"}})), deployment, "/spec/selector/matchLabels", json!({"app": "istio-ingressgateway", "istio": "ingressgateway"})),
        (gateway(json!({"memory": {"targetAverageUtilization": 50}})), "HorizontalPodAutoscaler istio-ingressgateway", "/spec/metrics/1", Value::Null),
        (gateway(json!({"cpu": {"targetAverageUtilization": "50"}})), "HorizontalPodAutoscaler istio-ingressgateway", "/spec/metrics/0/resource/target/averageUtilization", json!(50)),
        (gateway(json!({"autoscaleMax": "7"})), "HorizontalPodAutoscaler istio-ingressgateway", "/spec/maxReplicas", json!(7)),
        (gateway(json!({"serviceAnnotations": {"a": 1, "b": true}})), service, "/metadata/annotations", json!({"a": "1", "b": "true"})),
        (gateway(json!({"nodeSelector": {"a": true}})), deployment, "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions/0/values", json!(["true"])),
        (gateway(json!({"env": {"ISTIO_META_NETWORK": "own"}})), deployment, "/spec/template/spec/containers/0/env/14", json!({"name": "ISTIO_META_NETWORK", "value": "own"})),
        (gateway(json!({"serviceAccount": {"annotations": {"a": true}}})), "ServiceAccount istio-ingressgateway-service-account", "/metadata/annotations", json!({"a": "true"})),
        (gateway(json!({"autoscaleMin": 2, "pdb": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}})), "PodDisruptionBudget istio-ingressgateway", "/spec/unhealthyPodEvictionPolicy", json!("AlwaysAllow")),
        (json!({"components": {"egressGateways": [{"name": "out"}]}, "unvalidatedValues": {"gateways": {"istio-egressgateway": {"egressPorts": [{"name": "x", "port": "9000"}]}}}}), "Service out", "/spec/ports/2", json!({"name": "x", "port": 9000})),
        (values(json!({"global": {"networkPolicy": {"enabled": true}}})), "NetworkPolicy istio-ingressgateway", "/spec/ingress", json!([
            {"ports": [{"port": 15021, "protocol": "TCP"}]}, {"ports": [{"port": 15020, "protocol": "TCP"}, {"port": 15090, "protocol": "TCP"}]},
            {"ports": [{"port": 15021, "protocol": "TCP"}]}, {"ports": [{"port": 8080, "protocol": "TCP"}]}, {"ports": [{"port": 8443, "protocol": "TCP"}]},
        ])),
        (values(json!({"global": {"networkPolicy": {"enabled": true}}, "gateways": {"istio-ingressgateway": {"ports": [{"port": 53, "protocol": "UDP", "targetPort": "dns"}]}}})), "NetworkPolicy istio-ingressgateway", "/spec/ingress/2", json!({"ports": [{"port": "dns", "protocol": "UDP"}]})),
        (gateway(json!({"ports": null})), service, "/spec/ports", Value::Null),
        (gateway(json!({"resources": null})), deployment, "/spec/template/spec/containers/0/resources", json!({"requests": {"cpu": "10m"}})),
        (gateway(json!({"podAnnotations": {"prometheus.io/port": "1"}})), deployment, "/spec/template/metadata/annotations/prometheus.io~1port", json!("1")),
        (json!({"unvalidatedValues": {"platform": "openshift"}}), deployment, "/spec/template/spec/securityContext", json!({"runAsNonRoot": true})),
        (values(json!({"global": {"arch": {"amd64": 2, "arm64": 1, "s390x": 0}}})), deployment, "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms", json!([{"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}]}])),
        (values(json!({"global": {"mountMtlsCerts": true}})), deployment, "/spec/template/spec/volumes/8", json!({"name": "istio-certs", "secret": {"secretName": "istio.istio-ingressgateway-service-account", "optional": true}})),
        (values(json!({"global": {"mountMtlsCerts": true}})), deployment, "/spec/template/spec/containers/0/volumeMounts/7", json!({"name": "istio-certs", "mountPath": "/etc/certs", "readOnly": true})),
        (values(json!({"global": {"pilotCertProvider": "custom"}})), deployment, "/spec/template/spec/volumes/3/name", json!("podinfo")),
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
    assert_eq!(labels.get("service.istio.io/canonical-name"), None);
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

/// Settings of one entry of the list: what replaces, what merges, what keeps its place.
#[test]
#[rustfmt::skip]
fn settings_of_an_entry() {
    let edge = |entry: Value| {
        let mut full = json!({"name": "edge"});
        crate::value::merge(&mut full, &entry);
        json!({"components": {"ingressGateways": [full]}})
    };
    let k8s = |k8s: Value| edge(json!({"k8s": k8s}));
    let (deployment, service) = ("Deployment edge", "Service edge");
    let container = "/spec/template/spec/containers/0";
    let at = |rest: &str| format!("{container}{rest}");
    for (spec, name, pointer, expected) in [
        (edge(json!({"namespace": "out"})), deployment, "/metadata/namespace".into(), json!("out")),
        (edge(json!({"namespace": "out"})), deployment, at("/env/10/value"), json!("kubernetes://apis/apps/v1/namespaces/out/deployments/edge")),
        (edge(json!({"label": {"app": "own"}})), deployment, "/spec/selector/matchLabels".into(), json!({"app": "own", "istio": "ingressgateway"})),
        (edge(json!({"label": {"version": "v7"}})), deployment, "/spec/template/metadata/labels/service.istio.io~1canonical-revision".into(), json!("v7")),
        (edge(json!({"tag": "2"})), deployment, at("/image"), json!("docker.io/istio/proxyv2:2")),
        (k8s(json!({"service": {"externalTrafficPolicy": "Local"}})), service, "/spec/ports/2/port".into(), json!(443)),
        (k8s(json!({"service": {"externalTrafficPolicy": "Local"}})), service, "/spec/externalTrafficPolicy".into(), json!("Local")),
        (k8s(json!({"service": {"ports": [{"port": 1443, "name": "t", "targetPort": 8443}]}})), deployment, at("/ports/0/containerPort"), json!(8443)),
        (k8s(json!({"service": {"ports": []}})), service, "/spec/ports/1/port".into(), json!(80)),
        (k8s(json!({"service": {"selector": {"a": "b"}}})), service, "/spec/selector".into(), json!({"a": "b", "app": "istio-ingressgateway", "istio": "ingressgateway"})),
        (k8s(json!({"env": [{"name": "CA_ADDR", "value": "x"}]})), deployment, at("/env/1"), json!({"name": "CA_ADDR", "value": "x"})),
        (k8s(json!({"env": [{"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]})), deployment, at("/env/6/valueFrom/fieldRef"), json!({"apiVersion": "v1", "fieldPath": "status.podIP"})),
        (k8s(json!({"env": [{"name": "HOST_IP", "value": "x"}]})), deployment, at("/env/6"), json!({"name": "HOST_IP", "value": "x"})),
        (k8s(json!({"env": [{"name": "TRUST_DOMAIN", "valueFrom": {"fieldRef": {"fieldPath": "a"}}}]})), deployment, at("/env/12"), json!({"name": "TRUST_DOMAIN", "valueFrom": {"fieldRef": {"fieldPath": "a"}}})),
        (k8s(json!({"env": [{"name": "NEW", "value": "x"}]})), deployment, at("/env/0"), json!({"name": "NEW", "value": "x"})),
        (k8s(json!({"readinessProbe": {"tcpSocket": {"port": 1}}})), deployment, at("/readinessProbe"), json!({"failureThreshold": 30, "initialDelaySeconds": 1, "periodSeconds": 2, "successThreshold": 1, "timeoutSeconds": 1, "tcpSocket": {"port": 1}})),
        (k8s(json!({"readinessProbe": {"periodSeconds": 9}})), deployment, at("/readinessProbe/httpGet/port"), json!(15021)),
        (k8s(json!({"readinessProbe": {"periodSeconds": 9}})), deployment, at("/readinessProbe/periodSeconds"), json!(9)),
        (k8s(json!({"resources": {"limits": {"cpu": 1}}})), deployment, at("/resources"), json!({"limits": {"cpu": "1", "memory": "1024Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}})),
        (k8s(json!({"imagePullPolicy": "Never"})), deployment, at("/imagePullPolicy"), json!("Never")),
        (k8s(json!({"priorityClassName": "p"})), deployment, "/spec/template/spec/priorityClassName".into(), json!("p")),
        (k8s(json!({"securityContext": {"fsGroup": 7}})), deployment, "/spec/template/spec/securityContext".into(), json!({"runAsUser": 1337, "runAsGroup": 1337, "runAsNonRoot": true, "fsGroup": 7})),
        (k8s(json!({"podAnnotations": {"a": "b"}})), deployment, "/spec/template/metadata/annotations/a".into(), json!("b")),
        (k8s(json!({"nodeSelector": {"a": "b"}})), deployment, "/spec/template/spec/nodeSelector".into(), json!({"a": "b"})),
        (k8s(json!({"affinity": {"podAffinity": {}}})), deployment, "/spec/template/spec/affinity/podAffinity".into(), json!({})),
        (k8s(json!({"tolerations": [{"key": "k"}]})), deployment, "/spec/template/spec/tolerations".into(), json!([{"key": "k"}])),
        (k8s(json!({"strategy": {"rollingUpdate": {"maxSurge": 1}}})), deployment, "/spec/strategy".into(), json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}})),
        (k8s(json!({"strategy": {"type": "Recreate"}})), deployment, "/spec/strategy".into(), json!({"type": "Recreate"})),
        (k8s(json!({"hpaSpec": {"maxReplicas": 9, "minReplicas": 3}})), "HorizontalPodAutoscaler edge", "/spec/maxReplicas".into(), json!(9)),
        (k8s(json!({"hpaSpec": {"minReplicas": 3}})), "PodDisruptionBudget edge", "/spec/minAvailable".into(), json!(1)),
        (k8s(json!({"hpaSpec": {"minReplicas": 3}, "podDisruptionBudget": {"maxUnavailable": 1}})), "PodDisruptionBudget edge", "/spec/minAvailable".into(), Value::Null),
        (k8s(json!({"hpaSpec": {"minReplicas": 3}, "podDisruptionBudget": {"minAvailable": 2}})), "PodDisruptionBudget edge", "/spec/minAvailable".into(), json!(2)),
        (k8s(json!({"hpaSpec": {"minReplicas": 3, "metrics": [{"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 5}}}]}})), "HorizontalPodAutoscaler edge", "/spec/metrics/1".into(), Value::Null),
    ] {
        check_content(&[(spec, name, &pointer, expected)]);
    }
    let off = |values: Value| {
        let mut spec = k8s(json!({"replicaCount": 3}));
        crate::value::merge(&mut spec, &json!({"values": {"gateways": {"istio-ingressgateway": values}}}));
        spec
    };
    check_content(&[
        (off(json!({})), deployment, "/spec/replicas", Value::Null),
        (off(json!({"autoscaleEnabled": false})), deployment, "/spec/replicas", json!(3)),
        (off(json!({"autoscaleEnabled": false})), "PodDisruptionBudget edge", "/spec/minAvailable", json!(1)),
    ]);
}

/// `values.gateways.<kind>.enabled` turns on what is listed, and nothing else.
#[test]
#[rustfmt::skip]
fn values_that_enable_entries() {
    let egress = |enabled: Value, list: Value| {
        json!({"components": {"egressGateways": list}, "values": {"gateways": {"istio-egressgateway": {"enabled": enabled}}}})
    };
    let off = || json!([{"name": "out", "enabled": false}]);
    check_presence(&[
        (values(json!({"gateways": {"istio-egressgateway": {"enabled": true}}})), "Deployment istio-egressgateway", true),
        (egress(json!(true), off()), "Deployment out", true),
        (egress(json!(false), off()), "Deployment out", false),
        (egress(json!(false), json!([{"name": "out"}])), "Deployment out", true),
        (egress(json!(true), json!([])), "Deployment istio-egressgateway", false),
        (values(json!({"gateways": {"istio-ingressgateway": {"enabled": false}}})), "Deployment istio-ingressgateway", true),
    ]);
}
