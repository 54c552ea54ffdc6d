//! Outlier detection: hosts whose requests fail in a row are left out for a time.
//!
//! What hosts do is counted in atomics that all workers share, so that failures in a row are those of the process, as
//! in Envoy. The lock is taken when a host is new, when one has failed often enough, and by the sweep that lets hosts
//! come back; never for a request as such. Workers learn of a change from a number that they compare on each choice.
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>.
//!
//! Differs from Envoy: the first sweep comes an interval after the first ejection, not after the cluster was made.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::resource::cluster::{OutlierDetection, Threshold};

/// What came of a request, or of a connection, on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostResult {
    /// The status of a response; for gRPC the status that its own stands for.
    Status(u16),
    /// No connection, or one that broke.
    ConnectFailed,
    /// No answer in time.
    Timeout,
    /// A connection came about, and HTTP will say more.
    Connected,
    /// A connection came about, and nothing more will be known.
    ConnectedFinally,
}

/// Which row of failures was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ejection {
    Consecutive5xx,
    ConsecutiveGatewayFailure,
    ConsecutiveLocalOriginFailure,
}

impl Ejection {
    /// As in names of statistics.
    pub fn as_str(self) -> &'static str {
        match self {
            Ejection::Consecutive5xx => "consecutive_5xx",
            Ejection::ConsecutiveGatewayFailure => "consecutive_gateway_failure",
            Ejection::ConsecutiveLocalOriginFailure => "consecutive_local_origin_failure",
        }
    }
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ejected,
    /// The share of enforcement spared the host.
    Spared,
    /// So many hosts are ejected that no other may be.
    Overflow,
    /// The host is ejected already, or gone.
    Ignored,
}

/// Outlier detection of a cluster, shared by all workers.
#[derive(Debug)]
pub struct Detector {
    config: OutlierDetection,
    /// Grows whenever a host is ejected or comes back.
    generation: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hosts: HashMap<SocketAddr, Tracked>,
    ejected: usize,
    /// A worker runs the sweep.
    sweeping: bool,
}

#[derive(Debug, Default)]
struct Tracked {
    monitor: Arc<Monitor>,
    /// When it was ejected, and how long it stays so.
    ejection: Option<(Instant, Duration)>,
    /// Ejections in short order; the next one is that many times longer.
    times: u32,
}

/// Failures in a row of one host.
#[derive(Debug, Default)]
pub struct Monitor {
    server_errors: AtomicU32,
    gateway_failures: AtomicU32,
    local_failures: AtomicU32,
    ejected: AtomicBool,
}

impl Monitor {
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed)
    }

    fn reset(&self) {
        for count in [
            &self.server_errors,
            &self.gateway_failures,
            &self.local_failures,
        ] {
            count.store(0, Ordering::Relaxed);
        }
    }

    fn status(&self, status: u16, config: &OutlierDetection) -> Detected {
        let is_error = (500..600).contains(&status);
        let is_gateway_failure = (502..=504).contains(&status);
        let gateway = row(
            &self.gateway_failures,
            is_gateway_failure,
            config.consecutive_gateway_failure,
        );
        let server = row(&self.server_errors, is_error, config.consecutive_5xx);
        [
            gateway.then_some(Ejection::ConsecutiveGatewayFailure),
            server.then_some(Ejection::Consecutive5xx),
        ]
    }

    fn local(&self, failed: bool, config: &OutlierDetection) -> Detected {
        let threshold = config.consecutive_local_origin_failure;
        let complete = row(&self.local_failures, failed, threshold);
        [
            complete.then_some(Ejection::ConsecutiveLocalOriginFailure),
            None,
        ]
    }
}

/// Rows that one result completes.
type Detected = [Option<Ejection>; 2];

/// Counts in a row; whether it is complete now, which starts the next one.
fn row(count: &AtomicU32, failed: bool, threshold: Threshold) -> bool {
    if !failed {
        // Reading first keeps the line shared among cores while all is well.
        if count.load(Ordering::Relaxed) != 0 {
            count.store(0, Ordering::Relaxed);
        }
        return false;
    }
    let failures = count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    let complete = threshold.failures > 0 && failures >= threshold.failures;
    if complete {
        count.store(0, Ordering::Relaxed);
    }
    complete
}

impl Detector {
    pub fn new(config: OutlierDetection) -> Self {
        Self {
            config,
            generation: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Makes the hosts those with these addresses. Returns how many of those that are gone were ejected.
    pub fn follow(&self, addresses: &HashSet<SocketAddr>) -> usize {
        let mut state = self.lock();
        let before = state.ejected;
        state.hosts.retain(|address, _| addresses.contains(address));
        state.ejected = state
            .hosts
            .values()
            .filter(|t| t.ejection.is_some())
            .count();
        for address in addresses {
            state.hosts.entry(*address).or_default();
        }
        before - state.ejected
    }

    /// The counts of a host that [`Detector::follow`] named.
    pub fn monitor(&self, address: SocketAddr) -> Option<Arc<Monitor>> {
        let state = self.lock();
        state.hosts.get(&address).map(|t| Arc::clone(&t.monitor))
    }

    /// Counts what came of a request. What it returns is to be given to [`Detector::judge`].
    pub fn count(&self, monitor: &Monitor, result: HostResult) -> Detected {
        let config = &self.config;
        let split = config.split_local_origin;
        match result {
            HostResult::Status(status) => monitor.status(status, config),
            HostResult::ConnectFailed if !split => monitor.status(503, config),
            HostResult::Timeout if !split => monitor.status(504, config),
            HostResult::ConnectedFinally if !split => monitor.status(200, config),
            HostResult::Connected if !split => [None, None],
            HostResult::ConnectFailed | HostResult::Timeout => monitor.local(true, config),
            HostResult::Connected | HostResult::ConnectedFinally => monitor.local(false, config),
        }
    }

    /// Ejects a host whose row of failures is complete, if that is allowed.
    pub fn judge(&self, address: SocketAddr, ejection: Ejection, now: Instant) -> Verdict {
        let mut state = self.lock();
        let (count, ejected) = (state.hosts.len(), state.ejected);
        let Some(host) = state.hosts.get_mut(&address) else {
            return Verdict::Ignored;
        };
        if host.ejection.is_some() {
            return Verdict::Ignored;
        }
        if !self.has_room(ejected, count) {
            return Verdict::Overflow;
        }
        if fastrand::u32(0..100) >= self.threshold(ejection).enforcing {
            return Verdict::Spared;
        }
        host.times = host.times.saturating_add(1);
        let jitter = self
            .config
            .max_ejection_time_jitter
            .mul_f64(fastrand::f64());
        let time = self.config.base_ejection_time.saturating_mul(host.times);
        let time = time.min(self.config.max_ejection_time) + jitter;
        host.ejection = Some((now, time));
        host.monitor.ejected.store(true, Ordering::Relaxed);
        state.ejected += 1;
        self.generation.fetch_add(1, Ordering::Release);
        Verdict::Ejected
    }

    fn has_room(&self, ejected: usize, hosts: usize) -> bool {
        let percent = usize::try_from(self.config.max_ejection_percent).unwrap_or(100);
        let first = self.config.always_eject_one_host && ejected == 0;
        first || (ejected + 1) * 100 <= percent * hosts
    }

    fn threshold(&self, ejection: Ejection) -> Threshold {
        match ejection {
            Ejection::Consecutive5xx => self.config.consecutive_5xx,
            Ejection::ConsecutiveGatewayFailure => self.config.consecutive_gateway_failure,
            Ejection::ConsecutiveLocalOriginFailure => self.config.consecutive_local_origin_failure,
        }
    }

    /// Lets hosts come back whose time is over. Returns how many did, and whether there is anything left to sweep.
    fn sweep(&self, now: Instant) -> (usize, bool) {
        let mut state = self.lock();
        let mut returned = 0;
        for host in state.hosts.values_mut() {
            match host.ejection {
                Some((since, time)) if now.duration_since(since) >= time => {
                    host.ejection = None;
                    host.monitor.reset();
                    host.monitor.ejected.store(false, Ordering::Relaxed);
                    returned += 1;
                }
                Some(_) => {}
                // An interval without an ejection counts for the host.
                None => host.times = host.times.saturating_sub(1),
            }
        }
        state.ejected -= returned;
        if returned > 0 {
            self.generation.fetch_add(1, Ordering::Release);
        }
        let left = state.hosts.values().any(|host| host.times > 0);
        state.sweeping = left;
        (returned, left)
    }

    /// Sees to it that one worker sweeps as long as there is something to sweep; `returned` is told how many hosts came
    /// back. Runs inside a `LocalSet`.
    pub fn keep_sweeping(self: &Arc<Self>, returned: Rc<dyn Fn(usize)>) {
        if std::mem::replace(&mut self.lock().sweeping, true) {
            return;
        }
        let (detector, interval) = (Arc::downgrade(self), self.config.interval);
        tokio::task::spawn_local(sweep(detector, interval, returned));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is complete before the lock is given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(detector: Weak<Detector>, interval: Duration, returned: Rc<dyn Fn(usize)>) {
    loop {
        tokio::time::sleep(interval.max(Duration::from_millis(1))).await;
        let Some(detector) = detector.upgrade() else {
            return;
        };
        let (count, left) = detector.sweep(Instant::now());
        returned(count);
        if !left {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
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
        let detector = Detector::new(OutlierDetection::compile(&config, "web"));
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
            detector.keep_sweeping(Rc::new(move |n| count.set(count.get() + n)));
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(returned.get(), 1);
            assert!(detector.generation() > generation);
            assert!(!detector.lock().sweeping);
        })
        .await;
    }
}
