//! Bookinfo through the ingress gateway: split, mutual TLS on every hop, PERMISSIVE and STRICT.

use std::time::Duration;

use anyhow::{Context, ensure};
use ironsail_e2e::mesh;
use ironsail_e2e::namespace::{App, Namespace};
use ironsail_e2e::{kubectl, traffic, wait};

const INGRESS: &str = "http://istio-ingressgateway.istio-system/productpage";

const STRICT: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
spec:
  mtls: {mode: STRICT}
";

fn outside(name: &str) -> anyhow::Result<Namespace> {
    let namespace = Namespace::plain(name)?;
    namespace.deploy(&App {
        name: "client",
        args: &["sleep"],
        ports: &[],
        ..Default::default()
    })?;
    Ok(namespace)
}

fn bookinfo(name: &str) -> anyhow::Result<Namespace> {
    let namespace = Namespace::injected(name)?;
    namespace.apply_file("deploy/samples/bookinfo.yaml")?;
    namespace.apply_file("deploy/samples/bookinfo-networking.yaml")?;
    for workload in [
        "productpage-v1",
        "details-v1",
        "ratings-v1",
        "reviews-v1",
        "reviews-v2",
        "reviews-v3",
    ] {
        namespace.rollout(&format!("deployment/{workload}"))?;
    }
    Ok(namespace)
}

/// Lines of `istio_requests_total` of one proxy.
fn request_series(namespace: &str, pod: &str) -> anyhow::Result<Vec<String>> {
    let stats = ["pilot-agent", "request", "GET", "stats/prometheus"];
    let text = kubectl::exec(namespace, pod, "istio-proxy", &stats)?;
    Ok(text
        .lines()
        .filter(|line| line.starts_with("istio_requests_total{"))
        .map(str::to_owned)
        .collect())
}

fn label<'a>(series: &'a str, name: &str) -> &'a str {
    series
        .split_once(&format!("{name}=\""))
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or("", |(value, _)| value)
}

#[test]
fn traffic_is_split_and_every_hop_is_mutual_tls() -> anyhow::Result<()> {
    mesh::installed();
    let outside = outside("e2e-bookinfo-outside")?;
    let mesh = bookinfo("e2e-bookinfo")?;

    wait::until("the gateway routes", Duration::from_secs(30), || {
        let answer = traffic::get(&outside.name, "deploy/client", INGRESS, &[])?;
        ensure!(answer.status == 200, "status {}", answer.status);
        Ok(())
    })?;
    let load = traffic::load(
        &outside.name,
        "deploy/client",
        "app",
        &[
            INGRESS,
            "--count",
            "400",
            "--rate",
            "100",
            "--count-header",
            "x-reviews-version",
        ],
    )?;
    assert_eq!(load.failed, 0, "{load:?}");
    let v1 = load.by_header.get("v1").copied().unwrap_or(0);
    assert_eq!(
        load.by_header.len(),
        2,
        "only v1 and v3 take part: {load:?}"
    );
    let share = f64::from(v1) / 400.0;
    assert!((0.69..=0.81).contains(&share), "share of v1 is {share}");

    for app in ["productpage", "details", "reviews", "ratings"] {
        let pod = mesh.pod(app)?;
        let series = request_series(&mesh.name, &pod)?;
        let inbound: Vec<&String> = series
            .iter()
            .filter(|line| label(line, "reporter") == "destination")
            .collect();
        assert!(!inbound.is_empty(), "{pod} served nothing: {series:?}");
        for line in inbound {
            assert_eq!(
                label(line, "connection_security_policy"),
                "mutual_tls",
                "{line}"
            );
            let source = label(line, "source_principal");
            let expected = match app {
                "productpage" => {
                    "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
                        .to_owned()
                }
                "ratings" => format!(
                    "spiffe://cluster.local/ns/{}/sa/bookinfo-reviews",
                    mesh.name
                ),
                _ => format!(
                    "spiffe://cluster.local/ns/{}/sa/bookinfo-productpage",
                    mesh.name
                ),
            };
            assert_eq!(source, expected, "{line}");
        }
    }
    permissive_then_strict(&outside, &mesh)
}

/// Plaintext from outside works until STRICT is applied; meshed calls never notice.
fn permissive_then_strict(outside: &Namespace, mesh: &Namespace) -> anyhow::Result<()> {
    let direct = format!("http://details.{}:9080/details/0", mesh.name);
    let answer = traffic::get(&outside.name, "deploy/client", &direct, &[])?;
    assert_eq!(answer.status, 200, "PERMISSIVE lets plaintext in");

    let meanwhile = traffic::load_in_background(
        &outside.name,
        "deploy/client",
        &[INGRESS, "--rate", "20", "--seconds", "15"],
    );
    std::thread::sleep(Duration::from_secs(3));
    mesh.apply(STRICT)?;
    let refused =
        wait::until(
            "STRICT refuses plaintext",
            Duration::from_secs(20),
            || match traffic::get(&outside.name, "deploy/client", &direct, &[]) {
                Ok(answer) => anyhow::bail!("still answered {}", answer.status),
                Err(error) => Ok(format!("{error:#}")),
            },
        )?;
    println!("plaintext under STRICT: {refused}");
    let load = meanwhile
        .join()
        .map_err(|_| anyhow::anyhow!("the load panicked"))?
        .context("load during the change")?;
    assert_eq!(load.failed, 0, "{load:?}");
    Ok(())
}
