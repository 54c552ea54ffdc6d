//! Mutual TLS between proxies, TLS towards services, TLS of gateways.

use std::time::Duration;

use ironsail_crds::networking::destination_rule::{
    ClientTlsMode, ClientTlsSettings, ProxyProtocol, ProxyProtocolVersion,
};
use ironsail_mesh::xds_name::ClusterName;
use ironsail_xds::cluster::Cluster;
use ironsail_xds::core::proxy_protocol_config::Version;
use ironsail_xds::core::{ProxyProtocolConfig, TransportSocket};
use ironsail_xds::ext::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use ironsail_xds::ext::transport_sockets::raw_buffer::v3::RawBuffer;
use ironsail_xds::ext::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use ironsail_xds::ext::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    TlsParameters, UpstreamTlsContext, tls_parameters::TlsProtocol,
};
use ironsail_xds::matcher::StringMatcher;
use ironsail_xds::pack;

use crate::generate::message;

const TLS: &str = "envoy.transport_sockets.tls";
const UPSTREAM_PROXY_PROTOCOL: &str = "envoy.transport_sockets.upstream_proxy_protocol";
const RAW_BUFFER: &str = "envoy.transport_sockets.raw_buffer";

/// Both sides exchange metadata before anything else.
const EXCHANGE: &str = "istio-peer-exchange";

/// Protocols that proxies of the mesh offer each other for opaque bytes.
pub const PEER_EXCHANGE: [&str; 2] = [EXCHANGE, "istio"];

const CIPHER_SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];

pub fn raw_buffer() -> TransportSocket {
    message::transport_socket(RAW_BUFFER, pack(&RawBuffer::default()))
}

pub fn upstream(context: &UpstreamTlsContext) -> TransportSocket {
    message::transport_socket(TLS, pack(context))
}

pub fn downstream(context: &DownstreamTlsContext) -> TransportSocket {
    message::transport_socket(TLS, pack(context))
}

/// Puts a header of the PROXY protocol before every transport of a cluster.
pub fn announce_client(cluster: &mut Cluster, settings: &ProxyProtocol) {
    let announce = |socket: Option<TransportSocket>| {
        let version = match settings.version {
            ProxyProtocolVersion::V2 => Version::V2,
            _ => Version::V1,
        };
        let outer = ProxyProtocolUpstreamTransport {
            config: Some(ProxyProtocolConfig {
                version: version.into(),
                ..Default::default()
            }),
            transport_socket: Some(socket.unwrap_or_else(raw_buffer)),
            ..Default::default()
        };
        Some(message::transport_socket(
            UPSTREAM_PROXY_PROTOCOL,
            pack(&outer),
        ))
    };
    for entry in &mut cluster.transport_socket_matches {
        entry.transport_socket = announce(entry.transport_socket.take());
    }
    if cluster.transport_socket_matches.is_empty() {
        cluster.transport_socket = announce(cluster.transport_socket.take());
    }
}

pub fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn mesh_versions() -> TlsParameters {
    TlsParameters {
        tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
        tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
        ..Default::default()
    }
}

fn agent_secret(name: &str) -> SdsSecretConfig {
    SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(message::agent_secret_config(Some(Duration::ZERO))),
    }
}

/// A certificate or authority in files, which the agent reads.
pub fn file_secret(name: String) -> SdsSecretConfig {
    SdsSecretConfig {
        name,
        sds_config: Some(message::agent_secret_config(None)),
    }
}

/// A certificate that discovery itself serves.
pub fn discovery_secret(name: String) -> SdsSecretConfig {
    let mut source = message::ads_config();
    source.initial_fetch_timeout = None;
    SdsSecretConfig {
        name,
        sds_config: Some(source),
    }
}

/// Validation with authorities from `secret`, and by names unless the list is empty.
#[allow(deprecated)] // The peer and the proxies it drives still use the untyped list.
pub fn combined_validation(
    names: Vec<StringMatcher>,
    secret: SdsSecretConfig,
) -> CombinedCertificateValidationContext {
    CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_subject_alt_names: names,
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(secret),
        ..Default::default()
    }
}

/// The workload's own certificate, and peers of the mesh's authority with one of these names.
fn mesh_context(
    names: Vec<StringMatcher>,
    alpn: Vec<String>,
    versions: TlsParameters,
) -> CommonTlsContext {
    let validation = combined_validation(names, agent_secret("ROOTCA"));
    CommonTlsContext {
        tls_params: Some(versions),
        alpn_protocols: alpn,
        tls_certificate_sds_secret_configs: vec![agent_secret("default")],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..Default::default()
    }
}

/// Mutual TLS towards a cluster; `names` are the identities its endpoints may have.
///
/// Who cannot exchange metadata must not offer to: the other side would take the first bytes for metadata, and send its own.
pub fn mutual_upstream(
    sni: String,
    names: &[String],
    is_http2: bool,
    can_exchange: bool,
) -> UpstreamTlsContext {
    let mut alpn = strings(&PEER_EXCHANGE);
    alpn.retain(|name| can_exchange || name != EXCHANGE);
    if is_http2 {
        alpn.push("h2".to_owned());
    }
    let names = names.iter().map(message::exact).collect();
    UpstreamTlsContext {
        common_tls_context: Some(mesh_context(names, alpn, mesh_versions())),
        sni,
        ..Default::default()
    }
}

/// Which bytes an inbound chain expects inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    Http,
    Tcp,
}

/// Mutual TLS of the inbound side: any identity of the trust domains. As for [`mutual_upstream`], metadata is exchanged
/// only by who can.
pub fn mutual_downstream<'a>(
    trust_domains: impl Iterator<Item = &'a str>,
    inside: Inside,
    can_exchange: bool,
) -> DownstreamTlsContext {
    let alpn = match inside {
        Inside::Tcp if can_exchange => strings(&[EXCHANGE, "h2", "http/1.1"]),
        Inside::Http | Inside::Tcp => strings(&["h2", "http/1.1"]),
    };
    let names = trust_domains
        .map(|domain| message::prefix(format!("spiffe://{domain}/")))
        .collect();
    let versions = TlsParameters {
        cipher_suites: strings(&CIPHER_SUITES),
        ..mesh_versions()
    };
    DownstreamTlsContext {
        require_client_certificate: message::boolean(true),
        common_tls_context: Some(mesh_context(names, alpn, versions)),
        ..Default::default()
    }
}

/// What TLS of a rule needs besides its settings.
pub struct UpstreamScope<'a> {
    pub cluster: &'a ClusterName,
    /// Identities of the endpoints.
    pub identities: &'a [String],
    pub is_http2: bool,
    /// Whether the client can exchange metadata.
    pub can_exchange: bool,
    /// Gateways get certificates of `credentialName` from discovery; sidecars only for rules that
    /// name them by labels.
    pub has_credentials: bool,
}

/// The socket of a rule's TLS settings; `None` is plaintext.
///
/// A mode of a newer version gets mutual TLS of the mesh, because plaintext could be what its
/// author forbade.
pub fn of_settings(
    settings: &ClientTlsSettings,
    scope: &UpstreamScope<'_>,
) -> Option<TransportSocket> {
    match settings.mode {
        ClientTlsMode::Disable => None,
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {
            Some(upstream(&tls_context(settings, scope)))
        }
        ClientTlsMode::IstioMutual | ClientTlsMode::Unknown(_) => {
            let sni = match settings.sni.as_str() {
                "" => scope.cluster.sni(),
                own => own.to_owned(),
            };
            let names = match settings.subject_alt_names.as_slice() {
                [] => scope.identities,
                own => own,
            };
            Some(upstream(&mutual_upstream(
                sni,
                names,
                scope.is_http2,
                scope.can_exchange,
            )))
        }
    }
}

fn tls_context(settings: &ClientTlsSettings, scope: &UpstreamScope<'_>) -> UpstreamTlsContext {
    let by_credential = scope.has_credentials && !settings.credential_name.is_empty();
    let mut context = CommonTlsContext::default();
    if scope.is_http2 {
        context.alpn_protocols = strings(&["h2"]);
    }
    if settings.mode == ClientTlsMode::Mutual {
        let certificate = match by_credential {
            true => discovery_secret(format!("kubernetes://{}", settings.credential_name)),
            false => file_secret(format!(
                "file-cert:{}~{}",
                settings.client_certificate, settings.private_key
            )),
        };
        context.tls_certificate_sds_secret_configs = vec![certificate];
    }
    if settings.insecure_skip_verify != Some(true) {
        let authority = match (by_credential, settings.ca_certificates.as_str()) {
            (true, _) => {
                discovery_secret(format!("kubernetes://{}-cacert", settings.credential_name))
            }
            (false, "") => file_secret("file-root:system".to_owned()),
            (false, path) => file_secret(format!("file-root:{path}")),
        };
        let names = settings
            .subject_alt_names
            .iter()
            .map(message::exact)
            .collect();
        context.validation_context_type = Some(ValidationContextType::CombinedValidationContext(
            combined_validation(names, authority),
        ));
    }
    UpstreamTlsContext {
        common_tls_context: Some(context),
        sni: settings.sni.clone(),
        ..Default::default()
    }
}
