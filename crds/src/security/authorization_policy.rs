//! [AuthorizationPolicy](https://istio.io/latest/docs/reference/config/security/authorization-policy/):
//! who may call a workload.

use crate::condition::MeshStatus;
use crate::kind::{self, Kind};
use crate::object::{Object, Spec};
use crate::security::peer_authentication::WorkloadSelector;
use crate::target_ref::PolicyTargetReference;
use crate::wire::{open_enum, wire};

/// An AuthorizationPolicy object.
pub type AuthorizationPolicy = Object<AuthorizationPolicySpec>;

impl Spec for AuthorizationPolicySpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::AUTHORIZATION_POLICY;
}

wire! {
    /// Who may call a workload. Without rules nothing matches: an empty spec allows nothing.
    #[schemars(extend(
        "oneOf" = crate::schema::one_of(&["provider"]),
        "x-kubernetes-validations" = crate::schema::part::one_target(&["selector", "targetRef", "targetRefs"])
    ))]
    pub struct AuthorizationPolicySpec {
        /// Workloads this is for; default is the whole namespace, in the root namespace the mesh.
        pub selector: Option<WorkloadSelector>,
        /// Deprecated, use targetRefs.
        pub target_ref: Option<PolicyTargetReference>,
        /// Objects this is for.
        #[schemars(length(max = 16))]
        pub target_refs: Vec<PolicyTargetReference>,
        /// Alternatives of what matches; an empty rule matches every request.
        #[schemars(length(max = 512))]
        pub rules: Vec<Rule>,
        /// What happens to what matches.
        pub action: Action,
        /// Who decides, for CUSTOM.
        pub provider: Option<ExtensionProvider>,
    }

    /// What matches: one of `from`, one of `to` and all of `when`.
    pub struct Rule {
        /// Alternatives of who calls; none is everybody.
        #[schemars(length(max = 512))]
        pub from: Vec<RuleFrom>,
        /// Alternatives of what is asked for; none is everything.
        pub to: Vec<RuleTo>,
        /// Further conditions.
        pub when: Vec<Condition>,
    }

    /// An alternative of who calls.
    pub struct RuleFrom {
        /// Who.
        pub source: Option<Source>,
    }

    /// Who calls; every given field must match.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "(has(self.serviceAccounts) || has(self.notServiceAccounts)) ? (!has(self.principals) &&\n!has(self.notPrincipals) && !has(self.namespaces) && !has(self.notNamespaces)) : true",
        "message": "Cannot set serviceAccounts with namespaces or principals",
    }]))]
    pub struct Source {
        /// Identities of the certificate without `spiffe://`, with `*` at one end.
        pub principals: Vec<String>,
        /// None of these identities.
        pub not_principals: Vec<String>,
        /// Identities of the token, `issuer/subject`, with `*` at one end.
        pub request_principals: Vec<String>,
        /// None of these identities of the token.
        pub not_request_principals: Vec<String>,
        /// Namespaces, with `*` at one end.
        pub namespaces: Vec<String>,
        /// None of these namespaces.
        pub not_namespaces: Vec<String>,
        /// Addresses of the connection, or CIDR ranges.
        pub ip_blocks: Vec<String>,
        /// None of these addresses.
        pub not_ip_blocks: Vec<String>,
        /// Addresses of the client as gateways report it, or CIDR ranges.
        pub remote_ip_blocks: Vec<String>,
        /// None of these reported addresses.
        pub not_remote_ip_blocks: Vec<String>,
        /// Service accounts, `name` or `namespace/name`.
        #[schemars(length(max = 16), inner(length(max = 320)))]
        pub service_accounts: Vec<String>,
        /// None of these service accounts.
        #[schemars(length(max = 16), inner(length(max = 320)))]
        pub not_service_accounts: Vec<String>,
        /// Trust domains of the certificate, with `*` at one end.
        pub trust_domains: Vec<String>,
        /// None of these trust domains.
        pub not_trust_domains: Vec<String>,
    }

    /// An alternative of what is asked for.
    pub struct RuleTo {
        /// What.
        pub operation: Option<Operation>,
    }

    /// What is asked for; every given field must match.
    pub struct Operation {
        /// Hosts, case ignored, with `*` at one end.
        pub hosts: Vec<String>,
        /// None of these hosts.
        pub not_hosts: Vec<String>,
        /// Ports.
        pub ports: Vec<String>,
        /// None of these ports.
        pub not_ports: Vec<String>,
        /// HTTP methods; for gRPC always POST.
        pub methods: Vec<String>,
        /// None of these methods.
        pub not_methods: Vec<String>,
        /// Paths, with `*` at one end, or with `{*}` and `{**}` as segments.
        pub paths: Vec<String>,
        /// None of these paths.
        pub not_paths: Vec<String>,
    }

    /// A further condition.
    #[schemars(extend("required" = ["key"]))]
    pub struct Condition {
        /// Attribute, such as `request.headers[x-a]`.
        pub key: String,
        /// Values allowed.
        pub values: Vec<String>,
        /// Values not allowed.
        pub not_values: Vec<String>,
    }

    /// Who decides.
    pub struct ExtensionProvider {
        /// Name of the provider in the mesh configuration.
        pub name: String,
    }
}

open_enum! {
    /// What happens to what matches.
    pub enum Action {
        Allow = "ALLOW",
        Deny = "DENY",
        Audit = "AUDIT",
        Custom = "CUSTOM",
    }
}
