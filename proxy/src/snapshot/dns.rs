//! Endpoints of clusters that are discovered by name.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use ironsail_runtime::net::Resolver;
use tokio::time::{Instant, sleep_until};

use super::store::Store;
use crate::resource::cluster::{ClusterConfig, Discovery, DnsConfig, DnsFamily, DnsName};
use crate::resource::endpoint::{Endpoint, Endpoints};

/// Refreshes come at most this often, whatever is configured or answered.
const MIN_REFRESH: Duration = Duration::from_secs(1);
/// Clusters that are looked up at a time: name servers that do not answer hold up no others.
const MAX_LOOKUPS: usize = 64;

/// When the names of each cluster are looked up next, and the lookups under way.
pub(super) struct Schedule {
    resolver: Resolver,
    clusters: BTreeMap<Arc<str>, Entry>,
    running: FuturesUnordered<BoxFuture<'static, Looked>>,
}

struct Entry {
    config: Arc<ClusterConfig>,
    /// `None`: being looked up.
    due: Option<Instant>,
    /// Lookups in a row of which some name had no answer.
    failures: u32,
}

/// What a lookup brought.
struct Looked {
    config: Arc<ClusterConfig>,
    answers: Answers,
    /// Some name had no answer.
    failed: bool,
    expires: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(resolver: Resolver) -> Self {
        Self {
            resolver,
            clusters: BTreeMap::new(),
            running: FuturesUnordered::new(),
        }
    }

    /// Follows the clusters of the store: new and changed ones are due now.
    pub(super) fn follow(&mut self, clusters: Vec<Arc<ClusterConfig>>) {
        let mut old = std::mem::take(&mut self.clusters);
        for config in clusters {
            let name = Arc::clone(&config.name);
            let kept = old
                .remove(&name)
                .filter(|entry| Arc::ptr_eq(&entry.config, &config));
            let entry = kept.unwrap_or_else(|| Entry {
                config,
                due: Some(Instant::now()),
                failures: 0,
            });
            self.clusters.insert(name, entry);
        }
    }

    /// Starts lookups that are due, and hands the next result to `store`. Cancel safe: lookups go on with the next call.
    pub(super) async fn next(&mut self, store: &Store) {
        loop {
            self.start_due();
            let next = self.next_due();
            let due = async {
                match next {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(looked) = self.running.next() => {
                    self.finish(looked, store);
                    return;
                }
                () = due => {}
            }
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        let due = self.clusters.values_mut();
        for entry in due.filter(|entry| entry.due.is_some_and(|due| due <= now)) {
            if self.running.len() >= MAX_LOOKUPS {
                return;
            }
            entry.due = None;
            let (resolver, config) = (self.resolver.clone(), Arc::clone(&entry.config));
            self.running.push(Box::pin(lookup(resolver, config)));
        }
    }

    /// When to start lookups; one that ends makes room as well.
    fn next_due(&self) -> Option<Instant> {
        let due = self.clusters.values().filter_map(|entry| entry.due).min();
        due.filter(|_| self.running.len() < MAX_LOOKUPS)
    }

    fn finish(&mut self, looked: Looked, store: &Store) {
        let name = &looked.config.name;
        let entry = self.clusters.get_mut(name);
        let Some(entry) = entry.filter(|entry| Arc::ptr_eq(&entry.config, &looked.config)) else {
            return;
        };
        entry.failures = match looked.failed {
            true => entry.failures.saturating_add(1),
            false => 0,
        };
        if let Some(config) = dns_config(&looked.config) {
            let now = Instant::now();
            entry.due = Some(now + wait(config, entry.failures, looked.expires, now));
        }
        store.set_dns(name, &looked.answers);
    }
}

/// Time to the next lookup.
fn wait(config: &DnsConfig, failures: u32, expires: Option<Instant>, now: Instant) -> Duration {
    let wait = match failures {
        0 if config.respect_ttl => {
            expires.map_or(config.refresh, |expires| expires.duration_since(now))
        }
        0 => config.refresh,
        failures => {
            let (base, max) = config.failure_refresh;
            base.saturating_mul(1 << (failures - 1).min(16)).min(max)
        }
    };
    // Spread over a tenth, so that many proxies do not ask at once.
    let spread = config.jitter.max(wait / 10);
    wait.max(MIN_REFRESH) + spread.mul_f64(fastrand::f64())
}

pub(super) fn dns_config(cluster: &ClusterConfig) -> Option<&DnsConfig> {
    match &cluster.discovery {
        Discovery::StrictDns(config) | Discovery::LogicalDns(config) => Some(config),
        _ => None,
    }
}

/// Addresses by name; names that could not be looked up are missing.
pub(super) type Answers = HashMap<Arc<str>, Vec<IpAddr>>;

async fn lookup(resolver: Resolver, config: Arc<ClusterConfig>) -> Looked {
    let names = dns_config(&config).map_or(&[][..], |dns| &dns.names);
    let names = names.iter().map(|name| async {
        match resolver.resolve_with_expiry(&name.host).await {
            Ok((addresses, expires)) => Some((Arc::clone(&name.host), addresses, expires)),
            Err(error) => {
                tracing::debug!(host = %name.host, %error, "Name cannot be resolved");
                None
            }
        }
    });
    let found = join_all(names).await;
    let failed = found.iter().any(Option::is_none);
    let found: Vec<_> = found.into_iter().flatten().collect();
    let expires = found.iter().filter_map(|(_, _, expires)| *expires).min();
    let addresses = found
        .into_iter()
        .map(|(host, addresses, _)| (host, addresses));
    let answers = addresses.collect();
    Looked {
        answers,
        failed,
        expires: expires.map(Instant::from_std),
        config,
    }
}

/// The endpoints that `answers` give a cluster; of names without an answer those of `old` stay.
pub(super) fn endpoints(
    cluster: &ClusterConfig,
    answers: &Answers,
    old: Option<&Endpoints>,
) -> Endpoints {
    let mut endpoints = Endpoints::default();
    let Some(config) = dns_config(cluster) else {
        return endpoints;
    };
    endpoints.overprovisioning_factor = config.overprovisioning_factor;
    let one = matches!(cluster.discovery, Discovery::LogicalDns(_));
    for name in &config.names {
        let known = known_addresses(old, name);
        let addresses = match answers.get(&name.host) {
            None => known,
            Some(answer) => {
                let mut answer = of_family(answer, config.family);
                if one {
                    prefer(&known, &mut answer);
                }
                answer
            }
        };
        // The others of a logical address are for when it does not answer, if both families are wanted.
        let (addresses, others) = addresses.split_at(match one {
            true => addresses.len().min(1),
            false => addresses.len(),
        });
        let others = if config.family == DnsFamily::All {
            others
        } else {
            &[]
        };
        let socket = |address: &IpAddr| SocketAddr::new(*address, name.port);
        for address in addresses {
            let endpoint = Endpoint {
                address: socket(address),
                additional: others.iter().map(socket).collect(),
                // Says which endpoints came from the name.
                hostname: Arc::clone(&name.host),
                ..name.template.clone()
            };
            endpoints.push(
                name.priority,
                &name.locality,
                name.locality_weight,
                endpoint,
            );
        }
    }
    endpoints
}

/// Puts the present address first as long as the name has it, so that answers in turning order move nobody.
fn prefer(known: &[IpAddr], answer: &mut [IpAddr]) {
    let Some(present) = known.first().filter(|address| answer.contains(address)) else {
        return;
    };
    answer.sort_by_key(|address| (address != present, *address));
}

/// Addresses that a name had last time.
fn known_addresses(old: Option<&Endpoints>, name: &DnsName) -> Vec<IpAddr> {
    let priority = old.and_then(|old| old.priorities.get(name.priority));
    let localities = priority.into_iter().flatten();
    localities
        .filter(|known| known.locality == name.locality)
        .flat_map(|known| &known.endpoints)
        .filter(|known| known.hostname == name.host && known.address.port() == name.port)
        .flat_map(|known| std::iter::once(&known.address).chain(&known.additional))
        .map(SocketAddr::ip)
        .collect()
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

#[cfg(test)]
mod tests {
    use ironsail_xds::cluster::Cluster;
    use ironsail_xds::cluster::cluster::{ClusterDiscoveryType, DiscoveryType};
    use ironsail_xds::endpoint::{ClusterLoadAssignment, lb_endpoint::HostIdentifier};
    use ironsail_xds::endpoint::{Endpoint as EndpointProto, LbEndpoint, LocalityLbEndpoints};
    use ironsail_xds::{core, protobuf, type_url};

    use super::*;
    use crate::resource::intern::Interner;
    use crate::snapshot::StoreOptions;
    use crate::testing::update;
    use crate::xds::Sink;

    const SECOND: Duration = Duration::from_secs(1);

    /// A cluster of names, each in a zone of its name.
    #[allow(deprecated)]
    fn cluster(kind: DiscoveryType, names: &[&str]) -> Cluster {
        let group = |name: &&str| LocalityLbEndpoints {
            locality: Some(core::Locality {
                zone: (*name).to_owned(),
                ..Default::default()
            }),
            load_balancing_weight: Some(protobuf::UInt32Value { value: 7 }),
            lb_endpoints: vec![LbEndpoint {
                host_identifier: Some(HostIdentifier::Endpoint(EndpointProto {
                    address: Some(core::Address {
                        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
                            address: (*name).to_owned(),
                            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
                                80,
                            )),
                            ..Default::default()
                        })),
                    }),
                    ..Default::default()
                })),
                ..Default::default()
            }],
            ..Default::default()
        };
        Cluster {
            name: "names".to_owned(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
            load_assignment: Some(ClusterLoadAssignment {
                endpoints: names.iter().map(group).collect(),
                ..Default::default()
            }),
            dns_refresh_rate: Some(protobuf::Duration {
                seconds: 60,
                nanos: 0,
            }),
            respect_dns_ttl: true,
            ..Default::default()
        }
    }

    fn compile(cluster: &Cluster) -> ClusterConfig {
        ClusterConfig::compile(cluster, 0, &mut Interner::default()).expect("valid")
    }

    fn answers(names: &[(&str, &[&str])]) -> Answers {
        let ip = |text: &&str| text.parse().expect("an address");
        let answer = |(name, all): &(&str, &[&str])| {
            (Arc::from(*name), all.iter().map(ip).collect::<Vec<_>>())
        };
        names.iter().map(answer).collect()
    }

    fn addresses(endpoints: &Endpoints) -> Vec<String> {
        let all = endpoints.all();
        all.map(|endpoint| endpoint.address.to_string()).collect()
    }

    #[test]
    fn names_keep_their_localities_and_last_answers() {
        let strict = compile(&cluster(DiscoveryType::StrictDns, &["a", "b"]));
        let first = answers(&[("a", &["10.0.0.1", "10.0.0.2"]), ("b", &["10.0.0.3"])]);
        let first = endpoints(&strict, &first, None);
        assert_eq!(
            addresses(&first),
            ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
        );
        let localities = &first.priorities[0];
        assert_eq!(localities[1].locality.zone, "b");
        assert_eq!(localities[1].weight, Some(7));
        // Nothing was heard of one, and the other has moved.
        let second = endpoints(&strict, &answers(&[("b", &["10.0.0.4"])]), Some(&first));
        assert_eq!(
            addresses(&second),
            ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.4:80"]
        );
    }

    #[test]
    fn a_logical_address_stays_while_it_is_there() {
        let logical = compile(&cluster(DiscoveryType::LogicalDns, &["a"]));
        let mut known = None;
        for (answer, expected) in [
            (&["10.0.0.1", "10.0.0.2"][..], "10.0.0.1:80"),
            (&["10.0.0.2", "10.0.0.1"], "10.0.0.1:80"),
            (&["10.0.0.2", "10.0.0.3"], "10.0.0.2:80"),
        ] {
            let now = endpoints(&logical, &answers(&[("a", answer)]), known.as_ref());
            assert_eq!(addresses(&now), [expected]);
            known = Some(now);
        }
    }

    #[test]
    fn families_are_chosen() {
        let both: [IpAddr; 2] = ["10.0.0.1", "fd00::1"].map(|text| text.parse().expect("address"));
        for (family, expected) in [
            (DnsFamily::Auto, &both[1..]),
            (DnsFamily::V4, &both[..1]),
            (DnsFamily::V6, &both[1..]),
            (DnsFamily::V4Preferred, &both[..1]),
            (DnsFamily::All, &both[..]),
        ] {
            assert_eq!(of_family(&both, family), expected, "{family:?}");
        }
        assert_eq!(of_family(&both[..1], DnsFamily::Auto), &both[..1]);
        assert_eq!(of_family(&both[1..], DnsFamily::V4Preferred), &both[1..]);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_follow_answers_and_failures() {
        let strict = compile(&cluster(DiscoveryType::StrictDns, &["a"]));
        let config = dns_config(&strict).expect("of names");
        let now = Instant::now();
        let in_seconds = |failures, ttl: Option<u32>| {
            let expires = ttl.map(|ttl| now + ttl * SECOND);
            wait(config, failures, expires, now).as_secs()
        };
        assert!((60..66).contains(&in_seconds(0, None)));
        assert!((30..33).contains(&in_seconds(0, Some(30))));
        assert_eq!(
            in_seconds(0, Some(0)),
            1,
            "not more often than once a second"
        );
        assert_eq!(in_seconds(1, None), 1);
        assert!((4..5).contains(&in_seconds(3, None)));
        assert!((60..66).contains(&in_seconds(40, None)));
    }

    #[tokio::test(start_paused = true)]
    async fn changes_of_configuration_do_not_interrupt_lookups() {
        let resolver = Resolver::from_texts("", "10.0.0.1 a\n").expect("valid texts");
        let mut store = Store::new(StoreOptions::default());
        let names = cluster(DiscoveryType::StrictDns, &["a", "b..c"]);
        assert_eq!(store.apply(update(&[("names", names)])), []);
        assert!(store.snapshot().clusters.is_empty(), "not looked up yet");
        let mut schedule = Schedule::new(resolver);
        while store.snapshot().clusters.is_empty() {
            schedule.follow(store.dns_clusters());
            let next = schedule.next(&store);
            // Whatever else happens comes between.
            let _ = futures::poll!(std::pin::pin!(next));
            tokio::task::yield_now().await;
        }
        let snapshot = store.snapshot();
        assert_eq!(
            addresses(&snapshot.clusters["names"].endpoints),
            ["10.0.0.1:80"]
        );
        assert_eq!(schedule.clusters["names"].failures, 1, "of the other name");
        assert_eq!(store.raw(type_url::CLUSTER).len(), 1);
    }
}
