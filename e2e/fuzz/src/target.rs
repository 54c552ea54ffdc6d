//! The targets, a line each.

mod controlplane;
mod http;
mod proxy;
mod resource;

/// Something that reads bytes of others.
pub struct Target {
    pub name: &'static str,
    /// Panics only for what is a bug.
    pub run: fn(&[u8]),
    /// Well-formed inputs to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds }
}

pub const TARGETS: &[Target] = &[
    target("http1", http::requests, http::request_seeds),
    target("http1_response", http::responses, http::response_seeds),
    target("http1_lenient", http::lenient, http::lenient_seeds),
    target("http2", http::frames, http::frame_seeds),
    target("tls_inspector", proxy::tls_inspector, proxy::hello_seeds),
    target("http_inspector", proxy::http_inspector, http::request_seeds),
    target(
        "proxy_protocol",
        proxy::proxy_protocol,
        proxy::proxy_protocol_seeds,
    ),
    target(
        "metadata_exchange",
        proxy::metadata_exchange,
        proxy::metadata_seeds,
    ),
    target("path", proxy::path, proxy::path_seeds),
    target("access_log", proxy::access_log, proxy::access_log_seeds),
    target("regex", proxy::regex, proxy::regex_seeds),
    target("cluster", resource::cluster, resource::cluster_seeds),
    target("endpoint", resource::endpoint, resource::endpoint_seeds),
    target("listener", resource::listener, resource::listener_seeds),
    target("route", resource::route, resource::route_seeds),
    target("secret", resource::secret, resource::secret_seeds),
    target("csr", controlplane::csr, controlplane::csr_seeds),
    target(
        "admission",
        controlplane::admission,
        controlplane::admission_seeds,
    ),
];
