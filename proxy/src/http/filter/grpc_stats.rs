//! The filter `envoy.filters.http.grpc_stats`: counts messages for Istio's metrics.

use super::Step;
use crate::http::connection_manager::exchange::Exchange;
use crate::http::grpc::MessageCounter;

/// Messages of a gRPC stream, both ways.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageCounts {
    pub request: MessageCounter,
    pub response: MessageCounter,
}

pub(super) fn on_request(exchange: &mut Exchange) -> Step {
    if exchange.is_grpc {
        exchange.messages = Some(MessageCounts::default());
    }
    Step::Continue
}
