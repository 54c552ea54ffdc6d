//! Destination rules that protect: hosts that fail are left out, and what is too much is refused.

use std::time::Duration;

use ironsail_sim::{Call, Mesh, Outcome, Reply};

use crate::support::{apply, call, run, served, shop};

/// A mesh whose service `web` has this traffic policy.
fn ruled(policy: &str) -> Mesh {
    let mut mesh = shop();
    rule(&mut mesh, policy);
    mesh
}

fn rule(mesh: &mut Mesh, policy: &str) {
    let text = format!(
        "kind: DestinationRule\nmetadata: {{name: web}}\nspec:\n  host: web\n  subsets: [{{name: v1, labels: {{version: v1}}}}]\n  trafficPolicy: {policy}"
    );
    apply(mesh, "shop", &text);
}

fn get() -> Call {
    Call::get("http://web/").from("client")
}

/// Who served each of some calls.
async fn calls(mesh: &Mesh, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(served(&call(mesh, get()).await));
    }
    all
}

fn status(code: u16) -> Reply {
    Reply {
        status: code,
        ..Reply::default()
    }
}

#[test]
fn endpoints_that_fail_are_left_out_for_a_time() {
    run(async {
        let mesh = ruled(
            "{outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 30s, maxEjectionPercent: 50}}",
        );
        mesh.answer("web-v1", |_| status(500));
        let first = calls(&mesh, 40).await;
        let failed = first.iter().filter(|s| *s == "web-v1 500").count();
        assert_eq!(failed, 3, "{first:?}");
        mesh.answer("web-v1", |_| status(200));
        assert!(!calls(&mesh, 20).await.contains(&"web-v1 200".to_owned()));
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert!(calls(&mesh, 40).await.contains(&"web-v1 200".to_owned()));
    });
}

#[test]
fn when_all_are_left_out_nobody_is_asked() {
    run(async {
        let mesh = ruled(
            "{outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 30s, maxEjectionPercent: 100}}",
        );
        for workload in ["web-v1", "web-v2"] {
            mesh.answer(workload, |_| status(500));
        }
        calls(&mesh, 2).await;
        let outcome = call(&mesh, get()).await;
        assert_eq!(
            (outcome.status(), outcome.text()),
            (503, "no healthy upstream")
        );
        assert_eq!(outcome.hop("client").flags, "UH");
    });
}

/// Statuses of calls to `web-v1`, whose answers take a second, in order of the numbers. The first one is on its way when
/// the others come at once.
async fn at_once(mesh: &mut Mesh, count: usize) -> (Vec<u16>, Vec<Outcome>) {
    apply(
        mesh,
        "shop",
        "{kind: VirtualService, metadata: {name: web}, spec: {hosts: [web], http: [{route: [{destination: {host: web, subset: v1}}], retries: {attempts: 0}}]}}",
    );
    mesh.answer("web-v1", |_| Reply {
        delay: Duration::from_secs(1),
        ..Reply::default()
    });
    let mesh = &*mesh;
    let outcomes = futures::future::join_all((0..count).map(async |index| {
        tokio::time::sleep(Duration::from_millis(if index == 0 { 0 } else { 100 })).await;
        call(mesh, get()).await
    }))
    .await;
    let mut statuses: Vec<u16> = outcomes.iter().map(Outcome::status).collect();
    statuses.sort_unstable();
    (statuses, outcomes)
}

#[test]
fn requests_beyond_the_queue_are_refused() {
    run(async {
        let mut mesh = ruled(
            "{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}}}",
        );
        let (statuses, outcomes) = at_once(&mut mesh, 4).await;
        assert_eq!(statuses, [200, 200, 503, 503]);
        let refused = outcomes.iter().find(|o| o.status() == 503);
        let refused = refused.expect("one of four");
        assert_eq!(refused.header("x-envoy-overloaded"), Some("true"));
    });
}

#[test]
fn requests_beyond_the_limit_are_refused() {
    run(async {
        let mut mesh = ruled("{connectionPool: {http: {http2MaxRequests: 2}}}");
        let (statuses, _) = at_once(&mut mesh, 5).await;
        assert_eq!(statuses, [200, 200, 503, 503, 503]);
        // What was given back can be had again.
        let (statuses, _) = at_once(&mut mesh, 2).await;
        assert_eq!(statuses, [200, 200]);
    });
}
