//! Copies of requests that go to another cluster; nobody waits for what comes of them.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::Forwarding;
use crate::cluster::{ConnectOptions, PickContext};
use crate::http::codec::h1::HeadLimits;
use crate::http::codec::{BodyEvent, Piece};
use crate::http::connection_manager::exchange::Exchange;
use crate::http::header_name::Known;
use crate::http::message::{BodyLength, Method, RequestHead, ResponseHead};
use crate::http::pool::Pools;
use crate::http::stream::Upstream;
use crate::route::{Mirror, split_port};
use crate::worker::Worker;

/// Time for a copy whose route has no limit.
const MAX_TIME: Duration = Duration::from_secs(60);

/// Sends the copies that the route asks for. A body that was too large to keep is not mirrored.
pub(super) fn send(exchange: &Exchange, forwarding: &Forwarding<'_>) {
    let is_tunnel = exchange.request.method == Method::Connect;
    if forwarding.forward.mirrors.is_empty() || is_tunnel {
        return;
    }
    let Some(body) = forwarding.body.complete() else {
        return;
    };
    let limit = forwarding.forward.timeout.unwrap_or(MAX_TIME);
    for mirror in &forwarding.forward.mirrors {
        if !mirror.fraction.draw() {
            continue;
        }
        let copy = Copy {
            worker: Rc::clone(&exchange.context.worker),
            cluster: mirror.cluster.to_string(),
            head: shadow(&exchange.request, mirror, body.len()),
            body: body.to_vec(),
            context: PickContextOwned {
                original_dst: exchange.context.connection.local,
                hash: forwarding.hash,
            },
        };
        tokio::task::spawn_local(async move {
            // Whatever goes wrong is the mirror's own affair.
            let _ = tokio::time::timeout(limit, copy.run()).await;
        });
    }
}

fn shadow(request: &RequestHead, mirror: &Mirror, length: usize) -> RequestHead {
    let mut head = request.clone();
    head.upgrade = None;
    head.headers.remove(Known::Connection);
    head.headers.remove(Known::Upgrade);
    head.body = match length {
        0 => BodyLength::Empty,
        length => BodyLength::Exactly(length as u64),
    };
    let host = match &mirror.host_rewrite {
        Some(host) => host.to_string(),
        None if mirror.shadow_suffix => {
            let (host, port) = split_port(request.authority());
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            format!("{host}-shadow{port}")
        }
        None => return head,
    };
    head.set_authority(host.as_bytes());
    head
}

struct PickContextOwned {
    original_dst: std::net::SocketAddr,
    hash: Option<u64>,
}

struct Copy {
    worker: Rc<Worker>,
    cluster: String,
    head: RequestHead,
    body: Vec<u8>,
    context: PickContextOwned,
}

impl Copy {
    async fn run(self) -> Option<()> {
        let cluster = self.worker.clusters.get(&self.cluster)?;
        let stats = self.worker.stats.cluster(&cluster.config.stat_name);
        let context = PickContext {
            original_dst: Some(self.context.original_dst),
            hash: self.context.hash,
            ..PickContext::default()
        };
        let host = cluster.pick(&context).ok()?;
        let _active = host.begin();
        let pools = host.pools::<Pools>()?;
        let options = ConnectOptions::default();
        let version = self.head.version;
        let channel = match pools.take(&cluster, &options, version) {
            Some(channel) => channel,
            None => pools
                .connect(&cluster, &host, &options, version, &stats)
                .await
                .ok()?,
        };
        stats.upstream_rq_total.inc();
        let mut upstream = channel.send(&self.head, HeadLimits::default()).ok()?;
        self.send_body(&mut upstream).await?;
        let mut response = ResponseHead::default();
        loop {
            poll_fn(|cx| upstream.poll_head(cx, &mut response))
                .await
                .ok()?;
            if !response.is_informational() {
                break;
            }
            response.reset();
        }
        stats.response(response.status);
        while let BodyEvent::Data { .. } = poll_fn(|cx| upstream.poll_body(cx)).await.ok()? {
            let length = upstream.piece().len();
            upstream.consume(length);
        }
        super::attempt::give_back(upstream, &host, &cluster);
        Some(())
    }

    async fn send_body(&self, upstream: &mut Upstream) -> Option<()> {
        let mut sent = 0;
        poll_fn(|cx| {
            while let Some(rest) = self.body.get(sent..).filter(|rest| !rest.is_empty()) {
                match upstream.poll_send(cx, Piece::Slice(rest), true) {
                    Poll::Ready(Ok(count)) => sent += count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return upstream.poll_flush(cx),
                }
            }
            upstream.finish(None)?;
            Poll::Ready(Ok(()))
        })
        .await
        .ok()?;
        poll_fn(|cx| upstream.poll_flush(cx)).await.ok()
    }
}
