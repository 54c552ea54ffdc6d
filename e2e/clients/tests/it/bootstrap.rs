//! The bootstrap of a stock Envoy, as the documentation shows it.

use ironsail_clients::Address;

const DOCUMENT: &str = include_str!("../../../../docs/envoy.md");

/// Which variant of the protocol Envoy speaks.
#[derive(Clone, Copy, Debug)]
pub enum Api {
    Delta,
    StateOfTheWorld,
}

/// The YAML of the documentation for one pod.
pub fn envoy(role: &str, pod: &Address, api: Api) -> String {
    let (_, rest) = DOCUMENT.split_once("```yaml\nnode:").expect("a bootstrap");
    let (text, _) = rest.split_once("```").expect("the end of the bootstrap");
    let labels = pod.labels.iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}: {value:?}"))
        .collect();
    let mut text = format!("node:{text}");
    let example = [
        ("sidecar~10.244.0.7~web-1.shop~shop.svc.cluster.local", {
            let namespace = &pod.namespace;
            format!(
                "{role}~{}~{}.{namespace}~{namespace}.svc.cluster.local",
                pod.ip, pod.name
            )
        }),
        ("NAMESPACE: shop", format!("NAMESPACE: {}", pod.namespace)),
        (
            "SERVICE_ACCOUNT: web",
            format!("SERVICE_ACCOUNT: {}", pod.account),
        ),
        (
            "INSTANCE_IPS: 10.244.0.7",
            format!("INSTANCE_IPS: {}", pod.ip),
        ),
        (
            "LABELS: {app: web}",
            format!("LABELS: {{{}}}", labels.join(", ")),
        ),
    ];
    for (shown, own) in example {
        assert!(text.contains(shown), "{shown} is not in the documentation");
        text = text.replace(shown, &own);
    }
    match api {
        Api::Delta => text,
        Api::StateOfTheWorld => text.replace("DELTA_GRPC", "GRPC"),
    }
}
