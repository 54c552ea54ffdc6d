//! The echo server: tells what it received, calls on, delays, fails on request.
//!
//! Paths: `/` and anything else echoes; `/status/<code>`; `/delay/<milliseconds>`; `/call?url=<url>` calls on and
//! wraps the answer; gRPC health service, `Check` and `Watch`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;

use crate::client::Client;
use crate::server::{Body, full, serve_http};

#[derive(Args, Clone)]
pub struct Options {
    /// Address; several serve alike.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub listen: Vec<SocketAddr>,
    /// Version that answers carry in `x-version`.
    #[arg(long, env = "VERSION", default_value = "v1")]
    pub version: String,
    /// Listens on `POD_IP` instead of the address's own.
    #[arg(long)]
    pub pod_ip_only: bool,
    #[arg(long, env = "POD_IP")]
    pub pod_ip: Option<std::net::IpAddr>,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let client = Client::new()?;
    let servers = options.listen.iter().map(|listen| {
        let mut listen = *listen;
        if let (true, Some(ip)) = (options.pod_ip_only, options.pod_ip) {
            listen.set_ip(ip);
        }
        let version = options.version.clone();
        let client = client.clone();
        serve_http(listen, move |request, peer| {
            answer(request, peer, version.clone(), client.clone()).boxed()
        })
    });
    futures::future::try_join_all(servers).await?;
    Ok(())
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    version: String,
    client: Client,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let mut response = match path.split('/').nth(1).unwrap_or_default() {
        "grpc.health.v1.Health" if path.ends_with("/Watch") => watch(),
        "grpc.health.v1.Health" => health(),
        "status" => status(&path),
        "delay" => {
            let ms = path.rsplit('/').next().and_then(|t| t.parse().ok());
            tokio::time::sleep(Duration::from_millis(ms.unwrap_or(0))).await;
            echo(request, peer, &version).await
        }
        "call" => call(request, &version, client).await,
        _ => echo(request, peer, &version).await,
    };
    if let Ok(value) = HeaderValue::from_str(&version) {
        response.headers_mut().insert("x-version", value);
    }
    response
}

fn status(path: &str) -> Response<Body> {
    let code = path
        .rsplit('/')
        .next()
        .and_then(|text| text.parse::<StatusCode>().ok())
        .unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = Response::new(full(""));
    *response.status_mut() = code;
    response
}

fn headers_of(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        map.entry(name.to_string())
            .and_modify(|joined| {
                joined.push(',');
                joined.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    map
}

async fn echo(request: Request<Incoming>, peer: SocketAddr, version: &str) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|collected| collected.to_bytes())
        .unwrap_or_default();
    let text = json!({
        "version": version,
        "host": std::env::var("HOSTNAME").unwrap_or_default(),
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map(|p| p.as_str()),
        "authority": head.uri.authority().map(|a| a.as_str()),
        "protocol": format!("{:?}", head.version),
        "peer": peer.to_string(),
        "headers": headers_of(&head.headers),
        "body": String::from_utf8_lossy(&body),
    });
    json_response(&text)
}

async fn call(request: Request<Incoming>, version: &str, client: Client) -> Response<Body> {
    let url = request
        .uri()
        .query()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("url=")))
        .unwrap_or_default()
        .to_owned();
    let answer = client.get(&url, request.headers()).await;
    json_response(&match answer {
        Ok(answer) => json!({
            "version": version,
            "status": answer.status,
            "headers": headers_of(&answer.headers),
            "body": String::from_utf8_lossy(&answer.body),
        }),
        Err(error) => json!({"version": version, "error": format!("{error:#}")}),
    })
}

pub fn json_response(value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// Length-prefixed HealthCheckResponse { status: SERVING }.
const SERVING: Bytes = Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 0x01]);

/// `SERVING`, as message, with the status in trailers.
fn health() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Ok(Frame::data(SERVING)), Ok(Frame::trailers(trailers))];
    grpc(futures::stream::iter(frames))
}

/// `SERVING` every second, until the client goes away. The protocol wants it only once; this shows that the stream lives.
fn watch() -> Response<Body> {
    let ticks = tokio::time::interval(Duration::from_secs(1));
    grpc(futures::stream::unfold(ticks, |mut ticks| async move {
        ticks.tick().await;
        Some((Ok(Frame::data(SERVING)), ticks))
    }))
}

fn grpc(
    frames: impl futures::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>>
    + Send
    + Sync
    + 'static,
) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(frames).boxed());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}
