//! Objects of the components Cni and Ztunnel.

use serde_json::{Value, json};

use super::table::{POD, check_content, check_presence, names, values};
use super::*;

#[test]
#[rustfmt::skip]
fn cni() {
    let cni = |values: Value| json!({"components": {"cni": {}}, "values": {"cni": values}});
    let on = || cni(json!({}));
    check_presence(&[
        (json!({}), "DaemonSet istio-cni-node", false),
        (on(), "DaemonSet istio-cni-node", true),
        (json!({"revision": "canary", "components": {"cni": {}}}), "DaemonSet istio-cni-node", true),
        (on(), "ServiceAccount istio-cni", true),
        (on(), "ClusterRoleBinding istio-cni", true),
        (on(), "ClusterRole istio-cni-repair-role", true),
        (on(), "ClusterRoleBinding istio-cni-repair-rolebinding", true),
        (cni(json!({"repair": {"enabled": false}})), "ClusterRole istio-cni-repair-role", false),
        (on(), "ClusterRole istio-cni-ambient", false),
        (cni(json!({"ambient": {"enabled": true}})), "ClusterRoleBinding istio-cni-ambient", true),
        (on(), "ResourceQuota istio-cni-resource-quota", false),
        (cni(json!({"resourceQuotas": {"enabled": true}})), "ResourceQuota istio-cni-resource-quota", true),
        (on(), "NetworkAttachmentDefinition istio-cni", false),
        (cni(json!({"provider": "multus"})), "NetworkAttachmentDefinition istio-cni", true),
        (json!({"revision": "canary", "components": {"cni": {}}, "values": {"global": {"networkPolicy": {"enabled": true}}}}), "NetworkPolicy istio-cni-canary", true),
    ]);
    let (set, config) = ("DaemonSet istio-cni-node", "ConfigMap istio-cni-config");
    let ambient = || cni(json!({"ambient": {"enabled": true}}));
    let shared = || cni(json!({"ambient": {"enabled": true, "shareHostNetworkNamespace": true}}));
    check_content(&[
        (on(), set, "/spec/selector/matchLabels", json!({"k8s-app": "istio-cni-node"})),
        (on(), set, "/spec/updateStrategy", json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}})),
        (on(), set, "/metadata/labels/operator.istio.io~1component", json!("Cni")),
        (on(), set, "/spec/template/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1install-cni", json!("unconfined")),
        (cni(json!({"useAppArmorAnnotation": false})), set, "/spec/template/spec/containers/0/securityContext/appArmorProfile/type", json!("Unconfined")),
        (on(), set, "/spec/template/spec/tolerations/2", json!({"effect": "NoExecute", "operator": "Exists"})),
        (on(), set, "/spec/template/spec/priorityClassName", json!("system-node-critical")),
        (on(), set, "/spec/template/spec/containers/0/image", json!("docker.io/istio/install-cni:1.32.0")),
        (on(), set, "/spec/template/spec/containers/0/args", json!(["--log_output_level=info"])),
        (cni(json!({"logging": {"level": "debug"}})), set, "/spec/template/spec/containers/0/args", json!(["--log_output_level=debug"])),
        (on(), set, "/spec/template/spec/containers/0/resources", json!({"requests": {"cpu": "100m", "memory": "100Mi"}})),
        (on(), set, "/spec/template/spec/hostNetwork", Value::Null),
        (shared(), set, "/spec/template/spec/hostNetwork", json!(true)),
        (shared(), set, "/spec/template/spec/dnsPolicy", json!("ClusterFirstWithHostNet")),
        (on(), set, "/spec/template/spec/volumes/0/hostPath/path", json!("/opt/cni/bin")),
        (cni(json!({"cniBinDir": "/x"})), set, "/spec/template/spec/volumes/0/hostPath/path", json!("/x")),
        (on(), config, "/data/AMBIENT_ENABLED", json!("false")),
        (ambient(), config, "/data/AMBIENT_ENABLED", json!("true")),
        (on(), config, "/data/CURRENT_AGENT_VERSION", json!("1.32.0")),
        (on(), config, "/data/EXCLUDE_NAMESPACES", json!("kube-system")),
        (cni(json!({"excludeNamespaces": ["a", "b"]})), config, "/data/EXCLUDE_NAMESPACES", json!("a,b")),
        (on(), config, "/data/CNI_CONF_NAME", Value::Null),
        (cni(json!({"cniConfFileName": "x.conf"})), config, "/data/CNI_CONF_NAME", json!("x.conf")),
        (cni(json!({"istioOwnedCNIConfig": true, "istioOwnedCNIConfigFileName": "y"})), config, "/data/ISTIO_OWNED_CNI_CONF_FILENAME", json!("y")),
        (cni(json!({"env": {"A": 1}})), config, "/data/A", json!("1")),
        (values(json!({"global": {"nativeNftables": true}, "cni": {}})), "ConfigMap istio", "/metadata/name", json!("istio")),
        (on(), "ClusterRole istio-cni", "/rules/1", Value::Null),
        (json!({"profile": "openshift"}), "ClusterRole istio-cni", "/rules/1/resourceNames", json!(["privileged"])),
        (cni(json!({"repair": {"repairPods": false, "deletePods": true}})), "ClusterRole istio-cni-repair-role", "/rules/2/verbs", json!(["delete"])),
        (cni(json!({"repair": {"repairPods": false, "labelPods": true}})), "ClusterRole istio-cni-repair-role", "/rules/2/resources", json!(["pods/status"])),
        (on(), "ClusterRole istio-cni-repair-role", "/rules/2", Value::Null),
        (ambient(), "ClusterRole istio-cni-ambient", "/rules/1/resourceNames", json!(["istio-cni-node"])),
        (cni(json!({"resourceQuotas": {"enabled": true, "pods": 7}})), "ResourceQuota istio-cni-resource-quota", "/spec/hard/pods", json!("7")),
        (cni(json!({"provider": "multus"})), "NetworkAttachmentDefinition istio-cni", "/metadata/namespace", json!("default")),
        (on(), "ClusterRoleBinding istio-cni-repair-rolebinding", "/metadata/labels/k8s-app", json!("istio-cni-repair")),
    ]);
    let set = object(&rendered(stock(on())), set);
    assert_eq!(
        names(&set, &format!("{POD}/containers/0/env")),
        [
            "REPAIR_NODE_NAME",
            "REPAIR_RUN_AS_DAEMON",
            "REPAIR_SIDECAR_ANNOTATION",
            "ALLOW_SWITCH_TO_HOST_NS",
            "NODE_NAME",
            "GOMEMLIMIT",
            "POD_NAME",
            "POD_NAMESPACE"
        ]
    );
    assert_eq!(
        names(&set, &format!("{POD}/volumes")),
        [
            "cni-bin-dir",
            "cni-host-procfs",
            "cni-net-dir",
            "cni-socket-dir",
            "cni-netns-dir"
        ]
    );
    let set = object(&rendered(stock(ambient())), "DaemonSet istio-cni-node");
    assert_eq!(
        names(&set, &format!("{POD}/containers/0/volumeMounts")),
        [
            "cni-bin-dir",
            "cni-host-procfs",
            "cni-net-dir",
            "cni-socket-dir",
            "cni-netns-dir",
            "cni-ztunnel-sock-dir"
        ]
    );
}

#[test]
#[rustfmt::skip]
fn ztunnel() {
    let ztunnel =
        |values: Value| json!({"components": {"ztunnel": {}}, "values": {"ztunnel": values}});
    let on = || ztunnel(json!({}));
    check_presence(&[
        (json!({}), "DaemonSet ztunnel", false),
        (on(), "DaemonSet ztunnel", true),
        (ztunnel(json!({"resourceName": "zt"})), "DaemonSet zt", true),
        (ztunnel(json!({"resourceName": "zt"})), "ServiceAccount zt", true),
        (on(), "ResourceQuota ztunnel", false),
        (ztunnel(json!({"resourceQuotas": {"enabled": true}})), "ResourceQuota ztunnel", true),
        (on(), "ClusterRole ztunnel", false),
        (json!({"profile": "openshift-ambient"}), "ClusterRoleBinding ztunnel", true),
        (json!({"revision": "canary", "components": {"ztunnel": {}}, "values": {"global": {"networkPolicy": {"enabled": true}}}}), "NetworkPolicy ztunnel-canary", true),
    ]);
    let set = "DaemonSet ztunnel";
    let container = "/spec/template/spec/containers/0";
    let at = |rest: &str| format!("{container}{rest}");
    let canary = || json!({"revision": "canary", "components": {"ztunnel": {}}});
    let shared =
        |values: Value| json!({"components": {"ztunnel": {}}, "values": {"global": values}});
    for (spec, pointer, expected) in [
        (on(), at("/image"), json!("docker.io/istio/ztunnel:1.32.0")),
        (shared(json!({"variant": "distroless"})), at("/image"), json!("docker.io/istio/ztunnel:1.32.0-distroless")),
        (ztunnel(json!({"hub": "own"})), at("/image"), json!("own/ztunnel:1.32.0")),
        (on(), at("/args"), json!(["proxy", "ztunnel"])),
        (on(), at("/env/0/value"), json!("istiod.istio-system.svc:15012")),
        (canary(), at("/env/1/value"), json!("istiod-canary.istio-system.svc:15012")),
        (shared(json!({"caAddress": "ca:1"})), at("/env/0/value"), json!("ca:1")),
        (shared(json!({"caAddress": "ca:1"})), at("/env/1/value"), json!("istiod.istio-system.svc:15012")),
        (ztunnel(json!({"xdsAddress": "x:1"})), at("/env/1/value"), json!("x:1")),
        (on(), at("/env/2"), json!({"name": "RUST_LOG", "value": "info"})),
        (shared(json!({"logging": {"level": "default:debug"}})), at("/env/2/value"), json!("info")),
        (shared(json!({"logAsJson": true})), at("/env/2"), json!({"name": "LOG_FORMAT", "value": "json"})),
        (shared(json!({"network": "west"})), at("/env/2"), json!({"name": "NETWORK", "value": "west"})),
        (shared(json!({"multiCluster": {"clusterName": "west"}})), at("/env/4/value"), json!("west")),
        (shared(json!({"imagePullPolicy": "Always"})), at("/imagePullPolicy"), json!("Always")),
        (on(), at("/resources"), json!({"requests": {"cpu": "200m", "memory": "512Mi"}})),
        (on(), at("/securityContext/runAsGroup"), json!(1337)),
        (json!({"profile": "demo", "components": {"ztunnel": {}}}), at("/resources/requests/cpu"), json!("200m")),
        (json!({"components": {"ztunnel": {"k8s": {"resources": {"requests": {"cpu": "1"}}}}}}), at("/resources/requests/cpu"), json!("1")),
        (on(), "/spec/updateStrategy".into(), json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})),
        (on(), "/metadata/annotations".into(), Value::Null),
        (canary(), "/metadata/annotations/istio.io~1rev".into(), json!("canary")),
        (canary(), "/spec/template/metadata/annotations/istio.io~1rev".into(), json!("canary")),
        (on(), "/spec/template/spec/nodeSelector".into(), json!({"kubernetes.io/os": "linux"})),
        (ztunnel(json!({"labels": {"a": "b"}})), "/metadata/labels/a".into(), json!("b")),
        (shared(json!({"trustBundleName": "roots"})), "/spec/template/spec/volumes/1/configMap/name".into(), json!("roots")),
        (ztunnel(json!({"env": {"ENABLE_CLUSTER_TRUST_BUNDLE_API": true}})), "/spec/template/spec/volumes/1/projected/sources/0/clusterTrustBundle/path".into(), json!("root-cert.pem")),
        (shared(json!({"sds": {"token": {"aud": "other"}}})), "/spec/template/spec/volumes/0/projected/sources/0/serviceAccountToken/audience".into(), json!("istio-ca")),
        (ztunnel(json!({"peerCaCrl": {"enabled": true}})), "/spec/template/spec/volumes/4/configMap/name".into(), json!("istio-ca-crl")),
        (json!({"profile": "openshift-ambient"}), "/metadata/namespace".into(), json!("kube-system")),
        (json!({"profile": "openshift-ambient"}), at("/securityContext/seLinuxOptions"), json!({"type": "spc_t"})),
    ] {
        check_content(&[(spec, set, &pointer, expected)]);
    }
    let env = |spec: Value| {
        let set = object(&rendered(stock(spec)), set);
        names(&set, &at("/env"))
    };
    let limited = json!({"resources": {"limits": {"cpu": 2}, "requests": {"cpu": 1}}, "env": {"B": "1", "A": "2"}});
    let names = env(ztunnel(limited));
    assert_eq!(
        names[names.len() - 5..],
        [
            "ZTUNNEL_CPU_LIMIT",
            "ZTUNNEL_RESOURCE_CPU_LIMIT",
            "ZTUNNEL_RESOURCE_CPU_REQUEST",
            "A",
            "B"
        ]
    );
    // The user's mesh configuration does not reach it, that of a profile does.
    let mesh = json!({"defaultConfig": {"proxyMetadata": {"OWN": "1"}}});
    assert!(
        !env(json!({"components": {"ztunnel": {}}, "meshConfig": mesh}))
            .contains(&"OWN".to_owned())
    );
    assert!(env(json!({"profile": "ambient"})).contains(&"ISTIO_META_ENABLE_HBONE".to_owned()));
}

#[test]
#[rustfmt::skip]
fn settings_of_node_agents() {
    let spec = stock(json!({"components": {
        "cni": {"namespace": "kube-system", "tag": "2", "k8s": {
            "resources": {"limits": {"memory": "1Gi"}}, "nodeSelector": {"a": "b"},
            "tolerations": [{"key": "x"}], "env": [{"name": "NEW", "value": "1"}],
            "overlays": [{"kind": "ConfigMap", "name": "istio-cni-config", "patches": [{"path": "data.AMBIENT_IPV6", "value": "no"}]}],
        }},
        "ztunnel": {"k8s": {"resources": {"limits": {"cpu": "2"}}, "podAnnotations": {"a": "b"}}},
    }}));
    let rendered = rendered(spec);
    let cni = object(&rendered, "DaemonSet istio-cni-node");
    let container = &cni["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "docker.io/istio/install-cni:2");
    assert_eq!(container["resources"]["limits"]["memory"], "1Gi");
    assert_eq!(container["env"][0]["name"], "NEW");
    assert_eq!(cni["metadata"]["namespace"], "kube-system");
    assert_eq!(
        cni["spec"]["template"]["spec"]["tolerations"],
        json!([{"key": "x"}])
    );
    assert_eq!(
        object(&rendered, "ConfigMap istio-cni-config")["data"]["AMBIENT_IPV6"],
        "no"
    );
    let ztunnel = object(&rendered, "DaemonSet ztunnel");
    let env = names(&ztunnel, &format!("{POD}/containers/0/env"));
    assert!(env.contains(&"ZTUNNEL_RESOURCE_CPU_LIMIT".to_owned()));
    assert_eq!(
        ztunnel["spec"]["template"]["metadata"]["annotations"]["a"],
        "b"
    );
}
