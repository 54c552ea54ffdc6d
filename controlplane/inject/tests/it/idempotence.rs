//! Injecting again changes nothing.

use serde_json::{Value, json};

use crate::support::{config, injected, try_inject};

fn difficult_pod() -> Value {
    json!({
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "labels": {"app": "web"},
            "annotations": {
                "prometheus.io/port": "8080",
                "prometheus.io/path": "/m",
                "sidecar.istio.io/userVolume": r#"{"extra": {"emptyDir": {}}}"#,
                "sidecar.istio.io/userVolumeMount": r#"{"extra": {"mountPath": "/extra"}}"#,
            },
        },
        "spec": {
            "initContainers": [{"name": "migrate", "image": "m"}],
            "containers": [
                {
                    "name": "web",
                    "image": "w",
                    "fieldOfTheFuture": {"kept": true},
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/r", "port": "http", "scheme": "HTTPS"}},
                    "livenessProbe": {"grpc": {"port": 9000}, "timeoutSeconds": 2},
                    "lifecycle": {"preStop": {"httpGet": {"path": "/bye", "port": 8080}}},
                },
                {"name": "istio-proxy", "image": "auto", "env": [{"name": "MINE", "value": "1"}], "terminationMessagePath": "/x"},
            ],
            "volumes": [{"name": "workload-socket", "csi": {"driver": "csi.spiffe.io"}}],
            "futureOfPods": 7,
        },
    })
}

#[test]
fn twice_is_once() {
    for native in [false, true] {
        let once = injected(&difficult_pod(), &config(), native).pod;
        let twice = injected(&once, &config(), native);
        assert_eq!(twice.pod, once);
        assert_eq!(twice.patch.0, Vec::new());
    }
}

#[test]
fn what_the_pod_says_itself_wins() {
    let pod = injected(&difficult_pod(), &config(), false).pod;
    let spec = &pod["spec"];
    assert_eq!(spec["futureOfPods"], 7);
    assert_eq!(
        spec["containers"][0]["fieldOfTheFuture"],
        json!({"kept": true})
    );
    let proxy = &spec["containers"][1];
    assert_eq!(proxy["name"], "istio-proxy");
    assert_eq!(proxy["image"], "registry.istio.io/testing/proxyv2:latest");
    assert_eq!(proxy["terminationMessagePath"], "/x");
    let env = proxy["env"].as_array().expect("has variables");
    assert!(env.contains(&json!({"name": "MINE", "value": "1"})));
    let socket: Vec<&Value> = spec["volumes"]
        .as_array()
        .expect("has volumes")
        .iter()
        .filter(|volume| volume["name"] == "workload-socket")
        .collect();
    assert_eq!(
        socket,
        [&json!({"name": "workload-socket", "csi": {"driver": "csi.spiffe.io"}})]
    );
}

#[test]
fn a_pod_may_choose_its_proxy_image() {
    let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "istio-proxy", "image": "mine/proxy:1"}]}});
    let pod = injected(&pod, &config(), false).pod;
    assert_eq!(pod["spec"]["containers"][0]["image"], "mine/proxy:1");
}

#[test]
fn hostile_annotations_stay_text() {
    let hostile = "x\"\n      privileged: true\n      y: \"";
    let pod = json!({
        "metadata": {"annotations": {
            "sidecar.istio.io/logLevel": hostile,
            "sidecar.istio.io/proxyImage": format!("a/b{hostile}"),
            "sidecar.istio.io/bootstrapOverride": hostile,
            "sidecar.istio.io/discoveryAddress": hostile,
        }},
        "spec": {"containers": [{"name": "web"}]},
    });
    let pod = injected(&pod, &config(), false).pod;
    let proxy = &pod["spec"]["containers"][1];
    assert_eq!(proxy["args"][4], format!("--proxyLogLevel={hostile}"));
    assert_eq!(proxy["image"], format!("a/b{hostile}"));
    assert_eq!(proxy["securityContext"]["privileged"], false);
}

#[test]
fn malformed_status_is_refused_by_name() {
    let pod = json!({
        "metadata": {"annotations": {"sidecar.istio.io/status": "{"}},
        "spec": {"containers": []},
    });
    let error = try_inject(&pod, &config(), false).expect_err("malformed");
    assert!(
        error.to_string().contains("sidecar.istio.io/status"),
        "{error}"
    );
}

#[test]
fn impossible_pods_are_refused() {
    for pod in [json!({}), json!({"spec": 1}), json!([]), json!(null)] {
        assert!(try_inject(&pod, &config(), false).is_err(), "{pod}");
    }
}

#[test]
fn containers_that_run_as_the_proxy_are_named() {
    let pod = json!({
        "metadata": {},
        "spec": {
            "securityContext": {"runAsUser": 1337},
            "containers": [
                {"name": "web"},
                {"name": "other", "securityContext": {"runAsUser": 1000}},
            ],
        },
    });
    let warnings = injected(&pod, &config(), false).warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("\"web\""), "{warnings:?}");
}
