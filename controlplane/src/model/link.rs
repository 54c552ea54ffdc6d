//! Which objects of a namespace others name.

use std::sync::Arc;

use crate::model::namespaced::Namespaced;

/// Names by the name that they belong to, in one namespace. Nearly all lists have one entry and there is one for every
/// pod, so they take no more than they hold.
#[derive(Clone, Debug, Default)]
pub struct Links(Namespaced<Box<[Arc<str>]>>);

impl Links {
    /// What belongs to a name, in order.
    pub fn get(&self, namespace: &str, from: &str) -> &[Arc<str>] {
        self.0.get(namespace, from).map_or(&[], |links| links)
    }

    pub fn insert(&mut self, namespace: &str, from: &str, to: Arc<str>) {
        let links = self.get(namespace, from);
        if let Err(at) = links.binary_search(&to) {
            let mut links = links.to_vec();
            links.insert(at, to);
            self.0.insert(namespace, from, links.into());
        }
    }

    /// A name to which nothing belongs any more is forgotten.
    pub fn remove(&mut self, namespace: &str, from: &str, to: &str) {
        let links = self.get(namespace, from);
        let left: Box<[_]> = links.iter().filter(|own| ***own != *to).cloned().collect();
        match left.is_empty() {
            true => self.0.remove(namespace, from),
            false => self.0.insert(namespace, from, left),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_sorted_sets() {
        let mut links = Links::default();
        for to in ["b", "a", "b"] {
            links.insert("n", "from", to.into());
        }
        assert_eq!(links.get("n", "from"), ["a".into(), "b".into()]);
        assert!(links.get("other", "from").is_empty());
        links.remove("n", "from", "a");
        links.remove("n", "from", "unknown");
        assert_eq!(links.get("n", "from"), ["b".into()]);
        links.remove("n", "from", "b");
        assert!(links.get("n", "from").is_empty() && links.0.is_empty());
    }
}
