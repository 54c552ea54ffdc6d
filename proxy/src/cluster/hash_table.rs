//! Consistent hashing: a ring, and Maglev's table.
//!
//! Hash function and keys are those of Envoy, so that in a mixed fleet both send a key to the same host.
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/load_balancers>

use xxhash_rust::xxh64::xxh64;

/// Where a hash leads: an index into the hosts.
#[derive(Debug)]
pub(super) enum HashTable {
    /// Points of the ring with their hosts, ordered by point.
    Ring(Vec<(u64, usize)>),
    Maglev(Vec<usize>),
}

/// A host's key, `10.0.0.1:80` if it has no other, and its weight.
pub(super) type Weighted = (String, u32);

impl HashTable {
    /// A ring of `min` to `max` points, each host with points in proportion to its weight.
    pub(super) fn ring(hosts: &[Weighted], min: usize, max: usize) -> Self {
        let total: f64 = hosts.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let least = hosts.iter().map(|(_, weight)| *weight).min().unwrap_or(1);
        let least = f64::from(least) / total;
        let size = |size: usize| u32::try_from(size).map_or(f64::from(u32::MAX), f64::from);
        // The lightest host gets a whole number of points.
        let points = ((least * size(min)).ceil() / least).min(size(max));
        let mut ring = Vec::new();
        let (mut current, mut target) = (0.0, 0.0);
        for (index, (key, weight)) in hosts.iter().enumerate() {
            target += points * f64::from(*weight) / total;
            let mut replica = 0_u32;
            while current < target {
                ring.push((xxh64(format!("{key}_{replica}").as_bytes(), 0), index));
                replica += 1;
                current += 1.0;
            }
        }
        ring.sort_unstable();
        HashTable::Ring(ring)
    }

    /// Maglev's table of prime `size`. Section 3.4 of <https://research.google/pubs/pub44824/>.
    pub(super) fn maglev(hosts: &[Weighted], size: usize) -> Self {
        const EMPTY: usize = usize::MAX;
        let heaviest = hosts.iter().map(|(_, weight)| *weight).max().unwrap_or(1);
        let modulus = u64::try_from(size).unwrap_or(u64::MAX).max(2);
        let mut order: Vec<usize> = (0..hosts.len()).collect();
        order.sort_by(|a, b| hosts.get(*a).cmp(&hosts.get(*b)));
        let mut entries: Vec<Permutation> = order
            .into_iter()
            .filter_map(|index| {
                let (key, weight) = hosts.get(index)?;
                Some(Permutation {
                    host: index,
                    next: xxh64(key.as_bytes(), 0) % modulus,
                    skip: xxh64(key.as_bytes(), 1) % (modulus - 1) + 1,
                    weight: u64::from(*weight),
                    credit: 0,
                })
            })
            .collect();
        let mut table = vec![EMPTY; if entries.is_empty() { 0 } else { size }];
        let mut filled = 0;
        while filled < table.len() {
            for entry in &mut entries {
                // The heaviest host has a turn each round, others as often as they weigh of it.
                entry.credit += entry.weight;
                if entry.credit < u64::from(heaviest) || filled == table.len() {
                    continue;
                }
                entry.credit -= u64::from(heaviest);
                entry.fill(&mut table, modulus, EMPTY);
                filled += 1;
            }
        }
        HashTable::Maglev(table)
    }

    /// Index of the host for a hash.
    pub(super) fn find(&self, hash: u64) -> Option<usize> {
        match self {
            HashTable::Ring(ring) => {
                let index = ring.partition_point(|(point, _)| *point < hash);
                ring.get(index)
                    .or_else(|| ring.first())
                    .map(|(_, host)| *host)
            }
            HashTable::Maglev(table) => {
                let size = u64::try_from(table.len()).unwrap_or(u64::MAX);
                let index = usize::try_from(hash.checked_rem(size)?).ok()?;
                table.get(index).copied()
            }
        }
    }
}

/// A host's order of preference among the places of the table.
struct Permutation {
    host: usize,
    next: u64,
    skip: u64,
    weight: u64,
    credit: u64,
}

impl Permutation {
    /// Takes the first free place of the order. There is one.
    fn fill(&mut self, table: &mut [usize], modulus: u64, empty: usize) {
        for _ in 0..table.len() {
            let place = usize::try_from(self.next).unwrap_or(usize::MAX);
            self.next = (self.next + self.skip) % modulus;
            if let Some(place) = table.get_mut(place).filter(|place| **place == empty) {
                *place = self.host;
                return;
            }
        }
    }
}
