//! A mutating admission webhook like those that companies put before their clusters: images come
//! from a mirror, and containers without a limit get one.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ironsail_runtime::tls;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::server::{Body, full, serve_http, serve_https};

#[derive(Args)]
pub struct Options {
    /// DNS name of the webhook: `<service>.<namespace>.svc`.
    pub host: String,
    /// Where reviews are answered, over TLS.
    #[arg(long, default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Where the certificate can be had, in plaintext.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub certificate_listen: SocketAddr,
    /// Prefix of images that are redirected.
    #[arg(long, default_value = "ironsail/")]
    pub from: String,
    /// What the prefix becomes.
    #[arg(long, default_value = "docker.io/ironsail/")]
    pub to: String,
    /// Memory limit of containers that have none.
    #[arg(long, default_value = "512Mi")]
    pub memory: String,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    tls::install_provider();
    let key = rcgen::KeyPair::generate()?;
    let certificate =
        rcgen::CertificateParams::new(vec![options.host.clone()])?.self_signed(&key)?;
    let pem = certificate.pem();
    let chain = tls::certificates(pem.as_bytes())?;
    let key = tls::private_key(key.serialize_pem().as_bytes())?;
    let config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let published = serve_http(options.certificate_listen, move |_, _| {
        let pem = pem.clone();
        Box::pin(async move { Response::new(full(pem)) })
    });
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let options = Arc::new(options);
    let listen = options.listen;
    let reviews = serve_https(listen, acceptor, move |request, _| {
        let options = options.clone();
        Box::pin(async move { answer(request, &options).await })
    });
    tokio::try_join!(published, reviews).map(drop)
}

async fn answer(request: Request<Incoming>, options: &Options) -> Response<Body> {
    match review(request, options).await {
        Ok(review) => Response::new(full(review.to_string())),
        Err(error) => {
            let mut response = Response::new(full(format!("{error:#}")));
            *response.status_mut() = http::StatusCode::BAD_REQUEST;
            response
        }
    }
}

async fn review(request: Request<Incoming>, options: &Options) -> anyhow::Result<Value> {
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).context("no review")?;
    let request = &review["request"];
    let patch = json!(patches(&request["object"], options)).to_string();
    Ok(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": request["uid"],
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": STANDARD.encode(patch),
        },
    }))
}

/// JSON Patch operations for a Deployment or a Pod.
fn patches(object: &Value, options: &Options) -> Vec<Value> {
    let base = match object["spec"]["template"].is_object() {
        true => "/spec/template/spec/containers",
        false => "/spec/containers",
    };
    let containers = object.pointer(base).and_then(Value::as_array);
    let mut patches = Vec::new();
    for (at, container) in containers.into_iter().flatten().enumerate() {
        let image = container["image"].as_str().unwrap_or_default();
        if let Some(rest) = image.strip_prefix(&options.from) {
            let image = format!("{}{rest}", options.to);
            patches.push(
                json!({"op": "replace", "path": format!("{base}/{at}/image"), "value": image}),
            );
        }
        if container["resources"]["limits"]["memory"].is_null() {
            let mut resources = container["resources"].clone();
            resources["limits"]["memory"] = json!(options.memory);
            patches.push(
                json!({"op": "add", "path": format!("{base}/{at}/resources"), "value": resources}),
            );
        }
    }
    patches
}
