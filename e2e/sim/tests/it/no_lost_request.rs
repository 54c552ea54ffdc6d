//! Calls under way while everything changes; none may fail, with default settings.
//!
//! Time is simulated: `SOAK_SECONDS` of it, 10 without; `make soak` takes 60.

use std::time::Duration;

use ironsail_sim::{Call, Condition, Load, Mesh};
use tokio::time::{Instant, sleep};

use crate::support::{SHOP, apply, demo, injected, run};

const PER_SECOND: u32 = 200;
/// From the signal to a pod until proxies are told that it ends: watch, snapshot, push.
const DELAY: Duration = Duration::from_millis(100);
/// An application that ends before clients know of it refuses requests that are on their way to it, so it sleeps.
const PRE_STOP: Duration = Duration::from_secs(1);
/// A proxy's time to drain, `terminationDrainDuration`.
const DRAIN: Duration = Duration::from_secs(5);

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

/// Replaces a pod as a Deployment does.
async fn replace(mesh: &mut Mesh, deployment: &str, old: &str) {
    let new = mesh.add_pod("shop", deployment).await.expect("starts");
    sleep(Duration::from_millis(300)).await;
    mesh.set_condition("shop", &new, Condition::Ready)
        .await
        .expect("accepted");
    mesh.terminate("shop", old, PRE_STOP);
    sleep(DELAY).await;
    mesh.set_condition("shop", old, Condition::Terminating)
        .await
        .expect("accepted");
}

#[test]
fn rolling_restarts() {
    run(async {
        let mut mesh = shop();
        let load = calls(&mesh);
        let end = end();
        let mut ending: Vec<(Instant, String)> = Vec::new();
        let mut turn = 0;
        while Instant::now() < end {
            let deployment = ["web-v1", "web-v2"][turn % 2];
            turn += 1;
            let pods = mesh.pods_of("shop", deployment);
            let is_ending = |pod: &&String| ending.iter().any(|(_, name)| name == *pod);
            let old = pods
                .iter()
                .find(|pod| !is_ending(pod))
                .expect("a pod")
                .clone();
            replace(&mut mesh, deployment, &old).await;
            ending.push((Instant::now() + DRAIN, old));
            while let Some((at, pod)) = ending.first().cloned() {
                if Instant::now() < at {
                    break;
                }
                mesh.remove_pod("shop", &pod).await.expect("accepted");
                ending.remove(0);
            }
        }
        assert!(turn > 10, "{turn}");
        none_is_lost(load).await;
    });
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

/// Subsets get other names while the Service selects other pods, and routes follow, all in one change.
#[test]
fn subsets_and_selector_flip_together() {
    run(async {
        let mut mesh = shop();
        let state = |version: &str, generation: u32| {
            let subset = format!("{version}-{generation}");
            format!(
                "{{kind: Service, metadata: {{name: web}}, spec: {{selector: {{app: web, version: {version}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}}}
---
{{kind: DestinationRule, metadata: {{name: web}}, spec: {{host: web, subsets: [{{name: {subset}, labels: {{version: {version}}}}}]}}}}
---
{{kind: VirtualService, metadata: {{name: web}}, spec: {{hosts: [web], http: [{{route: [{{destination: {{host: web, subset: {subset}}}}}]}}]}}}}"
            )
        };
        apply(&mut mesh, "shop", &state("v1", 0));
        let load = calls(&mesh);
        let end = end();
        let mut generation = 0;
        while Instant::now() < end {
            generation += 1;
            let version = ["v1", "v2"][(generation % 2) as usize];
            live(&mut mesh, &state(version, generation)).await;
            sleep(Duration::from_millis(300)).await;
        }
        assert!(generation > 10, "{generation}");
        none_is_lost(load).await;
    });
}
