//! What a proxy knows before it is told anything: environment, `PROXY_CONFIG`, flags, the pod's labels.
//!
//! Names of variables, files and metadata keys are the peer's
//! (<https://istio.io/latest/docs/reference/commands/pilot-agent/#envvars>).

mod environment;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ironsail_mesh::identity::Identity;
use ironsail_mesh::node::{NodeId, NodeType};
use ironsail_mesh::proxy_config::{self, ProxyConfig};
use ironsail_mesh::{duration, label};
use ironsail_xds::core::Node;
use ironsail_xds::protobuf;
use serde_json::{Map, Value, json};

pub use environment::Environment;

use crate::agent;
use crate::resource::Switches;

/// Everything the parts of the proxy start from.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    pub node: NodeId,
    /// `node.cluster`: `<app>.<namespace>`.
    pub service_cluster: String,
    /// `node.metadata`.
    pub metadata: Map<String, Value>,
    pub proxy_config: ProxyConfig,
    pub identity: Identity,
    pub discovery: Address,
    pub certificate_authority: Address,
    /// Name that the control plane's certificate must carry; the host of `discovery` unless `ISTIOD_SAN` is set.
    pub discovery_name: String,
    pub cluster_id: String,
    /// Worker threads, at least 1.
    pub concurrency: usize,
    pub delta: bool,
    /// How long a stopping proxy serves on: `terminationDrainDuration`.
    pub drain: Duration,
    /// End as soon as no connection is left, `EXIT_ON_ZERO_ACTIVE_CONNECTIONS`.
    pub exit_on_zero_connections: bool,
    /// Least time of such an end, `MINIMUM_DRAIN_DURATION`; default 5 s.
    pub minimum_drain: Duration,
    pub certificate: CertificateSettings,
    pub ports: Ports,
    pub neighbours: Neighbours,
    pub switches: Switches,
}

/// What other programs of the pod get from the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// `DISABLE_ENVOY`: there is no proxy here, only its agent; default false.
    pub is_agent_only: bool,
    /// Socket of the workload's certificate; its file name is `WORKLOAD_IDENTITY_SOCKET_FILE`, default `socket`.
    pub identity_socket: PathBuf,
    /// Folder for the certificate in files, `OUTPUT_CERTS`; nowhere by default.
    pub certificates: Option<PathBuf>,
    /// Bootstrap of gRPC libraries, `GRPC_XDS_BOOTSTRAP`.
    pub grpc_bootstrap: PathBuf,
}

/// Life and renewal of the workload's certificate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CertificateSettings {
    /// `SECRET_TTL`, default 24 h.
    pub ttl: Duration,
    /// Renewal when this share of the life is left: `SECRET_GRACE_PERIOD_RATIO`, default 0.5.
    pub grace_ratio: f64,
    /// `SECRET_GRACE_PERIOD_RATIO_JITTER`, default 0.01.
    pub jitter: f64,
}

/// Ports that are not configured over xDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Admin API on loopback; default 15000.
    pub admin: u16,
    /// Probes and merged metrics; default 15020.
    pub status: u16,
    /// Readiness; `ENVOY_STATUS_PORT`, default 15021.
    pub readiness: u16,
    /// The proxy's own metrics; `ENVOY_PROMETHEUS_PORT`, default 15090.
    pub prometheus: u16,
}

/// `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("{name} is not set")]
    Missing { name: &'static str },
    #[error("{name}: {value:?} is not {expected}")]
    Value {
        name: String,
        value: String,
        expected: &'static str,
    },
    #[error("PROXY_CONFIG does not decode")]
    ProxyConfig(#[source] serde_yaml_ng::Error),
    #[error("proxy type {0:?} is not offered by this version (sidecar, router)")]
    Role(String),
}

/// What flags of `pilot-agent proxy` say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `sidecar` (default) or `router`.
    pub role: Option<String>,
    /// DNS domain of the proxy.
    pub domain: Option<String>,
    pub concurrency: Option<u32>,
    pub service_cluster: Option<String>,
}

impl Bootstrap {
    /// Puts flags, environment and files together; flags win.
    ///
    /// # Errors
    /// A needed variable is absent, or a value does not parse.
    pub fn new(flags: &Flags, environment: &Environment) -> Result<Self, BootstrapError> {
        let role = role(flags.role.as_deref())?;
        let proxy_config = proxy_config(environment)?;
        let pod = environment.required("POD_NAME")?.to_owned();
        let namespace = environment.required("POD_NAMESPACE")?.to_owned();
        let service_account = environment.get("SERVICE_ACCOUNT").unwrap_or("default");
        let trust_domain = environment
            .get("TRUST_DOMAIN")
            .unwrap_or(ironsail_mesh::identity::DEFAULT_TRUST_DOMAIN);
        let ip = match environment.get("INSTANCE_IP") {
            Some(ip) => parse("INSTANCE_IP", ip, "an IP address")?,
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let domain = flags
            .domain
            .clone()
            .unwrap_or_else(|| format!("{namespace}.svc.cluster.local"));
        let discovery = Address::parse("discoveryAddress", proxy_config.discovery_address())?;
        let certificate_authority = match environment.get("CA_ADDR") {
            Some(address) => Address::parse("CA_ADDR", address)?,
            None => discovery.clone(),
        };
        let identity = Identity::new(trust_domain, &namespace, service_account);
        let metadata = metadata(environment, &proxy_config, &identity, &pod, ip)?;
        let service_cluster = service_cluster(flags, &proxy_config, &metadata, &namespace);
        Ok(Self {
            discovery_name: environment
                .get("ISTIOD_SAN")
                .map_or_else(|| discovery.host.clone(), str::to_owned),
            cluster_id: metadata
                .get("CLUSTER_ID")
                .and_then(Value::as_str)
                .unwrap_or("Kubernetes")
                .to_owned(),
            concurrency: concurrency(flags, &proxy_config, environment)?,
            delta: environment.flag("ISTIO_DELTA_XDS", true),
            drain: environment_or(
                "terminationDrainDuration",
                proxy_config.termination_drain_duration.as_deref(),
                Duration::from_secs(5),
            )?,
            exit_on_zero_connections: environment.flag("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", false),
            minimum_drain: environment_or(
                "MINIMUM_DRAIN_DURATION",
                environment.get("MINIMUM_DRAIN_DURATION"),
                Duration::from_secs(5),
            )?,
            certificate: certificate(environment)?,
            ports: ports(environment, &proxy_config)?,
            neighbours: neighbours(environment),
            switches: Switches {
                lenient_http1: environment.switch("IRONSAIL_HTTP1_LENIENT")?,
            },
            node: NodeId {
                node_type: role,
                ip,
                pod,
                namespace,
                dns_domain: domain,
            },
            service_cluster,
            metadata,
            proxy_config,
            identity,
            discovery,
            certificate_authority,
        })
    }

    /// The node as xDS carries it.
    pub fn xds_node(&self) -> Node {
        Node {
            id: self.node.to_string(),
            cluster: self.service_cluster.clone(),
            metadata: Some(to_struct(&self.metadata)),
            user_agent_name: "ironsail".to_owned(),
            ..Default::default()
        }
    }
}

impl std::fmt::Display for Address {
    /// With brackets around an IPv6 literal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Address {
    fn parse(name: &str, text: &str) -> Result<Self, BootstrapError> {
        let error = || BootstrapError::Value {
            name: name.to_owned(),
            value: text.to_owned(),
            expected: "host:port",
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        match (host, port.parse()) {
            ("", _) | (_, Err(_)) => Err(error()),
            (host, Ok(port)) => Ok(Self {
                host: host.trim_matches(['[', ']']).to_owned(),
                port,
            }),
        }
    }
}

fn parse<T: std::str::FromStr>(
    name: &str,
    text: &str,
    expected: &'static str,
) -> Result<T, BootstrapError> {
    text.parse().map_err(|_| BootstrapError::Value {
        name: name.to_owned(),
        value: text.to_owned(),
        expected,
    })
}

fn environment_or(
    name: &str,
    text: Option<&str>,
    default: Duration,
) -> Result<Duration, BootstrapError> {
    match text {
        None | Some("") => Ok(default),
        Some(text) => duration::parse(text).map_err(|_| BootstrapError::Value {
            name: name.to_owned(),
            value: text.to_owned(),
            expected: "a duration such as 5s",
        }),
    }
}

fn role(text: Option<&str>) -> Result<NodeType, BootstrapError> {
    match text {
        None | Some("sidecar") => Ok(NodeType::Sidecar),
        Some("router") => Ok(NodeType::Router),
        Some(other) => Err(BootstrapError::Role(other.to_owned())),
    }
}

/// The mesh file, then `PROXY_CONFIG`, then the pod's annotation; lists replace.
fn proxy_config(environment: &Environment) -> Result<ProxyConfig, BootstrapError> {
    let read = |text: &str| -> Result<Value, BootstrapError> {
        let value: Value = serde_yaml_ng::from_str(text).map_err(BootstrapError::ProxyConfig)?;
        Ok(if value.is_null() { json!({}) } else { value })
    };
    let mut merged = json!({});
    if let Some(mesh) = environment.file("./etc/istio/config/mesh") {
        let mesh = read(&mesh)?;
        if let Some(default) = mesh.get("defaultConfig") {
            proxy_config::merge(&mut merged, default.clone());
        }
    }
    let annotation = environment.annotations().remove("proxy.istio.io/config");
    let own = environment.get("PROXY_CONFIG").map(str::to_owned);
    for text in own.into_iter().chain(annotation) {
        proxy_config::merge(&mut merged, read(&text)?);
    }
    // Through text once more: numbers that YAML reads as floats and the like.
    serde_yaml_ng::from_str(&merged.to_string()).map_err(BootstrapError::ProxyConfig)
}

fn concurrency(
    flags: &Flags,
    proxy_config: &ProxyConfig,
    environment: &Environment,
) -> Result<usize, BootstrapError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let configured = flags.concurrency.or(proxy_config.concurrency);
    if let Some(configured) = configured {
        return Ok(match usize::try_from(configured).unwrap_or(cores) {
            0 => cores,
            workers => workers,
        });
    }
    match environment.get("ISTIO_CPU_LIMIT") {
        Some(limit) => {
            let limit: usize = parse("ISTIO_CPU_LIMIT", limit, "a number of cores")?;
            Ok(limit.clamp(1, cores))
        }
        None => Ok(2.min(cores)),
    }
}

fn certificate(environment: &Environment) -> Result<CertificateSettings, BootstrapError> {
    let ratio = |name: &'static str, default: f64| match environment.get(name) {
        Some(text) => parse::<f64>(name, text, "a share between 0 and 1"),
        None => Ok(default),
    };
    Ok(CertificateSettings {
        ttl: environment_or(
            "SECRET_TTL",
            environment.get("SECRET_TTL"),
            Duration::from_secs(24 * 3600),
        )?,
        grace_ratio: ratio("SECRET_GRACE_PERIOD_RATIO", 0.5)?,
        jitter: ratio("SECRET_GRACE_PERIOD_RATIO_JITTER", 0.01)?,
    })
}

fn ports(environment: &Environment, proxy_config: &ProxyConfig) -> Result<Ports, BootstrapError> {
    let port = |name: &'static str, default: u16| match environment.get(name) {
        Some(text) => parse(name, text, "a port"),
        None => Ok(default),
    };
    Ok(Ports {
        admin: proxy_config.proxy_admin_port(),
        status: proxy_config.status_port(),
        readiness: port("ENVOY_STATUS_PORT", 15021)?,
        prometheus: port("ENVOY_PROMETHEUS_PORT", 15090)?,
    })
}

fn neighbours(environment: &Environment) -> Neighbours {
    let socket = environment.get("WORKLOAD_IDENTITY_SOCKET_FILE");
    let grpc = environment.get("GRPC_XDS_BOOTSTRAP");
    Neighbours {
        is_agent_only: environment.flag("DISABLE_ENVOY", false),
        identity_socket: Path::new(agent::SOCKET_FOLDER).join(socket.unwrap_or("socket")),
        certificates: environment.get("OUTPUT_CERTS").map(PathBuf::from),
        grpc_bootstrap: grpc
            .unwrap_or("./etc/istio/proxy/grpc-bootstrap.json")
            .into(),
    }
}

/// `ISTIO_META_X=v` becomes `X: "v"`, `ISTIO_METAJSON_X={…}` becomes `X: {…}`; own facts come on top.
fn metadata(
    environment: &Environment,
    proxy_config: &ProxyConfig,
    identity: &Identity,
    pod: &str,
    ip: IpAddr,
) -> Result<Map<String, Value>, BootstrapError> {
    let mut metadata = Map::new();
    let configured = proxy_config.proxy_metadata.iter();
    let configured = configured.map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in configured.chain(environment.all()) {
        if let Some(key) = name.strip_prefix("ISTIO_META_") {
            metadata.insert(key.to_owned(), value.into());
        } else if let Some(key) = name.strip_prefix("ISTIO_METAJSON_") {
            let value = serde_json::from_str(value).map_err(|_| BootstrapError::Value {
                name: name.to_owned(),
                value: value.to_owned(),
                expected: "JSON",
            })?;
            let slot = metadata.entry(key.to_owned()).or_insert(Value::Null);
            proxy_config::merge(slot, value);
        }
    }
    let mut labels = json!(environment.labels());
    if let Some(own) = metadata.remove("LABELS") {
        proxy_config::merge(&mut labels, own);
    }
    metadata.insert("LABELS".to_owned(), labels);
    let annotations = environment.annotations();
    if !annotations.is_empty() {
        metadata.insert("ANNOTATIONS".to_owned(), json!(annotations));
    }
    let facts = [
        ("NAME", pod.to_owned()),
        ("NAMESPACE", identity.namespace.clone()),
        ("SERVICE_ACCOUNT", identity.service_account.clone()),
        ("INSTANCE_IPS", ip.to_string()),
        ("ISTIO_VERSION", ironsail_mesh::ISTIO_VERSION.to_owned()),
    ];
    for (key, value) in facts {
        metadata.insert(key.to_owned(), value.into());
    }
    let config = serde_json::to_value(proxy_config).unwrap_or_default();
    metadata.insert("PROXY_CONFIG".to_owned(), config);
    Ok(metadata)
}

fn service_cluster(
    flags: &Flags,
    proxy_config: &ProxyConfig,
    metadata: &Map<String, Value>,
    namespace: &str,
) -> String {
    if let Some(name) = flags
        .service_cluster
        .clone()
        .or_else(|| proxy_config.service_cluster.clone())
    {
        return name;
    }
    let app = metadata
        .get("LABELS")
        .and_then(|labels| labels.get(label::APP))
        .or_else(|| metadata.get("WORKLOAD_NAME"))
        .and_then(Value::as_str)
        .unwrap_or("istio-proxy");
    format!("{app}.{namespace}")
}

fn to_struct(map: &Map<String, Value>) -> protobuf::Struct {
    protobuf::Struct {
        fields: map
            .iter()
            .map(|(key, value)| (key.clone(), to_value(value)))
            .collect(),
    }
}

fn to_value(value: &Value) -> protobuf::Value {
    use protobuf::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(0.0)),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => Kind::ListValue(protobuf::ListValue {
            values: values.iter().map(to_value).collect(),
        }),
        Value::Object(map) => Kind::StructValue(to_struct(map)),
    };
    protobuf::Value { kind: Some(kind) }
}
