//! Numbers that one thread changes and another one reads.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of one worker: changed by its thread only, so that no locked instruction is needed.
///
/// As a gauge it may go down; what is below zero on one worker evens out in the sum over all.
#[derive(Clone, Debug)]
pub struct Local {
    cell: Arc<AtomicU64>,
    /// Two threads changing it would lose counts.
    _not_send: PhantomData<*const ()>,
}

impl Local {
    pub(super) fn new(cell: Arc<AtomicU64>) -> Self {
        Self {
            cell,
            _not_send: PhantomData,
        }
    }

    pub fn add(&self, count: u64) {
        add(&self.cell, count);
    }

    pub fn inc(&self) {
        self.add(1);
    }

    pub fn dec(&self) {
        self.add(u64::MAX);
    }

    pub fn get(&self) -> u64 {
        self.cell.load(Ordering::Relaxed)
    }
}

/// Adds to a cell that only this thread changes.
pub(super) fn add(cell: &AtomicU64, count: u64) {
    let value = cell.load(Ordering::Relaxed);
    cell.store(value.wrapping_add(count), Ordering::Relaxed);
}

/// A number of the whole process, changed from any thread.
#[derive(Clone, Debug)]
pub struct Shared(Arc<AtomicU64>);

impl Shared {
    pub(super) fn new(cell: Arc<AtomicU64>) -> Self {
        Self(cell)
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn inc(&self) {
        self.add(1);
    }

    pub fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
