//! HTTP connection managers. What all of a proxy's have in common is encoded once: protobuf merges
//! concatenated encodings, so each manager is the common bytes followed by its own few fields.

use std::time::Duration;

use ironsail_mesh::mesh_config::MeshConfig;
use ironsail_mesh::node::StringBool;
use ironsail_xds::core::{Http1ProtocolOptions, Http2ProtocolOptions};
use ironsail_xds::ext::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
    SetCurrentClientCertDetails, Tracing, UpgradeConfig,
};
use ironsail_xds::ext::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, Rds, RequestIdExtension,
};
use ironsail_xds::ext::request_id::uuid::v3::UuidRequestIdConfig;
use ironsail_xds::metadata::{MetadataKey, MetadataKind, metadata_key, metadata_kind};
use ironsail_xds::tracing::{CustomTag, custom_tag};
use ironsail_xds::{Any, listener, pack, route};
use prost::{Message, Name};
use serde_json::Value;

use crate::generate::filter::{self, Side};
use crate::generate::{access_log, message};
use crate::model::proxy::Proxy;
use crate::model::snapshot::Snapshot;

const FILTER: &str = "envoy.filters.network.http_connection_manager";
const RBAC_METADATA: &str = "envoy.filters.http.rbac";

/// What a proxy contributes to its listeners: proxies with equal classes get equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ManagerClass {
    pub side: Side,
    pub has_istio_filters: bool,
    accept_http_10: bool,
    canonical_revision: String,
    canonical_service: String,
    cluster_id: String,
    mesh_id: String,
    namespace: String,
    /// Proxies before a gateway whose `x-forwarded-for` entries are trusted.
    trusted_hops: u32,
    /// What comes to a gateway begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// What a gateway does with the client certificate header; `None` is the default.
    forward_certificate: Option<ForwardCertificate>,
}

/// `forwardClientCertDetails` of the gateway topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ForwardCertificate {
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

impl ForwardCertificate {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "SANITIZE" => Self::Sanitize,
            "FORWARD_ONLY" => Self::ForwardOnly,
            "APPEND_FORWARD" => Self::AppendForward,
            "SANITIZE_SET" => Self::SanitizeSet,
            "ALWAYS_FORWARD_ONLY" => Self::AlwaysForwardOnly,
            _ => return None,
        })
    }

    fn details(self) -> ForwardClientCertDetails {
        match self {
            Self::Sanitize => ForwardClientCertDetails::Sanitize,
            Self::ForwardOnly => ForwardClientCertDetails::ForwardOnly,
            Self::AppendForward => ForwardClientCertDetails::AppendForward,
            Self::SanitizeSet => ForwardClientCertDetails::SanitizeSet,
            Self::AlwaysForwardOnly => ForwardClientCertDetails::AlwaysForwardOnly,
        }
    }
}

impl ManagerClass {
    pub fn new(proxy: &Proxy, snapshot: &Snapshot, side: Side) -> Self {
        let metadata = &proxy.node.metadata;
        let text = |value: &Option<String>, default: &str| {
            value
                .as_deref()
                .filter(|text| !text.is_empty())
                .unwrap_or(default)
                .to_owned()
        };
        let topology = match side {
            Side::Gateway => metadata
                .proxy_config
                .as_ref()
                .and_then(|config| config.get("gatewayTopology")),
            _ => None,
        };
        Self {
            side,
            has_istio_filters: proxy.node.capabilities.istio_filters,
            accept_http_10: metadata.http10 == Some(StringBool(true)),
            canonical_revision: proxy.canonical_revision().to_owned(),
            canonical_service: proxy.canonical_service().to_owned(),
            cluster_id: text(&metadata.cluster_id, &snapshot.options.cluster_id),
            mesh_id: text(&metadata.mesh_id, snapshot.mesh.config.trust_domain()),
            namespace: proxy.namespace().to_owned(),
            trusted_hops: topology
                .and_then(|topology| topology.get("numTrustedProxies"))
                .and_then(Value::as_u64)
                .and_then(|hops| u32::try_from(hops).ok())
                .unwrap_or(0),
            proxy_protocol: topology
                .and_then(|topology| topology.get("proxyProtocol"))
                .is_some_and(|settings| !settings.is_null()),
            forward_certificate: topology
                .and_then(|topology| topology.get("forwardClientCertDetails"))
                .and_then(Value::as_str)
                .and_then(ForwardCertificate::parse),
        }
    }
}

/// Where a manager's routes come from.
pub enum Routes {
    /// A table that the proxy asks for by name.
    Named(String),
    Inline(Box<route::RouteConfiguration>),
}

/// What tells one manager from the others of its class.
pub struct Manager {
    pub stat_prefix: String,
    pub routes: Routes,
    /// HTTP/2 is declared on this port.
    pub is_http2: bool,
    pub is_grpc_web: bool,
}

/// The common part of a class.
pub struct ManagerTemplate {
    side: Side,
    has_istio_filters: bool,
    common: Vec<u8>,
    filters: Vec<u8>,
}

impl ManagerTemplate {
    pub fn new(class: &ManagerClass, mesh: &MeshConfig) -> Self {
        Self {
            side: class.side,
            has_istio_filters: class.has_istio_filters,
            common: common(class, mesh).encode_to_vec(),
            filters: encode_filters(class.side, class.has_istio_filters, false),
        }
    }

    /// The network filter of one manager.
    pub fn filter(&self, manager: Manager) -> listener::Filter {
        let mut value = self.common.clone();
        match manager.is_grpc_web {
            true => value.extend(encode_filters(self.side, self.has_istio_filters, true)),
            false => value.extend_from_slice(&self.filters),
        }
        let routes = match manager.routes {
            Routes::Named(name) => RouteSpecifier::Rds(Rds {
                config_source: Some(message::ads_config()),
                route_config_name: name,
            }),
            Routes::Inline(table) => RouteSpecifier::RouteConfig(*table),
        };
        let own = HttpConnectionManager {
            stat_prefix: manager.stat_prefix,
            http2_protocol_options: manager.is_http2.then(Http2ProtocolOptions::default),
            route_specifier: Some(routes),
            ..Default::default()
        };
        value.extend(own.encode_to_vec());
        let config = Any {
            type_url: HttpConnectionManager::type_url(),
            value,
        };
        filter::network_filter(FILTER, config)
    }
}

fn encode_filters(side: Side, has_istio_filters: bool, is_grpc_web: bool) -> Vec<u8> {
    HttpConnectionManager {
        http_filters: filter::http_filters(side, has_istio_filters, is_grpc_web),
        ..Default::default()
    }
    .encode_to_vec()
}

fn common(class: &ManagerClass, mesh: &MeshConfig) -> HttpConnectionManager {
    let request_id = UuidRequestIdConfig {
        use_request_id_for_trace_sampling: message::boolean(true),
        ..Default::default()
    };
    let manager = HttpConnectionManager {
        access_log: access_log::of_mesh(mesh),
        normalize_path: message::boolean(true),
        path_with_escaped_slashes_action: PathWithEscapedSlashesAction::KeepUnchanged.into(),
        proxy_100_continue: true,
        stream_idle_timeout: message::duration(Duration::ZERO),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..Default::default()
        }],
        request_id_extension: Some(RequestIdExtension {
            typed_config: Some(pack(&request_id)),
        }),
        tracing: Some(tracing(class)),
        use_remote_address: message::boolean(class.side == Side::Gateway),
        http_protocol_options: protocol_options(class),
        ..Default::default()
    };
    let certificate_details = |cert: bool| SetCurrentClientCertDetails {
        subject: message::boolean(true),
        cert,
        dns: true,
        uri: true,
        ..Default::default()
    };
    match class.side {
        Side::SidecarOutbound => manager,
        Side::SidecarInbound => HttpConnectionManager {
            forward_client_cert_details: ForwardClientCertDetails::AppendForward.into(),
            set_current_client_cert_details: Some(certificate_details(false)),
            server_name: "istio-envoy".to_owned(),
            ..manager
        },
        Side::Gateway => HttpConnectionManager {
            forward_client_cert_details: class
                .forward_certificate
                .unwrap_or(ForwardCertificate::SanitizeSet)
                .details()
                .into(),
            set_current_client_cert_details: Some(certificate_details(true)),
            server_name: "istio-envoy".to_owned(),
            xff_num_trusted_hops: class.trusted_hops,
            ..manager
        },
    }
}

/// Gateways always carry the (empty) options, sidecars only with something in them.
fn protocol_options(class: &ManagerClass) -> Option<Http1ProtocolOptions> {
    let options = Http1ProtocolOptions {
        accept_http_10: class.accept_http_10,
        ..Default::default()
    };
    (class.accept_http_10 || class.side == Side::Gateway).then_some(options)
}

fn tracing(class: &ManagerClass) -> Tracing {
    let literal = |tag: &str, value: &str| CustomTag {
        tag: tag.to_owned(),
        r#type: Some(custom_tag::Type::Literal(custom_tag::Literal {
            value: value.to_owned(),
        })),
    };
    Tracing {
        client_sampling: message::percent(100.0),
        random_sampling: message::percent(1.0),
        overall_sampling: message::percent(100.0),
        custom_tags: vec![
            dry_run("allow", "policy.name", "effective_policy_id"),
            dry_run("allow", "policy.result", "engine_result"),
            dry_run("deny", "policy.name", "effective_policy_id"),
            dry_run("deny", "policy.result", "engine_result"),
            literal("istio.canonical_revision", &class.canonical_revision),
            literal("istio.canonical_service", &class.canonical_service),
            literal("istio.cluster_id", &class.cluster_id),
            literal("istio.mesh_id", &class.mesh_id),
            literal("istio.namespace", &class.namespace),
        ],
        ..Default::default()
    }
}

/// What policies on trial would have decided.
fn dry_run(action: &str, tag: &str, key: &str) -> CustomTag {
    let segment =
        metadata_key::path_segment::Segment::Key(format!("istio_dry_run_{action}_shadow_{key}"));
    let metadata = custom_tag::Metadata {
        kind: Some(MetadataKind {
            kind: Some(metadata_kind::Kind::Request(
                metadata_kind::Request::default(),
            )),
        }),
        metadata_key: Some(MetadataKey {
            key: RBAC_METADATA.to_owned(),
            path: vec![metadata_key::PathSegment {
                segment: Some(segment),
            }],
        }),
        default_value: String::new(),
    };
    CustomTag {
        tag: format!("istio.authorization.dry_run.{action}_{tag}"),
        r#type: Some(custom_tag::Type::Metadata(metadata)),
    }
}
