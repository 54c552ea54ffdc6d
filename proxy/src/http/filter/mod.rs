//! HTTP filters: a fixed set, run in configured order without boxed futures.

mod cors;
mod fault;

pub use cors::{CorsPolicy, Verdict};
pub use fault::{AbortStatus, Fault, Injected};

/// Name under which routes configure the fault filter.
pub const FAULT: &str = "envoy.filters.http.fault";
/// Name under which routes configure the CORS filter.
pub const CORS: &str = "envoy.filters.http.cors";
