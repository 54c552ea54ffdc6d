//! One gRPC stream and one TCP connection that are kept in use for a long time; one JSON summary at the end.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::resolve;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

#[derive(Args)]
pub struct Options {
    /// `host:port` of a gRPC server: `grpc.health.v1.Health/Watch` is called.
    #[arg(long)]
    pub grpc: String,
    /// `host:port` of a server that sends back what it receives.
    #[arg(long)]
    pub tcp: String,
    #[arg(long, default_value = "60")]
    pub seconds: u64,
}

/// What happened until the end, or until the first error.
#[derive(Serialize)]
struct Held {
    /// Messages or echoes that arrived.
    received: u32,
    seconds: u64,
    error: Option<String>,
}

#[derive(Serialize)]
struct Summary {
    grpc: Held,
    tcp: Held,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let (grpc, tcp) = tokio::join!(
        held(async |received| watch(&options.grpc, end, received).await),
        held(async |received| echo(&options.tcp, end, received).await),
    );
    println!("{}", serde_json::to_string(&Summary { grpc, tcp })?);
    Ok(())
}

async fn held(work: impl AsyncFnOnce(&mut u32) -> anyhow::Result<()>) -> Held {
    let start = Instant::now();
    let mut received = 0;
    let error = work(&mut received).await.err();
    Held {
        received,
        seconds: start.elapsed().as_secs(),
        error: error.map(|error| format!("{error:#}")),
    }
}

async fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let (host, port) = address
        .rsplit_once(':')
        .with_context(|| format!("{address:?} is not host:port"))?;
    let port: u16 = port.parse()?;
    Ok(TcpStream::connect((resolve(host).await?, port)).await?)
}

/// Reads messages of one stream until `end`.
async fn watch(address: &str, end: Instant, received: &mut u32) -> anyhow::Result<()> {
    let stream = TokioIo::new(connect(address).await?);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    let empty = Full::new(Bytes::from_static(&[0; 5]));
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Watch"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(empty)?;
    let mut response = sender.send_request(request).await?;
    ensure!(response.status() == 200, "status {}", response.status());
    loop {
        let next = timeout(ANSWER, response.body_mut().frame());
        let Ok(next) = timeout_at(end, next).await else {
            return Ok(());
        };
        let frame = next
            .context("no message in time")?
            .context("the stream ended")??;
        *received += u32::from(frame.is_data());
    }
}

/// Sends and receives on one connection until `end`, once a second.
async fn echo(address: &str, end: Instant, received: &mut u32) -> anyhow::Result<()> {
    let mut stream = connect(address).await?;
    let mut answer = [0; 4];
    while Instant::now() < end {
        stream.write_all(b"ping").await?;
        let read = timeout(ANSWER, stream.read_exact(&mut answer)).await;
        read.context("no echo in time")??;
        *received += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
