//! Which traffic a workload accepts: PeerAuthentication of mesh, namespace and workload.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironsail_crds::security::peer_authentication::MutualTlsMode;
use ironsail_crds::{Diagnostic, PeerAuthenticationSpec};

use crate::model::change::ConfigKey;

/// What a port accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MtlsMode {
    /// Mutual TLS and plaintext.
    #[default]
    Permissive,
    /// Mutual TLS only.
    Strict,
    /// Plaintext only.
    Disable,
}

impl MtlsMode {
    /// `None` means: as the wider policy says. A mode of a newer version counts as strict, because
    /// anything else could open what its author closed.
    fn read(mode: &MutualTlsMode) -> Option<Self> {
        match mode {
            MutualTlsMode::Unset => None,
            MutualTlsMode::Disable => Some(Self::Disable),
            MutualTlsMode::Permissive => Some(Self::Permissive),
            MutualTlsMode::Strict | MutualTlsMode::Unknown(_) => Some(Self::Strict),
        }
    }
}

/// The modes of one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorkloadMtls {
    pub default: MtlsMode,
    /// By port of the pod.
    pub ports: BTreeMap<u16, MtlsMode>,
}

impl WorkloadMtls {
    pub fn port(&self, port: u16) -> MtlsMode {
        self.ports.get(&port).copied().unwrap_or(self.default)
    }

    /// Whether no port accepts mutual TLS.
    pub fn is_disabled(&self) -> bool {
        self.default == MtlsMode::Disable
            && self.ports.values().all(|mode| *mode == MtlsMode::Disable)
    }
}

/// A PeerAuthentication, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerAuthentication {
    pub key: ConfigKey,
    pub created: i64,
    /// Labels of its workloads; empty for a whole namespace.
    selector: BTreeMap<String, String>,
    mode: Option<MtlsMode>,
    ports: BTreeMap<u16, Option<MtlsMode>>,
    pub generation: u64,
}

impl PeerAuthentication {
    pub fn new(
        key: ConfigKey,
        created: i64,
        spec: &PeerAuthenticationSpec,
        generation: u64,
    ) -> (Self, Vec<Diagnostic>) {
        let mut findings = Vec::new();
        let mut report_unknown = |path: String, mode: &MutualTlsMode| {
            if !mode.is_known() {
                let message = format!(
                    "{:?} is no mode of this version; STRICT is used",
                    mode.as_str()
                );
                findings.push(Diagnostic::error(path, message));
            }
        };
        report_unknown("spec.mtls.mode".to_owned(), spec.mode());
        let mut ports = BTreeMap::new();
        let mut bad_ports = Vec::new();
        for (text, mtls) in &spec.port_level_mtls {
            let path = format!("spec.portLevelMtls[{text}]");
            match text.parse::<u16>() {
                Ok(port) if port != 0 => {
                    report_unknown(format!("{path}.mode"), &mtls.mode);
                    ports.insert(port, MtlsMode::read(&mtls.mode));
                }
                _ => bad_ports.push(Diagnostic::error(path, "is no port number")),
            }
        }
        findings.extend(bad_ports);
        let policy = Self {
            key,
            created,
            selector: spec
                .selector
                .as_ref()
                .map(|selector| selector.match_labels.clone())
                .unwrap_or_default(),
            mode: MtlsMode::read(spec.mode()),
            ports,
            generation,
        };
        (policy, findings)
    }

    /// Whether the two differ in more than when they took effect.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = Self {
            generation: other.generation,
            ..self.clone()
        };
        same == *other
    }
}

/// All policies, oldest first per namespace.
#[derive(Clone, Debug, Default)]
pub struct AuthenticationIndex {
    mesh: MtlsMode,
    namespaces: BTreeMap<Arc<str>, MtlsMode>,
    workloads: BTreeMap<Arc<str>, Vec<Arc<PeerAuthentication>>>,
    /// When any policy last changed, in snapshots.
    pub generation: u64,
}

impl AuthenticationIndex {
    pub fn new(
        policies: impl IntoIterator<Item = Arc<PeerAuthentication>>,
        root_namespace: &str,
        generation: u64,
    ) -> Self {
        let mut policies: Vec<_> = policies.into_iter().collect();
        policies.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
        let oldest_of_namespace = |namespace: &str| {
            policies
                .iter()
                .find(|policy| policy.selector.is_empty() && &*policy.key.namespace == namespace)
        };
        let mesh = oldest_of_namespace(root_namespace)
            .and_then(|policy| policy.mode)
            .unwrap_or_default();
        let mut index = Self {
            mesh,
            generation,
            ..Self::default()
        };
        for policy in &policies {
            let namespace = &policy.key.namespace;
            if !policy.selector.is_empty() {
                index
                    .workloads
                    .entry(namespace.clone())
                    .or_default()
                    .push(policy.clone());
            } else if !index.namespaces.contains_key(namespace) {
                index
                    .namespaces
                    .insert(namespace.clone(), policy.mode.unwrap_or(mesh));
            }
        }
        index
    }

    /// The mode of a namespace without regard to single workloads.
    pub fn namespace_mode(&self, namespace: &str) -> MtlsMode {
        self.namespaces.get(namespace).copied().unwrap_or(self.mesh)
    }

    /// Whether some policy names single workloads of a namespace.
    pub fn has_workload_policies(&self, namespace: &str) -> bool {
        self.workloads.contains_key(namespace)
    }

    /// The modes of a workload: mesh, then namespace, then the oldest policy that selects it.
    pub fn workload(&self, namespace: &str, labels: &BTreeMap<String, String>) -> WorkloadMtls {
        let inherited = self.namespace_mode(namespace);
        let own = self
            .workloads
            .get(namespace)
            .into_iter()
            .flatten()
            .find(|policy| is_selected(&policy.selector, labels));
        let Some(own) = own else {
            return WorkloadMtls {
                default: inherited,
                ports: BTreeMap::new(),
            };
        };
        let default = own.mode.unwrap_or(inherited);
        WorkloadMtls {
            default,
            ports: own
                .ports
                .iter()
                .map(|(port, mode)| (*port, mode.unwrap_or(default)))
                .collect(),
        }
    }
}

/// Whether an object with these labels has all that a selector asks for.
pub fn is_selected(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::ObjectKind;

    fn policy(namespace: &str, name: &str, created: i64, yaml: &str) -> Arc<PeerAuthentication> {
        let spec = serde_yaml_ng::from_str(yaml).expect("a valid spec");
        let key = ConfigKey::new(ObjectKind::PeerAuthentication, namespace, name);
        Arc::new(PeerAuthentication::new(key, created, &spec, 1).0)
    }

    fn labels(app: &str) -> BTreeMap<String, String> {
        [("app".to_owned(), app.to_owned())].into()
    }

    #[test]
    fn narrower_policies_win_and_unset_inherits() {
        let index = AuthenticationIndex::new(
            [
                policy("istio-system", "mesh", 1, "mtls: {mode: STRICT}"),
                policy("open", "ns", 1, "mtls: {mode: PERMISSIVE}"),
                policy(
                    "open",
                    "web",
                    2,
                    "{selector: {matchLabels: {app: web}}, portLevelMtls: {'8080': {mode: DISABLE}, '9090': {}}}",
                ),
                policy("closed", "late", 9, "mtls: {mode: DISABLE}"),
                policy("closed", "early", 3, "mtls: {}"),
            ],
            "istio-system",
            1,
        );
        assert_eq!(index.namespace_mode("elsewhere"), MtlsMode::Strict);
        assert_eq!(index.namespace_mode("open"), MtlsMode::Permissive);
        assert_eq!(index.namespace_mode("closed"), MtlsMode::Strict);
        let web = index.workload("open", &labels("web"));
        assert_eq!(web.port(8080), MtlsMode::Disable);
        assert_eq!(web.port(9090), MtlsMode::Permissive);
        assert_eq!(web.port(1), MtlsMode::Permissive);
        assert_eq!(
            index.workload("open", &labels("other")).port(8080),
            MtlsMode::Permissive
        );
    }

    #[test]
    fn unknown_modes_close() {
        let spec =
            serde_yaml_ng::from_str("{mtls: {mode: FUTURE}, portLevelMtls: {x: {mode: STRICT}}}")
                .expect("enums are open");
        let key = ConfigKey::new(ObjectKind::PeerAuthentication, "a", "b");
        let (policy, findings) = PeerAuthentication::new(key, 0, &spec, 1);
        assert_eq!(policy.mode, Some(MtlsMode::Strict));
        let paths: Vec<_> = findings
            .iter()
            .map(|finding| finding.path.as_str())
            .collect();
        assert_eq!(paths, ["spec.mtls.mode", "spec.portLevelMtls[x]"]);
    }
}
