//! Consistent hashing with bounded loads: a host that has more than its share of the requests is passed over.
//!
//! Which one is taken instead is a random order of all hosts whose seed is the hash, so that a key that leaves its host
//! leaves it for the same one each time, here as in Envoy. <https://arxiv.org/abs/1608.01350>.

use std::rc::Rc;

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
    random: MersenneTwister,
}

impl Shuffle {
    fn new(count: usize, seed: u64) -> Self {
        Self {
            indices: (0..count).collect(),
            next: 0,
            random: MersenneTwister::new(seed as u32),
        }
    }

    /// Evenly below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        let width = (1 << 32) / limit;
        loop {
            let drawn = u64::from(self.random.next()) / width;
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

const STATE: usize = 624;
const MIDDLE: usize = 397;

/// MT19937, which C++ calls `std::mt19937`.
/// <http://www.math.sci.hiroshima-u.ac.jp/m-mat/MT/emt.html>
struct MersenneTwister {
    state: Box<[u32; STATE]>,
    next: usize,
}

impl MersenneTwister {
    fn new(seed: u32) -> Self {
        let mut state = Box::new([0; STATE]);
        let mut last = seed;
        for (index, word) in (0_u32..).zip(state.iter_mut()) {
            if index > 0 {
                let mixed = last ^ (last >> 30);
                last = mixed.wrapping_mul(1_812_433_253).wrapping_add(index);
            }
            *word = last;
        }
        Self { state, next: STATE }
    }

    fn next(&mut self) -> u32 {
        if self.next >= STATE {
            self.twist();
        }
        let mut word = self.state.get(self.next).copied().unwrap_or_default();
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn twist(&mut self) {
        self.next = 0;
        for index in 0..STATE {
            let at = |offset: usize| self.state[(index + offset) % STATE];
            let mixed = (at(0) & 0x8000_0000) | (at(1) & 0x7fff_ffff);
            let odd = (mixed & 1) * 0x9908_b0df;
            self.state[index] = at(MIDDLE) ^ (mixed >> 1) ^ odd;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_one_of_cpp() {
        // The 10,000th number for the default seed is in the standard, [rand.predef].
        let mut random = MersenneTwister::new(5489);
        let last = (0..10_000).map(|_| random.next()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

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
