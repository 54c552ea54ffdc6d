//! Encoded resources that proxies share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use ironsail_runtime::shared::digest;

use crate::generate::resource::Resource;

/// Entries after which everything is forgotten and made again, so that deleted services do not stay.
const MAX_ENTRIES: usize = 262_144;
const SHARDS: usize = 16;

/// Resources by what they are (kind, class of client, service, …), each with the inputs they were
/// made of. An entry whose inputs changed is replaced.
///
/// Generations of one [`SnapshotBuilder`](crate::model::snapshot::SnapshotBuilder) are inputs, so a
/// cache belongs to one builder.
#[derive(Debug)]
pub struct Cache {
    shards: [Mutex<HashMap<u128, Entry>>; SHARDS],
}

#[derive(Debug)]
struct Entry {
    inputs: u128,
    resources: Arc<[Resource]>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Cache {
    /// The resources of `slot` made of `inputs`, from the cache or by `make`.
    ///
    /// `make` must read nothing that is not in `slot` or `inputs`. No lock is held while it runs.
    pub fn get(
        &self,
        slot: impl Hash,
        inputs: impl Hash,
        make: impl FnOnce() -> Vec<Resource>,
    ) -> Arc<[Resource]> {
        let (slot, inputs) = (digest(&slot), digest(&inputs));
        let shard = self.shard(slot);
        let known = {
            let entries = shard.lock().unwrap_or_else(PoisonError::into_inner);
            entries
                .get(&slot)
                .filter(|entry| entry.inputs == inputs)
                .map(|entry| entry.resources.clone())
        };
        if let Some(resources) = known {
            return resources;
        }
        let resources: Arc<[Resource]> = make().into();
        let mut entries = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES / SHARDS {
            entries.clear();
        }
        let entry = Entry {
            inputs,
            resources: resources.clone(),
        };
        entries.insert(slot, entry);
        resources
    }

    fn shard(&self, slot: u128) -> &Mutex<HashMap<u128, Entry>> {
        let number = (slot % SHARDS as u128) as usize;
        &self.shards[number]
    }

    /// Entries in it.
    pub fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_inputs_share_and_other_inputs_replace() {
        let cache = Cache::default();
        let make = |body: &'static [u8]| move || vec![Resource::new("a", body)];
        let first = cache.get(("cds", "a"), 1, make(b"1"));
        let again = cache.get(("cds", "a"), 1, make(b"x"));
        assert!(Arc::ptr_eq(&first, &again));
        let changed = cache.get(("cds", "a"), 2, make(b"2"));
        assert_eq!(&changed[0].body[..], b"2");
        assert_eq!(cache.len(), 1);
    }
}
