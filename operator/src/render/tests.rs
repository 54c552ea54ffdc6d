mod control_plane;
mod effects;
mod fuzz;
mod gateways;
mod labels;
mod modes;
mod node_agents;
mod roles;
pub(crate) mod selectors;
mod table;
mod templates;

use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::testing::reference;

fn rendered(spec: Value) -> Rendered {
    render(&spec, &Context::default()).expect("valid")
}

#[track_caller]
fn refused(spec: Value) -> String {
    let object = json!({"kind": "IstioOperator", "spec": spec});
    let findings = render_object(&object, &Context::default()).expect_err("invalid");
    findings
        .iter()
        .map(Diagnostic::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[track_caller]
fn warnings(spec: Value) -> String {
    rendered(spec)
        .warnings
        .iter()
        .map(Diagnostic::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The spec with images that have every component.
fn stock(mut spec: Value) -> Value {
    spec["hub"] = json!("docker.io/istio");
    spec["tag"] = json!("1.32.0");
    spec
}

/// Whether a rendering has an object, by `Kind name`.
fn has(rendered: &Rendered, name: &str) -> bool {
    let is = |object: &Manifest| format!("{} {}", object.kind().kind, object.name()) == name;
    rendered.objects.iter().any(is)
}

/// One object of a rendering, by `Kind name`.
#[track_caller]
fn object(rendered: &Rendered, name: &str) -> Value {
    let find = |object: &&Manifest| format!("{} {}", object.kind().kind, object.name()) == name;
    (*rendered.objects.iter().find(find).expect(name).body()).clone()
}

fn keys(rendered: &Rendered) -> Vec<String> {
    rendered
        .objects
        .iter()
        .map(|object| object.key().to_string())
        .collect()
}

/// Every object of the peer's rendering exists here with the same meaning, and no other.
#[track_caller]
fn check_reference(profile: &str) {
    reference::check(profile, |context| {
        let rendered = render(&json!({"profile": profile}), context).expect("valid");
        let objects = rendered.objects.iter();
        objects.map(|object| object.body().into_owned()).collect()
    });
}

#[test]
fn default_is_as_the_peer_renders_it() {
    check_reference("default");
}

#[test]
fn demo_is_as_the_peer_renders_it() {
    check_reference("demo");
}

#[test]
fn definitions_are_the_peers() {
    let Some(folder) = reference::folder() else {
        eprintln!("skipped: no captured definitions; set IRONSAIL_REFERENCE to their folder");
        return;
    };
    let mut theirs: Vec<String> = std::fs::read_dir(folder.join("crds"))
        .expect("readable")
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .replace(".yaml", "")
        })
        .collect();
    theirs.sort();
    let mut ours: Vec<String> = rendered(json!({}))
        .objects
        .iter()
        .filter(|object| object.is_definition())
        .map(|object| object.name().to_owned())
        .collect();
    ours.sort();
    assert_eq!(ours, theirs);
}

/// The whole rendering of a spec as YAML, definitions left out.
fn golden(spec: Value) -> String {
    let rendered = rendered(spec);
    let bodies = rendered
        .objects
        .iter()
        .filter(|object| !object.is_definition())
        .map(|object| serde_yaml_ng::to_string(&object.body()).expect("YAML"));
    bodies.collect::<Vec<_>>().join("---\n")
}

#[test]
fn goldens() {
    insta::glob!("../../tests/golden/render", "*.yaml", |path| {
        let text = std::fs::read_to_string(path).expect("readable");
        let document: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        insta::assert_snapshot!(golden(document["spec"].clone()));
    });
}

#[test]
fn the_same_spec_gives_the_same_bytes() {
    let spec = json!({"profile": "demo", "revision": "canary"});
    assert_eq!(golden(spec.clone()), golden(spec));
}

#[test]
fn a_revision_is_in_names_and_selectors() {
    let rendered = rendered(json!({"revision": "1-32-0", "profile": "minimal"}));
    for name in [
        "Deployment istiod-1-32-0",
        "ClusterRole istiod-clusterrole-1-32-0-istio-system",
        "ConfigMap istio-1-32-0",
        "ValidatingWebhookConfiguration istio-validator-1-32-0-istio-system",
    ] {
        object(&rendered, name);
    }
    let injector = object(
        &rendered,
        "MutatingWebhookConfiguration istio-sidecar-injector-1-32-0",
    );
    assert_eq!(injector["webhooks"].as_array().map(Vec::len), Some(2));
    let deployment = object(&rendered, "Deployment istiod-1-32-0");
    assert_eq!(
        deployment["spec"]["selector"]["matchLabels"],
        json!({"app": "istiod", "istio.io/rev": "1-32-0"})
    );
    assert_eq!(
        deployment["spec"]["template"]["metadata"]["labels"]["istio"],
        "istiod"
    );
}

#[test]
fn settings_of_the_control_plane() {
    let spec = json!({"components": {"pilot": {"namespace": "cp", "k8s": {
        "env": [{"name": "CLUSTER_ID", "value": "west"}, {"name": "NEW", "value": "1"}],
        "resources": {"requests": {"cpu": 1}},
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "podAnnotations": {"x": "y"},
        "hpaSpec": {"minReplicas": 2, "metrics": []},
        "podDisruptionBudget": {"maxUnavailable": 1},
        "serviceAnnotations": {"s": "t"},
        "volumes": [{"name": "extra", "emptyDir": {}}],
        "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
        "replicaCount": 3,
        "overlays": [
            {"kind": "Deployment", "name": "istiod", "patches": [
                {"path": "spec.template.spec.containers.[name:discovery].args.[-1]", "value": "--x"},
                {"path": "spec.nowhere.[a:b]", "value": 1},
            ]},
            {"kind": "Deployment", "name": "nobody"},
        ],
    }}}});
    let rendered = rendered(spec.clone());
    let deployment = object(&rendered, "Deployment istiod");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(deployment["metadata"]["namespace"], "cp");
    assert_eq!(deployment["spec"].get("replicas"), None);
    assert_eq!(
        container["resources"]["requests"],
        json!({"cpu": "1", "memory": "2048Mi"})
    );
    let env = container["env"].as_array().expect("a list");
    let cluster = env.iter().position(|own| own["name"] == "CLUSTER_ID");
    assert_eq!(
        env[cluster.expect("there") + 1],
        json!({"name": "NEW", "value": "1"})
    );
    assert_eq!(
        container["args"].as_array().and_then(|a| a.last()),
        Some(&json!("--x"))
    );
    assert_eq!(
        pod["tolerations"],
        json!([{"key": "a", "operator": "Exists"}])
    );
    assert_eq!(pod["nodeSelector"], json!({"pool": "system"}));
    assert_eq!(pod["volumes"][0]["name"], "extra");
    let hpa = object(&rendered, "HorizontalPodAutoscaler istiod");
    assert_eq!(
        (&hpa["spec"]["minReplicas"], &hpa["spec"]["metrics"]),
        (&json!(2), &json!([]))
    );
    let budget = object(&rendered, "PodDisruptionBudget istiod");
    assert_eq!(budget["spec"].get("minAvailable"), None);
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert_eq!(
        object(&rendered, "Service istiod")["metadata"]["annotations"],
        json!({"s": "t"})
    );
    insta::assert_snapshot!(warnings(spec), @r"
    spec.components.pilot.k8s.replicaCount: no effect while an autoscaler decides: set hpaSpec.minReplicas, or autoscaleEnabled to false in the values
    spec.components.pilot.k8s.overlays[0].patches[1].path: no effect: [a:b] matches no item
    spec.components.pilot.k8s.overlays[1]: no effect: the component has no Deployment nobody
    ");
}

#[test]
fn settings_of_gateways() {
    let spec = json!({"components": {"ingressGateways": [
        {"name": "edge", "namespace": "edge", "label": {"istio": "edge"}, "hub": "own", "tag": "2", "k8s": {
            "service": {"type": "NodePort", "ports": [{"name": "http2", "port": 80, "targetPort": 8080}]},
            "hpaSpec": {"minReplicas": 2},
        }},
        {"name": "other"},
    ]}});
    let rendered = rendered(spec);
    let service = object(&rendered, "Service edge");
    assert_eq!(
        service["spec"]["ports"],
        json!([{"name": "http2", "port": 80, "targetPort": 8080}])
    );
    assert_eq!(service["spec"]["type"], "NodePort");
    let selector = json!({"app": "istio-ingressgateway", "istio": "edge"});
    assert_eq!(service["spec"]["selector"], selector);
    let deployment = object(&rendered, "Deployment edge");
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], selector);
    let template = &deployment["spec"]["template"];
    assert_eq!(template["spec"]["containers"][0]["image"], "own/proxyv2:2");
    assert_eq!(template["metadata"]["labels"].get("heritage"), None);
    assert!(keys(&rendered).contains(&"PodDisruptionBudget edge/edge".to_owned()));
    assert!(keys(&rendered).contains(&"Deployment istio-system/other".to_owned()));
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let cases = [
        (
            json!({"components": {"cni": {"enabled": true}, "ztunnel": {"enabled": true}}}),
            "spec.components.cni.enabled: there is no image ironsail/install-cni:1.32.0-ironsail.1: \
             Ironsail has none for this component yet; name the hub and tag of images that have it\n\
             spec.components.ztunnel.enabled: there is no image ironsail/ztunnel:1.32.0-ironsail.1: ",
        ),
        (
            json!({"components": {"pilot": {"k8s": {"affinity": {"nodeAfinity": {}}}}}}),
            "spec.components.pilot.k8s.affinity.nodeAfinity: unknown field",
        ),
        (
            json!({"components": {"ingressGateways": [{"name": "a", "k8s": {"tolerations": [{"key": 1}]}}]}}),
            "spec.components.ingressGateways[0].k8s.tolerations[0].key: invalid type: integer `1`, \
             expected a string",
        ),
        (
            json!({"values": {"pilot": {"autoscaleMin": "two"}}}),
            "spec.values.pilot.autoscaleMin: invalid type: string \"two\", expected i32",
        ),
        (
            json!({"values": {"gateways": {"istio-ingressgateway": {"ports": [{"port": "http"}]}}}}),
            "spec.values.gateways.istio-ingressgateway.ports[0].port: invalid type: string \"http\", \
             expected i32",
        ),
        (
            json!({"components": {"ingressGateways": [{"name": "a"}], "egressGateways": [{"name": "a"}]}}),
            "spec.components (EgressGateways): ServiceAccount istio-system/a-service-account is \
             rendered twice; the other one belongs to IngressGateways",
        ),
        (
            json!({"components": {"pilot": {"k8s": {"overlays": [
                {"kind": "Deployment", "name": "istiod", "patches": [{"path": "a.[b"}]},
            ]}}}}),
            "spec.components.pilot.k8s.overlays[0].patches[0].path: \"a.[b\" has no closing bracket",
        ),
        (
            json!({"values": {"istiodRemote": {"enabled": true}}}),
            "spec.values.istiodRemote.enabled: Ironsail's control plane has no support of remote \
             clusters yet; name the hub and tag of one that has",
        ),
    ];
    for (spec, expected) in cases {
        let found = refused(spec);
        assert!(found.starts_with(expected), "{found}");
    }
    let large = "x".repeat(MAX_OBJECT_BYTES);
    let found = refused(json!({"unvalidatedValues": {"large": large}}));
    assert!(
        found.starts_with("spec: ConfigMap istio-system/values would have"),
        "{found}"
    );
}

#[test]
fn values_switch_objects() {
    let has = |values: Value, name: &str| {
        let rendered = rendered(json!({"values": values}));
        rendered
            .objects
            .iter()
            .any(|o| format!("{} {}", o.kind().kind, o.name()) == name)
    };
    assert!(has(
        json!({"global": {"networkPolicy": {"enabled": true}}}),
        "NetworkPolicy istiod"
    ));
    assert!(!has(
        json!({"global": {"configValidation": false}}),
        "ValidatingWebhookConfiguration istio-validator-istio-system"
    ));
    assert!(!has(
        json!({"global": {"operatorManageWebhooks": true}}),
        "MutatingWebhookConfiguration istio-sidecar-injector"
    ));
    assert!(!has(
        json!({"global": {"enableReaderRBAC": false}}),
        "ServiceAccount istio-reader-service-account"
    ));
    assert!(has(
        json!({"pilot": {"autoscaleEnabled": false, "replicaCount": 2}}),
        "PodDisruptionBudget istiod"
    ));
    assert!(has(
        json!({"revisionTags": ["prod"]}),
        "MutatingWebhookConfiguration istio-revision-tag-prod"
    ));
    assert!(has(
        json!({"revisionTags": ["prod"]}),
        "Service istiod-revision-tag-prod"
    ));
    assert!(has(
        json!({"defaultRevision": "default"}),
        "ValidatingWebhookConfiguration istiod-default-validator"
    ));
    assert!(has(
        json!({"gatewayClasses": {"istio": {"service": {"spec": {}}}}}),
        "ConfigMap istio-default-gatewayclass-istio"
    ));
    assert!(has(
        json!({"pilot": {"jwksResolverExtraRootCA": "pem"}}),
        "ConfigMap pilot-jwks-extra-cacerts"
    ));
    let namespace = rendered(json!({"values": {"global": {"resourceScope": "namespace"}}}));
    let pilot = |o: &&Manifest| o.component == Component::Pilot && !o.kind().namespaced;
    assert_eq!(namespace.objects.iter().find(pilot), None);
}

#[test]
fn the_installed_default_revision_validates_what_names_none() {
    let validator = |spec: Value| {
        let context = Context {
            takes_default: true,
            ..Context::default()
        };
        let rendered = render(&spec, &context).expect("valid");
        let mut keys = rendered.objects.iter().map(Manifest::key);
        keys.any(|key| key.name == "istiod-default-validator")
    };
    assert!(validator(json!({})));
    assert!(
        validator(json!({"revision": "canary"})),
        "if nobody else does"
    );
    assert!(!validator(json!({"profile": "empty"})));
    assert!(!validator(
        json!({"values": {"global": {"configValidation": false}}})
    ));
}

#[test]
fn an_empty_profile_renders_nothing() {
    let rendered = rendered(json!({"profile": "empty"}));
    assert_eq!(keys(&rendered), Vec::<String>::new());
    assert_eq!(rendered.components, []);
}

/// What people are told to apply has no errors and no settings without effect.
#[test]
fn samples_are_valid() {
    let samples =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate"))
            .join("../deploy/samples");
    let mut count = 0;
    for entry in std::fs::read_dir(samples).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        if !name.starts_with("iop-") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let object: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        let rendered = render_object(&object, &Context::default()).expect(&name);
        assert_eq!(rendered.warnings, [], "{name}");
        count += 1;
    }
    assert_eq!(count, 2);
}
