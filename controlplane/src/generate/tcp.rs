//! Opaque connections: the filters of a chain, and the TCP and TLS rules of VirtualServices.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ironsail_crds::networking::destination_rule::TcpSettings;
use ironsail_crds::networking::virtual_service::RouteDestination;
use ironsail_mesh::mesh_config::MeshConfig;
use ironsail_mesh::xds_name::ClusterName;
use ironsail_xds::core::CidrRange;
use ironsail_xds::ext::filters::network::tcp_proxy::v3::TcpProxy;
use ironsail_xds::ext::filters::network::tcp_proxy::v3::tcp_proxy::weighted_cluster::ClusterWeight;
use ironsail_xds::ext::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, WeightedCluster,
};
use ironsail_xds::kind::{HashPolicy, hash_policy};
use ironsail_xds::listener;

use crate::generate::destination::{ClientMatch, RouteScope};
use crate::generate::filter::{self, Side};
use crate::generate::{access_log, message};
use crate::model::virtual_service::VirtualService;

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Name for statistics.
    stat_prefix: String,
    specifier: ClusterSpecifier,
    idle_timeout: Option<std::time::Duration>,
    /// Connections of one client address go to one endpoint.
    by_source_ip: bool,
}

impl Target {
    /// One cluster, which also names the statistics.
    pub fn cluster(name: &str) -> Self {
        Self {
            stat_prefix: name.to_owned(),
            specifier: ClusterSpecifier::Cluster(name.to_owned()),
            idle_timeout: None,
            by_source_ip: false,
        }
    }

    /// One cluster of a service, with what rules say about its connections.
    pub fn service(scope: &RouteScope<'_>, cluster: &ClusterName) -> Self {
        Self::cluster(&cluster.to_string()).with_policy(scope, cluster)
    }

    fn with_policy(mut self, scope: &RouteScope<'_>, cluster: &ClusterName) -> Self {
        self.by_source_ip = scope
            .consistent_hash(cluster)
            .is_some_and(|hash| hash.use_source_ip == Some(true));
        self.idle_timeout = scope.tcp_settings(cluster).and_then(idle_timeout);
        self
    }

    /// The destinations of a rule; `None` when there is nothing to connect to.
    fn of_rule(
        scope: &RouteScope<'_>,
        rule: &VirtualService,
        destinations: &[RouteDestination],
    ) -> Option<Self> {
        let is_single = destinations.len() == 1;
        let mut weighted: Vec<(ClusterName, u32)> = Vec::new();
        for destination in destinations {
            let weight = u32::try_from(destination.weight).unwrap_or(0);
            if is_single || weight > 0 {
                weighted.push((scope.cluster(rule, &destination.destination), weight));
            }
        }
        let (first, _) = weighted.first()?;
        if weighted.len() == 1 {
            return Some(Self::service(scope, first));
        }
        let clusters = weighted.iter().map(|(cluster, weight)| ClusterWeight {
            name: cluster.to_string(),
            weight: *weight,
            ..Default::default()
        });
        let target = Self {
            stat_prefix: format!("{}.{}", rule.key.name, rule.key.namespace),
            specifier: ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters: clusters.collect(),
            }),
            idle_timeout: None,
            by_source_ip: false,
        };
        Some(target.with_policy(scope, first))
    }
}

fn idle_timeout(tcp: &TcpSettings) -> Option<std::time::Duration> {
    ironsail_mesh::duration::parse(tcp.idle_timeout.as_deref()?).ok()
}

/// What the filters of opaque chains have in common.
pub struct TcpFilters<'a> {
    pub side: Side,
    pub has_istio_filters: bool,
    pub mesh: &'a MeshConfig,
}

impl TcpFilters<'_> {
    /// The filters of a chain: metadata exchange (inbound), statistics, and the proxy to the target.
    pub fn chain(&self, target: Target) -> Vec<listener::Filter> {
        let mut filters = Vec::with_capacity(3);
        if self.has_istio_filters {
            if self.side == Side::SidecarInbound {
                filters.push(filter::metadata_exchange());
            }
            filters.push(filter::network_stats(self.side));
        }
        let by_source_ip = HashPolicy {
            policy_specifier: Some(hash_policy::PolicySpecifier::SourceIp(
                hash_policy::SourceIp::default(),
            )),
        };
        filters.push(filter::tcp_proxy(&TcpProxy {
            stat_prefix: target.stat_prefix,
            cluster_specifier: Some(target.specifier),
            access_log: access_log::of_mesh(self.mesh),
            idle_timeout: target.idle_timeout.and_then(message::duration),
            hash_policy: if target.by_source_ip {
                vec![by_source_ip]
            } else {
                Vec::new()
            },
            ..Default::default()
        }));
        filters
    }
}

/// A chain that rules ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleChain {
    /// Server names; empty is any.
    pub server_names: Vec<String>,
    pub destinations: Vec<CidrRange>,
    pub target: Target,
}

impl RuleChain {
    /// Whether it takes every connection of its listener.
    pub fn is_catch_all(&self) -> bool {
        self.server_names.is_empty() && self.destinations.is_empty()
    }
}

/// Chains of the TLS rules for hosts that `is_wanted`, first match first; a server name is taken once.
pub fn tls_chains(
    scope: &RouteScope<'_>,
    rule: &VirtualService,
    is_wanted: impl Fn(&str) -> bool,
    seen: &mut BTreeSet<String>,
) -> Vec<RuleChain> {
    let mut chains = Vec::new();
    for route in &rule.spec.tls {
        for condition in &route.matches {
            let client = ClientMatch {
                port: condition.port,
                gateways: &condition.gateways,
                source_namespace: &condition.source_namespace,
                source_labels: &condition.source_labels,
            };
            if !scope.is_for_client(rule, client) {
                continue;
            }
            let names = condition
                .sni_hosts
                .iter()
                .map(|name| name.to_ascii_lowercase());
            let subnets = condition.destination_subnets.join(",");
            let mut names: Vec<String> = names
                .filter(|name| {
                    is_server_name(name)
                        && is_wanted(name)
                        && seen.insert(format!("{name} {subnets}"))
                })
                .collect();
            if names.is_empty() {
                continue;
            }
            if names.iter().any(|name| name == "*") {
                names.clear();
            }
            let destinations = ranges(&condition.destination_subnets);
            let target = Target::of_rule(scope, rule, &route.route);
            if let (Some(destinations), Some(target)) = (destinations, target) {
                chains.push(RuleChain {
                    server_names: names,
                    destinations,
                    target,
                });
            }
        }
    }
    chains
}

/// Whether proxies can match a server name: exact, `*.suffix` or `*`. They refuse the listener for others.
pub fn is_server_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    name == "*" || (!rest.is_empty() && !rest.contains('*'))
}

/// Chains of the TCP rules, up to the first that takes everything.
pub fn tcp_chains(scope: &RouteScope<'_>, rule: &VirtualService) -> Vec<RuleChain> {
    let mut chains: Vec<RuleChain> = Vec::new();
    for route in &rule.spec.tcp {
        let Some(target) = Target::of_rule(scope, rule, &route.route) else {
            continue;
        };
        let mut destinations: Vec<Vec<CidrRange>> = Vec::new();
        if route.matches.is_empty() {
            destinations.push(Vec::new());
        }
        for condition in &route.matches {
            let client = ClientMatch {
                port: condition.port,
                gateways: &condition.gateways,
                source_namespace: &condition.source_namespace,
                source_labels: &condition.source_labels,
            };
            if scope.is_for_client(rule, client) {
                destinations.extend(ranges(&condition.destination_subnets));
            }
        }
        for destinations in destinations {
            if chains
                .iter()
                .any(|known| known.destinations == destinations)
            {
                continue;
            }
            let is_last = destinations.is_empty();
            chains.push(RuleChain {
                server_names: Vec::new(),
                destinations,
                target: target.clone(),
            });
            if is_last {
                return chains;
            }
        }
    }
    chains
}

/// Addresses and ranges; `None` when there are some and none can be read, which must not become
/// "everywhere". What else cannot be read is left out, and validation reports it.
fn ranges(subnets: &[String]) -> Option<Vec<CidrRange>> {
    let ranges: Vec<_> = subnets.iter().filter_map(|text| range(text)).collect();
    (subnets.is_empty() || !ranges.is_empty()).then_some(ranges)
}

fn range(text: &str) -> Option<CidrRange> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let ip: IpAddr = address.parse().ok()?;
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    Some(CidrRange {
        address_prefix: ip.to_string(),
        prefix_len: message::uint32(length.unwrap_or(bits).min(bits)),
    })
}
