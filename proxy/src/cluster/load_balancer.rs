//! The choice among the hosts of a cluster.
//!
//! First a priority, then a locality by weight, then a host by the cluster's policy. Hosts that discovery calls
//! unhealthy or that outlier detection ejected get requests only in panic, which Istio turns off.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::cluster::bounded_load;
use crate::cluster::hash_table::HashTable;
use crate::cluster::outlier::Detector;
use crate::cluster::{Host, PickContext};
use crate::resource::cluster::{Hashing, LbPolicy, SlowStart};
use crate::resource::endpoint::{Endpoint, Endpoints};

/// How often a choice is repeated to avoid hosts that earlier attempts used.
const AVOID_ATTEMPTS: u64 = 5;

/// How often a choice is repeated because the host is new. So a host that is to get a tenth gets it within 3 %.
const SLOW_START_ATTEMPTS: usize = 32;

/// What the hosts of a cluster are, and what makes them be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Membership<'a> {
    pub endpoints: &'a Endpoints,
    /// Localities share traffic by their weights.
    pub locality_weighted: bool,
    /// Percent of healthy hosts below which a priority is served by all.
    pub panic_threshold: u32,
    pub detector: Option<&'a Detector>,
}

/// The hosts of a cluster, prepared for choosing.
#[derive(Debug, Default)]
pub struct HostSet {
    priorities: Vec<Priority>,
    /// Percent of each priority that is healthy, times overprovisioning, at most 100.
    health: Vec<u32>,
    /// Percent of traffic of each priority; the sum is 100, or 0 when nothing is healthy.
    loads: Vec<u32>,
}

#[derive(Debug, Default)]
struct Priority {
    localities: Vec<LocalityHosts>,
    /// Sum of the weights of localities with healthy hosts; 0: choose among all hosts.
    locality_weight: u64,
    /// Hosts that take requests, of all localities; in panic all hosts.
    healthy: Group,
    all: Vec<Rc<Host>>,
}

#[derive(Debug)]
struct LocalityHosts {
    weight: u64,
    healthy: Group,
}

/// Hosts that are chosen among by one policy.
#[derive(Debug, Default)]
struct Group {
    hosts: Vec<Rc<Host>>,
    /// Running sums of weights; empty when all weigh the same.
    weights: Vec<u64>,
    next: Cell<usize>,
    /// State of weighted round robin: what each host is owed.
    credits: RefCell<Vec<i64>>,
    /// Of policies that hash; built on first use.
    table: OnceCell<HashTable>,
}

impl HostSet {
    /// The hosts of `membership`, taking over those of `old` that did not change. Others of `old` are closed.
    pub fn update(old: &HostSet, membership: &Membership<'_>) -> Self {
        let mut known: HashMap<Arc<Endpoint>, Rc<Host>> = old
            .priorities
            .iter()
            .flat_map(|priority| &priority.all)
            .map(|host| (Arc::clone(&host.endpoint), Rc::clone(host)))
            .collect();
        let factor = membership.endpoints.overprovisioning_factor;
        let mut set = HostSet::default();
        for (index, localities) in membership.endpoints.priorities.iter().enumerate() {
            let mut priority = Priority::default();
            for locality in localities {
                let endpoints = locality.endpoints.iter();
                let hosts: Vec<_> = endpoints
                    .map(|endpoint| take_host(&mut known, endpoint, index, membership.detector))
                    .collect();
                let weight = locality.weight.filter(|_| membership.locality_weighted);
                priority.add(hosts, weight, factor);
            }
            set.priorities.push(priority.finish());
        }
        for gone in known.into_values() {
            gone.remove();
        }
        set.share_out(factor, membership.panic_threshold);
        set
    }

    /// Divides traffic among the priorities; those with too few healthy hosts are in panic.
    fn share_out(&mut self, factor: u32, panic_threshold: u32) {
        self.health = self.priorities.iter().map(|p| p.health(factor)).collect();
        self.loads = priority_loads(&self.health);
        if self.health.iter().sum::<u32>() >= 100 || panic_threshold == 0 {
            return;
        }
        let mut total_panic = true;
        for priority in &mut self.priorities {
            if priority.health(100) < panic_threshold {
                priority.panic();
            } else {
                total_panic = false;
            }
        }
        if total_panic {
            self.loads = loads_by_size(&self.priorities);
        }
    }

    pub fn all(&self) -> Vec<Rc<Host>> {
        let all = self.priorities.iter().flat_map(|priority| &priority.all);
        all.cloned().collect()
    }

    /// Requests that are under way.
    fn active(&self) -> u64 {
        let all = self.priorities.iter().flat_map(|priority| &priority.all);
        all.map(|host| u64::from(host.stats.rq_active.get())).sum()
    }

    /// The hosts to choose among; of priorities other than `avoid`, unless nothing else is healthy.
    fn group(&self, avoid: &[usize]) -> Option<&Group> {
        let others = (!avoid.is_empty()).then(|| self.loads_without(avoid));
        let others = others.filter(|loads| loads.iter().any(|load| *load > 0));
        let loads = others.as_ref().unwrap_or(&self.loads);
        let mut ticket = match loads.first() {
            Some(100) => 0,
            _ => fastrand::u32(0..100),
        };
        let chosen = loads.iter().position(|load| {
            let hit = ticket < *load;
            ticket = ticket.saturating_sub(*load);
            hit
        })?;
        self.priorities.get(chosen).map(Priority::group)
    }

    fn loads_without(&self, avoid: &[usize]) -> Vec<u32> {
        let health = self.health.iter().enumerate();
        let left: Vec<u32> = health
            .map(|(index, health)| if avoid.contains(&index) { 0 } else { *health })
            .collect();
        priority_loads(&left)
    }
}

fn take_host(
    known: &mut HashMap<Arc<Endpoint>, Rc<Host>>,
    endpoint: &Arc<Endpoint>,
    priority: usize,
    detector: Option<&Detector>,
) -> Rc<Host> {
    match known.remove(endpoint) {
        Some(host) => {
            host.priority.set(priority);
            host
        }
        None => {
            let monitor = detector.and_then(|detector| detector.monitor(endpoint.address));
            let host = Host::new(Arc::clone(endpoint), priority);
            Rc::new(host.with_monitor(monitor))
        }
    }
}

impl Priority {
    fn add(&mut self, hosts: Vec<Rc<Host>>, weight: Option<u32>, factor: u32) {
        let healthy: Vec<_> = hosts
            .iter()
            .filter(|host| host.takes_requests())
            .cloned()
            .collect();
        let availability = availability(healthy.len(), hosts.len(), factor);
        self.all.extend(hosts);
        self.healthy.hosts.extend(healthy.iter().cloned());
        if healthy.is_empty() {
            return;
        }
        // A locality that lost hosts loses weight, as far as overprovisioning does not make up for it.
        let weight = weight.map_or(0, u64::from) * availability;
        self.locality_weight = self.locality_weight.saturating_add(weight);
        self.localities.push(LocalityHosts {
            weight,
            healthy: Group::new(healthy),
        });
    }

    fn finish(mut self) -> Self {
        self.healthy = Group::new(std::mem::take(&mut self.healthy.hosts));
        if self.localities.len() <= 1 {
            // One locality takes everything, whatever it weighs.
            self.locality_weight = 0;
            self.localities.clear();
        }
        self
    }

    fn group(&self) -> &Group {
        if self.locality_weight == 0 {
            return &self.healthy;
        }
        let mut ticket = fastrand::u64(0..self.locality_weight);
        for locality in &self.localities {
            if ticket < locality.weight {
                return &locality.healthy;
            }
            ticket = ticket.saturating_sub(locality.weight);
        }
        &self.healthy
    }

    /// Percent of the hosts that take requests, multiplied by the overprovisioning factor, at most 100.
    fn health(&self, factor: u32) -> u32 {
        let healthy = self.all.iter().filter(|host| host.takes_requests());
        u32::try_from(availability(healthy.count(), self.all.len(), factor)).unwrap_or(100)
    }

    /// Too few hosts are healthy to be all that is left: health no longer counts.
    fn panic(&mut self) {
        self.locality_weight = 0;
        self.localities.clear();
        self.healthy = Group::new(self.all.clone());
    }
}

/// Percent of `all` that `healthy` are, multiplied by the overprovisioning factor, at most 100.
fn availability(healthy: usize, all: usize, factor: u32) -> u64 {
    let percent = (healthy as u64 * u64::from(factor)).checked_div(all as u64);
    percent.unwrap_or(0).min(100)
}

/// Percent of each priority in proportion to the number of its hosts.
fn loads_by_size(priorities: &[Priority]) -> Vec<u32> {
    let total: usize = priorities.iter().map(|priority| priority.all.len()).sum();
    let mut loads: Vec<u32> = priorities
        .iter()
        .map(|priority| {
            let load = (priority.all.len() * 100).checked_div(total).unwrap_or(0);
            u32::try_from(load).unwrap_or(0)
        })
        .collect();
    let left = 100_u32.saturating_sub(loads.iter().sum());
    if let Some(first) = loads.iter_mut().find(|load| **load > 0) {
        *first += left;
    }
    loads
}

/// Envoy's priority loads: each priority takes what its health allows of what those before it left.
///
/// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority>
fn priority_loads(health: &[u32]) -> Vec<u32> {
    let total = health.iter().sum::<u32>().min(100);
    let mut left = 100;
    let mut loads: Vec<u32> = health
        .iter()
        .map(|health| {
            let load = (health * 100).checked_div(total).unwrap_or(0).min(left);
            left -= load;
            load
        })
        .collect();
    // What rounding left goes to the first priority that can serve.
    if let Some(first) = loads.iter_mut().find(|load| **load > 0) {
        *first += left;
    }
    loads
}

impl Group {
    fn new(hosts: Vec<Rc<Host>>) -> Self {
        let first = hosts.first().map_or(1, |host| host.endpoint.weight);
        let equal = hosts.iter().all(|host| host.endpoint.weight == first);
        let mut sum = 0_u64;
        let weights = if equal {
            Vec::new()
        } else {
            hosts
                .iter()
                .map(|host| {
                    sum = sum.saturating_add(u64::from(host.endpoint.weight));
                    sum
                })
                .collect()
        };
        Self {
            next: Cell::new(fastrand::usize(..hosts.len().max(1))),
            credits: RefCell::new(if equal {
                Vec::new()
            } else {
                vec![0; hosts.len()]
            }),
            hosts,
            weights,
            table: OnceCell::new(),
        }
    }

    /// The host for a hash; requests without one go anywhere. `active` are the requests of all hosts of the cluster.
    fn hashed(
        &self,
        hash: Option<u64>,
        hashing: Hashing,
        active: impl FnOnce() -> u64,
        build: impl FnOnce(&[(String, u32)]) -> HashTable,
    ) -> Option<&Rc<Host>> {
        let table = self.table.get_or_init(|| {
            let hosts = self.hosts.iter();
            let hosts: Vec<_> = hosts
                .map(|host| (hash_key(host, hashing), host.endpoint.weight))
                .collect();
            build(&hosts)
        });
        let hash = hash.unwrap_or_else(|| fastrand::u64(..));
        let first = table.find(hash)?;
        let chosen = match hashing.balance_factor {
            0 => first,
            factor => bounded_load::choose(&self.hosts, first, hash, factor, active()),
        };
        self.hosts.get(chosen)
    }

    fn random(&self) -> Option<&Rc<Host>> {
        match self.weights.last() {
            Some(total) => {
                let ticket = fastrand::u64(0..(*total).max(1));
                let index = self.weights.partition_point(|sum| *sum <= ticket);
                self.hosts.get(index)
            }
            None if self.hosts.is_empty() => None,
            None => self.hosts.get(fastrand::usize(..self.hosts.len())),
        }
    }

    /// In turn; hosts with more weight come more often, spread evenly over the turns.
    fn round_robin(&self) -> Option<&Rc<Host>> {
        let Some(total) = self.weights.last() else {
            let index = self.next.get();
            self.next.set(index.wrapping_add(1));
            return self.hosts.get(index.checked_rem(self.hosts.len())?);
        };
        let mut credits = self.credits.borrow_mut();
        for (credit, host) in credits.iter_mut().zip(&self.hosts) {
            *credit = credit.saturating_add(i64::from(host.endpoint.weight));
        }
        let (index, credit) = credits
            .iter_mut()
            .enumerate()
            .max_by_key(|(index, credit)| (**credit, std::cmp::Reverse(*index)))?;
        *credit = credit.saturating_sub(i64::try_from(*total).unwrap_or(i64::MAX));
        self.hosts.get(index)
    }

    /// The least busy of some random hosts.
    ///
    /// With different weights hosts are drawn by weight and compared by what they do per weight, so that idle hosts
    /// keep their shares and busy ones lose theirs.
    fn least_request(&self, choices: u32, bias: f64) -> Option<&Rc<Host>> {
        let choices = usize::try_from(choices).unwrap_or(usize::MAX);
        if !self.weights.is_empty() {
            let load = |host: &Host| {
                let active = f64::from(host.stats.rq_active.get());
                active.powf(bias) / f64::from(host.endpoint.weight)
            };
            let drawn = (0..choices.min(self.hosts.len())).filter_map(|_| self.random());
            return drawn.min_by(|a, b| load(a).total_cmp(&load(b)));
        }
        let active = |index: &usize| {
            self.hosts
                .get(*index)
                .map(|host| host.stats.rq_active.get())
        };
        let index = self.sample(choices).min_by_key(active)?;
        self.hosts.get(index)
    }

    /// Different random indices, `choices` of them if there are as many hosts.
    fn sample(&self, choices: usize) -> impl Iterator<Item = usize> {
        let count = self.hosts.len();
        let wanted = choices.clamp(1, count.max(1)).min(count);
        let mut taken = SmallVec::<[usize; 4]>::new();
        if wanted == count {
            // All of them, from a random one on, so that equals take turns.
            let start = fastrand::usize(..count.max(1));
            taken.extend((0..count).map(|offset| (start + offset) % count));
        }
        while taken.len() < wanted {
            let index = fastrand::usize(..count);
            if !taken.contains(&index) {
                taken.push(index);
            }
        }
        taken.into_iter()
    }
}

fn hash_key(host: &Host, hashing: Hashing) -> String {
    match &*host.endpoint.hash_key {
        "" if hashing.by_hostname => host.endpoint.hostname.to_string(),
        "" => host.address().to_string(),
        key => key.to_owned(),
    }
}

/// A policy with its worker-local state.
#[derive(Debug)]
pub struct LoadBalancer {
    policy: LbPolicy,
    slow_start: Option<SlowStart>,
}

impl LoadBalancer {
    pub fn new(policy: LbPolicy, slow_start: Option<SlowStart>) -> Self {
        Self { policy, slow_start }
    }

    /// A host that takes requests; one of `context.avoid` only when repeated draws find no other.
    pub fn pick(&self, hosts: &HostSet, context: &PickContext<'_>) -> Option<Rc<Host>> {
        let group = || hosts.group(context.avoid_priorities);
        let mut host = self.draw_old_enough(hosts, group()?, context.hash)?;
        for attempt in 1..=AVOID_ATTEMPTS {
            if !context.avoids(host) {
                break;
            }
            // Another hash per attempt, and the same for the same attempt, as in Envoy.
            let hash = context.hash.map(|hash| hash ^ (u64::MAX - attempt + 1));
            host = self.draw_old_enough(hosts, group()?, hash)?;
        }
        Some(Rc::clone(host))
    }

    /// Draws again when a new host is drawn, more often the newer it is.
    fn draw_old_enough<'a>(
        &self,
        hosts: &HostSet,
        group: &'a Group,
        hash: Option<u64>,
    ) -> Option<&'a Rc<Host>> {
        let mut host = self.draw(hosts, group, hash)?;
        if let Some(slow_start) = self.slow_start {
            let now = Instant::now();
            for _ in 0..SLOW_START_ATTEMPTS {
                let share = slow_start.share(now.duration_since(host.added));
                if share >= 1.0 || fastrand::f64() < share {
                    break;
                }
                host = self.draw(hosts, group, hash)?;
            }
        }
        Some(host)
    }

    fn draw<'a>(
        &self,
        hosts: &HostSet,
        group: &'a Group,
        hash: Option<u64>,
    ) -> Option<&'a Rc<Host>> {
        let active = || hosts.active();
        match self.policy {
            LbPolicy::LeastRequest {
                choices,
                active_request_bias,
            } => group.least_request(choices, active_request_bias),
            LbPolicy::RoundRobin => group.round_robin(),
            LbPolicy::Random => group.random(),
            LbPolicy::RingHash { min, max, hashing } => {
                let ring = |hosts: &_| HashTable::ring(hosts, min, max);
                group.hashed(hash, hashing, active, ring)
            }
            LbPolicy::Maglev { size, hashing } => {
                let table = |hosts: &_| HashTable::maglev(hosts, size);
                group.hashed(hash, hashing, active, table)
            }
            LbPolicy::ClusterProvided => None,
        }
    }
}
