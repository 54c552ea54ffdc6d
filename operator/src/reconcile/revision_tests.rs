//! Several IstioOperators in one cluster.

use serde_json::{Value, json};

use super::tests::{NAMESPACES, OPERATORS, config, operator, paths};
use super::*;
use crate::share::SHARED_WITH;
use crate::testing::FakeServer;

/// A cluster with any number of IstioOperators, and the operator.
struct Cluster {
    server: FakeServer,
    reconciler: Reconciler,
}

impl Cluster {
    fn new() -> Self {
        let server = FakeServer::default();
        server.put(
            NAMESPACES,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}}),
        );
        let reconciler = operator(&server, config("1"));
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
        self.reconciler = operator(&self.server, config("1"));
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
    cluster.reconcile("mesh").await;
    assert_eq!(cluster.owners(READER), ("canary".to_owned(), String::new()));
    cluster.reconcile("mesh").await;
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
async fn who_comes_second_and_wants_it_otherwise_writes_nothing() {
    let mut cluster = Cluster::new();
    cluster.add("mesh", json!({}));
    cluster.add("canary", json!({"revision": "canary"}));
    let both = ["mesh", "canary"];
    cluster.settle(&both).await;
    let gateway = "/deployments/istio-ingressgateway";
    assert_eq!(cluster.owners(gateway), ("mesh".to_owned(), String::new()));
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
    // The holder gives it up, and the other one takes it.
    cluster.change("mesh", |iop| iop["spec"] = json!({"profile": "minimal"}));
    cluster.settle(&both).await;
    assert_eq!(
        cluster.owners(gateway),
        ("canary".to_owned(), String::new())
    );
    assert_eq!(cluster.condition("canary", "Conflict")["status"], "False");
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
