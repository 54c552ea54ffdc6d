//! The table of kinds: one row says everything about a kind.

use std::sync::OnceLock;

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::extensions::traffic_extension::TrafficExtensionSpec;
use crate::extensions::wasm_plugin::WasmPluginSpec;
use crate::networking::destination_rule::DestinationRuleSpec;
use crate::networking::envoy_filter::EnvoyFilterSpec;
use crate::networking::gateway::GatewaySpec;
use crate::networking::proxy_config::ProxyConfigSpec;
use crate::networking::service_entry::ServiceEntrySpec;
use crate::networking::sidecar::SidecarSpec;
use crate::networking::virtual_service::VirtualServiceSpec;
use crate::networking::workload_entry::WorkloadEntrySpec;
use crate::networking::workload_group::WorkloadGroupSpec;
use crate::operator::IstioOperatorSpec;
use crate::schema;
use crate::security::authorization_policy::AuthorizationPolicySpec;
use crate::security::peer_authentication::PeerAuthenticationSpec;
use crate::security::request_authentication::RequestAuthenticationSpec;
use crate::telemetry::TelemetrySpec;
use crate::validate;

/// A kind as the API server knows it.
#[derive(Debug)]
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
    /// Labels of the definition.
    pub labels: &'static [(&'static str, &'static str)],
    /// Makes the OpenAPI schema of the whole object.
    schema: fn() -> Value,
    /// Checks an object.
    validate: fn(&Value) -> Vec<Diagnostic>,
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

/// Labels of the peer's definitions, by which installers find them.
const LABELS: &[(&str, &str)] = &[
    ("app.kubernetes.io/instance", "istio"),
    ("app.kubernetes.io/managed-by", "Helm"),
    ("app.kubernetes.io/part-of", "istio"),
    ("app.kubernetes.io/version", "1.0.0"),
    ("helm.sh/chart", "base-1.0.0"),
];

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
    labels: LABELS,
    schema: schema::mesh::<GatewaySpec>,
    validate: validate::gateway::validate,
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
    schema: schema::mesh::<VirtualServiceSpec>,
    validate: validate::virtual_service::validate,
    ..GATEWAY
};

/// `networking.istio.io` DestinationRule.
pub static DESTINATION_RULE: Kind = Kind {
    kind: "DestinationRule",
    plural: "destinationrules",
    singular: "destinationrule",
    short_names: &["dr"],
    columns: &[column("Host", ".spec.host"), AGE],
    schema: schema::mesh::<DestinationRuleSpec>,
    validate: validate::destination_rule::validate,
    ..GATEWAY
};

/// `networking.istio.io` ServiceEntry.
pub static SERVICE_ENTRY: Kind = Kind {
    kind: "ServiceEntry",
    plural: "serviceentries",
    singular: "serviceentry",
    short_names: &["se"],
    columns: &[
        column("Hosts", ".spec.hosts"),
        column("Location", ".spec.location"),
        column("Resolution", ".spec.resolution"),
        AGE,
    ],
    schema: schema::mesh_with_spec::<ServiceEntrySpec>,
    validate: validate::service_entry::validate,
    ..GATEWAY
};

/// `networking.istio.io` WorkloadEntry.
pub static WORKLOAD_ENTRY: Kind = Kind {
    kind: "WorkloadEntry",
    plural: "workloadentries",
    singular: "workloadentry",
    short_names: &["we"],
    columns: &[AGE, column("Address", ".spec.address")],
    schema: schema::mesh_with_spec::<WorkloadEntrySpec>,
    validate: validate::workload::validate_entry,
    ..GATEWAY
};

/// `networking.istio.io` WorkloadGroup.
pub static WORKLOAD_GROUP: Kind = Kind {
    kind: "WorkloadGroup",
    plural: "workloadgroups",
    singular: "workloadgroup",
    short_names: &["wg"],
    columns: &[AGE],
    schema: schema::mesh_with_spec::<WorkloadGroupSpec>,
    validate: validate::workload::validate_group,
    ..GATEWAY
};

/// `networking.istio.io` Sidecar.
pub static SIDECAR: Kind = Kind {
    kind: "Sidecar",
    plural: "sidecars",
    singular: "sidecar",
    short_names: &[],
    schema: schema::mesh::<SidecarSpec>,
    validate: validate::sidecar::validate,
    ..GATEWAY
};

/// `networking.istio.io` EnvoyFilter.
pub static ENVOY_FILTER: Kind = Kind {
    versions: &["v1alpha3"],
    storage: "v1alpha3",
    kind: "EnvoyFilter",
    plural: "envoyfilters",
    singular: "envoyfilter",
    short_names: &[],
    schema: schema::mesh::<EnvoyFilterSpec>,
    validate: validate::envoy_filter::validate,
    ..GATEWAY
};

/// `networking.istio.io` ProxyConfig.
pub static PROXY_CONFIG: Kind = Kind {
    versions: &["v1beta1"],
    storage: "v1beta1",
    kind: "ProxyConfig",
    plural: "proxyconfigs",
    singular: "proxyconfig",
    short_names: &[],
    schema: schema::mesh::<ProxyConfigSpec>,
    validate: validate::proxy_config::validate,
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
    labels: LABELS,
    schema: schema::mesh::<PeerAuthenticationSpec>,
    validate: validate::peer_authentication::validate,
};

/// `security.istio.io` AuthorizationPolicy.
pub static AUTHORIZATION_POLICY: Kind = Kind {
    kind: "AuthorizationPolicy",
    plural: "authorizationpolicies",
    singular: "authorizationpolicy",
    short_names: &["ap"],
    columns: &[column("Action", ".spec.action"), AGE],
    schema: schema::mesh::<AuthorizationPolicySpec>,
    validate: validate::authorization_policy::validate,
    ..PEER_AUTHENTICATION
};

/// `security.istio.io` RequestAuthentication.
pub static REQUEST_AUTHENTICATION: Kind = Kind {
    kind: "RequestAuthentication",
    plural: "requestauthentications",
    singular: "requestauthentication",
    short_names: &["ra"],
    columns: &[],
    schema: schema::mesh::<RequestAuthenticationSpec>,
    validate: validate::request_authentication::validate,
    ..PEER_AUTHENTICATION
};

/// `telemetry.istio.io` Telemetry.
pub static TELEMETRY: Kind = Kind {
    group: "telemetry.istio.io",
    versions: &["v1", "v1alpha1"],
    storage: "v1alpha1",
    kind: "Telemetry",
    plural: "telemetries",
    singular: "telemetry",
    short_names: &["telemetry"],
    categories: &["istio-io", "telemetry-istio-io"],
    columns: &[AGE],
    schema: schema::mesh::<TelemetrySpec>,
    validate: validate::telemetry::validate,
    ..GATEWAY
};

/// `extensions.istio.io` WasmPlugin.
pub static WASM_PLUGIN: Kind = Kind {
    group: "extensions.istio.io",
    versions: &["v1alpha1"],
    storage: "v1alpha1",
    kind: "WasmPlugin",
    plural: "wasmplugins",
    singular: "wasmplugin",
    short_names: &[],
    categories: &["istio-io", "extensions-istio-io"],
    columns: &[AGE],
    schema: schema::mesh_with_spec::<WasmPluginSpec>,
    validate: validate::extension::validate_plugin,
    ..GATEWAY
};

/// `extensions.istio.io` TrafficExtension.
pub static TRAFFIC_EXTENSION: Kind = Kind {
    kind: "TrafficExtension",
    plural: "trafficextensions",
    singular: "trafficextension",
    schema: schema::mesh_with_spec::<TrafficExtensionSpec>,
    validate: validate::extension::validate_traffic,
    ..WASM_PLUGIN
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
        column("In use", ".status.conditions[?(@.type==\"InUse\")].status"),
        AGE,
    ],
    labels: &[("release", "istio")],
    schema: schema::open::<IstioOperatorSpec>,
    validate: validate::operator::validate,
};

/// Every kind of this crate: those of the mesh, and the operator's.
pub static KINDS: [&Kind; 16] = [
    &GATEWAY,
    &VIRTUAL_SERVICE,
    &DESTINATION_RULE,
    &SERVICE_ENTRY,
    &WORKLOAD_ENTRY,
    &WORKLOAD_GROUP,
    &SIDECAR,
    &ENVOY_FILTER,
    &PROXY_CONFIG,
    &PEER_AUTHENTICATION,
    &AUTHORIZATION_POLICY,
    &REQUEST_AUTHENTICATION,
    &TELEMETRY,
    &WASM_PLUGIN,
    &TRAFFIC_EXTENSION,
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

    /// The OpenAPI schema of the whole object, the same for every version; made at first use.
    #[must_use]
    pub fn openapi(&self) -> &'static Value {
        static SCHEMAS: [OnceLock<Value>; KINDS.len()] = [const { OnceLock::new() }; KINDS.len()];
        let row = KINDS
            .iter()
            .position(|kind| kind.kind == self.kind && kind.group == self.group);
        let cell = row.and_then(|row| SCHEMAS.get(row));
        cell.expect("rows can't be made outside of the table")
            .get_or_init(self.schema)
    }

    /// Everything that is wrong with an object of this kind, and what its author should know.
    #[must_use]
    pub fn validate(&self, object: &Value) -> Vec<Diagnostic> {
        (self.validate)(object)
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
