//! `/inject`: pods on their way into the cluster.

use std::collections::BTreeMap;

use ironsail_inject::{Outcome, Params, inject};
use ironsail_kube::admission::{self, Review, Verdict};
use ironsail_runtime::admin::{Request, Response};
use tracing::{debug, info, warn};

use super::Webhooks;

/// How `/` is written inside a part of the path.
const SLASH: &str = "--slash--";

/// Short names of variables in the path.
const ALIASES: [(&str, &str); 2] = [
    ("cluster", "ISTIO_META_CLUSTER_ID"),
    ("net", "ISTIO_META_NETWORK"),
];

pub async fn serve(webhooks: Webhooks, request: Request) -> Response {
    let review = match admission::parse(&request) {
        Ok(review) => review,
        Err(response) => return *response,
    };
    webhooks.metrics.injections.inc();
    let env = variables(request.uri().path());
    let verdict = decide(&webhooks, &review, &env);
    admission::answer(&review, verdict)
}

fn decide(webhooks: &Webhooks, review: &Review, env: &BTreeMap<String, String>) -> Verdict {
    let request = &review.request;
    let settings = webhooks.settings.borrow().clone();
    let native_sidecars = *webhooks.native_sidecars.borrow();
    let params = Params {
        pod: &request.object,
        namespace: &request.namespace,
        config: &settings.injector,
        mesh: &settings.mesh,
        revision: &webhooks.revision,
        native_sidecars,
        owner: None,
        env,
    };
    let metadata = &request.object["metadata"];
    let name = ["name", "generateName"]
        .iter()
        .find_map(|key| metadata[key].as_str())
        .unwrap_or_default();
    match inject(&params) {
        Ok(Outcome::Skipped(reason)) => {
            webhooks.metrics.skipped.inc();
            debug!(pod = %name, namespace = %request.namespace, %reason, "Pod left as it is");
            Verdict::default()
        }
        Ok(Outcome::Injected(injection)) => match serde_json::to_value(&injection.patch) {
            Ok(patch) => {
                webhooks.metrics.injected.inc();
                info!(pod = %name, namespace = %request.namespace, "Pod injected");
                Verdict {
                    patch: Some(patch),
                    warnings: injection.warnings,
                    ..Default::default()
                }
            }
            Err(error) => refuse(webhooks, name, &error.to_string()),
        },
        Err(error) => refuse(webhooks, name, &error.to_string()),
    }
}

fn refuse(webhooks: &Webhooks, pod: &str, error: &str) -> Verdict {
    webhooks
        .metrics
        .failed
        .with_label_values(&["injection"])
        .inc();
    warn!(%pod, %error, "Pod cannot be injected");
    Verdict::refused(format!("sidecar injection failed: {error}"))
}

/// Pairs of the path behind `/inject/`: `/inject/cluster/east/net/one`.
fn variables(path: &str) -> BTreeMap<String, String> {
    let parts: Vec<&str> = path
        .trim_start_matches("/inject")
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    parts
        .chunks_exact(2)
        .filter_map(|pair| {
            let [key, value] = pair else { return None };
            let name = ALIASES
                .iter()
                .find(|(alias, _)| alias == key)
                .map_or(*key, |(_, name)| *name);
            Some((name.to_owned(), value.replace(SLASH, "/")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_carries_variables() {
        let found = variables("/inject/cluster/east/net/a--slash--b/X/1/odd");
        let expected = [
            ("ISTIO_META_CLUSTER_ID", "east"),
            ("ISTIO_META_NETWORK", "a/b"),
            ("X", "1"),
        ];
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, expected);
        assert!(variables("/inject").is_empty());
    }
}
