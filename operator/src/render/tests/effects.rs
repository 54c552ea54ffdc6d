//! What each value changes: one row per value.

use serde_json::{Value, json};

use super::*;

/// A value, the object that it changes, a JSON pointer, and what stands there then.
type Row = (Value, &'static str, &'static str, Value);

#[track_caller]
fn check(rows: Vec<Row>) {
    for (values, name, pointer, expected) in rows {
        let plain = object(&rendered(stock(base())), name);
        let mut spec = base();
        crate::value::merge(&mut spec, &json!({"unvalidatedValues": values}));
        let changed = object(&rendered(stock(spec)), name);
        let found = changed.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(found, &expected, "{pointer} of {name} with {values}");
        let before = plain.pointer(pointer).unwrap_or(&Value::Null);
        assert_ne!(
            before, found,
            "{values} changes nothing at {pointer} of {name}"
        );
    }
}

/// With everything that values can be seen at.
fn base() -> Value {
    json!({
        "components": {"cni": {}, "ztunnel": {}, "egressGateways": [{"name": "istio-egressgateway"}]},
        "values": {"global": {"networkPolicy": {"enabled": true}}},
    })
}

const ISTIOD: &str = "Deployment istiod";
const INGRESS: &str = "Deployment istio-ingressgateway";
const CNI: &str = "DaemonSet istio-cni-node";
const ZTUNNEL: &str = "DaemonSet ztunnel";
const INJECTOR: &str = "MutatingWebhookConfiguration istio-sidecar-injector";
const VALIDATOR: &str = "ValidatingWebhookConfiguration istio-validator-istio-system";

fn global(values: Value) -> Value {
    json!({"global": values})
}

fn pilot(values: Value) -> Value {
    json!({"pilot": values})
}

fn merged(mut values: Value, more: Value) -> Value {
    crate::value::merge(&mut values, &more);
    values
}

const IMAGE: &str = "/spec/template/spec/containers/0/image";
const PULL: &str = "/spec/template/spec/containers/0/imagePullPolicy";

#[test]
#[rustfmt::skip]
fn images() {
    check(vec![
        (global(json!({"hub": "h"})), ISTIOD, IMAGE, json!("h/pilot:1.32.0")),
        (global(json!({"hub": "h"})), INGRESS, IMAGE, json!("h/proxyv2:1.32.0")),
        (global(json!({"hub": "h"})), CNI, IMAGE, json!("h/install-cni:1.32.0")),
        (global(json!({"hub": "h"})), ZTUNNEL, IMAGE, json!("h/ztunnel:1.32.0")),
        (global(json!({"tag": "2"})), ISTIOD, IMAGE, json!("docker.io/istio/pilot:2")),
        (global(json!({"variant": "debug"})), INGRESS, IMAGE, json!("docker.io/istio/proxyv2:1.32.0-debug")),
        (global(json!({"variant": "debug"})), CNI, IMAGE, json!("docker.io/istio/install-cni:1.32.0-debug")),
        (global(json!({"proxy": {"variant": "debug"}})), INGRESS, IMAGE, json!("docker.io/istio/proxyv2:1.32.0-debug")),
        (global(json!({"proxy": {"image": "r.example/x:1"}})), INGRESS, IMAGE, json!("r.example/x:1")),
        (pilot(json!({"image": "r.example/x:1"})), ISTIOD, IMAGE, json!("r.example/x:1")),
        (merged(global(json!({"hub": "h"})), pilot(json!({"image": ""}))), ISTIOD, IMAGE, json!("h/pilot:1.32.0")),
        (global(json!({"hub": "h", "proxy": {"image": ""}})), INGRESS, IMAGE, json!("h/proxyv2:1.32.0")),
        (merged(global(json!({"hub": "h"})), json!({"cni": {"image": ""}})), CNI, IMAGE, json!("h/install-cni:1.32.0")),
        (merged(global(json!({"hub": "h"})), json!({"ztunnel": {"image": ""}})), ZTUNNEL, IMAGE, json!("h/ztunnel:1.32.0")),
        (pilot(json!({"hub": "p", "tag": "3", "variant": "v"})), ISTIOD, IMAGE, json!("p/pilot:3-v")),
        (json!({"cni": {"hub": "c", "tag": "3", "image": "i", "variant": "v"}}), CNI, IMAGE, json!("c/i:3-v")),
        (json!({"ztunnel": {"hub": "z", "tag": "3", "image": "i"}}), ZTUNNEL, IMAGE, json!("z/i:3")),
        (global(json!({"imagePullPolicy": "Always"})), ISTIOD, PULL, json!("Always")),
        (global(json!({"imagePullPolicy": "Always"})), INGRESS, PULL, json!("Always")),
        (global(json!({"imagePullPolicy": "Always"})), CNI, PULL, json!("Always")),
        (json!({"cni": {"pullPolicy": "Never"}}), CNI, PULL, json!("Never")),
        (global(json!({"imagePullSecrets": ["s"]})), "ServiceAccount istiod", "/imagePullSecrets", json!([{"name": "s"}])),
        (global(json!({"imagePullSecrets": ["s"]})), "ServiceAccount istio-cni", "/imagePullSecrets", json!([{"name": "s"}])),
        (global(json!({"imagePullSecrets": ["s"]})), "ServiceAccount ztunnel", "/imagePullSecrets", json!([{"name": "s"}])),
        (global(json!({"imagePullSecrets": ["s"]})), "ServiceAccount istio-reader-service-account", "/imagePullSecrets", json!([{"name": "s"}])),
        (global(json!({"imagePullSecrets": ["s"]})), "ServiceAccount istio-ingressgateway-service-account", "/imagePullSecrets", json!([{"name": "s"}])),
    ]);
}

/// Value of a variable of the first container.
fn variable(object: &Value, name: &str) -> Value {
    let list = object
        .pointer("/spec/template/spec/containers/0/env")
        .and_then(Value::as_array);
    let found = list
        .expect("an environment")
        .iter()
        .find(|own| own["name"] == name);
    found.map_or(Value::Null, |own| own["value"].clone())
}

#[test]
#[rustfmt::skip]
fn environments() {
    let rows = [
        (global(json!({"network": "west"})), INGRESS, "ISTIO_META_NETWORK", json!("west")),
        (global(json!({"network": "west"})), ZTUNNEL, "NETWORK", json!("west")),
        (global(json!({"multiCluster": {"clusterName": "c"}})), ISTIOD, "CLUSTER_ID", json!("c")),
        (global(json!({"multiCluster": {"clusterName": "c"}})), INGRESS, "ISTIO_META_CLUSTER_ID", json!("c")),
        (global(json!({"multiCluster": {"clusterName": "c"}})), ZTUNNEL, "ISTIO_META_CLUSTER_ID", json!("c")),
        (global(json!({"meshID": "m"})), INGRESS, "ISTIO_META_MESH_ID", json!("m")),
        (json!({"meshConfig": {"trustDomain": "t"}}), INGRESS, "ISTIO_META_MESH_ID", json!("t")),
        (json!({"meshConfig": {"trustDomain": "t"}}), INGRESS, "TRUST_DOMAIN", json!("t")),
        (json!({"meshConfig": {"defaultConfig": {"proxyMetadata": {"A": "b"}}}}), INGRESS, "A", json!("b")),
        (global(json!({"caAddress": "ca:1"})), INGRESS, "CA_ADDR", json!("ca:1")),
        (global(json!({"caAddress": "ca:1"})), ZTUNNEL, "CA_ADDRESS", json!("ca:1")),
        (global(json!({"pilotCertProvider": "custom"})), ISTIOD, "PILOT_CERT_PROVIDER", json!("custom")),
        (global(json!({"pilotCertProvider": "custom"})), INGRESS, "PILOT_CERT_PROVIDER", json!("custom")),
        (global(json!({"platform": "minikube"})), ISTIOD, "PLATFORM", json!("minikube")),
        (json!({"platform": "minikube"}), ISTIOD, "PLATFORM", json!("minikube")),
        (global(json!({"externalIstiod": true})), ISTIOD, "EXTERNAL_ISTIOD", json!("true")),
        (global(json!({"trustBundleName": "t"})), ISTIOD, "PILOT_CA_CERT_CONFIGMAP", json!("t")),
        (global(json!({"istiod": {"enableAnalysis": true}})), ISTIOD, "PILOT_ENABLE_ANALYSIS", json!("true")),
        (global(json!({"logAsJson": true})), ZTUNNEL, "LOG_FORMAT", json!("json")),
        (pilot(json!({"env": {"A": 5}})), ISTIOD, "A", json!("5")),
        (pilot(json!({"env": {"CA_TRUSTED_NODE_ACCOUNTS": "x/y"}})), ISTIOD, "CA_TRUSTED_NODE_ACCOUNTS", json!("x/y")),
        (pilot(json!({"traceSampling": 7})), ISTIOD, "PILOT_TRACE_SAMPLING", json!("7")),
        (pilot(json!({"traceSampling": 0})), ISTIOD, "PILOT_TRACE_SAMPLING", Value::Null),
        (pilot(json!({"crlConfigMapName": "crl"})), ISTIOD, "PILOT_CRL_CONFIGMAP", json!("crl")),
        (pilot(json!({"trustedZtunnelName": "z"})), ISTIOD, "CA_TRUSTED_NODE_ACCOUNTS", json!("istio-system/z")),
        (pilot(json!({"trustedZtunnelNamespace": "n"})), ISTIOD, "CA_TRUSTED_NODE_ACCOUNTS", json!("n/ztunnel")),
        (pilot(json!({"taint": {"enabled": true}})), ISTIOD, "PILOT_ENABLE_NODE_UNTAINT_CONTROLLERS", json!("true")),
        (json!({"gateways": {"istio-ingressgateway": {"env": {"A": "b"}}}}), INGRESS, "A", json!("b")),
        (json!({"cni": {"env": {"A": "b"}}}), CNI, "A", json!("b")),
        (json!({"ztunnel": {"logLevel": "debug"}}), ZTUNNEL, "RUST_LOG", json!("debug")),
        (json!({"revision": "canary"}), ZTUNNEL, "XDS_ADDRESS", json!("istiod-canary.istio-system.svc:15012")),
    ];
    for (values, name, wanted, expected) in rows {
        let mut spec = base();
        crate::value::merge(&mut spec, &json!({"unvalidatedValues": values}));
        let before = variable(&object(&rendered(stock(base())), name), wanted);
        let after = variable(&object(&rendered(stock(spec)), name), wanted);
        assert_eq!(after, expected, "{wanted} of {name} with {values}");
        assert_ne!(before, after, "{values} changes nothing");
    }
}

#[test]
#[rustfmt::skip]
fn arguments() {
    let arguments = |values: Value, name: &str| {
        let mut spec = base();
        crate::value::merge(&mut spec, &json!({"unvalidatedValues": values}));
        let object = object(&rendered(stock(spec)), name);
        let list = object
            .pointer("/spec/template/spec/containers/0/args")
            .cloned();
        serde_json::from_value::<Vec<String>>(list.expect("arguments")).expect("texts")
    };
    for (values, name, expected) in [
        (global(json!({"logging": {"level": "default:debug"}})), ISTIOD, "--log_output_level=default:debug"),
        (global(json!({"logging": {"level": "default:debug"}})), INGRESS, "--log_output_level=default:debug"),
        (global(json!({"logging": {"level": "default:debug"}})), CNI, "--log_output_level=default:debug"),
        (global(json!({"logAsJson": true})), ISTIOD, "--log_as_json"),
        (global(json!({"logAsJson": true})), INGRESS, "--log_as_json"),
        (global(json!({"logAsJson": true})), CNI, "--log_as_json"),
        (global(json!({"proxy": {"logLevel": "debug"}})), INGRESS, "--proxyLogLevel=debug"),
        (global(json!({"proxy": {"componentLogLevel": "rbac:debug"}})), INGRESS, "--proxyComponentLogLevel=rbac:debug"),
        (global(json!({"proxy": {"clusterDomain": "c.example"}})), INGRESS, "$(POD_NAMESPACE).svc.c.example"),
        (global(json!({"proxy": {"clusterDomain": "c.example"}})), ISTIOD, "c.example"),
        (global(json!({"sts": {"servicePort": 15463}})), INGRESS, "--stsPort=15463"),
        (global(json!({"sts": {"servicePort": "15463"}})), INGRESS, "--stsPort=15463"),
        (pilot(json!({"extraContainerArgs": ["--x"]})), ISTIOD, "--x"),
        (pilot(json!({"keepaliveMaxServerConnectionAge": "10m"})), ISTIOD, "10m"),
        (pilot(json!({"taint": {"namespace": "cni"}})), ISTIOD, "--cniNamespace=cni"),
    ] {
        assert!(
            !arguments(json!({}), name).contains(&expected.to_owned()),
            "{expected}"
        );
        assert!(
            arguments(values, name).contains(&expected.to_owned()),
            "{expected} of {name}"
        );
    }
    for (values, prefix) in [
        (global(json!({"logging": {"level": ""}})), "--log_output_level"),
        (global(json!({"proxy": {"logLevel": ""}})), "--proxyLogLevel"),
        (global(json!({"proxy": {"componentLogLevel": ""}})), "--proxyComponentLogLevel"),
    ] {
        assert!(
            !arguments(values, INGRESS)
                .iter()
                .any(|own| own.starts_with(prefix)),
            "{prefix}"
        );
    }
}

#[test]
#[rustfmt::skip]
fn pods() {
    check(vec![
        (pilot(json!({"podLabels": {"a": "b"}})), ISTIOD, "/spec/template/metadata/labels/a", json!("b")),
        (pilot(json!({"podAnnotations": {"a": "b"}})), ISTIOD, "/spec/template/metadata/annotations/a", json!("b")),
        (pilot(json!({"deploymentLabels": {"a": "b"}})), ISTIOD, "/metadata/labels/a", json!("b")),
        (pilot(json!({"deploymentAnnotations": {"a": "b"}})), ISTIOD, "/metadata/annotations/a", json!("b")),
        (pilot(json!({"serviceAnnotations": {"a": "b"}})), "Service istiod", "/metadata/annotations/a", json!("b")),
        (pilot(json!({"serviceAccountAnnotations": {"a": "b"}})), "ServiceAccount istiod", "/metadata/annotations/a", json!("b")),
        (pilot(json!({"nodeSelector": {"a": "b"}})), ISTIOD, "/spec/template/spec/nodeSelector/a", json!("b")),
        (pilot(json!({"tolerations": [{"key": "k"}]})), ISTIOD, "/spec/template/spec/tolerations/1/key", json!("k")),
        (pilot(json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}})), ISTIOD, "/spec/template/spec/affinity/nodeAffinity", json!({"preferredDuringSchedulingIgnoredDuringExecution": []})),
        (pilot(json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]})), ISTIOD, "/spec/template/spec/topologySpreadConstraints/0/topologyKey", json!("z")),
        (pilot(json!({"initContainers": [{"name": "i"}]})), ISTIOD, "/spec/template/spec/initContainers/0/name", json!("i")),
        (pilot(json!({"volumes": [{"name": "v"}]})), ISTIOD, "/spec/template/spec/volumes/6/name", json!("v")),
        (pilot(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})), ISTIOD, "/spec/template/spec/containers/0/volumeMounts/6/name", json!("v")),
        (pilot(json!({"resources": {"limits": {"cpu": 1}}})), ISTIOD, "/spec/template/spec/containers/0/resources/limits/cpu", json!("1")),
        (pilot(json!({"resources": null})), ISTIOD, "/spec/template/spec/containers/0/resources", json!({"requests": {"cpu": "10m"}})),
        (pilot(json!({"seccompProfile": {"type": "RuntimeDefault"}})), ISTIOD, "/spec/template/spec/containers/0/securityContext/seccompProfile/type", json!("RuntimeDefault")),
        (pilot(json!({"terminationMessagePolicy": "File"})), ISTIOD, "/spec/template/spec/containers/0/terminationMessagePolicy", json!("File")),
        (pilot(json!({"jwksResolverExtraRootCA": "pem"})), ISTIOD, "/spec/template/spec/volumes/6/configMap/name", json!("pilot-jwks-extra-cacerts")),
        (pilot(json!({"rollingMaxSurge": 1})), ISTIOD, "/spec/strategy/rollingUpdate/maxSurge", json!(1)),
        (pilot(json!({"rollingMaxUnavailable": "50%"})), ISTIOD, "/spec/strategy/rollingUpdate/maxUnavailable", json!("50%")),
        (pilot(json!({"autoscaleEnabled": false, "replicaCount": 3})), ISTIOD, "/spec/replicas", json!(3)),
        (pilot(json!({"autoscaleMin": 2})), "HorizontalPodAutoscaler istiod", "/spec/minReplicas", json!(2)),
        (pilot(json!({"autoscaleMax": 9})), "HorizontalPodAutoscaler istiod", "/spec/maxReplicas", json!(9)),
        (pilot(json!({"cpu": {"targetAverageUtilization": 50}})), "HorizontalPodAutoscaler istiod", "/spec/metrics/0/resource/target/averageUtilization", json!(50)),
        (pilot(json!({"autoscaleBehavior": {"scaleDown": {"stabilizationWindowSeconds": 1}}})), "HorizontalPodAutoscaler istiod", "/spec/behavior/scaleDown/stabilizationWindowSeconds", json!(1)),
        (pilot(json!({"ipFamilyPolicy": "RequireDualStack"})), "Service istiod", "/spec/ipFamilyPolicy", json!("RequireDualStack")),
        (pilot(json!({"trafficDistribution": "PreferClose"})), "Service istiod", "/spec/trafficDistribution", json!("PreferClose")),
        (global(json!({"sds": {"token": {"aud": "a"}}})), ISTIOD, "/spec/template/spec/volumes/1/projected/sources/0/serviceAccountToken/audience", json!("a")),
        (global(json!({"trustBundleName": "t"})), ISTIOD, "/spec/template/spec/volumes/5/configMap/name", json!("t")),
        (global(json!({"trustBundleName": "t"})), INGRESS, "/spec/template/spec/volumes/3/configMap/name", json!("t")),
        (global(json!({"priorityClassName": "p"})), ISTIOD, "/spec/template/spec/priorityClassName", json!("p")),
        (global(json!({"arch": {"arm64": 1}})), INGRESS, "/spec/template/spec/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/weight", json!(1)),
        (global(json!({"defaultNodeSelector": {"a": "b"}})), INGRESS, "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions/0/key", json!("a")),
        (json!({"cni": {"podLabels": {"a": "b"}}}), CNI, "/spec/template/metadata/labels/a", json!("b")),
        (json!({"cni": {"podAnnotations": {"a": "b"}}}), CNI, "/spec/template/metadata/annotations/a", json!("b")),
        (json!({"cni": {"daemonSetLabels": {"a": "b"}}}), CNI, "/metadata/labels/a", json!("b")),
        (json!({"cni": {"tolerations": []}}), CNI, "/spec/template/spec/tolerations", Value::Null),
        (json!({"cni": {"updateStrategy": {"type": "OnDelete"}}}), CNI, "/spec/updateStrategy/type", json!("OnDelete")),
        (json!({"cni": {"terminationGracePeriodSeconds": 5}}), CNI, "/spec/template/spec/terminationGracePeriodSeconds", json!(5)),
        (json!({"cni": {"seccompProfile": {"type": "Unconfined"}}}), CNI, "/spec/template/spec/containers/0/securityContext/seccompProfile/type", json!("Unconfined")),
        (json!({"cni": {"seLinuxOptions": {"level": "s0"}}}), CNI, "/spec/template/spec/containers/0/securityContext/seLinuxOptions", json!({"level": "s0", "type": "spc_t"})),
        (json!({"ztunnel": {"seLinuxOptions": {"level": "s0"}}}), ZTUNNEL, "/spec/template/spec/containers/0/securityContext/seLinuxOptions/type", json!("spc_t")),
        (json!({"cni": {"cniConfDir": "/c"}}), CNI, "/spec/template/spec/volumes/2/hostPath/path", json!("/c")),
        (json!({"cni": {"cniNetnsDir": "/n"}}), CNI, "/spec/template/spec/volumes/4/hostPath/path", json!("/n")),
        (json!({"ztunnel": {"podLabels": {"a": "b"}}}), ZTUNNEL, "/spec/template/metadata/labels/a", json!("b")),
        (json!({"ztunnel": {"annotations": {"a": "b"}}}), ZTUNNEL, "/metadata/annotations/a", json!("b")),
        (json!({"ztunnel": {"terminationGracePeriodSeconds": 5}}), ZTUNNEL, "/spec/template/spec/terminationGracePeriodSeconds", json!(5)),
        (json!({"ztunnel": {"volumes": [{"name": "v"}]}}), ZTUNNEL, "/spec/template/spec/volumes/4/name", json!("v")),
    ]);
}

#[test]
#[rustfmt::skip]
fn configuration() {
    check(vec![
        (json!({"sidecarInjectorWebhookAnnotations": {"a": "b"}}), INJECTOR, "/metadata/annotations/a", json!("b")),
        (json!({"istiodRemote": {"injectionPath": "/x"}}), INJECTOR, "/webhooks/0/clientConfig/service/path", json!("/x")),
        (json!({"base": {"validationURL": "https://v"}}), VALIDATOR, "/webhooks/0/clientConfig/url", json!("https://v")),
        (json!({"base": {"validationCABundle": "QQ=="}}), VALIDATOR, "/webhooks/0/clientConfig/caBundle", json!("QQ==")),
        (json!({"base": {"validationFailurePolicy": "Fail"}}), VALIDATOR, "/webhooks/0/failurePolicy", json!("Fail")),
        (global(json!({"istioNamespace": "m"})), "ConfigMap istio", "/metadata/namespace", json!("m")),
        (global(json!({"nativeNftables": true})), "ConfigMap istio-cni-config", "/data/NATIVE_NFTABLES", json!("true")),
        (json!({"cni": {"ambient": {"enableAmbientDetectionRetry": true}}}), "ConfigMap istio-cni-config", "/data/ENABLE_AMBIENT_DETECTION_RETRY", json!("true")),
        (json!({"cni": {"ambient": {"enablementSelectors": [{"podSelector": {"matchLabels": {"a": "b"}}}]}}}), "ConfigMap istio-cni-config", "/data/AMBIENT_ENABLEMENT_SELECTOR", json!("- podSelector:\n    matchLabels:\n      a: b\n")),
        (json!({"cni": {"chained": false}}), "ConfigMap istio-cni-config", "/data/CHAINED_CNI_PLUGIN", json!("false")),
        (json!({"cni": {"repair": {"enabled": false}}}), "ConfigMap istio-cni-config", "/data/REPAIR_ENABLED", json!("false")),
        (json!({"cni": {"repair": {"repairPods": false}}}), "ConfigMap istio-cni-config", "/data/REPAIR_REPAIR_PODS", json!("false")),
        (json!({"cni": {"repair": {"initContainerName": "i"}}}), "ConfigMap istio-cni-config", "/data/REPAIR_INIT_CONTAINER_NAME", json!("i")),
        (json!({"cni": {"ambient": {"dnsCapture": false}}}), "ConfigMap istio-cni-config", "/data/AMBIENT_DNS_CAPTURE", json!("false")),
        (json!({"cni": {"ambient": {"ipv6": false}}}), "ConfigMap istio-cni-config", "/data/AMBIENT_IPV6", json!("false")),
        (json!({"cni": {"ambient": {"reconcileIptablesOnStartup": false}}}), "ConfigMap istio-cni-config", "/data/AMBIENT_RECONCILE_POD_RULES_ON_STARTUP", json!("false")),
    ]);
}

fn document(values: Value, map: &str, key: &str) -> Value {
    let mut spec = base();
    crate::value::merge(&mut spec, &json!({"unvalidatedValues": values}));
    let map = object(&rendered(stock(spec)), map);
    let text = map["data"][key].as_str().expect("a document").to_owned();
    serde_yaml_ng::from_str(&text).expect("YAML")
}

#[test]
#[rustfmt::skip]
fn the_mesh_document() {
    for (values, pointer, expected) in [
        (global(json!({"meshID": "m"})), "/defaultConfig/meshId", json!("m")),
        (global(json!({"variant": "debug"})), "/defaultConfig/image/imageType", json!("debug")),
        (global(json!({"proxy": {"tracer": "zipkin"}})), "/defaultConfig/tracing/zipkin/address", json!("zipkin.istio-system:9411")),
        (global(json!({"proxy": {"tracer": "datadog"}})), "/defaultConfig/tracing/datadog/address", json!("$(HOST_IP):8126")),
        (global(json!({"istioNamespace": "m"})), "/rootNamespace", json!("m")),
        (json!({"meshConfig": {"rootNamespace": "r"}}), "/rootNamespace", json!("r")),
        (json!({"meshConfig": {"trustDomain": "t"}}), "/trustDomain", json!("t")),
        (json!({"meshConfig": {"accessLogFile": "/dev/stdout"}}), "/accessLogFile", json!("/dev/stdout")),
        (json!({"meshConfig": {"neverHeardOf": 1}}), "/neverHeardOf", json!(1)),
        (json!({"meshConfig": {"defaultConfig": {"concurrency": 4}}}), "/defaultConfig/concurrency", json!(4)),
        (json!({"meshConfig": {"defaultProviders": {"tracing": ["x"]}}}), "/defaultProviders", json!({"tracing": ["x"]})),
        (json!({"telemetry": {"enabled": false}}), "/defaultProviders", Value::Null),
        (json!({"telemetry": {"v2": {"enabled": false}}}), "/defaultProviders", Value::Null),
        (json!({"telemetry": {"v2": {"prometheus": {"enabled": false}}}}), "/defaultProviders", Value::Null),
        (json!({"telemetry": {"v2": {"stackdriver": {"enabled": true}}}}), "/defaultProviders/accessLogging", json!(["stackdriver"])),
        (json!({"revision": "canary"}), "/defaultConfig/discoveryAddress", json!("istiod-canary.istio-system.svc:15012")),
    ] {
        let name = match values.get("revision") {
            Some(_) => "ConfigMap istio-canary",
            None => "ConfigMap istio",
        };
        let found = document(values.clone(), name, "mesh")
            .pointer(pointer)
            .cloned()
            .unwrap_or_default();
        assert_eq!(found, expected, "{pointer} with {values}");
    }
    let networks =
        global(json!({"meshNetworks": {"west": {"endpoints": [{"fromRegistry": "w"}]}}}));
    let found = document(networks, "ConfigMap istio", "meshNetworks");
    assert_eq!(
        found["networks"]["west"]["endpoints"][0]["fromRegistry"],
        "w"
    );
}

/// What the injector reads is passed through, known or not.
#[test]
#[rustfmt::skip]
fn the_injector_documents() {
    for (values, pointer, expected) in [
        (global(json!({"proxy": {"autoInject": "disabled"}})), "/policy", json!("disabled")),
        (json!({"sidecarInjectorWebhook": {"defaultTemplates": ["a"]}}), "/defaultTemplates", json!(["a"])),
        (json!({"sidecarInjectorWebhook": {"injectedAnnotations": {"a": "b"}}}), "/injectedAnnotations/a", json!("b")),
        (json!({"sidecarInjectorWebhook": {"templates": {"a": "b"}}}), "/templates/a", json!("b")),
        (json!({"sidecarInjectorWebhook": {"neverInjectSelector": [{"matchLabels": {"a": "b"}}]}}), "/neverInjectSelector/0/matchLabels/a", json!("b")),
        (json!({"sidecarInjectorWebhook": {"alwaysInjectSelector": [{"matchLabels": {"a": "b"}}]}}), "/alwaysInjectSelector/0/matchLabels/a", json!("b")),
    ] {
        let found = document(values.clone(), "ConfigMap istio-sidecar-injector", "config");
        assert_eq!(
            found.pointer(pointer),
            Some(&expected),
            "{pointer} with {values}"
        );
    }
    for (values, pointer, expected) in [
        (global(json!({"proxy": {"includeIPRanges": "10.0.0.0/8"}})), "/global/proxy/includeIPRanges", json!("10.0.0.0/8")),
        (global(json!({"proxy": {"excludeIPRanges": "10.1.0.0/16"}})), "/global/proxy/excludeIPRanges", json!("10.1.0.0/16")),
        (global(json!({"proxy": {"includeInboundPorts": "80"}})), "/global/proxy/includeInboundPorts", json!("80")),
        (global(json!({"proxy": {"excludeOutboundPorts": "81"}})), "/global/proxy/excludeOutboundPorts", json!("81")),
        (global(json!({"proxy": {"readinessFailureThreshold": 9}})), "/global/proxy/readinessFailureThreshold", json!(9)),
        (global(json!({"proxy": {"privileged": true}})), "/global/proxy/privileged", json!(true)),
        (global(json!({"proxy": {"startupProbe": {"enabled": false}}})), "/global/proxy/startupProbe", json!({"enabled": false, "failureThreshold": 600})),
        (global(json!({"proxy": {"lifecycle": {"preStop": {}}}})), "/global/proxy/lifecycle", json!({"preStop": {}})),
        (global(json!({"proxy": {"statusPort": 1}})), "/global/proxy/statusPort", json!(1)),
        (global(json!({"caName": "GkeWorkloadCertificate"})), "/global/caName", json!("GkeWorkloadCertificate")),
        (global(json!({"proxy_init": {"forceApplyIptables": true}})), "/global/proxy_init/forceApplyIptables", json!(true)),
        (global(json!({"waypoint": {"nodeSelector": {"a": "b"}}})), "/global/waypoint/nodeSelector/a", json!("b")),
        (global(json!({"certSigners": ["s"]})), "/global/certSigners", json!(["s"])),
        (global(json!({"anything": 1})), "/global/anything", json!(1)),
        (json!({"sidecarInjectorWebhook": {"rewriteAppHTTPProbe": false}}), "/sidecarInjectorWebhook/rewriteAppHTTPProbe", json!(false)),
        (json!({"gateways": {"seccompProfile": {"type": "x"}}}), "/gateways/seccompProfile/type", json!("x")),
        (pilot(json!({"env": {"A": "b"}})), "/pilot/env/A", json!("b")),
        (pilot(json!({"cni": {"provider": "multus"}})), "/pilot/cni/provider", json!("multus")),
        (json!({"cni": {"ambient": {"enabled": true}}}), "/pilot/cni/ambient/enabled", json!(true)),
        (json!({"revision": "default"}), "/revision", json!("default")),
    ] {
        let name = match values.get("revision") {
            Some(_) => "ConfigMap istio-sidecar-injector-default",
            None => "ConfigMap istio-sidecar-injector",
        };
        let found = document(values.clone(), name, "values");
        assert_eq!(
            found.pointer(pointer),
            Some(&expected),
            "{pointer} with {values}"
        );
    }
    let found = document(json!({}), "ConfigMap istio-sidecar-injector", "values");
    assert_eq!(found["pilot"]["cni"]["enabled"], true, "the agent is on");
}

/// Both forms of a minor version that changed its defaults.
#[test]
#[rustfmt::skip]
fn compatibility_versions() {
    let count = |version: &str| {
        let spec = stock(json!({"compatibilityVersion": version, "components": {"cni": {}}}));
        let rendered = rendered(spec);
        let istiod = object(&rendered, ISTIOD);
        let list = istiod
            .pointer("/spec/template/spec/containers/0/env")
            .cloned();
        let off = list
            .expect("a list")
            .as_array()
            .expect("a list")
            .iter()
            .filter(|v| v["value"] == "false")
            .count();
        let config = object(&rendered, "ConfigMap istio-cni-config");
        (off - 1, config["data"]["AMBIENT_RECONCILE_POD_RULES_ON_STARTUP"].clone())
    };
    for (version, switches, reconcile) in [
        ("1.30", 3, "true"),
        ("1.29", 3, "true"),
        ("1.28", 4, "false"),
        ("1.27", 6, "false"),
        ("1.26", 7, "false"),
        ("1.25", 7, "false"),
    ] {
        assert_eq!(count(version), (switches, json!(reconcile)), "{version}");
    }
}
