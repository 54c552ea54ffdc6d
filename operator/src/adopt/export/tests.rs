use super::*;
use crate::reconcile::IGNORE;
use crate::render;

/// What the release of a version installs for a spec, as lists of a cluster show it.
fn installed(spec: &Value, version: &str) -> Installed {
    let context = Context {
        hub: "docker.io/istio".into(),
        tag: version.into(),
        chart_version: version.into(),
        ..Context::default()
    };
    let rendered = render(spec, &context).expect("valid");
    let objects = rendered.objects.iter().filter(|o| !o.is_definition());
    Installed {
        operators: Vec::new(),
        objects: objects.map(|object| object.body().into_owned()).collect(),
    }
}

fn change(installed: &mut Installed, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
    let mut objects = installed.objects.iter_mut();
    let found = objects.find(|object| is_kind(object, kind) && self::name(object) == name);
    change(found.unwrap_or_else(|| panic!("no {kind} {name}")));
}

fn exported(installed: &Installed) -> Exported {
    export(installed, None, &Context::default()).expect("one control plane")
}

#[track_caller]
fn check(installed: &Installed, spec: Value) -> Vec<String> {
    let exported = exported(installed);
    assert_eq!(exported.object["spec"], spec, "{:#?}", exported.notes);
    assert_eq!(exported.object["metadata"]["annotations"][ADOPT], "true");
    exported.notes
}

#[test]
fn the_usual_install_is_hub_and_tag() {
    let notes = check(
        &installed(&json!({}), "1.32.0"),
        json!({"hub": "docker.io/istio", "tag": "1.32.0"}),
    );
    // Only what rendering itself says about the images.
    let rendering = |note: &String| note.starts_with("spec.components.pilot: ");
    assert!(notes.iter().all(rendering), "{notes:?}");
}

#[test]
fn settings_that_differ_are_written() {
    let spec = json!({
        "revision": "canary",
        "meshConfig": {"accessLogFile": "/dev/stdout"},
        "values": {"pilot": {"env": {"PILOT_X": "1"}, "autoscaleMin": 2}, "global": {"logAsJson": true}},
        "components": {
            "egressGateways": [{"name": "istio-egressgateway", "enabled": true}],
            "ingressGateways": [
                {"name": "istio-ingressgateway"},
                {"name": "public", "namespace": "edge", "label": {"istio": "public"}, "k8s": {
                    "nodeSelector": {"edge": "true"}, "serviceAnnotations": {"lb": "x"},
                    "hpaSpec": {"minReplicas": 3},
                    "service": {"type": "NodePort", "ports": [
                        {"name": "https", "port": 443, "targetPort": 8443, "protocol": "TCP"}]}}},
            ],
        },
    });
    let mut there = installed(&spec, "1.32.0");
    change(&mut there, "Deployment", "public", |gateway| {
        gateway["spec"]["template"]["metadata"]["annotations"]["mine"] = json!("y");
    });
    let written = exported(&there).object;
    let context = Context::default();
    let bodies = |object: &Value| {
        let rendered = render_object(object, &context).expect("valid");
        let objects = rendered.objects.iter().filter(|o| !o.is_definition());
        let bodies = objects.map(|object| {
            let mut body = object.body().into_owned();
            if let Some(data) = body.get_mut("data").and_then(Value::as_object_mut) {
                data.shift_remove("original-values");
                data.shift_remove("merged-values");
            }
            crate::value::meaning(&crate::value::sorted(&body))
        });
        bodies.collect::<Vec<_>>()
    };
    let mut asked = spec.clone();
    asked["hub"] = json!("docker.io/istio");
    asked["tag"] = json!("1.32.0");
    asked["components"]["ingressGateways"][1]["k8s"]["podAnnotations"] = json!({"mine": "y"});
    let asked = document("canary", "istio-system", Map::new(), asked);
    assert_eq!(bodies(&written), bodies(&asked), "{written:#}");
    assert_eq!(written["metadata"]["name"], "canary");
}

/// As the chart `gateway` makes it: injected, with low ports.
#[test]
fn a_gateway_of_the_chart_keeps_its_ports() {
    let mut there = installed(&json!({"profile": "minimal"}), "1.24.1");
    let labels = json!({"app": "istio-ingress", "istio": "ingress"});
    let chart =
        json!({"helm.sh/chart": "gateway-1.24.1", "app": "istio-ingress", "istio": "ingress"});
    there.objects.push(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "istio-ingress", "namespace": "istio-ingress", "labels": chart,
            "annotations": {"meta.helm.sh/release-name": "istio-ingress",
                "meta.helm.sh/release-namespace": "istio-ingress"}},
        "spec": {"selector": {"matchLabels": labels}, "template": {
            "metadata": {"annotations": {"inject.istio.io/templates": "gateway"}},
            "spec": {"containers": [{"name": "istio-proxy", "image": "auto"}]}}},
    }));
    there.objects.push(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "istio-ingress", "namespace": "istio-ingress", "labels": chart},
        "spec": {"type": "LoadBalancer", "selector": labels, "ports": [
            {"name": "status-port", "port": 15021, "targetPort": 15021, "protocol": "TCP", "nodePort": 31000},
            {"name": "http2", "port": 80, "targetPort": 80, "protocol": "TCP", "nodePort": 31001},
            {"name": "https", "port": 443, "targetPort": 443, "protocol": "TCP", "nodePort": 31002}]},
    }));
    let written = exported(&there);
    let spec = &written.object["spec"];
    assert_eq!(spec["tag"], "1.24.1");
    assert_eq!(
        spec["components"]["ingressGateways"],
        json!([{"name": "istio-ingress", "namespace": "istio-ingress", "label": labels}])
    );
    let all = written.notes.join("\n");
    assert!(all.contains("will listen on 8080 instead of 80"), "{all}");
    assert!(all.contains("completed by injection"), "{all}");
    assert!(all.contains("istio-ingress/istio-ingress"), "{all}");
    render_object(&written.object, &Context::default()).expect("valid");
}

#[test]
fn values_of_the_charts_are_carried_over() {
    let mut there = installed(&json!({}), "1.24.1");
    change(&mut there, "ConfigMap", "values", |map| {
        let original = json!({"global": {"hub": "x", "proxy": {"logLevel": "debug"}},
            "autoscaleMin": 2, "traceSampling": 50, "nonsense": {"a": 1}, "_internal": 1});
        map["data"]["original-values"] = json!(original.to_string());
    });
    change(&mut there, "HorizontalPodAutoscaler", "istiod", |scaler| {
        scaler["spec"]["minReplicas"] = json!(2);
    });
    let written = exported(&there).object;
    let spec = &written["spec"];
    assert_eq!(
        spec["values"]["global"],
        json!({"proxy": {"logLevel": "debug"}})
    );
    assert_eq!(
        spec["values"]["pilot"],
        json!({"autoscaleMin": 2, "traceSampling": 50})
    );
    assert_eq!(
        spec["unvalidatedValues"],
        json!({"pilot": {"nonsense": {"a": 1}}})
    );
}

#[test]
fn an_object_of_the_cluster_is_written_as_it_is() {
    let mut there = installed(&json!({}), "1.16.2");
    let operator = |name: &str, annotations: Value, status: Value| -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
            "metadata": {"name": name, "namespace": "istio-system", "annotations": annotations,
                "uid": "u", "resourceVersion": "1"},
            "spec": {"profile": "demo"}, "status": status}))
        .expect("an object")
    };
    let stored = operator("installed-state", json!({IGNORE: "true"}), Value::Null);
    there.operators = vec![stored];
    let written = exported(&there).object;
    assert_eq!(written["metadata"]["name"], "default");
    assert_eq!(written["spec"], json!({"profile": "demo"}));
    assert_eq!(
        written["metadata"]["annotations"].get(list_merge::ANNOTATION),
        None
    );
    // One that the old operator kept comes first.
    there
        .operators
        .push(operator("mesh", json!({}), json!({"status": "HEALTHY"})));
    let written = exported(&there).object;
    assert_eq!(
        written["metadata"],
        json!({"name": "mesh", "namespace": "istio-system", "annotations": {
            ADOPT: "true", list_merge::ANNOTATION: "ByName"}})
    );
}

#[test]
fn several_control_planes_need_a_choice() {
    let mut there = installed(&json!({"profile": "minimal"}), "1.32.0");
    there.objects.extend(
        installed(
            &json!({"profile": "minimal", "revision": "canary"}),
            "1.32.1",
        )
        .objects,
    );
    let context = Context::default();
    let error = export(&there, None, &context).expect_err("two");
    assert!(error.to_string().contains("default, canary"), "{error}");
    let canary = export(&there, Some("canary"), &context).expect("one");
    assert_eq!(canary.object["spec"]["tag"], "1.32.1");
    let error = export(&there, Some("x"), &context).expect_err("none");
    assert_eq!(
        error.to_string(),
        "there is no control plane of the revision x"
    );
}

#[test]
fn notes_are_comments() {
    let text = yaml(&Exported {
        object: json!({"kind": "IstioOperator"}),
        notes: vec!["one\ntwo".to_owned()],
    });
    assert_eq!(text, "# one\n# two\nkind: IstioOperator\n");
}
