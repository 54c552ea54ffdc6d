//! The filter `istio.stats`: one report per request.

use std::sync::Arc;
use std::time::Instant;

use crate::http::connection_manager::exchange::Exchange;
use crate::http::header_name::Known;
use crate::stats::{CallRef, Reporter, RequestProtocol, RequestReport, StatsSettings};

/// Counts a finished request.
pub(super) fn report(settings: &Arc<StatsSettings>, exchange: &Exchange) {
    let context = &exchange.context;
    let info = &exchange.info;
    let reporter = Reporter::from(context.connection.listener.direction);
    let upstream_tls = info.upstream.tls.as_deref();
    let tls = match reporter {
        Reporter::Source => upstream_tls,
        Reporter::Destination => context.connection.tls.as_ref(),
    };
    let local = tls.and_then(|tls| tls.local_uri_sans.first());
    let remote = tls.and_then(|tls| tls.peer.as_ref()?.uri());
    let (source_principal, destination_principal, peer) = match reporter {
        Reporter::Source => (local, remote, &info.upstream_peer),
        Reporter::Destination => (remote, local, &info.downstream_peer),
    };
    let cluster = exchange.cluster.as_ref().map(|cluster| &cluster.config);
    let messages = exchange.messages.unwrap_or_default();
    let duration = info.duration.unwrap_or_default();
    let report = RequestReport {
        call: CallRef {
            settings,
            reporter,
            peer: peer.as_ref(),
            service: cluster.and_then(|cluster| cluster.istio.services.first()),
            cluster: cluster.map_or(&context.no_cluster, |cluster| &cluster.name),
            host: Some(exchange.request.authority()),
            source_principal,
            destination_principal,
            mutual_tls: context.connection.is_mutual_tls(),
        },
        protocol: if exchange.is_grpc {
            RequestProtocol::Grpc
        } else {
            RequestProtocol::Http
        },
        response_code: info.response_code,
        response_flags: info.flags,
        grpc_status: grpc_status(exchange),
        duration,
        request_bytes: info.wire_received,
        response_bytes: info.wire_sent,
        request_messages: messages.request.messages(),
        response_messages: messages.response.messages(),
    };
    context.worker.stats.report_request(&report, Instant::now());
}

fn grpc_status(exchange: &Exchange) -> Option<u32> {
    if !exchange.is_grpc {
        return None;
    }
    let trailers = exchange.trailers.as_ref();
    trailers
        .and_then(|trailers| trailers.get_str(Known::GrpcStatus))
        .or_else(|| exchange.response.headers.get_str(Known::GrpcStatus))?
        .parse()
        .ok()
}
