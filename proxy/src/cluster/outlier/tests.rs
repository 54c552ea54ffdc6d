use ironsail_xds::cluster::OutlierDetection as Proto;
use ironsail_xds::protobuf::UInt32Value;

use super::*;

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

fn address(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 80).into()
}

fn detector(hosts: u8, change: impl FnOnce(&mut Proto)) -> Detector {
    let mut config = Proto {
        consecutive_5xx: number(2),
        max_ejection_percent: number(50),
        enforcing_success_rate: number(0),
        ..Default::default()
    };
    change(&mut config);
    let detector = Detector::new(OutlierDetection::compile(&config));
    detector.follow(&(1..=hosts).map(address).collect());
    detector
}

/// Verdicts over a host for what came of its requests.
fn report(detector: &Detector, host: u8, results: &[HostResult]) -> Vec<Verdict> {
    let monitor = detector.monitor(address(host)).expect("followed");
    let detected = results
        .iter()
        .flat_map(|result| detector.count(&monitor, *result).into_iter().flatten());
    let judge = |ejection| detector.judge(address(host), ejection, Instant::now());
    detected.map(judge).collect()
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_eject() {
    use HostResult::{ConnectFailed, Connected, ConnectedFinally, Status, Timeout};
    let cases: &[(&str, &[HostResult], bool)] = &[
        ("two 5xx", &[Status(500), Status(503)], true),
        (
            "a success between",
            &[Status(500), Status(200), Status(500)],
            false,
        ),
        ("4xx are the client's", &[Status(404), Status(429)], false),
        ("failed connections", &[ConnectFailed, Timeout], true),
        (
            "connections of TCP",
            &[ConnectFailed, ConnectedFinally, ConnectFailed],
            false,
        ),
        (
            "connections of HTTP",
            &[ConnectFailed, Connected, ConnectFailed],
            true,
        ),
    ];
    for (name, results, ejects) in cases {
        let detector = detector(2, |_| ());
        let ejected = report(&detector, 1, results).contains(&Verdict::Ejected);
        assert_eq!(ejected, *ejects, "{name}");
        let monitor = detector.monitor(address(1)).expect("followed");
        assert_eq!(monitor.is_ejected(), *ejects, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn gateway_failures_are_detected_and_enforced_when_asked_for() {
    let failures = [HostResult::Status(502), HostResult::Status(504)];
    let silent = detector(2, |config| {
        config.consecutive_gateway_failure = number(2);
        config.consecutive_5xx = number(0);
    });
    assert_eq!(report(&silent, 1, &failures), [Verdict::Spared]);
    let enforced = detector(2, |config| {
        config.consecutive_gateway_failure = number(2);
        config.enforcing_consecutive_gateway_failure = number(100);
        config.consecutive_5xx = number(0);
    });
    assert_eq!(report(&enforced, 1, &[HostResult::Status(500); 4]), []);
    assert_eq!(report(&enforced, 1, &failures), [Verdict::Ejected]);
}

#[tokio::test(start_paused = true)]
async fn local_failures_count_for_themselves_when_split() {
    let detector = detector(2, |config| {
        config.split_external_local_origin_errors = true;
        config.consecutive_local_origin_failure = number(2);
    });
    use HostResult::{ConnectFailed, Connected, Status};
    assert_eq!(report(&detector, 1, &[ConnectFailed, Status(500)]), []);
    assert_eq!(report(&detector, 1, &[Connected, ConnectFailed]), []);
    assert_eq!(report(&detector, 1, &[ConnectFailed]), [Verdict::Ejected]);
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_hosts_stays() {
    let failures = [HostResult::Status(500); 2];
    let half = detector(3, |_| ());
    assert_eq!(report(&half, 1, &failures), [Verdict::Ejected]);
    assert_eq!(report(&half, 1, &failures), [Verdict::Ignored]);
    assert_eq!(report(&half, 2, &failures), [Verdict::Overflow]);
    // Ten percent of two hosts is none, unless one may always go.
    let few = |always| {
        detector(2, |config| {
            config.max_ejection_percent = None;
            config.always_eject_one_host =
                Some(ironsail_xds::protobuf::BoolValue { value: always });
        })
    };
    assert_eq!(report(&few(false), 1, &failures), [Verdict::Overflow]);
    let one = few(true);
    assert_eq!(report(&one, 1, &failures), [Verdict::Ejected]);
    assert_eq!(report(&one, 2, &failures), [Verdict::Overflow]);
}

#[tokio::test(start_paused = true)]
async fn ejections_last_longer_each_time_and_are_forgiven() {
    let failures = [HostResult::Status(500); 2];
    let detector = detector(2, |_| ());
    let second = Duration::from_secs(1);
    assert_eq!(report(&detector, 1, &failures), [Verdict::Ejected]);
    tokio::time::advance(29 * second).await;
    assert_eq!(detector.sweep(Instant::now()), (0, true));
    tokio::time::advance(second).await;
    assert_eq!(detector.sweep(Instant::now()), (1, true));
    let monitor = detector.monitor(address(1)).expect("followed");
    assert!(!monitor.is_ejected());
    // At once again: twice as long.
    assert_eq!(report(&detector, 1, &failures), [Verdict::Ejected]);
    tokio::time::advance(59 * second).await;
    assert_eq!(detector.sweep(Instant::now()), (0, true));
    tokio::time::advance(second).await;
    assert_eq!(detector.sweep(Instant::now()), (1, true));
    // Two quiet intervals, and it is as if nothing had been.
    assert_eq!(detector.sweep(Instant::now()), (0, true));
    assert_eq!(detector.sweep(Instant::now()), (0, false));
    assert_eq!(report(&detector, 1, &failures), [Verdict::Ejected]);
    tokio::time::advance(30 * second).await;
    assert_eq!(detector.sweep(Instant::now()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn hosts_that_go_free_their_place() {
    let failures = [HostResult::Status(500); 2];
    let detector = detector(2, |_| ());
    assert_eq!(report(&detector, 1, &failures), [Verdict::Ejected]);
    let gone = detector.follow(&[address(2), address(3)].into());
    assert_eq!(gone, 1);
    assert_eq!(report(&detector, 2, &failures), [Verdict::Ejected]);
}

#[tokio::test(start_paused = true)]
async fn the_sweep_brings_hosts_back_and_ends() {
    let set = tokio::task::LocalSet::new();
    set.run_until(async {
        let detector = Arc::new(detector(2, |_| ()));
        let returned = Rc::new(std::cell::Cell::new(0));
        let count = Rc::clone(&returned);
        report(&detector, 1, &[HostResult::Status(500); 2]);
        let generation = detector.generation();
        detector.keep_sweeping(Rc::new(move |swept| {
            count.set(count.get() + swept.returned)
        }));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(returned.get(), 1);
        assert!(detector.generation() > generation);
        assert!(!detector.lock().sweeping);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn hosts_are_compared_each_interval() {
    let set = tokio::task::LocalSet::new();
    set.run_until(async {
        let detector = Arc::new(detector(2, |config| {
            config.consecutive_5xx = number(0);
            config.enforcing_failure_percentage = number(100);
            config.failure_percentage_minimum_hosts = number(1);
            config.failure_percentage_request_volume = number(3);
        }));
        let judged = Rc::new(std::cell::RefCell::new(Vec::new()));
        let told = Rc::clone(&judged);
        report(&detector, 1, &[HostResult::Status(500); 3]);
        report(&detector, 2, &[HostResult::Status(500); 2]);
        assert!(detector.is_to_compare() && !detector.is_to_compare());
        detector.keep_sweeping(Rc::new(move |swept| {
            told.borrow_mut().extend_from_slice(&swept.judged);
        }));
        tokio::time::sleep(Duration::from_secs(11)).await;
        let expected = Judged {
            address: address(1),
            ejection: Ejection::FailurePercentage,
            verdict: Verdict::Ejected,
        };
        assert_eq!(*judged.borrow(), [expected]);
        let monitor = detector.monitor(address(1)).expect("followed");
        assert!(monitor.is_ejected() && detector.lock().sweeping);
    })
    .await;
}
