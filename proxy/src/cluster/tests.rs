use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::cluster::load_balancer::{HostSet, LoadBalancer};
use crate::cluster::loopback;
use crate::cluster::manager::ClusterUpdate;
use crate::cluster::{ClusterManager, Dialer, Host, PickContext, PickError};
use crate::resource::cluster::{ClusterConfig, LbPolicy};
use crate::resource::endpoint::{Endpoint, Endpoints, HealthStatus};
use crate::resource::intern::Interner;
use crate::testing::{address, assignment, eds_cluster, original_dst_cluster};

const LEAST_REQUEST: LbPolicy = LbPolicy::LeastRequest {
    choices: 2,
    active_request_bias: 1.0,
};

fn endpoint(last: u8, weight: u32, health: HealthStatus) -> Endpoint {
    Endpoint {
        address: ([10, 0, 0, last], 80).into(),
        hostname: Arc::from(""),
        health,
        weight,
        transport_match: Box::default(),
        workload: None,
    }
}

/// Endpoints by priority, as `(weight, healthy)`.
fn endpoints(priorities: &[&[(u32, bool)]]) -> Endpoints {
    let mut all = Endpoints {
        overprovisioning_factor: 140,
        ..Endpoints::default()
    };
    let mut last = 0;
    for (priority, hosts) in priorities.iter().enumerate() {
        for (weight, healthy) in *hosts {
            last += 1;
            let health = if *healthy {
                HealthStatus::Healthy
            } else {
                HealthStatus::Unhealthy
            };
            all.push(priority, endpoint(last, *weight, health));
        }
    }
    all
}

fn hosts(priorities: &[&[(u32, bool)]]) -> HostSet {
    HostSet::update(&HostSet::default(), &endpoints(priorities), false)
}

/// Share of each host in many picks, by the last byte of its address, in percent.
fn shares(policy: LbPolicy, hosts: &HostSet) -> HashMap<u8, f64> {
    const PICKS: u32 = 20_000;
    fastrand::seed(7);
    let balancer = LoadBalancer::new(policy);
    let mut counts: HashMap<u8, u32> = HashMap::new();
    for _ in 0..PICKS {
        let host = balancer
            .pick(hosts, &PickContext::default())
            .expect("a host");
        let std::net::IpAddr::V4(ip) = host.address().ip() else {
            panic!("IPv4");
        };
        *counts.entry(ip.octets()[3]).or_default() += 1;
    }
    let share = |count| f64::from(count) * 100.0 / f64::from(PICKS);
    counts
        .into_iter()
        .map(|(host, count)| (host, share(count)))
        .collect()
}

#[track_caller]
fn check(shares: &HashMap<u8, f64>, expected: &[(u8, f64)]) {
    assert_eq!(shares.len(), expected.len(), "{shares:?}");
    for (host, wanted) in expected {
        let share = shares.get(host).copied().unwrap_or_default();
        assert!(
            (share - wanted).abs() < 2.0,
            "{host}: {share} instead of {wanted}"
        );
    }
}

#[test]
fn weights_are_kept_by_every_policy() {
    let set = hosts(&[&[(1, true), (3, true)]]);
    for policy in [LEAST_REQUEST, LbPolicy::RoundRobin, LbPolicy::Random] {
        check(&shares(policy, &set), &[(1, 25.0), (2, 75.0)]);
    }
}

#[test]
fn equal_hosts_share_equally() {
    let set = hosts(&[&[(1, true), (1, true), (1, true), (1, true)]]);
    for policy in [LEAST_REQUEST, LbPolicy::RoundRobin, LbPolicy::Random] {
        check(
            &shares(policy, &set),
            &[(1, 25.0), (2, 25.0), (3, 25.0), (4, 25.0)],
        );
    }
}

#[test]
fn least_request_avoids_the_busy_one() {
    let set = hosts(&[&[(1, true), (1, true), (1, true)]]);
    let busy = set.all().swap_remove(0);
    let _requests: Vec<_> = (0..10).map(|_| busy.begin()).collect();
    // Of three pairs, the one without the busy host is split; the others go to its partner.
    check(&shares(LEAST_REQUEST, &set), &[(2, 50.0), (3, 50.0)]);
}

#[test]
fn unhealthy_hosts_get_nothing_however_few_are_left() {
    let set = hosts(&[&[(1, false), (1, false), (1, false), (1, true)]]);
    check(&shares(LEAST_REQUEST, &set), &[(4, 100.0)]);
    let balancer = LoadBalancer::new(LEAST_REQUEST);
    let none = hosts(&[&[(1, false)]]);
    assert!(balancer.pick(&none, &PickContext::default()).is_none());
}

#[test]
fn priorities_fail_over_by_health() {
    // Half healthy, times 1.4, leaves 30 % for the next priority.
    let set = hosts(&[&[(1, true), (1, false)], &[(1, true)]]);
    check(&shares(LbPolicy::Random, &set), &[(1, 70.0), (3, 30.0)]);
    let set = hosts(&[&[(1, false)], &[(1, true)]]);
    check(&shares(LbPolicy::Random, &set), &[(2, 100.0)]);
}

#[test]
fn localities_share_by_weight_when_configured() {
    let mut all = endpoints(&[&[(1, true)]]);
    let mut second = all.priorities[0][0].clone();
    second.endpoints = vec![Arc::new(endpoint(2, 1, HealthStatus::Healthy))];
    all.priorities[0].push(second);
    all.priorities[0][0].weight = Some(80);
    all.priorities[0][1].weight = Some(20);
    let set = HostSet::update(&HostSet::default(), &all, true);
    check(&shares(LbPolicy::Random, &set), &[(1, 80.0), (2, 20.0)]);
    let set = HostSet::update(&HostSet::default(), &all, false);
    check(&shares(LbPolicy::Random, &set), &[(1, 50.0), (2, 50.0)]);
}

#[test]
fn hashes_stay_with_their_host() {
    let ring = LbPolicy::RingHash {
        min: 1024,
        max: 8192,
    };
    let maglev = LbPolicy::Maglev { size: 65_537 };
    for policy in [ring, maglev] {
        let all: Vec<(u32, bool)> = vec![(1, true); 5];
        let (set, fewer) = (hosts(&[&all]), hosts(&[&all[..4]]));
        let balancer = LoadBalancer::new(policy);
        let pick = |set: &HostSet, key: u64| {
            let hash = Some(xxhash_rust::xxh64::xxh64(&key.to_le_bytes(), 0));
            let context = PickContext {
                hash,
                ..PickContext::default()
            };
            balancer.pick(set, &context).expect("a host").address()
        };
        let mut moved = 0;
        for key in 0..1000 {
            let host = pick(&set, key);
            assert_eq!(pick(&set, key), host, "{policy:?}");
            let gone = host.ip() == std::net::IpAddr::from([10, 0, 0, 5]);
            moved += u32::from(!gone && pick(&fewer, key) != host);
        }
        assert!(
            moved < 150,
            "{policy:?}: {moved} of 1000 keys moved without need"
        );
    }
}

#[test]
fn hosts_that_earlier_attempts_used_are_avoided() {
    let set = hosts(&[&[(1, true), (1, true)]]);
    let balancer = LoadBalancer::new(LEAST_REQUEST);
    let used = balancer
        .pick(&set, &PickContext::default())
        .expect("a host");
    let avoid = [Rc::clone(&used)];
    let context = PickContext {
        avoid: &avoid,
        ..PickContext::default()
    };
    let mut same = 0;
    for _ in 0..100 {
        same += u32::from(Rc::ptr_eq(
            &balancer.pick(&set, &context).expect("a host"),
            &used,
        ));
    }
    assert!(same <= 10, "{same}");
}

fn cluster_update(addresses: &[&str], config: &Arc<ClusterConfig>) -> ClusterUpdate {
    ClusterUpdate {
        config: Arc::clone(config),
        endpoints: Arc::new(Endpoints::compile(&assignment("a", addresses)).expect("valid")),
    }
}

#[test]
fn hosts_keep_their_identity_over_updates() {
    let config = ClusterConfig::compile(&eds_cluster("a"), 1, &mut Interner::default());
    let config = Arc::new(config.expect("valid"));
    let manager = ClusterManager::new(Dialer::Tcp);
    manager.apply(&[cluster_update(&["10.0.0.1:80", "10.0.0.2:80"], &config)]);
    let before = manager.get("a").expect("present").hosts();
    manager.apply(&[cluster_update(&["10.0.0.2:80", "10.0.0.3:80"], &config)]);
    let cluster = manager.get("a").expect("present");
    let after = cluster.hosts();
    assert!(Rc::ptr_eq(&before[1], &after[0]));
    assert!(before[0].is_removed() && !before[1].is_removed());

    manager.apply(&[cluster_update(&[], &config)]);
    let picked = cluster.pick(&PickContext::default());
    assert_eq!(picked.expect_err("none"), PickError::NoHealthyUpstream);
    manager.apply(&[]);
    assert!(manager.get("a").is_none());
    assert!(after.iter().all(|host: &Rc<Host>| host.is_removed()));
}

#[tokio::test]
async fn a_warning_names_applications_that_are_on_loopback_only() {
    use ironsail_xds::core::{BindConfig, address::Address};
    let application = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = application.local_addr().expect("bound").port();
    let mut inbound = original_dst_cluster("inbound|80||");
    let Some(Address::SocketAddress(source)) = address("127.0.0.6:0").address else {
        panic!("no address");
    };
    inbound.upstream_bind_config = Some(BindConfig {
        source_address: Some(source),
        ..Default::default()
    });
    let outbound = original_dst_cluster("PassthroughCluster");
    let manager = ClusterManager::new(Dialer::Tcp);
    let update = |cluster| ClusterUpdate {
        config: Arc::new(
            ClusterConfig::compile(cluster, 0, &mut Interner::default()).expect("valid"),
        ),
        endpoints: Arc::default(),
    };
    manager.apply(&[update(&inbound), update(&outbound)]);
    // As the pod's address: another one than the application's.
    let connect = async |name: &str| {
        let cluster = manager.get(name).expect("configured");
        let host = cluster.pick(&PickContext {
            original_dst: Some(([127, 0, 0, 2], port).into()),
            ..PickContext::default()
        });
        let (host, options) = (host.expect("any"), Default::default());
        let connected = cluster.connect(&host, &options).await;
        connected.expect_err("refused").to_string()
    };
    let error = connect("PassthroughCluster").await;
    assert!(error.contains("refused"), "{error}");
    assert!(!loopback::has_warned(port), "not our application");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !loopback::has_warned(port) {
        assert!(tokio::time::Instant::now() < deadline, "no warning");
        connect("inbound|80||").await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
