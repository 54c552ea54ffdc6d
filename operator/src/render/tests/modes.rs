//! Remote control planes, scopes, profiles and platforms.

use serde_json::{Value, json};

use super::table::{check_content, check_presence, values};
use super::*;

const VAP: &str = "ValidatingAdmissionPolicy stable-channel-policy-istio-system.istio.io";

fn remote(more: Value) -> Value {
    let mut spec = json!({"profile": "remote"});
    crate::value::merge(&mut spec, &more);
    spec
}

#[test]
#[rustfmt::skip]
fn remote_modes() {
    let address =
        |address: &str| remote(values(json!({"global": {"remotePilotAddress": address}})));
    let config = || remote(values(json!({"global": {"configCluster": true}})));
    let local = || {
        remote(values(
            json!({"istiodRemote": {"enabledLocalInjectorIstiod": true}, "global": {"remotePilotAddress": "10.0.0.1"}}),
        ))
    };
    check_presence(&[
        (remote(json!({})), "CustomResourceDefinition gateways.networking.istio.io", true),
        (remote(json!({})), "ServiceAccount istio-reader-service-account", true),
        (remote(json!({})), "ClusterRole istio-reader-clusterrole-istio-system", true),
        (remote(json!({})), "MutatingWebhookConfiguration istio-sidecar-injector", true),
        (remote(json!({})), "ConfigMap values", true),
        (remote(json!({})), "Deployment istiod", false),
        (remote(json!({})), "Service istiod", false),
        (remote(json!({})), "HorizontalPodAutoscaler istiod", false),
        (remote(json!({})), "ServiceAccount istiod", false),
        (remote(json!({})), "ClusterRole istiod-clusterrole-istio-system", false),
        (remote(json!({})), "Role istiod", false),
        (remote(json!({})), "ConfigMap istio", false),
        (remote(json!({})), "ConfigMap istio-sidecar-injector", false),
        (remote(json!({})), "ValidatingWebhookConfiguration istio-validator-istio-system", false),
        (remote(json!({})), "Deployment istio-ingressgateway", false),
        (address("istiod.example.com"), "Service istiod", true),
        (address("istiod.example.com"), "EndpointSlice istiod", false),
        (address("10.0.0.1"), "EndpointSlice istiod", true),
        (config(), "ServiceAccount istiod", true),
        (config(), "ClusterRole istiod-clusterrole-istio-system", true),
        (config(), "Role istiod", true),
        (config(), "ValidatingWebhookConfiguration istio-validator-istio-system", true),
        (config(), "Deployment istiod", false),
        (local(), "Deployment istiod", true),
        (local(), "Service istiod", true),
        (local(), "HorizontalPodAutoscaler istiod", true),
        (local(), "Service istiod-remote", true),
        (local(), "EndpointSlice istiod-remote", true),
    ]);
    let reader = "ClusterRole istio-reader-clusterrole-istio-system";
    check_content(&[
        (address("istiod.example.com"), "Service istiod", "/spec/type", json!("ExternalName")),
        (address("istiod.example.com"), "Service istiod", "/spec/externalName", json!("istiod.example.com")),
        (address("10.0.0.1"), "Service istiod", "/spec/type", Value::Null),
        (address("10.0.0.1"), "Service istiod", "/spec/selector", Value::Null),
        (address("10.0.0.1"), "Service istiod", "/spec/ports/1", json!({"name": "tcp-webhook", "port": 443, "targetPort": 15017, "protocol": "TCP"})),
        (address("10.0.0.1"), "EndpointSlice istiod", "/addressType", json!("IPv4")),
        (address("fd00::1"), "EndpointSlice istiod", "/addressType", json!("IPv6")),
        (address("10.0.0.1"), "EndpointSlice istiod", "/endpoints", json!([{"addresses": ["10.0.0.1"]}])),
        (address("10.0.0.1"), "EndpointSlice istiod", "/ports/1/port", json!(15017)),
        (address("10.0.0.1"), "EndpointSlice istiod", "/metadata/labels/kubernetes.io~1service-name", json!("istiod")),
        (remote(json!({})), reader, "/rules/11/resources", json!(["configmaps"])),
        (json!({}), reader, "/rules/11", Value::Null),
    ]);
    let mesh = |spec: Value| {
        let spec = stock(spec);
        let mut spec = spec;
        spec["values"]["pilot"] = json!({"configMap": true});
        let map = object(&rendered(spec), "ConfigMap istio");
        let mesh = map["data"]["mesh"].as_str().expect("a document").to_owned();
        serde_yaml_ng::from_str::<Value>(&mesh).expect("YAML")["defaultConfig"]["discoveryAddress"]
            .clone()
    };
    assert_eq!(mesh(address("10.0.0.1")), "istiod.istio-system.svc:15012");
    assert_eq!(mesh(local()), "istiod-remote.istio-system.svc:15012");
    // The name of an older version.
    let external =
        render(&stock(json!({"profile": "external"})), &Context::default()).expect("valid");
    assert_eq!(keys(&external), keys(&rendered(stock(remote(json!({}))))));
    assert_eq!(external.warnings[0].path, "spec.profile");
}

#[test]
#[rustfmt::skip]
fn scopes() {
    let scoped = |scope: &str| {
        let mut spec = stock(
            json!({"profile": "ambient", "components": {"ingressGateways": [{"name": "in"}]}}),
        );
        spec["values"] = json!({
            "global": {"resourceScope": scope, "networkPolicy": {"enabled": true}},
            "experimental": {"stableValidationPolicy": true}, "defaultRevision": "default",
        });
        rendered(spec)
    };
    let (all, cluster, namespace) = (scoped("all"), scoped("cluster"), scoped("namespace"));
    let default_policy = "ValidatingAdmissionPolicy stable-channel-default-policy.istio.io";
    for (name, in_cluster, in_namespace) in [
        ("CustomResourceDefinition gateways.networking.istio.io", true, false),
        ("ClusterRole istiod-clusterrole-istio-system", true, false),
        ("ClusterRole istio-cni", true, false),
        ("MutatingWebhookConfiguration istio-sidecar-injector", true, false),
        ("ValidatingWebhookConfiguration istiod-default-validator", true, false),
        (default_policy, true, false),
        (VAP, false, true),
        ("ServiceAccount istio-reader-service-account", false, true),
        ("Deployment istiod", false, true),
        ("DaemonSet istio-cni-node", false, true),
        ("DaemonSet ztunnel", false, true),
        ("NetworkPolicy istio-cni", true, true),
        ("NetworkPolicy ztunnel", true, true),
        ("Deployment in", true, true),
        ("Role in-sds", true, true),
    ] {
        assert!(has(&all, name), "{name}");
        assert_eq!(has(&cluster, name), in_cluster, "{name}");
        assert_eq!(has(&namespace, name), in_namespace, "{name}");
    }
}

/// Components that profiles switch on, and what is in their values.
#[test]
#[rustfmt::skip]
fn profiles() {
    use Component::{Base, Cni, EgressGateways, IngressGateways, Pilot, Ztunnel};
    for (profile, components) in [
        ("default", vec![Base, Pilot, IngressGateways]),
        ("demo", vec![Base, Pilot, IngressGateways, EgressGateways]),
        ("minimal", vec![Base, Pilot]),
        ("remote", vec![Base, Pilot]),
        ("empty", vec![]),
        ("preview", vec![Base, Pilot, IngressGateways]),
        ("stable", vec![Base, Pilot, IngressGateways]),
        ("ambient", vec![Base, Pilot, Cni, Ztunnel]),
        ("openshift", vec![Base, Pilot, Cni, IngressGateways]),
        ("openshift-ambient", vec![Base, Pilot, Cni, Ztunnel]),
        ("external", vec![Base, Pilot]),
        ("separate", vec![Base, Pilot, IngressGateways]),
    ] {
        assert_eq!(
            rendered(stock(json!({"profile": profile}))).components,
            components,
            "{profile}"
        );
    }
    let ambient = || json!({"profile": "ambient"});
    let openshift = || json!({"profile": "openshift"});
    let gateway = "Deployment istio-ingressgateway";
    let istiod = "Deployment istiod";
    let cni = "DaemonSet istio-cni-node";
    check_content(&[
        (ambient(), istiod, "/spec/template/spec/containers/0/image", json!("docker.io/istio/pilot:1.32.0-distroless")),
        (ambient(), "ConfigMap istio-cni-config", "/data/AMBIENT_ENABLED", json!("true")),
        (openshift(), cni, "/metadata/namespace", json!("kube-system")),
        (openshift(), cni, "/spec/template/spec/volumes/0/hostPath/path", json!("/var/lib/cni/bin")),
        (openshift(), cni, "/spec/template/spec/containers/0/securityContext/seLinuxOptions", json!({"type": "spc_t"})),
        (openshift(), "ConfigMap istio-cni-config", "/data/CHAINED_CNI_PLUGIN", json!("false")),
        (openshift(), "NetworkAttachmentDefinition istio-cni", "/metadata/name", json!("istio-cni")),
        (openshift(), istiod, "/spec/template/spec/containers/0/terminationMessagePolicy", json!("FallbackToLogsOnError")),
        (openshift(), istiod, "/spec/template/spec/containers/0/env/6/value", json!("kube-system/ztunnel")),
        (openshift(), gateway, "/spec/template/spec/securityContext/runAsUser", Value::Null),
    ]);
    let mesh = |profile: &str| {
        let map = object(
            &rendered(stock(json!({"profile": profile}))),
            "ConfigMap istio",
        );
        let text = map["data"]["mesh"].as_str().expect("a document").to_owned();
        serde_yaml_ng::from_str::<Value>(&text).expect("YAML")
    };
    let metadata = |profile: &str| mesh(profile)["defaultConfig"]["proxyMetadata"].clone();
    assert_eq!(
        metadata("preview"),
        json!({"ISTIO_META_DNS_CAPTURE": "true"})
    );
    assert_eq!(
        metadata("ambient"),
        json!({"ISTIO_META_ENABLE_HBONE": "true"})
    );
    assert_eq!(mesh("ambient")["serviceScopeConfigs"][0]["scope"], "GLOBAL");
}

#[test]
#[rustfmt::skip]
fn platforms() {
    let on = |platform: &str| json!({"components": {"cni": {}, "ztunnel": {}}, "values": {"global": {"platform": platform}}});
    let cni = "DaemonSet istio-cni-node";
    let (bin, conf, netns) = (
        "/spec/template/spec/volumes/0/hostPath/path",
        "/spec/template/spec/volumes/2/hostPath/path",
        "/spec/template/spec/volumes/4/hostPath/path",
    );
    check_content(&[
        (on("k3d"), cni, bin, json!("/bin")),
        (on("k3d"), cni, conf, json!("/var/lib/rancher/k3s/agent/etc/cni/net.d")),
        (on("k3s"), cni, bin, json!("/var/lib/rancher/k3s/data/cni")),
        (on("microk8s"), cni, conf, json!("/var/snap/microk8s/current/args/cni-network")),
        (on("microk8s"), cni, bin, json!("/var/snap/microk8s/current/opt/cni/bin")),
        (on("minikube"), cni, netns, json!("/var/run/docker/netns")),
        (on("gke"), cni, bin, json!("/opt/cni/bin")),
        (on("gke"), "ResourceQuota istio-cni-resource-quota", "/spec/hard/pods", json!("5000")),
        (on("gke"), "ResourceQuota ztunnel", "/spec/hard/pods", json!("5000")),
        (json!({"values": {"platform": "k3d"}, "components": {"cni": {}}}), cni, bin, json!("/bin")),
    ]);
    // The cluster itself says what it is; the user may say otherwise.
    let context = Context {
        kubernetes_version: "v1.34.1-gke.100".to_owned(),
        ..Context::default()
    };
    let detected = |spec: Value| render(&stock(spec), &context).expect("valid");
    let gke = detected(json!({"components": {"cni": {}}}));
    assert!(keys(&gke).contains(&"DaemonSet kube-system/istio-cni-node".to_owned()));
    assert!(!has(&gke, "ResourceQuota istio-cni-resource-quota"));
    let path = object(&gke, cni).pointer(bin).cloned();
    assert_eq!(path, Some(json!("/home/kubernetes/bin")));
    let own = detected(json!({"components": {"cni": {"namespace": "own"}}}));
    assert!(keys(&own).contains(&"DaemonSet own/istio-cni-node".to_owned()));
    assert!(
        detected(json!({}))
            .components
            .iter()
            .all(|c| *c != Component::Cni),
        "it is not switched on"
    );
}

/// With Ironsail's own images, what they can't do is refused by its path.
#[test]
#[rustfmt::skip]
fn what_own_images_lack_is_refused() {
    for (spec, path) in [
        (json!({"profile": "ambient"}), "spec.components.cni.enabled"),
        (json!({"profile": "openshift"}), "spec.components.cni.enabled"),
        (json!({"components": {"ztunnel": {}}}), "spec.components.ztunnel.enabled"),
        (json!({"components": {"cni": {"hub": "mirror"}}}), "spec.components.cni.enabled"),
        (json!({"profile": "remote"}), "spec.values.istiodRemote.enabled"),
        (json!({"profile": "external"}), "spec.values.istiodRemote.enabled"),
        (values(json!({"global": {"remotePilotAddress": "10.0.0.1"}})), "spec.values.global.remotePilotAddress"),
        (values(json!({"global": {"externalIstiod": true}})), "spec.values.global.externalIstiod"),
        (values(json!({"pilot": {"env": {"ENABLE_CLUSTER_TRUST_BUNDLE_API": "true"}}})), "spec.values.pilot.env.ENABLE_CLUSTER_TRUST_BUNDLE_API"),
    ] {
        let findings = render(&spec, &Context::default()).expect_err("refused");
        let paths: Vec<&str> = findings
            .iter()
            .filter(|f| f.is_error())
            .map(|f| f.path.as_str())
            .collect();
        assert!(paths.contains(&path), "{paths:?} of {spec}");
        rendered(stock(spec));
    }
    // One component from elsewhere, the control plane from here.
    let mixed = json!({"components": {"cni": {"hub": "docker.io/istio", "tag": "1.32.0"}}});
    let mixed = rendered(mixed);
    let image = |name: &str| {
        object(&mixed, name)["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!(
        image("DaemonSet istio-cni-node"),
        "docker.io/istio/install-cni:1.32.0"
    );
    assert_eq!(
        image("Deployment istiod"),
        "ironsail/pilot:1.32.0-ironsail.1"
    );
}
