//! `/validate`: mesh resources on their way into the cluster.

use ironsail_analysis::{GroupVersionKind, admit};
use ironsail_kube::admission::{self, Verdict};
use ironsail_runtime::admin::{Request, Response};
use tracing::debug;

use super::Webhooks;

pub async fn serve(webhooks: Webhooks, request: Request) -> Response {
    let review = match admission::parse(&request) {
        Ok(review) => review,
        Err(response) => return *response,
    };
    let asked = &review.request;
    if !matches!(asked.operation.as_str(), "CREATE" | "UPDATE") {
        return admission::answer(&review, Verdict::default());
    }
    let verdict = admit(
        GroupVersionKind {
            group: &asked.kind.group,
            version: &asked.kind.version,
            kind: &asked.kind.kind,
        },
        &asked.object,
    );
    let resource = &asked.resource;
    let labels = [
        resource.group.as_str(),
        resource.version.as_str(),
        resource.resource.as_str(),
    ];
    let refusal = verdict.message();
    match &refusal {
        None => webhooks.metrics.valid.with_label_values(&labels).inc(),
        Some(message) => {
            let [group, version, resource] = labels;
            let failed = [group, version, resource, "invalid_resource"];
            webhooks.metrics.invalid.with_label_values(&failed).inc();
            debug!(kind = %asked.kind.kind, namespace = %asked.namespace, %message, "Resource refused");
        }
    }
    let answer = Verdict {
        refusal,
        warnings: verdict.warning_texts(),
        ..Verdict::default()
    };
    admission::answer(&review, answer)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use http_body_util::BodyExt as _;
    use ironsail_analysis::effect::ACTED_UPON;
    use ironsail_crds::kind::KINDS;
    use ironsail_mesh::revision::Revision;
    use prometheus::Registry;
    use serde_json::{Value, json};
    use tokio::sync::watch;

    use super::*;
    use crate::webhook::{Metrics, Settings};

    /// Admission says that a kind has no effect exactly if the model does not read it.
    #[test]
    fn kinds_that_are_watched_have_an_effect() {
        let watched = crate::kube::watch::KINDS.map(|kind| kind.as_str());
        let read: BTreeSet<&str> = KINDS
            .iter()
            .map(|kind| kind.kind)
            .filter(|kind| watched.contains(kind))
            .collect();
        assert_eq!(BTreeSet::from(ACTED_UPON.map(|kind| kind.kind)), read);
    }

    fn webhooks() -> Webhooks {
        Webhooks {
            settings: watch::channel(Arc::new(Settings::default())).1,
            revision: Revision::parse("").expect("the default revision"),
            native_sidecars: watch::channel(false).1,
            metrics: Metrics::register(&Registry::new()).expect("nothing is registered yet"),
        }
    }

    async fn response(object: Value) -> Value {
        let (group, version) = object["apiVersion"]
            .as_str()
            .and_then(|version| version.split_once('/'))
            .expect("a version of a group");
        let body = json!({
            "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": "1",
                "operation": "CREATE",
                "kind": { "group": group, "version": version, "kind": object["kind"] },
                "resource": { "group": group, "version": version, "resource": "things" },
                "object": object,
            },
        });
        let request = http::Request::new(body.to_string().into());
        let response = serve(webhooks(), request).await.into_body();
        let bytes = response.collect().await.expect("a body").to_bytes();
        let review: Value = serde_json::from_slice(&bytes).expect("a review");
        review["response"].clone()
    }

    /// From the request of an API server to its answer, for kinds of every group.
    #[tokio::test]
    async fn reviews_are_answered() {
        let entry = |hosts: Value| {
            json!({
                "apiVersion": "networking.istio.io/v1beta1",
                "kind": "ServiceEntry",
                "metadata": { "name": "a" },
                "spec": { "hosts": hosts, "ports": [{ "number": 80, "name": "http", "protocol": "HTTP" }] },
            })
        };
        let answer = response(entry(json!(["a.example.com"]))).await;
        assert_eq!(answer["allowed"], true);
        let warning = "ServiceEntry is not supported by this version and has no effect";
        assert_eq!(answer["warnings"], json!([warning]));

        let answer = response(entry(json!(["*"]))).await;
        assert_eq!(answer["allowed"], false);
        assert_eq!(
            answer["status"]["message"],
            "configuration is invalid: spec.hosts[0]: wildcard host * is not allowed"
        );

        for (group, kind) in [
            ("telemetry.istio.io/v1", "Telemetry"),
            ("extensions.istio.io/v1alpha1", "WasmPlugin"),
            ("security.istio.io/v1beta1", "RequestAuthentication"),
        ] {
            let spec = json!({ "selector": { "matchLabels": { "app": "*" } } });
            let object = json!({ "apiVersion": group, "kind": kind, "spec": spec });
            let message = response(object).await["status"]["message"].to_string();
            assert!(
                message.contains("spec.selector.matchLabels.app: wildcards"),
                "{message}"
            );
        }
    }
}
