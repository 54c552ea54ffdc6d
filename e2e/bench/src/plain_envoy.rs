//! The configuration of a sidecar as one file for Envoy: what comes by discovery stands where it is referred to.

use anyhow::Context;
use ironsail_xds::bootstrap::{Bootstrap, bootstrap::StaticResources};
use ironsail_xds::cluster::Cluster;
use ironsail_xds::cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
use ironsail_xds::core::{DataSource, Node, TransportSocket, data_source, transport_socket};
use ironsail_xds::ext::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use ironsail_xds::ext::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use ironsail_xds::ext::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SdsSecretConfig, Secret, TlsCertificate,
    UpstreamTlsContext, secret,
};
use ironsail_xds::listener::{Filter, Listener, filter};
use ironsail_xds::matcher::{ListStringMatcher, StringMatcher, string_matcher};
use ironsail_xds::metrics::{StatsConfig, StatsMatcher, stats_matcher};
use ironsail_xds::{Any, pack, unpack};

use crate::mesh::Credentials;
use crate::view::{View, decode};

/// Statistics that Istio's own bootstrap keeps; the rest would take memory that a sidecar does not spend.
const STATS: [&str; 5] = [
    "cluster_manager",
    "listener_manager",
    "server",
    "cluster.xds-grpc",
    "http_mixer_filter",
];

/// Outbound listeners, clusters and endpoints of a view; certificates are `credentials`.
pub fn bootstrap(view: &View, credentials: &Credentials) -> anyhow::Result<Bootstrap> {
    let clusters = view
        .all_clusters()
        .iter()
        .filter(|resource| !is_inbound(&resource.name))
        .map(|resource| cluster(view, decode(resource)?))
        .collect::<anyhow::Result<_>>()?;
    let listeners = view
        .listeners()?
        .into_iter()
        .filter(|listener| listener.name != "virtualInbound")
        .map(|one| listener(view, one))
        .collect::<anyhow::Result<_>>()?;
    let patterns = STATS.map(|prefix| StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Prefix(prefix.to_owned())),
        ..Default::default()
    });
    Ok(Bootstrap {
        node: Some(Node {
            id: "envoy".to_owned(),
            cluster: "bench".to_owned(),
            ..Default::default()
        }),
        static_resources: Some(StaticResources {
            listeners,
            clusters,
            secrets: secrets(credentials),
        }),
        stats_config: Some(StatsConfig {
            stats_matcher: Some(StatsMatcher {
                stats_matcher: Some(stats_matcher::StatsMatcher::InclusionList(
                    ListStringMatcher {
                        patterns: patterns.into(),
                    },
                )),
            }),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn is_inbound(cluster: &str) -> bool {
    cluster.starts_with("inbound|") || cluster.starts_with("Inbound")
}

/// The secrets that the agent would serve.
pub fn secrets(credentials: &Credentials) -> Vec<Secret> {
    let inline = |text: &str| {
        Some(DataSource {
            specifier: Some(data_source::Specifier::InlineString(text.to_owned())),
            ..Default::default()
        })
    };
    let certificate = TlsCertificate {
        certificate_chain: inline(&credentials.chain),
        private_key: inline(&credentials.key),
        ..Default::default()
    };
    let root = CertificateValidationContext {
        trusted_ca: inline(&credentials.root),
        ..Default::default()
    };
    vec![
        Secret {
            name: "default".to_owned(),
            r#type: Some(secret::Type::TlsCertificate(certificate)),
        },
        Secret {
            name: "ROOTCA".to_owned(),
            r#type: Some(secret::Type::ValidationContext(root)),
        },
    ]
}

fn cluster(view: &View, mut cluster: Cluster) -> anyhow::Result<Cluster> {
    let eds = ClusterDiscoveryType::Type(DiscoveryType::Eds.into());
    if cluster.cluster_discovery_type == Some(eds) {
        let endpoints = view.endpoints(std::slice::from_ref(&cluster.name))?;
        cluster.cluster_discovery_type =
            Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into()));
        cluster.eds_cluster_config = None;
        cluster.load_assignment = endpoints.into_iter().next();
    }
    if let Some(socket) = &mut cluster.transport_socket {
        with_local_secrets(socket)?;
    }
    for choice in &mut cluster.transport_socket_matches {
        if let Some(socket) = &mut choice.transport_socket {
            with_local_secrets(socket)?;
        }
    }
    Ok(cluster)
}

/// A secret without a source is one of this file.
fn with_local_secrets(socket: &mut TransportSocket) -> anyhow::Result<()> {
    let Some(transport_socket::ConfigType::TypedConfig(config)) = &mut socket.config_type else {
        return Ok(());
    };
    let Ok(mut context) = unpack::<UpstreamTlsContext>(config) else {
        // Not TLS.
        return Ok(());
    };
    let common = context
        .common_tls_context
        .as_mut()
        .context("TLS without a context")?;
    for secret in references(common) {
        secret.sds_config = None;
    }
    *config = pack(&context);
    Ok(())
}

fn references(context: &mut CommonTlsContext) -> Vec<&mut SdsSecretConfig> {
    let mut all: Vec<_> = context
        .tls_certificate_sds_secret_configs
        .iter_mut()
        .collect();
    match &mut context.validation_context_type {
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            all.extend(combined.validation_context_sds_secret_config.as_mut());
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => all.push(secret),
        _ => {}
    }
    all
}

fn listener(view: &View, mut listener: Listener) -> anyhow::Result<Listener> {
    let chains = listener
        .filter_chains
        .iter_mut()
        .chain(listener.default_filter_chain.as_mut());
    for filter in chains.flat_map(|chain| &mut chain.filters) {
        with_own_routes(view, filter)?;
    }
    Ok(listener)
}

fn with_own_routes(view: &View, filter: &mut Filter) -> anyhow::Result<()> {
    let Some(filter::ConfigType::TypedConfig(config)) = &mut filter.config_type else {
        return Ok(());
    };
    let Ok(mut manager) = unpack::<HttpConnectionManager>(config) else {
        return Ok(());
    };
    if let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier {
        let tables = view.routes(std::slice::from_ref(&rds.route_config_name));
        let table = tables
            .first()
            .with_context(|| rds.route_config_name.clone())?;
        manager.route_specifier = Some(RouteSpecifier::RouteConfig(decode(table)?));
    }
    *config = pack(&manager) as Any;
    Ok(())
}
