//! Istio's own messages on the wire.
//!
//! Names, numbers and types are those of the public Istio API and of istio/proxy's filters.

use std::collections::BTreeMap;

use crate::ordered;
use crate::protobuf;

/// Gives a message its full name and the type URL `type.googleapis.com/<full name>`.
macro_rules! named {
    ($($message:ty => $package:literal . $name:literal;)*) => {$(
        impl prost::Name for $message {
            const NAME: &'static str = $name;
            const PACKAGE: &'static str = $package;
            fn full_name() -> String {
                concat!($package, ".", $name).to_owned()
            }
            fn type_url() -> String {
                concat!("type.googleapis.com/", $package, ".", $name).to_owned()
            }
        }
    )*};
}

named! {
    TypedStruct => "udpa.type.v1"."TypedStruct";
    PluginConfig => "stats"."PluginConfig";
    AlpnFilterConfig => "istio.envoy.config.filter.http.alpn.v2alpha1"."FilterConfig";
    NameTable => "istio.networking.nds.v1"."NameTable";
    IstioCertificateRequest => "istio.v1.auth"."IstioCertificateRequest";
    IstioCertificateResponse => "istio.v1.auth"."IstioCertificateResponse";
}

/// Type URL inside the [`TypedStruct`] of the TCP metadata exchange filter.
pub const METADATA_EXCHANGE: &str =
    "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange";
/// Type URL inside the [`TypedStruct`] of the HTTP peer metadata filter.
pub const PEER_METADATA: &str = "type.googleapis.com/io.istio.http.peer_metadata.Config";

/// A message described by its type URL and a `Struct`: `udpa.type.v1.TypedStruct`; `xds.type.v3` has the same shape.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TypedStruct {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<ordered::Struct>,
}

/// Configuration of the `istio.stats` filter.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PluginConfig {
    /// Without it the Host header names the destination of requests that match no service.
    #[prost(bool, tag = "6")]
    pub disable_host_header_fallback: bool,
    /// Interval of TCP reports while a connection is open; default 5 s.
    #[prost(message, optional, tag = "7")]
    pub tcp_reporting_duration: Option<protobuf::Duration>,
    #[prost(message, repeated, tag = "8")]
    pub metrics: Vec<MetricConfig>,
    #[prost(message, repeated, tag = "9")]
    pub definitions: Vec<MetricDefinition>,
    #[prost(enumeration = "Reporter", tag = "10")]
    pub reporter: i32,
    #[prost(message, optional, tag = "11")]
    pub rotation_interval: Option<protobuf::Duration>,
    #[prost(message, optional, tag = "12")]
    pub graceful_deletion_interval: Option<protobuf::Duration>,
}

/// Changes to one metric, or to all when `name` is empty.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricConfig {
    /// Tag to CEL expression.
    #[prost(btree_map = "string, string", tag = "1")]
    pub dimensions: BTreeMap<String, String>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, repeated, tag = "3")]
    pub tags_to_remove: Vec<String>,
    #[prost(string, tag = "4")]
    pub r#match: String,
    #[prost(bool, tag = "5")]
    pub drop: bool,
}

/// A metric of the user's own.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricDefinition {
    #[prost(string, tag = "1")]
    pub name: String,
    /// CEL expression of the value.
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(enumeration = "MetricType", tag = "3")]
    pub r#type: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Reporter {
    Unspecified = 0,
    /// Waypoints: destination telemetry from the endpoint's metadata.
    ServerGateway = 1,
}

/// Configuration of the `istio.alpn` filter: ALPN offered upstream by protocol.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AlpnFilterConfig {
    #[prost(message, repeated, tag = "1")]
    pub alpn_override: Vec<AlpnOverride>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AlpnOverride {
    #[prost(enumeration = "AlpnProtocol", tag = "1")]
    pub upstream_protocol: i32,
    #[prost(string, repeated, tag = "2")]
    pub alpn_override: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AlpnProtocol {
    Http10 = 0,
    Http11 = 1,
    Http2 = 2,
}

/// Hosts and their addresses for DNS capture.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NameTable {
    #[prost(btree_map = "string, message", tag = "1")]
    pub table: BTreeMap<String, NameInfo>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NameInfo {
    #[prost(string, repeated, tag = "1")]
    pub ips: Vec<String>,
    /// `Kubernetes` or `External`.
    #[prost(string, tag = "2")]
    pub registry: String,
    #[prost(string, tag = "3")]
    pub shortname: String,
    #[prost(string, tag = "4")]
    pub namespace: String,
    #[prost(string, repeated, tag = "5")]
    pub alt_hosts: Vec<String>,
}

/// A signing request to `istio.v1.auth.IstioCertificateService/CreateCertificate`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IstioCertificateRequest {
    /// PKCS#10 in PEM.
    #[prost(string, tag = "1")]
    pub csr: String,
    /// Seconds; zero or less asks for the default.
    #[prost(int64, tag = "3")]
    pub validity_duration: i64,
    /// `CertSigner`, `ImpersonatedIdentity`.
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<ordered::Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct IstioCertificateResponse {
    /// PEM: leaf, intermediates, and last the root or roots in one element.
    #[prost(string, repeated, tag = "1")]
    pub cert_chain: Vec<String>,
}
