//! A topic's configuration as Envoy's resources.
//!
//! What a topic writes is Envoy's own YAML, laid over defaults; short forms exist for what each topic would repeat:
//! - a cluster's `servers`, `http2`, `fresh` (a connection for each request) and `tls`;
//! - a listener's `inspectors`, and its one chain written beside them or several as `chains`;
//! - a chain's `match`, `tls`, and `tcp` (fields of `TcpProxy`) or `http` (fields of `HttpConnectionManager`) with
//!   `hosts` (virtual hosts; `domains` default to all) and `routes` (those of one virtual host for all);
//! - names of filters in place of filters without settings.
//!
//! `tls` is `{certificate: NAME, ca: true, require: true}` and fields of the context over that.

use std::path::Path;

use anyhow::{Context, bail};
use ironsail_xds::{Any, cluster, json, listener, unpack};
use serde_json::{Map, Value, json};

use crate::certificate::Certificates;
use crate::server::Servers;
use crate::topic::Header;

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// What the access logs of both proxies say of a call; the first field tells whose line it is.
pub const LOG_FORMAT: &str = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% protocol=%PROTOCOL% code=%RESPONSE_CODE% \
flags=%RESPONSE_FLAGS% details=%RESPONSE_CODE_DETAILS% cluster=%UPSTREAM_CLUSTER% route=%ROUTE_NAME% \
attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% host=%UPSTREAM_HOST% received=%BYTES_RECEIVED% sent=%BYTES_SENT% \
remote=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% sni=%REQUESTED_SERVER_NAME% chain=%FILTER_CHAIN_NAME% \
termination=%CONNECTION_TERMINATION_DETAILS%\n";

/// Where things are that a configuration names.
pub struct Places<'a> {
    pub servers: &'a Servers,
    pub certificates: &'a Certificates,
    /// Port of each listener, in order.
    pub ports: &'a [(String, u16)],
    pub access_log: &'a Path,
}

/// Resources of one proxy.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    pub clusters: Vec<cluster::Cluster>,
    pub listeners: Vec<listener::Listener>,
}

impl Resources {
    /// # Errors
    /// What a topic wrote is not Envoy's.
    pub fn build(header: &Header, places: &Places<'_>) -> anyhow::Result<Self> {
        let mut resources = Self::default();
        for (name, fields) in &header.clusters {
            let json = cluster_json(name, fields, places);
            let any = json.and_then(|json| Ok(json::from_json(json)?));
            let any = any.with_context(|| format!("cluster {name}"))?;
            resources.clusters.push(unpack(&any)?);
        }
        for ((name, port), fields) in places.ports.iter().zip(header.listeners.values()) {
            let any = listener_any(name, *port, fields, places);
            let any = any.with_context(|| format!("listener {name}"))?;
            resources.listeners.push(unpack(&any)?);
        }
        Ok(resources)
    }
}

fn cluster_json(name: &str, fields: &Value, places: &Places<'_>) -> anyhow::Result<Value> {
    let mut fields = object(fields)?;
    let servers = match fields.remove("servers") {
        Some(servers) => servers.as_array().cloned().context("servers is a list")?,
        None => vec![name.into()],
    };
    let mut cluster = json!({
        "@type": ironsail_xds::type_url::CLUSTER,
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        // The default of 3 retries at a time is as few as calls have under way.
        "circuit_breakers": { "thresholds": [{ "max_retries": 1000 }] },
    });
    if !fields.contains_key("load_assignment") {
        let endpoints = servers.iter().map(|server| endpoint(server, places));
        let endpoints = endpoints.collect::<anyhow::Result<Vec<_>>>()?;
        let localities = match endpoints.is_empty() {
            true => json!([]),
            false => json!([{ "lb_endpoints": endpoints }]),
        };
        cluster["load_assignment"] = json!({ "cluster_name": name, "endpoints": localities });
    }
    let http2 = fields.remove("http2") == Some(true.into());
    let fresh = fields.remove("fresh") == Some(true.into());
    if http2 || fresh {
        let options = http_options(http2, fresh);
        cluster["typed_extension_protocol_options"] = json!({ HTTP_OPTIONS: options });
    }
    if let Some(tls) = fields.remove("tls") {
        let context = tls_json(&tls, "Upstream", places)?;
        cluster["transport_socket"] = context;
    }
    merge(&mut cluster, fields.into());
    Ok(cluster)
}

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Options of a cluster: which protocol, and whether each request gets a connection of its own.
fn http_options(http2: bool, fresh: bool) -> Value {
    let protocol = match http2 {
        true => "http2_protocol_options",
        false => "http_protocol_options",
    };
    let mut options = json!({
        "@type": format!("type.googleapis.com/{HTTP_OPTIONS}"),
        "explicit_http_config": { protocol: {} },
    });
    if fresh {
        options["common_http_protocol_options"] = json!({ "max_requests_per_connection": 1 });
    }
    options
}

/// A server's name, or `{server: NAME, …}` with fields of `LbEndpoint`.
fn endpoint(server: &Value, places: &Places<'_>) -> anyhow::Result<Value> {
    let (name, fields) = match server {
        Value::String(name) => (name.clone(), Map::new()),
        other => {
            let mut fields = object(other)?;
            let name = fields.remove("server");
            let name = name.and_then(|name| name.as_str().map(str::to_owned));
            (name.context("an endpoint has a server")?, fields)
        }
    };
    let mut endpoint = json!({ "endpoint": { "address": address(places.servers.port(&name)?) } });
    merge(&mut endpoint, fields.into());
    Ok(endpoint)
}

fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

fn listener_any(
    name: &str,
    port: u16,
    fields: &serde_yaml_ng::Value,
    places: &Places<'_>,
) -> anyhow::Result<Any> {
    let mut fields = object(&serde_json::to_value(fields)?)?;
    let chains = match fields.remove("chains") {
        Some(Value::Array(chains)) => chains,
        Some(_) => bail!("chains is a list"),
        None => vec![take(&mut fields, &CHAIN_FIELDS).into()],
    };
    let chains = chains.iter().map(|chain| chain_json(chain, places));
    let inspectors = match fields.remove("inspectors") {
        Some(Value::Array(names)) => names.iter().map(inspector).collect(),
        _ => Vec::new(),
    };
    let mut listener = json!({
        "@type": ironsail_xds::type_url::LISTENER,
        "name": name,
        "address": address(port),
        "listener_filters": inspectors,
        "filter_chains": chains.collect::<anyhow::Result<Vec<_>>>()?,
        "access_log": [access_log(places.access_log, true)],
    });
    if let Some(chain) = fields.remove("default") {
        listener["default_filter_chain"] = chain_json(&chain, places)?;
    }
    merge(&mut listener, fields.into());
    Ok(json::from_json(listener)?)
}

const CHAIN_FIELDS: [&str; 7] = ["name", "match", "tls", "tcp", "http", "hosts", "routes"];

fn chain_json(chain: &Value, places: &Places<'_>) -> anyhow::Result<Value> {
    let mut fields = object(chain)?;
    let filter = match fields.remove("tcp") {
        Some(tcp) => tcp_json(&tcp, places),
        None => http_json(&mut fields, places)?,
    };
    let mut chain = json!({ "filters": [filter] });
    if let Some(criteria) = fields.remove("match") {
        chain["filter_chain_match"] = criteria;
    }
    if let Some(tls) = fields.remove("tls") {
        chain["transport_socket"] = tls_json(&tls, "Downstream", places)?;
    }
    merge(&mut chain, fields.into());
    Ok(chain)
}

fn tcp_json(tcp: &Value, places: &Places<'_>) -> Value {
    let mut config = json!({
        "@type": format!("{TYPES}.filters.network.tcp_proxy.v3.TcpProxy"),
        "stat_prefix": "tcp",
        "access_log": [access_log(places.access_log, false)],
    });
    merge(&mut config, tcp.clone());
    json!({ "name": "envoy.filters.network.tcp_proxy", "typed_config": config })
}

fn http_json(fields: &mut Map<String, Value>, places: &Places<'_>) -> anyhow::Result<Value> {
    let hosts = match (fields.remove("hosts"), fields.remove("routes")) {
        (Some(Value::Array(hosts)), None) => hosts,
        (None, Some(routes)) => vec![json!({ "routes": routes })],
        (None, None) => Vec::new(),
        _ => bail!("hosts is a list, and routes are those of one host for all"),
    };
    let hosts = hosts.iter().enumerate().map(virtual_host);
    let mut manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "http",
        "delayed_close_timeout": "0.1s",
        "route_config": { "name": "local", "virtual_hosts": hosts.collect::<Vec<_>>() },
        "access_log": [access_log(places.access_log, false)],
        "http_filters": ["router"],
    });
    merge(&mut manager, fields.remove("http").unwrap_or(json!({})));
    if let Some(filters) = manager["http_filters"].as_array_mut() {
        for filter in filters {
            expand_filter(filter)?;
        }
    }
    Ok(json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager,
    }))
}

fn virtual_host((index, host): (usize, &Value)) -> Value {
    let mut full = json!({ "name": format!("host-{index}"), "domains": ["*"] });
    merge(&mut full, host.clone());
    full
}

/// A name stands for the filter without settings.
fn expand_filter(filter: &mut Value) -> anyhow::Result<()> {
    let Some(name) = filter.as_str() else {
        return Ok(());
    };
    let kind = match name {
        "router" => "Router",
        "cors" => "Cors",
        "fault" => "HTTPFault",
        "grpc_stats" => "FilterConfig",
        "grpc_web" => "GrpcWeb",
        other => bail!("no filter is named {other:?}"),
    };
    *filter = json!({
        "name": format!("envoy.filters.http.{name}"),
        "typed_config": { "@type": format!("{TYPES}.filters.http.{name}.v3.{kind}") },
    });
    Ok(())
}

fn inspector(name: &Value) -> Value {
    let (name, kind) = match name.as_str() {
        Some("http") => ("http_inspector", "HttpInspector"),
        Some("proxy_protocol") => ("proxy_protocol", "ProxyProtocol"),
        _ => ("tls_inspector", "TlsInspector"),
    };
    json!({
        "name": format!("envoy.filters.listener.{name}"),
        "typed_config": { "@type": format!("{TYPES}.filters.listener.{name}.v3.{kind}") },
    })
}

fn tls_json(tls: &Value, side: &str, places: &Places<'_>) -> anyhow::Result<Value> {
    let mut fields = object(tls)?;
    let file = |name: &str| json!({ "filename": places.certificates.path(name) });
    let mut common = json!({});
    if let Some(name) = fields.remove("certificate") {
        let name = name.as_str().context("certificate is a name")?;
        common["tls_certificates"] = json!([{
            "certificate_chain": file(&format!("{name}.pem")),
            "private_key": file(&format!("{name}.key")),
        }]);
    }
    if fields.remove("ca") == Some(true.into()) {
        common["validation_context"] = json!({ "trusted_ca": file("ca.pem") });
    }
    let mut context = json!({
        "@type": format!("{TYPES}.transport_sockets.tls.v3.{side}TlsContext"),
        "common_tls_context": common,
    });
    if let Some(require) = fields.remove("require") {
        context["require_client_certificate"] = require;
    }
    merge(&mut context, fields.into());
    Ok(json!({ "name": "envoy.transport_sockets.tls", "typed_config": context }))
}

fn access_log(path: &Path, only_unmatched: bool) -> Value {
    let mut log = json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": format!("{TYPES}.access_loggers.file.v3.FileAccessLog"),
            "path": path,
            "log_format": { "text_format_source": { "inline_string": LOG_FORMAT } },
        },
    });
    if only_unmatched {
        log["filter"] = json!({ "response_flag_filter": { "flags": ["NR"] } });
    }
    log
}

fn object(value: &Value) -> anyhow::Result<Map<String, Value>> {
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(fields) => Ok(fields.clone()),
        _ => bail!("{value} is no set of fields"),
    }
}

fn take(fields: &mut Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let taken = names.iter().filter_map(|name| {
        let value = fields.remove(*name)?;
        Some(((*name).to_owned(), value))
    });
    taken.collect()
}

/// Lays `over` over `base`: fields of objects one by one, all else whole.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                merge(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}
