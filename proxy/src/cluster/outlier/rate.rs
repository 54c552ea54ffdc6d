//! Hosts compared by what came of their requests in an interval.
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier#success-rate>.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Ejection;
use crate::resource::cluster::{RateRule, Rates};

/// Requests of a host since the last look.
#[derive(Debug, Default)]
pub(super) struct Tally {
    total: AtomicU32,
    failed: AtomicU32,
}

/// What a [`Tally`] had counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    total: u32,
    failed: u32,
}

/// All that is known of a host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tallies {
    pub(super) address: SocketAddr,
    pub(super) ejected: bool,
    pub(super) all: Counts,
    /// Failures to connect, where they count for themselves.
    pub(super) local: Counts,
}

impl Tally {
    pub(super) fn count(&self, failed: bool) {
        self.total.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted since the last time.
    pub(super) fn take(&self) -> Counts {
        Counts {
            total: self.total.swap(0, Ordering::Relaxed),
            failed: self.failed.swap(0, Ordering::Relaxed),
        }
    }
}

/// A host with its share of successes in percent.
type Rated = (SocketAddr, f64);

/// Hosts that are out of line, and in what.
pub(super) fn outliers(rates: &Rates, hosts: &[Tallies]) -> Vec<(SocketAddr, Ejection)> {
    use Ejection::{
        FailurePercentage, LocalOriginFailurePercentage, LocalOriginSuccessRate, SuccessRate,
    };
    let all: Vec<_> = counted(hosts, |host| host.all);
    let local: Vec<_> = counted(hosts, |host| host.local);
    let found = [
        (SuccessRate, far_below(rates, &all)),
        (FailurePercentage, failing(rates, &all)),
        (LocalOriginSuccessRate, far_below(rates, &local)),
        (LocalOriginFailurePercentage, failing(rates, &local)),
    ];
    let found = found.into_iter();
    found
        .flat_map(|(ejection, hosts)| hosts.into_iter().map(move |host| (host, ejection)))
        .collect()
}

fn counted(hosts: &[Tallies], of: fn(&Tallies) -> Counts) -> Vec<(SocketAddr, Counts)> {
    let hosts = hosts.iter().filter(|host| !host.ejected);
    hosts.map(|host| (host.address, of(host))).collect()
}

/// Hosts with enough requests, if there are enough of them.
fn rated(rule: RateRule, hosts: &[(SocketAddr, Counts)]) -> Vec<Rated> {
    let busy = |counts: &Counts| counts.total > 0 && counts.total >= rule.min_requests;
    let hosts = hosts.iter().filter(|(_, counts)| busy(counts));
    let rated: Vec<_> = hosts
        .map(|(address, counts)| {
            let failed = f64::from(counts.failed) / f64::from(counts.total);
            (*address, 100.0 - 100.0 * failed)
        })
        .collect();
    match rated.len() >= rule.min_hosts {
        true => rated,
        false => Vec::new(),
    }
}

fn far_below(rates: &Rates, hosts: &[(SocketAddr, Counts)]) -> Vec<SocketAddr> {
    let rated = rated(rates.success_rate, hosts);
    let count = rated.len() as f64;
    let mean = rated.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rated
        .iter()
        .map(|(_, rate)| (rate - mean).powi(2))
        .sum::<f64>()
        / count;
    let threshold = mean - rates.stdev_factor * variance.sqrt();
    let below = rated.into_iter().filter(|(_, rate)| *rate < threshold);
    below.map(|(address, _)| address).collect()
}

fn failing(rates: &Rates, hosts: &[(SocketAddr, Counts)]) -> Vec<SocketAddr> {
    let rated = rated(rates.failure_percentage, hosts).into_iter();
    let failing = rated.filter(|(_, rate)| 100.0 - rate >= rates.failure_threshold);
    failing.map(|(address, _)| address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        success_rate: RateRule {
            min_hosts: 3,
            min_requests: 10,
            enforcing: 100,
            enforcing_local: 0,
        },
        stdev_factor: 1.0,
        failure_percentage: RateRule {
            min_hosts: 1,
            min_requests: 20,
            enforcing: 100,
            enforcing_local: 0,
        },
        failure_threshold: 50.0,
    };

    fn address(last: usize) -> SocketAddr {
        ([10, 0, 0, u8::try_from(last).expect("small")], 80).into()
    }

    /// Requests and failures of hosts, and which of them are out of line in what.
    #[track_caller]
    fn check(hosts: &[(u32, u32)], expected: &[(usize, Ejection)]) {
        let hosts: Vec<_> = hosts
            .iter()
            .enumerate()
            .map(|(index, (total, failed))| Tallies {
                address: address(index),
                ejected: false,
                all: Counts {
                    total: *total,
                    failed: *failed,
                },
                local: Counts::default(),
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(at, kind)| (address(*at), *kind))
            .collect();
        assert_eq!(outliers(&RATES, &hosts), expected);
    }

    #[test]
    fn hosts_far_below_the_others_are_out_of_line() {
        check(&[(10, 5), (10, 0), (10, 0)], &[(0, Ejection::SuccessRate)]);
        // All alike, too few requests, too few hosts.
        check(&[(10, 5), (10, 5), (10, 5)], &[]);
        check(&[(10, 5), (10, 0), (9, 0)], &[]);
        check(&[(10, 5), (10, 0)], &[]);
        check(&[(0, 0), (0, 0), (0, 0)], &[]);
    }

    #[test]
    fn hosts_that_fail_often_are_out_of_line() {
        check(&[(20, 10)], &[(0, Ejection::FailurePercentage)]);
        check(&[(20, 9), (19, 19)], &[]);
    }

    #[test]
    fn a_look_begins_the_next_count() {
        let tally = Tally::default();
        tally.count(true);
        tally.count(false);
        let counts = tally.take();
        assert_eq!((counts.total, counts.failed), (2, 1));
        assert_eq!(tally.take().total, 0);
    }
}
