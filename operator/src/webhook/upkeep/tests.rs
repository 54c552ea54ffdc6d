use http::Method;

use super::*;
use crate::testing::FakeServer;

const SECRET: &str = "/secrets/istio-operator-webhook";
const CONFIGURATION: &str = "/validatingwebhookconfigurations/istio-operator";

fn replica(server: &FakeServer) -> Upkeep {
    Upkeep {
        client: server.client(),
        namespace: bundle::NAME.to_owned(),
        configuration: bundle::NAME.to_owned(),
        serving: Arc::default(),
    }
}

/// A cluster with the configuration of the manifest, and one entry that is somebody else's.
fn cluster() -> FakeServer {
    let server = FakeServer::default();
    let mut documents = bundle::documents(&crate::Context::default()).into_iter();
    let mut configuration = documents
        .find(|d| d["kind"] == "ValidatingWebhookConfiguration")
        .expect("in the manifest");
    let mut foreign = configuration["webhooks"][0].clone();
    foreign["name"] = json!("foreign.example.com");
    foreign["clientConfig"]["service"]["namespace"] = json!("elsewhere");
    let webhooks = configuration["webhooks"].as_array_mut().expect("a list");
    webhooks.push(foreign);
    server.install(configuration);
    server
}

fn trusted(server: &FakeServer) -> Value {
    server.object(CONFIGURATION)["webhooks"][0]["clientConfig"]["caBundle"].clone()
}

#[tokio::test]
async fn the_first_look_makes_everything_and_the_second_nothing() {
    let server = cluster();
    let replica = replica(&server);
    let mut served = None;
    replica.look(&mut served).await.expect("done");
    assert!(replica.serving.key.load().is_some());
    let secret = server.object(SECRET);
    assert_eq!(trusted(&server), secret["data"]["ca.crt"]);
    let owner = &secret["metadata"]["ownerReferences"][0];
    assert_eq!(
        owner["uid"],
        server.object(CONFIGURATION)["metadata"]["uid"]
    );
    let foreign = &server.object(CONFIGURATION)["webhooks"];
    assert_eq!(
        foreign.as_array().map(Vec::len),
        Some(1),
        "only own entries are applied"
    );
    server.take_writes();
    replica.look(&mut served).await.expect("done");
    assert_eq!(server.take_writes(), []);
}

#[tokio::test]
async fn replicas_agree() {
    let server = cluster();
    let (mut first, mut second) = (None, None);
    replica(&server).look(&mut first).await.expect("done");
    server.take_writes();
    replica(&server).look(&mut second).await.expect("done");
    assert_eq!(server.take_writes(), []);
    assert!(first.is_some() && first == second);
}

#[tokio::test]
async fn whoever_is_slower_reads_what_the_other_wrote() {
    let server = cluster();
    let mut served = None;
    // The other one writes between reading and writing.
    server.refuse(Method::POST, "/secrets", 409);
    replica(&server)
        .look(&mut served)
        .await
        .expect_err("too late");
    assert!(served.is_none());
    server.allow_all();
    replica(&server).look(&mut None).await.expect("done");
    replica(&server).look(&mut served).await.expect("done");
    assert!(served.is_some());
}

#[tokio::test]
async fn what_is_lost_is_made_again() {
    let server = cluster();
    let replica = replica(&server);
    let mut served = None;
    replica.look(&mut served).await.expect("done");
    let before = trusted(&server);
    server.edit(CONFIGURATION, |configuration| {
        configuration["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
    });
    replica.look(&mut served).await.expect("done");
    assert_eq!(trusted(&server), before);
    let mut secret = server.object(SECRET);
    secret["data"] = json!({});
    server.replace(SECRET, secret);
    replica.look(&mut served).await.expect("done");
    assert_ne!(trusted(&server), before);
    assert_eq!(trusted(&server), server.object(SECRET)["data"]["ca.crt"]);
}

#[tokio::test]
async fn the_authority_is_renewed_before_it_expires() {
    let server = cluster();
    let replica = replica(&server);
    let mut served = None;
    replica.look(&mut served).await.expect("done");
    let old = OffsetDateTime::now_utc() - time::Duration::days(300);
    let authority = Authority::create(old).expect("made");
    let mut secret = server.object(SECRET);
    secret["data"] = serde_json::to_value(authority.data()).expect("JSON");
    let due = secret["data"]["ca.crt"].clone();
    server.replace(SECRET, secret);
    replica.look(&mut served).await.expect("done");
    let secret = server.object(SECRET);
    assert_ne!(secret["data"]["ca.crt"], due);
    assert_eq!(trusted(&server), secret["data"]["ca.crt"]);
    let key = STANDARD.encode(&authority.data()["ca.key"].0);
    assert_eq!(
        secret["data"]["ca.key"], key,
        "old certificates stay trusted"
    );
}

#[tokio::test]
async fn without_a_configuration_nothing_is_made() {
    let server = FakeServer::default();
    replica(&server)
        .look(&mut None)
        .await
        .expect("nothing to do");
    assert_eq!(server.take_writes(), []);
}

/// With exactly the rights of the manifest.
#[tokio::test]
async fn the_manifest_grants_what_it_takes() {
    let server = FakeServer::default();
    for document in bundle::documents(&crate::Context::default()) {
        server.install(document);
    }
    server.enforce_rights(bundle::NAME, bundle::NAME);
    let mut served = None;
    replica(&server).look(&mut served).await.expect("allowed");
    let mut secret = server.object(SECRET);
    secret["data"] = json!({});
    server.replace(SECRET, secret);
    replica(&server).look(&mut served).await.expect("allowed");
}
