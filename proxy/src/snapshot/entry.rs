//! Resources of one type with their history: the last good version, and why a newer one was rejected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use ironsail_runtime::shared::shared_text;

use super::RawResource;
use super::packed::{Dictionary, Packed};
use crate::resource::CompileError;
use crate::resource::parse::content_hash;
use crate::xds::{Rejected, Resource};

/// A resource name with what is known under it.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub good: Option<Good<T>>,
    error: Option<Box<str>>,
    updated: SystemTime,
}

/// A version that compiled.
#[derive(Debug)]
pub(super) struct Good<T> {
    pub value: T,
    version: Box<str>,
    body: Packed,
    hash: u128,
}

/// All resources of one type.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// Boxed, because nodes of a tree are half empty when names come in order.
    entries: BTreeMap<Arc<str>, Box<Entry<T>>>,
    /// Of the bodies.
    dictionary: Dictionary,
    /// At least one response came.
    pub received: bool,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            dictionary: Dictionary::default(),
            received: false,
        }
    }
}

impl<T> Entry<T> {
    fn new() -> Self {
        Self {
            good: None,
            error: None,
            updated: SystemTime::now(),
        }
    }
}

impl<T> Table<T> {
    /// Takes over one resource. `compile` gets the last good version.
    ///
    /// Returns whether the value changed.
    pub fn put(
        &mut self,
        resource: &Resource,
        compile: impl FnOnce(&Resource, Option<&T>) -> Result<T, CompileError>,
        redact: impl FnOnce(&Bytes) -> Bytes,
    ) -> Result<bool, Rejected> {
        let hash = content_hash(&resource.body);
        let entry = self
            .entries
            .entry(shared_text(&resource.name))
            .or_insert_with(|| Box::new(Entry::new()));
        if let Some(good) = entry.good.as_mut().filter(|good| good.hash == hash) {
            good.version = resource.version.as_str().into();
            entry.error = None;
            return Ok(false);
        }
        entry.updated = SystemTime::now();
        match compile(resource, entry.good.as_ref().map(|good| &good.value)) {
            Ok(value) => {
                entry.error = None;
                entry.good = Some(Good {
                    value,
                    version: resource.version.as_str().into(),
                    body: self.dictionary.pack(&redact(&resource.body)),
                    hash,
                });
                Ok(true)
            }
            Err(error) => {
                let error = error.to_string();
                entry.error = Some(error.as_str().into());
                Err(Rejected {
                    name: resource.name.clone(),
                    error,
                })
            }
        }
    }

    pub fn get(&self, name: &str) -> Option<&T> {
        let good = self.entries.get(name)?.good.as_ref();
        good.map(|good| &good.value)
    }

    /// Good resources, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &T)> {
        let entries = self.entries.iter();
        entries.filter_map(|(name, entry)| Some((name, &entry.good.as_ref()?.value)))
    }

    /// Forgets names; returns whether one of them was known.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> bool {
        let before = self.entries.len();
        self.entries.retain(|name, _| keep(name));
        before != self.entries.len()
    }

    pub fn raw(&self) -> Vec<RawResource> {
        let entries = self.entries.iter();
        entries
            .map(|(name, entry)| {
                let good = entry.good.as_ref();
                RawResource {
                    name: name.to_string(),
                    version: good
                        .map(|good| good.version.to_string())
                        .unwrap_or_default(),
                    last_updated: entry.updated,
                    body: good
                        .map(|good| self.dictionary.unpack(&good.body))
                        .unwrap_or_default(),
                    error: entry.error.as_deref().map(str::to_owned),
                }
            })
            .collect()
    }
}
