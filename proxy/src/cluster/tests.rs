use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::cluster::load_balancer::{HostSet, LoadBalancer, Membership};
use crate::cluster::loopback;
use crate::cluster::manager::ClusterUpdate;
use crate::cluster::{ClusterManager, Dialer, Host, PickContext, PickError};
use crate::peer::PeerMetadata;
use crate::resource::cluster::{ClusterConfig, Hashing, LbPolicy, SlowStart};
use crate::resource::endpoint::{Endpoint, Endpoints, HealthStatus};
use crate::resource::intern::Interner;
use crate::stats::{DEFAULT_BOUNDS, Registry};
use crate::testing::{address, assignment, eds_cluster, original_dst_cluster};

const LEAST_REQUEST: LbPolicy = LbPolicy::LeastRequest {
    choices: 2,
    active_request_bias: 1.0,
};

fn endpoint(last: u8, weight: u32, health: HealthStatus) -> Endpoint {
    Endpoint {
        address: ([10, 0, 0, last], 80).into(),
        additional: Box::default(),
        hostname: Arc::from(""),
        health,
        weight,
        canary: false,
        hash_key: "".into(),
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
            let endpoint = endpoint(last, *weight, health);
            all.push(priority, &Arc::default(), None, endpoint);
        }
    }
    all
}

fn hosts(priorities: &[&[(u32, bool)]]) -> HostSet {
    arranged(&endpoints(priorities), false, 0)
}

fn arranged(endpoints: &Endpoints, locality_weighted: bool, panic_threshold: u32) -> HostSet {
    let membership = Membership {
        endpoints,
        locality_weighted,
        panic_threshold,
        detector: None,
    };
    HostSet::update(&HostSet::default(), &membership)
}

fn shard() -> Rc<crate::stats::Shard> {
    let registry = Registry::new(PeerMetadata::default(), "1", DEFAULT_BOUNDS);
    registry.shard()
}

/// Share of each host in many picks, by the last byte of its address, in percent.
fn shares(policy: LbPolicy, hosts: &HostSet) -> HashMap<u8, f64> {
    const PICKS: u32 = 20_000;
    fastrand::seed(7);
    let balancer = LoadBalancer::new(policy, None);
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
    let balancer = LoadBalancer::new(LEAST_REQUEST, None);
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
    let set = arranged(&all, true, 0);
    check(&shares(LbPolicy::Random, &set), &[(1, 80.0), (2, 20.0)]);
    let set = arranged(&all, false, 0);
    check(&shares(LbPolicy::Random, &set), &[(1, 50.0), (2, 50.0)]);
}

#[test]
fn hosts_with_more_than_their_share_are_passed_over() {
    let ring = LbPolicy::RingHash {
        min: 1024,
        max: 8192,
        hashing: Hashing {
            by_hostname: false,
            balance_factor: 100,
        },
    };
    let (balancer, set) = (LoadBalancer::new(ring, None), hosts(&[&[(1, true); 3]]));
    let context = PickContext {
        hash: Some(7),
        ..PickContext::default()
    };
    let pick = || balancer.pick(&set, &context).expect("a host");
    let first = pick();
    let one = first.begin();
    assert_eq!(pick().address(), first.address(), "one of one is its share");
    let two = first.begin();
    let other = pick();
    assert_ne!(other.address(), first.address());
    assert_eq!(pick().address(), other.address(), "always the same");
    drop((one, two));
    assert_eq!(pick().address(), first.address());
}

#[test]
fn what_hashing_asks_for_must_be_possible() {
    use ironsail_xds::cluster::cluster::CommonLbConfig;
    use ironsail_xds::cluster::cluster::common_lb_config::ConsistentHashingLbConfig;
    use ironsail_xds::protobuf::UInt32Value;
    let check = |use_hostname_for_hashing, factor| {
        let mut proto = eds_cluster("a");
        proto.lb_policy = ironsail_xds::cluster::cluster::LbPolicy::RingHash as i32;
        proto.common_lb_config = Some(CommonLbConfig {
            consistent_hashing_lb_config: Some(ConsistentHashingLbConfig {
                use_hostname_for_hashing,
                hash_balance_factor: Some(UInt32Value { value: factor }),
            }),
            ..Default::default()
        });
        let config = ClusterConfig::compile(&proto, 1, &mut Interner::default());
        config.map(|config| config.lb_policy.hashing().balance_factor)
    };
    assert_eq!(check(false, 150).expect("valid"), 150);
    let path = "common_lb_config.consistent_hashing_lb_config.";
    for (by_hostname, factor, field) in [
        (true, 150, "use_hostname_for_hashing"),
        (false, 99, "hash_balance_factor"),
    ] {
        let error = check(by_hostname, factor)
            .expect_err("impossible")
            .to_string();
        assert!(error.contains(&format!("{path}{field}")), "{error}");
    }
}

#[test]
fn hashes_stay_with_their_host() {
    let ring = LbPolicy::RingHash {
        min: 1024,
        max: 8192,
        hashing: Hashing::default(),
    };
    let maglev = LbPolicy::Maglev {
        size: 65_537,
        hashing: Hashing::default(),
    };
    for policy in [ring, maglev] {
        let all: Vec<(u32, bool)> = vec![(1, true); 5];
        let (set, fewer) = (hosts(&[&all]), hosts(&[&all[..4]]));
        let balancer = LoadBalancer::new(policy, None);
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
    let balancer = LoadBalancer::new(LEAST_REQUEST, None);
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
    let manager = ClusterManager::new(Dialer::Tcp, shard());
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
    let manager = ClusterManager::new(Dialer::Tcp, shard());
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

#[test]
fn below_the_panic_threshold_health_does_not_count() {
    let unhealthy = endpoints(&[&[(1, true), (1, false), (1, false), (1, false)]]);
    let shares_at = |threshold| shares(LbPolicy::Random, &arranged(&unhealthy, false, threshold));
    check(&shares_at(25), &[(1, 100.0)]);
    check(
        &shares_at(26),
        &[(1, 25.0), (2, 25.0), (3, 25.0), (4, 25.0)],
    );
    // With nobody left, priorities share by their sizes.
    let none = endpoints(&[&[(1, false)], &[(1, false), (1, false), (1, false)]]);
    let all = [(1, 25.0), (2, 25.0), (3, 25.0), (4, 25.0)];
    check(&shares(LbPolicy::Random, &arranged(&none, false, 50)), &all);
    // A priority that makes up for another keeps that one from panic.
    let other = endpoints(&[&[(1, false)], &[(1, true)]]);
    check(
        &shares(LbPolicy::Random, &arranged(&other, false, 50)),
        &[(2, 100.0)],
    );
}

#[test]
fn a_locality_that_lost_hosts_loses_weight() {
    let mut all = endpoints(&[&[(1, true), (1, false)]]);
    let mut second = all.priorities[0][0].clone();
    second.endpoints = vec![Arc::new(endpoint(3, 1, HealthStatus::Healthy))];
    all.priorities[0].push(second);
    for locality in &mut all.priorities[0] {
        locality.weight = Some(50);
    }
    // Half of the first is healthy, times 1.4: 70 to 100.
    let set = arranged(&all, true, 0);
    check(&shares(LbPolicy::Random, &set), &[(1, 41.2), (3, 58.8)]);
}

#[tokio::test(start_paused = true)]
async fn new_hosts_get_their_share_by_and_by() {
    let window = std::time::Duration::from_secs(100);
    let slow_start = SlowStart {
        window,
        aggression: 1.0,
        min_weight_percent: 10.0,
    };
    let old = hosts(&[&[(1, true)]]);
    tokio::time::advance(window).await;
    let two = endpoints(&[&[(1, true), (1, true)]]);
    let membership = Membership {
        endpoints: &two,
        locality_weighted: false,
        panic_threshold: 0,
        detector: None,
    };
    let set = HostSet::update(&old, &membership);
    let balancer = LoadBalancer::new(LbPolicy::RoundRobin, Some(slow_start));
    let share_of_new = || {
        let picks = (0..10_000).filter(|_| {
            let host = balancer
                .pick(&set, &PickContext::default())
                .expect("a host");
            host.address().ip() == std::net::IpAddr::from([10, 0, 0, 2])
        });
        picks.count() as f64 / 100.0
    };
    fastrand::seed(7);
    for (seconds, expected) in [(0, 9.1), (50, 33.3), (50, 50.0)] {
        tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
        let share = share_of_new();
        assert!(
            (share - expected).abs() < 2.0,
            "{share} instead of {expected}"
        );
    }
}

#[test]
fn priorities_that_were_tried_are_left_for_others() {
    let set = hosts(&[&[(1, true)], &[(1, true)], &[(1, false)]]);
    let balancer = LoadBalancer::new(LEAST_REQUEST, None);
    let pick = |avoid: &[usize]| {
        let context = PickContext {
            avoid_priorities: avoid,
            ..PickContext::default()
        };
        balancer
            .pick(&set, &context)
            .expect("a host")
            .priority
            .get()
    };
    for (avoid, expected) in [(&[][..], 0), (&[0], 1), (&[1], 0), (&[0, 1], 0)] {
        assert_eq!(pick(avoid), expected, "{avoid:?}");
    }
}

#[test]
fn canaries_are_left_out_when_there_are_others() {
    let mut all = endpoints(&[&[(1, true)]]);
    let mut canary = endpoint(2, 1, HealthStatus::Healthy);
    canary.canary = true;
    all.push(0, &Arc::default(), None, canary);
    let set = arranged(&all, false, 0);
    let balancer = LoadBalancer::new(LbPolicy::RoundRobin, None);
    let context = PickContext {
        avoid_canaries: true,
        ..PickContext::default()
    };
    for _ in 0..10 {
        let host = balancer.pick(&set, &context).expect("a host");
        assert!(!host.endpoint.canary);
    }
}

#[tokio::test(start_paused = true)]
async fn ejected_hosts_are_counted_while_they_are_there() {
    use crate::cluster::HostResult;
    use ironsail_xds::cluster::OutlierDetection;
    use ironsail_xds::cluster::cluster::CommonLbConfig;
    use ironsail_xds::protobuf::UInt32Value;
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let mut proto = eds_cluster("a");
            proto.outlier_detection = Some(OutlierDetection {
                consecutive_5xx: Some(UInt32Value { value: 1 }),
                max_ejection_percent: Some(UInt32Value { value: 100 }),
                ..Default::default()
            });
            proto.common_lb_config = Some(CommonLbConfig {
                healthy_panic_threshold: Some(Default::default()),
                ..Default::default()
            });
            let config = ClusterConfig::compile(&proto, 1, &mut Interner::default());
            let config = Arc::new(config.expect("valid"));
            let registry = Registry::new(PeerMetadata::default(), "1", DEFAULT_BOUNDS);
            // Two workers, which know of each other's ejections.
            let managers = [(); 2].map(|()| ClusterManager::new(Dialer::Tcp, registry.shard()));
            for manager in &managers {
                manager.apply(&[cluster_update(&["10.0.0.1:80", "10.0.0.2:80"], &config)]);
            }
            let [one, other] = [0, 1].map(|index| managers[index].get("a").expect("present"));
            let active = || registry.sum(|name| name.ends_with("ejections_active"));
            one.report(&one.hosts()[0], HostResult::Status(500));
            assert_eq!(active(), 1);
            for _ in 0..10 {
                let host = other.pick(&PickContext::default()).expect("the other");
                assert_eq!(host.address(), ([10, 0, 0, 2], 80).into());
            }
            one.report(&one.hosts()[1], HostResult::Status(500));
            assert!(
                other.pick(&PickContext::default()).is_err(),
                "all are ejected"
            );
            tokio::time::sleep(std::time::Duration::from_secs(31)).await;
            assert_eq!(active(), 0);
            assert!(other.pick(&PickContext::default()).is_ok());
            one.report(&one.hosts()[0], HostResult::Status(500));
            assert_eq!(active(), 1);
            for manager in &managers {
                manager.apply(&[]);
            }
            assert_eq!(active(), 0, "with the cluster its hosts are gone");
        })
        .await;
}
