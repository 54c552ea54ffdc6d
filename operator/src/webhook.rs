//! The admission webhook of IstioOperator: a mistake is refused where it is made, with its path,
//! and what has no effect any more is a warning there.
//!
//! Every replica answers. Their certificates come from one authority that they keep in a Secret of
//! their namespace; its certificate goes into the webhook's configuration, which is part of the
//! operator's manifest and names no trusted certificate by itself.

mod authority;
mod review;
mod upkeep;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ironsail_crds::Diagnostic;
use ironsail_kube::admission::{self, Cause, Verdict};
use ironsail_runtime::admin::{Request, Response, Router};
use ironsail_runtime::tls;
use kube::Client;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::timeout;
use tracing::debug;

use crate::network::Network;
use crate::render::Context;

pub use review::{Opinion, judge};
pub use upkeep::Upkeep;

/// Path of the webhook.
pub const PATH: &str = "/validate";

/// How long an answer waits for what the cluster shows of its network.
const PATIENCE: Duration = Duration::from_secs(1);

/// `/validate`.
pub fn router(context: Context, client: Client) -> Router {
    let context = Arc::new(context);
    Router::new().post(PATH, move |request| {
        let (context, client) = (Arc::clone(&context), client.clone());
        async move { answer(&request, &context, &client).await }
    })
}

async fn answer(request: &Request, context: &Context, client: &Client) -> Response {
    let review = match admission::parse(request) {
        Ok(review) => review,
        Err(response) => return *response,
    };
    let asked = &review.request;
    if !matches!(asked.operation.as_str(), "CREATE" | "UPDATE") {
        return admission::answer(&review, Verdict::default());
    }
    let old = (!asked.old_object.is_null()).then_some(&asked.old_object);
    let mut opinion = judge(old, &asked.object, context);
    if !opinion.components.is_empty() {
        // An author doesn't wait for this.
        let network = timeout(PATIENCE, Network::look(client)).await;
        let network = network.unwrap_or_default();
        opinion
            .warnings
            .extend(network.warnings(&opinion.components));
    }
    if !opinion.errors.is_empty() {
        debug!(namespace = %asked.namespace, name = %asked.name, errors = opinion.errors.len(), "IstioOperator refused");
    }
    admission::answer(&review, verdict(opinion))
}

fn verdict(opinion: Opinion) -> Verdict {
    let texts =
        |findings: &[Diagnostic]| findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    let cause = |error: &Diagnostic| Cause {
        field: error.path.clone(),
        message: error.message.clone(),
    };
    let refused = !opinion.errors.is_empty();
    Verdict {
        refusal: refused.then(|| texts(&opinion.errors).join("; ")),
        causes: opinion.errors.iter().map(cause).collect(),
        warnings: texts(&opinion.warnings),
        patch: None,
    }
}

/// The certificate that the webhook shows, replaced while it serves.
#[derive(Default)]
pub struct Serving {
    key: ArcSwapOption<CertifiedKey>,
}

impl Serving {
    /// TLS of the webhook; handshakes fail until there is a certificate.
    ///
    /// # Errors
    /// The crypto provider lacks the protocol versions.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let resolver = Arc::clone(self);
        let mut config = ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn install(&self, key: CertifiedKey) {
        self.key.store(Some(Arc::new(key)));
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key.load_full()
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = self.key.load().is_some();
        f.debug_struct("Serving").field("ready", &ready).finish()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::FakeServer;

    async fn ask(operation: &str, spec: Value) -> Value {
        ask_in(&FakeServer::default(), operation, spec).await
    }

    async fn ask_in(server: &FakeServer, operation: &str, spec: Value) -> Value {
        let object = json!({
            "apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
            "metadata": {"name": "demo", "namespace": "istio-system"}, "spec": spec,
        });
        let body = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "7", "operation": operation, "namespace": "istio-system", "name": "demo",
                "kind": {"group": "install.istio.io", "version": "v1alpha1", "kind": "IstioOperator"},
                "object": object, "oldObject": null,
            },
        });
        let request = http::Request::post(PATH)
            .body(body.to_string().into())
            .expect("a request");
        let response = router(Context::default(), server.client())
            .handle(request)
            .await;
        let body = response.into_body().collect().await.expect("in memory");
        let answer: Value = serde_json::from_slice(&body.to_bytes()).expect("JSON");
        answer["response"].clone()
    }

    #[tokio::test]
    async fn a_refusal_names_all_fields() {
        let answer = ask("CREATE", json!({"hubb": "x", "components": {"k8s": {}}})).await;
        assert_eq!(answer["allowed"], false);
        let status = &answer["status"];
        let message = status["message"].as_str().unwrap_or_default();
        for path in [
            "spec.hubb: unknown field",
            "spec.components.k8s: unknown field",
        ] {
            assert!(message.contains(path), "{message}");
        }
        assert_eq!(
            status["details"]["causes"].as_array().map(Vec::len),
            Some(2)
        );
        assert_eq!(status["details"]["name"], "demo");
    }

    #[tokio::test]
    async fn warnings_let_pass() {
        let answer = ask("CREATE", json!({"values": {"mixer": {"enabled": true}}})).await;
        assert_eq!(answer["allowed"], true);
        let warning = answer["warnings"][0].as_str().unwrap_or_default();
        assert!(
            warning.starts_with("spec.values.mixer: has no effect"),
            "{warning}"
        );
    }

    #[tokio::test]
    async fn the_network_of_the_cluster_is_warned_of() {
        let server = FakeServer::default();
        let cilium = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"bpf-lb-sock": "true"},
            "metadata": {"name": "cilium-config", "namespace": "kube-system"}});
        server.put("/api/v1/namespaces/kube-system/configmaps", cilium);
        let answer = ask_in(&server, "CREATE", json!({"profile": "minimal"})).await;
        assert_eq!(answer["allowed"], true);
        let warning = answer["warnings"][0].as_str().unwrap_or_default();
        assert!(warning.contains("bpf-lb-sock-hostns-only"), "{warning}");
        let answer = ask_in(&server, "CREATE", json!({"profile": "empty"})).await;
        assert_eq!(answer.get("warnings"), None, "nothing is installed");
    }

    #[tokio::test]
    async fn other_operations_pass() {
        let answer = ask("DELETE", json!({"hubb": "x"})).await;
        assert_eq!(answer["allowed"], true);
    }
}
