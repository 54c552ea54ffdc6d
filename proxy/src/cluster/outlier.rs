//! Outlier detection: hosts whose requests fail in a row, or more often than those of others, are left out for a time.
//!
//! What hosts do is counted in atomics that all workers share, so that failures in a row are those of the process, as
//! in Envoy. The lock is taken when a host is new, when one has failed often enough, and by the sweep that lets hosts
//! come back; never for a request as such. Workers learn of a change from a number that they compare on each choice.
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>.
//!
//! Differs from Envoy: the first sweep comes an interval after the first ejection, or request where rates count, not
//! after the cluster was made. Rates are not looked at where nothing would come of it, so that
//! `ejections_detected_success_rate` stays 0 there.

mod rate;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::resource::cluster::{OutlierDetection, Rates, Threshold};
use rate::Tally;

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

/// Which row of failures was complete, or which rate out of line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ejection {
    Consecutive5xx,
    ConsecutiveGatewayFailure,
    ConsecutiveLocalOriginFailure,
    SuccessRate,
    LocalOriginSuccessRate,
    FailurePercentage,
    LocalOriginFailurePercentage,
}

impl Ejection {
    /// As in names of statistics.
    pub fn as_str(self) -> &'static str {
        match self {
            Ejection::Consecutive5xx => "consecutive_5xx",
            Ejection::ConsecutiveGatewayFailure => "consecutive_gateway_failure",
            Ejection::ConsecutiveLocalOriginFailure => "consecutive_local_origin_failure",
            Ejection::SuccessRate => "success_rate",
            Ejection::LocalOriginSuccessRate => "local_origin_success_rate",
            Ejection::FailurePercentage => "failure_percentage",
            Ejection::LocalOriginFailurePercentage => "local_origin_failure_percentage",
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

/// What came of a sweep.
#[derive(Debug)]
pub struct Swept {
    /// Hosts whose time was over.
    pub returned: usize,
    /// Hosts that were out of line.
    pub judged: Vec<Judged>,
}

/// What was done about a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    pub address: SocketAddr,
    pub ejection: Ejection,
    pub verdict: Verdict,
}

/// Outlier detection of a cluster, shared by all workers.
#[derive(Debug)]
pub struct Detector {
    config: OutlierDetection,
    /// Grows whenever a host is ejected or comes back.
    generation: AtomicU64,
    /// Somebody sweeps for good, because rates are to be compared.
    compares: AtomicBool,
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

/// What came of the requests of one host.
#[derive(Debug, Default)]
pub struct Monitor {
    server_errors: AtomicU32,
    gateway_failures: AtomicU32,
    local_failures: AtomicU32,
    /// Counted where rates are.
    tally: Tally,
    local_tally: Tally,
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
        if config.rates.is_some() {
            self.tally.count(is_error);
        }
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
        if config.rates.is_some() {
            self.local_tally.count(failed);
        }
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
            compares: AtomicBool::new(false),
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
        if fastrand::u32(0..100) >= self.enforcing(ejection) {
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

    /// In how many percent of the cases.
    fn enforcing(&self, ejection: Ejection) -> u32 {
        let config = &self.config;
        let rate = |of: fn(&Rates) -> u32| config.rates.as_ref().map_or(0, of);
        match ejection {
            Ejection::Consecutive5xx => config.consecutive_5xx.enforcing,
            Ejection::ConsecutiveGatewayFailure => config.consecutive_gateway_failure.enforcing,
            Ejection::ConsecutiveLocalOriginFailure => {
                config.consecutive_local_origin_failure.enforcing
            }
            Ejection::SuccessRate => rate(|rates| rates.success_rate.enforcing),
            Ejection::LocalOriginSuccessRate => rate(|rates| rates.success_rate.enforcing_local),
            Ejection::FailurePercentage => rate(|rates| rates.failure_percentage.enforcing),
            Ejection::LocalOriginFailurePercentage => {
                rate(|rates| rates.failure_percentage.enforcing_local)
            }
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
        let left = self.config.rates.is_some() || state.hosts.values().any(|host| host.times > 0);
        state.sweeping = left;
        (returned, left)
    }

    /// Ejects hosts whose requests since the last time went worse than those of others.
    fn compare(&self, now: Instant) -> Vec<Judged> {
        let Some(rates) = &self.config.rates else {
            return Vec::new();
        };
        let outliers = rate::outliers(rates, &self.take_tallies());
        let judge = |(address, ejection)| Judged {
            address,
            ejection,
            verdict: self.judge(address, ejection, now),
        };
        outliers.into_iter().map(judge).collect()
    }

    fn take_tallies(&self) -> Vec<rate::Tallies> {
        let state = self.lock();
        let hosts = state.hosts.iter();
        let tallies = hosts.map(|(address, host)| rate::Tallies {
            address: *address,
            ejected: host.ejection.is_some(),
            all: host.monitor.tally.take(),
            local: host.monitor.local_tally.take(),
        });
        tallies.collect()
    }

    /// Whether the caller is to see to it, with [`Detector::keep_sweeping`], that rates are compared; true once.
    pub fn is_to_compare(&self) -> bool {
        self.config.rates.is_some()
            && !self.compares.load(Ordering::Relaxed)
            && !self.compares.swap(true, Ordering::Relaxed)
    }

    /// Sees to it that one worker sweeps as long as there is something to sweep; `told` is told what came of each time.
    /// Runs inside a `LocalSet`.
    pub fn keep_sweeping(self: &Arc<Self>, told: Rc<dyn Fn(&Swept)>) {
        if std::mem::replace(&mut self.lock().sweeping, true) {
            return;
        }
        let (detector, interval) = (Arc::downgrade(self), self.config.interval);
        tokio::task::spawn_local(sweep(detector, interval, told));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is complete before the lock is given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(detector: Weak<Detector>, interval: Duration, told: Rc<dyn Fn(&Swept)>) {
    loop {
        tokio::time::sleep(interval.max(Duration::from_millis(1))).await;
        let Some(detector) = detector.upgrade() else {
            return;
        };
        let now = Instant::now();
        let (returned, left) = detector.sweep(now);
        let judged = detector.compare(now);
        told(&Swept { returned, judged });
        if !left {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
