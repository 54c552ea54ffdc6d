//! Which resources of a proxy a change can touch.

use std::collections::BTreeSet;
use std::sync::Arc;

use ironsail_mesh::node::NodeType;
use ironsail_mesh::xds_name::ClusterName;

use crate::model::change::ChangeSet;
use crate::model::object::ObjectKind;
use crate::model::proxy::Proxy;

/// Hosts that names are compared with one by one.
const FEW: usize = 8;

/// Resource names of one type that may differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AffectedNames {
    #[default]
    None,
    All,
    /// Endpoints: hosts of services. Secrets: names of Secrets in the proxy's namespace.
    Some(BTreeSet<Arc<str>>),
}

impl AffectedNames {
    fn of(names: BTreeSet<Arc<str>>) -> Self {
        match names.is_empty() {
            true => Self::None,
            false => Self::Some(names),
        }
    }

    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Whether the endpoints of a cluster, named as in its request, may differ.
    pub fn has_cluster(&self, cluster: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            // Names end with the host. Few hosts are the rule, and every client asks about every cluster.
            Self::Some(hosts) if hosts.len() <= FEW => {
                hosts.iter().any(|host| cluster.ends_with(&**host))
            }
            Self::Some(hosts) => cluster
                .parse::<ClusterName>()
                .map_or(true, |name| hosts.contains(name.host.as_str())),
        }
    }

    /// Whether a secret, named as in its request (`kubernetes://name`, perhaps with `-cacert`), may differ.
    pub fn has_secret(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(secrets) => {
                let name = name.rsplit('/').next().unwrap_or(name);
                let base = name.strip_suffix("-cacert").unwrap_or(name);
                secrets.contains(name) || secrets.contains(base)
            }
        }
    }
}

/// What a push to one proxy has to look at; what is not named here is certainly the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    pub clusters: bool,
    pub endpoints: AffectedNames,
    pub listeners: bool,
    pub routes: bool,
    pub secrets: AffectedNames,
    pub names: bool,
}

impl Affected {
    fn everything() -> Self {
        Self {
            clusters: true,
            endpoints: AffectedNames::All,
            listeners: true,
            routes: true,
            secrets: AffectedNames::All,
            names: true,
        }
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Which resources of `proxy`, taken from the newer snapshot, a change may touch.
///
/// Errs on the side of more: content hashes show what really differs.
pub fn affects(change: &ChangeSet, proxy: &Proxy) -> Affected {
    let id = &proxy.node.id;
    let own_pod = (Arc::from(id.namespace.as_str()), Arc::from(id.pod.as_str()));
    if change.full || change.workloads.contains(&own_pod) {
        return Affected::everything();
    }
    let is_router = id.node_type == NodeType::Router;
    let mut hosts: BTreeSet<Arc<str>> = change.endpoints.union(&change.services).cloned().collect();
    let services = !change.services.is_empty();
    let mut affected = Affected {
        clusters: services || !change.identities.is_empty(),
        listeners: services || (!is_router && !change.headless.is_empty()),
        routes: services,
        names: services || !change.headless.is_empty(),
        ..Affected::default()
    };
    if serves_changed(change, proxy) {
        affected.clusters = true;
        affected.listeners = true;
        affected.routes |= is_router;
    }
    let mut all_endpoints = false;
    let mut secrets = BTreeSet::new();
    for key in &change.configs {
        match key.kind {
            ObjectKind::VirtualService => {
                affected.listeners = true;
                affected.routes = true;
            }
            ObjectKind::DestinationRule => {
                affected.clusters = true;
                affected.listeners = true;
                affected.routes = true;
                all_endpoints = true;
            }
            ObjectKind::Gateway if is_router => {
                affected.clusters = true;
                affected.listeners = true;
                affected.routes = true;
            }
            ObjectKind::PeerAuthentication => {
                affected.clusters = true;
                all_endpoints = true;
                // A policy of the root namespace concerns everybody; which one that is, is not known here.
                affected.listeners |= !is_router;
            }
            ObjectKind::Secret if key.namespace.as_ref() == id.namespace => {
                secrets.insert(key.name.clone());
            }
            _ => {}
        }
    }
    affected.secrets = AffectedNames::of(secrets);
    affected.endpoints = match all_endpoints {
        true => AffectedNames::All,
        false => AffectedNames::of(std::mem::take(&mut hosts)),
    };
    affected
}

/// Whether the proxy may serve, or no longer serve, a service because of its address alone.
fn serves_changed(change: &ChangeSet, proxy: &Proxy) -> bool {
    let candidates = match proxy.workload.is_some() {
        true => &change.unselected,
        false => &change.endpoints,
    };
    let is_own = |host: &Arc<str>| host.split('.').nth(1) == Some(proxy.namespace());
    candidates.iter().any(is_own)
}
