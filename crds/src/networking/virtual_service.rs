//! [VirtualService](https://istio.io/latest/docs/reference/config/networking/virtual-service/):
//! where the traffic of a host goes.

use std::collections::BTreeMap;

use crate::condition::MeshStatus;
use crate::kind::{self, Kind};
use crate::object::{Object, Spec};
use crate::wire::{DurationString, open_enum, wire};

/// A VirtualService object.
pub type VirtualService = Object<VirtualServiceSpec>;

impl Spec for VirtualServiceSpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::VIRTUAL_SERVICE;
}

wire! {
    /// Where the traffic of some hosts goes.
    pub struct VirtualServiceSpec {
        /// Hosts, with `*` for a first label; short names are of this namespace.
        pub hosts: Vec<String>,
        /// Gateways as `name` or `namespace/name`; `mesh` means every sidecar and is the default.
        pub gateways: Vec<String>,
        /// Routes of HTTP traffic, first match wins.
        pub http: Vec<HttpRoute>,
        /// Routes of TLS traffic that is not ended here, by SNI.
        pub tls: Vec<TlsRoute>,
        /// Routes of other TCP traffic.
        pub tcp: Vec<TcpRoute>,
        /// Namespaces that see this: `.`, `*` or names; empty means the mesh default.
        pub export_to: Vec<String>,
    }

    /// A rule for HTTP traffic.
    pub struct HttpRoute {
        /// Name for access logs.
        pub name: String,
        /// Alternatives of what matches; none matches everything.
        #[serde(rename = "match")]
        pub matches: Vec<HttpMatchRequest>,
        /// Weighted destinations.
        pub route: Vec<HttpRouteDestination>,
        /// Answer with a redirect.
        pub redirect: Option<HttpRedirect>,
        /// Answer with a fixed response.
        pub direct_response: Option<HttpDirectResponse>,
        /// Take the rules from another VirtualService.
        pub delegate: Option<Delegate>,
        /// Change path or authority before forwarding.
        pub rewrite: Option<HttpRewrite>,
        /// Limit for the whole request; default is none.
        pub timeout: Option<DurationString>,
        /// Retries of failed requests.
        pub retries: Option<HttpRetry>,
        /// Faults to inject.
        pub fault: Option<HttpFaultInjection>,
        /// Send a copy of the traffic there.
        pub mirror: Option<Destination>,
        /// Send copies to several destinations.
        pub mirrors: Vec<HttpMirrorPolicy>,
        /// Deprecated, use mirrorPercentage.
        #[schemars(extend("nullable" = true))]
        pub mirror_percent: Option<u32>,
        /// Deprecated, use mirrorPercentage.
        #[serde(rename = "mirror_percent")]
        #[schemars(extend("nullable" = true))]
        pub mirror_percent_snake: Option<u32>,
        /// Share of the traffic to copy; default 100.
        pub mirror_percentage: Option<Percent>,
        /// Cross-origin resource sharing.
        pub cors_policy: Option<CorsPolicy>,
        /// Header changes.
        pub headers: Option<Headers>,
    }

    /// What a request must look like; every given field must match.
    pub struct HttpMatchRequest {
        /// Name, added to the route name in access logs.
        pub name: String,
        /// Path.
        pub uri: Option<StringMatch>,
        /// Scheme.
        pub scheme: Option<StringMatch>,
        /// Method.
        pub method: Option<StringMatch>,
        /// Host and port as sent.
        pub authority: Option<StringMatch>,
        /// Headers by lower case name; an empty match asks for presence.
        pub headers: BTreeMap<String, StringMatch>,
        /// Port that the client asked for.
        pub port: Option<u32>,
        /// Labels of the client's pod.
        pub source_labels: BTreeMap<String, String>,
        /// Gateways this is for; replaces the top-level list.
        pub gateways: Vec<String>,
        /// Query parameters by name.
        pub query_params: BTreeMap<String, StringMatch>,
        /// Ignore the case of the path (not for regex).
        pub ignore_uri_case: bool,
        /// Headers that must not match.
        pub without_headers: BTreeMap<String, StringMatch>,
        /// Namespace of the client.
        pub source_namespace: String,
        /// Prefix of the route's statistics.
        pub stat_prefix: String,
    }

    /// How a text must be: one of the fields, or none for presence.
    #[schemars(extend("oneOf" = crate::schema::one_of(&["exact", "prefix", "regex"])))]
    pub struct StringMatch {
        /// Equal.
        pub exact: Option<String>,
        /// Begins with.
        pub prefix: Option<String>,
        /// RE2 expression for the whole text.
        pub regex: Option<String>,
    }

    /// A destination and its share.
    #[schemars(extend("required" = ["destination"]))]
    pub struct HttpRouteDestination {
        /// Where to.
        pub destination: Destination,
        /// Share relative to the sum; a single destination needs none.
        pub weight: i32,
        /// Header changes for this destination.
        pub headers: Option<Headers>,
    }

    /// A service, subset and port.
    #[schemars(extend("required" = ["host"]))]
    pub struct Destination {
        /// Service; short names are of the rule's namespace.
        pub host: String,
        /// Subset of the DestinationRule.
        pub subset: String,
        /// Port; needed if the service has several.
        pub port: Option<PortSelector>,
    }

    /// A port by number.
    pub struct PortSelector {
        /// Port number.
        pub number: Option<u32>,
    }

    /// Header changes in both directions.
    pub struct Headers {
        /// Before forwarding.
        pub request: Option<HeaderOperations>,
        /// Before answering.
        pub response: Option<HeaderOperations>,
    }

    /// Header changes.
    pub struct HeaderOperations {
        /// Replace.
        pub set: BTreeMap<String, String>,
        /// Append.
        pub add: BTreeMap<String, String>,
        /// Delete.
        pub remove: Vec<String>,
    }

    /// A redirect answer.
    #[schemars(extend("oneOf" = crate::schema::one_of(&["port", "derivePort"])))]
    pub struct HttpRedirect {
        /// New path.
        pub uri: String,
        /// New beginning of the path, for prefix matches.
        pub prefix_rewrite: String,
        /// New authority.
        pub authority: String,
        /// New port.
        pub port: Option<u32>,
        /// Where the port comes from.
        pub derive_port: Option<RedirectPortSelection>,
        /// New scheme.
        pub scheme: String,
        /// Status, 301 by default.
        pub redirect_code: Option<u32>,
    }

    /// A fixed answer.
    #[schemars(extend("required" = ["status"]))]
    pub struct HttpDirectResponse {
        /// Status, 200 to 599.
        pub status: u32,
        /// Body, at most 1 MB.
        pub body: Option<HttpBody>,
    }

    /// A body as text or bytes.
    #[schemars(extend("oneOf" = crate::schema::one_of(&["string", "bytes"])))]
    pub struct HttpBody {
        /// Text.
        pub string: Option<String>,
        /// Base64.
        #[schemars(extend("format" = "byte"))]
        pub bytes: Option<String>,
    }

    /// Another VirtualService.
    pub struct Delegate {
        /// Its name.
        pub name: String,
        /// Its namespace; default is the root's.
        pub namespace: String,
    }

    /// Changes of path and authority.
    pub struct HttpRewrite {
        /// New path, or new beginning for prefix matches.
        pub uri: String,
        /// New authority.
        pub authority: String,
        /// New path by regular expression.
        pub uri_regex_rewrite: Option<RegexRewrite>,
    }

    /// A replacement by regular expression.
    pub struct RegexRewrite {
        /// RE2 expression.
        #[serde(rename = "match")]
        pub pattern: String,
        /// Replacement, with `\1` for groups.
        pub rewrite: String,
    }

    /// Retries of failed requests.
    pub struct HttpRetry {
        /// Number of retries; 0 turns them off.
        pub attempts: i32,
        /// Limit of each try, including the first.
        pub per_try_timeout: Option<DurationString>,
        /// Conditions, comma-separated, and status codes.
        pub retry_on: String,
        /// Try other localities too.
        #[schemars(extend("nullable" = true))]
        pub retry_remote_localities: Option<bool>,
        /// Avoid hosts that were already tried.
        #[schemars(extend("nullable" = true))]
        pub retry_ignore_previous_hosts: Option<bool>,
        /// Base pause between tries; default 25ms.
        pub backoff: Option<DurationString>,
    }

    /// Faults to inject.
    pub struct HttpFaultInjection {
        /// Delay before forwarding.
        pub delay: Option<FaultDelay>,
        /// Answer with an error.
        pub abort: Option<FaultAbort>,
    }

    /// A delay.
    #[schemars(extend("oneOf" = crate::schema::one_of(&["fixedDelay", "exponentialDelay"])))]
    pub struct FaultDelay {
        /// Deprecated share, 0 to 100.
        pub percent: i32,
        /// How long.
        pub fixed_delay: Option<DurationString>,
        /// Not implemented by any version.
        pub exponential_delay: Option<DurationString>,
        /// Share of requests.
        pub percentage: Option<Percent>,
    }

    /// An error answer.
    #[schemars(extend("oneOf" = crate::schema::one_of(&["httpStatus", "grpcStatus", "http2Error"])))]
    pub struct FaultAbort {
        /// HTTP status.
        pub http_status: Option<i32>,
        /// gRPC status, such as UNAVAILABLE.
        pub grpc_status: Option<String>,
        /// Not implemented by any version.
        pub http2_error: Option<String>,
        /// Share of requests.
        pub percentage: Option<Percent>,
    }

    /// A share in percent.
    pub struct Percent {
        /// 0 to 100.
        #[schemars(extend("format" = "double"))]
        pub value: f64,
    }

    /// A copy of the traffic.
    #[schemars(extend("required" = ["destination"]))]
    pub struct HttpMirrorPolicy {
        /// Where to.
        pub destination: Destination,
        /// Share of the traffic; default 100.
        pub percentage: Option<Percent>,
    }

    /// Cross-origin resource sharing.
    pub struct CorsPolicy {
        /// Deprecated, use allowOrigins.
        pub allow_origin: Vec<String>,
        /// Origins that may call.
        pub allow_origins: Vec<StringMatch>,
        /// Methods allowed.
        pub allow_methods: Vec<String>,
        /// Request headers allowed.
        pub allow_headers: Vec<String>,
        /// Response headers that scripts may read.
        pub expose_headers: Vec<String>,
        /// How long a preflight answer holds.
        pub max_age: Option<DurationString>,
        /// Whether credentials may be sent.
        #[schemars(extend("nullable" = true))]
        pub allow_credentials: Option<bool>,
        /// What happens to preflights of other origins.
        pub unmatched_preflights: UnmatchedPreflights,
    }

    /// A rule for TLS traffic that is not ended here.
    #[schemars(extend("required" = ["match"]))]
    pub struct TlsRoute {
        /// Alternatives of what matches.
        #[serde(rename = "match")]
        pub matches: Vec<TlsMatchAttributes>,
        /// Weighted destinations.
        pub route: Vec<RouteDestination>,
    }

    /// What a TLS connection must look like.
    #[schemars(extend("required" = ["sniHosts"]))]
    pub struct TlsMatchAttributes {
        /// Server names, with `*` for a first label.
        pub sni_hosts: Vec<String>,
        /// Destination addresses or CIDR ranges.
        pub destination_subnets: Vec<String>,
        /// Port that the client asked for.
        pub port: Option<u32>,
        /// Labels of the client's pod.
        pub source_labels: BTreeMap<String, String>,
        /// Gateways this is for; replaces the top-level list.
        pub gateways: Vec<String>,
        /// Namespace of the client.
        pub source_namespace: String,
    }

    /// A rule for TCP traffic.
    pub struct TcpRoute {
        /// Alternatives of what matches; none matches everything.
        #[serde(rename = "match")]
        pub matches: Vec<L4MatchAttributes>,
        /// Weighted destinations.
        pub route: Vec<RouteDestination>,
    }

    /// What a TCP connection must look like.
    pub struct L4MatchAttributes {
        /// Destination addresses or CIDR ranges.
        pub destination_subnets: Vec<String>,
        /// Port that the client asked for.
        pub port: Option<u32>,
        /// Not implemented by any version.
        pub source_subnet: String,
        /// Labels of the client's pod.
        pub source_labels: BTreeMap<String, String>,
        /// Gateways this is for; replaces the top-level list.
        pub gateways: Vec<String>,
        /// Namespace of the client.
        pub source_namespace: String,
    }

    /// A destination and its share.
    #[schemars(extend("required" = ["destination"]))]
    pub struct RouteDestination {
        /// Where to.
        pub destination: Destination,
        /// Share relative to the sum; a single destination needs none.
        pub weight: i32,
    }
}

open_enum! {
    /// Where the port of a redirect comes from.
    pub enum RedirectPortSelection {
        FromProtocolDefault = "FROM_PROTOCOL_DEFAULT",
        FromRequestPort = "FROM_REQUEST_PORT",
    }

    /// What happens to preflights of origins that are not allowed.
    pub enum UnmatchedPreflights {
        Unspecified = "UNSPECIFIED",
        Forward = "FORWARD",
        Ignore = "IGNORE",
    }
}

impl HttpRoute {
    /// The share of traffic to copy to `mirror`, in percent; the newest of the three forms wins.
    #[must_use]
    pub fn mirror_share(&self) -> f64 {
        self.mirror_percentage
            .as_ref()
            .map(|percent| percent.value)
            .or(self.mirror_percent.map(f64::from))
            .or(self.mirror_percent_snake.map(f64::from))
            .unwrap_or(100.0)
    }
}

/// A [`StringMatch`] as one choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringMatchKind<'a> {
    /// Anything, as long as it is there.
    Present,
    /// Equal.
    Exact(&'a str),
    /// Begins with.
    Prefix(&'a str),
    /// RE2 expression for the whole text.
    Regex(&'a str),
}

impl StringMatch {
    /// The choice made; of several fields the first wins (validation refuses several).
    #[must_use]
    pub fn kind(&self) -> StringMatchKind<'_> {
        match (&self.exact, &self.prefix, &self.regex) {
            (Some(text), _, _) => StringMatchKind::Exact(text),
            (_, Some(text), _) => StringMatchKind::Prefix(text),
            (_, _, Some(text)) => StringMatchKind::Regex(text),
            (None, None, None) => StringMatchKind::Present,
        }
    }
}

impl Destination {
    /// The port number, if one is given.
    #[must_use]
    pub fn port_number(&self) -> Option<u32> {
        self.port.as_ref().and_then(|port| port.number)
    }
}
