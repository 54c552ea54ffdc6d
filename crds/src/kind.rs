//! The table of kinds: everything about a kind that is not its schema.

/// A kind as the API server knows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group, such as `networking.istio.io`.
    pub group: &'static str,
    /// Served versions in the order of the CRD; all have the same schema.
    pub versions: &'static [&'static str],
    /// The version that is stored, and that clients of ours ask for.
    pub storage: &'static str,
    /// CamelCase name.
    pub kind: &'static str,
    /// Name in paths.
    pub plural: &'static str,
    /// Name of one object in messages.
    pub singular: &'static str,
    /// Abbreviations for kubectl.
    pub short_names: &'static [&'static str],
    /// Groups of kinds for kubectl, such as `istio-io`.
    pub categories: &'static [&'static str],
    /// Where objects live.
    pub scope: Scope,
    /// Columns of `kubectl get` after the name.
    pub columns: &'static [Column],
    /// Whether deleting the operator's bundle must leave the definition (and so users' objects).
    pub keep: bool,
}

/// Where objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// Once per cluster.
    Cluster,
}

impl Scope {
    /// The name that a CRD uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespaced => "Namespaced",
            Self::Cluster => "Cluster",
        }
    }
}

/// A column of `kubectl get`.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// What it shows, as a JSON path.
    pub json_path: &'static str,
    /// `string`, `integer`, `date` …
    pub column_type: &'static str,
}

const fn column(name: &'static str, json_path: &'static str) -> Column {
    Column {
        name,
        json_path,
        column_type: "string",
    }
}

const AGE: Column = Column {
    name: "Age",
    json_path: ".metadata.creationTimestamp",
    column_type: "date",
};

const NETWORKING_CATEGORIES: &[&str] = &["istio-io", "networking-istio-io"];

/// `networking.istio.io` Gateway.
pub static GATEWAY: Kind = Kind {
    group: "networking.istio.io",
    versions: &["v1", "v1alpha3", "v1beta1"],
    storage: "v1",
    kind: "Gateway",
    plural: "gateways",
    singular: "gateway",
    short_names: &["gw"],
    categories: NETWORKING_CATEGORIES,
    scope: Scope::Namespaced,
    columns: &[],
    keep: true,
};

/// `networking.istio.io` VirtualService.
pub static VIRTUAL_SERVICE: Kind = Kind {
    kind: "VirtualService",
    plural: "virtualservices",
    singular: "virtualservice",
    short_names: &["vs"],
    columns: &[
        column("Gateways", ".spec.gateways"),
        column("Hosts", ".spec.hosts"),
        AGE,
    ],
    ..GATEWAY
};

/// `networking.istio.io` DestinationRule.
pub static DESTINATION_RULE: Kind = Kind {
    kind: "DestinationRule",
    plural: "destinationrules",
    singular: "destinationrule",
    short_names: &["dr"],
    columns: &[column("Host", ".spec.host"), AGE],
    ..GATEWAY
};

/// `security.istio.io` PeerAuthentication.
pub static PEER_AUTHENTICATION: Kind = Kind {
    group: "security.istio.io",
    versions: &["v1", "v1beta1"],
    storage: "v1",
    kind: "PeerAuthentication",
    plural: "peerauthentications",
    singular: "peerauthentication",
    short_names: &["pa"],
    categories: &["istio-io", "security-istio-io"],
    scope: Scope::Namespaced,
    columns: &[column("Mode", ".spec.mtls.mode"), AGE],
    keep: true,
};

/// `install.istio.io` IstioOperator.
pub static ISTIO_OPERATOR: Kind = Kind {
    group: "install.istio.io",
    versions: &["v1alpha1"],
    storage: "v1alpha1",
    kind: "IstioOperator",
    plural: "istiooperators",
    singular: "istiooperator",
    short_names: &["iop", "io"],
    categories: &[],
    scope: Scope::Namespaced,
    columns: &[
        column("Revision", ".spec.revision"),
        column("Version", ".status.version"),
        column("Status", ".status.status"),
        column("Ready", ".status.conditions[?(@.type==\"Ready\")].status"),
        AGE,
    ],
    keep: true,
};

/// Every kind of this crate.
pub static KINDS: [&Kind; 5] = [
    &GATEWAY,
    &VIRTUAL_SERVICE,
    &DESTINATION_RULE,
    &PEER_AUTHENTICATION,
    &ISTIO_OPERATOR,
];

impl Kind {
    /// The kind of a group and a kind name, whatever the version.
    #[must_use]
    pub fn find(group: &str, kind: &str) -> Option<&'static Self> {
        KINDS
            .into_iter()
            .find(|k| k.group == group && k.kind == kind)
    }

    /// Name of the CRD: `<plural>.<group>`.
    #[must_use]
    pub fn crd_name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// `<group>/<stored version>`.
    #[must_use]
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.storage)
    }
}
