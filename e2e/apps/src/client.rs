//! An HTTP client with keep-alive, and the command of one request.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use ironsail_runtime::net::{Connector, Resolver};

/// Headers that a service passes on, so that a trace and a test's own marks stay together.
const PASSED_ON: [&str; 8] = [
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "traceparent",
    "tracestate",
    "end-user",
];

#[derive(Clone)]
pub struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
}

/// An answer, whole.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Args)]
pub struct Options {
    pub url: String,
    /// `name: value`; `Host` sets the authority.
    #[arg(short = 'H', long = "header")]
    pub headers: Vec<String>,
    /// Tries again once a second this many times while the connection fails.
    #[arg(long, default_value = "0")]
    pub retries: u32,
    #[arg(long, default_value = "10")]
    pub timeout_seconds: u64,
    /// Speaks HTTP/2 with prior knowledge.
    #[arg(long)]
    pub http2: bool,
}

/// First address of a host, by the system's configuration.
pub async fn resolve(host: &str) -> anyhow::Result<IpAddr> {
    Resolver::from_system()?
        .resolve(host)
        .await?
        .into_iter()
        .next()
        .with_context(|| format!("{host} has no address"))
}

impl Client {
    pub fn new() -> anyhow::Result<Self> {
        Self::build(false)
    }

    pub fn build(http2: bool) -> anyhow::Result<Self> {
        let connector = Connector::new(Resolver::from_system()?);
        let http = legacy::Client::builder(TokioExecutor::new())
            .http2_only(http2)
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Ok(Self { http })
    }

    /// A GET that passes on the tracing headers of `from`.
    pub async fn get(&self, url: &str, from: &HeaderMap) -> anyhow::Result<Answer> {
        let mut headers = HeaderMap::new();
        for name in PASSED_ON {
            if let Some(value) = from.get(name) {
                headers.insert(name, value.clone());
            }
        }
        self.send(url, headers).await
    }

    /// A GET with exactly these headers.
    pub async fn send(&self, url: &str, headers: HeaderMap) -> anyhow::Result<Answer> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        let mut request = Request::get(uri).body(Full::default())?;
        *request.headers_mut() = headers;
        let response = self.http.request(request).await?;
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }
}

/// Parses `name: value` lines.
pub fn parse_headers(lines: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .with_context(|| format!("{line:?} is not name: value"))?;
        headers.append(
            http::HeaderName::from_bytes(name.trim().as_bytes())?,
            value.trim().parse()?,
        );
    }
    Ok(headers)
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let client = Client::build(options.http2)?;
    let headers = parse_headers(&options.headers)?;
    let mut tries = options.retries;
    loop {
        let request = client.send(&options.url, headers.clone());
        let timeout = Duration::from_secs(options.timeout_seconds);
        match tokio::time::timeout(timeout, request).await {
            Ok(Ok(answer)) => {
                println!("{}", answer.status);
                for (name, value) in &answer.headers {
                    println!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
                }
                println!("\n{}", String::from_utf8_lossy(&answer.body));
                return Ok(());
            }
            Ok(Err(error)) if tries == 0 => return Err(error),
            Err(_) if tries == 0 => anyhow::bail!("no answer within {timeout:?}"),
            _ => tries -= 1,
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
