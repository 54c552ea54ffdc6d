//! Endpoints of clusters that are discovered by name.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ironsail_runtime::net::Resolver;
use tokio::time::{Instant, sleep_until};

use super::store::Store;
use crate::resource::cluster::{ClusterConfig, Discovery, DnsConfig, DnsFamily};
use crate::resource::endpoint::{Endpoint, Endpoints};

/// Refreshes come at most this often, whatever is configured.
const MIN_REFRESH: Duration = Duration::from_secs(1);

/// When the names of each cluster are looked up next.
#[derive(Default)]
pub(super) struct Schedule {
    due: BTreeMap<Arc<str>, (Arc<ClusterConfig>, Instant)>,
}

impl Schedule {
    /// Follows the clusters of the store: new and changed ones are due now.
    pub(super) fn follow(&mut self, clusters: Vec<Arc<ClusterConfig>>) {
        let mut old = std::mem::take(&mut self.due);
        for cluster in clusters {
            let name = Arc::clone(&cluster.name);
            let kept = old.remove(&name).filter(|(c, _)| Arc::ptr_eq(c, &cluster));
            let entry = kept.unwrap_or_else(|| (cluster, Instant::now()));
            self.due.insert(name, entry);
        }
    }

    /// Looks up the names of the next cluster that is due. Cancel safe.
    pub(super) async fn next(&mut self, resolver: &Resolver, store: &Store) {
        let next = self.due.values_mut().min_by_key(|(_, due)| *due);
        let Some((cluster, due)) = next else {
            return std::future::pending().await;
        };
        sleep_until(*due).await;
        let Some(config) = dns_config(cluster) else {
            return;
        };
        let answers = lookup(resolver, config).await;
        let refresh = config.refresh.max(MIN_REFRESH);
        // Spread over a tenth, so that many proxies do not ask at once.
        *due = Instant::now() + refresh.mul_f64(1.0 + fastrand::f64() / 10.0);
        store.set_dns(&cluster.name, &answers);
    }
}

pub(super) fn dns_config(cluster: &ClusterConfig) -> Option<&DnsConfig> {
    match &cluster.discovery {
        Discovery::StrictDns(config) | Discovery::LogicalDns(config) => Some(config),
        _ => None,
    }
}

/// Addresses by name; names that could not be looked up are missing.
pub(super) type Answers = HashMap<Arc<str>, Vec<IpAddr>>;

async fn lookup(resolver: &Resolver, config: &DnsConfig) -> Answers {
    let names = config.names.iter().map(|name| async {
        match resolver.resolve(&name.host).await {
            Ok(addresses) => Some((Arc::clone(&name.host), addresses)),
            Err(error) => {
                tracing::debug!(host = %name.host, %error, "Name cannot be resolved");
                None
            }
        }
    });
    let answers = futures::future::join_all(names).await;
    answers.into_iter().flatten().collect()
}

/// The endpoints that `answers` give a cluster; of names without an answer those of `old` stay.
pub(super) fn endpoints(
    cluster: &ClusterConfig,
    answers: &Answers,
    old: Option<&Endpoints>,
) -> Endpoints {
    let mut endpoints = Endpoints {
        overprovisioning_factor: 140,
        ..Endpoints::default()
    };
    let Some(config) = dns_config(cluster) else {
        return endpoints;
    };
    let one = matches!(cluster.discovery, Discovery::LogicalDns(_));
    for name in &config.names {
        // Names say in the host name which of the old endpoints were theirs.
        let template = Endpoint {
            hostname: Arc::clone(&name.host),
            ..name.template.clone()
        };
        match answers.get(&name.host) {
            Some(addresses) => {
                let mut addresses = of_family(addresses, config.family);
                addresses.truncate(if one { 1 } else { addresses.len() });
                for address in addresses {
                    let address = SocketAddr::new(address, name.port);
                    let template = template.clone();
                    endpoints.push(
                        name.priority,
                        Endpoint {
                            address,
                            ..template
                        },
                    );
                }
            }
            None => keep(&mut endpoints, old, &template, name.priority, name.port),
        }
    }
    endpoints
}

fn keep(
    endpoints: &mut Endpoints,
    old: Option<&Endpoints>,
    template: &Endpoint,
    priority: usize,
    port: u16,
) {
    let old = old.and_then(|old| old.priorities.get(priority));
    for endpoint in old
        .into_iter()
        .flatten()
        .flat_map(|locality| &locality.endpoints)
    {
        if endpoint.hostname == template.hostname && endpoint.address.port() == port {
            endpoints.push(priority, (**endpoint).clone());
        }
    }
}

fn of_family(addresses: &[IpAddr], family: DnsFamily) -> Vec<IpAddr> {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|a| a.is_ipv4());
    match family {
        DnsFamily::V4 => v4,
        DnsFamily::V6 => v6,
        DnsFamily::All => addresses.to_vec(),
        DnsFamily::Auto if v6.is_empty() => v4,
        DnsFamily::Auto => v6,
        DnsFamily::V4Preferred if v4.is_empty() => v6,
        DnsFamily::V4Preferred => v4,
    }
}
