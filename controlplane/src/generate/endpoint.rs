//! Endpoints of clusters, by locality.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironsail_crds::networking::destination_rule::{ClientTlsMode, LocalityLbSetting};
use ironsail_mesh::locality::Locality;
use ironsail_mesh::xds_name::{ClusterName, Direction};
use ironsail_xds::core::{self, HealthStatus};
use ironsail_xds::endpoint::Endpoint as EnvoyEndpoint;
use ironsail_xds::ordered::{
    ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, Metadata, Struct,
};

use crate::generate::{Cache, Resource, message, rule_of};
use crate::model::authentication::{MtlsMode, is_selected};
use crate::model::destination_rule::{MergedRule, PortPolicy};
use crate::model::endpoint::Endpoint;
use crate::model::proxy::Proxy;
use crate::model::service::Service;
use crate::model::snapshot::Snapshot;

/// What a client contributes to the endpoints of a cluster: where it stands, as far as that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Standpoint {
    node: Option<String>,
    locality: Option<Locality>,
}

/// The endpoints of one cluster; `None` when there is no such cluster.
pub fn generate(snapshot: &Snapshot, proxy: &Proxy, cache: &Cache, name: &str) -> Option<Resource> {
    let cluster: ClusterName = name.parse().ok()?;
    if cluster.direction != Direction::Outbound {
        return None;
    }
    let service = snapshot.services.get(&cluster.host)?;
    if service.is_alias() || !snapshot.services.is_visible(service, proxy.namespace()) {
        return None;
    }
    let rule = rule_of(snapshot, proxy, service).map(|rule| &**rule);
    let scope = Scope::new(snapshot, proxy, service, rule, cluster)?;
    let inputs = (
        service.generation,
        snapshot.endpoints_of(service).map(|set| set.generation),
        rule.map(|rule| (&rule.key, &rule.generations)),
        snapshot.authentication.generation,
        snapshot.mesh.generation,
    );
    let made = cache.get(("endpoint", name, &scope.standpoint), inputs, || {
        vec![Resource::encode(name, &scope.assignment())]
    });
    made.first().cloned()
}

/// What the endpoints of one cluster are made of.
struct Scope<'a> {
    snapshot: &'a Snapshot,
    service: &'a Arc<Service>,
    cluster: ClusterName,
    port_name: Arc<str>,
    labels: Option<&'a BTreeMap<String, String>>,
    policy: PortPolicy<'a>,
    standpoint: Standpoint,
}

impl<'a> Scope<'a> {
    fn new(
        snapshot: &'a Snapshot,
        proxy: &Proxy,
        service: &'a Arc<Service>,
        rule: Option<&'a MergedRule>,
        cluster: ClusterName,
    ) -> Option<Self> {
        let port = service.port(cluster.port)?;
        let (subset, policy) = MergedRule::of_cluster(rule, &cluster)?;
        let is_local = policy.outlier_detection.is_some() && is_locality_enabled(snapshot, &policy);
        let standpoint = Standpoint {
            node: service
                .is_node_local
                .then(|| node_of(proxy).unwrap_or_default()),
            locality: is_local
                .then(|| proxy.locality.clone())
                .filter(|l| !l.is_empty()),
        };
        Some(Self {
            snapshot,
            service,
            port_name: port.name.clone(),
            labels: subset.map(|subset| &subset.labels),
            policy,
            standpoint,
            cluster,
        })
    }

    fn assignment(&self) -> ClusterLoadAssignment {
        let mut groups: BTreeMap<&Locality, Vec<LbEndpoint>> = BTreeMap::new();
        let endpoints = self
            .snapshot
            .endpoints_of(self.service)
            .map_or(&[][..], |set| set.port(&self.port_name));
        for endpoint in endpoints.iter().filter(|endpoint| self.is_wanted(endpoint)) {
            let entry = self.lb_endpoint(endpoint);
            groups.entry(&*endpoint.locality).or_default().push(entry);
        }
        let priorities = self.priorities(groups.keys().copied());
        let endpoints = groups
            .into_iter()
            .map(|(locality, lb_endpoints)| LocalityLbEndpoints {
                load_balancing_weight: message::uint32(
                    u32::try_from(lb_endpoints.len()).unwrap_or(u32::MAX),
                ),
                lb_endpoints,
                priority: priorities.get(locality).copied().unwrap_or(0),
                locality: Some(core::Locality {
                    region: locality.region.clone(),
                    zone: locality.zone.clone(),
                    sub_zone: locality.sub_zone.clone(),
                }),
            });
        let mut endpoints: Vec<_> = endpoints.collect();
        endpoints.sort_by_key(|group| group.priority);
        ClusterLoadAssignment {
            cluster_name: self.cluster.to_string(),
            endpoints,
        }
    }

    fn is_wanted(&self, endpoint: &Endpoint) -> bool {
        let is_subset = self.labels.is_none_or(|labels| {
            labels.is_empty()
                || endpoint
                    .labels()
                    .is_some_and(|own| is_selected(labels, own))
        });
        let is_near = self
            .standpoint
            .node
            .as_ref()
            .is_none_or(|node| endpoint.node.as_deref() == Some(node));
        endpoint.is_ready && is_subset && is_near
    }

    fn lb_endpoint(&self, endpoint: &Endpoint) -> LbEndpoint {
        let mut metadata = vec![(
            "istio".to_owned(),
            Struct::from_iter([("workload", self.workload(endpoint).as_str())]),
        )];
        if self.has_mtls(endpoint) {
            let mode = Struct::from_iter([("tlsMode", "istio")]);
            metadata.push(("envoy.transport_socket_match".to_owned(), mode));
        }
        LbEndpoint {
            endpoint: Some(EnvoyEndpoint {
                address: message::address(endpoint.address, endpoint.port),
                ..Default::default()
            }),
            health_status: HealthStatus::Healthy.into(),
            load_balancing_weight: message::uint32(1),
            metadata: Some(Metadata {
                filter_metadata: metadata.into_iter().collect(),
            }),
        }
    }

    /// Who the endpoint is, for telemetry: `workload;namespace;canonical name;revision;cluster`.
    fn workload(&self, endpoint: &Endpoint) -> String {
        let cluster = &self.snapshot.options.cluster_id;
        let Some(workload) = &endpoint.workload else {
            return format!(";;;;{cluster}");
        };
        let (name, revision) = workload.canonical();
        let revision = if revision == "latest" { "" } else { revision };
        let (owner, namespace) = (&workload.workload_name, &workload.namespace);
        format!("{owner};{namespace};{name};{revision};{cluster}")
    }

    /// Whether automatic mutual TLS may be used: the pod has a proxy, no policy turns it off on
    /// this port, and no rule asks for another kind of TLS.
    fn has_mtls(&self, endpoint: &Endpoint) -> bool {
        let is_other_tls = self.policy.tls.is_some_and(|tls| {
            matches!(
                tls.mode,
                ClientTlsMode::Disable | ClientTlsMode::Simple | ClientTlsMode::Mutual
            )
        });
        let Some(workload) = endpoint
            .workload
            .as_ref()
            .filter(|workload| workload.accepts_mtls())
        else {
            return false;
        };
        let authentication = &self.snapshot.authentication;
        let namespace = &workload.namespace;
        let mode = match authentication.has_workload_policies(namespace) {
            true => authentication
                .workload(namespace, &workload.labels)
                .port(endpoint.port),
            false => authentication.namespace_mode(namespace),
        };
        !is_other_tls && mode != MtlsMode::Disable
    }

    /// Near localities first, without gaps; everything is 0 where locality does not count.
    fn priorities<'l>(
        &self,
        localities: impl Iterator<Item = &'l Locality>,
    ) -> BTreeMap<&'l Locality, u32> {
        let Some(own) = &self.standpoint.locality else {
            return BTreeMap::new();
        };
        let setting = self
            .policy
            .load_balancer
            .and_then(|lb| lb.locality_lb_setting.as_ref());
        let ranks: BTreeMap<&Locality, u32> = localities
            .map(|other| (other, distance(own, other, setting)))
            .collect();
        let mut used: Vec<u32> = ranks.values().copied().collect();
        used.sort_unstable();
        used.dedup();
        let compact = |rank: u32| {
            let position = used.iter().position(|known| *known == rank).unwrap_or(0);
            u32::try_from(position).unwrap_or(u32::MAX)
        };
        ranks
            .into_iter()
            .map(|(locality, rank)| (locality, compact(rank)))
            .collect()
    }
}

/// 0 in the same sub-zone, 1 in the zone, 2 in the region, 3 where the rule's failover leads, 4 elsewhere.
fn distance(own: &Locality, other: &Locality, setting: Option<&LocalityLbSetting>) -> u32 {
    if own.region != other.region {
        let failover = setting.map_or(&[][..], |setting| &setting.failover);
        let is_next = failover
            .iter()
            .any(|next| next.from == own.region && next.to == other.region);
        return if is_next { 3 } else { 4 };
    }
    match (own.zone == other.zone, own.sub_zone == other.sub_zone) {
        (true, true) => 0,
        (true, false) => 1,
        (false, _) => 2,
    }
}

fn is_locality_enabled(snapshot: &Snapshot, policy: &PortPolicy<'_>) -> bool {
    policy
        .load_balancer
        .and_then(|lb| lb.locality_lb_setting.as_ref())
        .and_then(|setting| setting.enabled)
        .unwrap_or(snapshot.mesh.locality_enabled)
}

/// Node of the proxy's pod.
fn node_of(proxy: &Proxy) -> Option<String> {
    let known = proxy
        .workload
        .as_ref()
        .and_then(|workload| workload.node.as_deref());
    known
        .or(proxy.node.metadata.node_name.as_deref())
        .map(str::to_owned)
}
