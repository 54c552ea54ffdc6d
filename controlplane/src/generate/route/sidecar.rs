//! Route tables of sidecars: one per port, and one per service whose protocol is not declared.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironsail_mesh::host::matches;

use crate::generate::Resource;
use crate::generate::destination::{RouteClient, RouteScope};
use crate::generate::route::virtual_host::{
    Domains, Host, catch_all, default_route, name_domains, service_domains, table,
};
use crate::generate::route::virtual_service::{EncodedRoute, routes};
use crate::model::service::Service;
use crate::model::snapshot::Snapshot;
use crate::model::virtual_service::{MESH_GATEWAY, VirtualService};

/// Hosts of rules that no service has are in the table of this port only, as with the peer.
const PORT_OF_EVERY_RULE: u16 = 80;

/// What a table is made of.
pub struct Tables<'a> {
    pub snapshot: &'a Snapshot,
    pub client: &'a RouteClient,
    pub is_ipv6: bool,
}

impl<'a> Tables<'a> {
    fn scope(&self, port: u16) -> RouteScope<'a> {
        RouteScope {
            snapshot: self.snapshot,
            client: self.client,
            gateway: MESH_GATEWAY,
            listen_port: port,
        }
    }

    /// Services that may be called with HTTP on a port.
    fn services(&self, port: u16) -> impl Iterator<Item = &'a Arc<Service>> {
        let visible = self.snapshot.services.visible(&self.client.namespace);
        visible.filter(move |service| {
            !service.is_alias()
                && service
                    .port(port)
                    .is_some_and(|port| port.protocol.is_http() || port.protocol.is_unsupported())
        })
    }

    /// The table of a port.
    pub fn port(&self, name: &str, port: u16) -> Resource {
        let scope = self.scope(port);
        let rules: Vec<_> = self
            .snapshot
            .virtual_services
            .for_mesh(&self.client.namespace)
            .collect();
        let services: BTreeMap<&str, &Arc<Service>> = self
            .services(port)
            .map(|service| (&*service.host, service))
            .collect();
        let mut hosts = Vec::new();
        let mut domains = Domains::default();
        let mut covered: BTreeMap<&str, ()> = BTreeMap::new();
        let winners = Winners::new(&rules);
        for (position, rule) in rules.iter().enumerate() {
            if port != PORT_OF_EVERY_RULE && !names_any(rule, &services) {
                continue;
            }
            let routes = routes(&scope, rule);
            if routes.is_empty() {
                continue;
            }
            for host in &rule.hosts {
                let found = winners.services(position, host, &services);
                for service in &found {
                    covered.insert(&service.host, ());
                    hosts.push(self.service_host(service, port, routes.clone()));
                }
                if found.is_empty() && !services.contains_key(host.as_str()) {
                    let domains = vec![host.clone()];
                    hosts.push(Host::new(format!("{host}:{port}"), domains, routes.clone()));
                }
            }
        }
        for service in services
            .values()
            .filter(|service| !covered.contains_key(&*service.host))
        {
            hosts.push(self.service_host(service, port, vec![default_route(&scope, service)]));
        }
        for host in &mut hosts {
            host.domains = domains.claim(std::mem::take(&mut host.domains));
        }
        hosts.retain(|host| !host.domains.is_empty());
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        if domains.claim(vec!["*".to_owned()]).len() == 1 {
            hosts.push(catch_all(self.snapshot.mesh.config.is_registry_only()));
        }
        table(name, hosts)
    }

    fn service_host(&self, service: &Service, port: u16, routes: Vec<EncodedRoute>) -> Host {
        let mut domains = service_domains(service, self.client, self.is_ipv6);
        let services = &self.snapshot.services;
        for alias in services.aliases(&service.host) {
            if services.is_visible(alias, &self.client.namespace) {
                domains.extend(name_domains(alias, self.client));
            }
        }
        Host::new(format!("{}:{port}", service.host), domains, routes)
    }

    /// The table of one service, `host:port`; `None` when there is no such service.
    pub fn service(&self, name: &str, host: &str, port: u16) -> Option<Resource> {
        let service = self.services(port).find(|service| &*service.host == host)?;
        let scope = self.scope(port);
        let rules: Vec<_> = self
            .snapshot
            .virtual_services
            .for_mesh(&self.client.namespace)
            .collect();
        let winner = Winners::new(&rules)
            .of(host)
            .and_then(|position| rules.get(position));
        let mut routes = winner.map(|rule| routes(&scope, rule)).unwrap_or_default();
        if routes.is_empty() {
            routes.push(default_route(&scope, service));
        }
        let host = Host::new(
            format!("{}:{port}", service.host),
            vec!["*".to_owned()],
            routes,
        );
        Some(table(name, [host]))
    }
}

/// Whether a rule is for one of these services.
fn names_any(rule: &VirtualService, services: &BTreeMap<&str, &Arc<Service>>) -> bool {
    rule.hosts.iter().any(|host| match host.starts_with('*') {
        true => services.keys().any(|service| matches(host, service)),
        false => services.contains_key(host.as_str()),
    })
}

/// Which rule is for which host: the oldest with that very host, else with the longest wildcard.
struct Winners<'a> {
    exact: BTreeMap<&'a str, usize>,
    /// The longest first.
    wildcards: Vec<(&'a str, usize)>,
}

impl<'a> Winners<'a> {
    fn new(rules: &[&'a Arc<VirtualService>]) -> Self {
        let mut winners = Self {
            exact: BTreeMap::new(),
            wildcards: Vec::new(),
        };
        for (position, rule) in rules.iter().enumerate() {
            // Rules without routes for HTTP leave the host to others.
            if rule.spec.http.is_empty() {
                continue;
            }
            for host in &rule.hosts {
                if host.starts_with('*') {
                    winners.wildcards.push((host, position));
                } else {
                    winners.exact.entry(host).or_insert(position);
                }
            }
        }
        winners
            .wildcards
            .sort_by_key(|(host, position)| (std::cmp::Reverse(host.len()), *position));
        winners
    }

    fn of(&self, host: &str) -> Option<usize> {
        self.exact.get(host).copied().or_else(|| {
            let wildcard = self
                .wildcards
                .iter()
                .find(|(pattern, _)| matches(pattern, host));
            wildcard.map(|(_, position)| *position)
        })
    }

    /// The services that the rule at `position` is for by this one of its hosts.
    fn services(
        &self,
        position: usize,
        host: &str,
        services: &BTreeMap<&str, &'a Arc<Service>>,
    ) -> Vec<&'a Arc<Service>> {
        if !host.starts_with('*') {
            let own = self.exact.get(host) == Some(&position);
            return services
                .get(host)
                .copied()
                .filter(|_| own)
                .into_iter()
                .collect();
        }
        services
            .values()
            .copied()
            .filter(|service| {
                matches(host, &service.host) && self.of(&service.host) == Some(position)
            })
            .collect()
    }
}
