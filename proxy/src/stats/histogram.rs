//! Histograms of whole numbers with fixed bucket bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::counter::add;

/// Envoy's bounds, in milliseconds where durations are measured.
pub const DEFAULT_BOUNDS: &[f64] = &[
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Upper bounds of buckets, ascending; the last bucket, without a bound, is not listed.
#[derive(Debug)]
pub struct Bounds {
    /// Bounds as they are printed.
    texts: Vec<String>,
    /// Largest whole number in each bucket.
    limits: Vec<u64>,
}

impl Bounds {
    /// Bounds that are not ascending and positive are left out.
    pub fn new(bounds: &[f64]) -> Arc<Self> {
        let mut kept: Vec<f64> = Vec::with_capacity(bounds.len());
        for bound in bounds {
            if *bound > 0.0 && bound.is_finite() && kept.last().is_none_or(|last| last < bound) {
                kept.push(*bound);
            }
        }
        Arc::new(Self {
            texts: kept.iter().map(f64::to_string).collect(),
            // Positive and finite: the conversion saturates at worst.
            limits: kept.iter().map(|bound| bound.floor() as u64).collect(),
        })
    }

    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    fn bucket(&self, value: u64) -> usize {
        self.limits
            .iter()
            .position(|limit| value <= *limit)
            .unwrap_or(self.limits.len())
    }
}

/// Counts per bucket and the sum of all values.
#[derive(Debug)]
pub struct Histogram {
    bounds: Arc<Bounds>,
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    pub fn new(bounds: Arc<Bounds>) -> Self {
        let buckets = (0..=bounds.limits.len())
            .map(|_| AtomicU64::new(0))
            .collect();
        Self {
            bounds,
            buckets,
            sum: AtomicU64::new(0),
        }
    }

    /// Only the owning thread may record.
    pub(super) fn record(&self, value: u64) {
        if let Some(bucket) = self.buckets.get(self.bounds.bucket(value)) {
            add(bucket, 1);
        }
        add(&self.sum, value);
    }

    /// Adds this histogram's numbers to a snapshot.
    pub fn add_to(&self, snapshot: &mut Snapshot) {
        snapshot.buckets.resize(self.buckets.len(), 0);
        for (total, bucket) in snapshot.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.load(Ordering::Relaxed);
        }
        snapshot.sum += self.sum.load(Ordering::Relaxed);
    }
}

/// The numbers of one histogram, or of several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Counts of each bucket alone, not cumulated.
    pub buckets: Vec<u64>,
    pub sum: u64,
}

impl Snapshot {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_first_bucket_that_holds_them() {
        let histogram = Histogram::new(Bounds::new(&[0.5, 1.0, 5.0, 5.0, -1.0, 10.0]));
        for value in [0, 1, 2, 5, 6, 10, 11] {
            histogram.record(value);
        }
        let mut snapshot = Snapshot::default();
        histogram.add_to(&mut snapshot);
        assert_eq!(snapshot.buckets, [1, 1, 2, 2, 1]);
        assert_eq!((snapshot.sum, snapshot.count()), (35, 7));
        assert_eq!(histogram.bounds.texts(), ["0.5", "1", "5", "10"]);
    }
}
