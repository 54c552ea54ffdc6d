use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use ironsail_mesh::label;
use serde_json::{Value, json};

use super::*;
use crate::plan::live::{Effect, effect};
use crate::render::{Context, render};
use crate::testing::FakeServer;
use crate::uninstall::{self, Scope};
use crate::verify::verify;

fn owner() -> Owner {
    Owner {
        namespace: "istio-system".into(),
        name: "mesh".into(),
    }
}

fn fresh(spec: Value) -> Fresh {
    let context = Context {
        takes_default: true,
        ..Context::default()
    };
    Fresh::new(render(&spec, &context).expect("valid"), &spec)
}

/// Installs while the controllers of the cluster work.
async fn install(server: &FakeServer, spec: Value) -> Result<Vec<ObjectKey>, InstallError> {
    install_for(server, owner(), spec).await
}

async fn install_for(
    server: &FakeServer,
    owner: Owner,
    spec: Value,
) -> Result<Vec<ObjectKey>, InstallError> {
    let (client, fresh) = (server.client(), fresh(spec));
    let install = Install {
        client: &client,
        owner: &owner,
        fresh: &fresh,
        limit: Duration::from_secs(30),
        recreate: &BTreeSet::new(),
    };
    let controllers = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            server.make_ready();
        }
    };
    tokio::select! {
        done = install.run(|_| {}) => done,
        () = controllers => unreachable!("controllers never end"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_installation_of_another_name_takes_the_place_of_the_same_control_plane() {
    let server = FakeServer::default();
    let client = server.client();
    let named = |name: &str| Owner {
        name: name.into(),
        ..owner()
    };
    let installed = async || {
        let records = record::list(&client, "istio-system").await;
        let records = records.expect("answers").into_iter();
        records.map(|own| own.owner.name).collect::<Vec<_>>()
    };
    install_for(&server, named("first"), json!({"profile": "demo"}))
        .await
        .expect("installed");
    let gateway = json!({"profile": "empty", "components": {"ingressGateways": [{"name": "edge", "enabled": true}]}});
    install_for(&server, named("edge"), gateway)
        .await
        .expect("installed");
    install_canary(&server).await.expect("installed");
    assert_eq!(installed().await, ["canary", "edge", "first"]);
    let second = json!({"profile": "minimal", "meshConfig": {"accessLogFile": ""}});
    let deleted = install_for(&server, named("second"), second)
        .await
        .expect("takes its place");
    let gone = |name: &str| deleted.iter().any(|key| key.to_string() == name);
    assert!(gone("Deployment istio-system/istio-egressgateway"));
    assert!(server.has("/deployments/edge") && server.has("/deployments/istiod-canary"));
    assert_eq!(installed().await, ["canary", "edge", "second"]);
    let istiod = server.object("/deployments/istiod");
    assert_eq!(
        istiod["metadata"]["labels"][label::OWNING_RESOURCE],
        "second"
    );
    for victim in Scope::Owner(named("first"))
        .victims(&client)
        .await
        .expect("answers")
    {
        panic!("{} is left", victim.key);
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_replacement_is_finished_by_the_next_run() {
    let server = FakeServer::default();
    let client = server.client();
    install(&server, json!({"profile": "demo"}))
        .await
        .expect("installed");
    let successor = Owner {
        name: "successor".into(),
        ..owner()
    };
    server.refuse(Method::PATCH, "/deployments/istiod", 403);
    let spec = json!({"profile": "minimal", "meshConfig": {"accessLogFile": ""}});
    install_for(&server, successor.clone(), spec.clone())
        .await
        .expect_err("refused");
    assert!(server.has("/deployments/istio-egressgateway"));
    server.allow_all();
    install_for(&server, successor.clone(), spec.clone())
        .await
        .expect("installed");
    assert!(!server.has("/deployments/istio-egressgateway"));
    let plan = fresh(spec).plan;
    let left = record::replaced(&client, &successor, &plan).await;
    assert_eq!(left.expect("answers"), BTreeSet::new());
}

/// Another installation beside the first one.
async fn install_canary(server: &FakeServer) -> Result<Vec<ObjectKey>, InstallError> {
    let spec = json!({"profile": "minimal", "revision": "canary"});
    install_for(server, canary(), spec).await
}

fn canary() -> Owner {
    Owner {
        name: "canary".into(),
        ..owner()
    }
}

async fn changes(server: &FakeServer, spec: Value) -> Effect {
    let fresh = fresh(spec);
    let desired = fresh.plan.desired(&owner(), &fresh.definitions);
    effect(&server.client(), &owner(), &BTreeSet::new(), &desired)
        .await
        .expect("answers")
}

#[tokio::test(start_paused = true)]
async fn what_is_installed_is_what_the_plan_says() {
    let server = FakeServer::default();
    let before = changes(&server, json!({})).await;
    assert_eq!(
        before.created.len(),
        fresh(json!({})).plan.objects.len() + fresh(json!({})).definitions.len()
    );
    assert_eq!(server.take_writes(), []);
    assert_eq!(install(&server, json!({})).await.expect("installed"), []);
    server.take_writes();
    assert!(changes(&server, json!({})).await.is_empty());
    install(&server, json!({})).await.expect("there already");
    assert_eq!(server.take_writes(), [], "a second time nothing is written");
}

#[tokio::test(start_paused = true)]
async fn a_plan_names_what_changes_restarts_and_goes() {
    let server = FakeServer::default();
    install(&server, json!({"profile": "demo"}))
        .await
        .expect("installed");
    server.take_writes();
    let spec = json!({"profile": "demo", "meshConfig": {"accessLogFile": ""}, "components": {
        "pilot": {"k8s": {"env": [{"name": "A", "value": "1"}]}},
        "ingressGateways": [{"name": "istio-ingressgateway", "label": {"istio": "other"}}],
        "egressGateways": [],
    }});
    let effect = changes(&server, spec).await;
    let find = |name: &str| {
        effect
            .changed
            .iter()
            .find(|changed| changed.object.to_string() == name)
    };
    let istiod = find("Deployment istio-system/istiod").expect("changed");
    assert!(istiod.restarts && !istiod.anew);
    assert_eq!(istiod.fields.len(), 1, "{:?}", istiod.fields);
    assert!(
        find("Deployment istio-system/istio-ingressgateway").is_some_and(|changed| changed.anew)
    );
    assert!(find("ConfigMap istio-system/istio").is_some_and(|changed| !changed.restarts));
    let destructive = effect.destructive();
    assert!(
        destructive[0]
            .starts_with("changes the selector of Deployment istio-system/istio-ingressgateway")
    );
    assert!(
        destructive.contains(&"deletes Deployment istio-system/istio-egressgateway".to_owned())
    );
    assert_eq!(server.take_writes(), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_wanted_is_deleted() {
    let server = FakeServer::default();
    install(&server, json!({"profile": "demo"}))
        .await
        .expect("installed");
    let deleted = install(&server, json!({"profile": "minimal"}))
        .await
        .expect("installed");
    assert!(
        deleted
            .iter()
            .any(|key| key.to_string() == "Deployment istio-system/istio-egressgateway")
    );
    assert!(!server.has("/deployments/istio-ingressgateway") && server.has("/deployments/istiod"));
}

#[tokio::test(start_paused = true)]
async fn what_never_becomes_ready_is_named() {
    let server = FakeServer::default();
    let (client, owner, fresh) = (server.client(), owner(), fresh(json!({})));
    let install = Install {
        client: &client,
        owner: &owner,
        fresh: &fresh,
        limit: Duration::from_secs(10),
        recreate: &BTreeSet::new(),
    };
    let error = install.run(|_| {}).await.expect_err("nothing runs");
    let text = error.to_string();
    assert!(
        text.starts_with("not ready: Pilot: Deployment istiod"),
        "{text}"
    );
    let desired = fresh.plan.desired(&owner, &fresh.definitions);
    let verdicts = verify(&client, &desired).await.expect("answers");
    let wrong: Vec<_> = verdicts
        .iter()
        .filter(|verdict| verdict.problem.is_some())
        .collect();
    assert!(
        wrong
            .iter()
            .any(|verdict| verdict.object.to_string() == "Deployment istio-system/istiod")
    );
    server.make_ready();
    let verdicts = verify(&client, &desired).await.expect("answers");
    assert_eq!(
        verdicts.iter().find(|verdict| verdict.problem.is_some()),
        None
    );
    server.remove("/services/istiod");
    let verdicts = verify(&client, &desired).await.expect("answers");
    let wrong: Vec<_> = verdicts
        .iter()
        .filter(|verdict| verdict.problem.is_some())
        .collect();
    assert_eq!(wrong.len(), 1);
    assert_eq!(wrong[0].problem.as_deref(), Some("not found"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_the_installation() {
    let server = FakeServer::default();
    server.refuse(Method::PATCH, "/clusterroles/", 403);
    let error = install(&server, json!({})).await.expect_err("refused");
    assert!(
        matches!(&error, InstallError::Apply(text) if text.contains("refused by the test")),
        "{error}"
    );
    let effect = changes(&server, json!({})).await;
    assert!(
        effect
            .refused
            .iter()
            .any(|refused| refused.object.kind == "ClusterRole")
    );
}

#[tokio::test(start_paused = true)]
async fn uninstalling_takes_what_its_scope_says() {
    let server = FakeServer::default();
    install(&server, json!({})).await.expect("installed");
    let client = server.client();
    let victims = async |scope: Scope| scope.victims(&client).await.expect("answers");
    let of_revision = victims(Scope::Revision("default".into())).await;
    assert!(of_revision.iter().any(|victim| victim.is_gateway()));
    assert!(
        of_revision
            .iter()
            .all(|victim| victim.key.name != "istio-reader-service-account")
    );
    assert_eq!(of_revision[0].kind.group, "admissionregistration.k8s.io");
    assert_eq!(victims(Scope::Revision("canary".into())).await.len(), 0);
    let of_owner = victims(Scope::Owner(owner())).await;
    assert!(
        of_owner
            .iter()
            .any(|victim| victim.key.name == "istio-reader-service-account")
    );
    assert!(
        of_owner
            .iter()
            .all(|victim| victim.owner() == Some(owner()))
    );
    assert!(
        of_owner
            .iter()
            .all(|victim| victim.kind.kind != "CustomResourceDefinition")
    );
    for victim in victims(Scope::Everything).await {
        let given_up = uninstall::delete(&client, &Scope::Everything, &victim).await;
        assert_eq!(
            given_up.expect("deleted"),
            GivenUp::Deleted,
            "{}",
            victim.key
        );
    }
    assert_eq!(server.rendered(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn installations_share_and_the_first_one_stays_the_default() {
    let server = FakeServer::default();
    let client = server.client();
    let leads_to = || {
        let tag = server.object("/mutatingwebhookconfigurations/istio-revision-tag-default");
        tag["webhooks"][0]["clientConfig"]["service"]["name"].clone()
    };
    let holder =
        |end: &str| server.object(end)["metadata"]["labels"][label::OWNING_RESOURCE].clone();
    install(&server, json!({"profile": "minimal"}))
        .await
        .expect("installed");
    install_canary(&server).await.expect("installed beside it");
    assert_eq!(leads_to(), "istiod");
    assert_eq!(
        holder("/serviceaccounts/istio-reader-service-account"),
        "mesh"
    );
    assert!(
        changes(&server, json!({"profile": "minimal"}))
            .await
            .is_empty()
    );
    // The first one goes, and the second one keeps what both want.
    let scope = Scope::Owner(owner());
    let victims = scope.victims(&client).await.expect("answers");
    for victim in &victims {
        uninstall::delete(&client, &scope, victim)
            .await
            .expect("given up");
    }
    uninstall::forget(&client, &scope, &victims)
        .await
        .expect("forgotten");
    assert!(!server.has("/deployments/istiod") && server.has("/deployments/istiod-canary"));
    assert_eq!(
        holder("/serviceaccounts/istio-reader-service-account"),
        "canary"
    );
    install_canary(&server).await.expect("it is alone now");
    assert_eq!(leads_to(), "istiod-canary");
}
