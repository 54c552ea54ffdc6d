//! [DestinationRule](https://istio.io/latest/docs/reference/config/networking/destination-rule/):
//! how to talk to a service once it is chosen.

use std::collections::BTreeMap;

use crate::condition::MeshStatus;
use crate::kind::{self, Kind};
use crate::networking::virtual_service::PortSelector;
use crate::object::{Object, Spec};
use crate::security::peer_authentication::WorkloadSelector;
use crate::wire::{DurationString, open_enum, wire};

/// A DestinationRule object.
pub type DestinationRule = Object<DestinationRuleSpec>;

impl Spec for DestinationRuleSpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::DESTINATION_RULE;
}

wire! {
    /// How to talk to a service once it is chosen.
    #[schemars(extend("required" = ["host"]))]
    pub struct DestinationRuleSpec {
        /// Service, with `*` for a first label; short names are of this namespace.
        pub host: String,
        /// Load balancing, pools, outlier detection and TLS.
        pub traffic_policy: Option<TrafficPolicy>,
        /// Named versions of the service.
        pub subsets: Vec<Subset>,
        /// Namespaces that see this: `.`, `*` or names; empty means the mesh default.
        pub export_to: Vec<String>,
        /// Client pods this is for; default is every client.
        pub workload_selector: Option<WorkloadSelector>,
    }

    /// A named version of a service.
    #[schemars(extend("required" = ["name"]))]
    pub struct Subset {
        /// Name, a DNS label.
        pub name: String,
        /// Labels that its endpoints have.
        pub labels: BTreeMap<String, String>,
        /// Replaces parts of the rule's policy, with the same fields.
        #[schemars(extend("x-brief" = true))]
        pub traffic_policy: Option<TrafficPolicy>,
    }

    /// How to talk to a service.
    pub struct TrafficPolicy {
        /// Choice of the endpoint.
        pub load_balancer: Option<LoadBalancerSettings>,
        /// Limits of connections and requests.
        pub connection_pool: Option<ConnectionPoolSettings>,
        /// Avoiding endpoints that fail.
        pub outlier_detection: Option<OutlierDetection>,
        /// TLS towards the service.
        pub tls: Option<ClientTlsSettings>,
        /// Policies per port, with the same fields; they replace this one.
        #[schemars(length(max = 4096), extend("x-brief" = true))]
        pub port_level_settings: Vec<PortTrafficPolicy>,
        /// Tunnel TCP through a proxy.
        pub tunnel: Option<TunnelSettings>,
        /// PROXY protocol header to send.
        pub proxy_protocol: Option<ProxyProtocol>,
        /// Limit of concurrent retries.
        pub retry_budget: Option<RetryBudget>,
    }

    /// A policy for one port.
    pub struct PortTrafficPolicy {
        /// The port.
        pub port: Option<PortSelector>,
        /// Choice of the endpoint.
        pub load_balancer: Option<LoadBalancerSettings>,
        /// Limits of connections and requests.
        pub connection_pool: Option<ConnectionPoolSettings>,
        /// Avoiding endpoints that fail.
        pub outlier_detection: Option<OutlierDetection>,
        /// TLS towards the service.
        pub tls: Option<ClientTlsSettings>,
    }

    /// Choice of the endpoint.
    #[schemars(extend("oneOf" = crate::schema::one_of(&["simple", "consistentHash", "backendUtilization"])))]
    pub struct LoadBalancerSettings {
        /// Algorithm without parameters.
        pub simple: Option<SimpleLb>,
        /// Same endpoint for the same hash.
        pub consistent_hash: Option<ConsistentHashLb>,
        /// Weights from load reports of the endpoints.
        pub backend_utilization: Option<BackendUtilizationLb>,
        /// Preference by locality.
        pub locality_lb_setting: Option<LocalityLbSetting>,
        /// Preference by zone with even load.
        pub zone_aware_lb_setting: Option<ZoneAwareLbSetting>,
        /// Deprecated, use warmup.
        pub warmup_duration_secs: Option<DurationString>,
        /// Slow start of new endpoints.
        pub warmup: Option<WarmupConfiguration>,
    }

    /// Same endpoint for the same hash.
    #[schemars(extend("allOf" = [
        { "oneOf": crate::schema::one_of(&["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"]) },
        { "oneOf": crate::schema::one_of(&["ringHash", "maglev"]) },
    ]))]
    pub struct ConsistentHashLb {
        /// Header to hash.
        pub http_header_name: Option<String>,
        /// Cookie to hash.
        pub http_cookie: Option<HttpCookie>,
        /// Hash the client address.
        pub use_source_ip: Option<bool>,
        /// Query parameter to hash.
        pub http_query_parameter_name: Option<String>,
        /// Ring hash; the default with 1024 entries.
        pub ring_hash: Option<RingHash>,
        /// Maglev hash.
        pub maglev: Option<MagLev>,
        /// Deprecated, use ringHash.
        pub minimum_ring_size: Option<u64>,
    }

    /// A cookie; made if the client has none and there is a ttl.
    #[schemars(extend("required" = ["name"]))]
    pub struct HttpCookie {
        /// Name.
        pub name: String,
        /// Path.
        pub path: String,
        /// Lifetime; 0s is a session cookie.
        pub ttl: Option<String>,
        /// Further attributes.
        pub attributes: Vec<CookieAttribute>,
    }

    /// An attribute of a cookie.
    #[schemars(extend("required" = ["name"]))]
    pub struct CookieAttribute {
        /// Name.
        pub name: String,
        /// Value, if it has one.
        pub value: String,
    }

    /// Ring hash.
    pub struct RingHash {
        /// Least number of entries; default 1024.
        pub minimum_ring_size: Option<u64>,
    }

    /// Maglev hash.
    pub struct MagLev {
        /// Table size, a prime up to 5000011; default 65537.
        pub table_size: Option<u64>,
    }

    /// Weights from load reports of the endpoints.
    pub struct BackendUtilizationLb {
        /// How often weights change.
        pub weight_update_period: Option<String>,
        /// How long an endpoint must report before it counts.
        pub weight_stabilization_period: Option<String>,
        /// How long a report counts.
        pub weight_expiration_period: Option<String>,
        /// How much errors reduce the weight, in percent.
        pub error_utilization_penalty_percent: Option<u32>,
        /// Metrics that count as utilization.
        pub metric_names_for_computing_utilization: Vec<String>,
    }

    /// Preference by locality; at most one of distribute, failover, failoverPriority.
    pub struct LocalityLbSetting {
        /// Shares per locality.
        pub distribute: Vec<LocalityDistribute>,
        /// Where to go when a region fails.
        pub failover: Vec<LocalityFailover>,
        /// Labels in order of preference.
        pub failover_priority: Vec<String>,
        /// Overrides the mesh setting.
        #[schemars(extend("nullable" = true))]
        pub enabled: Option<bool>,
    }

    /// Shares of the traffic from one locality.
    pub struct LocalityDistribute {
        /// `region/zone/sub-zone`, with `*` at the end.
        pub from: String,
        /// Percent per locality; sums to 100.
        pub to: BTreeMap<String, u32>,
    }

    /// Where to go when a region fails.
    pub struct LocalityFailover {
        /// Region of the client.
        pub from: String,
        /// Region to use instead.
        pub to: String,
    }

    /// Preference by zone with even load.
    pub struct ZoneAwareLbSetting {
        /// Turns it on.
        #[schemars(extend("nullable" = true))]
        pub enabled: Option<bool>,
        /// Fewest endpoints for it to act.
        #[schemars(extend("nullable" = true, "minimum" = 1))]
        pub min_cluster_size: Option<u32>,
        /// Where to go when a region fails.
        pub failover: Vec<LocalityFailover>,
        /// Labels in order of preference.
        pub failover_priority: Vec<String>,
    }

    /// Slow start of new endpoints.
    #[schemars(extend("required" = ["duration"]))]
    pub struct WarmupConfiguration {
        /// How long.
        pub duration: DurationString,
        /// First share in percent; default 10.
        #[schemars(extend("nullable" = true, "minimum" = 0, "maximum" = 100))]
        pub minimum_percent: Option<f64>,
        /// Shape of the ramp; 1 is linear.
        #[schemars(extend("nullable" = true, "minimum" = 0))]
        pub aggression: Option<f64>,
    }

    /// Limits of connections and requests.
    pub struct ConnectionPoolSettings {
        /// For every connection.
        pub tcp: Option<TcpSettings>,
        /// For HTTP.
        pub http: Option<HttpSettings>,
    }

    /// Limits of connections.
    pub struct TcpSettings {
        /// Most connections; default 2^32-1.
        pub max_connections: i32,
        /// Limit for connecting; default 10s.
        pub connect_timeout: Option<DurationString>,
        /// TCP keep-alive.
        pub tcp_keepalive: Option<TcpKeepalive>,
        /// Longest life of a connection.
        pub max_connection_duration: Option<DurationString>,
        /// Longest silence; default 1h, 0s is no limit.
        pub idle_timeout: Option<String>,
    }

    /// TCP keep-alive; absent values are the system's.
    pub struct TcpKeepalive {
        /// Probes without answer until the connection is dropped.
        pub probes: Option<u32>,
        /// Silence before the first probe.
        pub time: Option<DurationString>,
        /// Pause between probes.
        pub interval: Option<DurationString>,
    }

    /// Limits of requests.
    pub struct HttpSettings {
        /// Most requests that wait for a connection.
        pub http1_max_pending_requests: i32,
        /// Most requests at once.
        pub http2_max_requests: i32,
        /// Requests until a connection is closed; 0 is no limit.
        pub max_requests_per_connection: i32,
        /// Most retries at once.
        pub max_retries: i32,
        /// Longest time without a request; default 1h.
        pub idle_timeout: Option<DurationString>,
        /// Whether HTTP/1.1 becomes HTTP/2.
        pub h2_upgrade_policy: H2UpgradePolicy,
        /// Keep the client's protocol.
        pub use_client_protocol: bool,
        /// Most streams of one HTTP/2 connection.
        pub max_concurrent_streams: i32,
        /// HTTP/2 pings.
        #[serde(rename = "http2KeepAlive")]
        pub http2_keep_alive: Option<KeepAlive>,
    }

    /// HTTP/2 pings.
    pub struct KeepAlive {
        /// Pause between pings.
        pub interval: Option<DurationString>,
        /// Limit for the answer.
        pub timeout: Option<DurationString>,
    }

    /// Avoiding endpoints that fail.
    pub struct OutlierDetection {
        /// Deprecated, use consecutive5xxErrors.
        pub consecutive_errors: i32,
        /// Tell failures of connecting from bad answers.
        pub split_external_local_origin_errors: bool,
        /// Failures of connecting in a row.
        #[schemars(extend("nullable" = true))]
        pub consecutive_local_origin_failures: Option<u32>,
        /// 502, 503 and 504 in a row.
        #[schemars(extend("nullable" = true))]
        pub consecutive_gateway_errors: Option<u32>,
        /// 5xx in a row; default 5.
        #[serde(rename = "consecutive5xxErrors")]
        #[schemars(extend("nullable" = true))]
        pub consecutive_5xx_errors: Option<u32>,
        /// Pause between checks; default 10s.
        pub interval: Option<DurationString>,
        /// Shortest ejection; default 30s.
        pub base_ejection_time: Option<DurationString>,
        /// Most endpoints ejected, in percent; default 10.
        pub max_ejection_percent: i32,
        /// Off when fewer endpoints are healthy, in percent.
        pub min_health_percent: i32,
        /// Statuses that count as errors.
        #[schemars(inner(range(min = 100, max = 599)))]
        pub outlier_detection_http_error_codes: Vec<u32>,
    }

    /// TLS towards the service.
    pub struct ClientTlsSettings {
        /// Whether and how.
        pub mode: ClientTlsMode,
        /// File of the certificate chain.
        pub client_certificate: String,
        /// File of the private key.
        pub private_key: String,
        /// File of the CA certificates; default is the system's.
        pub ca_certificates: String,
        /// Secret with key, certificate and CA.
        pub credential_name: String,
        /// Names that the server certificate may carry.
        pub subject_alt_names: Vec<String>,
        /// Server name to send.
        pub sni: String,
        /// Accept any server certificate.
        #[schemars(extend("nullable" = true))]
        pub insecure_skip_verify: Option<bool>,
        /// File of the revocation list.
        pub ca_crl: String,
    }

    /// Tunnel TCP through a proxy.
    #[schemars(extend("required" = ["targetHost", "targetPort"]))]
    pub struct TunnelSettings {
        /// CONNECT (default) or POST.
        pub protocol: String,
        /// Host to ask the proxy for.
        pub target_host: String,
        /// Port to ask the proxy for.
        pub target_port: u32,
    }

    /// PROXY protocol header to send.
    pub struct ProxyProtocol {
        /// Version of the header.
        pub version: ProxyProtocolVersion,
    }

    /// Limit of concurrent retries.
    pub struct RetryBudget {
        /// Share of active requests, in percent; default 20.
        #[schemars(extend("nullable" = true, "minimum" = 0, "maximum" = 100))]
        pub percent: Option<f64>,
        /// Retries always allowed; default 3.
        pub min_retry_concurrency: Option<u32>,
        /// Time window that counts.
        pub budget_interval: Option<String>,
    }
}

open_enum! {
    /// Algorithms without parameters.
    pub enum SimpleLb {
        Unspecified = "UNSPECIFIED",
        LeastConn = "LEAST_CONN",
        Random = "RANDOM",
        Passthrough = "PASSTHROUGH",
        RoundRobin = "ROUND_ROBIN",
        LeastRequest = "LEAST_REQUEST",
    }

    /// Whether HTTP/1.1 becomes HTTP/2.
    pub enum H2UpgradePolicy {
        Default = "DEFAULT",
        DoNotUpgrade = "DO_NOT_UPGRADE",
        Upgrade = "UPGRADE",
    }

    /// TLS towards a service.
    pub enum ClientTlsMode {
        Disable = "DISABLE",
        Simple = "SIMPLE",
        Mutual = "MUTUAL",
        IstioMutual = "ISTIO_MUTUAL",
    }

    /// A version of the PROXY protocol.
    pub enum ProxyProtocolVersion {
        V1 = "V1",
        V2 = "V2",
    }
}
