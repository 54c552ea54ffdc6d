//! Requests at a fixed rate; one JSON summary at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::client::{Client, parse_headers};

#[derive(Args)]
pub struct Options {
    pub url: String,
    /// Requests per second.
    #[arg(long, default_value = "100")]
    pub rate: u32,
    /// Requests in all; takes precedence over `--seconds`.
    #[arg(long)]
    pub count: Option<u32>,
    #[arg(long, default_value = "10")]
    pub seconds: u32,
    #[arg(short = 'H', long = "header")]
    pub headers: Vec<String>,
    #[arg(long, default_value = "10")]
    pub timeout_seconds: u64,
    #[arg(long)]
    pub http2: bool,
    /// Response header whose values are counted.
    #[arg(long, default_value = "x-version")]
    pub count_header: String,
    /// Opens a connection per request.
    #[arg(long)]
    pub no_keepalive: bool,
}

/// What the run saw. `ok` counts answers below 400.
#[derive(Serialize, Default)]
struct Summary {
    sent: u32,
    ok: u32,
    failed: u32,
    by_status: BTreeMap<u16, u32>,
    by_header: BTreeMap<String, u32>,
    /// Text of connection errors and timeouts, with counts.
    errors: BTreeMap<String, u32>,
    /// Milliseconds.
    p50: f64,
    p99: f64,
    max: f64,
    #[serde(skip)]
    latencies: Vec<f64>,
}

impl Summary {
    fn finish(&mut self) {
        self.latencies.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = self.latencies.len().saturating_sub(1);
            let index = (last as f64 * share).round() as usize;
            self.latencies.get(index).copied().unwrap_or_default()
        };
        (self.p50, self.p99, self.max) = (at(0.5), at(0.99), at(1.0));
        self.failed = self.sent - self.ok;
    }
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let client = Client::build(options.http2)?;
    let headers = parse_headers(&options.headers)?;
    let total = options.count.unwrap_or(options.rate * options.seconds);
    let summary = Arc::new(Mutex::new(Summary::default()));
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / options.rate.max(1));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..total {
        ticks.tick().await;
        let client = match options.no_keepalive {
            true => Client::build(options.http2)?,
            false => client.clone(),
        };
        let (url, headers) = (options.url.clone(), headers.clone());
        let (summary, header) = (summary.clone(), options.count_header.clone());
        let timeout = Duration::from_secs(options.timeout_seconds);
        tasks.spawn(async move {
            let start = Instant::now();
            let answer = tokio::time::timeout(timeout, client.send(&url, headers)).await;
            let elapsed = start.elapsed().as_secs_f64() * 1000.0;
            let Ok(mut summary) = summary.lock() else {
                return;
            };
            summary.sent += 1;
            summary.latencies.push(elapsed);
            match answer {
                Ok(Ok(answer)) => {
                    *summary.by_status.entry(answer.status).or_default() += 1;
                    summary.ok += u32::from(answer.status < 400);
                    if let Some(value) = answer.headers.get(&header) {
                        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                        *summary.by_header.entry(value).or_default() += 1;
                    }
                }
                Ok(Err(error)) => *summary.errors.entry(format!("{error:#}")).or_default() += 1,
                Err(_) => *summary.errors.entry("timeout".to_owned()).or_default() += 1,
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    let mut summary = std::mem::take(
        &mut *summary
            .lock()
            .map_err(|_| anyhow::anyhow!("a request task panicked"))?,
    );
    summary.finish();
    println!("{}", serde_json::to_string(&summary)?);
    Ok(())
}
