//! Consistent hashing with bounded loads: a host that has more than its share of the requests is passed over.
//!
//! Which one is taken instead is a random order of all hosts whose seed is the hash, so that a key that leaves its host
//! leaves it for the same one each time, here as in Envoy. <https://arxiv.org/abs/1608.01350>.

use std::rc::Rc;

use rand_mt::Mt;

use crate::cluster::Host;

/// Index of the host for a hash, which `first` is if it has room for a request.
///
/// `factor` is in percent of the average load, `active` are the requests of the cluster.
pub(super) fn choose(
    hosts: &[Rc<Host>],
    first: usize,
    hash: u64,
    factor: u32,
    active: u64,
) -> usize {
    let total: f64 = hosts
        .iter()
        .map(|host| f64::from(host.endpoint.weight))
        .sum();
    // With the request that asks.
    let slots = ((active + 1) * u64::from(factor)).div_ceil(100) as f64;
    let load = |index: usize| {
        let host = hosts.get(index)?;
        let share = f64::from(host.endpoint.weight) / total;
        let slots = (slots * share).ceil().max(1.0);
        Some(f64::from(host.stats.rq_active.get()) / slots)
    };
    let least_loaded = |best: (usize, f64), index| match load(index) {
        Some(load) if best.1 > 1.0 && load < best.1 => (index, load),
        _ => best,
    };
    let begin = (first, load(first).unwrap_or(0.0));
    if begin.1 <= 1.0 {
        return first;
    }
    Shuffle::new(hosts.len(), hash).fold(begin, least_loaded).0
}

/// Indices in a random order.
struct Shuffle {
    indices: Vec<usize>,
    next: usize,
    /// That of C++, `std::mt19937`, which Envoy draws from.
    random: Mt,
}

impl Shuffle {
    fn new(count: usize, seed: u64) -> Self {
        Self {
            indices: (0..count).collect(),
            next: 0,
            random: Mt::new(seed as u32),
        }
    }

    /// Evenly below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        let width = (1 << 32) / limit;
        loop {
            let drawn = u64::from(self.random.next_u32()) / width;
            if drawn < limit {
                return drawn;
            }
        }
    }
}

impl Iterator for Shuffle {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let left = self.indices.len().checked_sub(self.next)?;
        if left == 0 {
            return None;
        }
        let offset = self.below(u64::try_from(left).ok()?);
        let other = self.next + usize::try_from(offset).ok()?;
        self.indices.swap(self.next, other);
        self.next += 1;
        self.indices.get(self.next - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_every_index_once_and_depends_on_the_seed() {
        let order = |seed| Shuffle::new(9, seed).collect::<Vec<_>>();
        let mut sorted = order(7);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..9).collect::<Vec<_>>());
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
    }
}
