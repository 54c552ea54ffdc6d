//! Installs that were there before the operator.

use super::*;
use crate::adopt::ADOPT;
use crate::adopt::hand_over::FORMER_RELEASE;
use crate::adopt::release::ON_DELETE;
use crate::component::Component;
use crate::list_merge;
use crate::object::Manifest;
use crate::render;
use crate::testing::Installer;

const SECRETS: &str = "/api/v1/namespaces/istio-system/secrets";

/// What an installer of a version makes of a spec.
fn objects_of(spec: &Value, version: &str) -> Vec<Manifest> {
    objects_with(spec, version, false)
}

fn objects_with(spec: &Value, version: &str, takes_default: bool) -> Vec<Manifest> {
    let context = Context {
        takes_default,
        hub: "docker.io/istio".into(),
        tag: version.into(),
        chart_version: version.into(),
        ..config("1").render
    };
    let rendered = render(spec, &context).expect("valid");
    let objects = rendered.objects.into_iter();
    let mut objects: Vec<Manifest> = objects.filter(|object| !object.is_definition()).collect();
    for object in &mut objects {
        // Nobody else says why a revision is the default one.
        let annotations = object.body_mut().pointer_mut("/metadata/annotations");
        if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
            annotations.retain(|key, _| !key.starts_with("operator.ironsail.dev/"));
        }
    }
    objects
}

/// A change of what all Deployments of an install were made from.
fn with_old_env(mut objects: Vec<Manifest>) -> Vec<Manifest> {
    for object in &mut objects {
        if object.kind().kind == "Deployment" {
            let env = &mut object.body_mut()["spec"]["template"]["spec"]["containers"][0]["env"];
            env.as_array_mut()
                .expect("an environment")
                .push(json!({"name": "JWT_POLICY", "value": "third-party-jwt"}));
        }
    }
    objects
}

/// As the old operator left it: its status and its finalizer.
fn mark_old(mesh: &Mesh) {
    mesh.change(|iop| {
        iop["metadata"]["finalizers"] = json!([FINALIZER]);
        iop["status"] = json!({"status": "HEALTHY", "componentStatus": {
            "Pilot": {"status": "HEALTHY"}, "IngressGateways": {"status": "HEALTHY"}}});
    });
}

fn annotate(mesh: &Mesh, key: &str, text: &str) {
    mesh.change(|iop| {
        let annotations = &mut iop["metadata"]["annotations"];
        if annotations.is_null() {
            *annotations = json!({});
        }
        annotations[key] = json!(text);
    });
}

/// A mesh that the operator of Istio 1.16 kept.
fn old_install(spec: Value) -> Mesh {
    let mesh = Mesh::new(spec.clone());
    // What it installed for the same spec, by its rules.
    let by_name = Context {
        list_merge: list_merge::ListMerge::ByName,
        hub: "docker.io/istio".into(),
        tag: "1.16.2".into(),
        chart_version: "1.16.2".into(),
        ..Context::default()
    };
    let rendered = render(&spec, &by_name).expect("valid");
    let objects = rendered.objects.into_iter();
    let objects = objects.filter(|object| !object.is_definition()).collect();
    let installer = Installer::old_operator("1.16.2", "mesh");
    mesh.server.install_by(&installer, &with_old_env(objects));
    mesh.server.run_controllers();
    mark_old(&mesh);
    mesh
}

/// Adopts, and checks that nothing that runs was touched, and that it stays so.
async fn adopt(mesh: &mut Mesh) {
    let before = mesh.server.running();
    mesh.server.make_ready();
    mesh.reconcile().await;
    mesh.server.make_ready();
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "HEALTHY", "{}", mesh.message());
    assert_eq!(mesh.server.running(), before, "something would restart");
    assert_eq!(mesh.condition("Adopted")["status"], "True");
    mesh.server.take_writes();
    mesh.reconcile().await;
    assert_eq!(paths(&mesh.server), Vec::<String>::new());
    mesh.restart("1");
    mesh.reconcile().await;
    mesh.reconcile().await;
    assert_eq!(paths(&mesh.server), Vec::<String>::new());
    assert_eq!(mesh.server.running(), before, "something would restart");
}

fn annotation(mesh: &Mesh, key: &str) -> Value {
    mesh.server.object("/istiooperators/mesh")["metadata"]["annotations"][key].clone()
}

#[tokio::test]
async fn an_old_object_is_taken_over_as_it_is() {
    let spec = json!({
        "components": {"ingressGateways": [{"name": "public", "enabled": true}]},
        "addonComponents": {"grafana": {"enabled": false}},
    });
    let mut mesh = old_install(spec.clone());
    install_operator(&mesh.server);
    adopt(&mut mesh).await;
    assert_eq!(annotation(&mesh, list_merge::ANNOTATION), "ByName");
    assert_eq!(mesh.server.object("/istiooperators/mesh")["spec"], spec);
    // The gateway that only the old profile names is as it was.
    let other = mesh.server.object("/deployments/istio-ingressgateway");
    let labels = &other["metadata"]["labels"];
    assert_eq!(labels["operator.istio.io/version"], "1.16.2");
    assert_eq!(labels["install.operator.istio.io/owning-resource"], "mesh");
    assert!(mesh.server.has("/services/istio-ingressgateway"));
    assert!(mesh.server.has("/deployments/public"));
    let upgrade = mesh.condition("UpgradeAvailable");
    assert_eq!(upgrade["status"], "True");
    let plan = mesh.plan();
    assert_eq!(plan.get("destructive"), None, "{plan}");
    // What was adopted is kept.
    let gateway = "/services/istio-ingressgateway";
    mesh.server
        .edit(gateway, |s| s["spec"]["ports"] = json!([]));
    mesh.reconcile().await;
    assert_ne!(mesh.server.object(gateway)["spec"]["ports"], json!([]));
    let env = |name: &str| {
        let env = &mesh.server.object(name)["spec"]["template"]["spec"]["containers"][0]["env"];
        let env = env.as_array().cloned().unwrap_or_default();
        env.iter().any(|env| env["name"] == "JWT_POLICY")
    };
    mesh.server.edit("/deployments/public", |gateway| {
        gateway["spec"]["template"]["spec"]["containers"][0]["env"] = json!([]);
    });
    mesh.reconcile().await;
    assert!(env("/deployments/public"));
    // The new rendering comes when it is approved, with what the control plane keeps.
    let hash = mesh.plan()["hash"].as_str().unwrap_or_default().to_owned();
    annotate(&mesh, APPROVE, &hash);
    mesh.settle().await;
    assert!(!env("/deployments/public"));
    assert_eq!(mesh.condition("Adopted"), Value::Null);
    let istiod = mesh.server.object("/deployments/istiod");
    assert_eq!(istiod["spec"]["replicas"], 3, "the autoscaler's");
    let validator = mesh
        .server
        .object("/validatingwebhookconfigurations/istio-validator-istio-system");
    assert_eq!(validator["webhooks"][0]["failurePolicy"], "Fail");
    assert_eq!(validator["webhooks"][0]["clientConfig"]["caBundle"], "QQ==");
}

/// The era decides what is missing from a list, and approval decides about what is there.
#[tokio::test]
async fn a_gateway_that_an_old_object_does_not_list_is_never_pruned_by_itself() {
    let mut mesh = old_install(json!({"components": {
        "ingressGateways": [{"name": "public", "enabled": true}]}}));
    annotate(&mesh, list_merge::ANNOTATION, "Replace");
    adopt(&mut mesh).await;
    let lost = "deletes Service istio-system/istio-ingressgateway";
    let destructive = mesh.plan()["destructive"].clone();
    let listed = |list: &Value| list.as_array().is_some_and(|l| l.iter().any(|e| e == lost));
    assert!(listed(&destructive), "{destructive}");
    // Not even when the resource changes.
    mesh.change_spec(json!({"tag": "2", "components": {
        "ingressGateways": [{"name": "public", "enabled": true}]}}));
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "ACTION_REQUIRED");
    assert!(mesh.server.has("/services/istio-ingressgateway"));
    let hash = mesh.plan()["hash"].as_str().unwrap_or_default().to_owned();
    annotate(&mesh, APPROVE, &hash);
    mesh.settle().await;
    assert!(!mesh.server.has("/services/istio-ingressgateway"));
}

#[tokio::test]
async fn the_era_may_be_changed() {
    let mut mesh = old_install(json!({"components": {
        "ingressGateways": [{"name": "public", "enabled": true}]}}));
    adopt(&mut mesh).await;
    annotate(&mesh, list_merge::ANNOTATION, "Replace");
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "ACTION_REQUIRED", "it takes a gateway away");
    annotate(&mesh, list_merge::ANNOTATION, "ByName");
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "HEALTHY");
    annotate(&mesh, list_merge::ANNOTATION, "Both");
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "ERROR");
    assert!(
        mesh.message().contains("\"Both\" must be one of"),
        "{}",
        mesh.message()
    );
}

/// The watch may show the object as it was before its era was written.
#[tokio::test]
async fn a_late_watch_does_not_change_what_is_asked_for() {
    let mesh = old_install(json!({"components": {
        "ingressGateways": [{"name": "public", "enabled": true}]}}));
    let early = mesh.iop();
    mesh.reconcile().await;
    assert_eq!(annotation(&mesh, list_merge::ANNOTATION), "ByName");
    let plan = mesh.plan()["hash"].clone();
    mesh.reconciler.reconcile(&early, &mesh.server.seen()).await;
    assert_eq!(mesh.plan()["hash"], plan);
    assert_eq!(mesh.condition("Adopted")["status"], "True");
    // Taking it off is a change like any other.
    mesh.change(|iop| {
        let annotations = iop["metadata"]["annotations"].as_object_mut();
        annotations
            .expect("annotations")
            .shift_remove(list_merge::ANNOTATION);
    });
    mesh.reconcile().await;
    assert_ne!(mesh.plan()["hash"], plan);
}

#[tokio::test]
async fn a_new_object_has_no_era_of_its_own() {
    let mesh = Mesh::new(json!({}));
    mesh.settle().await;
    let iop = mesh.server.object("/istiooperators/mesh");
    assert_eq!(iop["metadata"].get("annotations"), None);
}

/// Our finalizer has the old operator's name.
#[tokio::test]
async fn a_first_attempt_that_fails_leaves_no_marks() {
    let mut mesh = Mesh::new(json!({}));
    mesh.server
        .refuse(Method::GET, "/configmaps/istio-operator-plan", 500);
    mesh.reconcile().await;
    mesh.server.allow_all();
    mesh.server.refuse(Method::GET, "/version", 500);
    mesh.reconcile().await;
    mesh.server.allow_all();
    assert_eq!(
        mesh.iop().metadata.finalizers,
        Some(vec![FINALIZER.to_owned()])
    );
    assert_eq!(mesh.status(), "", "nothing tells but the finalizer");
    mesh.restart("1");
    mesh.settle().await;
    assert_eq!(annotation(&mesh, list_merge::ANNOTATION), Value::Null);
}

fn helm_mesh() -> Mesh {
    let spec = json!({"hub": "docker.io/istio", "tag": "1.32.0"});
    let mesh = Mesh::new(spec.clone());
    install_operator(&mesh.server);
    let objects = objects_of(&spec, "1.32.0");
    for (release, component) in [
        ("base", Component::Base),
        ("istiod", Component::Pilot),
        ("gateway", Component::IngressGateways),
    ] {
        let own = objects
            .iter()
            .filter(|object| object.component == component);
        let own: Vec<Manifest> = own.cloned().collect();
        mesh.server
            .install_by(&Installer::helm("istio-system", release), &own);
        let name = format!("sh.helm.release.v1.{release}.v1");
        mesh.server.put(
            SECRETS,
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name,
                "namespace": "istio-system", "labels": {"owner": "helm", "name": release}}}),
        );
    }
    mesh.server.run_controllers();
    mesh
}

fn finder(mesh: &Mesh, release: &str) -> Value {
    let record = mesh
        .server
        .object(&format!("/secrets/sh.helm.release.v1.{release}.v1"));
    record["metadata"]["labels"]["owner"].clone()
}

/// Managers of an object other than controllers.
fn managers(mesh: &Mesh, end: &str) -> Vec<String> {
    let object: DynamicObject = serde_json::from_value(mesh.server.object(end)).expect("an object");
    let entries = crate::adopt::writer::entries(&object.metadata);
    let others = entries
        .iter()
        .filter(|(_, writer, _)| *writer != crate::adopt::writer::Writer::Controller);
    others
        .filter_map(|(entry, ..)| entry.manager.clone())
        .collect()
}

#[tokio::test]
async fn releases_of_helm_are_taken_over_as_they_are() {
    let mut mesh = helm_mesh();
    annotate(&mesh, ADOPT, "true");
    adopt(&mut mesh).await;
    // The object says just what is there.
    let plan = mesh.plan();
    assert_eq!(plan["hash"], plan["accepted"]);
    assert_eq!(plan.get("summary"), None, "an empty plan");
    assert_eq!(mesh.condition("UpgradeAvailable")["status"], "False");
    for end in [
        "/deployments/istiod",
        "/services/istio-ingressgateway",
        "/configmaps/istio",
    ] {
        let object = mesh.server.object(end);
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(
            annotations["meta.helm.sh/release-name"],
            Value::Null,
            "{end}"
        );
        assert_ne!(annotations[FORMER_RELEASE], Value::Null, "{end}");
        assert_eq!(managers(&mesh, end), ["istio-operator"], "{end}");
    }
    for release in ["base", "istiod", "gateway"] {
        assert_eq!(finder(&mesh, release), "ironsail", "{release}");
    }
    assert_eq!(annotation(&mesh, list_merge::ANNOTATION), Value::Null);
    let condition = mesh.condition("Adopted");
    assert!(
        condition["message"]
            .as_str()
            .is_some_and(|m| m.contains("istio-system/istiod"))
    );
}

/// Objects of the default revision that nobody owns are the user's, but for an adoption.
#[tokio::test]
async fn the_default_revision_is_taken_over_too() {
    let spec = json!({"hub": "docker.io/istio", "tag": "1.32.0"});
    let mut mesh = Mesh::new(spec.clone());
    let mut own = config("1");
    own.render.takes_default = true;
    mesh.reconciler = operator(&mesh.server, own);
    let helm = Installer::helm("istio-system", "istiod");
    mesh.server
        .install_by(&helm, &objects_with(&spec, "1.32.0", true));
    mesh.server.run_controllers();
    mesh.server.make_ready();
    annotate(&mesh, ADOPT, "true");
    let before = mesh.server.running();
    for _ in 0..3 {
        mesh.reconcile().await;
    }
    assert_eq!(mesh.status(), "HEALTHY", "{}", mesh.message());
    assert_eq!(mesh.server.running(), before, "something would restart");
    let plan = mesh.plan();
    assert_eq!(plan["hash"], plan["accepted"]);
    for end in [
        "/mutatingwebhookconfigurations/istio-revision-tag-default",
        "/validatingwebhookconfigurations/istiod-default-validator",
        "/services/istiod-revision-tag-default",
    ] {
        let labels = mesh.server.object(end)["metadata"]["labels"].clone();
        let owner = &labels["install.operator.istio.io/owning-resource"];
        assert_eq!(owner, "mesh", "{end}");
        assert_eq!(managers(&mesh, end), ["istio-operator"], "{end}");
    }
    mesh.server.take_writes();
    mesh.reconcile().await;
    assert_eq!(paths(&mesh.server), Vec::<String>::new());
}

/// What the chart has and we don't render stays, and so does what was scaled or edited.
#[tokio::test]
async fn what_only_a_release_has_stays() {
    let mut mesh = helm_mesh();
    let account = Manifest::new(
        Component::IngressGateways,
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
            "name": "gateway", "namespace": "istio-system", "labels": {"app": "gateway"}}}),
    );
    let helm = Installer::helm("istio-system", "gateway");
    mesh.server
        .install_by(&helm, &[account.expect("an object")]);
    annotate(&mesh, ADOPT, "true");
    adopt(&mut mesh).await;
    let account = mesh.server.object("/serviceaccounts/gateway");
    let owner = &account["metadata"]["labels"]["install.operator.istio.io/owning-resource"];
    assert_eq!(owner, "mesh");
    // Another plan takes it away, as it is no Service and no workload.
    mesh.change_spec(json!({"hub": "docker.io/istio", "tag": "1.32.1"}));
    mesh.settle().await;
    assert!(!mesh.server.has("/serviceaccounts/gateway"));
}

#[tokio::test]
async fn records_of_other_namespaces_are_named() {
    let mut mesh = helm_mesh();
    annotate(&mesh, ADOPT, "true");
    mesh.server.refuse(Method::GET, "/secrets", 403);
    adopt(&mut mesh).await;
    assert_eq!(finder(&mesh, "istiod"), "helm");
    mesh.server.allow_all();
    // Somebody with more rights finishes it.
    let finish = || async { crate::adopt::release::finish(&mesh.server.client()).await };
    let hidden = finish().await.expect("answered");
    let hidden: Vec<String> = hidden.iter().map(ToString::to_string).collect();
    let all = [
        "istio-system/base",
        "istio-system/gateway",
        "istio-system/istiod",
    ];
    assert_eq!(hidden, all);
    assert_eq!(finder(&mesh, "istiod"), "ironsail");
    assert_eq!(finish().await.expect("answered"), []);
}

/// An API server refuses every write of a role that grants what its writer doesn't have.
#[tokio::test]
async fn roles_that_cannot_be_written_are_left_alone() {
    let mut mesh = helm_mesh();
    annotate(&mesh, ADOPT, "true");
    let role = "/clusterroles/istiod-clusterrole-istio-system";
    let before = mesh.server.object(role);
    mesh.server.refuse(Method::PATCH, role, 403);
    adopt(&mut mesh).await;
    assert_eq!(mesh.server.object(role), before);
    let condition = mesh.condition("Adopted");
    let message = condition["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("ClusterRole istiod-clusterrole-istio-system"),
        "{message}"
    );
}

#[tokio::test]
async fn an_install_of_istioctl_is_taken_over_with_everything_beside_it() {
    let mut mesh = Mesh::new(json!({"hub": "docker.io/istio", "tag": "1.32.0"}));
    let demo = json!({"profile": "demo"});
    let objects = objects_of(&demo, "1.24.1");
    mesh.server
        .install_by(&Installer::istioctl("1.24.1"), &objects);
    mesh.server.run_controllers();
    annotate(&mesh, ADOPT, "true");
    adopt(&mut mesh).await;
    assert_eq!(annotation(&mesh, list_merge::ANNOTATION), Value::Null);
    assert!(mesh.server.has("/deployments/istio-egressgateway"));
    assert_eq!(mesh.component("EgressGateways"), "HEALTHY");
    let lost = "deletes Deployment istio-system/istio-egressgateway";
    let destructive = mesh.plan()["destructive"].as_array().cloned();
    assert!(destructive.is_some_and(|list| list.iter().any(|entry| entry == lost)));
}

#[tokio::test]
async fn a_new_object_over_an_install_takes_nothing_away_unasked() {
    let mesh = Mesh::new(json!({"components": {"ingressGateways": [
        {"name": "istio-ingressgateway", "k8s": {"service": {"ports": [
            {"name": "https", "port": 443, "targetPort": 8443}]}}}]}}));
    let objects = objects_of(&json!({}), "1.24.1");
    mesh.server
        .install_by(&Installer::istioctl("1.24.1"), &objects);
    mesh.server.run_controllers();
    let before = mesh.server.running();
    mesh.reconcile().await;
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "ACTION_REQUIRED");
    assert_eq!(
        mesh.plan()["destructive"],
        json!(["takes ports, type or pods from Service istio-system/istio-ingressgateway"])
    );
    assert_eq!(mesh.server.running(), before);
    let hash = mesh.plan()["hash"].as_str().unwrap_or_default().to_owned();
    annotate(&mesh, APPROVE, &hash);
    mesh.settle().await;
    let ports = mesh.server.object("/services/istio-ingressgateway")["spec"]["ports"].clone();
    assert_eq!(ports.as_array().map(Vec::len), Some(1));
}

/// One that names a file's object as owner prunes nothing unasked either.
#[tokio::test]
async fn what_carries_the_name_of_a_new_object_is_not_pruned_unasked() {
    let mesh = Mesh::new(json!({}));
    let installer = Installer {
        labels: Installer::old_operator("1.24.1", "mesh").labels,
        ..Installer::istioctl("1.24.1")
    };
    mesh.server.install_by(
        &installer,
        &objects_of(&json!({"profile": "demo"}), "1.24.1"),
    );
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "ACTION_REQUIRED");
    let lost = "deletes Service istio-system/istio-egressgateway";
    let destructive = mesh.plan()["destructive"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert!(
        destructive.iter().any(|entry| entry == lost),
        "{destructive:?}"
    );
    assert!(mesh.server.has("/services/istio-egressgateway"));
}

#[tokio::test]
async fn a_new_object_over_an_install_that_loses_nothing_is_applied() {
    let mesh = Mesh::new(json!({}));
    let objects = objects_of(&json!({}), "1.24.1");
    mesh.server
        .install_by(&Installer::istioctl("1.24.1"), &objects);
    mesh.settle().await;
    assert_eq!(mesh.condition("Adopted"), Value::Null);
}

/// Objects of another IstioOperator are never taken.
#[tokio::test]
async fn what_another_object_has_is_not_adopted() {
    let mesh = Mesh::new(json!({"profile": "minimal", "revision": "canary",
        "components": {"base": {"enabled": false}}}));
    mesh.server.put(
        OPERATORS,
        json!({"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
            "metadata": {"name": "stable", "namespace": "istio-system"}}),
    );
    let objects = objects_of(&json!({}), "1.24.1");
    mesh.server
        .install_by(&Installer::old_operator("1.24.1", "stable"), &objects);
    annotate(&mesh, ADOPT, "true");
    mesh.settle().await;
    assert!(mesh.server.has("/deployments/istiod-canary"), "it is new");
    let labels = mesh.server.object("/deployments/istiod")["metadata"]["labels"].clone();
    assert_eq!(
        labels["install.operator.istio.io/owning-resource"],
        "stable"
    );
}

#[tokio::test]
async fn adoption_can_be_refused() {
    let mesh = old_install(json!({}));
    annotate(&mesh, ADOPT, "false");
    mesh.settle().await;
    assert_eq!(mesh.condition("Adopted"), Value::Null);
    let istiod = mesh.server.object("/deployments/istiod");
    let image = &istiod["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "ironsail/pilot:1");
}

#[tokio::test]
async fn a_follower_is_upgraded_after_it_was_adopted() {
    let mesh = helm_mesh();
    annotate(&mesh, ADOPT, "true");
    annotate(&mesh, UPGRADE_POLICY, "Follow");
    mesh.change_spec(json!({}));
    mesh.reconcile().await;
    let image = || {
        let istiod = mesh.server.object("/deployments/istiod");
        istiod["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!(image(), "docker.io/istio/pilot:1.32.0");
    assert_eq!(finder(&mesh, "istiod"), "ironsail");
    mesh.settle().await;
    assert_eq!(image(), "ironsail/pilot:1");
}

/// The way back.
#[tokio::test]
async fn an_adopted_release_can_be_given_back_to_helm() {
    let mut mesh = helm_mesh();
    annotate(&mesh, ADOPT, "true");
    adopt(&mut mesh).await;
    let before = mesh.server.running();
    annotate(&mesh, ON_DELETE, "Orphan");
    mesh.change(|iop| iop["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string()));
    assert_eq!(mesh.reconcile().await, None);
    assert!(!mesh.server.has("/istiooperators/mesh"));
    assert_eq!(mesh.server.running(), before, "nothing is lost");
    let istiod = mesh.server.object("/deployments/istiod");
    let metadata = &istiod["metadata"];
    assert_eq!(
        metadata["annotations"]["meta.helm.sh/release-name"],
        "istiod"
    );
    assert_eq!(
        metadata["annotations"]["meta.helm.sh/release-namespace"],
        "istio-system"
    );
    assert_eq!(metadata["annotations"].get(FORMER_RELEASE), None);
    assert_eq!(metadata["labels"].get("operator.istio.io/managed"), None);
    assert_eq!(finder(&mesh, "istiod"), "helm");
    // Nothing is ours any more, and a new resource would be a stranger.
    assert_eq!(mesh.server.seen().objects.len(), 0);
}

/// Helm refuses a release whose name has a record, whoever finds it.
#[tokio::test]
async fn the_names_of_adopted_releases_are_free_after_a_deletion() {
    let mut mesh = helm_mesh();
    let rendered = render(&json!({}), &config("1").render).expect("valid");
    let definitions = rendered.objects.into_iter().filter(Manifest::is_definition);
    let helm = Installer::helm("istio-system", "base");
    mesh.server
        .install_by(&helm, &definitions.collect::<Vec<_>>());
    annotate(&mesh, ADOPT, "true");
    adopt(&mut mesh).await;
    let definition = "/customresourcedefinitions/virtualservices.networking.istio.io";
    assert_eq!(finder(&mesh, "base"), "ironsail");
    mesh.change(|iop| iop["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string()));
    for _ in 0..3 {
        mesh.reconcile().await;
    }
    assert!(!mesh.server.has("/istiooperators/mesh"));
    assert!(!mesh.server.has("/deployments/istiod"));
    assert_eq!(mesh.server.objects("Secret"), Vec::<Value>::new());
    // Definitions stay, and Helm takes them for another release of that name.
    let annotations = &mesh.server.object(definition)["metadata"]["annotations"];
    assert_eq!(annotations["meta.helm.sh/release-name"], "base");
}

/// With the rights that outlive the operator's manifest.
#[tokio::test]
async fn a_mesh_is_left_to_others_even_with_the_operator_gone() {
    let mesh = Mesh::new(json!({"profile": "minimal"}));
    install_operator(&mesh.server);
    mesh.settle().await;
    annotate(&mesh, ON_DELETE, "Orphan");
    mesh.server
        .delete_all(|_, object| object["kind"] == "IstioOperator");
    mesh.server
        .delete_all(|path, _| path.ends_with("/clusterrolebindings/istio-operator"));
    mesh.reconcile().await;
    assert!(!mesh.server.has("/istiooperators/mesh"));
    assert!(mesh.server.has("/deployments/istiod"));
}

/// One object that can't be read never stops the others.
#[tokio::test]
async fn an_unreadable_object_stops_only_itself() {
    let mesh = Mesh::new(json!({"profile": "minimal"}));
    let broken = json!({"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
        "metadata": {"name": "broken", "namespace": "istio-system"},
        "spec": {"components": {"telemetry": {"enabled": "maybe"}, "ingressGateways": "none"}},
        "status": {"status": 7, "componentStatus": []}});
    mesh.server.put(OPERATORS, broken);
    let object = serde_json::from_value(mesh.server.object("/istiooperators/broken"));
    let object: DynamicObject = object.expect("any object is one");
    mesh.reconciler
        .reconcile(&object, &mesh.server.seen())
        .await;
    mesh.settle().await;
    let broken = mesh.server.object("/istiooperators/broken");
    assert_eq!(broken["status"]["status"], "ERROR");
}
