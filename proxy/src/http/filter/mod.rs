//! HTTP filters: a fixed set, run in configured order without boxed futures.
//!
//! A filter that this proxy does not have is an error of the listener, unless it is marked optional: leaving out one
//! that decides about access would let requests through.

mod alpn;
mod buffer;
mod cors;
mod fault;
mod grpc_stats;
mod istio_stats;
mod metadata_exchange;
pub mod router;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;
use std::time::Duration;

use ironsail_xds::ext::filters::http::{
    buffer::v3 as buffer_proto, cors::v3 as cors_proto, fault::v3 as fault_proto,
    grpc_stats::v3 as grpc_stats_proto, router::v3 as router_proto,
};
use ironsail_xds::ext::filters::network::http_connection_manager::v3 as proto;
use ironsail_xds::istio::{self, AlpnFilterConfig, PluginConfig, TypedStruct};
use ironsail_xds::{Any, is_type, type_name, unpack};
use proto::http_filter::ConfigType;

pub use alpn::AlpnFilter;
pub use buffer::{Buffer, BufferedBody, Stop};
pub use cors::{CorsPolicy, Verdict};
pub use fault::{AbortStatus, ActiveFault, Fault, Injected};
pub use grpc_stats::MessageCounts;
pub use metadata_exchange::{MetadataExchange, PeerAsks};
pub use router::RouterConfig;

use super::connection_manager::exchange::Exchange;
use super::connection_manager::local_reply::LocalReply;
use super::message::ResponseHead;
use crate::resource::{At, CompileError};
use crate::route::{RouteFilters, Setting};
use crate::stats::StatsSettings;

/// Name under which routes configure the buffer filter.
pub const BUFFER: &str = "envoy.filters.http.buffer";
/// Name under which routes configure the fault filter.
pub const FAULT: &str = "envoy.filters.http.fault";
/// Name under which routes configure the CORS filter.
pub const CORS: &str = "envoy.filters.http.cors";

/// A filter before the router.
#[derive(Debug)]
pub enum HttpFilter {
    MetadataExchange(MetadataExchange),
    Alpn(AlpnFilter),
    GrpcStats,
    Buffer(Buffer),
    Fault(Arc<Fault>),
    Cors,
    IstioStats(Arc<StatsSettings>),
}

/// The filters of a connection manager; the router is always the last.
#[derive(Debug)]
pub struct Filters {
    list: Vec<HttpFilter>,
    pub router: RouterConfig,
}

/// What a filter wants done with a request.
#[derive(Debug)]
pub enum Step {
    Continue,
    /// Answer it.
    Reply(LocalReply),
    /// Answer it with this head and no body.
    Answer(ResponseHead),
    /// Hold it, then go on or answer it.
    Wait(Duration, Option<LocalReply>),
    /// Hold it until its body is there.
    Buffer(Buffer),
}

impl Filters {
    /// # Errors
    /// Unknown filters that are not optional, invalid configurations, a router that is missing or not the last.
    pub fn compile(configs: &[proto::HttpFilter]) -> Result<Self, CompileError> {
        let mut list = Vec::with_capacity(configs.len());
        let mut router = None;
        for (index, config) in configs.iter().enumerate() {
            let field = format!("http_filters[{index}]");
            if router.is_some() {
                return Err(CompileError::new("stands behind the router").at(field));
            }
            if config.disabled {
                continue;
            }
            match compile_filter(config) {
                Ok(Compiled::Filter(filter)) => list.push(filter),
                Ok(Compiled::Router(config)) => router = Some(config),
                Err(error) if config.is_optional => {
                    tracing::warn!(filter = config.name, %error, "Optional HTTP filter is left out");
                }
                Err(error) => return Err(error.at(field)),
            }
        }
        let router =
            router.ok_or_else(|| CompileError::new("lacks the router").at("http_filters"))?;
        Ok(Self { list, router })
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<&HttpFilter> {
        self.list.get(index)
    }

    /// Runs all filters over a response, the last one first.
    pub fn on_response(&self, exchange: &mut Exchange) {
        for filter in self.list.iter().rev() {
            filter.on_response(exchange);
        }
    }

    /// Tells all filters that a request is over.
    pub fn on_end(&self, exchange: &mut Exchange) {
        for filter in &self.list {
            filter.on_end(exchange);
        }
    }
}

enum Compiled {
    Filter(HttpFilter),
    Router(RouterConfig),
}

fn compile_filter(filter: &proto::HttpFilter) -> Result<Compiled, CompileError> {
    let config = match &filter.config_type {
        Some(ConfigType::TypedConfig(config)) => config,
        Some(ConfigType::ConfigDiscovery(_)) => {
            return Err(CompileError::new(format!(
                "{:?} by discovery is not supported",
                filter.name
            ))
            .at("config_discovery"));
        }
        None => {
            return Err(
                CompileError::unknown_extension("HTTP filter", &filter.name, "").at("typed_config"),
            );
        }
    };
    let name = &filter.name;
    compile_config(name, config).at("typed_config")
}

fn compile_config(name: &str, config: &Any) -> Result<Compiled, CompileError> {
    let filter = if is_type::<router_proto::Router>(config) {
        return Ok(Compiled::Router(RouterConfig::compile(&unpack(config)?)?));
    } else if is_type::<grpc_stats_proto::FilterConfig>(config) {
        HttpFilter::GrpcStats
    } else if is_type::<AlpnFilterConfig>(config) {
        HttpFilter::Alpn(AlpnFilter::compile(&unpack(config)?))
    } else if is_type::<buffer_proto::Buffer>(config) {
        HttpFilter::Buffer(Buffer::compile(&unpack(config)?)?)
    } else if is_type::<fault_proto::HttpFault>(config) {
        let fault: fault_proto::HttpFault = unpack(config)?;
        HttpFilter::Fault(Arc::new(Fault::compile(&fault)?))
    } else if is_type::<cors_proto::Cors>(config) {
        HttpFilter::Cors
    } else if is_type::<PluginConfig>(config) {
        HttpFilter::IstioStats(Arc::new(StatsSettings::compile(&unpack(config)?)?))
    } else if let Some(value) = typed_struct(config)? {
        match type_name(&value.type_url) {
            inner if inner == type_name(istio::PEER_METADATA) => HttpFilter::MetadataExchange(
                MetadataExchange::compile(&value.value.unwrap_or_default())?,
            ),
            _ => {
                return Err(CompileError::unknown_extension(
                    "HTTP filter",
                    name,
                    &value.type_url,
                ));
            }
        }
    } else {
        return Err(CompileError::unknown_extension(
            "HTTP filter",
            name,
            &config.type_url,
        ));
    };
    Ok(Compiled::Filter(filter))
}

/// A configuration given as a `Struct` with the type it stands for, under either name.
fn typed_struct(config: &Any) -> Result<Option<TypedStruct>, CompileError> {
    use prost::Message;
    match type_name(&config.type_url) {
        "udpa.type.v1.TypedStruct" | "xds.type.v3.TypedStruct" => {
            TypedStruct::decode(config.value.as_slice())
                .map(Some)
                .map_err(|error| CompileError::new(format!("TypedStruct does not decode: {error}")))
        }
        _ => Ok(None),
    }
}

impl HttpFilter {
    /// Looks at a request before it is routed upstream.
    pub fn on_request(&self, exchange: &mut Exchange, route: Option<&RouteFilters>) -> Step {
        match self {
            HttpFilter::MetadataExchange(filter) => filter.on_request(exchange),
            HttpFilter::Alpn(filter) => filter.on_request(exchange),
            HttpFilter::GrpcStats => grpc_stats::on_request(exchange),
            HttpFilter::Buffer(buffer) => {
                let own = route.and_then(|route| route.buffer.as_ref());
                let config = Setting::or_general(own, buffer);
                config.map_or(Step::Continue, |buffer| buffer.on_request(exchange))
            }
            HttpFilter::Fault(fault) => {
                let own = route.and_then(|route| route.fault.as_ref());
                let config = Setting::or_general(own, fault);
                config.map_or(Step::Continue, |fault| inject(fault, exchange))
            }
            HttpFilter::Cors => judge(exchange, route),
            HttpFilter::IstioStats(_) => Step::Continue,
        }
    }

    fn on_response(&self, exchange: &mut Exchange) {
        match self {
            HttpFilter::MetadataExchange(filter) => filter.on_response(exchange),
            HttpFilter::Cors => {
                if let Some((policy, origin)) = exchange.cors.take() {
                    policy.decorate(&origin, &mut exchange.response.headers);
                }
            }
            HttpFilter::Alpn(_)
            | HttpFilter::GrpcStats
            | HttpFilter::Buffer(_)
            | HttpFilter::Fault(_)
            | HttpFilter::IstioStats(_) => {}
        }
    }

    fn on_end(&self, exchange: &mut Exchange) {
        if let HttpFilter::IstioStats(settings) = self {
            istio_stats::report(settings, exchange);
        }
    }
}

fn inject(fault: &Fault, exchange: &mut Exchange) -> Step {
    use crate::access_log::Flag;
    if fault.is_inert() {
        return Step::Continue;
    }
    let cluster = exchange.cluster_name.as_deref();
    let injected = fault.inject(&exchange.request, cluster);
    if injected.delay.is_some() {
        exchange.info.set_flag(Flag::DelayInjected);
    }
    exchange.fault = injected.active;
    let reply = injected.abort.map(|status| {
        let body = bytes::Bytes::copy_from_slice(fault.body().as_bytes());
        let http = match status {
            AbortStatus::Http(status) => status,
            // Who does not speak gRPC is not told.
            AbortStatus::Grpc(_) => 200,
        };
        let mut reply = LocalReply::new(http, body, "fault_filter_abort").flag(Flag::FaultInjected);
        if let AbortStatus::Grpc(status) = status {
            reply.grpc_status = Some(status);
        }
        reply
    });
    match (injected.delay, reply) {
        (Some(delay), reply) => Step::Wait(delay, reply),
        (None, Some(reply)) => Step::Reply(reply),
        (None, None) => Step::Continue,
    }
}

fn judge(exchange: &mut Exchange, route: Option<&RouteFilters>) -> Step {
    let policy = route
        .and_then(|route| route.cors.as_ref())
        .and_then(|setting| setting.config());
    let Some(policy) = policy else {
        return Step::Continue;
    };
    match policy.judge(&exchange.request) {
        Verdict::Pass => Step::Continue,
        Verdict::Preflight => {
            exchange.info.details = Some("cors_response".into());
            Step::Answer(policy.preflight(&exchange.request))
        }
        Verdict::Decorate(origin) => {
            exchange.cors = Some((Arc::clone(policy), origin));
            Step::Continue
        }
    }
}
