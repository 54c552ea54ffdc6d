//! What differs between two snapshots, as far as clients can notice.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::model::object::ObjectKind;

/// A configuration object by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigKey {
    pub kind: ObjectKind,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ConfigKey {
    pub fn new(kind: ObjectKind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

/// What changed; two of them merge, so that pushes can wait for each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// Everything may differ: the first snapshot, or another mesh configuration.
    pub full: bool,
    /// Hosts of services that came, went or have another definition.
    pub services: BTreeSet<Arc<str>>,
    /// Hosts whose endpoints differ.
    pub endpoints: BTreeSet<Arc<str>>,
    /// Hosts, part of `endpoints`, whose clusters differ with their endpoints: other service
    /// accounts, or the mutual TLS of a headless service.
    pub identities: BTreeSet<Arc<str>>,
    /// Hosts of services without a selector, part of `endpoints`: a proxy with one of their
    /// addresses serves them.
    pub unselected: BTreeSet<Arc<str>>,
    /// Hosts of headless services, part of `endpoints`, whose addresses are listeners and names.
    pub headless: BTreeSet<Arc<str>>,
    /// Routing rules, destination rules, gateways, authentication policies, secrets.
    pub configs: BTreeSet<ConfigKey>,
    /// Pods, as `(namespace, name)`, whose own labels, ports or account differ.
    pub workloads: BTreeSet<(Arc<str>, Arc<str>)>,
}

impl ChangeSet {
    /// Everything changed.
    pub fn everything() -> Self {
        Self {
            full: true,
            ..Self::default()
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what a later set holds.
    pub fn merge(&mut self, later: Self) {
        self.full |= later.full;
        self.services.extend(later.services);
        self.endpoints.extend(later.endpoints);
        self.identities.extend(later.identities);
        self.unselected.extend(later.unselected);
        self.headless.extend(later.headless);
        self.configs.extend(later.configs);
        self.workloads.extend(later.workloads);
    }

    /// Whether an object of this kind is among the changed configuration.
    pub fn has_kind(&self, kind: ObjectKind) -> bool {
        self.configs.iter().any(|key| key.kind == kind)
    }
}
