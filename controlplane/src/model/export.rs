//! Visibility of services and rules to other namespaces (`exportTo`).

use std::collections::BTreeSet;

/// Which namespaces may see an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExportTo {
    /// Every namespace (`*`).
    all: bool,
    /// The object's own namespace (`.`).
    own: bool,
    /// Namespaces by name.
    namespaces: BTreeSet<String>,
}

impl ExportTo {
    /// Visible everywhere, the default of the mesh.
    pub fn everywhere() -> Self {
        Self {
            all: true,
            own: true,
            namespaces: BTreeSet::new(),
        }
    }

    /// Reads a list of `*`, `.`, `~` (nobody) and names; `None` for an empty list.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut export = Self {
            all: false,
            own: false,
            namespaces: BTreeSet::new(),
        };
        let mut is_empty = true;
        for entry in entries.into_iter().map(str::trim).filter(|e| !e.is_empty()) {
            is_empty = false;
            match entry {
                "*" => export.all = true,
                "." => export.own = true,
                "~" => {}
                name => {
                    export.namespaces.insert(name.to_owned());
                }
            }
        }
        (!is_empty).then_some(export)
    }

    /// Whether an object of namespace `owner` is visible in namespace `client`.
    pub fn is_visible(&self, owner: &str, client: &str) -> bool {
        self.all || (self.own && owner == client) || self.namespaces.contains(client)
    }

    /// Whether only the own namespace sees the object.
    pub fn is_private(&self) -> bool {
        self.own && !self.all && self.namespaces.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entries: &[&str], client: &str, expected: bool) {
        let export = ExportTo::parse(entries.iter().copied()).expect("not empty");
        assert_eq!(
            export.is_visible("own", client),
            expected,
            "{entries:?} {client}"
        );
    }

    #[test]
    fn lists_say_who_sees() {
        check(&["*"], "other", true);
        check(&["."], "own", true);
        check(&["."], "other", false);
        check(&["~"], "own", false);
        check(&["a", "b"], "b", true);
        check(&["a", "b"], "own", false);
        assert_eq!(ExportTo::parse([]), None);
    }
}
