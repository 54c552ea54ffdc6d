use std::time::Duration;

use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::bundle;
use crate::keep::{Account, HOLD};
use crate::plan::accept::{APPLY, APPROVE, UPGRADE_POLICY};
use crate::testing::FakeServer;

mod adoption;

pub(super) const OPERATORS: &str =
    "/apis/install.istio.io/v1alpha1/namespaces/istio-system/istiooperators";
pub(super) const NAMESPACES: &str = "/api/v1/namespaces";

/// A cluster with one IstioOperator, and the operator.
struct Mesh {
    server: FakeServer,
    reconciler: Reconciler,
}

pub(super) fn config(tag: &str) -> Config {
    Config {
        render: Context {
            tag: tag.to_owned(),
            ..Context::default()
        },
        wait: Duration::from_secs(300),
        revision: String::new(),
        namespaces: vec!["istio-system".to_owned()],
    }
}

impl Mesh {
    fn new(spec: Value) -> Self {
        let server = FakeServer::default();
        server.put(
            NAMESPACES,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}}),
        );
        server.put(
            OPERATORS,
            json!({
                "apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
                "metadata": {"name": "mesh", "namespace": "istio-system"}, "spec": spec,
            }),
        );
        let reconciler = operator(&server, config("1"));
        Self { server, reconciler }
    }

    fn iop(&self) -> DynamicObject {
        serde_json::from_value(self.server.object("/istiooperators/mesh")).expect("an object")
    }

    async fn reconcile(&self) -> Next {
        self.reconciler
            .reconcile(&self.iop(), &self.server.seen())
            .await
    }

    /// Reconciles until everything runs.
    async fn settle(&self) {
        for _ in 0..6 {
            self.reconcile().await;
            self.server.make_ready();
        }
        assert_eq!(self.status(), "HEALTHY", "{}", self.message());
        self.server.take_writes();
    }

    /// Another process takes over, perhaps of another version.
    fn restart(&mut self, tag: &str) {
        self.reconciler = operator(&self.server, config(tag));
    }

    fn status(&self) -> String {
        self.text("/status/status")
    }

    fn message(&self) -> String {
        self.text("/status/message")
    }

    fn component(&self, name: &str) -> String {
        self.text(&format!("/status/componentStatus/{name}/status"))
    }

    fn text(&self, pointer: &str) -> String {
        let iop = self.server.object("/istiooperators/mesh");
        iop.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    fn plan(&self) -> Value {
        self.server.object("/istiooperators/mesh")["status"]["plan"].clone()
    }

    fn condition(&self, name: &str) -> Value {
        let iop = self.server.object("/istiooperators/mesh");
        let conditions = iop["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions
            .into_iter()
            .find(|c| c["type"] == name)
            .unwrap_or_default()
    }

    fn change_spec(&self, spec: Value) {
        self.change(|iop| {
            iop["spec"] = spec;
            let generation = iop["metadata"]["generation"].as_i64().unwrap_or(0);
            iop["metadata"]["generation"] = json!(generation + 1);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut iop = self.server.object("/istiooperators/mesh");
        change(&mut iop);
        self.server.replace("/istiooperators/mesh", iop);
    }
}

pub(super) fn operator(server: &FakeServer, config: Config) -> Reconciler {
    let client = server.client();
    let events = Events::new(client.clone(), None);
    let account = Account {
        namespace: bundle::NAME.to_owned(),
        name: bundle::NAME.to_owned(),
    };
    let keeper = Keeper::new(client.clone(), Some(account));
    Reconciler::new(client, config, keeper, Metrics::new(), events)
}

/// Installs the operator as its manifest does, and lets it do only what that allows.
pub(super) fn install_operator(server: &FakeServer) {
    for document in bundle::documents(&Context::default()) {
        server.install(document);
    }
    server.enforce_rights(bundle::NAME, bundle::NAME);
}

/// Without the rights to grant: an administrator has installed what is of the cluster.
#[tokio::test]
async fn a_mesh_of_one_namespace_needs_no_rights_to_grant() {
    let scope = json!({"global": {"resourceScope": "namespace"}});
    let mesh = Mesh::new(json!({"profile": "minimal", "values": scope}));
    install_operator(&mesh.server);
    mesh.server
        .remove("/clusterrolebindings/istio-operator-grants");
    mesh.settle().await;
    assert_eq!(mesh.status(), "HEALTHY", "{}", mesh.message());
    assert!(mesh.server.has("/roles/istiod"));
    assert!(
        !mesh
            .server
            .has("/clusterroles/istiod-clusterrole-istio-system")
    );
    mesh.change(|iop| iop["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string()));
    mesh.reconcile().await;
    assert_eq!(mesh.reconcile().await, None, "deleted");
    assert!(!mesh.server.has("/roles/istiod"));
}

/// `kubectl delete -f deploy/operator.yaml`, and what the cluster's controllers do then.
fn delete_manifest(server: &FakeServer) {
    let marked = |object: &mut Value| {
        object["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string());
    };
    for document in bundle::documents(&Context::default()) {
        let (kind, metadata) = (&document["kind"], &document["metadata"]);
        let end = format!("/{}", metadata["name"].as_str().expect("a name"));
        match kind.as_str().unwrap_or_default() {
            // They wait for what is in them.
            "Namespace" => {
                let path = format!("{NAMESPACES}{end}");
                let mut namespace = server.object(&path);
                marked(&mut namespace);
                server.replace(&path, namespace);
                server.delete_all(|path, _| path.contains(&format!("{NAMESPACES}{end}/")));
                server.delete_all(|path, _| path.contains(&format!("/v1/namespaces{end}/")));
            }
            "CustomResourceDefinition" => {
                let path = format!("/customresourcedefinitions{end}");
                let mut definition = server.object(&path);
                marked(&mut definition);
                server.replace(&path, definition);
                server.delete_all(|_, object| object["kind"] == "IstioOperator");
            }
            _ => server.delete_all(|_, object| {
                object["kind"] == *kind
                    && object["metadata"]["name"] == metadata["name"]
                    && object["metadata"]["namespace"] == metadata["namespace"]
            }),
        }
    }
}

/// Objects that would stay after the operator is removed with everything else.
fn leftovers(server: &FakeServer) -> Vec<String> {
    let mut left = server.rendered();
    left.retain(|name| !name.starts_with("CustomResourceDefinition"));
    left
}

pub(super) fn paths(server: &FakeServer) -> Vec<String> {
    server
        .take_writes()
        .into_iter()
        .map(|write| write.path)
        .collect()
}

#[tokio::test]
async fn components_come_in_waves() {
    let mesh = Mesh::new(json!({"profile": "demo"}));
    mesh.reconcile().await;
    assert!(mesh.server.has("/deployments/istiod"));
    assert!(
        !mesh.server.has("/deployments/istio-ingressgateway"),
        "gateways wait for istiod"
    );
    assert_eq!(mesh.status(), "RECONCILING");
    assert_eq!(mesh.component("Base"), "HEALTHY");
    let next = mesh.reconcile().await;
    assert_eq!(next, Some(LOOK_AGAIN));
    assert!(
        mesh.message().starts_with("Pilot: Deployment istiod"),
        "{}",
        mesh.message()
    );
    mesh.server.make_ready();
    mesh.reconcile().await;
    assert!(mesh.server.has("/deployments/istio-ingressgateway"));
    assert!(mesh.server.has("/deployments/istio-egressgateway"));
    mesh.settle().await;
    assert_eq!(mesh.reconcile().await, Some(RESYNC));
    assert_eq!(mesh.condition("Ready")["status"], "True");
    let iop = mesh.iop();
    assert_eq!(iop.metadata.finalizers, Some(vec![FINALIZER.to_owned()]));
}

#[tokio::test]
async fn node_agents_come_before_what_needs_them() {
    let ambient = json!({"profile": "ambient", "hub": "docker.io/istio", "tag": "1.32.0"});
    let mesh = Mesh::new(ambient);
    install_operator(&mesh.server);
    mesh.reconcile().await;
    assert!(mesh.server.has("/daemonsets/istio-cni-node"));
    assert!(!mesh.server.has("/daemonsets/ztunnel"), "it waits");
    mesh.reconcile().await;
    assert_eq!(mesh.component("Cni"), "RECONCILING");
    assert!(
        mesh.message()
            .contains("Cni: DaemonSet istio-cni-node is new"),
        "{}",
        mesh.message()
    );
    mesh.settle().await;
    assert!(mesh.server.has("/daemonsets/ztunnel"));
    assert_eq!(mesh.component("Ztunnel"), "HEALTHY");
    mesh.reconcile().await;
    assert_eq!(paths(&mesh.server), Vec::<String>::new());
}

/// A definition of the cluster, as an installer of a version left it.
fn define(server: &FakeServer, version: &str) {
    let text = crate::component::base::CRDS[0].1;
    let mut definition: Value = serde_yaml_ng::from_str(text).expect("YAML");
    definition["metadata"]["labels"] = json!({"operator.istio.io/version": version});
    definition["spec"]["names"]["shortNames"] = json!(["left"]);
    definition["status"] = json!({
        "conditions": [{"type": "Established", "status": "True"}], "storedVersions": ["v1alpha3"],
    });
    server.install(definition);
}

#[tokio::test]
async fn definitions_are_upgraded_and_never_downgraded() {
    let path = format!(
        "/customresourcedefinitions/{}",
        crate::component::base::CRDS[0].0
    );
    for (version, stays) in [
        ("9.9.9", true),
        ("1.9.0", false),
        (ironsail_mesh::VERSION, false),
    ] {
        let mesh = Mesh::new(json!({"profile": "minimal"}));
        define(&mesh.server, version);
        mesh.settle().await;
        let definition = mesh.server.object(&path);
        let names = &definition["spec"]["names"]["shortNames"];
        assert_eq!(*names == json!(["left"]), stays, "{version}: {names}");
        assert_eq!(mesh.status(), "HEALTHY", "{version}");
        mesh.reconcile().await;
        assert_eq!(paths(&mesh.server), Vec::<String>::new(), "{version}");
    }
}

/// Definitions follow the operator, so their version is not that of an older plan.
#[tokio::test]
async fn definitions_say_which_operator_wrote_them() {
    let mesh = Mesh::new(json!({"profile": "minimal"}));
    mesh.settle().await;
    let path = format!(
        "/customresourcedefinitions/{}",
        crate::component::base::CRDS[0].0
    );
    let labels = &mesh.server.object(&path)["metadata"]["labels"];
    assert_eq!(labels["operator.istio.io/version"], ironsail_mesh::VERSION);
}

/// EndpointSlices that a controller makes for a Service have copies of its labels.
#[tokio::test]
async fn what_controllers_made_is_not_ours() {
    let mesh = Mesh::new(json!({"profile": "minimal"}));
    mesh.settle().await;
    let labels = mesh.server.object("/services/istiod")["metadata"]["labels"].clone();
    let slices = "/apis/discovery.k8s.io/v1/namespaces/istio-system/endpointslices";
    mesh.server.put(
        slices,
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {
            "name": "istiod-x", "namespace": "istio-system", "labels": labels,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "istiod", "uid": "u",
                "controller": true}]}}),
    );
    mesh.reconcile().await;
    mesh.change(|iop| iop["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string()));
    mesh.reconcile().await;
    assert_eq!(mesh.reconcile().await, None, "nothing of ours is left");
    assert!(mesh.server.has("/endpointslices/istiod-x"));
}

#[tokio::test]
async fn a_steady_state_writes_nothing_not_even_for_a_new_process() {
    let mut mesh = Mesh::new(json!({"profile": "demo"}));
    mesh.settle().await;
    mesh.server.take_reads();
    mesh.reconcile().await;
    assert_eq!(mesh.server.take_reads(), Vec::<String>::new());
    mesh.reconcile().await;
    assert_eq!(paths(&mesh.server), Vec::<String>::new());
    mesh.restart("1");
    mesh.reconcile().await;
    mesh.reconcile().await;
    assert_eq!(paths(&mesh.server), Vec::<String>::new());
}

#[tokio::test]
async fn drift_is_repaired() {
    let mesh = Mesh::new(json!({}));
    mesh.settle().await;
    mesh.server.edit("/services/istiod", |service| {
        service["spec"]["ports"] = json!([])
    });
    mesh.reconcile().await;
    assert_eq!(
        paths(&mesh.server),
        ["/api/v1/namespaces/istio-system/services/istiod"]
    );
    let ports = mesh.server.object("/services/istiod")["spec"]["ports"]
        .as_array()
        .map(Vec::len);
    assert_eq!(ports, Some(4));
    mesh.server.remove("/configmaps/istio");
    mesh.server
        .remove("/clusterroles/istiod-clusterrole-istio-system");
    mesh.reconcile().await;
    assert!(mesh.server.has("/configmaps/istio"));
    assert!(
        mesh.server
            .has("/clusterroles/istiod-clusterrole-istio-system")
    );
    assert_eq!(mesh.status(), "HEALTHY");
}

#[tokio::test]
async fn what_others_own_is_left_alone() {
    let mesh = Mesh::new(json!({}));
    mesh.settle().await;
    // The control plane writes its bundle and turns validation on; an autoscaler scales.
    mesh.server.edit(
        "/mutatingwebhookconfigurations/istio-sidecar-injector",
        |config| {
            config["webhooks"][0]["clientConfig"]["caBundle"] = json!("QQ==");
        },
    );
    mesh.server.edit(
        "/validatingwebhookconfigurations/istio-validator-istio-system",
        |config| {
            config["webhooks"][0]["failurePolicy"] = json!("Fail");
        },
    );
    mesh.server.edit("/deployments/istiod", |deployment| {
        deployment["spec"]["replicas"] = json!(3)
    });
    mesh.server.make_ready();
    mesh.reconcile().await;
    assert_eq!(paths(&mesh.server), Vec::<String>::new());
    // Applying for another reason keeps them.
    mesh.server.edit(
        "/validatingwebhookconfigurations/istio-validator-istio-system",
        |config| {
            config["webhooks"][0]["rules"] = json!([]);
        },
    );
    mesh.reconcile().await;
    let validator = mesh
        .server
        .object("/validatingwebhookconfigurations/istio-validator-istio-system");
    assert_eq!(validator["webhooks"][0]["failurePolicy"], "Fail");
    assert_ne!(validator["webhooks"][0]["rules"], json!([]));
}

#[tokio::test]
async fn switching_to_an_autoscaler_keeps_the_replicas() {
    let fixed = json!({"values": {"pilot": {"autoscaleEnabled": false, "replicaCount": 3}}});
    let mesh = Mesh::new(fixed);
    mesh.settle().await;
    assert_eq!(
        mesh.server.object("/deployments/istiod")["spec"]["replicas"],
        3
    );
    mesh.change_spec(json!({}));
    mesh.settle().await;
    assert_eq!(
        mesh.server.object("/deployments/istiod")["spec"]["replicas"],
        3
    );
}

#[tokio::test]
async fn switching_an_autoscaler_off_goes_to_the_number_at_once() {
    let mesh = Mesh::new(json!({}));
    mesh.settle().await;
    let replicas = || mesh.server.object("/deployments/istiod")["spec"]["replicas"].clone();
    mesh.server.edit("/deployments/istiod", |deployment| {
        deployment["spec"]["replicas"] = json!(4)
    });
    mesh.change_spec(json!({"values": {"pilot": {"autoscaleEnabled": false, "replicaCount": 3}}}));
    mesh.reconcile().await;
    assert_eq!(replicas(), 3, "and never 1 in between");
    assert!(!mesh.server.has("/horizontalpodautoscalers/istiod"));
    mesh.settle().await;
    assert_eq!(replicas(), 3);
}

#[tokio::test]
async fn an_invalid_spec_disturbs_nothing_and_waits() {
    let mesh = Mesh::new(json!({}));
    mesh.settle().await;
    mesh.change_spec(json!({"profile": "nonsense", "components": {"pilot": {"enabeld": true}}}));
    assert_eq!(mesh.reconcile().await, Some(RESYNC));
    assert_eq!(mesh.status(), "ERROR");
    assert!(
        mesh.message().contains("spec.components.pilot.enabeld"),
        "{}",
        mesh.message()
    );
    assert_eq!(mesh.condition("Stalled")["status"], "True");
    assert_eq!(mesh.condition("Valid")["reason"], "InvalidSpec");
    assert_eq!(paths(&mesh.server), [format!("{OPERATORS}/mesh/status")]);
    // What was accepted is still kept.
    mesh.server.remove("/services/istiod");
    mesh.reconcile().await;
    assert!(mesh.server.has("/services/istiod"));
    mesh.change_spec(json!({"profile": "minimal"}));
    mesh.settle().await;
}

#[tokio::test]
async fn a_first_spec_that_is_invalid_installs_nothing() {
    let mesh = Mesh::new(json!({"profile": "ambient"}));
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "ERROR");
    assert!(
        mesh.message().starts_with("spec.components.cni.enabled: "),
        "{}",
        mesh.message()
    );
    assert_eq!(mesh.server.rendered(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_no_longer_wanted_is_pruned() {
    let mesh = Mesh::new(json!({"profile": "demo"}));
    mesh.settle().await;
    mesh.change_spec(json!({"profile": "minimal"}));
    mesh.settle().await;
    let left = mesh.server.rendered();
    assert!(
        !left
            .iter()
            .any(|name| name.contains("gateway") && !name.starts_with("C")),
        "{left:?}"
    );
    assert!(left.contains(&"Deployment istiod".to_owned()));
    mesh.change_spec(json!({"profile": "empty"}));
    mesh.settle().await;
    let left = mesh.server.rendered();
    assert!(
        left.iter()
            .all(|name| name.starts_with("CustomResourceDefinition")),
        "{left:?}"
    );
    let definitions = crate::component::base::CRDS.len();
    assert_eq!(left.len(), definitions, "definitions stay");
}

#[tokio::test]
async fn objects_of_others_are_never_pruned() {
    let mesh = Mesh::new(json!({}));
    mesh.settle().await;
    let labels = |owner: &str| {
        json!({
            "operator.istio.io/managed": "Reconcile", "operator.istio.io/component": "Pilot",
            "install.operator.istio.io/owning-resource": owner,
            "install.operator.istio.io/owning-resource-namespace": "istio-system",
        })
    };
    let services = "/api/v1/namespaces/istio-system/services";
    for (name, owner) in [("mine", "mesh"), ("theirs", "other")] {
        mesh.server.put(
            services,
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {
                "name": name, "namespace": "istio-system", "labels": labels(owner)}}),
        );
    }
    mesh.reconcile().await;
    assert!(!mesh.server.has("/services/mine"));
    assert!(mesh.server.has("/services/theirs"));
}

#[tokio::test]
async fn errors_are_reported_and_retried() {
    let mesh = Mesh::new(json!({"profile": "minimal"}));
    mesh.server.refuse(Method::PATCH, "/configmaps/values", 500);
    let next = mesh.reconcile().await.expect("a retry");
    assert!(next <= Duration::from_millis(1200), "{next:?}");
    assert_eq!(mesh.status(), "ERROR");
    assert_eq!(mesh.component("Pilot"), "ERROR");
    assert_eq!(mesh.component("Base"), "HEALTHY");
    assert!(
        mesh.message()
            .contains("ConfigMap istio-system/values: refused by the test")
    );
    assert!(
        mesh.server.has("/deployments/istiod"),
        "other objects are applied"
    );
    let longer = mesh.reconcile().await.expect("a retry");
    assert!(longer > next, "{longer:?} after {next:?}");
    mesh.server.allow_all();
    mesh.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_wave_does_not_wait_forever() {
    let mesh = Mesh::new(json!({}));
    mesh.reconcile().await;
    mesh.reconcile().await;
    assert!(!mesh.server.has("/deployments/istio-ingressgateway"));
    tokio::time::advance(Duration::from_secs(301)).await;
    mesh.reconcile().await;
    assert_eq!(mesh.component("Pilot"), "ERROR");
    assert!(
        mesh.message().contains("not ready after 301s"),
        "{}",
        mesh.message()
    );
    assert!(mesh.server.has("/deployments/istio-ingressgateway"));
    mesh.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_fight_is_slowed() {
    let mesh = Mesh::new(json!({}));
    mesh.settle().await;
    let mut written = 0;
    for _ in 0..20 {
        mesh.server
            .edit("/configmaps/istio", |map| map["data"]["mesh"] = json!("x"));
        mesh.reconcile().await;
        written += mesh
            .server
            .take_writes()
            .iter()
            .filter(|w| w.path.ends_with("/istio"))
            .count();
        tokio::time::advance(Duration::from_millis(200)).await;
    }
    assert_eq!(written, 5);
    assert_eq!(mesh.condition("Applied")["reason"], "OwnershipConflict");
    assert!(
        mesh.condition("Applied")["message"]
            .as_str()
            .is_some_and(|m| m.contains("kubectl-edit"))
    );
    assert_eq!(mesh.status(), "HEALTHY");
    assert_eq!(mesh.condition("Conflict")["status"], "True");
    assert!(mesh.reconcile().await < Some(Duration::from_secs(31)));
    // The other one gives up.
    tokio::time::advance(Duration::from_secs(60)).await;
    mesh.reconcile().await;
    mesh.reconcile().await;
    assert_eq!(mesh.condition("Conflict")["status"], "False");
}

#[tokio::test]
async fn a_new_operator_changes_nothing_until_it_may() {
    let mut mesh = Mesh::new(json!({"profile": "minimal"}));
    mesh.settle().await;
    mesh.restart("2");
    mesh.reconcile().await;
    let image = || {
        let deployment = mesh.server.object("/deployments/istiod");
        let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
        image.as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(image(), "ironsail/pilot:1");
    let upgrade = mesh.condition("UpgradeAvailable");
    assert_eq!(upgrade["status"], "True");
    assert_eq!(mesh.status(), "HEALTHY");
    let plan = mesh.plan();
    assert_ne!(plan["hash"], plan["accepted"]);
    assert_eq!(plan["summary"], "0 created, 3 changed, 0 deleted");
    assert_eq!(plan.get("destructive"), None);
    // Drift goes back to what was accepted, not to what this operator renders.
    mesh.server.edit("/deployments/istiod", |deployment| {
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
    });
    mesh.reconcile().await;
    assert_eq!(image(), "ironsail/pilot:1");
    let message = upgrade["message"].as_str().unwrap_or_default();
    let hash = message.rsplit('=').next().unwrap_or_default().to_owned();
    mesh.change(|iop| iop["metadata"]["annotations"] = json!({APPROVE: hash}));
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "UPDATING");
    assert_eq!(image(), "ironsail/pilot:2");
    mesh.settle().await;
    assert_eq!(mesh.condition("UpgradeAvailable")["status"], "False");
}

#[tokio::test]
async fn a_new_operator_may_be_followed() {
    let mut mesh = Mesh::new(json!({"profile": "minimal"}));
    mesh.change(|iop| iop["metadata"]["annotations"] = json!({UPGRADE_POLICY: "Follow"}));
    mesh.settle().await;
    mesh.restart("2");
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "UPDATING");
    mesh.settle().await;
    let plan = mesh.plan();
    assert_eq!(plan["hash"], plan["accepted"]);
    assert_eq!(plan.get("summary"), None);
}

#[tokio::test]
async fn a_waiting_plan_says_what_it_would_take_away() {
    let mesh = Mesh::new(json!({}));
    mesh.settle().await;
    mesh.change(|iop| iop["metadata"]["annotations"] = json!({APPLY: "Manual"}));
    mesh.change_spec(json!({"profile": "minimal"}));
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "ACTION_REQUIRED");
    let plan = mesh.plan();
    let lost = "deletes Service istio-system/istio-ingressgateway";
    let destructive = plan["destructive"].as_array().expect("a list");
    assert!(
        destructive.iter().any(|entry| entry == lost),
        "{destructive:?}"
    );
    assert!(mesh.server.has("/services/istio-ingressgateway"));
    // Another spec is another plan: what was approved before is void.
    let hash = plan["hash"].clone();
    mesh.change_spec(json!({"profile": "empty"}));
    mesh.change(|iop| iop["metadata"]["annotations"] = json!({APPLY: "Manual", APPROVE: hash}));
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "ACTION_REQUIRED");
    let hash = mesh.plan()["hash"].clone();
    mesh.change(|iop| iop["metadata"]["annotations"] = json!({APPLY: "Manual", APPROVE: hash}));
    mesh.settle().await;
    assert_eq!(leftovers(&mesh.server), Vec::<String>::new());
}

#[tokio::test]
async fn a_manual_plan_waits_for_approval() {
    let mesh = Mesh::new(json!({"profile": "minimal"}));
    mesh.change(|iop| iop["metadata"]["annotations"] = json!({APPLY: "Manual"}));
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "ACTION_REQUIRED");
    assert_eq!(mesh.server.rendered(), Vec::<String>::new());
    let message = mesh.message();
    let hash = message.rsplit('=').next().unwrap_or_default().to_owned();
    mesh.change(|iop| iop["metadata"]["annotations"] = json!({APPLY: "Manual", APPROVE: hash}));
    mesh.settle().await;
}

#[tokio::test]
async fn deleting_takes_everything_but_definitions() {
    let mesh = Mesh::new(json!({"profile": "demo"}));
    mesh.settle().await;
    mesh.change(|iop| iop["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string()));
    assert_eq!(mesh.reconcile().await, Some(Duration::from_secs(1)));
    let writes = paths(&mesh.server);
    let webhooks = writes
        .iter()
        .take(2)
        .all(|path| path.contains("webhookconfigurations"));
    assert!(webhooks, "webhooks go first: {writes:?}");
    assert_eq!(mesh.reconcile().await, None);
    assert_eq!(leftovers(&mesh.server), Vec::<String>::new());
    assert!(!mesh.server.has("/istiooperators/mesh"));
}

#[tokio::test]
async fn a_deletion_that_gets_stuck_ends() {
    let mesh = Mesh::new(json!({"profile": "minimal"}));
    mesh.settle().await;
    mesh.server.refuse(Method::DELETE, "/services/istiod", 500);
    let ago = |seconds: i64| {
        let since = Timestamp::now() - k8s_openapi::jiff::SignedDuration::from_secs(seconds);
        json!(since.to_string())
    };
    mesh.change(|iop| iop["metadata"]["deletionTimestamp"] = ago(5));
    mesh.reconcile().await;
    assert!(mesh.server.has("/istiooperators/mesh"));
    mesh.change(|iop| iop["metadata"]["deletionTimestamp"] = ago(50));
    mesh.reconcile().await;
    assert!(!mesh.server.has("/istiooperators/mesh"));
    assert!(!mesh.server.has("/deployments/istiod"));
}

#[tokio::test]
async fn a_namespace_that_goes_away_is_cleaned_up_early() {
    let mesh = Mesh::new(json!({}));
    mesh.settle().await;
    let mut namespace = mesh.server.object("/api/v1/namespaces/istio-system");
    namespace["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string());
    mesh.server
        .replace("/api/v1/namespaces/istio-system", namespace);
    mesh.reconcile().await;
    mesh.reconcile().await;
    let left = mesh.server.rendered();
    assert!(
        left.iter()
            .all(|name| name.starts_with("CustomResourceDefinition")),
        "{left:?}"
    );
    assert_eq!(mesh.iop().metadata.finalizers, Some(Vec::new()));
    mesh.server.take_writes();
    mesh.reconcile().await;
    assert_eq!(
        paths(&mesh.server),
        Vec::<String>::new(),
        "the finalizer is not added again"
    );
}

/// Roles that outlive the manifest: they are collected with the operator's namespace.
const KEPT: [&str; 2] = [
    "ClusterRole istio-operator-removal-istio-operator",
    "ClusterRoleBinding istio-operator-removal-istio-operator",
];

/// With the rights of the manifest alone.
#[tokio::test]
async fn removing_everything_at_once_leaves_nothing_and_waits_for_nothing() {
    let mesh = Mesh::new(json!({"profile": "demo"}));
    install_operator(&mesh.server);
    mesh.settle().await;
    delete_manifest(&mesh.server);
    assert!(mesh.server.has("/istiooperators/mesh"), "it waits for us");
    assert!(!mesh.server.has("/clusterrolebindings/istio-operator"));
    let webhook = "/mutatingwebhookconfigurations/istio-sidecar-injector";
    assert!(mesh.server.has(webhook));
    // The pod is asked to end.
    let removed = mesh.reconciler.let_go_if_removed().await;
    assert!(removed.expect("with the rights that were kept"));
    assert!(!mesh.server.has("/istiooperators/mesh"));
    assert!(!mesh.server.has("/serviceaccounts/istio-operator"));
    assert_eq!(leftovers(&mesh.server), KEPT);
    let role = mesh
        .server
        .object("/clusterroles/istio-operator-removal-istio-operator");
    let owner = &role["metadata"]["ownerReferences"][0];
    assert_eq!(owner["kind"], "Namespace");
    let home = mesh.server.object("/api/v1/namespaces/istio-operator");
    assert_eq!(owner["uid"], home["metadata"]["uid"]);
}

/// The watch may be faster than the signal.
#[tokio::test]
async fn the_controller_finishes_with_the_rights_that_were_kept() {
    let mesh = Mesh::new(json!({"profile": "minimal"}));
    install_operator(&mesh.server);
    mesh.settle().await;
    delete_manifest(&mesh.server);
    mesh.reconcile().await;
    mesh.reconcile().await;
    assert!(!mesh.server.has("/istiooperators/mesh"));
    assert!(!mesh.server.has("/serviceaccounts/istio-operator"));
    assert_eq!(leftovers(&mesh.server), KEPT);
}

/// The last object may take its definition with it before the operator looks again.
#[tokio::test]
async fn a_definition_that_is_gone_has_no_objects() {
    let mesh = Mesh::new(json!({"profile": "minimal"}));
    install_operator(&mesh.server);
    mesh.settle().await;
    delete_manifest(&mesh.server);
    mesh.server.remove("/istiooperators/mesh");
    mesh.server
        .remove("/customresourcedefinitions/istiooperators.install.istio.io");
    mesh.server.refuse(Method::GET, "/istiooperators", 404);
    let removed = mesh.reconciler.let_go_if_removed().await;
    assert!(removed.expect("nothing is left to be done"));
    assert!(!mesh.server.has("/serviceaccounts/istio-operator"));
}

/// Without what is kept, the removal would wait forever: the test of the tests above.
#[tokio::test]
async fn without_kept_rights_the_removal_is_stuck() {
    let mesh = Mesh::new(json!({"profile": "minimal"}));
    install_operator(&mesh.server);
    mesh.settle().await;
    mesh.server.delete_all(|_, object| {
        KEPT.contains(
            &format!(
                "{} {}",
                object["kind"].as_str().unwrap_or_default(),
                object["metadata"]["name"].as_str().unwrap_or_default()
            )
            .as_str(),
        )
    });
    delete_manifest(&mesh.server);
    assert!(mesh.reconciler.let_go_if_removed().await.is_err());
    assert!(mesh.server.has("/istiooperators/mesh"));
}

#[tokio::test]
async fn an_operator_that_is_removed_alone_lets_the_mesh_stay() {
    let mesh = Mesh::new(json!({"profile": "minimal"}));
    install_operator(&mesh.server);
    mesh.settle().await;
    assert!(!mesh.reconciler.let_go_if_removed().await.expect("answered"));
    let home = "/api/v1/namespaces/istio-operator";
    let mut namespace = mesh.server.object(home);
    namespace["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string());
    mesh.server.replace(home, namespace);
    assert!(mesh.reconciler.let_go_if_removed().await.expect("answered"));
    assert_eq!(mesh.iop().metadata.finalizers, Some(Vec::new()));
    assert!(mesh.server.has("/deployments/istiod"), "the mesh stays");
}

#[tokio::test]
async fn the_account_is_held_only_while_an_object_needs_it() {
    let mesh = Mesh::new(json!({"profile": "minimal"}));
    install_operator(&mesh.server);
    mesh.settle().await;
    let held = || {
        let account = mesh.server.object("/serviceaccounts/istio-operator");
        account["metadata"]["finalizers"] == json!([HOLD])
    };
    assert!(held());
    mesh.change(|iop| iop["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string()));
    mesh.reconcile().await;
    assert!(held());
    mesh.reconcile().await;
    assert!(!mesh.server.has("/istiooperators/mesh"));
    assert!(!held());
    // Left by a process that ended too early, it is given up by the next.
    let mut again = mesh.server.object("/serviceaccounts/istio-operator");
    again["metadata"]["finalizers"] = json!([HOLD]);
    mesh.server
        .replace("/serviceaccounts/istio-operator", again);
    mesh.reconciler.loosen().await.expect("answered");
    assert!(!held());
}

#[tokio::test]
async fn ignored_objects_and_other_revisions_are_left_alone() {
    let mesh = Mesh::new(json!({}));
    mesh.change(|iop| iop["metadata"]["annotations"] = json!({IGNORE: "true"}));
    for written in [1, 0] {
        assert_eq!(mesh.reconcile().await, None);
        let paths = paths(&mesh.server);
        assert!(
            paths.iter().all(|path| path.ends_with("/status")),
            "{paths:?}"
        );
        assert_eq!(paths.len(), written);
        assert_eq!(mesh.condition("Paused")["status"], "True");
    }
    mesh.change(|iop| iop["metadata"]["annotations"] = json!({}));
    mesh.reconcile().await;
    assert!(mesh.condition("Paused").is_null());
    let other = Config {
        revision: "canary".into(),
        ..config("1")
    };
    let other = operator(&mesh.server, other);
    assert!(!other.is_selected(&mesh.iop()));
    mesh.change_spec(json!({"revision": "canary"}));
    assert!(other.is_selected(&mesh.iop()));
}

#[tokio::test]
async fn an_object_of_the_wrong_type_is_an_error_of_its_own() {
    let mesh = Mesh::new(json!("text"));
    mesh.reconcile().await;
    assert_eq!(mesh.status(), "ERROR");
    assert!(mesh.message().starts_with("spec: "), "{}", mesh.message());
    let mesh = Mesh::new(json!({"components": {"ingressGateways": {"name": "x"}}}));
    mesh.reconcile().await;
    assert!(
        mesh.message()
            .starts_with("spec.components.ingressGateways"),
        "{}",
        mesh.message()
    );
}

/// Specs of every size.
fn any_spec() -> impl Strategy<Value = Value> {
    let profile = prop::sample::select(vec!["default", "demo", "minimal", "empty"]);
    let revision = prop::sample::select(vec!["", "canary", "1-32"]);
    let gateways = prop::collection::vec((any::<bool>(), 0..4_u32), 0..3);
    (profile, revision, gateways, any::<[bool; 4]>()).prop_map(
        |(profile, revision, gateways, on)| {
            let gateways: Vec<Value> = gateways
                .into_iter()
                .enumerate()
                .map(|(index, (enabled, replicas))| {
                    json!({"name": format!("gateway-{index}"), "enabled": enabled, "k8s": {
                    "replicaCount": replicas, "hpaSpec": {"minReplicas": replicas + 1}}})
                })
                .collect();
            json!({
                "profile": profile, "revision": revision,
                "components": {"ingressGateways": gateways},
                "values": {
                    "global": {"networkPolicy": {"enabled": on[0]}, "configValidation": on[1]},
                    "pilot": {"autoscaleEnabled": on[2], "replicaCount": 2},
                    "defaultRevision": if on[3] { "default" } else { "" },
                },
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is installed, installing it again changes nothing, and going from one spec to
    /// another ends where a fresh installation ends.
    #[test]
    fn applying_twice_changes_nothing(first in any_spec(), second in any_spec()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut mesh = Mesh::new(first);
            mesh.settle().await;
            mesh.change_spec(second.clone());
            mesh.settle().await;
            mesh.reconcile().await;
            assert_eq!(paths(&mesh.server), Vec::<String>::new());
            mesh.restart("1");
            mesh.reconcile().await;
            assert_eq!(paths(&mesh.server), Vec::<String>::new());
            let fresh = Mesh::new(second);
            fresh.settle().await;
            let objects = |server: &FakeServer| {
                let definition = |name: &String| name.starts_with("CustomResourceDefinition");
                server.rendered().into_iter().filter(|name| !definition(name)).collect::<Vec<_>>()
            };
            assert_eq!(objects(&mesh.server), objects(&fresh.server));
        });
    }
}
