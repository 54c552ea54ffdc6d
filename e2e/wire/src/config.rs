//! One listener and one cluster, for our proxy and for Envoy alike.

use std::path::Path;

use ironsail_xds::cluster::Cluster;
use ironsail_xds::cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
use ironsail_xds::core::transport_socket::ConfigType as SocketConfig;
use ironsail_xds::core::{self, TrafficDirection, address, data_source, socket_address};
use ironsail_xds::endpoint::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use ironsail_xds::ext::access_loggers::file::v3 as file;
use ironsail_xds::ext::filters::http::router::v3::Router;
use ironsail_xds::ext::filters::network::http_connection_manager::v3 as hcm;
use ironsail_xds::ext::transport_sockets::tls::v3 as tls;
use ironsail_xds::ext::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use ironsail_xds::ext::upstreams::http::v3 as upstreams;
use ironsail_xds::listener::{Filter, FilterChain, Listener, filter};
use ironsail_xds::matcher::StringMatcher;
use ironsail_xds::matcher::string_matcher::MatchPattern;
use ironsail_xds::{Any, accesslog, bootstrap, core as core_messages, pack, protobuf, route};

const CLUSTER: &str = "origin";

/// What the proxy speaks to the server behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    Http1,
    Http2,
}

/// A proxy between its port and that of a server, both of loopback.
#[derive(Clone, Debug)]
pub struct Hop<'a> {
    pub direction: TrafficDirection,
    pub port: u16,
    pub server: u16,
    pub upstream: Upstream,
    /// PEM of chain and key; `None`: plaintext.
    pub certificate: Option<(String, String)>,
    /// PEM of the root by which clients must have a certificate of the mesh; `None`: they need none.
    pub client_root: Option<String>,
    /// Where a line is logged for each request: `%REQ(:METHOD)% %REQ(:PATH)% status upstream`.
    pub access_log: Option<&'a Path>,
}

impl Hop<'_> {
    /// Every path goes to the server; paths are normalized as the control plane asks.
    pub fn listener(&self) -> Listener {
        let manager = hcm::HttpConnectionManager {
            stat_prefix: "hop".to_owned(),
            normalize_path: Some(protobuf::BoolValue { value: true }),
            http2_protocol_options: Some(core::Http2ProtocolOptions::default()),
            access_log: self.access_log.map(log).into_iter().collect(),
            http_filters: vec![hcm::HttpFilter {
                name: "envoy.filters.http.router".to_owned(),
                config_type: Some(hcm::http_filter::ConfigType::TypedConfig(pack(
                    &Router::default(),
                ))),
                ..Default::default()
            }],
            route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(
                routes(),
            )),
            ..Default::default()
        };
        Listener {
            name: format!("127.0.0.1_{}", self.port),
            address: Some(loopback(self.port)),
            traffic_direction: self.direction.into(),
            filter_chains: vec![FilterChain {
                filters: vec![Filter {
                    name: "envoy.filters.network.http_connection_manager".to_owned(),
                    config_type: Some(filter::ConfigType::TypedConfig(pack(&manager))),
                }],
                transport_socket: self.certificate.as_ref().map(|own| self.terminate(own)),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    pub fn cluster(&self) -> Cluster {
        let endpoint = LbEndpoint {
            host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
                address: Some(loopback(self.server)),
                ..Default::default()
            })),
            ..Default::default()
        };
        let options = (self.upstream == Upstream::Http2).then(http2);
        Cluster {
            name: CLUSTER.to_owned(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
            typed_extension_protocol_options: options.into_iter().collect(),
            load_assignment: Some(ClusterLoadAssignment {
                cluster_name: CLUSTER.to_owned(),
                endpoints: vec![LocalityLbEndpoints {
                    lb_endpoints: vec![endpoint],
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// The same as a file for Envoy.
    pub fn bootstrap(&self) -> bootstrap::Bootstrap {
        bootstrap::Bootstrap {
            static_resources: Some(bootstrap::bootstrap::StaticResources {
                listeners: vec![self.listener()],
                clusters: vec![self.cluster()],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn terminate(&self, (chain, key): &(String, String)) -> core::TransportSocket {
        let context = tls::DownstreamTlsContext {
            require_client_certificate: self
                .client_root
                .as_ref()
                .map(|_| protobuf::BoolValue { value: true }),
            common_tls_context: Some(tls::CommonTlsContext {
                alpn_protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
                tls_certificates: vec![tls::TlsCertificate {
                    certificate_chain: Some(inline(chain)),
                    private_key: Some(inline(key)),
                    ..Default::default()
                }],
                validation_context_type: self.client_root.as_deref().map(of_the_mesh),
                ..Default::default()
            }),
            ..Default::default()
        };
        core::TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: Some(SocketConfig::TypedConfig(pack(&context))),
        }
    }
}

fn of_the_mesh(root: &str) -> ValidationContextType {
    let names = tls::SubjectAltNameMatcher {
        san_type: tls::subject_alt_name_matcher::SanType::Uri.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Prefix("spiffe://cluster.local/".to_owned())),
            ..Default::default()
        }),
        ..Default::default()
    };
    ValidationContextType::ValidationContext(tls::CertificateValidationContext {
        trusted_ca: Some(inline(root)),
        match_typed_subject_alt_names: vec![names],
        ..Default::default()
    })
}

fn http2() -> (String, Any) {
    use upstreams::http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
    };
    let options = upstreams::HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig {
                protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(Default::default())),
            },
        )),
        ..Default::default()
    };
    (
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
        pack(&options),
    )
}

fn routes() -> route::RouteConfiguration {
    let forward = route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
            CLUSTER.to_owned(),
        )),
        ..Default::default()
    };
    route::RouteConfiguration {
        virtual_hosts: vec![route::VirtualHost {
            name: "all".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route::Route {
                r#match: Some(route::RouteMatch {
                    path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
                    ..Default::default()
                }),
                action: Some(route::route::Action::Route(forward)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn log(path: &Path) -> accesslog::AccessLog {
    let text = "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %UPSTREAM_HOST%\n";
    let format = core_messages::SubstitutionFormatString {
        format: Some(
            core_messages::substitution_format_string::Format::TextFormatSource(inline(text)),
        ),
        ..Default::default()
    };
    let file = file::FileAccessLog {
        path: path.display().to_string(),
        access_log_format: Some(file::file_access_log::AccessLogFormat::LogFormat(format)),
    };
    accesslog::AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(pack(&file))),
        ..Default::default()
    }
}

fn inline(text: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(data_source::Specifier::InlineString(text.to_owned())),
        ..Default::default()
    }
}

fn loopback(port: u16) -> core::Address {
    core::Address {
        address: Some(address::Address::SocketAddress(core::SocketAddress {
            address: "127.0.0.1".to_owned(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
            ..Default::default()
        })),
    }
}

/// A certificate for `localhost` that nobody signed but itself.
///
/// # Errors
/// The system has no randomness.
pub fn self_signed() -> anyhow::Result<(String, String)> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}
