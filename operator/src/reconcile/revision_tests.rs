//! Several IstioOperators in one cluster.

use serde_json::{Value, json};

use super::tests::{NAMESPACES, OPERATORS, config, operator, paths};
use super::*;
use crate::render::tests::selectors::{expected, injectors, matrix};
use crate::revision::claim::CLAIM;
use crate::share::SHARED_WITH;
use crate::testing::FakeServer;

/// A cluster with any number of IstioOperators, and the operator.
struct Cluster {
    server: FakeServer,
    reconciler: Reconciler,
}

/// As the operator runs in a cluster.
fn taking_default() -> Config {
    let mut config = config("1");
    config.render.takes_default = true;
    config
}

impl Cluster {
    fn new() -> Self {
        let server = FakeServer::default();
        server.put(
            NAMESPACES,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}}),
        );
        let reconciler = operator(&server, taking_default());
        Self { server, reconciler }
    }

    fn add(&self, name: &str, spec: Value) {
        self.server.put(
            OPERATORS,
            json!({
                "apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
                "metadata": {"name": name, "namespace": "istio-system"}, "spec": spec,
            }),
        );
    }

    fn iop(&self, name: &str) -> Value {
        self.server.object(&format!("/istiooperators/{name}"))
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut iop = self.iop(name);
        change(&mut iop);
        let generation = iop["metadata"]["generation"].as_i64().unwrap_or(0);
        iop["metadata"]["generation"] = json!(generation + 1);
        self.server.replace(&format!("/istiooperators/{name}"), iop);
    }

    fn delete(&self, name: &str) {
        self.change(name, |iop| {
            iop["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string());
        });
    }

    async fn reconcile(&self, name: &str) -> Next {
        let iop = serde_json::from_value(self.iop(name)).expect("an object");
        self.reconciler.reconcile(&iop, &self.server.seen()).await
    }

    /// Reconciles all of them until everything runs.
    async fn settle(&self, names: &[&str]) {
        for _ in 0..6 {
            for name in names {
                self.reconcile(name).await;
            }
            self.server.make_ready();
        }
        self.server.take_writes();
    }

    /// Nothing is written, not even by a new process.
    #[track_caller]
    fn assert_quiet(&self) {
        assert_eq!(paths(&self.server), Vec::<String>::new());
    }

    async fn check_quiet(&mut self, names: &[&str]) {
        for name in names {
            self.reconcile(name).await;
        }
        self.assert_quiet();
        self.reconciler = operator(&self.server, taking_default());
        for _ in 0..2 {
            for name in names {
                self.reconcile(name).await;
            }
        }
        self.assert_quiet();
    }

    fn status(&self, name: &str) -> Value {
        self.iop(name)["status"].clone()
    }

    fn condition(&self, name: &str, kind: &str) -> Value {
        let status = self.status(name);
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        let found = conditions.find(|c| c["type"] == kind);
        found.cloned().unwrap_or_default()
    }

    /// Who holds an object, and who else wants it.
    fn owners(&self, end: &str) -> (String, String) {
        let metadata = &self.server.object(end)["metadata"];
        let holder = &metadata["labels"][ironsail_mesh::label::OWNING_RESOURCE];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(holder), text(&metadata["annotations"][SHARED_WITH]))
    }
}

fn canary() -> Value {
    json!({"profile": "minimal", "revision": "canary"})
}

const READER: &str = "/serviceaccounts/istio-reader-service-account";

#[tokio::test]
async fn two_revisions_share_what_is_not_of_a_revision() {
    let mut cluster = Cluster::new();
    cluster.add("mesh", json!({}));
    cluster.add("canary", canary());
    let both = ["mesh", "canary"];
    cluster.settle(&both).await;
    for name in both {
        assert_eq!(cluster.status(name)["status"], "HEALTHY", "{name}");
        assert_eq!(cluster.condition(name, "Conflict")["status"], "False");
    }
    let shared = ("mesh".to_owned(), "istio-system/canary".to_owned());
    assert_eq!(cluster.owners(READER), shared);
    let definition = "/customresourcedefinitions/virtualservices.networking.istio.io";
    assert_eq!(cluster.owners(definition), shared);
    cluster.check_quiet(&both).await;
    // Whoever is left gets it, and keeps it as it is.
    cluster.delete("mesh");
    for _ in 0..3 {
        cluster.reconcile("mesh").await;
        cluster.reconcile("canary").await;
    }
    assert_eq!(cluster.owners(READER), ("canary".to_owned(), String::new()));
    assert!(!cluster.server.has("/istiooperators/mesh"));
    cluster.settle(&["canary"]).await;
    assert_eq!(cluster.status("canary")["status"], "HEALTHY");
    let labels = cluster.server.object(READER)["metadata"]["labels"].clone();
    assert_eq!(labels[ironsail_mesh::label::REVISION], "canary");
    cluster.check_quiet(&["canary"]).await;
}

#[tokio::test]
async fn an_owner_that_goes_away_leaves_what_others_hold() {
    let cluster = Cluster::new();
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.add("canary", canary());
    cluster.settle(&["mesh", "canary"]).await;
    cluster.delete("canary");
    cluster.reconcile("canary").await;
    cluster.reconcile("canary").await;
    assert!(!cluster.server.has("/istiooperators/canary"));
    assert_eq!(cluster.owners(READER), ("mesh".to_owned(), String::new()));
    assert!(!cluster.server.has("/deployments/istiod-canary"));
    assert!(cluster.server.has("/deployments/istiod"));
    cluster.delete("mesh");
    cluster.reconcile("mesh").await;
    assert!(!cluster.server.has(READER), "the last one takes it");
}

#[tokio::test]
async fn what_is_no_longer_wanted_is_left_to_who_wants_it() {
    let cluster = Cluster::new();
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.add("canary", canary());
    let both = ["mesh", "canary"];
    cluster.settle(&both).await;
    let no_reader = |iop: &mut Value| {
        iop["spec"]["values"] = json!({"global": {"enableReaderRBAC": false}});
    };
    cluster.change("mesh", no_reader);
    cluster.settle(&both).await;
    assert_eq!(cluster.owners(READER), ("canary".to_owned(), String::new()));
    cluster.change("canary", no_reader);
    cluster.settle(&both).await;
    assert!(!cluster.server.has(READER));
    cluster.change("mesh", |iop| iop["spec"]["values"] = json!({}));
    cluster.settle(&both).await;
    cluster.change("canary", |iop| iop["spec"]["values"] = json!({}));
    cluster.settle(&both).await;
    let shared = ("mesh".to_owned(), "istio-system/canary".to_owned());
    assert_eq!(cluster.owners(READER), shared);
    cluster.change("canary", no_reader);
    cluster.settle(&both).await;
    assert_eq!(cluster.owners(READER), ("mesh".to_owned(), String::new()));
}

#[tokio::test]
async fn who_comes_second_and_wants_it_otherwise_changes_nothing() {
    let mut cluster = Cluster::new();
    cluster.add("mesh", json!({}));
    cluster.add("canary", json!({"revision": "canary"}));
    let both = ["mesh", "canary"];
    cluster.settle(&both).await;
    let gateway = "/deployments/istio-ingressgateway";
    let noted = ("mesh".to_owned(), "istio-system/canary".to_owned());
    assert_eq!(cluster.owners(gateway), noted);
    let pod = &cluster.server.object(gateway)["spec"]["template"]["metadata"]["labels"];
    assert_eq!(pod[ironsail_mesh::label::REVISION], "default");
    let conflict = cluster.condition("canary", "Conflict");
    assert_eq!(conflict["status"], "True");
    assert_eq!(conflict["reason"], "SharedObject");
    let expected = "Deployment istio-system/istio-ingressgateway belongs to the IstioOperator \
                    istio-system/mesh, and istio-system/canary wants it otherwise";
    let message = conflict["message"].as_str().unwrap_or_default();
    assert!(message.contains(expected), "{message}");
    assert_eq!(cluster.status("canary")["status"], "ERROR");
    assert_eq!(cluster.status("mesh")["status"], "HEALTHY");
    assert!(
        cluster.server.has("/deployments/istiod-canary"),
        "the rest is applied"
    );
    assert_eq!(cluster.reconcile("canary").await, Some(TAKEN));
    cluster.check_quiet(&both).await;
    // The holder gives it up, and the other one takes it as it is.
    cluster.change("mesh", |iop| iop["spec"] = json!({"profile": "minimal"}));
    for name in ["mesh", "mesh", "canary", "mesh", "canary"] {
        cluster.reconcile(name).await;
        cluster.server.make_ready();
    }
    let writes = cluster.server.take_writes();
    assert!(
        !writes
            .iter()
            .any(|w| w.method == "DELETE" && w.path.ends_with(gateway))
    );
    cluster.settle(&both).await;
    assert_eq!(
        cluster.owners(gateway),
        ("canary".to_owned(), String::new())
    );
    assert_eq!(cluster.condition("canary", "Conflict")["status"], "False");
}

/// Two that are applied at once both note that they want what a third one holds.
#[tokio::test]
async fn what_others_note_meanwhile_is_not_wanted_otherwise() {
    let mut cluster = Cluster::new();
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.settle(&["mesh"]).await;
    cluster.add("canary", canary());
    let definition = "/customresourcedefinitions/virtualservices.networking.istio.io";
    cluster.server.change_meanwhile(definition, |object| {
        object["metadata"]["annotations"][SHARED_WITH] = json!("istio-system/other");
    });
    cluster.settle(&["canary"]).await;
    let all = "istio-system/canary,istio-system/other".to_owned();
    assert_eq!(cluster.owners(definition), ("mesh".to_owned(), all));
    assert_eq!(cluster.status("canary")["status"], "HEALTHY");
    cluster.check_quiet(&["mesh", "canary"]).await;
    cluster.reconciler = operator(&cluster.server, taking_default());
    cluster.server.change_meanwhile(definition, |object| {
        object["metadata"]["annotations"][SHARED_WITH] = json!("istio-system/canary");
    });
    cluster.reconcile("canary").await;
    assert_eq!(cluster.status("canary")["status"], "HEALTHY");
    let own = ("mesh".to_owned(), "istio-system/canary".to_owned());
    assert_eq!(cluster.owners(definition), own);
}

/// Labels may name an owner that was deleted while no operator ran.
#[tokio::test]
async fn what_an_absent_owner_held_is_taken_over() {
    let cluster = Cluster::new();
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.settle(&["mesh"]).await;
    cluster.server.remove("/istiooperators/mesh");
    cluster.add("again", json!({"profile": "minimal"}));
    cluster.settle(&["again"]).await;
    assert_eq!(cluster.status("again")["status"], "HEALTHY");
    let own = ("again".to_owned(), String::new());
    assert_eq!(cluster.owners("/deployments/istiod"), own);
    assert_eq!(cluster.owners(READER), own);
}

/// Both begin before the watch shows what the other one made.
#[tokio::test]
async fn beginning_together_ends_without_a_fight() {
    let mut cluster = Cluster::new();
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.add("canary", canary());
    let nothing = Seen::default();
    for name in ["mesh", "canary"] {
        let iop = serde_json::from_value(cluster.iop(name)).expect("an object");
        cluster.reconciler.reconcile(&iop, &nothing).await;
    }
    let both = ["mesh", "canary"];
    cluster.settle(&both).await;
    cluster.check_quiet(&both).await;
}

const TAG: &str = "/mutatingwebhookconfigurations/istio-revision-tag-default";
const UNTAGGED: &str = "/mutatingwebhookconfigurations/istio-sidecar-injector";
const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

impl Cluster {
    /// Whom each combination of labels is injected by, as the API server would see it now.
    /// `default` is the Service that the default should lead to.
    #[track_caller]
    fn check_injection(&self, default: &str) {
        let all = self.server.objects("MutatingWebhookConfiguration");
        for (namespace, pod) in matrix() {
            let found: Vec<String> = injectors(&all, namespace, pod)
                .iter()
                .map(|webhook| webhook["clientConfig"]["service"]["name"].to_string())
                .collect();
            let wanted = expected(namespace, pod, false).map(|who| match who {
                "default" => format!("{default:?}"),
                revision => format!("\"istiod-{revision}\""),
            });
            let installed = |name: &String| {
                self.server
                    .has(&format!("/deployments/{}", name.trim_matches('"')))
            };
            let wanted: Vec<String> = wanted.into_iter().filter(installed).collect();
            assert_eq!(found, wanted, "namespace {namespace:?}, pod {pod:?}");
        }
    }

    /// Who holds what speaks for the default.
    #[track_caller]
    fn check_default(&self, holder: &str) {
        let ends = [
            TAG,
            "/services/istiod-revision-tag-default",
            "/validatingwebhookconfigurations/istiod-default-validator",
        ];
        for end in ends {
            assert_eq!(self.owners(end).0, holder, "{end}");
        }
    }
}

fn with_default_tag() -> Value {
    json!({"profile": "minimal", "revision": "canary", "values": {"revisionTags": ["default"]}})
}

#[tokio::test]
async fn the_unnamed_revision_is_the_default() {
    let mut cluster = Cluster::new();
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.add("canary", canary());
    cluster.add(
        "stable",
        json!({"profile": "minimal", "revision": "stable"}),
    );
    let all = ["mesh", "canary", "stable"];
    cluster.settle(&all).await;
    cluster.check_injection("istiod");
    cluster.check_default("mesh");
    let selector = &cluster.server.object(UNTAGGED)["webhooks"][0]["namespaceSelector"];
    assert_eq!(
        selector["matchLabels"]["istio.io/deactivated"],
        "never-match"
    );
    cluster.check_quiet(&all).await;
    for name in all {
        assert_eq!(
            cluster.condition(name, "Conflict")["status"],
            "False",
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_default_moves_with_one_update_and_comes_back() {
    let mut cluster = Cluster::new();
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.settle(&["mesh"]).await;
    cluster.add("canary", canary());
    let both = ["mesh", "canary"];
    cluster.settle(&both).await;
    cluster.change("canary", |iop| iop["spec"] = with_default_tag());
    // While the new control plane doesn't serve, nothing moves.
    cluster
        .server
        .edit("/deployments/istiod-canary", |deployment| {
            deployment["status"]["availableReplicas"] = json!(0);
        });
    cluster.reconcile("canary").await;
    cluster.check_injection("istiod");
    cluster.server.make_ready();
    cluster.server.take_writes();
    cluster.reconcile("canary").await;
    let moved: Vec<String> = paths(&cluster.server);
    let tag = format!("{WEBHOOKS}/istio-revision-tag-default");
    let untagged = moved
        .iter()
        .filter(|path| path.contains("istio-sidecar-injector"));
    assert_eq!(untagged.count(), 0, "{moved:?}");
    // Who shares it is noted, then the webhooks are written at once.
    assert_eq!(
        moved.iter().filter(|path| **path == tag).count(),
        2,
        "{moved:?}"
    );
    cluster.check_injection("istiod-canary");
    cluster.settle(&both).await;
    cluster.check_injection("istiod-canary");
    cluster.check_default("canary");
    assert_eq!(cluster.status("mesh")["status"], "HEALTHY");
    cluster.check_quiet(&both).await;
    // The higher claim is given up.
    cluster.change("canary", |iop| iop["spec"] = canary());
    cluster.settle(&both).await;
    cluster.check_injection("istiod");
    cluster.check_default("mesh");
    cluster.check_quiet(&both).await;
}

#[tokio::test]
async fn a_default_that_is_removed_hands_over_before_its_services_go() {
    let mut cluster = Cluster::new();
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.add("canary", with_default_tag());
    let both = ["mesh", "canary"];
    cluster.settle(&both).await;
    cluster.check_default("canary");
    cluster.delete("canary");
    cluster.reconcile("canary").await;
    assert_eq!(cluster.owners(TAG).0, "mesh");
    assert!(
        cluster.server.has("/services/istiod-canary"),
        "it is still called"
    );
    assert!(cluster.server.has("/deployments/istiod-canary"));
    cluster.reconcile("mesh").await;
    let called = &cluster.server.object(TAG)["webhooks"][0]["clientConfig"]["service"];
    assert_eq!(called["name"], "istiod");
    cluster.reconcile("canary").await;
    cluster.reconcile("canary").await;
    cluster.check_injection("istiod");
    assert!(!cluster.server.has("/istiooperators/canary"));
    assert!(!cluster.server.has("/services/istiod-canary"));
    cluster.settle(&["mesh"]).await;
    cluster.check_default("mesh");
    cluster.check_quiet(&["mesh"]).await;
    cluster.delete("mesh");
    cluster.reconcile("mesh").await;
    assert!(!cluster.server.has(TAG), "nobody is left who wants it");
    assert!(!cluster.server.has("/services/istiod-revision-tag-default"));
}

#[tokio::test]
async fn the_first_revision_is_the_default_until_somebody_outranks_it() {
    let mut cluster = Cluster::new();
    cluster.add("canary", canary());
    cluster.settle(&["canary"]).await;
    cluster.check_injection("istiod-canary");
    cluster.add(
        "stable",
        json!({"profile": "minimal", "revision": "stable"}),
    );
    let revisions = ["canary", "stable"];
    cluster.settle(&revisions).await;
    cluster.check_injection("istiod-canary");
    cluster.check_quiet(&revisions).await;
    cluster.add("mesh", json!({"profile": "minimal"}));
    let all = ["canary", "stable", "mesh"];
    cluster.settle(&all).await;
    cluster.check_injection("istiod");
    cluster.check_quiet(&all).await;
}

#[tokio::test]
async fn two_that_are_asked_to_be_the_default_dispute() {
    let cluster = Cluster::new();
    cluster.add("canary", with_default_tag());
    cluster.add(
        "stable",
        json!({"profile": "minimal", "revision": "stable", "values": {"defaultRevision": "stable"}}),
    );
    let both = ["canary", "stable"];
    cluster.settle(&both).await;
    cluster.check_injection("istiod-canary");
    assert_eq!(cluster.condition("canary", "Conflict")["status"], "False");
    let conflict = cluster.condition("stable", "Conflict");
    let message = conflict["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("istio-revision-tag-default belongs to"),
        "{message}"
    );
}

/// `istioctl tag set default`: its objects have no labels of an operator.
#[tokio::test]
async fn tags_of_users_win_and_stay_as_they_are() {
    let mut cluster = Cluster::new();
    let tag = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "istio-revision-tag-default",
            "labels": {"app": "sidecar-injector", "istio.io/tag": "default", "istio.io/rev": "other"}},
        "webhooks": [],
    });
    cluster.server.put(WEBHOOKS, tag);
    let before = cluster.server.object(TAG);
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.add("canary", with_default_tag());
    let both = ["mesh", "canary"];
    cluster.settle(&both).await;
    assert_eq!(cluster.server.object(TAG), before);
    for name in both {
        assert_eq!(cluster.status(name)["status"], "HEALTHY", "{name}");
    }
    cluster.check_quiet(&both).await;
    cluster.delete("canary");
    cluster.reconcile("canary").await;
    assert_eq!(cluster.server.object(TAG), before);
}

/// A plan of an operator that didn't know claims has an active webhook configuration.
#[tokio::test]
async fn an_active_injector_is_deactivated_only_once_the_tag_is_there() {
    let mut cluster = Cluster::new();
    cluster.reconciler = operator(&cluster.server, config("1"));
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.settle(&["mesh"]).await;
    assert!(!cluster.server.has(TAG));
    cluster.server.edit(UNTAGGED, |configuration| {
        for webhook in configuration["webhooks"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            webhook["clientConfig"]["caBundle"] = json!("QQ==");
        }
    });
    cluster.reconciler = operator(&cluster.server, taking_default());
    let follow = json!({crate::plan::accept::UPGRADE_POLICY: "Follow"});
    cluster.change("mesh", |iop| iop["metadata"]["annotations"] = follow);
    cluster
        .server
        .refuse(http::Method::PATCH, "istio-revision-tag-default", 500);
    cluster.reconcile("mesh").await;
    cluster.check_injection("istiod");
    cluster.server.allow_all();
    cluster.reconcile("mesh").await;
    cluster.check_injection("istiod");
    let bundle = &cluster.server.object(TAG)["webhooks"][0]["clientConfig"]["caBundle"];
    assert_eq!(bundle, "QQ==", "it is trusted from the beginning");
    cluster.settle(&["mesh"]).await;
    assert_eq!(
        cluster.server.object(TAG)["metadata"]["annotations"][CLAIM],
        "Unnamed"
    );
    cluster.check_quiet(&["mesh"]).await;
}

/// One that another installer made injects already.
#[tokio::test]
async fn beside_a_foreign_default_nothing_is_injected_twice() {
    let cluster = Cluster::new();
    let foreign = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "istio-sidecar-injector-elsewhere", "labels": {"app": "sidecar-injector"}},
        "webhooks": [{"name": "namespace.sidecar-injector.istio.io",
            "clientConfig": {"service": {"name": "istiod", "namespace": "elsewhere"}},
            "namespaceSelector": {"matchExpressions": [
                {"key": "istio-injection", "operator": "In", "values": ["enabled"]}]}}],
    });
    cluster.server.put(WEBHOOKS, foreign);
    cluster.add("canary", canary());
    cluster.settle(&["canary"]).await;
    assert!(!cluster.server.has(TAG));
    assert_eq!(
        cluster.status("canary")["status"],
        "HEALTHY",
        "it never asked for it"
    );
    cluster.change("canary", |iop| iop["spec"] = with_default_tag());
    cluster.settle(&["canary"]).await;
    assert!(!cluster.server.has(TAG));
    let conflict = cluster.condition("canary", "Conflict");
    let message = conflict["message"].as_str().unwrap_or_default();
    let expected = "MutatingWebhookConfiguration istio-revision-tag-default would inject pods \
                    that istio-sidecar-injector-elsewhere injects already";
    assert!(message.contains(expected), "{message}");
}

#[tokio::test]
async fn users_that_manage_webhooks_get_none() {
    let cluster = Cluster::new();
    let values = json!({"global": {"operatorManageWebhooks": true}});
    cluster.add("mesh", json!({"profile": "minimal", "values": values}));
    cluster.settle(&["mesh"]).await;
    assert_eq!(
        cluster.server.objects("MutatingWebhookConfiguration"),
        Vec::<Value>::new()
    );
    assert!(!cluster.server.has("/istiod-default-validator"));
    assert!(!cluster.server.has("/services/istiod-revision-tag-default"));
}

const PODS: &str = "/api/v1/namespaces/shop/pods";

impl Cluster {
    fn add_namespace(&self, name: &str, labels: Value) {
        self.server.put(
            NAMESPACES,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        );
    }

    /// A pod that some revision injected.
    fn add_pod(&self, name: &str, revision: &str, phase: &str) {
        self.server.put(
            PODS,
            json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": phase},
                "metadata": {"name": name, "namespace": "shop", "annotations": {"istio.io/rev": revision}}}),
        );
    }

    /// A replica of the control plane that runs at this address.
    fn add_replica(&self, address: &str) {
        self.server.put(
            "/api/v1/namespaces/istio-system/pods",
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": []},
                "status": {"phase": "Running", "podIP": address},
                "metadata": {"name": "istiod-canary-1", "namespace": "istio-system",
                    "labels": {"app": "istiod", "istio.io/rev": "canary"}}}),
        );
    }

    fn annotate(&self, name: &str, annotations: Value) {
        self.change(name, |iop| iop["metadata"]["annotations"] = annotations);
    }

    fn delete_since(&self, name: &str, seconds: i64) {
        let since = Timestamp::now() - k8s_openapi::jiff::SignedDuration::from_secs(seconds);
        self.change(name, |iop| {
            iop["metadata"]["deletionTimestamp"] = json!(since.to_string())
        });
    }

    fn in_use(&self, name: &str) -> String {
        let condition = self.condition(name, "InUse");
        let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", text("status"), text("reason"), text("message"))
    }

    /// Later than an answer is used for.
    async fn later(&self) {
        tokio::time::advance(usage::FRESH + Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_uses_a_revision_is_said() {
    let mut cluster = Cluster::new();
    cluster.add_namespace("shop", json!({}));
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.add("canary", canary());
    let both = ["mesh", "canary"];
    cluster.settle(&both).await;
    assert_eq!(cluster.in_use("canary"), "False NotReferencedByAnything ");
    assert!(
        cluster.condition("mesh", "InUse").is_null(),
        "the default is not asked for"
    );
    for number in 0..1_200 {
        cluster.add_pod(&format!("p{number:04}"), "canary", "Running");
    }
    cluster.add_pod("done", "canary", "Succeeded");
    cluster.add_pod("broken", "canary", "Failed");
    cluster.add_pod("other", "default", "Running");
    cluster.add_namespace("labelled", json!({"istio.io/rev": "canary"}));
    assert_eq!(
        cluster.reconcile("canary").await,
        Some(usage::FRESH),
        "who begins to use it is told by nothing"
    );
    assert_eq!(
        cluster.in_use("canary"),
        "False NotReferencedByAnything ",
        "asked once a minute"
    );
    cluster.later().await;
    let next = cluster.reconcile("canary").await;
    assert!(next > Some(usage::FRESH), "{next:?}");
    assert_eq!(
        cluster.in_use("canary"),
        "True ReferencedByWorkloads 1 namespace (labelled), 1200 pods (shop/p0000, shop/p0001, shop/p0002, …)"
    );
    cluster.server.take_writes();
    cluster.check_quiet(&both).await;
}

/// With the rights of the manifest alone.
#[tokio::test(start_paused = true)]
async fn a_revision_in_use_is_not_removed_under_its_users() {
    let cluster = Cluster::new();
    super::tests::install_operator(&cluster.server);
    cluster.add_namespace("shop", json!({"istio.io/rev": "canary"}));
    cluster.add("canary", canary());
    cluster.settle(&["canary"]).await;
    cluster.delete("canary");
    cluster.later().await;
    assert_eq!(cluster.reconcile("canary").await, Some(usage::FRESH));
    let status = cluster.status("canary");
    assert_eq!(status["status"], "ACTION_REQUIRED");
    let message = status["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("the revision is used by 1 namespace (shop); "),
        "{message}"
    );
    assert_eq!(
        cluster.condition("canary", "Stalled")["reason"],
        "RevisionInUse"
    );
    // It is still kept as it should be.
    cluster.server.remove("/services/istiod-canary");
    cluster.reconcile("canary").await;
    assert!(cluster.server.has("/services/istiod-canary"));
    cluster.server.take_writes();
    cluster.reconcile("canary").await;
    cluster.assert_quiet();
    cluster.add_namespace("shop", json!({}));
    cluster.later().await;
    cluster.reconcile("canary").await;
    cluster.reconcile("canary").await;
    assert!(!cluster.server.has("/istiooperators/canary"));
    assert!(!cluster.server.has("/services/istiod-canary"));
}

#[tokio::test(start_paused = true)]
async fn gateways_of_a_revision_are_removed_while_it_is_in_use() {
    let cluster = Cluster::new();
    cluster.add_namespace("shop", json!({"istio.io/rev": "canary"}));
    cluster.add("canary", canary());
    let gateways = json!({"profile": "empty", "revision": "canary",
        "components": {"ingressGateways": [{"name": "edge"}]}});
    cluster.add("edge", gateways);
    cluster.settle(&["canary", "edge"]).await;
    assert!(cluster.condition("edge", "InUse").is_null());
    cluster.delete("edge");
    cluster.reconcile("edge").await;
    cluster.reconcile("edge").await;
    assert!(!cluster.server.has("/istiooperators/edge"));
    assert!(!cluster.server.has("/deployments/edge"));
    assert!(cluster.server.has("/deployments/istiod-canary"));
}

#[tokio::test]
async fn a_removal_waits_for_users_only_so_long() {
    for (annotations, waited, removed) in [
        (json!({}), 3_600, false),
        (json!({}), 24 * 3_600 + 1, true),
        (json!({usage::REMOVAL_GRACE: "30m"}), 3_600, true),
        (json!({usage::FORCE: "true"}), 1, true),
    ] {
        let cluster = Cluster::new();
        super::tests::install_operator(&cluster.server);
        cluster.add_namespace("shop", json!({"istio.io/rev": "canary"}));
        cluster.add("canary", canary());
        cluster.settle(&["canary"]).await;
        cluster.annotate("canary", annotations.clone());
        cluster.delete_since("canary", waited);
        cluster.reconcile("canary").await;
        let has_begun = !cluster.server.has("/deployments/istiod-canary");
        assert_eq!(has_begun, removed, "{annotations} after {waited} s");
        cluster.reconcile("canary").await;
        assert_eq!(cluster.server.has("/istiooperators/canary"), !removed);
    }
}

#[tokio::test]
async fn nothing_keeps_a_revision_whose_namespace_or_operator_goes_away() {
    for gone in [
        "/api/v1/namespaces/istio-system",
        "/customresourcedefinitions/istiooperators.install.istio.io",
        "/api/v1/namespaces/istio-operator",
    ] {
        let cluster = Cluster::new();
        super::tests::install_operator(&cluster.server);
        cluster.add_namespace("shop", json!({"istio.io/rev": "canary"}));
        cluster.add("canary", canary());
        cluster.settle(&["canary"]).await;
        let mut object = cluster.server.object(gone);
        object["metadata"]["deletionTimestamp"] = json!(Timestamp::now().to_string());
        cluster.server.replace(gone, object);
        cluster.delete("canary");
        cluster.reconcile("canary").await;
        cluster.reconcile("canary").await;
        assert!(!cluster.server.has("/istiooperators/canary"), "{gone}");
    }
}

/// Nobody listens at the replica's address.
#[tokio::test]
async fn a_control_plane_that_does_not_answer_is_not_unused() {
    let mut cluster = Cluster::new();
    super::tests::install_operator(&cluster.server);
    cluster.add("canary", canary());
    cluster.settle(&["canary"]).await;
    cluster.add_replica("127.0.0.1");
    cluster.reconciler = operator(&cluster.server, taking_default());
    cluster.reconciler.probe.port = 1;
    cluster.annotate("canary", json!({usage::COLLECT: "0s"}));
    cluster.reconcile("canary").await;
    let in_use = cluster.in_use("canary");
    assert!(
        in_use.starts_with("Unknown UsageCheckFailed the control plane istiod-canary-1 can't"),
        "{in_use}"
    );
    assert!(cluster.iop("canary")["metadata"]["deletionTimestamp"].is_null());
    cluster.delete("canary");
    cluster.reconcile("canary").await;
    let message = cluster.status("canary")["message"].clone();
    assert!(
        message
            .as_str()
            .is_some_and(|m| m.starts_with("the revision may be in use: "))
    );
    // It must not be held by what is broken.
    cluster.delete_since("canary", 61);
    cluster.reconcile("canary").await;
    cluster.reconcile("canary").await;
    assert!(!cluster.server.has("/istiooperators/canary"));
}

#[tokio::test(start_paused = true)]
async fn an_unused_revision_is_collected_when_asked() {
    let cluster = Cluster::new();
    super::tests::install_operator(&cluster.server);
    cluster.add_namespace("shop", json!({}));
    cluster.add("canary", canary());
    cluster.annotate("canary", json!({usage::COLLECT: "1h"}));
    cluster.settle(&["canary"]).await;
    let is_deleted = || {
        !cluster.server.has("/istiooperators/canary")
            || !cluster.iop("canary")["metadata"]["deletionTimestamp"].is_null()
    };
    assert_eq!(cluster.reconcile("canary").await, Some(usage::FRESH));
    assert!(!is_deleted(), "for an hour it might be used");
    // In use meanwhile, the hour begins anew.
    let age = |seconds: i64| {
        let since = Timestamp::now() - k8s_openapi::jiff::SignedDuration::from_secs(seconds);
        cluster.change("canary", |iop| {
            let conditions = iop["status"]["conditions"]
                .as_array_mut()
                .expect("conditions");
            let own = conditions
                .iter_mut()
                .find(|c| c["type"] == "InUse")
                .expect("there");
            own["lastTransitionTime"] = json!(since.to_string());
        });
    };
    age(3_500);
    let again = operator(&cluster.server, taking_default());
    let iop = serde_json::from_value(cluster.iop("canary")).expect("an object");
    let next = again.reconcile(&iop, &cluster.server.seen()).await;
    assert!(next <= Some(usage::FRESH), "{next:?}");
    assert!(!is_deleted());
    age(3_700);
    let again = operator(&cluster.server, taking_default());
    let iop = serde_json::from_value(cluster.iop("canary")).expect("an object");
    again.reconcile(&iop, &cluster.server.seen()).await;
    assert!(is_deleted());
    for _ in 0..2 {
        let iop = serde_json::from_value(cluster.iop("canary")).expect("an object");
        again.reconcile(&iop, &cluster.server.seen()).await;
    }
    assert!(!cluster.server.has("/istiooperators/canary"));
    assert!(!cluster.server.has("/deployments/istiod-canary"));
}

#[tokio::test]
async fn a_duration_that_is_none_is_told_and_collects_nothing() {
    let cluster = Cluster::new();
    cluster.add("canary", canary());
    cluster.annotate("canary", json!({usage::COLLECT: "soon"}));
    cluster.settle(&["canary"]).await;
    let valid = cluster.condition("canary", "Valid");
    assert_eq!(valid["reason"], "Warnings");
    let message = valid["message"].as_str().unwrap_or_default();
    assert!(message.contains(usage::COLLECT), "{message}");
    assert!(cluster.iop("canary")["metadata"]["deletionTimestamp"].is_null());
}

fn gateways(tag: &str) -> Value {
    let named = |name: &str| json!({"name": name, "label": {"istio": name}});
    json!({"tag": tag, "components": {"ingressGateways": [named("in-a"), named("in-b")],
        "egressGateways": [named("out")]}})
}

impl Cluster {
    /// Gateways that run the image of a tag.
    fn upgraded(&self, tag: &str) -> Vec<String> {
        let all = self.server.objects("Deployment").into_iter();
        let mut names: Vec<String> = all
            .filter(|d| {
                let image = &d["spec"]["template"]["spec"]["containers"][0]["image"];
                image
                    .as_str()
                    .is_some_and(|image| image.ends_with(&format!("proxyv2:{tag}")))
            })
            .map(|d| {
                d["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        names.sort();
        names
    }

    fn make_one_ready(&self, name: &str) {
        self.server
            .make_ready_if(|path| path.ends_with(&format!("/deployments/{name}")));
    }
}

#[tokio::test]
async fn gateways_are_upgraded_last_and_one_at_a_time() {
    let cluster = Cluster::new();
    cluster.add("mesh", gateways("1"));
    cluster.settle(&["mesh"]).await;
    assert_eq!(cluster.upgraded("1"), ["in-a", "in-b", "out"]);
    cluster.change("mesh", |iop| iop["spec"] = gateways("2"));
    for _ in 0..3 {
        cluster.reconcile("mesh").await;
    }
    assert_eq!(
        cluster.upgraded("2"),
        Vec::<String>::new(),
        "istiod is not ready"
    );
    cluster.make_one_ready("istiod");
    let mut done = Vec::new();
    for name in ["in-a", "in-b", "out"] {
        done.push(name);
        for _ in 0..3 {
            cluster.reconcile("mesh").await;
            assert_eq!(cluster.upgraded("2"), done);
            assert_eq!(cluster.status("mesh")["status"], "UPDATING");
        }
        if name == "in-a" {
            let message = cluster.status("mesh")["message"].clone();
            let expected = "Deployment istio-system/in-b waits for Deployment in-a";
            assert!(
                message.as_str().is_some_and(|m| m.contains(expected)),
                "{message}"
            );
        }
        cluster.make_one_ready(name);
    }
    cluster.reconcile("mesh").await;
    assert_eq!(cluster.status("mesh")["status"], "HEALTHY");
    // Drift needs no turns.
    for name in ["in-a", "out"] {
        cluster.server.edit(&format!("/deployments/{name}"), |d| {
            d["spec"]["paused"] = json!(true)
        });
        cluster.server.edit(&format!("/deployments/{name}"), |d| {
            d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other")
        });
    }
    cluster.reconcile("mesh").await;
    assert_eq!(cluster.upgraded("2"), ["in-a", "in-b", "out"]);
}

/// A control plane that never becomes ready must not take working gateways with it.
#[tokio::test(start_paused = true)]
async fn gateways_that_work_stay_while_the_control_plane_fails() {
    let cluster = Cluster::new();
    cluster.add("mesh", gateways("1"));
    cluster.settle(&["mesh"]).await;
    let mut new = gateways("2");
    new["components"]["ingressGateways"][1]["name"] = json!("in-c");
    cluster.change("mesh", |iop| iop["spec"] = new);
    cluster.reconcile("mesh").await;
    cluster.reconcile("mesh").await;
    tokio::time::advance(Duration::from_secs(301)).await;
    cluster.reconcile("mesh").await;
    cluster.reconcile("mesh").await;
    assert_eq!(cluster.upgraded("1"), ["in-a", "in-b", "out"]);
    assert_eq!(
        cluster.upgraded("2"),
        ["in-c"],
        "what is new carries nothing yet"
    );
    assert_eq!(cluster.status("mesh")["status"], "ERROR");
    cluster.settle(&["mesh"]).await;
    assert_eq!(cluster.upgraded("2"), ["in-a", "in-c", "out"]);
}

/// A resource may have gateways only; the control plane of their revision is another one's.
#[tokio::test]
async fn gateways_wait_for_the_control_plane_of_another_owner() {
    let cluster = Cluster::new();
    cluster.add("mesh", json!({"profile": "minimal"}));
    let edge = |tag: &str| {
        json!({"profile": "empty", "tag": tag, "components": {"ingressGateways": [
            {"name": "in-a", "enabled": true}]}})
    };
    cluster.add("edge", edge("1"));
    let both = ["mesh", "edge"];
    cluster.settle(&both).await;
    assert_eq!(cluster.upgraded("1"), ["in-a"]);
    cluster.change("mesh", |iop| {
        iop["spec"] = json!({"profile": "minimal", "tag": "2"})
    });
    cluster.change("edge", |iop| iop["spec"] = edge("2"));
    for _ in 0..2 {
        cluster.reconcile("mesh").await;
        cluster.reconcile("edge").await;
    }
    assert_eq!(cluster.upgraded("1"), ["in-a"]);
    cluster.make_one_ready("istiod");
    cluster.reconcile("edge").await;
    assert_eq!(cluster.upgraded("2"), ["in-a"]);
}

fn gateway(labels: Value) -> Value {
    json!({"components": {"ingressGateways": [{"name": "in", "label": labels}]}})
}

#[tokio::test]
async fn labels_that_are_added_keep_the_selector() {
    let mut cluster = Cluster::new();
    cluster.add("mesh", gateway(json!({"istio": "a"})));
    cluster.settle(&["mesh"]).await;
    let before = cluster.server.object("/deployments/in");
    cluster.change("mesh", |iop| {
        iop["spec"] = gateway(json!({"istio": "a", "team": "x"}))
    });
    cluster.reconcile("mesh").await;
    cluster.make_one_ready("istiod");
    for _ in 0..3 {
        cluster.reconcile("mesh").await;
        let selector = cluster.server.object("/services/in")["spec"]["selector"].clone();
        assert!(selector["team"].is_null(), "no pod has the new label yet");
    }
    let message = cluster.status("mesh")["message"].clone();
    let expected = "Service istio-system/in waits for Deployment in";
    assert!(
        message.as_str().is_some_and(|m| m.contains(expected)),
        "{message}"
    );
    cluster.settle(&["mesh"]).await;
    assert_eq!(cluster.status("mesh")["status"], "HEALTHY");
    let after = cluster.server.object("/deployments/in");
    assert_eq!(after["spec"]["selector"], before["spec"]["selector"]);
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    let pods = &after["spec"]["template"]["metadata"]["labels"];
    assert_eq!((&pods["team"], &pods["istio"]), (&json!("x"), &json!("a")));
    assert_eq!(
        cluster.server.object("/services/in")["spec"]["selector"]["team"],
        "x"
    );
    cluster.check_quiet(&["mesh"]).await;
}

#[tokio::test]
async fn a_workload_is_made_anew_only_with_consent() {
    let mut cluster = Cluster::new();
    cluster.add("mesh", gateway(json!({"istio": "a"})));
    cluster.settle(&["mesh"]).await;
    let mut new = gateway(json!({"istio": "b"}));
    new["components"]["egressGateways"] = json!([{"name": "out", "enabled": true}]);
    cluster.change("mesh", |iop| iop["spec"] = new);
    cluster.settle(&["mesh"]).await;
    let status = cluster.status("mesh");
    assert_eq!(
        status["componentStatus"]["IngressGateways"]["status"],
        "ERROR"
    );
    let message = status["componentStatus"]["IngressGateways"]["error"]
        .as_str()
        .unwrap_or_default();
    assert_eq!(
        message,
        "the selector of Deployment istio-system/in can't be changed from \
         app=istio-ingressgateway, istio=a to app=istio-ingressgateway, istio=b; with the \
         annotation operator.ironsail.dev/recreate=Deployment/in it is deleted and made anew"
    );
    assert_eq!(
        status["componentStatus"]["EgressGateways"]["status"],
        "HEALTHY"
    );
    assert!(cluster.server.has("/deployments/out"), "others go on");
    assert_eq!(
        cluster.condition("mesh", "Applied")["reason"],
        "ImmutableSelector"
    );
    assert_eq!(
        cluster.server.object("/services/in")["spec"]["selector"]["istio"],
        "a"
    );
    assert_eq!(
        cluster.server.object("/deployments/in")["spec"]["selector"]["matchLabels"]["istio"],
        "a"
    );
    assert_eq!(cluster.reconcile("mesh").await, Some(TAKEN));
    cluster.check_quiet(&["mesh"]).await;
    cluster.annotate(
        "mesh",
        json!({crate::apply::selector::RECREATE: "Deployment/other,Deployment/in"}),
    );
    cluster.settle(&["mesh"]).await;
    assert_eq!(cluster.status("mesh")["status"], "HEALTHY");
    assert_eq!(
        cluster.server.object("/deployments/in")["spec"]["selector"]["matchLabels"]["istio"],
        "b"
    );
    assert_eq!(
        cluster.server.object("/services/in")["spec"]["selector"]["istio"],
        "b"
    );
    cluster.check_quiet(&["mesh"]).await;
}

/// Somebody approves what he was shown, and nothing else.
#[tokio::test]
async fn an_approval_is_void_once_more_would_be_lost() {
    use crate::plan::accept::{APPLY, APPROVE};
    let cluster = Cluster::new();
    super::tests::install_operator(&cluster.server);
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.add("canary", canary());
    cluster.settle(&["mesh", "canary"]).await;
    let manual = json!({APPLY: "Manual"});
    cluster.change("mesh", |iop| {
        iop["metadata"]["annotations"] = manual.clone();
        iop["spec"]["values"] = json!({"global": {"enableReaderRBAC": false}});
    });
    cluster.reconcile("mesh").await;
    let lost = json!("deletes ServiceAccount istio-system/istio-reader-service-account");
    let plan = || cluster.status("mesh")["plan"].clone();
    let lists = |plan: &Value| {
        let mut list = plan["destructive"].as_array().into_iter().flatten();
        list.any(|entry| *entry == lost)
    };
    let shown = plan();
    assert!(!lists(&shown), "the other revision would get it: {shown}");
    cluster.delete("canary");
    while cluster.server.has("/istiooperators/canary") {
        cluster.reconcile("canary").await;
    }
    let approved = json!({APPLY: "Manual", APPROVE: shown["hash"]});
    cluster.annotate("mesh", approved.clone());
    for _ in 0..3 {
        cluster.reconcile("mesh").await;
        let status = cluster.status("mesh");
        assert_eq!(status["status"], "ACTION_REQUIRED");
        let message = status["message"].as_str().unwrap_or_default();
        assert!(message.contains("is void"), "{message}");
        assert_eq!(
            cluster.condition("mesh", "Stalled")["reason"],
            "ApprovalVoid"
        );
    }
    assert_eq!(plan()["hash"], shown["hash"]);
    assert!(lists(&plan()));
    assert!(cluster.server.has(READER));
    cluster.annotate("mesh", manual);
    cluster.reconcile("mesh").await;
    let message = cluster.status("mesh")["message"].clone();
    assert!(
        message
            .as_str()
            .is_some_and(|m| m.contains("waits for the annotation")),
        "{message}"
    );
    cluster.annotate("mesh", approved);
    cluster.settle(&["mesh"]).await;
    assert_eq!(cluster.status("mesh")["status"], "HEALTHY");
    assert!(!cluster.server.has(READER));
    assert!(plan().get("void").is_none());
}

/// The command line installs without a resource.
#[tokio::test]
async fn a_later_revision_never_moves_a_default_that_is_no_resources() {
    let cluster = Cluster::new();
    cluster.add("mesh", json!({"profile": "minimal"}));
    cluster.settle(&["mesh"]).await;
    cluster.server.remove("/istiooperators/mesh");
    cluster.add("canary", canary());
    cluster.settle(&["canary"]).await;
    assert_eq!(cluster.status("canary")["status"], "HEALTHY");
    cluster.check_default("mesh");
    cluster.check_injection("istiod");
}

#[tokio::test]
async fn a_gateway_that_can_not_change_is_nobodys_turn() {
    let cluster = Cluster::new();
    cluster.add("mesh", gateways("1"));
    cluster.settle(&["mesh"]).await;
    let mut new = gateways("2");
    new["components"]["ingressGateways"][0]["label"]["istio"] = json!("other");
    cluster.change("mesh", |iop| iop["spec"] = new);
    cluster.settle(&["mesh"]).await;
    assert_eq!(cluster.upgraded("1"), ["in-a"]);
    assert_eq!(cluster.upgraded("2"), ["in-b", "out"]);
}

/// The watch may show a gateway as it was before it was changed.
#[tokio::test]
async fn a_gateway_that_was_just_changed_is_not_taken_for_ready() {
    let cluster = Cluster::new();
    cluster.add("mesh", gateways("1"));
    cluster.settle(&["mesh"]).await;
    cluster.change("mesh", |iop| iop["spec"] = gateways("2"));
    cluster.reconcile("mesh").await;
    cluster.make_one_ready("istiod");
    let before = cluster.server.seen();
    for _ in 0..3 {
        let iop = serde_json::from_value(cluster.iop("mesh")).expect("an object");
        cluster.reconciler.reconcile(&iop, &before).await;
        assert_eq!(cluster.upgraded("2"), ["in-a"]);
    }
}

/// Nothing is repaired or removed while somebody asked for that.
#[tokio::test(start_paused = true)]
async fn a_paused_revision_in_use_is_looked_at_again() {
    let cluster = Cluster::new();
    super::tests::install_operator(&cluster.server);
    cluster.add_namespace("shop", json!({"istio.io/rev": "canary"}));
    cluster.add("canary", canary());
    cluster.settle(&["canary"]).await;
    cluster.annotate("canary", json!({IGNORE: "true"}));
    cluster.delete("canary");
    assert_eq!(cluster.reconcile("canary").await, Some(usage::FRESH));
    assert!(cluster.server.has("/deployments/istiod-canary"));
    cluster.add_namespace("shop", json!({}));
    cluster.later().await;
    cluster.reconcile("canary").await;
    cluster.reconcile("canary").await;
    assert!(!cluster.server.has("/istiooperators/canary"));
}

#[tokio::test]
async fn gateways_of_a_revision_are_not_the_revision() {
    let cluster = Cluster::new();
    super::tests::install_operator(&cluster.server);
    cluster.add_namespace("shop", json!({"istio.io/rev": "canary"}));
    cluster.add("canary", canary());
    let gateway = json!({"name": "edge", "enabled": true});
    let edge = json!({"profile": "empty", "revision": "canary", "components": {"ingressGateways": [gateway]}});
    cluster.add("edge", edge);
    cluster.settle(&["canary", "edge"]).await;
    assert!(cluster.condition("edge", "InUse").is_null());
    cluster.delete("edge");
    cluster.reconcile("edge").await;
    cluster.reconcile("edge").await;
    assert!(!cluster.server.has("/istiooperators/edge"));
    assert!(!cluster.server.has("/deployments/edge"));
}

fn tagged(revision: &str, tags: Value) -> Value {
    json!({"profile": "minimal", "revision": revision, "values": {"revisionTags": tags}})
}

#[tokio::test]
async fn a_tag_is_never_without_a_service_while_its_holder_is_removed() {
    let cluster = Cluster::new();
    cluster.add("blue", tagged("blue", json!(["prod"])));
    cluster.add("green", tagged("green", json!(["prod"])));
    cluster.settle(&["blue", "green"]).await;
    let prod = "/mutatingwebhookconfigurations/istio-revision-tag-prod";
    let answers = || {
        let webhook = cluster.server.object(prod)["webhooks"][0].clone();
        let service = webhook["clientConfig"]["service"]["name"]
            .as_str()
            .map(str::to_owned);
        cluster
            .server
            .has(&format!("/services/{}", service.unwrap_or_default()))
    };
    cluster.delete("blue");
    // However late the new holder comes.
    for _ in 0..3 {
        cluster.reconcile("blue").await;
        assert!(answers() && cluster.server.has("/deployments/istiod-blue"));
    }
    assert_eq!(cluster.owners(prod).0, "green");
    cluster.reconcile("green").await;
    for _ in 0..2 {
        cluster.reconcile("blue").await;
        assert!(answers());
    }
    assert!(!cluster.server.has("/istiooperators/blue"));
    assert!(!cluster.server.has("/services/istiod-blue"));
}

#[tokio::test]
async fn a_tag_moves_without_being_away() {
    let cluster = Cluster::new();
    cluster.add("blue", tagged("blue", json!(["prod"])));
    cluster.add("green", tagged("green", json!(["prod"])));
    let both = ["blue", "green"];
    cluster.settle(&both).await;
    let prod = "/mutatingwebhookconfigurations/istio-revision-tag-prod";
    let service = || {
        let webhook = cluster.server.object(prod)["webhooks"][0].clone();
        webhook["clientConfig"]["service"]["name"].clone()
    };
    assert_eq!(service(), "istiod-blue");
    assert_eq!(cluster.condition("green", "Conflict")["status"], "True");
    cluster.change("blue", |iop| iop["spec"] = tagged("blue", json!([])));
    for name in ["blue", "blue", "green"] {
        cluster.reconcile(name).await;
        assert!(cluster.server.has(prod), "it is never away");
    }
    assert_eq!(service(), "istiod-green");
    cluster.settle(&both).await;
    assert_eq!(cluster.condition("green", "Conflict")["status"], "False");
}
