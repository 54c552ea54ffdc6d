//! A map of objects by namespace and name whose unchanged namespaces are shared between copies.

use std::collections::BTreeMap;
use std::sync::Arc;

type Names<V> = BTreeMap<Arc<str>, V>;

/// Cloning costs one reference per namespace; changing an entry copies its namespace only if a
/// clone still holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespaced<V> {
    namespaces: BTreeMap<Arc<str>, Arc<Names<V>>>,
}

impl<V> Default for Namespaced<V> {
    fn default() -> Self {
        Self {
            namespaces: BTreeMap::new(),
        }
    }
}

impl<V: Clone> Namespaced<V> {
    pub fn get(&self, namespace: &str, name: &str) -> Option<&V> {
        self.namespaces.get(namespace)?.get(name)
    }

    pub fn insert(&mut self, namespace: &str, name: &str, value: V) -> Option<V> {
        if !self.namespaces.contains_key(namespace) {
            self.namespaces.insert(namespace.into(), Arc::default());
        }
        let names = self.namespaces.get_mut(namespace)?;
        let names = Arc::make_mut(names);
        match names.get_mut(name) {
            Some(slot) => Some(std::mem::replace(slot, value)),
            None => names.insert(name.into(), value),
        }
    }

    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<V> {
        let names = self.namespaces.get_mut(namespace)?;
        if !names.contains_key(name) {
            return None;
        }
        let names = Arc::make_mut(names);
        let removed = names.remove(name);
        if names.is_empty() {
            self.namespaces.remove(namespace);
        }
        removed
    }

    /// Entries of one namespace, by name.
    pub fn namespace(&self, namespace: &str) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.namespaces
            .get(namespace)
            .into_iter()
            .flat_map(|names| names.iter())
    }

    /// All entries as `(namespace, name, value)`, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &V)> {
        self.namespaces.iter().flat_map(|(namespace, names)| {
            names
                .iter()
                .map(move |(name, value)| (namespace, name, value))
        })
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.namespaces.values().flat_map(|names| names.values())
    }

    pub fn len(&self) -> usize {
        self.namespaces.values().map(|names| names.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_what_did_not_change() {
        let mut map = Namespaced::default();
        map.insert("a", "x", 1);
        map.insert("b", "y", 2);
        let copy = map.clone();
        map.insert("a", "x", 3);
        assert_eq!(copy.get("a", "x"), Some(&1));
        assert_eq!(map.get("a", "x"), Some(&3));
        assert!(Arc::ptr_eq(&copy.namespaces["b"], &map.namespaces["b"]));
        assert_eq!(map.remove("a", "x"), Some(3));
        assert_eq!(map.remove("a", "x"), None);
        assert_eq!(map.len(), 1);
    }
}
