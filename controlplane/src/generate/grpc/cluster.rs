//! Clusters of gRPC clients.

use std::sync::Arc;

use ironsail_crds::networking::destination_rule::ClientTlsMode;
use ironsail_mesh::xds_name::{ClusterName, Direction};
use ironsail_xds::cluster::Cluster;
use ironsail_xds::cluster::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use ironsail_xds::core::TransportSocket;
use ironsail_xds::ext::transport_sockets::tls::v3::UpstreamTlsContext;

use crate::generate::{
    Cache, Resource, cluster as of_proxies, message, rule_of, traffic_policy, transport_socket,
};
use crate::model::destination_rule::{MergedRule, PortPolicy};
use crate::model::proxy::Proxy;
use crate::model::service::Service;
use crate::model::snapshot::Snapshot;

/// The cluster of a name; `None` when there is no such service or subset, and when its rule asks for TLS that libraries
/// cannot do: they must not fall back to plaintext.
pub fn generate(snapshot: &Snapshot, proxy: &Proxy, cache: &Cache, name: &str) -> Option<Resource> {
    let cluster: ClusterName = name.parse().ok()?;
    let service = snapshot.services.get(&cluster.host)?;
    let is_visible = snapshot.services.is_visible(service, proxy.namespace());
    if cluster.direction != Direction::Outbound || service.is_alias() || !is_visible {
        return None;
    }
    service.port(cluster.port)?;
    let rule = rule_of(snapshot, proxy, service);
    let (_, policy) = MergedRule::of_cluster(rule.map(|rule| &**rule), &cluster)?;
    let endpoints = snapshot.endpoints_of(service);
    let inputs = (
        service.generation,
        endpoints.map(|set| set.identity_generation),
        rule.map(|rule| (&rule.key, &rule.generations)),
        snapshot.mesh.generation,
    );
    let made = cache.get(("grpc_cluster", name), inputs, || {
        let identities = of_proxies::identities(&snapshot.mesh, endpoints.map(|set| &**set));
        let made = cluster_of(&cluster, service, &policy, &identities);
        made.map(|made| Resource::encode(name, &made))
            .into_iter()
            .collect()
    });
    made.first().cloned()
}

fn cluster_of(
    name: &ClusterName,
    service: &Arc<Service>,
    policy: &PortPolicy<'_>,
    identities: &[String],
) -> Option<Cluster> {
    let mut cluster = Cluster {
        name: name.to_string(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(message::ads_config()),
            service_name: name.to_string(),
        }),
        circuit_breakers: Some(traffic_policy::circuit_breakers(
            policy.connection_pool,
            policy.retry_budget,
        )),
        transport_socket: socket(name, service, policy, identities)?,
        ..Default::default()
    };
    // Of the algorithms of proxies, all libraries know these two.
    let hash = policy
        .load_balancer
        .filter(|settings| settings.consistent_hash.is_some());
    traffic_policy::apply_load_balancer(&mut cluster, hash);
    if cluster.lb_policy() != LbPolicy::RingHash {
        cluster.lb_policy = LbPolicy::RoundRobin.into();
        cluster.lb_config = None;
    }
    Some(cluster)
}

/// Mutual TLS where a rule says so; `None` is TLS of another kind.
fn socket(
    name: &ClusterName,
    service: &Service,
    policy: &PortPolicy<'_>,
    identities: &[String],
) -> Option<Option<TransportSocket>> {
    let Some(settings) = policy.tls else {
        return Some(None);
    };
    match settings.mode {
        ClientTlsMode::Disable => Some(None),
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {
            tracing::debug!(cluster = %name, service = %service.host, "TLS of the rule is not for gRPC libraries");
            None
        }
        ClientTlsMode::IstioMutual | ClientTlsMode::Unknown(_) => {
            let names = match settings.subject_alt_names.as_slice() {
                [] => identities,
                own => own,
            };
            let names = names.iter().map(message::exact).collect();
            let context = UpstreamTlsContext {
                common_tls_context: Some(super::mutual_tls(names)),
                sni: name.sni(),
                ..Default::default()
            };
            Some(Some(transport_socket::upstream(&context)))
        }
    }
}
