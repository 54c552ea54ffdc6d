//! Names and versions that a client has, held in pieces that clients with the same content share.
//!
//! Clients of one mesh have nearly the same thousands of resources, so what is remembered of each must not grow with them. An
//! inventory is split by the hash of names; pieces of equal content are one piece in memory, whoever holds them, and so are
//! inventories of the same pieces.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use ironsail_runtime::shared::Interner;
use xxhash_rust::xxh3::xxh3_64;

use crate::generate::ContentHash;

/// Pieces of an inventory. A change copies one of them.
const PIECES: usize = 32;

type Entry = (Arc<str>, ContentHash);

/// Versions by name. Cloning is cheap, and so is comparing equals.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// None when it is empty.
    pieces: Option<Arc<Pieces>>,
}

/// Names, shared as inventories are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Inventory);

/// By the hash of names. Equal pieces are nearly always one, so their addresses stand for their content.
#[derive(Clone, Debug, Default)]
struct Pieces([Option<Arc<Piece>>; PIECES]);

/// Entries in the order of their names; never empty.
#[derive(Debug, Hash, PartialEq)]
struct Piece(Box<[Entry]>);

impl Inventory {
    pub fn get(&self, name: &str) -> Option<ContentHash> {
        let entries = self.pieces.as_ref()?.0[piece_of(name)].as_ref()?;
        let at = entries.0.binary_search_by(|(own, _)| (**own).cmp(name));
        Some(entries.0[at.ok()?].1)
    }

    /// All entries, in an order that depends on nothing but the names.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.pieces().flat_map(|piece| &piece.0)
    }

    pub fn len(&self) -> usize {
        self.pieces().map(|piece| piece.0.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_none()
    }

    fn pieces(&self) -> impl Iterator<Item = &Arc<Piece>> {
        let pieces = self.pieces.iter();
        pieces.flat_map(|pieces| pieces.0.iter().flatten())
    }

    /// Sets versions by name; `None` removes. The last word on a name counts.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = (Arc<str>, Option<ContentHash>)>) {
        let mut by_piece: [Vec<(Arc<str>, Option<ContentHash>)>; PIECES] = Default::default();
        for (name, version) in changes {
            by_piece[piece_of(&name)].push((name, version));
        }
        let mut pieces = self.pieces.as_deref().cloned().unwrap_or_default();
        for (slot, changes) in pieces.0.iter_mut().zip(by_piece) {
            if !changes.is_empty() {
                *slot = changed(slot.as_deref(), changes);
            }
        }
        let is_empty = pieces.0.iter().all(Option::is_none);
        self.pieces = (!is_empty).then(|| WHOLE.share(Arc::new(pieces)));
    }

    /// Removes what `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let gone: Vec<_> = self
            .iter()
            .filter(|(name, _)| !keep(name))
            .map(|(name, _)| (Arc::clone(name), None))
            .collect();
        self.apply(gone);
    }
}

impl Pieces {
    fn addresses(&self) -> [Option<*const Piece>; PIECES] {
        self.0
            .each_ref()
            .map(|piece| piece.as_ref().map(Arc::as_ptr))
    }
}

impl Hash for Pieces {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.addresses().hash(state);
    }
}

impl PartialEq for Pieces {
    fn eq(&self, other: &Self) -> bool {
        self.addresses() == other.addresses()
    }
}

impl PartialEq for Inventory {
    fn eq(&self, other: &Self) -> bool {
        match (&self.pieces, &other.pieces) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other) || own.0 == other.0,
            (own, other) => own.is_none() && other.is_none(),
        }
    }
}

impl Eq for Inventory {}

impl FromIterator<Entry> for Inventory {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut inventory = Self::default();
        inventory.apply(
            entries
                .into_iter()
                .map(|(name, version)| (name, Some(version))),
        );
        inventory
    }
}

impl Names {
    pub fn contains(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|(name, _)| name)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn insert<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        self.0.apply(
            names
                .into_iter()
                .map(|name| (name.into(), Some(ContentHash(0)))),
        );
    }

    pub fn remove<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        self.0
            .apply(names.into_iter().map(|name| (name.into(), None)));
    }
}

impl<'a> FromIterator<&'a str> for Names {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut all = Self::default();
        all.insert(names);
        all
    }
}

fn piece_of(name: &str) -> usize {
    (xxh3_64(name.as_bytes()) % PIECES as u64) as usize
}

/// The piece after changes; nothing when it is empty.
fn changed(
    old: Option<&Piece>,
    changes: Vec<(Arc<str>, Option<ContentHash>)>,
) -> Option<Arc<Piece>> {
    let known = old.map_or(&[][..], |piece| &piece.0);
    let mut entries: BTreeMap<Arc<str>, ContentHash> = known.iter().cloned().collect();
    for (name, version) in changes {
        match version {
            Some(version) => entries.insert(name, version),
            None => entries.remove(&name),
        };
    }
    (!entries.is_empty()).then(|| KNOWN.share(Arc::new(Piece(entries.into_iter().collect()))))
}

static KNOWN: LazyLock<Interner<Piece>> = LazyLock::new(Interner::default);
static WHOLE: LazyLock<Interner<Pieces>> = LazyLock::new(Interner::default);

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(names: std::ops::Range<u64>) -> Inventory {
        names
            .map(|number| (Arc::from(format!("cluster {number}")), ContentHash(number)))
            .collect()
    }

    #[test]
    fn equal_content_is_one_piece() {
        let (mut one, other) = (inventory(0..1000), inventory(0..1000));
        assert_eq!(one, other);
        one.apply([(Arc::from("own"), Some(ContentHash(1)))]);
        assert_ne!(one, other);
        let pairs = one.pieces().zip(other.pieces());
        let own = pairs.filter(|(one, other)| !Arc::ptr_eq(one, other));
        assert_eq!(own.count(), 1, "a change copies one piece");
        one.apply([(Arc::from("own"), None)]);
        assert_eq!(one, other);
        let whole = |inventory: &Inventory| inventory.pieces.as_ref().map(Arc::as_ptr);
        assert_eq!(whole(&one), whole(&other), "and equals are one as a whole");
    }

    #[test]
    fn entries_are_found_changed_and_removed() {
        let mut all = inventory(0..100);
        assert_eq!(all.get("cluster 7"), Some(ContentHash(7)));
        all.apply([(Arc::from("cluster 7"), Some(ContentHash(9)))]);
        assert_eq!(
            (all.get("cluster 7"), all.len()),
            (Some(ContentHash(9)), 100)
        );
        all.retain(|name| name == "cluster 8");
        assert_eq!((all.get("cluster 7"), all.len()), (None, 1));
        all.retain(|_| false);
        assert!(all.is_empty() && all == Inventory::default());
    }

    #[test]
    fn names_are_a_set() {
        let mut names: Names = ["b", "a", "b"].into_iter().collect();
        assert_eq!(names.len(), 2);
        names.remove(["a"]);
        assert!(names.contains("b") && !names.contains("a"));
        assert_eq!(names, ["b"].into_iter().collect());
    }
}
