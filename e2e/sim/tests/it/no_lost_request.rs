//! Calls under way while everything changes; none may fail, with default settings.
//!
//! Time is simulated: `SOAK_SECONDS` of it, 10 without; `make soak` takes 60.

use std::time::Duration;

use ironsail_sim::{Call, Condition, Load, Mesh};
use tokio::time::{Instant, sleep};

use crate::support::{SHOP, apply, demo, injected, run};

const PER_SECOND: u32 = 200;

fn end() -> Instant {
    let seconds = std::env::var("SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Instant::now() + Duration::from_secs(seconds.unwrap_or(10))
}

/// The shop with three pods of each version.
fn shop() -> Mesh {
    let mut mesh = demo();
    apply(&mut mesh, "shop", &injected("shop"));
    let replicas = "spec: {replicas: 3, template: {metadata: {labels: {app: web";
    let text = SHOP.replace("spec: {template: {metadata: {labels: {app: web", replicas);
    apply(&mut mesh, "shop", &text);
    mesh
}

fn calls(mesh: &Mesh) -> Load {
    let call = Call::get("http://web/").from("client");
    mesh.load(&call, PER_SECOND)
        .expect("a client and a service")
}

async fn none_is_lost(load: Load) {
    let tally = load.finish().await.expect("no panic");
    let failed = tally.failures.len();
    let first: Vec<_> = tally.failures.iter().take(5).collect();
    assert_eq!(failed, 0, "{failed} of {}: {first:#?}", tally.calls);
    assert!(tally.calls > 1000, "{}", tally.calls);
}

async fn live(mesh: &mut Mesh, text: &str) {
    if let Err(error) = mesh.apply_live("shop", text).await {
        panic!("{error:?}");
    }
}

#[test]
fn endpoints_that_change_five_times_a_second() {
    run(async {
        let mut mesh = shop();
        let load = calls(&mesh);
        let end = end();
        let pods = [
            mesh.pods_of("shop", "web-v1"),
            mesh.pods_of("shop", "web-v2"),
        ]
        .concat();
        for pod in pods.iter().cycle() {
            if Instant::now() >= end {
                break;
            }
            mesh.set_condition("shop", pod, Condition::Starting)
                .await
                .expect("accepted");
            sleep(Duration::from_millis(100)).await;
            mesh.set_condition("shop", pod, Condition::Ready)
                .await
                .expect("accepted");
            sleep(Duration::from_millis(100)).await;
        }
        none_is_lost(load).await;
    });
}

#[test]
fn configuration_that_changes_ten_times_a_second() {
    run(async {
        let mut mesh = shop();
        let load = calls(&mesh);
        let end = end();
        let mut number = 0;
        while Instant::now() < end {
            number += 1;
            let weight = number % 101;
            let rest = 100 - weight;
            let route = format!(
                "{{kind: VirtualService, metadata: {{name: web}}, spec: {{hosts: [web], http: [{{timeout: {number}s, route: [{{destination: {{host: web, subset: v1}}, weight: {weight}}}, {{destination: {{host: web, subset: v2}}, weight: {rest}}}]}}]}}}}"
            );
            let rule = format!(
                "{{kind: DestinationRule, metadata: {{name: web}}, spec: {{host: web, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {}}}}}}}, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}}}",
                1000 + number
            );
            let text = if number % 3 == 0 { rule } else { route };
            live(&mut mesh, &text).await;
            sleep(Duration::from_millis(100)).await;
        }
        assert!(number > 50, "{number}");
        none_is_lost(load).await;
    });
}
