//! Destinations of rules as clusters, and what a rule's match says about the client.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironsail_crds::networking::destination_rule::{ConsistentHashLb, TcpSettings};
use ironsail_crds::networking::virtual_service::Destination;
use ironsail_mesh::host::resolve_short_name;
use ironsail_mesh::xds_name::ClusterName;

use crate::model::authentication::is_selected;
use crate::model::destination_rule::{PortPolicy, RuleClient};
use crate::model::service::{Resolution, Service};
use crate::model::snapshot::Snapshot;
use crate::model::virtual_service::{MESH_GATEWAY, VirtualService, resolve_gateway};

/// What a client contributes to its routes. Proxies with equal clients get equal routes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteClient {
    pub namespace: String,
    pub dns_domain: String,
    /// Empty unless some rule asks for labels.
    pub labels: Arc<BTreeMap<String, String>>,
}

impl RouteClient {
    pub fn rule_client(&self) -> RuleClient<'_> {
        RuleClient {
            namespace: &self.namespace,
            labels: &self.labels,
        }
    }
}

/// Where routes are made for.
pub struct RouteScope<'a> {
    pub snapshot: &'a Snapshot,
    pub client: &'a RouteClient,
    /// The gateway that the rules are bound to, or `mesh`.
    pub gateway: &'a str,
    pub listen_port: u16,
}

/// The conditions of a match that discovery itself decides.
#[derive(Clone, Copy)]
pub struct ClientMatch<'a> {
    pub port: Option<u32>,
    pub gateways: &'a [String],
    pub source_namespace: &'a str,
    pub source_labels: &'a BTreeMap<String, String>,
}

impl RouteScope<'_> {
    pub fn is_for_mesh(&self) -> bool {
        self.gateway == MESH_GATEWAY
    }

    /// Whether a match is for this client at all.
    pub fn is_for_client(&self, rule: &VirtualService, condition: ClientMatch<'_>) -> bool {
        let is_port = condition
            .port
            .is_none_or(|port| port == 0 || port == u32::from(self.listen_port));
        let is_gateway = condition.gateways.is_empty()
            || condition
                .gateways
                .iter()
                .any(|name| resolve_gateway(name, &rule.key.namespace) == self.gateway);
        let is_namespace = condition.source_namespace.is_empty()
            || condition.source_namespace == self.client.namespace;
        is_port
            && is_gateway
            && is_namespace
            && is_selected(condition.source_labels, &self.client.labels)
    }

    /// The services that routes of this scope know: those on the port for sidecars, all for gateways.
    pub fn service(&self, host: &str) -> Option<&Arc<Service>> {
        let services = &self.snapshot.services;
        services.get(host).filter(|service| {
            services.is_visible(service, &self.client.namespace)
                && (!self.is_for_mesh()
                    || service.is_alias()
                    || service.port(self.listen_port).is_some())
        })
    }

    /// The cluster of a destination; a host that no service has keeps its name, and calls to it fail.
    pub fn cluster(&self, rule: &VirtualService, destination: &Destination) -> ClusterName {
        let host = self.host(rule, destination);
        let service = self.service(&host);
        let target = match service.map(|service| &service.resolution) {
            Some(Resolution::Alias(target)) => target.to_string(),
            _ => host,
        };
        let port = destination
            .port_number()
            .and_then(|port| u16::try_from(port).ok())
            .or_else(|| match self.service(&target)?.ports.as_slice() {
                [only] => Some(only.port),
                _ => None,
            })
            .unwrap_or(self.listen_port);
        ClusterName::outbound(port, destination.subset.as_str(), target)
    }

    fn host(&self, rule: &VirtualService, destination: &Destination) -> String {
        let domain = &self.snapshot.options.cluster_domain;
        resolve_short_name(&destination.host, &rule.key.namespace, domain).to_ascii_lowercase()
    }

    /// How calls to a cluster choose an endpoint by hash, if a rule says so.
    pub fn consistent_hash(&self, cluster: &ClusterName) -> Option<&ConsistentHashLb> {
        self.policy(cluster)?
            .load_balancer?
            .consistent_hash
            .as_ref()
    }

    /// What a rule says about TCP connections to a cluster.
    pub fn tcp_settings(&self, cluster: &ClusterName) -> Option<&TcpSettings> {
        self.policy(cluster)?.connection_pool?.tcp.as_ref()
    }

    fn policy(&self, cluster: &ClusterName) -> Option<PortPolicy<'_>> {
        let snapshot = self.snapshot;
        let service = snapshot.services.get(&cluster.host)?;
        let rule = snapshot.destination_rules.lookup(
            self.client.rule_client(),
            &service.namespace,
            &service.host,
            snapshot.mesh.root_namespace(),
        )?;
        Some(rule.port_policy(cluster.port, rule.subset(&cluster.subset)))
    }
}
